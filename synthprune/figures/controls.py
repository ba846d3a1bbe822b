"""Chapter 10's pictures: every source of masks side by side, three scans, and what alignment and rewinding change."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure as Canvas

from synthprune import stats
from synthprune.data.facts import FACTS
from synthprune.experiments.controls import SCANS, Measured, Parameters, measured
from synthprune.experiments.settings import METHODS
from synthprune.figures import LABELS, MARKERS, Figure, Panel, Style, Table
from synthprune.figures.drawings import Dot, dots
from synthprune.figures.words import band_words, interval_words, level_words, minus, setting, sparsity
from synthprune.store import Result

QUANTITIES = {"accuracy": "test accuracy, %", "error": "training-error barrier, points"}
WORDS = {"width": "width (channels of the first layer)", "epochs": "epochs on real data",
         "train_per_class": "training images per class"}

Found = Mapping[tuple[str, str, int], Measured]


def sources(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """Accuracy and barrier of every source of masks, one row each, in the order of their accuracy at the first level."""
    of = measured(p, results)
    rows = [("dense", [0]), *((method, p.levels_of(method)) for method in _by_accuracy(p, of))]
    panels = []
    for quantity, title in QUANTITIES.items():
        shown = [(LABELS[method], [Dot(getattr(of["", method, level], quantity), method, filled=level == levels[0])
                                   for level in levels if ("", method, level) in of]) for method, levels in rows]
        line = stats.STABLE_BELOW if quantity == "error" else None
        drawing = functools.partial(dots, rows=shown, title=title, zero=quantity == "error", line=line)
        panels.append(Panel(drawing, _dots_alt(of, rows, quantity)))
    caption = (f"{setting(p)} One row for each way to find a mask; filled: level {p.levels[0]}, hollow: higher levels."
               f" Dotted: two points, below which a network is called stable."
               f" {level_words(p.levels)}{band_words(p.seeds)}{_left_out(of)}")
    data = [("method", "level", "initialisation", *QUANTITIES, "loss_barrier_midway")]
    data += [(method, level, seed, *(f"{value:.6f}" for value in values)) for (variant, method, level), one in of.items()
             if not variant for seed, *values in zip(one.case.p.seeds, one.accuracy, one.error, one.loss, strict=True)]
    return Figure(panels, caption, data, "10_controls_sources")


def _by_accuracy(p: Parameters, of: Found) -> list[str]:
    here = [method for method in p.methods if ("", method, p.levels[0]) in of]
    return sorted(here, key=lambda method: -np.nan_to_num(stats.interval(of["", method, p.levels[0]].accuracy).mean, nan=-1))


def _dots_alt(of: Found, rows: list[tuple[str, list[int]]], quantity: str) -> str:
    means = {(method, level): stats.interval(getattr(of["", method, level], quantity)).mean for method, levels in rows
             for level in levels if ("", method, level) in of}
    said = [f"{LABELS[method]}, level {level}: {minus(mean, 2)}" for (method, level), mean in means.items() if np.isfinite(mean)]
    return f"Dots: {QUANTITIES[quantity]}, mean over initialisations. {'; '.join(said)}."


def source_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Accuracy, both barriers, and the differences to the synthetic mask of the same level, paired."""
    of = measured(p, results)
    rows = []
    for method, level in [("dense", 0), *((m, level) for level in p.levels for m in _by_accuracy(p, of))]:
        one, other = of.get(("", method, level)), of.get(("", "synthetic", level))
        if one is None:
            continue
        less = [stats.interval(getattr(one, q) - getattr(other, q)).text(2) if other and method != "synthetic" else ""
                for q in QUANTITIES]
        pruned = f", level {level} ({sparsity(level)})" if level else ""
        rows.append((f"{LABELS[method]}{pruned}", stats.interval(one.accuracy).text(1), stats.interval(one.error).text(2),
                     stats.interval(one.loss).text(3), *less))
    return Table(f"Where the mask comes from: {interval_words(p)}",
                 ("mask (pruned)", "test accuracy, %", "training-error barrier, points", "loss barrier midway, nats",
                  "accuracy less synthetic's, points", "error barrier less synthetic's, points"), rows,
                 "Differences are taken on the same initialisations.")


