"""Chapter 04's pictures: the paper's figures 3 and 4 from measured paths."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure as Canvas

from synthprune import stats
from synthprune.analysis.barriers import midpoint_barrier
from synthprune.experiments.settings import METHODS, Method
from synthprune.experiments.stability import Curves, Parameters, batch_norm_statistics, curves, table
from synthprune.figures import LABELS, Figure, Panel, Style, Table
from synthprune.store import Result

MARKERS = {"dense": "s", "synthetic": "o", "imp": "^"}
DASHES = ("-", (0, (4, 2)), (0, (1, 1.2)))
NAMES = {"train_loss": "training loss", "train_error": "training error", "test_loss": "test loss", "test_error": "test error"}


def surfaces(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """Loss against level and position on the path for both methods, beside the levels the paper combines."""
    measured = {method: curves(p, results, method) for method in METHODS}
    losses = np.concatenate([np.nanmean(c.train_loss, axis=1).ravel() for c in measured.values()])
    limits = float(np.nanmin(losses)), float(np.nanmax(losses))
    panels = [Panel(lambda style, m=m: _surface(style, m, measured[m], limits, combined_levels(p)), _surface_alt(m, measured[m]))
              for m in METHODS]
    panels.append(Panel(lambda style: _lines(style, measured, combined_levels(p)), _lines_alt(measured, combined_levels(p))))
    caption = (f"{_setting(p)} Surfaces: training loss along the straight line between two trainings, level by level; the lines"
               " on them are the levels of the combined plot."
               f" {_band_words(p)}{_left_out(measured)}")
    return Figure(panels, caption, _rows(measured), "04_stability_paths")


def one_level(p: Parameters, results: Mapping[str, Result], level: int) -> Figure:
    """Loss and error along the path at one level, both methods and the dense network."""
    measured = {method: curves(p, results, method) for method in METHODS}
    shown = sorted({0, level} & set(p.levels))
    panels = [Panel(lambda style, q=q: _lines(style, measured, shown, quantity=q, title=f"{NAMES[q]}, level {level}"),
                    _lines_alt(measured, shown, q)) for q in ("train_loss", "test_error")]
    return Figure(panels, f"{_setting(p)} The path at level {level} ({_sparsity(level)} of the weights pruned), training loss and"
                  f" test error. {_band_words(p)}{_left_out(measured)}", _rows(measured), f"04_stability_level_{level}")


def barrier_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Accuracy, barriers with intervals, verdicts; where there is batch norm, with its statistics treated both ways."""
    rows = []
    for statistics in batch_norm_statistics(p):
        suffix = "" if len(batch_norm_statistics(p)) == 1 else f", batch norm {statistics}"
        rows += [(f"{LABELS[row.method]}, level {row.level}{suffix}", row.verdict, _sparsity(row.level), row.accuracy.text(1),
                  row.midpoint_loss.text(3), row.highest_loss.text(3), row.train_error.text(2), row.test_error.text(2))
                 for row in table(p, results, statistics)]
    return Table(
        f"Barriers between two trainings: mean [95 % interval] over {_count(len(p.seeds), 'initialisation')}"
        + (" (an interval needs at least two)" if len(p.seeds) < 2 else ""),
        ("subnetwork", "stable to SGD noise?", "pruned", "test accuracy, %", "loss barrier midway (paper), nats",
         "highest loss barrier, nats", "training error barrier, points", "test error barrier, points"), rows)


def combined_levels(p: Parameters) -> list[int]:
    """Dense, about 60 % and about 87 % sparse where they were asked for (the paper's), else every level."""
    paper = [level for level in (0, 4, 9) if level in p.levels]
    return paper if len(paper) > 1 else list(p.levels)


def _surface(style: Style, method: Method, c: Curves, limits: tuple[float, float], dark: list[int]) -> Canvas:
    canvas = Canvas(figsize=(4.4, 4.4))
    axes = canvas.add_axes((0, 0, 0.9, 0.94), projection="3d", computed_zorder=False)
    beta, levels = np.meshgrid(c.beta, c.levels)
    mean = np.nanmean(c.train_loss, axis=1)
    if len(c.levels) > 1:
        axes.plot_surface(beta, levels, mean, cmap="cividis", vmin=limits[0], vmax=limits[1], rstride=1, cstride=1,
                          edgecolor=style.grid, linewidth=0.3, alpha=0.9)
    for level in dark:
        row = mean[c.levels.index(level)]
        axes.plot(c.beta, np.full_like(c.beta, level), row, color=style.text, linewidth=1.8)
    axes.set(zlim=limits, title=f"{LABELS[method]} subnetworks", ylabel="pruning level", yticks=c.levels, xticks=(0, 0.5, 1))
    axes.set_xlabel(r"position on the path $\beta$")
    axes.set_zlabel("training loss", labelpad=3)
    axes.tick_params(labelsize=9, pad=1)
    axes.view_init(elev=24, azim=-58)
    axes.set_box_aspect((1, 1, 0.85))
    return canvas


