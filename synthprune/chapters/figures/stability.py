"""Chapter 04's pictures: the paper's figures 3 and 4 from measured paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas

from synthprune import stats
from synthprune.analysis.barriers import midpoint_barrier
from synthprune.chapters.figures import LABELS, MARKERS, Figure, Panel, Play, Style, Table, Verdict
from synthprune.chapters.figures.drawings import Line, along_path, in_each, limits, line_of_stability
from synthprune.chapters.figures.words import (
    BARRIERS,
    absences,
    count,
    interval_words,
    level_words,
    line_words,
    listed,
    minus,
    setting,
    titled,
)
from synthprune.chapters.paths import Paths
from synthprune.chapters.settings import METHODS, Method
from synthprune.chapters.stability import (
    Levels,
    Parameters,
    batch_norm_statistics,
    curves,
    differences,
    measured_scenes,
    paths,
    table,
)
from synthprune.results.store import Result

DASHES = ("-", (0, (4, 2)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
OTHER_DASH = 3
NAMES = {"train_loss": "training loss", "train_error": "training error", "test_loss": "test loss", "test_error": "test error"}
RISES = {"train_error_rise": "rise of training error (points)", "test_error_rise": "rise of test error (points)"}
"""Columns behind the figures: percentage points above the mean of the ends."""
NOTHING = "Nothing to draw: every subnetwork collapsed or diverged."
UNCHANGED = 0.0005
SIZE, WIDE = (3.6, 3.7), (5.8, 4.2)

in_scenes = in_each(measured_scenes)


def surfaces(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """Loss against level and position on the path for both methods, beside the levels the paper combines."""
    measured = _measured(p, results)
    frame = _common_limits(measured)
    panels = [Panel(lambda style, m=m: _surface(style, m, measured[m], frame, p), _surface_alt(m, measured[m])) for m in METHODS]
    lines = _lines_of(p, measured, combined_levels(p), "train_loss", "dense and sparse together")
    panels.append(lines.panel(SIZE))
    one = len(p.levels) == 1
    sheet = "" if one else "; between them the sheet is only drawn; colour repeats height"
    caption = (f"{setting(p)} Training loss along the straight line between two trainings. Surfaces: measured at level"
               f"{'' if one else 's'} {listed(p.levels)} (the line{'' if one else 's'}){sheet}. Their vertical axes do not begin"
               f" at zero, and both are the same. {level_words(p.levels)} {lines.words(p)}{_left_out(measured)}")
    return Figure(panels, caption, _rows(p, measured), "04_stability_paths")


def one_level(p: Parameters, results: Mapping[str, Result], level: int) -> Figure | Verdict:
    """Rise of training error, and loss, along the path at one level, both methods and the dense network.

    Scenes have levels of their own: one that does not have this level says so.
    """
    if level not in p.levels:
        return Verdict("open", "Not run", f"Level {level} is none of the levels of {p.scene}, which are {listed(p.levels)}.")
    measured = _measured(p, results)
    shown = sorted({0, level} & set(p.levels))
    lines = [_lines_of(p, measured, shown, quantity, f"{NAMES[quantity]}, level {level}")
             for quantity in ("train_error", "train_loss")]
    words = next((line for line in lines if line.clipped), lines[0]).words(p)
    caption = (f"{setting(p)} The path at level {level}: how far the training error lies above the mean of its ends, and the"
               f" training loss. {level_words([level])} {words}{_left_out(measured)}")
    return Figure([line.panel(SIZE) for line in lines], caption, _rows(p, measured), f"04_stability_level_{level}",
                  Play("beta", "position on the path",
                       RISES | {"train_loss": "training loss (nats)", "test_loss": "test loss (nats)"},
                       "method", {"level": "level"}, "initialisation", always=("dense",), instead=True,
                       start={"level": str(shown[-1])}, line=dict.fromkeys(RISES, stats.STABLE_BELOW)))


def hero(p: Parameters, results: Mapping[str, Result], beside: Mapping[str, Paths]) -> Figure:
    """The lines of the dense network and of the first sparse level alone, wide: the front page's picture. Those of two levels
    lie over one another.

    `beside`: paths of further methods at that level, from as many initialisations.
    """
    measured, shown = _measured(p, results), combined_levels(p)[:2]
    lines = _lines_of(p, measured, shown, "train_error", "")
    more = {(method, shown[-1]): _line(p, method, shown[-1], paths, "train_error") for method, paths in beside.items()}
    lines = replace(lines, lines={**lines.lines, **more})
    caption = ("How far the training error rises on the straight line between two trainings of one subnetwork. The rise is a"
               " barrier; the subnetwork is stable where it stays below two points."
               f" {setting(p)} {level_words(shown)} {lines.words(p)}{_left_out(measured)}")
    return Figure([lines.panel(WIDE)], caption, _rows(p, measured), "04_stability_lines")


def barrier_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Accuracy, barriers with intervals, verdicts; where there is batch norm, with its statistics treated both ways."""
    rows = []
    for statistics in batch_norm_statistics(p):
        suffix = "" if len(batch_norm_statistics(p)) == 1 else f", batch norm {statistics}"
        for (method, level), of in table(p, results, statistics).items():
            lost = len(p.seeds) - of.train_error.n
            missing = f" ({lost} of {len(p.seeds)} left out)" if lost else ""
            rows.append((f"{titled(method, level) if level else 'dense, level 0'}{suffix}{missing}", *of.cells))
    return Table(
        f"Barriers between two trainings: {interval_words(p)}",
        ("subnetwork (pruned)", *BARRIERS), rows,
        _worth(results[next(iter(paths(p)))]))


