"""Chapter 07's pictures: the paper's figure 6 with its uncertainty, and the same points as differences."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from synthprune import stats
from synthprune.chapters import plain
from synthprune.chapters.figures import MARKERS, Figure, Panel, Style, Table
from synthprune.chapters.figures.words import (
    absences,
    count,
    incomplete,
    initialisations,
    interval_words,
    level_words,
    minus,
    scene_titles,
)
from synthprune.chapters.overview import Comparison, Parameters, comparisons, not_run, set_words
from synthprune.chapters.settings import decides
from synthprune.results.store import Result
from synthprune.stats import Interval

SIZE = (3.6, 4.4)
SUBJECT = "scene, synthetic set, level"
SHAPES = ("o", "s", "D", "v", "P", "X", "p")
NO_ORDER = "no ratio, or over\na barrier below zero"


def overview(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """The paper's figure 6, and beside it the differences that its ratios are made of."""
    found = comparisons(p, results)
    views = (_View("ratios, synthetic over IMP", "loss-barrier ratio", "test-accuracy ratio", (1, 1),
                   lambda c: (_bar(c.ratio("loss"), c.ratios("loss")) if c.orders else _NO_PLACE,
                              _bar(c.ratio("accuracy"), c.ratios("accuracy")))),
             _View("differences, synthetic less IMP", "loss-barrier difference (nats)", "accuracy difference (points)", (0, 0),
                   lambda c: (_bar(c.difference("loss"), c.differences("loss")),
                              _bar(c.difference("accuracy"), c.differences("accuracy")))))
    panels = [Panel(lambda style, view=view: view.draw(style, found), view.alt(found)) for view in views]
    caption = (f"Profile {html.escape(p.profile)}{'' if decides(p) else ', on data that decide nothing'}."
               f" Open: low level; filled: high level. {level_words(p.both_levels)} A dotted line joins the two levels of one"
               " synthetic set; the number beside"
               " the filled marker is its stored images per class, and a marker's area grows with the logarithm of the"
               " compression ratio (real images per stored image). Left of the IMP marker the synthetic subnetwork has the lower"
               " barrier; on grey stand points whose ratio of barriers is not defined, or does not order them because IMP's"
               " barrier is below zero; there the place from left to right means nothing."
               f" {_bar_words(found)}{_absent(p, results, found)}")
    return Figure(panels, caption, _rows(found), "07_overview")


def accuracy_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Test accuracies with intervals, their ratio and their difference."""
    found = comparisons(p, results)
    rows = [(_label(c), f"{c.compression:.0f}\N{MULTIPLICATION SIGN}", stats.interval(c.synthetic["accuracy"]).text(1),
             stats.interval(c.imp["accuracy"]).text(1), c.ratio("accuracy").text(3), c.difference("accuracy").text(1))
            for c in found]
    return Table(f"Test accuracy: {interval_words(*_scenes(p, found))}",
                 (SUBJECT, "compression", "synthetic, %", "IMP, %", "ratio (figure 6)", "difference, points"),
                 [*rows, *_blank_rows(p, results, 5)])


def barrier_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Barriers with intervals, their ratio where it is defined, and their differences, which always are."""
    found = comparisons(p, results)
    rows = [(_label(c), stats.interval(c.synthetic["loss"]).text(3), stats.interval(c.imp["loss"]).text(3),
             c.ratio("loss").text(2) + ("" if c.orders or np.isnan(c.ratio("loss").mean) else " \N{DAGGER}"),
             c.difference("loss").text(3), c.difference("error").text(2)) for c in found]
    return Table(f"Loss barrier midway, the paper's, and training-error barrier: {interval_words(*_scenes(p, found))}",
                 (SUBJECT, "loss barrier, synthetic, nats", "IMP, nats", "ratio (figure 6)", "difference, nats",
                  "difference of training error barriers, points"), [*rows, *_blank_rows(p, results, 5)],
                 "Differences: synthetic less IMP on the same initialisations; below zero, the synthetic subnetwork has the lower"
                 " barrier. A ratio is not defined where the interval of what it is divided by holds zero; over a barrier below"
                 " zero (\N{DAGGER}) it does not say which of the two is lower.")