def _lines(style: Style, measured: Mapping[str, Curves], levels: list[int], *, quantity: str = "train_loss",
           title: str = "dense and sparse together") -> Canvas:
    canvas = Canvas(figsize=(4.4, 4.4))
    axes = canvas.add_axes((0.16, 0.32, 0.8, 0.62))
    for method, level, curve in _drawn(measured, levels, quantity):
        mean, low, high = stats.band(curve)
        beta, colour = np.linspace(0, 1, len(mean)), style.colour(method)
        dash = DASHES[0] if level == 0 else DASHES[[n for n in levels if n].index(level) % len(DASHES)]
        axes.plot(beta, mean, color=colour, linestyle=dash, marker=MARKERS[method], markevery=2,
                  label=LABELS[method] if level == 0 else f"{LABELS[method]}, {_sparsity(level)} pruned")
        axes.fill_between(beta, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.set(xlabel=r"position on the path $\beta$", ylabel=NAMES[quantity] + (" (nats)" if "loss" in quantity else ""),
             xticks=(0, 0.25, 0.5, 0.75, 1), title=title)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2, columnspacing=1)
    return canvas


def _drawn(measured: Mapping[str, Curves], levels: list[int], quantity: str) -> list[tuple[str, int, np.ndarray]]:
    """(method, level, curves) to draw; the dense network once."""
    dense = [("dense", 0, measured[METHODS[0]].at(0, quantity))] if 0 in levels else []
    return dense + [(m, level, measured[m].at(level, quantity)) for m in METHODS for level in levels if level]


def _surface_alt(method: Method, c: Curves) -> str:
    mean = np.nanmean(c.train_loss, axis=1)
    parts = [f"level {level}: {row[0]:.2f} and {row[-1]:.2f} at the ends, {row[len(row) // 2]:.2f} midway"
             for level, row in zip(c.levels, mean, strict=True)]
    return f"Surface of training loss over pruning level and path position, {LABELS[method]} subnetworks. {'; '.join(parts)}."


def _lines_alt(measured: Mapping[str, Curves], levels: list[int], quantity: str = "train_loss") -> str:
    parts = []
    for method, level, curve in _drawn(measured, levels, quantity):
        barrier = float(np.nanmean(midpoint_barrier(curve))) if np.isfinite(curve).any() else float("nan")
        which = LABELS[method] if level == 0 else f"{LABELS[method]} at level {level}"
        shape = "no value" if np.isnan(barrier) else f"{'rises' if barrier > 0 else 'falls'} by {abs(barrier):.3f} midway"
        parts.append(f"{which} {shape}")
    return f"Lines of {NAMES[quantity]} along the path between two trainings: {'; '.join(parts)}."


def _rows(measured: Mapping[str, Curves]) -> list[tuple]:
    rows: list[tuple] = [("method", "level", "initialisation", "beta", *NAMES)]
    for method, c in measured.items():
        for i, level in enumerate(c.levels):
            for j in range(c.train_loss.shape[1]):
                name = method if level else "dense"
                rows += [(name, level, j, f"{b:.3f}", *(f"{getattr(c, q)[i, j, k]:.6f}" for q in NAMES))
                         for k, b in enumerate(c.beta)]
    return rows


def _sparsity(level: int) -> str:
    return f"{100 * (1 - 0.8**level):.1f} %"


def _setting(p: Parameters) -> str:
    return f"{p.architecture} of width {p.width} on {p.dataset} at {p.pixels} pixels, profile {p.profile}."


def _band_words(p: Parameters) -> str:
    if len(p.seeds) < 2:
        return "One initialisation: no band can be drawn."
    return f"Bands: 95 % intervals over {_count(len(p.seeds), 'initialisation')}."


def _left_out(measured: Mapping[str, Curves]) -> str:
    named = [line for c in measured.values() for line in c.left_out]
    return f" Left out: {'; '.join(named)}." if named else ""


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