def difference_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """How much more IMP subnetworks and the dense network rise than synthetic subnetworks, start by start."""
    rows = [(f"{label}, level {level}", loss.text(3), error.text(2), verdict)
            for (label, level), (loss, error, verdict) in differences(p, results).items()]
    return Table(
        f"Differences of barriers on the same initialisations: {interval_words(p)}",
        ("difference", "loss barrier midway (paper), nats", "training error barrier, points", "barrier of the first"),
        rows, "Above zero: the first has the higher barrier.")


def combined_levels(p: Parameters) -> list[int]:
    """Dense, about 60 % and about 87 % sparse where they were asked for (the paper's), else every level."""
    paper = [level for level in (0, 4, 9) if level in p.levels]
    return paper if len(paper) > 1 else list(p.levels)


@dataclass(frozen=True)
class _Lines:
    """A plot of lines along the path, by method and level, in the unit of the plot."""

    lines: Mapping[tuple[str, int], Line]
    quantity: str
    title: str

    @property
    def drawn(self) -> dict[tuple[str, int], Line]:
        return {of: line for of, line in self.lines.items() if np.isfinite(line.mean).all()}

    @property
    def limits(self) -> tuple[float, float]:
        low, high = limits([line.values for line in self.drawn.values()])
        if "loss" in self.quantity:
            values = np.concatenate([line.values[np.isfinite(line.values)] for line in self.drawn.values()])
            return 0.0, 1.08 * float(values.max()) or 1.0
        return min(-0.5, low), max(2.5, high)

    @property
    def clipped(self) -> bool:
        """Whether a band reaches out of the frame."""
        bands = [line.band for line in self.drawn.values()]
        return any((low < self.limits[0]).any() or (high > self.limits[1]).any() for low, high in bands)

    def words(self, p: Parameters) -> str:
        return line_words(p.seeds, thin=True, cut=", cut off at the frame" if len(p.seeds) > 2 and self.clipped else "")

    def panel(self, size: tuple[float, float]) -> Panel:
        return Panel(lambda style: self.draw(style, size), self.alt()) if self.drawn else Panel(
            lambda style: _blank(style, size, self.title), f"{self.title}. {NOTHING}" if self.title else NOTHING)

    def draw(self, style: Style, size: tuple[float, float]) -> Canvas:
        wide = size == WIDE
        place = (0.12, 0.32, 0.86, 0.65) if wide else (0.18, 0.36, 0.78, 0.56)
        loss, name = "loss" in self.quantity, NAMES[self.quantity]
        what = f"{name} (nats)" if loss else f"rise of {name} above\nthe mean of its ends (points)"
        columns = 3 if wide and len(self.drawn) < 4 else 2
        axes = along_path(style, list(self.drawn.values()), size, place, self.title, what, self.limits, columns)
        if not loss:
            line_of_stability(axes, style, "stable below")
        return axes.figure

    def alt(self) -> str:
        drawn = self.drawn
        said = [f"{line.label}: {self._shape(line.mean) if of in drawn else 'no value'}" for of, line in self.lines.items()]
        rise = "" if "loss" in self.quantity else "rise of "
        found = "".join(self._lower(level) for level in dict.fromkeys(level for _, level in self.lines if level))
        return f"Lines of {rise}{NAMES[self.quantity]} along the path between two trainings.{found} {'; '.join(said)}."

    def _shape(self, mean: np.ndarray) -> str:
        if "loss" not in self.quantity:
            beta = np.argmax(mean) / (len(mean) - 1)
            return f"highest {minus(mean.max(), 2)} points above the mean of the ends, at beta {beta:.2f}"
        barrier = float(midpoint_barrier(mean))
        if abs(barrier) < UNCHANGED:
            return "unchanged midway"
        return f"{'rises' if barrier > 0 else 'falls'} by {abs(barrier):.3f} nats midway"

    def _lower(self, level: int) -> str:
        means = {method: float(line.mean.mean()) for (method, of), line in self.drawn.items() if of == level}
        if len(means) < 2:
            return ""
        low, high = sorted(means.values())[:2]
        those, most = ("both", "lower") if len(means) == 2 else ("the lowest two", "lowest")
        if high - low < UNCHANGED:
            return f" At level {level} {those} methods lie alike, on average over the path."
        return f" At level {level} {LABELS[min(means, key=means.__getitem__)]} lies {most}, on average over the path."


