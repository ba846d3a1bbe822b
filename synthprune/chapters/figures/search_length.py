"""The book's own question: how an error barrier moves with the length of the search that found the mask, and why."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from synthprune import stats
from synthprune.chapters.cells import Cell, Measured, above_chance
from synthprune.chapters.controls import Parameters, cells, measured, over_dense, planned
from synthprune.chapters.figures import LABELS, MARKERS, Figure, Panel, Play, Style, Table
from synthprune.chapters.figures.cells import BARS, differing, done_words, images_words, progress, set_words, title
from synthprune.chapters.figures.drawings import limits
from synthprune.chapters.figures.words import extremes, level_words, listed, minus, setting
from synthprune.results.store import Result
from synthprune.stats import Interval

SHOWN = {"error": "training-error barrier (points)", "accuracy": "test accuracy (%)"}
BARRIERS = {"error": "training-error barrier (points)", "test_error": "test-error barrier (points)"}
REFERENCES = ("dense", "magnitude")
"""Networks whose masks take no search: drawn as levels across the picture."""

LINES, SETS = ("-", "--", ":", "-."), ("o", "D", "P", "X")
"""How lengths of retraining, the longest first, and synthetic sets are told apart."""


@dataclass(frozen=True)
class Look:
    """How a cell is drawn: hue by method, marker by method or set, line and filling by the length of its retraining."""

    label: str
    method: str
    marker: str
    line: str
    filled: bool


class Looks:
    """The looks of some cells."""

    def __init__(self, of: Sequence[Cell]) -> None:
        self.lengths = sorted({one.epochs for one in of}, reverse=True)
        self.sets = list(dict.fromkeys(set_words(one) for one in of if _method(one) == "synthetic"))

    def of(self, one: Cell) -> Look:
        method, place = _method(one), self.lengths.index(one.epochs)
        known = self.sets.index(set_words(one)) if method == "synthetic" else 0
        marker = SETS[known % len(SETS)] if method == "synthetic" else MARKERS.get(method, "h")
        label = f"synthetic ({self.sets[known]})" if method == "synthetic" and len(self.sets) > 1 else LABELS[method]
        return Look(label, method, marker, LINES[place % len(LINES)], filled=place == 0)

    def legend(self, canvas: Canvas, style: Style, of: Sequence[Cell], *, lines: bool) -> None:
        """What hues and markers mean, and how lengths of retraining are told apart."""
        handles = [Line2D([], [], color=style.colour(look.method), linestyle="none", marker=look.marker, label=label)
                   for label, look in {look.label: look for look in map(self.of, of)}.items()]
        for n, length in enumerate(self.lengths):
            handles.append(Line2D([], [], color=style.text, linestyle=LINES[n % len(LINES)] if lines else "none", marker="o",
                                  linewidth=1.2, markerfacecolor="none" if n else style.text, label=f"retrained {length} epochs"))
        canvas.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.19), ncols=2, columnspacing=1.2,
                      handlelength=2.4)


def _method(one: Cell) -> str:
    """The method whose hue a cell has: matching steps change neither."""
    return {"imp, steps of synthetic": "imp", "synthetic, steps of imp": "synthetic"}.get(one.method, one.method)


def question(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """Barrier and accuracy over the steps of the search, a line for each length of retraining, at the lowest level."""
    of, level = _of_question(p, results)
    looks = Looks([one.cell for one in of])
    panels = [Panel(functools.partial(_question, of=of, looks=looks, quantity=quantity),
                    _question_alt(of, looks, quantity, level)) for quantity in SHOWN if of]
    across = {"dense": "the dense network", "magnitude": "masks of the largest initial weights, which take no search"}
    drawn = [across[method] for method in REFERENCES if method in {one.cell.method for one in of}]
    lines = f" Lines across: {listed(drawn)}." if drawn else ""
    read = (f" Level {level}; steps are those of one round of the search.{lines} Dotted: two points, below which a network is"
            f" called stable. {level_words([level])}{BARS} Long ones are cut off at the frame." if of else "")
    images = {images_words(one.cell) for one in of}
    few = f" Searches and retraining on {images.pop()} real images per class." if len(images) == 1 else ""
    caption = f"{setting(p)}{few}{read} {_measured_words(of)}{progress(p, results, 'question')}"
    data = [("cell", "masks", "search_steps", "retraining_epochs", "initialisation", "error_barrier_points",
             "test_error_barrier_points", "test_accuracy_percent")]
    data += [(one.cell.name, f'"{looks.of(one.cell).label}"', f"{one.steps:.0f}", one.cell.epochs, seed,
              *(f"{value:.6f}" for value in values))
             for one in of for seed, *values in zip(one.cell.seeds, one.error, one.test_error, one.accuracy, strict=True)
             if seed in one.done]
    return Figure(panels, caption, data, "10_controls_question",
                  Play("search_steps", "SGD steps per round of the search",
                       {"error_barrier_points": BARRIERS["error"], "test_error_barrier_points": BARRIERS["test_error"],
                        "test_accuracy_percent": SHOWN["accuracy"]}, "masks", {"retraining_epochs": "epochs of retraining"},
                       "initialisation", scale="log", line=dict.fromkeys(("error_barrier_points", "test_error_barrier_points"),
                                                                         stats.STABLE_BELOW)))


def _of_question(p: Parameters, results: Mapping[str, Result]) -> tuple[list[Measured], int]:
    """The cells of part "question" that are drawn, dense ones among them, and the level they are of."""
    every = measured(p, results, "question").values()
    level = min((level for one in cells(p, "question") for level in one.levels if level), default=0)
    shown = [one for one in every if one.level in (0, level) and (one.cell.searched or one.cell.method in REFERENCES)]
    return _once(shown), level


def _once(of: Iterable[Measured]) -> list[Measured]:
    """Each training once, however many cells it is: from as many initialisations as there are."""
    found: dict[object, Measured] = {}
    for one in of:
        if one.asked not in found or len(one.done) > len(found[one.asked].done):
            found[one.asked] = one
    return list(found.values())


def _measured_words(of: Sequence[Measured]) -> str:
    """Over how many initialisations."""
    counts = sorted({len(one.done) for one in of})
    return f"Over {listed(counts)} initialisation{'' if counts == [1] else 's'}." if counts else "Nothing was measured yet."


def _series(of: Sequence[Measured], looks: Looks) -> dict[Look, list[Measured]]:
    """The searches that make one line, shortest first."""
    found: dict[Look, list[Measured]] = {}
    for one in sorted((one for one in of if np.isfinite(one.steps)), key=lambda one: one.steps):
        found.setdefault(looks.of(one.cell), []).append(one)
    return found


def _references(of: Sequence[Measured], looks: Looks) -> list[tuple[Look, Measured]]:
    return [(looks.of(one.cell), one) for one in of if one.cell.method in REFERENCES]


def _question(style: Style, of: Sequence[Measured], looks: Looks, quantity: str) -> Canvas:
    canvas = Canvas(figsize=(4.6, 4.4))
    axes = canvas.add_axes((0.13, 0.30, 0.70, 0.67))
    for look, ones in _series(of, looks).items():
        shift = 1 + 0.025 * looks.lengths.index(ones[0].cell.epochs)  # so that bars at one length of search stand apart
        steps = [shift * one.steps for one in ones]
        for x, one in zip(steps, ones, strict=True):
            _bar(axes, x, getattr(one, quantity), style.colour(look.method))
        axes.plot(steps, [stats.interval(getattr(one, quantity)).mean for one in ones], linestyle=look.line, marker=look.marker,
                  color=style.colour(look.method), markerfacecolor=style.colour(look.method) if look.filled else "none",
                  markersize=6)
    _log_steps(axes, [one.steps for one in of if np.isfinite(one.steps)])
    axes.set(ylabel=SHOWN[quantity], ylim=limits([getattr(one, quantity) for one in of]))
    _across(axes, style, [(look, stats.interval(getattr(one, quantity)).mean, one.cell.epochs)
                          for look, one in _references(of, looks)], several=len(looks.lengths) > 1, stable=quantity == "error")
    looks.legend(canvas, style, [one.cell for one in of if one.cell.searched], lines=True)
    return canvas


def _bar(axes: Axes, x: float, values: np.ndarray, colour: str) -> None:
    if np.isfinite(values).sum() > 1:
        axes.plot((x, x), stats.bounds(values), color=colour, linewidth=1.2)


def _log_steps(axes: Axes, steps: Sequence[float]) -> None:
    axes.set_xscale("log")
    if steps:
        low, high = min(steps) / 1.25, max(steps) * 1.25
        numbers = (1, 3) if high > 30 * low else (1, 2, 5)
        ticks = [number * 10**power for power in range(8) for number in numbers if low <= number * 10**power <= high]
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set(xlabel="SGD steps per round of the search")


def _across(axes: Axes, style: Style, levels: Sequence[tuple[Look, float, int]], *, several: bool, stable: bool) -> None:
    """Lines across the picture, that of stability among them where `stable`, named beside it; names that would touch are
    moved apart."""
    known = sorted((one for one in levels if np.isfinite(one[1])), key=lambda one: one[1])
    for look, height, _ in known:
        axes.axhline(height, color=style.colour(look.method), linewidth=1, linestyle=look.line, zorder=1)
    named = [(height, LABELS[look.method].removesuffix(" at init") + f", {length}" * several, style.colour(look.method))
             for look, height, length in known]
    if stable:
        axes.axhline(stats.STABLE_BELOW, color=style.text, linewidth=1.2, linestyle=":", zorder=1)
        named.append((stats.STABLE_BELOW, "stable below", style.text))
    bottom, top = axes.get_ylim()
    place = -np.inf
    for height, words, colour in sorted(named):
        place = max(height, place + 0.055 * (top - bottom))
        axes.text(1.015, (place - bottom) / (top - bottom), words, transform=axes.transAxes, va="center", fontsize=8,
                  color=colour)


def _question_alt(of: Sequence[Measured], looks: Looks, quantity: str, level: int) -> str:
    def value(one: Measured) -> str:
        return minus(stats.interval(getattr(one, quantity)).mean, 2)

    said = []
    for look, ones in _series(of, looks).items():
        first, last = ones[0], ones[-1]
        course = (f"{value(first)} after a search of {first.steps:,.0f} steps" if len(ones) == 1 else
                  f"from {value(first)} after a search of {first.steps:,.0f} steps to {value(last)} after {last.steps:,.0f}")
        said.append(f"{look.label}, retrained {first.cell.epochs} epochs: {course}")
    said += [f"{look.label}, trained {one.cell.epochs} epochs: {value(one)}" for look, one in _references(of, looks)]
    found = "".join(extremes({f"{one.steps:,.0f} steps": stats.interval(getattr(one, quantity)).mean for one in ones}, 2,
                             f"{look.label}, retrained {ones[0].cell.epochs} epochs, over lengths of search. ")
                    for look, ones in _series(of, looks).items())
    return f"Lines: {SHOWN[quantity]} at level {level} over the steps of the search, means. {found}{'; '.join(said)}."


def why(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """Both barriers against how much of the initial magnitudes the masks remember, a point for each cell."""
    of = _once(one for one in measured(p, results, "question", "why").values() if one.level)
    kept = {id(one): above_chance(one, results) for one in of}
    of = [one for one in of if np.isfinite(kept[id(one)]).any()]
    looks = Looks([one.cell for one in of])
    panels = [Panel(functools.partial(_why, of=of, kept=kept, looks=looks, quantity=quantity), _why_alt(of, kept, p, quantity))
              for quantity in BARRIERS if of]
    read = (" To the right, masks that are more like the mask of the largest initial weights. Beside IMP's points: the epochs of"
            f" its search, and what else differs from the retraining. Dotted: two points.{BARS}" if of else "")
    caption = f"{setting(p)}{read} {_measured_words(of)}{progress(p, results, 'question', 'why')}"
    data = [("cell", "masks", "level", "retraining_epochs", "initialisation", "overlap_above_chance_percent",
             "error_barrier_points", "test_error_barrier_points")]
    data += [(one.cell.name, f'"{one.cell.method}"', one.level, one.cell.epochs, seed, *(f"{value:.6f}" for value in values))
             for one in of for seed, *values in zip(one.cell.seeds, kept[id(one)], one.error, one.test_error, strict=True)
             if seed in one.done]
    return Figure(panels, caption, data, "10_controls_why")


def _why(style: Style, of: Sequence[Measured], kept: Mapping[int, np.ndarray], looks: Looks, quantity: str) -> Canvas:
    canvas = Canvas(figsize=(4.6, 4.4))
    axes = canvas.add_axes((0.13, 0.30, 0.83, 0.67))
    for one in of:
        look, across, up = looks.of(one.cell), kept[id(one)], getattr(one, quantity)
        if not np.isfinite(up).any():
            continue
        x, y, colour = stats.interval(across).mean, stats.interval(up).mean, style.colour(look.method)
        _bar(axes, x, up, colour)
        if np.isfinite(across).sum() > 1:
            axes.plot(stats.bounds(across), (y, y), color=colour, linewidth=1.2)
        axes.plot(x, y, marker=look.marker, color=colour, markerfacecolor=colour if look.filled else "none", linestyle="none",
                  markersize=6)
        if look.method == "imp":
            below = one.cell.part == "why"  # such cells often lie where one of the question's does
            axes.annotate(_beside_point(one.cell, of[0].cell.train_per_class), (x, y), (5, -10 if below else 4),
                          textcoords="offset points", fontsize=7, color=style.text)
    axes.axhline(stats.STABLE_BELOW, color=style.text, linewidth=1.2, linestyle=":", zorder=1)
    axes.set(xlabel="overlap with the largest initial weights, above chance (%)", ylabel=BARRIERS[quantity])
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    looks.legend(canvas, style, [one.cell for one in of], lines=False)
    return canvas


def _beside_point(one: Cell, usual: int) -> str:
    """'300, decay 0': the epochs of a search, what else of its recipe is not the retraining's, and images other than usual."""
    images = [f"{images_words(one)} images"] if one.train_per_class != usual else []
    return ", ".join([str(one.searched.recipe.epochs), *differing(one), *images])


