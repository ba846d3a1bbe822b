"""Chapter 02's pictures: kinds of sparsity, paths of dense networks, contact sheets, and what training on sets alone gives."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from synthprune import stats
from synthprune.chapters.figures import Figure, Panel, Stack, Style, Table, Verdict
from synthprune.chapters.figures.drawings import (
    ON_A_SHEET,
    Dot,
    Line,
    along_path,
    dots,
    in_rows,
    limits,
    line_of_stability,
    sheet,
)
from synthprune.chapters.figures.words import (
    BARRIERS,
    absences,
    band_words,
    count,
    extremes,
    incomplete,
    initialisations,
    interval_words,
    line_words,
    mean_text,
    minus,
    scene_titles,
    setting,
)
from synthprune.chapters.overview import set_words, with_each_set
from synthprune.chapters.preliminaries import (
    PAPER,
    PAPER_AGAIN,
    STAND_IN,
    Dense,
    Parameters,
    Worth,
    asked_of_kim,
    decode_alone,
    dense,
    failed,
    how_to_import,
    kim,
    other_decode,
    scenes_not_run,
    sets_not_run,
    shown,
    worths,
)
from synthprune.chapters.settings import ARCHITECTURES
from synthprune.data.facts import facts
from synthprune.results.store import Result

SOURCES = {"idc": "Kim et al. (2022), by matching gradients",
           "mtt": "Cazenavette et al. (2022), by matching training trajectories",
           "dc": "Zhao et al. (2021), by matching gradients", "dsa": "Zhao and Bilen (2021), by matching gradients",
           "dm": "Zhao and Bilen (2023), by matching distributions", "distilled": "made here, by matching distributions"}
"""Whose a set is, by the letters its title begins with."""

NOTHING = "Nothing was measured: the data of this part are not on this machine."
SIZE = (3.6, 3.7)
MARKS, DASHES = ("s", "D", "v", "P"), ("-", (0, (4, 2)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))


# Kinds of sparsity.


def sparsity_kinds() -> Figure:
    """One drawn weight matrix: dense, and with half of its weights left, without and with a pattern."""
    weights = np.abs(np.random.default_rng(5).standard_normal((8, 8)))
    left = {"dense": np.ones_like(weights, bool), "unstructured": weights > np.median(weights),
            "structured": np.broadcast_to((np.argsort(np.argsort(weights.sum(1))) >= len(weights) // 2)[:, None], weights.shape)}
    said = {"dense": "every weight is left", "unstructured": "the weights left are scattered over the matrix",
            "structured": "whole rows are gone and the others are complete"}
    kinds = "; ".join(f"{kind}: {said[kind]}, {int(left[kind].sum())} of {weights.size} weights" for kind in left)
    panels = [Panel(lambda style: _matrices(style, weights, left), f"Drawing of one weight matrix three times. {kinds}.")]
    caption = (f"Drawn, not measured: a matrix of {len(weights)} outputs (rows) by {len(weights)} inputs; the stronger the"
               " colour, the larger the weight. Pruned by magnitude to half of its weights: one by one, or a row, which is a"
               " neuron, at a time.")
    rows = [("kind", "output", "input", "magnitude", "left"), *((kind, i, j, f"{weights[i, j]:.4f}", int(left[kind][i, j]))
            for kind in left for i, j in np.ndindex(weights.shape))]
    return Figure(panels, caption, rows, "02_kinds_of_sparsity")


def _matrices(style: Style, weights: np.ndarray, left: Mapping[str, np.ndarray]) -> Canvas:
    canvas = Canvas(figsize=(5.4, 2.0))
    for axes, (kind, alive) in zip(canvas.subplots(1, len(left)), left.items(), strict=True):
        axes.set(xlim=(0, weights.shape[1]), ylim=(weights.shape[0], 0), aspect="equal", title=kind)
        axes.set_axis_off()
        for i, j in np.ndindex(weights.shape):
            shade = 0.25 + 0.75 * weights[i, j] / weights.max()
            look = {"facecolor": style.dense, "alpha": shade} if alive[i, j] else {"facecolor": "none", "edgecolor": style.grid}
            axes.add_patch(Rectangle((j + 0.06, i + 0.06), 0.88, 0.88, linewidth=0.8, **look))
    return canvas


# Stability.


def stability(p: Parameters, results: Mapping[str, Result]) -> Stack:
    """The paths of every dense network that was measured, and their barriers."""
    if not dense(p, results):
        return Stack([("", Verdict("open", "Not run", NOTHING))])
    return Stack([("", paths(p, results)), ("", barrier_table(p, results))])


def paths(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """How far training loss and error rise between two trainings of each dense network: bands over initialisations."""
    found, panels = dense(p, results), []
    titles = scene_titles([one.p for one in found])
    for what, unit in (("loss", "nats"), ("error", "points")):
        rises = [one.paths.rises(f"train_{what}") for one in found]
        looks = itertools.cycle(enumerate(zip(MARKS, DASHES, strict=True)))
        lines = [Line(titles[one.p.scene], lambda style, n=n: style.others[n], np.linspace(0, 1, one.p.points), rise, *look)
                 for one, rise, (n, look) in zip(found, rises, looks, strict=False) if np.isfinite(rise).any()]
        panels.append(Panel(lambda style, lines=lines, what=what: _paths(style, lines, what), _paths_alt(lines, what, unit)))
    out = absences(left_out=[fault for one in found for fault in one.paths.left_out], not_run=scenes_not_run(p, results))
    caption = (f"{_settings(found)} Rise above the mean of the two ends, along the straight line between two trainings from one"
               " initialisation in different orders; pairs of orders averaged. The two ends differ, so a line need not begin at"
               f" zero. {_band_words(found)} Dotted: two points of error, below which a network is called stable."
               f"{_stand_in(found)}{out}")
    rows = [("scene", "initialisation", "beta", "loss_rise_nats", "error_rise_points")]
    rows += [(one.p.scene, seed, f"{n / (one.p.points - 1):.3f}", f"{loss[n]:.6f}", f"{error[n]:.6f}") for one in found
             for seed, loss, error in zip(one.p.seeds, *map(one.paths.rises, ("train_loss", "train_error")), strict=True)
             for n in range(one.p.points)]
    return Figure(panels, caption, rows, "02_dense_paths")


def _settings(found: Sequence[Dense]) -> str:
    """Each network's own epochs and images: they differ."""
    titles = scene_titles([one.p for one in found])
    nets = "; ".join(f"{titles[one.p.scene]} ({one.p.pixels} pixels, width {one.p.width}, {one.p.epochs} epochs"
                     f"{f'; {initialisations(one.p)}' if incomplete(one.p) else ''})" for one in found)
    return html.escape(f"Dense networks: {nets}. Profile {found[0].p.profile}.", quote=False)