def _lines_of(p: Parameters, measured: Mapping[Method, Levels], levels: Sequence[int], quantity: str, title: str) -> _Lines:
    """Losses as they are, errors as percentage points above the mean of the ends; the dense network once."""
    lines = {}
    for method, level in [*((METHODS[0], 0) for level in levels if level == 0),
                          *((method, level) for method in METHODS for level in levels if level)]:
        of, kind = measured[method][level], method if level else "dense"
        lines[kind, level] = _line(p, kind, level, of, quantity)
    return _Lines(lines, quantity, title)


def _line(p: Parameters, kind: str, level: int, of: Paths, quantity: str) -> Line:
    values = of.rises(quantity) if "error" in quantity else of.curves(quantity)
    return Line(titled(kind, level, pruned=False), lambda style: style.colour(kind), np.linspace(0, 1, p.points), values,
                MARKERS[kind], _dash(p, level))


def _dash(p: Parameters, level: int) -> Any:
    """One dash per level, the same in every figure."""
    known = combined_levels(p)
    return DASHES[known.index(level) % len(DASHES) if level in known else OTHER_DASH]


def _surface(style: Style, method: Method, c: Levels, frame: tuple[float, float], p: Parameters) -> Canvas:
    """Strips and lines from the back (the highest level) to the front, so that the front hides what is behind it."""
    from mpl_toolkits.mplot3d import proj3d

    title = f"{LABELS[method]} subnetworks"
    means, levels, points = _means(c), list(c), np.linspace(0, 1, p.points)
    if not np.isfinite(means).any():
        return _blank(style, SIZE, title)
    axes = Canvas(figsize=SIZE).add_axes((0, 0.02, 0.88, 0.94), projection="3d", computed_zorder=False)
    axes.set(xlim=(0, 1), zlim=frame, title=title, yticks=levels, xticks=(0, 0.5, 1), ylabel="pruning level")
    axes.set_ylim(*((levels[0], levels[-1]) if len(levels) > 1 else (levels[0] - 1, levels[0] + 1)))
    axes.set_xlabel(r"position on the path $\beta$")
    axes.set_zlabel("training loss (nats)", labelpad=4)
    axes.tick_params(labelsize=9, pad=1)
    axes.view_init(elev=24, azim=-58)
    axes.set_box_aspect((1, 1, 0.85), zoom=0.92)
    view = axes.get_proj()

    def seen(i: int) -> np.ndarray:
        """The loss of level i, NaN where the level before it stands in the way."""
        x, y, _ = proj3d.proj_transform(points, np.full_like(points, levels[i]), means[i], view)
        front_x, front_y, _ = proj3d.proj_transform(points, np.full_like(points, levels[i - 1]), means[i - 1], view)
        return np.where(y < np.interp(x, front_x, front_y, left=-np.inf, right=-np.inf), np.nan, means[i])

    for order, i in enumerate(reversed(range(len(levels)))):
        sheet = i > 0 and bool(np.isfinite(means[i - 1 : i + 1]).all())
        if sheet:
            axes.plot_surface(*np.meshgrid(points, levels[i - 1 : i + 1]), means[i - 1 : i + 1], cmap="cividis",
                              vmin=frame[0], vmax=frame[1], rstride=1, cstride=1, edgecolor=style.grid, linewidth=0.2,
                              zorder=10 + 2 * order)
        level, kind = levels[i], method if levels[i] else "dense"
        axes.plot(points, np.full_like(points, level), seen(i) if sheet else means[i], color=style.colour(kind),
                  linestyle=_dash(p, level), marker=MARKERS[kind], markevery=2, markeredgecolor="white", markeredgewidth=0.5,
                  linewidth=1.8 if level in combined_levels(p) else 1, zorder=11 + 2 * order)
    return axes.figure


