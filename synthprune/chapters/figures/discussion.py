"""Chapter 09's pictures: how dense every layer of a mask is, how alike masks are beside chance, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas

from synthprune import stats
from synthprune.chapters.discussion import (
    SHOWN,
    Likeness,
    Parameters,
    cost,
    density,
    energy,
    first_round,
    greatest_difference,
    likenesses,
    measured_scenes,
    sizes,
)
from synthprune.chapters.figures import LABELS, MARKERS, Figure, Panel, Style, Table, Verdict
from synthprune.chapters.figures.drawings import in_each, in_rows
from synthprune.chapters.figures.words import (
    count,
    extremes,
    interval_words,
    level_words,
    minus,
    setting,
    sparsity,
    titled,
    whole,
)
from synthprune.chapters.settings import METHODS
from synthprune.results.store import Result, Store

SIZE = (3.6, 3.7)
TIMES = "\N{MULTIPLICATION SIGN}"

in_scenes = in_each(measured_scenes)


def where(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """Density layer by layer at every level, and overlap of masks beside what chance gives."""
    found = likenesses(p, results)
    dense = {level: {method: density(p, results, method, level) for method in SHOWN} for level in p.levels}
    panels = [Panel(lambda style, level=level: _densities(style, dense[level], level), _densities_alt(dense[level], level))
              for level in p.levels]
    panels.append(Panel(lambda style: _overlaps(style, found), _overlaps_alt(found)))
    several = "" if len(p.seeds) < 2 else (f" Lines: mean over {count(len(p.seeds), 'initialisation')}; thin bars reach from the"
                                           " least to the greatest of them.")
    caption = (f"{setting(p)} {level_words(p.levels)} First: the share of each layer's weights that a mask keeps, layers from"
               " input to output. Last: the overlap of two masks of one initialisation (weights that both keep, among those"
               " that either keeps; the number is the level), beside an upright stroke for what independent masks of the"
               f" same layer densities give; 100&nbsp;% would be one and the same mask.{several}")
    return Figure(panels, caption, _rows(p, results, found), "09_discussion")


def density_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """The share of every layer that survives, by method; the paper's two with their difference."""
    rows, size = [], sizes(p, results)
    for level in p.levels:
        of = {method: density(p, results, method, level) for method in SHOWN}
        rows += [(f"level {level}, {layer} ({count(size[layer], 'weight')})",
                  *(minus(np.mean(of[method][layer]), 1) for method in METHODS),
                  stats.interval(of["synthetic"][layer] - of["imp"][layer]).text(1),
                  *(minus(np.mean(of[method][layer]), 1) for method in SHOWN[2:])) for layer in size]
        rows.append((f"level {level}, greatest difference of a layer", "", "",
                     stats.interval(greatest_difference(p, results, level)).text(1), *("" for _ in SHOWN[2:])))
    return Table("Weights kept in every layer, %", ("layer", "synthetic", "IMP", "synthetic less IMP, points",
                                                    *(LABELS[method] for method in SHOWN[2:])), rows,
                 f"Means over the initialisations; the difference: {interval_words(p)}.")


def overlap_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """How alike masks are, beside independent masks of the same layer densities."""
    rows = [(f"{_pair(one)}, level {one.level} ({sparsity(one.level)})", stats.interval(one.jaccard).text(1),
             minus(one.chance_jaccard.mean(), 1), stats.interval(one.above_chance).text(1), _span(one.z),
             stats.interval(one.hamming).text(1), minus(one.chance_hamming.mean(), 1)) for one in likenesses(p, results)]
    return Table(f"Overlap of two masks: {interval_words(p)}",
                 ("masks (pruned)", "kept by both, of those kept by either, %", "the same by chance, %", "above chance, points",
                  "standard deviations of chance above it", "kept by one only, of all weights, %",
                  "that by chance, %"), rows,
                 "First share: Jaccard overlap; second: Hamming distance. Chance: independent random masks with the same"
                 " densities in every layer, computed exactly. 'again': a second search from the same initialisation, its data in"
                 " another order.")


def cost_table(p: Parameters, results: Mapping[str, Result], store: Store) -> Table | Verdict:
    """What the mask of each method took, by four counts and by the energy that was measured."""
    if first_round(p) not in results:
        return Verdict("open", "Not run", f"The first training of IMP on initialisation {p.planned[0]} tells what a visit costs.")
    rows = []
    for level in p.levels:
        costs = {method: cost(p, results, method, level) for method in SHOWN[:-1]}
        for method, of in costs.items():
            rows.append((titled(method, level, pruned=False), whole(of.steps), whole(of.visits), whole(of.training_points),
                         "not counted" if math.isnan(of.flops) else f"{of.flops / 1e12:.3g}",
                         stats.interval(energy(p, store, method, level) / 1000).text(2)))
        times = costs["imp"].times(costs["synthetic"])
        rows.append((f"IMP over synthetic, level {level}", *(f"{times[what]:.3g}{TIMES}" for what in (
            "steps", "visits", "training_points")), "", ""))
    made = "" if p.synthetic != "distilled" else f", here {p.distillation_steps} steps of distribution matching,"
    return Table("What it takes to find a mask",
                 ("mask", "SGD steps", "image visits (decoded)", "training points (stored; the paper's count)",
                  "operations, 10\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT TWO}", "energy, kJ"), rows,
                 f"Retraining the subnetwork afterwards and making the synthetic set{made} are not counted. Counts and operations"
                 " follow from the settings; pruned weights are multiplied like any other, so operations go as visits do. Energy"
                 f" is that of the whole machine while the search ran, {interval_words(p)}; not measured where no counter could"
                 " be read or its record is not here.")