def _label(c: Comparison) -> str:
    lost = f" ({count(len(c.left_out), 'failed training')}: left out)" if c.left_out else ""
    few = f" ({incomplete(c.p)})" if incomplete(c.p) else ""
    return f"{plain.scene(c.p.scene)}, {set_words(c.p)}, level {c.level}{few}{lost}"


def _scenes(p: Parameters, found: Sequence[Comparison]) -> list[Parameters]:
    return [c.p for c in found] or [p]


def _bar_words(found: Sequence[Comparison]) -> str:
    """What the bars are, whose points may be of different numbers of initialisations."""
    bars = {1: "none over one initialisation", 2: "the range of two initialisations",
            3: "95&nbsp;% intervals, cut off at the frame"}
    words = [bars[n] for n in sorted({min(len(c.p.seeds), 3) for c in found}, reverse=True)]
    return f"Bars: {'; '.join(words)}." if words else ""


def _blank_rows(p: Parameters, results: Mapping[str, Result], columns: int) -> list[tuple[str, ...]]:
    return [(what, *["not run"] * columns) for what in _not_run(p, results)]


def _absent(p: Parameters, results: Mapping[str, Result], found: Sequence[Comparison]) -> str:
    """Which comparisons wait for more initialisations, and what could not be shown, and why."""
    waiting = [f"{plain.scene(c.p.scene)}, {set_words(c.p)}: {initialisations(c.p)}" for c in found if incomplete(c.p)]
    return absences(incomplete=waiting, left_out=[fault for c in found for fault in c.left_out], not_run=_not_run(p, results))


def _not_run(p: Parameters, results: Mapping[str, Result]) -> list[str]:
    return [plain.label(what.replace(": ", ", ", 1)) for what in not_run(p, results)]


def _bar(of: Interval, values: np.ndarray) -> Interval:
    """A value with what its bar spans: the interval, or of two initialisations (whose interval says nothing) the range."""
    low, high = stats.bounds(values) if of.n == 2 and np.isfinite(of.mean) else (of.low, of.high)
    return replace(of, low=low, high=high)


def _reach(of: Interval) -> list[list[float]]:
    """As matplotlib wants it: the lengths below and above the value."""
    return [[np.nan_to_num(of.mean - of.low)], [np.nan_to_num(of.high - of.mean)]]


_NO_PLACE = Interval(float("nan"), float("nan"), float("nan"), 0)