def _means(c: Levels) -> np.ndarray:
    """(levels, points): mean training loss, NaN for a level without a value."""
    return np.array([stats.band(of.curves("train_loss"))[0] for of in c.values()])


def _common_limits(measured: Mapping[Method, Levels]) -> tuple[float, float]:
    values = np.concatenate([_means(c).ravel() for c in measured.values()])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)


def _surface_alt(method: Method, c: Levels) -> str:
    title = f"{LABELS[method]} subnetworks"
    means = _means(c)
    if not np.isfinite(means).any():
        return f"{title}. {NOTHING}"
    parts = [f"level {level}: {row[0]:.3f} and {row[-1]:.3f} at the ends, {row[len(row) // 2]:.3f} midway"
             if np.isfinite(row).all() else f"level {level}: no value" for level, row in zip(c, means, strict=True)]
    rises = {level: float(midpoint_barrier(row)) for level, row in zip(c, means, strict=True) if np.isfinite(row).all()}
    most = max(rises, key=rises.__getitem__)
    above = sum(rise > UNCHANGED for rise in rises.values())
    found = f", most at level {most}, by {rises[most]:.3f} nats" if above else ""
    return (f"Surface of training loss over pruning level and path position, {title}. Midway the loss lies above the mean of the"
            f" ends at {above} of {count(len(rises), 'level')}{found}. {'; '.join(parts)}.")


def _blank(style: Style, size: tuple[float, float], title: str) -> Canvas:
    axes = Canvas(figsize=size).add_axes((0, 0, 1, 0.92))
    axes.set_axis_off()
    axes.set_title(title)
    axes.text(0.5, 0.5, NOTHING.replace(": ", ":\n").replace("collapsed", "\ncollapsed"), ha="center", va="center")
    return axes.figure


def _measured(p: Parameters, results: Mapping[str, Result]) -> dict[Method, Levels]:
    return {method: curves(p, results, method) for method in METHODS}


def _rows(p: Parameters, measured: Mapping[Method, Levels]) -> list[tuple]:
    rows: list[tuple] = [("method", "level", "initialisation", "beta", *NAMES, *RISES)]
    for method, level in ((method, level) for method, of in measured.items() for level in of if level or method == METHODS[0]):
        of = measured[method][level]
        values = np.stack([*(of.each(quantity).mean(1) for quantity in NAMES),
                           *(of.rises(name.removesuffix("_rise")) for name in RISES)], axis=-1)
        rows += [(method if level else "dense", level, seed, f"{beta:.3f}", *(f"{value:.6f}" for value in values[j, k]))
                 for j, seed in enumerate(p.seeds) for k, beta in enumerate(np.linspace(0, 1, p.points))]
    return rows


def _worth(path: Result) -> str:
    """What one image is worth, since a barrier of an error moves in such steps."""
    parts = [f"{100 / path.metrics[name]:.2g} points of {kind} error ({path.metrics[name]} images)"
             for kind, name in (("training", "train_images"), ("test", "test_images")) if path.metrics.get(name)]
    return f"One image is worth {' and '.join(parts)}." if parts else ""


def _left_out(measured: Mapping[Method, Levels]) -> str:
    return absences(left_out=[line for of in measured.values() for paths in of.values() for line in paths.left_out])
