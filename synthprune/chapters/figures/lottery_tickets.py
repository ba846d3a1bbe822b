"""Chapter 08's pictures: the paper's figure 7, and the same points beside the dense network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from synthprune import stats
from synthprune.chapters.figures import Figure, Panel, Style, Table
from synthprune.chapters.figures.distilled_pruning import at_ends, dense_alt, draw_dense, line_alt, over_levels
from synthprune.chapters.figures.drawings import Line, in_rows, limits
from synthprune.chapters.figures.words import interval_words, left_out_words, line_words, listed, minus, setting, sparsity
from synthprune.chapters.lottery_tickets import (
    MARGIN,
    Parameters,
    accuracies,
    beside_dense,
    later_than_imp,
    measured,
    surest_ticket,
    ticket_levels,
    title,
)
from synthprune.chapters.paths import left_out
from synthprune.results.store import Result

DEEPEST = -6.0
"""Points below the dense network at which the second panel is cut off: far below, no ticket is looked for."""
COLOURS = {"k0": lambda style: style.imp, "late": lambda style: style.others[0], "start": lambda style: style.synthetic}
MARKS = {"k0": "^", "late": "D", "start": "o"}


def trials(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """The paper's figure 7, and beside it the difference to the dense network that makes a ticket."""
    p, here = measured(p, results)
    dense = accuracies(p, results, here[0], 0) if here else np.full(len(p.seeds), np.nan)
    lines = [_line(p, trial, [accuracies(p, results, trial, level) for level in p.levels]) for trial in here]
    beside = [_line(p, trial, [beside_dense(p, results, trial, level) for level in p.levels]) for trial in here]
    shared = {"mark": [p.start_level], "anchor": 0.42}
    frame = limits([np.array([0.0, -2 * MARGIN]), *(np.maximum(line.values, DEEPEST) for line in beside)])
    panels = [
        Panel(lambda style: over_levels(style, lines, p.levels, lambda axes: draw_dense(axes, style, dense), **shared,
                                        ylabel="test accuracy (%)", ylim=limits([dense, *(line.values for line in lines)])),
              f"Lines of test accuracy in percent over pruning levels. {at_ends(lines, 1)}{dense_alt(dense)}; {_said(lines)}."),
        Panel(lambda style: over_levels(style, beside, p.levels, lambda axes: _margin(axes, style), **shared,
                                        ylabel="test accuracy less dense (points)", ylim=frame),
              "Lines of test accuracy less that of the dense network, in points, over pruning levels, with the line of tickets at"
              f" {minus(-MARGIN, 1)}. {at_ends(beside, 1)}{_said(beside)}.")]
    deep = any((line.values < DEEPEST).any() for line in beside)
    cut = f" The second panel ends {minus(-DEEPEST, 0)} points below dense." if deep else ""
    caption = (f"{setting(p)} Test accuracy after training on the real images; then the same less that of the dense network from"
               f" the same initialisation. {line_words(p.seeds)} Upright line: level {p.start_level}, up to which the masks of"
               " the synthetic start are found on the synthetic set. Levels count all pruning."
               f"{cut}{left_out_words(left_out(results, p.scene))}")
    rows = [("trial", "level", "initialisation", "test_accuracy", "less_dense"),
            *((f'"{one.label}"', level, *row) for one, two in zip(lines, beside, strict=True) for n, level in enumerate(p.levels)
              for row in in_rows(p.seeds, one.values[:, n], two.values[:, n], digits=4))]
    return Figure(panels, caption, rows, "08_lottery_tickets")


def _line(p: Parameters, trial: str, values: Sequence[np.ndarray]) -> Line:
    return Line(title(p, trial), COLOURS[trial], p.levels, np.transpose(values), MARKS[trial])


def _said(lines: Sequence[Line]) -> str:
    return "; ".join(map(line_alt, lines)) or "nothing was run"


def _margin(axes: Axes, style: Style) -> None:
    axes.axhline(0, color=style.dense, linewidth=1.4, linestyle=(0, (4, 2)), label="dense")
    axes.axhline(-MARGIN, color=style.text, linewidth=1.2, linestyle=":", label=f"{MARGIN} points below")


def ticket_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """The sparsest ticket of every trial, and how much later than IMP's it comes."""
    rows = []
    p, here = measured(p, results)
    for trial in here:
        of, sure = ticket_levels(p, results, trial), surest_ticket(p, results, trial)
        later = later_than_imp(p, results, trial) if trial != "k0" and "k0" in here else None
        rows.append((f"{title(p, trial)}{' (matching, no ticket)' if trial == 'late' else ''}",
                     listed([_level(p, level) for level in of]),
                     "" if later is None else _counted(later),
                     "at none" if sure is None else f"{sure} ({sparsity(sure)})"))
    return Table(f"The highest level that reaches the dense network less {MARGIN} points of test accuracy",
                 ("trial", f"on initialisation{'s' * (len(p.seeds) > 1)} {listed(p.seeds)}", "later than IMP, k = 0, levels",
                  "with its whole interval"), rows,
                 f"0: at no level. A trial that reaches the line at the last level run may have sparser tickets: from there a"
                 f" difference is the least that it can be, and between two such levels none can be told. Differences:"
                 f" {interval_words(p)}."
                 + " With two initialisations an interval may be narrow by chance." * (len(p.seeds) == 2))


def _counted(values: np.ndarray) -> str:
    """Their mean and interval, and of how many initialisations, where that is not all."""
    there = int(np.isfinite(values).sum())
    return stats.interval(values).text(1) + f" ({there} of {len(values)})" * (0 < there < len(values))


def _level(p: Parameters, level: float) -> str:
    if not np.isfinite(level):
        return "dense diverged"
    return f"{level:.0f}{' (last level run)' if level == p.last_level else ''}"


def level_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Every point of the figure beside the dense network, and k > 0 beside the synthetic start."""
    p, here = measured(p, results)
    both = {"late", "start"} <= set(here)
    rows = []
    for level in p.levels:
        of = {trial: accuracies(p, results, trial, level) for trial in here}
        lost = sum(int(np.isnan(values).sum()) for values in of.values())
        rows.append((f"level {level} ({sparsity(level)}){f', {lost} left out' if lost else ''}",
                     *(stats.interval(values).text(1) for values in of.values()),
                     *(stats.interval(beside_dense(p, results, trial, level)).text(1) for trial in here),
                     *([stats.interval(of["late"] - of["start"]).text(1)] if both else [])))
    header = ("level (pruned)", *(f"{title(p, trial)}, %" for trial in here),
              *(f"{title(p, trial)}, less dense, points" for trial in here),
              *([f"k = {p.rewind_epoch} less synthetic start, points"] if both else []))
    return Table(f"Test accuracy after training: {interval_words(p)}", header, rows,
                 _dense_words(accuracies(p, results, here[0], 0), results) if here else "")


def _dense_words(dense: np.ndarray, results: Mapping[str, Result]) -> str:
    """The dense network's accuracy, and how finely the test images can tell it from another."""
    mean, images = stats.interval(dense).mean / 100, next(iter(results.values())).metrics["test_images"]
    if not np.isfinite(mean):
        return "The dense network diverged."
    return (f"Dense: {stats.interval(dense).text(1)} %. One standard error of such an accuracy on {images} test images is"
            f" {100 * np.sqrt(mean * (1 - mean) / images):.1f} points.")
