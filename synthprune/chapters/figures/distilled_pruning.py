"""Chapter 03's pictures: the algorithm (the paper's figure 1), accuracy against sparsity and what a mask costs (figure 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from synthprune import stats
from synthprune.chapters.distilled_pruning import (
    COUNTS,
    SHOWN,
    Parameters,
    accuracies,
    failed,
    measured_scenes,
    paper_setting,
    ratios,
    real_images,
    shortfalls,
)
from synthprune.chapters.entries import cost, decoded_images, search
from synthprune.chapters.figures import LABELS, MARKERS, Figure, Panel, Play, Stack, Style, Table
from synthprune.chapters.figures.drawings import Line, in_each, in_rows, limits
from synthprune.chapters.figures.words import (
    count,
    extremes,
    interval_words,
    left_out_words,
    line_words,
    mean_text,
    minus,
    scene_title,
    setting,
    sparsity,
    titled,
    whole,
)
from synthprune.chapters.settings import METHODS, Method, Settings
from synthprune.data.facts import facts
from synthprune.results.store import Result

SIZE = (3.6, 4.0)
TRAINED, UNTRAINED = SHOWN[:3], ("synthetic", *SHOWN[3:])
"""What the first panel compares, as figure 2 does; and what the second does, ours."""
DASHES = {"training_points": "-", "visits": (0, (4, 2)), "steps": (0, (1, 1.2))}
START = "\N{GREEK SMALL LETTER THETA}\N{SUBSCRIPT ZERO}"
NOTHING = "no value: every one collapsed or diverged"
TICKS = 6

in_scenes = in_each(measured_scenes)


# The algorithm.


def algorithm(p: Parameters) -> Figure:
    """The paper's figure 1 with this run's numbers, for distilled pruning and for IMP."""
    titles = {"synthetic": "distilled pruning", "imp": "IMP"}
    words = {method: [" ".join(box.split()) for box in _steps(p, method)] for method in METHODS}
    panels = [Panel(lambda style, method=method: _algorithm(style, _steps(p, method), method, titles[method]),
                    f"Diagram of {titles[method]}: {'; then '.join(words[method])}. Training, pruning and returning repeat until"
                    " the network is sparse enough.") for method in METHODS]
    caption = ("The two methods differ in what the search trains on and for how long, coloured here, and in nothing else. Of a"
               " search only the mask is kept: the subnetwork is then trained on the real images, whichever data found it.")
    rows = [("method", "step", "what"),
            *((method, n, f'"{box}"') for method in METHODS for n, box in enumerate(words[method], 1))]
    return Figure(panels, caption, rows, "03_distilled_pruning_algorithm")


def _steps(p: Parameters, method: Method) -> tuple[str, ...]:
    """The boxes of the diagram, from top to bottom; the second to the fourth are repeated."""
    how = search(p, method)
    stored, shown = len(facts(p.dataset).classes) * p.synthetic_per_class, decoded_images(p)
    images = "the real images" if method == "imp" else f"{stored} synthetic images"
    decoded = f",\ndecoded to {shown}" if method != "imp" and shown != stored else ""
    back = {"full": f"return what is left to {START}", "weights": f"return the weights left to {START}"}
    return (f"initial weights {START}, all alive", f"train {count(how.recipe.epochs, 'epoch')} on\n{images}{decoded}",
            f"prune the {100 * how.fraction:.0f}\N{NO-BREAK SPACE}% smallest\nof the weights left",
            back.get(p.rewind, f"return what is left to epoch {p.rewind}"),
            f"mask of level n: {1 - how.fraction:g}\N{SUPERSCRIPT LATIN SMALL LETTER N}\nof the weights left",
            f"train {count(p.epochs, 'epoch')} on\nthe real images")


def _algorithm(style: Style, steps: Sequence[str], method: Method, title: str) -> Canvas:
    axes = Canvas(figsize=(3.6, 4.8)).add_axes((0, 0, 1, 0.93))
    axes.set(xlim=(0, 1), ylim=(0, 6), title=title)
    axes.set_axis_off()
    for n, text in enumerate(steps):
        colour = style.colour(method) if n == 1 else style.dense
        axes.add_patch(FancyBboxPatch((0.08, 5.2 - n), 0.66, 0.6, boxstyle="round,pad=0.01,rounding_size=0.03", edgecolor=colour,
                                      facecolor=colour if n == 1 else "none", linewidth=1.6, mutation_aspect=6))
        axes.text(0.41, 5.5 - n, text, ha="center", va="center", fontsize=9, linespacing=1.1,
                  color=_ON[style.scheme] if n == 1 else style.text)
        if n:
            axes.add_patch(FancyArrowPatch((0.41, 6.2 - n), (0.41, 5.8 - n), arrowstyle="-|>", mutation_scale=10,
                                           color=style.text, shrinkA=1, shrinkB=1))
    corner = Path([(0.75, 2.5), (0.86, 2.5), (0.86, 4.5), (0.75, 4.5)])
    axes.add_patch(FancyArrowPatch(path=corner, arrowstyle="-|>", mutation_scale=10, color=style.text))
    axes.text(0.93, 3.5, "until sparse enough", rotation=90, ha="center", va="center", fontsize=9)
    return axes.figure


_ON = {"light": "#ffffff", "dark": "#111111"}
"""Text on a coloured box."""


# Accuracy against sparsity.


def line_alt(line: Line) -> str:
    """A line over levels, in words."""
    means = dict(zip(line.x, line.mean, strict=True))
    said = ", ".join(f"level {level} {minus(means[level], 1)}" for level in some(line.x) if np.isfinite(means[level]))
    return f"{line.label}: {said or NOTHING}"


def at_ends(lines: Sequence[Line], digits: int) -> str:
    """Which sparse network lies highest and which lowest, at the first level and at the last."""
    levels = dict.fromkeys((lines[0].x[0], lines[0].x[-1])) if lines else ()
    return "".join(extremes({line.label: line.mean[list(line.x).index(level)] for line in lines}, digits,
                            f"Sparse networks at level {level}. ") for level in levels)


def draw_dense(axes: Axes, style: Style, values: np.ndarray) -> None:
    """The dense network's accuracy, (initialisations,), as a line across all levels, with its band."""
    dense = Line("dense", lambda style: style.dense, (0,), values[:, None])
    low, high = dense.band
    axes.axhspan(low[0], high[0], color=style.dense, alpha=0.15, linewidth=0)
    axes.axhline(dense.mean[0], color=style.dense, linewidth=1.4, linestyle=(0, (4, 2)), label="dense")