def _band_words(found: Sequence[Dense]) -> str:
    counts = {len(one.p.seeds) for one in found}
    if len(counts) == 1:
        return line_words(found[0].p.seeds, thin=True, cut=", cut off where they leave the frame")
    two = " (of two their range)" if 2 in counts else ""
    return ("Thick: mean over each network's initialisations; thin: each of them; shaded: 95\N{NO-BREAK SPACE}% intervals for"
            f" the mean{two}, cut off where they leave the frame.")


def _stand_in(found: Sequence[Dense]) -> str:
    digits = any(one.p.dataset == STAND_IN for one in found)
    return " The digits stand in for MNIST, of which the paper speaks." if digits else ""


def _paths(style: Style, lines: Sequence[Line], what: str) -> Canvas:
    frame = limits([np.array([0.0, stats.STABLE_BELOW if what == "error" else 0.0]), *(line.values for line in lines)])
    axes = along_path(style, lines, SIZE, (0.18, 0.36, 0.78, 0.56), f"training {what}",
                      f"rise above the mean\nof the ends ({'nats' if what == 'loss' else 'points'})", frame, 1)
    if what == "error":
        line_of_stability(axes, style)
    else:
        axes.axhline(0, color=style.text, linewidth=0.8, zorder=1)
    return axes.figure


def _paths_alt(lines: Sequence[Line], what: str, unit: str) -> str:
    digits = 3 if what == "loss" else 2
    said = [f"{line.label}: highest {minus(float(np.nanmax(line.mean)), digits)} {unit} above the mean of the ends"
            for line in lines if np.isfinite(line.mean).all()]
    tops = {line.label: float(line.mean.max()) for line in lines}
    return (f"Lines: rise of training {what} between two trainings of dense networks. {extremes(tops, digits)}"
            f"{'; '.join(said) or 'Nothing to draw'}.")


def barrier_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Accuracy, both loss barriers, both error barriers and the verdict, network by network."""
    rows = []
    found = dense(p, results)
    titles = scene_titles([one.p for one in found])
    for one in found:
        of = one.barriers
        missing = len(one.p.seeds) - of.train_error.n
        label = f"{titles[one.p.scene]}{_few(one.p)}" + (f" ({missing} of {len(one.p.seeds)} left out)" if missing else "")
        rows.append((label, *of.cells))
    batch = any(row.p.norm == "batch" and row.p.architecture != "lenet300" for row in found)
    return Table(f"Barriers between two trainings of dense networks: {interval_words(*(one.p for one in found))}",
                 ("network", *BARRIERS), rows,
                 f"The last column judges the training error of this network on these data.{_stand_in(found)}"
                 + (" Statistics of batch norm are interpolated like weights; chapter 4 also recomputes them." if batch else ""))


def _few(p: Parameters) -> str:
    """' (3 of 5 initialisations)' while some are missing: for a row's label."""
    return f" ({incomplete(p)})" if incomplete(p) else ""