def _span(values: np.ndarray) -> str:
    low, high = minus(values.min(), 1), minus(values.max(), 1)
    return low if low == high else f"{low} to {high}"


def _pair(one: Likeness) -> str:
    first, second = (LABELS[method] for method in (one.first, one.second.removesuffix(" again")))
    return f"{first} and {second}{' again' if one.second.endswith('again') else ''}"


def _densities(style: Style, of: Mapping[str, Mapping[str, np.ndarray]], level: int) -> Canvas:
    axes = Canvas(figsize=SIZE).add_axes((0.16, 0.42, 0.8, 0.5))
    layers = list(of["imp"])
    places = np.arange(len(layers))
    for method in reversed(SHOWN):
        each = np.array(list(of[method].values()))
        ours, colour = method in METHODS, style.colour(method)
        axes.errorbar(places, each.mean(1), yerr=[each.mean(1) - each.min(1), each.max(1) - each.mean(1)], color=colour,
                      marker=MARKERS[method], linestyle="-" if ours else ":", linewidth=1.8 if ours else 1.2,
                      markersize=6 if ours else 4, elinewidth=0.8, label=LABELS[method])
    axes.set(title=f"level {level}", ylabel="weights kept (%)", ylim=(0, None))
    axes.set_xticks(places, layers, rotation=90 if len(layers) > 5 else 30, fontsize=7 if len(layers) > 5 else 9)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper center", bbox_to_anchor=(0.45, -0.34), ncols=2, columnspacing=1)
    return axes.figure


def _densities_alt(of: Mapping[str, Mapping[str, np.ndarray]], level: int) -> str:
    said = [f"{LABELS[method]}: {', '.join(f'{layer} {minus(np.mean(value), 1)}' for layer, value in of[method].items())}"
            for method in SHOWN]
    apart = {layer: abs(np.mean(of["synthetic"][layer]) - np.mean(of["imp"][layer])) for layer in of["imp"]}
    found = extremes(apart, 1, "Distance between the synthetic mask's percentage and IMP's, in points. ")
    return f"Lines of the percentage of weights kept in every layer at level {level}. {found}{'; '.join(said)}."


def _overlaps(style: Style, found: Sequence[Likeness]) -> Canvas:
    """A row for each pair of masks, and in it one point per level, the lowest level on top."""
    axes = Canvas(figsize=SIZE).add_axes((0.4, 0.18, 0.56, 0.74))
    pairs = list(dict.fromkeys(_pair(one) for one in found))
    levels = sorted({one.level for one in found})
    for one in found:
        place = pairs.index(_pair(one)) + 0.7 * ((levels.index(one.level) + 0.5) / len(levels) - 0.5)
        mean, chance, colour = one.jaccard.mean(), one.chance_jaccard.mean(), style.colour(one.first)
        axes.errorbar(mean, place, xerr=[[mean - one.jaccard.min()], [one.jaccard.max() - mean]], color=colour,
                      marker=MARKERS[one.first], elinewidth=1.2)
        axes.plot(chance, place, marker="|", markersize=11, markeredgewidth=2, color=style.text, linestyle="")
        axes.plot((chance, mean), (place, place), color=colour, linewidth=1, linestyle=":")
        axes.annotate(str(one.level), (max(one.jaccard.max(), chance), place), (7, 0), textcoords="offset points", va="center",
                      fontsize=8)
    axes.set(title="overlap", xlabel="kept by both, of those\nkept by either (%)", xlim=(0, 108), xticks=(0, 25, 50, 75, 100))
    axes.set_yticks(range(len(pairs)), [pair.replace(" and ", " and\n") for pair in pairs])
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    return axes.figure


def _overlaps_alt(found: Sequence[Likeness]) -> str:
    said = [f"{_pair(one)}, level {one.level}: {minus(one.jaccard.mean(), 1)}, by chance {minus(one.chance_jaccard.mean(), 1)}"
            for one in found]
    shares = {f"{_pair(one)}, level {one.level}": float(one.jaccard.mean()) for one in found}
    return f"Points: weights kept by both masks, percent of those kept by either. {extremes(shares, 1)}{'; '.join(said)}."


def _rows(p: Parameters, results: Mapping[str, Result], found: Sequence[Likeness]) -> list[tuple]:
    """Both plots' numbers in one list: densities by layer, then overlaps by pair."""
    rows: list[tuple] = [("what", "of", "level", "initialisation", "percent", "percent_by_chance")]
    for level in p.levels:
        for method in SHOWN:
            rows += [("weights kept", f"{method} {layer}", level, *row, "")
                     for layer, values in density(p, results, method, level).items() for row in in_rows(p.seeds, values)]
    for one in found:
        for measure, values, chance in (("jaccard", one.jaccard, one.chance_jaccard),
                                        ("hamming", one.hamming, one.chance_hamming)):
            rows += [(measure, f"{one.first} and {one.second}", one.level, *row) for row in in_rows(p.seeds, values, chance)]
    return rows