def _why_alt(of: Sequence[Measured], kept: Mapping[int, np.ndarray], p: Parameters, quantity: str) -> str:
    several = len({one.level for one in of}) > 1

    def name(one: Measured) -> str:
        cell = one.cell
        search = f", search of {_beside_point(cell, of[0].cell.train_per_class)}" if cell.real else ""
        return f"{title(p, cell)}{search}, retrained {cell.epochs} epochs{f', level {one.level}' if several else ''}"

    said = [f"{name(one)}: {minus(stats.interval(getattr(one, quantity)).mean, 2)} points at"
            f" {minus(stats.interval(kept[id(one)]).mean, 1)} %" for one in of]
    heights = {name(one): stats.interval(getattr(one, quantity)).mean for one in of}
    return (f"Points: {BARRIERS[quantity]} over the overlap with the largest initial weights, means. {extremes(heights, 2)}"
            f"{'; '.join(said)}.")


def table(p: Parameters, results: Mapping[str, Result], *parts: str) -> Table:
    """Every cell of some parts, measured or not: its search, its retraining, accuracy and barriers."""
    of = planned(p, results)
    rows = [_row(p, list(of.values()), one) for one in of.values() if one.cell.part in parts]
    return Table("Every search and retraining: mean [95\N{NO-BREAK SPACE}% interval] over initialisations",
                 ("masks", "images per class", "search, epochs", "steps a round", "learning rate", "weight decay",
                  "retrained, epochs", "test accuracy, %", "training-error barrier, points", "divided by the dense network's",
                  "test-error barrier, points", "divided by the dense network's", "training error of the ends, %",
                  "initialisations"), rows,
                 "Ratios are taken on the same initialisations, and not defined where the dense network's barrier may be zero.")


def _row(p: Parameters, of: list[Measured], one: Measured) -> tuple[str, ...]:
    how, steps = one.cell.searched, one.steps
    search = (f"{how.recipe.epochs}", f"{steps:,.0f}" if steps else "", f"{how.recipe.lr:g}",
              f"{how.recipe.weight_decay:g}") if how else ("", "", "", "")
    label = title(p, one.cell) + (f", level {one.level}" if one.level else "")
    planned_ones = done_words(one) if one.done else f"not run yet ({len(one.cell.seeds)})"

    def text(read: Callable[[], Interval | None], digits: int) -> str:
        found = read() if one.done else None
        return found.text(digits) if found else ""

    def barriers(quantity: str) -> tuple[str, str]:
        return (text(lambda: stats.interval(getattr(one, quantity)), 2), text(lambda: over_dense(of, one, quantity), 2))

    return (label, images_words(one.cell), *search, f"{one.cell.epochs}", text(lambda: stats.interval(one.accuracy), 1),
            *barriers("error"), *barriers("test_error"), text(lambda: stats.interval(one.left), 2), planned_ones)