# Contact sheets.


def contact_sheets(p: Parameters, results: Mapping[str, Result]) -> Stack:
    """One sheet per synthetic set that is here, with its source; a box for each that is not."""
    found = {set_words(one): (one, shown(one, results)) for one in with_each_set(p)}
    here = {words: (one, images) for words, (one, images) in found.items() if images is not None}
    absent = [("", Verdict("open", f"Not on this machine: {words}", f"{source(one)}; {how_to_import(one)} Nothing else stands in"
                           " its place.")) for words, (one, images) in found.items() if images is None]
    return Stack([*([("", _sheets(p, here))] if here else []), *absent])


def source(p: Parameters) -> str:
    """Whose the set is, in words."""
    letters = re.match(r"[a-z]*", p.synthetic.lower())[0]
    if letters == "idc" and not asked_of_kim(p):
        return "by the method of Kim et al. (2022), matching gradients, but not one of their sets"
    return SOURCES.get(letters, f"imported as {p.synthetic.split('@')[0]}, a title that this book has no source for")


def _sheets(p: Parameters, here: Mapping[str, tuple[Parameters, np.ndarray]]) -> Figure:
    def tiles(factor: int) -> str:
        return f", cut into {factor} x {factor} tiles" if factor > 1 else ", left whole"

    classes = facts(p.dataset).classes
    panels = [Panel(lambda style, images=images, words=words: sheet(style, images, classes, words),
                    f"Contact sheet of the synthetic set with {words}: one stored image each of"
                    f" {', '.join(classes[:ON_A_SHEET])}. Source: {source(one)}.") for words, (one, images) in here.items()]
    sides = {images.shape[-1] for _, images in here.values()}
    smaller = f" A network sees them averaged to {p.pixels} pixels." if sides != {p.pixels} else ""
    factors = {one.synthetic_factor for one, _ in here.values()}
    cut = (f" Each is cut into {p.synthetic_factor} x {p.synthetic_factor} tiles before a network sees it."
           if factors == {p.synthetic_factor} and p.synthetic_factor > 1 else "")
    some = f" The first {ON_A_SHEET} of {len(classes)} classes." if len(classes) > ON_A_SHEET else ""
    whose = "; ".join(f"{words}: {source(one)}" + ("" if len(factors) == 1 else tiles(one.synthetic_factor))
                      for words, (one, _) in here.items())
    caption = html.escape(f"The first stored image of each class of {facts(p.dataset).title}. {whose}.{cut}{smaller}{some}"
                          f" Profile {p.profile}.", quote=False)
    rows = [("set", "source", "pixels"), *((f'"{words}"', f'"{source(one)}"', images.shape[-1])
                                            for words, (one, images) in here.items())]
    return Figure(panels, caption, rows, "02_contact_sheets")


# What training on a set alone gives.


def worth(p: Parameters, results: Mapping[str, Result]) -> Stack:
    """What training on each set alone gives, as a figure and as numbers."""
    if not worths(p, results):
        return Stack([("", Verdict("open", "Not run", NOTHING))])
    return Stack([("", worth_figure(p, results)), ("", worth_table(p, results))])


