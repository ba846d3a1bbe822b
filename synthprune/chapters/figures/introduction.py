"""Chapter 01's pictures: from a few images to a mask, to two trainings and the path between them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import FancyArrowPatch, Patch

from synthprune import stats
from synthprune.analysis.barriers import ends
from synthprune.chapters import entries, plain
from synthprune.chapters.figures import LABELS, MARKERS, Figure, Panel, Style, Table, Verdict
from synthprune.chapters.figures.drawings import Line, line_of_stability
from synthprune.chapters.figures.words import (
    absences,
    count,
    extremes,
    interval_words,
    level_words,
    line_words,
    mean_text,
    minus,
    setting,
    titled,
)
from synthprune.chapters.introduction import NETWORKS, SET, Network, Parameters, largest_layer, name, paths, shares, table
from synthprune.chapters.paths import left_out
from synthprune.chapters.settings import decides
from synthprune.data.facts import facts
from synthprune.results.store import Result

SIZE = (4.3, 5.9)
SHOWN, FILTERS = 10, 16
"""Classes and images of each on the contact sheet; channels of a layer, in and out, whose weights are drawn."""
ZOOM = 6
"""Drawn pixels per weight or pixel: a browser would blur an image that is enlarged on the page."""
SHOWN_BARRIERS = (0, 1, 3, 5)
"""Of all that is measured of a network: accuracy, the paper's barrier, Frankle et al.'s, the verdict."""
QUANTITIES = {"train_loss": "training loss (nats)", "train_error": "training error above\nthe mean of its ends (points)"}


def idea(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """The chapter in one figure: the images and the masks; the path between two trainings, as loss and as rise of error."""
    panels = [Panel(lambda style: _search(style, p, results), _search_alt(p, results)),
              Panel(lambda style: _paths(style, p, results), _paths_alt(p, results))]
    several = " mean over all pairs of orders," if len(p.orders) > 2 else ""
    cut = f"{p.synthetic_factor} x {p.synthetic_factor}"
    tiles = f", each cut into its {cut} tiles before a network sees it" if p.synthetic_factor > 1 else ""
    part = f" (first {FILTERS} channels, in and out)" if max(largest_layer(results)[1].shape[:2]) > FILTERS else ""
    caption = (f"{setting(p)} 1: the stored images, a column for each class{tiles}. 2: the layer with most weights{part}, a dot"
               f" for each weight; shares are of all prunable weights, masks of initialisation {p.seeds[0]}. 3 and 4: along the"
               f" straight line between the two trainings,{several} the loss itself, and how far the error lies above its ends."
               f" {level_words([p.level])} {line_words(p.seeds, cut='')}{absences(left_out=left_out(results))}")
    rows = [("network", "initialisation", "beta", "train_loss_nats", "train_error_percent")]
    rows += [(network, seed, f"{beta:.3f}", *(f"{value:.6f}" for value in values)) for network in NETWORKS
             for seed, *of in zip(p.seeds, *map(paths(p, results, network).curves, QUANTITIES), strict=True)
             for beta, *values in zip(_beta(p), *of, strict=True)]
    return Figure(panels, caption, rows, "01_introduction")


def _beta(p: Parameters) -> np.ndarray:
    return np.linspace(0, 1, p.points)


# The left half: images and masks.


def _search(style: Style, p: Parameters, results: Mapping[str, Result]) -> Canvas:
    canvas, classes = Canvas(figsize=SIZE), facts(p.dataset).classes[:SHOWN]
    images, labels = results[SET].arrays["images"], results[SET].arrays["labels"]
    sheet = canvas.add_axes((0.02, 0.6, 0.96, 0.33))
    _title(sheet, "1  Make a few images")
    picture = contact_sheet(images, labels, len(classes), p.synthetic_factor, to_rgba(style.grid))
    _show(sheet, picture)
    for place, title in enumerate(classes):
        sheet.text((place + 0.5) * picture.shape[1] / len(classes), 0, title, ha="center", va="bottom", fontsize=8)
    fraction = entries.search(p, "synthetic").fraction
    words = (f"train on the {len(images)}, prune {100 * fraction:.0f} % of what is left,\nreturn to the start:"
             f" {count(p.level, 'round')}\n(IMP: the same on {_real_images(p, results)} real images)")
    canvas.text(0.2, 0.53, words, fontsize=9, va="center")
    arrow = {"arrowstyle": "-|>", "color": style.text, "linewidth": 1.4, "mutation_scale": 14}
    canvas.add_artist(FancyArrowPatch((0.12, 0.575), (0.12, 0.485), transform=canvas.transFigure, **arrow))
    grid = canvas.add_axes((0.02, 0.02, 0.56, 0.4))
    _title(grid, "2  Find a mask")
    _, first, second = largest_layer(results)
    colours = _colours(style)
    _show(grid, weave(first, second, [colours[kept] for kept in ("neither", "synthetic", "imp", "both")]))
    names = {"both": "both", "synthetic": "synthetic only", "imp": "IMP only", "neither": "neither"}
    patches = [Patch(facecolor=colours[kept], label=f"{names[kept]}: {share:.0f} %") for kept, share in shares(results).items()]
    canvas.legend(handles=patches, title="weights kept by", loc="center left", bbox_to_anchor=(0.59, 0.22), handlelength=1,
                  handleheight=1, alignment="left", title_fontsize=9)
    return canvas


def _title(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", pad=16 if title.startswith("1") else 6)


def _show(axes: Axes, picture: np.ndarray) -> None:
    """An RGBA picture, its pixels as they are."""
    height, width, _ = picture.shape
    axes.imshow(picture.repeat(ZOOM, 0).repeat(ZOOM, 1), interpolation="none", extent=(0, width, height, 0))
    axes.set_anchor("NW")
    axes.set_axis_off()


def contact_sheet(images: np.ndarray, labels: np.ndarray, classes: int, factor: int, ground: tuple[float, ...]) -> np.ndarray:
    """Images (n, 1 or 3, h, w) in [0, 1] on a `ground` (RGBA) as one picture (rows, columns, RGBA), a column for each class.

    The first `classes`, SHOWN images of each at most. Two pixels lie between images, one between the `factor` x `factor`
    tiles of an image.
    """
    columns = [images[labels == label][:SHOWN] for label in range(classes)]
    side = images.shape[-1]
    within = np.arange(side) + np.arange(side) * factor // side
    step = side + factor + 1
    sheet = np.tile(np.array(ground), (len(columns[0]) * step - 2, classes * step - 2, 1))
    for column, of_class in enumerate(columns):
        for row, image in enumerate(of_class):
            colours = np.broadcast_to(np.clip(image, 0, 1), (3, side, side)).transpose(1, 2, 0)
            sheet[np.ix_(row * step + within, column * step + within)] = np.dstack([colours, np.ones((side, side))])
    return sheet


def weave(first: np.ndarray, second: np.ndarray, colours: list) -> np.ndarray:
    """Two masks of one layer as a picture (rows, columns, RGBA), a dot for each weight and a gap around each filter.

    `colours`: of weights kept by neither, by the first alone, by the second alone, by both. Rows are output channels,
    columns input channels, FILTERS of each at most; a linear layer has one weight for each pair.
    """
    kept = (first + 2 * second.astype(int))[:FILTERS, :FILTERS]
    kept = kept.reshape(*kept.shape[:2], *(kept.shape[2:] or (1, 1)))
    gap = int(kept.shape[2] > 1)
    rows, columns, height, width = kept.shape
    picture = np.zeros((rows, height + gap, columns, width + gap, 4))
    picture[:, :height, :, :width] = np.array([to_rgba(colour) for colour in colours])[kept.transpose(0, 2, 1, 3)]
    return picture.reshape(rows * (height + gap), columns * (width + gap), 4)


def _colours(style: Style) -> dict[str, tuple[float, ...]]:
    return {"both": to_rgba(style.text), "synthetic": to_rgba(style.synthetic), "imp": to_rgba(style.imp),
            "neither": to_rgba(style.grid, 0.45)}


def _search_alt(p: Parameters, results: Mapping[str, Result]) -> str:
    layer, *_ = largest_layer(results)
    share = shares(results)
    return (f"Above: the {len(results[SET].arrays['images'])} stored images of the synthetic set, by class. Below: the weights of"
            f" layer {layer} as dots, coloured by which mask keeps them. Of all prunable weights both masks keep"
            f" {share['both']:.1f} percent, the synthetic one alone {share['synthetic']:.1f}, that of IMP alone"
            f" {share['imp']:.1f}, neither {share['neither']:.1f}.")


# The right half: the path.


def _paths(style: Style, p: Parameters, results: Mapping[str, Result]) -> Canvas:
    canvas = Canvas(figsize=SIZE)
    titles = {"train_loss": "3  Train twice, walk between", "train_error": "4  Measure the rise"}
    for (quantity, label), place in zip(QUANTITIES.items(), ((0.17, 0.6, 0.8, 0.33), (0.17, 0.17, 0.8, 0.3)), strict=True):
        axes = canvas.add_axes(place)
        axes.set_title(titles[quantity], loc="left")
        for line in (_line(p, results, network, quantity) for network in NETWORKS):
            if np.isfinite(line.mean).all():
                line.draw(axes, style, every=2)
        axes.set(ylabel=label, xlim=(-0.03, 1.03))
        axes.set_xticks([0, 0.5, 1], ["first\ntraining", r"$\beta = 0.5$", "second\ntraining"])
        if quantity == "train_loss":
            axes.set_ylim(0, None)
            continue
        line_of_stability(axes, style, "stable below")
        axes.set_ylim(top=max(axes.get_ylim()[1], 1.3 * stats.STABLE_BELOW))
        handles, names = axes.get_legend_handles_labels()
        canvas.legend(handles, names, loc="lower center", bbox_to_anchor=(0.55, 0), ncols=3)
    return canvas


def _line(p: Parameters, results: Mapping[str, Result], network: Network, quantity: str) -> Line:
    """Losses as they are, errors above the mean of their ends."""
    of = paths(p, results, network)
    values = of.rises(quantity) if "error" in quantity else of.curves(quantity)
    return Line(LABELS[network], lambda style: style.colour(network), _beta(p), values, MARKERS[network])


def _paths_alt(p: Parameters, results: Mapping[str, Result]) -> str:
    said, rises = [], {}
    for network in NETWORKS:
        at, top = (_line(p, results, network, quantity).mean for quantity in QUANTITIES)
        words = (f"loss {at[0]:.3f} and {at[-1]:.3f} at the ends, {at[p.points // 2]:.3f} midway; error at most"
                 f" {minus(top.max(), 2)} points above its ends") if np.isfinite(at).all() else "no value"
        rises[LABELS[network]] = float(top.max())
        said.append(f"{LABELS[network]}: {words}")
    return ("Two plots of lines along the path between two trainings, training loss and rise of training error."
            f" {extremes(rises, 2, 'Rise of error, in points. ')}{'. '.join(said)}.")


# Tables and boxes.


def barrier_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Each network's accuracy, its barrier by the paper's measure and by Frankle et al.'s, and what that allows to say."""
    rows = [(_called(network, p), *(of.cells[n] for n in SHOWN_BARRIERS)) for network, of in table(p, results).items()]
    return Table(f"Three networks, each trained in {len(p.orders)} orders: {interval_words(p)}",
                 ("network", "test accuracy, %", "loss barrier midway (paper), nats", "highest training-error barrier, points",
                  "stable to SGD noise?"), rows,
                 f"One training image is worth {100 / _real_images(p, results):.2g} points of error.")