@dataclass(frozen=True)
class _View:
    """One plot of accuracy against barrier, with IMP at `origin`."""

    title: str
    x: str
    y: str
    origin: tuple[float, float]
    of: Callable[[Comparison], tuple[Interval, Interval]]

    def draw(self, style: Style, found: Sequence[Comparison]) -> Canvas:
        canvas = Canvas(figsize=SIZE)
        axes = canvas.add_axes((0.2, 0.34, 0.77, 0.58))
        axes.set(title=self.title, ylabel=self.y)
        axes.set_xlabel(self.x, loc="left")
        axes.axvline(self.origin[0], color=style.text, linewidth=0.8, zorder=1)
        axes.axhline(self.origin[1], color=style.text, linewidth=0.8, zorder=1)
        strip = self._frame(axes, found)
        axes.plot(*self.origin, marker=MARKERS["imp"], color=style.imp, markersize=9, linestyle="", label="IMP", zorder=4)
        scenes, titles = list(dict.fromkeys(c.p.scene for c in found)), scene_titles([c.p for c in found])
        for n, pair in enumerate(zip(found[::2], found[1::2], strict=True)):
            which = scenes.index(pair[0].p.scene)
            colours = (style.synthetic, *style.others, style.dense)
            self._pair(axes, pair, strip(n), (colours[which % len(colours)], SHAPES[which % len(SHAPES)], titles[scenes[which]]))
        handles = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        axes.legend(handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.4, -0.22),
                    ncols=1 if len(handles) < 5 else 2, fontsize=8, columnspacing=1)
        return canvas

    def _frame(self, axes: Axes, found: Sequence[Comparison]) -> Callable[[int], float]:
        """Set the limits from the values, not from the bars; on the right a strip for points without a place on the axis."""
        points = np.array([[bar.mean for bar in self.of(c)] for c in found] + [list(self.origin)])
        low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
        pad = 0.12 * np.where(high > low, high - low, 1)
        low, high = low - pad, high + pad
        axes.set_ylim(low[1], high[1])
        if np.isfinite(points[:, 0]).all():
            axes.set_xlim(low[0], high[0])
            return lambda n: float("nan")
        wide = 0.6 * (high[0] - low[0])
        axes.axvspan(high[0], high[0] + wide, color=axes.get_xaxis().label.get_color(), alpha=0.08, linewidth=0)
        axes.text(high[0] + wide / 2, -0.02, NO_ORDER, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=8)
        axes.set_xlim(low[0], high[0] + wide)
        axes.set_xticks([tick for tick in axes.get_xticks() if low[0] <= tick <= high[0]])
        return lambda n: high[0] + wide * (n + 1) / (len(found) // 2 + 1)

    def _pair(self, axes: Axes, pair: tuple[Comparison, Comparison], aside: float,
              look: tuple[str, str, str]) -> None:
        """Both levels of one synthetic set; `aside`: the place of what has none on the axis; `look`: colour, shape and label."""
        places, (colour, shape, label) = [], look
        for c, high in zip(pair, (False, True), strict=True):
            x, y = self.of(c)
            place = (x.mean if np.isfinite(x.mean) else aside, y.mean)
            places.append(place)
            area = 30 + 30 * np.log10(max(c.compression, 1))
            axes.errorbar(*place, xerr=_reach(x), yerr=_reach(y), color=colour, elinewidth=1, alpha=0.6, fmt="none", zorder=2)
            axes.scatter(*place, s=area, marker=shape, edgecolor=colour, facecolor=colour if high else "none", linewidth=1.4,
                         label=label if high else None, zorder=3)
            if high:
                axes.annotate(str(c.p.synthetic_per_class), place, (8, 6), textcoords="offset points", fontsize=8)
        if np.isfinite(self.of(pair[0])[0].mean) == np.isfinite(self.of(pair[1])[0].mean):
            axes.plot(*zip(*places, strict=True), color=colour, linestyle=":", linewidth=1.4, zorder=2)

    def alt(self, found: Sequence[Comparison]) -> str:
        def said(c: Comparison) -> str:
            x, y = self.of(c)
            return f"{plain.scene(c.p.scene)}, {set_words(c.p)}, level {c.level}: {self._words(x)}, {self._words(y)}"

        heights = [height for c in found if np.isfinite(height := self.of(c)[1].mean)]
        below = sum(height < self.origin[1] for height in heights)
        lower = f" Less accurate than IMP: {below} of {len(heights)}." if heights else ""
        return (f"Points of {self.y} against {self.x}, {self.title}; IMP at ({self.origin[0]}, {self.origin[1]})."
                f"{lower} Barrier, then accuracy: {'; '.join(map(said, found)) or 'nothing was run'}.")

    def _words(self, bar: Interval) -> str:
        return minus(bar.mean, 3) if np.isfinite(bar.mean) else NO_ORDER.replace("\n", " ")


def _rows(found: Sequence[Comparison]) -> list[tuple]:
    rows: list[tuple] = [("scene", "set", "per_class", "compression", "level", "initialisation",
                          *(f"{quantity}_{method}" for quantity in ("accuracy", "loss_barrier", "error_barrier")
                            for method in ("synthetic", "imp")))]
    for c in found:
        rows += [(c.p.scene, c.p.synthetic, c.p.synthetic_per_class, f"{c.compression:.2f}", c.level, seed,
                  *(f"{of[quantity][n]:.6f}" for quantity in ("accuracy", "loss", "error") for of in (c.synthetic, c.imp)))
                 for n, seed in enumerate(c.p.seeds)]
    return rows