def dense_alt(values: np.ndarray) -> str:
    return f"dense: {mean_text(values, 1, NOTHING)}"


def some(levels: Sequence[int]) -> list[int]:
    """At most TICKS of the levels, evenly apart, with the last."""
    return list(levels)[::-1][:: -(-len(levels) // TICKS)][::-1]


def level_axis(axes: Axes, levels: Sequence[int]) -> None:
    """Levels, and below each what is pruned."""
    ticks = some(levels)
    axes.set_xticks(ticks, [f"{level}\n{_percent(level)}" for level in ticks], fontsize=8 if len(ticks) > 4 else 9)
    axes.set_xlabel("pruning level, and % of the weights pruned")


def over_levels(style: Style, lines: Sequence[Line], levels: Sequence[int], reference: Callable[[Axes], None], *,
                mark: Sequence[int] = (), anchor: float = 0.45, **said: Any) -> Canvas:
    """Lines over levels, beside what `reference` draws and upright lines at those to `mark`, with a legend below."""
    axes = Canvas(figsize=SIZE).add_axes((0.17, 0.37, 0.79, 0.56))
    reference(axes)
    for line in lines:
        line.draw(axes, style)
    for level in mark:
        axes.axvline(level, color=style.text, linewidth=0.8, zorder=1)
    axes.set(**said)
    level_axis(axes, levels)
    axes.legend(loc="upper center", bbox_to_anchor=(anchor, -0.27), ncols=2, columnspacing=1)
    return axes.figure


def _percent(level: int) -> str:
    pruned = 100 * (1 - 0.8**level)
    return f"{pruned:.{0 if pruned < 90 else 1 if pruned < 99.9 else 2}f}"


def accuracy_against_sparsity(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """The paper's figure 2: its methods, then masks found without training, then what the search of a mask takes."""
    lines = {method: Line(LABELS[method], lambda style, method=method: style.colour(method), p.sparse,
                          np.transpose([accuracies(p, results, method, level) for level in p.sparse]), MARKERS[method])
             for method in p.methods}
    dense = accuracies(p, results, "imp", 0)
    frame = limits([dense, *(line.values for line in lines.values())])
    panels = [Panel(lambda style, title=title, those=those: over_levels(
                        style, those, p.sparse, lambda axes: draw_dense(axes, style, dense), title=title,
                        ylabel="test accuracy (%)", ylim=frame),
                    f"Lines of test accuracy in percent over pruning levels, {title}. {at_ends(those, 1)}{dense_alt(dense)};"
                    f" {'; '.join(map(line_alt, those))}.")
              for title, those in _compared(lines)]
    panels.append(Panel(lambda style: _counts(style, p, results), _counts_alt(p, results)))
    caption = (f"{setting(p)} Test accuracy after training on the real images. {line_words(p.seeds)}"
               " Last: what finding a mask takes, on a logarithmic scale, by three counts; IMP's images are shown as they are"
               f" stored, so its training points and visits are one line.{left_out_words(failed(p, results))} The synthetic"
               f" search needs {ratios(p, results, p.sparse[-1])['training_points']:.3g} times fewer training points.")
    rows = [("method", "level", "initialisation", "test_accuracy"),
            *(("dense", 0, *row) for row in in_rows(p.seeds, dense, digits=4)),
            *((method, level, *row) for method, line in lines.items() for n, level in enumerate(p.sparse)
              for row in in_rows(p.seeds, line.values[:, n], digits=4))]
    return Figure(panels, caption, rows, "03_distilled_pruning",
                  Play("level", "level", {"test_accuracy": "test accuracy (%)"}, "method", {}, "initialisation"))


def _compared(lines: Mapping[str, Line]) -> list[tuple[str, list[Line]]]:
    """The panels of accuracies: titles, and the lines that are here; one panel where nothing was found without training."""
    untrained = (*UNTRAINED, *(method for method in lines if method not in SHOWN))
    panels = [(title, [lines[method] for method in methods if method in lines]) for title, methods in
              (("masks as in figure 2", TRAINED), ("masks found without training", untrained))]
    return [(title, those) for title, those in panels if title.startswith("masks as") or len(those) > 1]


def _counts(style: Style, p: Parameters, results: Mapping[str, Result]) -> Canvas:
    axes = Canvas(figsize=SIZE).add_axes((0.17, 0.37, 0.79, 0.56))
    images = real_images(p, results)
    for method in METHODS:
        for what, dash in DASHES.items():
            axes.plot(p.sparse, [getattr(cost(p, method, level, images), what) for level in p.sparse], linestyle=dash,
                      color=style.colour(method), marker=MARKERS[method])
    axes.set(title="to find a mask of that level", ylabel="count", yscale="log")
    level_axis(axes, p.sparse)
    keys = [Line2D([], [], color=style.colour(method), marker=MARKERS[method], label=LABELS[method]) for method in METHODS]
    keys += [Line2D([], [], color=style.text, linestyle=dash, label=COUNTS[what].split(":")[0]) for what, dash in DASHES.items()]
    axes.legend(handles=keys, loc="upper center", bbox_to_anchor=(0.45, -0.27), ncols=2, columnspacing=1)
    return axes.figure


def _counts_alt(p: Parameters, results: Mapping[str, Result]) -> str:
    level, images = p.sparse[-1], real_images(p, results)
    said = [f"{LABELS[method]} {whole(getattr(cost(p, method, level, images), what))} {COUNTS[what].split(':')[0]}"
            for method in METHODS for what in DASHES]
    return (f"Lines, on a logarithmic axis, of what finding a mask takes, by level. IMP takes"
            f" {ratios(p, results, level)['training_points']:.3g} times as many training points as the synthetic search. At level"
            f" {level}: {', '.join(said)}.")


# Tables.


def accuracy_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Every point of the figure, and its paired differences to IMP and to the dense network."""
    dense = accuracies(p, results, "imp", 0)
    rows = [("dense", stats.interval(dense).text(1), "", "")]
    for level in p.sparse:
        imp = accuracies(p, results, "imp", level)
        for method in p.methods:
            of = accuracies(p, results, method, level)
            lost = f" ({np.isnan(of).sum()} of {len(p.seeds)} left out)" if np.isnan(of).any() else ""
            rows.append((f"{titled(method, level)}{lost}", stats.interval(of).text(1),
                         "" if method == "imp" else stats.interval(of - imp).text(1), stats.interval(of - dense).text(1)))
    return Table(f"Test accuracy after training on the real images: {interval_words(p)}",
                 ("subnetwork (pruned)", "test accuracy, %", "less IMP, points", "less dense, points"), rows,
                 "Differences are taken on the same initialisation, then averaged.")


def shortfall_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """What the synthetic set costs as training data and as pruning data."""
    rows = [(f"level {level} ({sparsity(level)})", *(stats.interval(values).text(1) for values in (
        training, pruning, training - pruning))) for level, (training, pruning) in shortfalls(p, results).items()]
    return Table(f"What the synthetic set costs, in points of test accuracy: {interval_words(p)}",
                 ("level (pruned)", "training a dense network on it, not on the real set",
                  "finding the mask on it, not on the real set", "the first less the second"), rows)


def tables(p: Parameters, results: Mapping[str, Result]) -> Stack:
    """Every accuracy with its interval, and what the synthetic set costs."""
    return Stack([("", accuracy_table(p, results)), ("", shortfall_table(p, results))])


def cost_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """What a mask of the highest level takes, by every count: in this run, and by the paper's own settings."""
    level, paper = p.sparse[-1], paper_setting()
    header, columns = ["what is counted"], []
    for one, found, title in ((p, results, "here"), (paper, {}, "the paper")):
        images = real_images(one, found)
        header += [f"{title}: IMP", f"{title}: synthetic", f"{title}: ratio"]
        costs = [cost(one, method, level, images) for method in ("imp", "synthetic")]
        columns.append({what: (*(whole(getattr(of, what)) for of in costs), f"{times:.3g}\N{MULTIPLICATION SIGN}")
                        for what, times in ratios(one, found, level).items()})
    rows = [(words, *(cell for column in columns for cell in column[what])) for what, words in COUNTS.items()]
    made = f", here in {p.distillation_steps} steps of distribution matching," if p.synthetic == "distilled" else ""
    return Table(f"What it takes to find a mask of level {level}", header, rows,
                 f"Making the synthetic set{made} and training the subnetwork afterwards are in no count. Here: {_in_short(p)}."
                 f" The paper: arithmetic from its settings, not a measurement ({scene_title(paper)}: {_in_short(paper)}).")


def _in_short(p: Settings) -> str:
    return (f"{p.round_epochs} epochs a round for IMP, {p.synthetic_epochs} for synthetic pruning, {p.synthetic_per_class} stored"
            f" images per class, decode factor {p.synthetic_factor}, batches of {p.batch}")