def _real_images(p: Parameters, results: Mapping[str, Result]) -> int:
    return results[name("dense", p.seeds[0], (p.orders[0], p.orders[1]))].metrics["train_images"]


def _called(network: Network, p: Parameters) -> str:
    return titled(network, 0 if network == "dense" else p.level, pruned=False)


def at_point(p: Parameters, results: Mapping[str, Result], point: int) -> Table:
    """The three networks at one `point` (from 0) of their paths: loss and error there, and above the mean of the ends."""
    rows = []
    for network in NETWORKS:
        cells = []
        for quantity, digits in (("train_loss", 3), ("train_error", 2)):
            values = paths(p, results, network).curves(quantity)
            cells += [mean_text(values[:, point], digits), mean_text(values[:, point] - ends(values), digits)]
        rows.append((_called(network, p), *cells))
    return Table(f"At \N{GREEK SMALL LETTER BETA} = {_beta(p)[point]:.2f} of the path: means over"
                 f" {count(len(p.seeds), 'initialisation')}",
                 ("network", "training loss, nats", "above its ends", "training error, %", "above its ends, points"), rows)


def conclusion(p: Parameters, results: Mapping[str, Result]) -> Verdict:
    """What this run allows to say of the claim: on demonstration data nothing, on others too little."""
    rises = "; ".join(f"{LABELS[network]} {of.train_error.text(2)}" for network, of in table(p, results).items())
    measured = f"Highest rise of training error between two trainings, points, {interval_words(p)}: {rises}."
    if decides(p):
        return Verdict("open", "One level of one network",
                       f"{measured} The claim is about several networks and data sets: chapter 4 puts it to the ledger.")
    return Verdict("open", plain.DEMO.capitalize(),
                   f"{measured} Data and initialisations of the demonstration are too easy and too few to speak for or against"
                   " the paper: the numbers show how a measurement is made. Chapter 4 puts the claim to the ledger.")


def verdict_words() -> Table:
    """The words that the ledger knows, and when it says each."""
    when = {"holds": "every condition for the claim is met", "fails": "a condition against it is met",
            "open": "neither: the intervals leave it open"}
    rows = [(when[state], plain.PAPER[state], plain.SCALE[state], plain.DEMO) for state in when]
    rows += [("a measure is missing", plain.NOT_RUN, plain.NOT_RUN, plain.DEMO),
             ("initialisations, levels or scenes are still to come", plain.UNFINISHED, plain.UNFINISHED, plain.DEMO)]
    return Table("Which words a verdict may use", ("when", "profile paper", "another profile", "demonstration data"), rows,
                 "A condition is met only where the whole interval lies on its side.")
