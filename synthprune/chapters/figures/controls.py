"""Chapter 10's pictures of where masks come from: every source side by side, and what alignment and rewinding change."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from synthprune import stats
from synthprune.chapters.cells import Measured, of_cell, partner
from synthprune.chapters.controls import Parameters, aligned, images, measured, planned
from synthprune.chapters.figures import LABELS, Figure, Panel, Table
from synthprune.chapters.figures.cells import BARS, done_words, progress, title
from synthprune.chapters.figures.drawings import Dot, dots
from synthprune.chapters.figures.words import extremes, level_words, minus, setting, sparsity
from synthprune.results.store import Result

SHOWN = {"accuracy": "test accuracy, %", "error": "training-error barrier, points"}

Rows = Sequence[tuple[str, Sequence[Measured]]]


def sources(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """Accuracy and barrier of every source of masks, one row each, in the order of their accuracy at the lowest level."""
    of = measured(p, results, "sources")
    rows = _rows(p, of)
    levels = sorted({level for _, level in of if level})
    panels = []
    for quantity, words in SHOWN.items() if rows else ():
        shown = [(label, [Dot(getattr(one, quantity), one.cell.method, filled=one.level in (0, *levels[:1])) for one in row])
                 for label, row in rows]
        line = stats.STABLE_BELOW if quantity == "error" else None
        drawing = functools.partial(dots, rows=shown, title=words, zero=quantity == "error", line=line)
        panels.append(Panel(drawing, _dots_alt(rows, quantity)))
    filled = f"filled: level {levels[0]}, hollow: higher levels" if levels else "no sparse network was measured yet"
    caption = (f"{setting(p)} Retrained on {images(p)}. One row for each way to find a mask; {filled}. Dotted: two points,"
               f" below which a network is called stable. {level_words(levels) if levels else ''}{BARS}"
               f"{progress(p, results, 'sources')}")
    data = [("cell", "method", "level", "initialisation", *SHOWN, "test_error", "loss_barrier_midway")]
    data += [(one.cell.name, f'"{one.cell.method}"', one.level, seed, *(f"{value:.6f}" for value in values))
             for one in of.values() for seed, *values in zip(one.cell.seeds, one.accuracy, one.error, one.test_error, one.loss,
                                                             strict=True) if seed in one.done]
    return Figure(panels, caption, data, "10_controls_sources")


def _rows(p: Parameters, of: Mapping[tuple[str, int], Measured]) -> Rows:
    """A row for each cell with its levels: the dense network, then the others by falling accuracy at their lowest level."""
    found: dict[str, list[Measured]] = {}
    for one in of.values():
        found.setdefault(one.cell.name, []).append(one)
    ordered = sorted(found.values(), key=lambda row: (row[0].cell.method != "dense",
                                                      -np.nan_to_num(stats.interval(row[0].accuracy).mean, nan=-1)))
    return [(title(p, row[0].cell), row) for row in ordered]


def _dots_alt(rows: Rows, quantity: str) -> str:
    means = [(label, one.level, stats.interval(getattr(one, quantity)).mean) for label, row in rows for one in row]
    seen = {f"{label}, level {level}" if level else label: mean for label, level, mean in means}
    said = [f"{label}, level {level}: {minus(mean, 2)}" for label, level, mean in means if np.isfinite(mean)]
    return f"Dots: {SHOWN[quantity]}, mean over initialisations. {extremes(seen, 2)}{'; '.join(said)}."


def source_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Accuracy, barriers, and the differences to the synthetic mask of the same level, paired."""
    of = measured(p, results, "sources")
    ordered = [one for _, row in _rows(p, of) for one in row]
    rows = []
    for one in sorted(ordered, key=lambda one: one.level):
        asked = one.cell.like(one.level, method="synthetic") if one.level else ()
        other = partner(of.values(), asked, one.cell.seeds) if one.cell.method != "synthetic" else None
        less = [stats.interval(one.of(q, other[1]) - other[0].of(q, other[1])).text(2) if other else "" for q in SHOWN]
        pruned = f", level {one.level} ({sparsity(one.level)})" if one.level else ""
        rows.append((f"{title(p, one.cell)}{pruned}", stats.interval(one.accuracy).text(1), stats.interval(one.error).text(2),
                     stats.interval(one.test_error).text(2), stats.interval(one.loss).text(3), *less, done_words(one)))
    return Table("Where the mask comes from: mean [95\N{NO-BREAK SPACE}% interval] over initialisations",
                 ("mask (pruned)", "test accuracy, %", "training-error barrier, points", "test-error barrier, points",
                  "loss barrier midway, nats", "accuracy less synthetic's, points", "error barrier less synthetic's, points",
                  "initialisations"), rows, "Differences are taken on the same initialisations.")


def rewinding(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Every cell of part "rewind" beside the same cell with the chapter's own rewind."""
    of, rows = planned(p, results), []
    for one in (one for one in of.values() if one.cell.part == "rewind"):
        other = partner((it for it in of.values() if it is not one), one.cell.like(one.level, rewind=p.rewind), one.cell.seeds)
        rows.append((f"{title(p, one.cell)}, level {one.level}", f"{one.cell.train_per_class or 'all'}", f"{one.cell.epochs}",
                     *_beside(one, other, "error", 2), *_beside(one, other, "accuracy", 1), done_words(one)))
    return Table("Another rewind: mean [95\N{NO-BREAK SPACE}% interval] over initialisations",
                 ("mask", "real images per class", "retrained, epochs", "barrier, points", "barrier, usual rewind, points",
                  "change, points", "accuracy, %", "accuracy, usual rewind, %", "change, points", "measured"), rows,
                 "Usual rewind: the same network rewound as in the rest of the chapter, on the same initialisations. Measured:"
                 " how many of the planned initialisations.")


def _beside(one: Measured, other: tuple[Measured, list[int]] | None, quantity: str, digits: int) -> list[str]:
    """A quantity, that of the `other`, and by how much the first exceeds it, initialisation by initialisation."""
    own = stats.interval(getattr(one, quantity)).text(digits)
    if other is None:
        return [own, "", ""]
    theirs = other[0].of(quantity, other[1])
    return [own, stats.interval(theirs).text(digits), stats.interval(one.of(quantity, other[1]) - theirs).text(digits)]


def alignment(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Barriers before and after the channels of one end are permuted to match the other's, network by network."""
    rows = []
    for cell, level in aligned(p):
        one, other = of_cell(cell, level, results), of_cell(cell, level, results, aligned=True)
        rows.append((LABELS[cell.method] + (f", level {level}" if level else ""), stats.interval(one.error).text(2),
                     stats.interval(other.error).text(2), stats.interval(other.error - one.error).text(2),
                     stats.interval(100 * other.moved).text(1), f"{100 * 0.8**level:.1f}",
                     stats.interval(100 * other.union).text(1), done_words(other)))
    return Table("Training-error barrier before and after the channels of one end are permuted: mean [95\N{NO-BREAK SPACE}%"
                 " interval] over initialisations",
                 ("network", "before, points", "after, points", "change, points", "channels moved, %", "mask's density, %",
                  "density of the two masks' union, %", "initialisations"), rows,
                 "After a permutation the path lies in the union of two masks.")