def worth_figure(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """Accuracy after training on each set and on random real images alone; then the paired differences, and the decode's."""
    found, decode = worths(p, results), decode_alone(p, results)
    both = [(set_words(one.p), [Dot(one.on_set, "synthetic"), Dot(one.on_random, "coreset", filled=False)])
            for one in found]
    gains = [(set_words(one.p), [Dot(one.gain, "synthetic")]) for one in found]
    waiting = [f"{set_words(one.p)}: {initialisations(one.p)}" for one in found if incomplete(one.p)]
    if decode:
        gains.append((f"{p.synthetic_per_class} per class,\ndecode alone", [Dot(decode.gain, "coreset")]))
    titles = ("test accuracy, %", "difference, points")
    panels = [Panel(lambda style: dots(style, both, titles[0]), _worth_alt(found)),
              Panel(lambda style: dots(style, gains, titles[1], zero=True), _gain_alt(gains))]
    out = absences(incomplete=waiting, left_out=failed(p, results), not_run=sets_not_run(p, results))
    what = (f" The last row has no synthetic image in it: random real images decoded by factor {decode.factor}, less as many"
            " stored ones left whole." if decode else "")
    caption = (f"{setting(p)} The dense network, trained on a set and on nothing else. First panel: on the synthetic set (filled)"
               " and on as many random real images (hollow), with the same decode and as many steps. Second panel: filled less"
               f" hollow, on the same initialisations.{what}{band_words(max((one.p.seeds for one in found), key=len))}"
               f"{out}")
    rows = [("trained_on", "initialisation", "test_accuracy_percent")]
    rows += [(f'"{words}"', *row) for words, seeds, values in _columns(p, results) for row in in_rows(seeds, values)]
    return Figure(panels, caption, rows, "02_worth_of_sets")


def _worth_alt(found: Sequence[Worth]) -> str:
    said = [f"{set_words(one.p)}: {mean_text(one.on_set, 1)}, random real images {mean_text(one.on_random, 1)}" for one in found]
    gains = [gain for one in found if np.isfinite(gain := stats.interval(one.gain).mean)]
    better = f" Above random real images: {sum(gain > 0 for gain in gains)} of {count(len(gains), 'set')}." if gains else ""
    return f"Dots: mean test accuracy in percent after training on a set alone.{better} {'; '.join(said)}."


def _gain_alt(rows: Sequence[tuple[str, Sequence[Dot]]]) -> str:
    said = [f"{' '.join(label.split())}: {mean_text(row[0].values, 1)}" for label, row in rows]
    found = extremes({" ".join(label.split()): stats.interval(row[0].values).mean for label, row in rows}, 1)
    return f"Dots: mean paired difference of test accuracy in points. {found}{'; '.join(said)}."


def _columns(p: Parameters, results: Mapping[str, Result]) -> list[tuple[str, list[int], np.ndarray]]:
    """Everything that was trained on, each once, with the initialisations that are here and their accuracies."""
    columns: dict[str, tuple[list[int], np.ndarray]] = {}
    for one in worths(p, results):
        columns |= {set_words(one.p): (one.p.seeds, one.on_set), _random_words(one.p): (one.p.seeds, one.on_random)}
    if decode := decode_alone(p, results):
        whole, cut = sorted((p, other_decode(p)), key=lambda one: one.synthetic_factor)
        columns |= {_random_words(whole): (decode.p.seeds, decode.whole), _random_words(cut): (decode.p.seeds, decode.cut)}
    return [(words, *column) for words, column in columns.items()]


def _random_words(p: Parameters) -> str:
    return f"{p.synthetic_per_class} per class, random real images, decode factor {p.synthetic_factor}"


def worth_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """The same accuracies, with the paired differences."""
    found, decode = worths(p, results), decode_alone(p, results)
    gains = {set_words(one.p): one.gain for one in found}
    if decode:
        gains[_random_words(max(p, other_decode(p), key=lambda one: one.synthetic_factor))] = decode.gain
    rows = [(words if len(seeds) == len(p.planned) else f"{words} ({len(seeds)} of {len(p.planned)} initialisations)",
             stats.interval(values).text(1), stats.interval(gains[words]).text(1) if words in gains else "")
            for words, seeds, values in _columns(p, results)]
    scenes = [one.p for one in found] + ([decode.p] if decode else [])
    return Table(f"Test accuracy after training on the set alone: {interval_words(*scenes)}",
                 ("trained on", "test accuracy, %", "difference, points"), rows,
                 "Differences are taken on the same initialisations. Of a synthetic set: less random real images in the same"
                 " number, with the same decode and as many steps. Of random images that are cut: less as many stored ones left"
                 " whole; the steps are equal as nearly as whole epochs allow, and more real images are behind the cut ones.")


def number_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """The paper's accuracies where they stand, beside what was measured on the sets they are said of, and on this run's."""
    measured, found = kim(p, results), worths(p, results)

    def here(per_class: int) -> str:
        return measured[per_class].text(1) if per_class in measured else "not measured"

    rows = [("section 2.4", f"CIFAR-10, {n} per class", f"{value}", here(n)) for n, value in PAPER.items()]
    rows += [("section 3", "CIFAR-10, 10 per class", f"{PAPER_AGAIN}", here(10)),
             ("section 2.4", "ImageNet-10", f"{PAPER_AGAIN} (and 76.6)", "not measured")]
    rows += [("this run", f"{facts(p.dataset).title} at {p.pixels} pixels, {set_words(one.p)}{_few(one.p)}", "",
              stats.interval(one.on_set).text(1)) for one in found]
    return Table(f"Accuracy after training on distilled data: {interval_words(*([one.p for one in found] or [p]))}",
                 ("where", "said of", "the paper, %", "measured, %"), rows,
                 "The paper's numbers are for Kim et al.'s sets, ConvNet-3 of width 128 and 1,000 epochs, as in their code: only"
                 " the profile paper, with those sets imported, measures them. This run:"
                 f" {ARCHITECTURES[p.architecture]} of width {p.width}, {p.synthetic_epochs} epochs.")