def variant_table(p: Parameters, results: Mapping[str, Result], variant: str) -> Table:
    """The chapter's own settings beside a variant ("weights rewound" or "aligned") of them, network by network."""
    of = measured(p, results)
    rows = []
    for (name, method, level), other in of.items():
        if name != variant:
            continue
        one = of["", method, level]
        label = LABELS[method] + (f", level {level}" if level else "")
        row = (label, stats.interval(one.error).text(2), stats.interval(other.error).text(2),
               stats.interval(other.error - one.error).text(2))
        if variant == "aligned":
            row += (stats.interval(100 * other.moved).text(1), f"{100 * 0.8**level:.1f}",
                    stats.interval(100 * other.union).text(1))
        else:
            row += (stats.interval(one.accuracy).text(1), stats.interval(other.accuracy).text(1))
        rows.append(row)
    if variant == "aligned":
        return Table(f"Training-error barrier before and after the channels of one end are permuted: {interval_words(p)}",
                     ("network", "before, points", "after, points", "change, points", "channels moved, %", "mask's density, %",
                      "density of the two masks' union, %"), rows, "After a permutation the path lies in the union of two masks.")
    return Table(f"Rewinding everything, or convolution and linear weights alone: {interval_words(p)}",
                 ("network", "barrier, all rewound, points", "barrier, weights alone, points", "change, points",
                  "accuracy, all rewound, %", "accuracy, weights alone, %"), rows)


def scans(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """How the three barriers move with width, length and amount of data, from the first initialisation."""
    of = measured(p, results)
    lines = {name: _scanned(p, of, name) for name in SCANS if getattr(p, name)}
    panels = [Panel(lambda style, n=name: _scan(style, lines[n], SCANS[n], _own(p, of, SCANS[n])),
                    _scan_alt(lines[name], SCANS[name])) for name in lines]
    caption = (f"{setting(p)} Training-error barrier at level {p.levels[0]} and of the dense network, from initialisation"
               f" {p.seeds[0]} alone: one point each, without an interval. Ring: this chapter's own setting. Dotted: two points.")
    data = [("setting", "value", "method", "barrier_points"), *((SCANS[name], value, method, f"{height:.6f}")
            for name, found in lines.items() for method, points in found.items() for value, height in points)]
    return Figure(panels, caption, data, "10_controls_scans")


def _scanned(p: Parameters, of: Found, name: str) -> dict[str, list[tuple[float, float]]]:
    """{method: [(value, barrier of the first initialisation)]}, the chapter's own setting among them."""
    changed, found = SCANS[name], {}
    for method, level in (("dense", 0), *((method, p.levels[0]) for method in METHODS)):
        cases = {value: of.get((f"{changed} = {value}", method, level)) for value in getattr(p, name)}
        own = of.get(("", method, level))
        points = [(value, float(one.error[0])) for value, one in cases.items() if one is not None]
        if own is not None:
            points.append((_own(p, of, changed), float(own.error[0])))
        found[method] = sorted(points)
    return found


def _own(p: Parameters, of: Found, changed: str) -> float:
    """The chapter's own value; of "all images", the mean number per class."""
    known = next((one.images for (variant, *_), one in of.items() if not variant), 0)
    return getattr(p, changed) or known / len(FACTS[p.dataset].classes)


def _scan(style: Style, lines: Mapping[str, list[tuple[float, float]]], changed: str, own: float) -> Canvas:
    canvas = Canvas(figsize=(3.6, 3.5))
    axes = canvas.add_axes((0.18, 0.3, 0.78, 0.64))
    for method, points in lines.items():
        values, heights = zip(*points, strict=True) if points else ((), ())
        axes.plot(values, heights, color=style.colour(method), marker=MARKERS[method], label=LABELS[method])
        for value, height in points:
            if value == own:
                axes.plot(value, height, "o", markersize=11, markerfacecolor="none", color=style.colour(method))
    axes.axhline(0, color=style.text, linewidth=0.8, zorder=1)
    axes.axhline(stats.STABLE_BELOW, color=style.text, linewidth=1.2, linestyle=":", zorder=1)
    axes.set(xlabel=WORDS[changed], ylabel="training-error barrier (points)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.2), ncols=3, columnspacing=1)
    return canvas


def _scan_alt(lines: Mapping[str, list[tuple[float, float]]], changed: str) -> str:
    said = [f"{LABELS[method]}: {', '.join(f'{minus(height, 2)} at {value:g}' for value, height in points)}"
            for method, points in lines.items()]
    return f"Lines: training-error barrier in points over {WORDS[changed]}. {'; '.join(said)}."


def _left_out(of: Found) -> str:
    named = list(dict.fromkeys(line for one in of.values() for line in one.left_out))
    return f" Left out: {html.escape('; '.join(named))}." if named else ""
