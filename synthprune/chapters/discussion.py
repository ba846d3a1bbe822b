"""Chapter 09: where the masks lie, and what they cost. Paper section 6."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import model_validator

from synthprune import stats
from synthprune.analysis.masks import Overlap, by_chance, densities, overlaps, total
from synthprune.chapters import entries, settings
from synthprune.chapters.answers import judged
from synthprune.chapters.described import described, joined, more_scenes
from synthprune.chapters.entries import retrained, subnetwork
from synthprune.chapters.paths import complete
from synthprune.chapters.settings import METHODS, Method, Settings, SparseLevels, field
from synthprune.costs import Cost
from synthprune.results import specs
from synthprune.results.store import Result, Store
from synthprune.stats import Measure


class Parameters(Settings):
    chapter: ClassVar[str] = "09_discussion"

    scenes: list[str] = field("networks and data sets of the profile to show, one after the other", min_length=1)
    levels: SparseLevels = field("pruning levels whose masks are compared", min_length=1)
    second_seed: int = field("order in which second searches see their data, to compare two searches of one method", ge=0)
    second_level: int = field("highest level to which second searches go; 0: none", ge=0)

    @model_validator(mode="after")
    def _searches_differ(self) -> Parameters:
        if self.second_seed == self.search_seed:
            raise ValueError(f"second_seed={self.second_seed} is search_seed: the second search would be the first")
        return self


SHOWN: tuple[Method, ...] = (*METHODS, "magnitude", "snip", "synflow", "random")
"""The methods whose masks are shown: the paper's two, and what can be had without training."""

PAIRS = (("synthetic", "imp"), ("synthetic", "magnitude"), ("imp", "magnitude"), ("synthetic", "synthetic again"),
         ("imp", "imp again"))
"""The masks of one initialisation that are laid over each other; 'again' is a second search in another order."""


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    again = (f" Up to level {p.second_level} a second search of each method sees its data in order {p.second_seed}."
             if p.second_level else "")
    return described(p, f"{more_scenes(p)} Initialisations {joined(p.seeds)}; levels {joined(p.levels)}; searches in order"
                        f" {p.search_seed}.{again}", "they show how the comparison works")


def name(p: Parameters, method: str, level: int, seed: int) -> str:
    """What a mask is called in this chapter."""
    return f"{p.scene}: {method}, level {level}, initialisation {seed}"


def first_round(p: Parameters) -> str:
    """What the evaluation of IMP's own first training is called: it tells how many images a search visits."""
    return f"{p.scene}: first round of IMP"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every mask this chapter compares, in every scene."""
    return {name: entry for scene in settings.scenes(p) for name, entry in of_scene(scene).items()}


def of_scene(p: Parameters) -> dict[str, specs.Entry]:
    """One scene's masks, and the evaluation of one training."""
    return all_masks(p) | {first_round(p): specs.Evaluation(of=retrained(p, "imp", p.seeds[0], 0, p.search_seed))}


def all_masks(p: Parameters) -> dict[str, specs.Entry]:
    """One scene's masks: method x level x initialisation, with the second searches."""
    again = p.model_copy(update={"search_seed": p.second_seed})
    masks = {name(p, method, level, seed): subnetwork(p, method, seed, level)
             for method in SHOWN for level in p.levels for seed in p.seeds}
    second = {name(p, f"{method} again", level, seed): subnetwork(again, method, seed, level)
              for method in METHODS for level in p.levels if level <= p.second_level for seed in p.seeds}
    return masks | second


def measured_scenes(p: Parameters, results: Mapping[str, Result]) -> list[Parameters]:
    """The scenes that could be measured, each with the initialisations that are here."""
    return [here for scene in settings.scenes(p) if (here := complete(scene, all_masks, results))]


def masks(result: Result) -> dict[str, np.ndarray]:
    """A stored mask: {layer: bool array, True where the weight survives}, from input to output."""
    found = {array.removeprefix("mask/").removesuffix(".weight"): value for array, value in result.arrays.items()
             if array.startswith("mask/")}
    return {layer: found[layer] for layer in sorted(found, key=_depth)}


def _depth(layer: str) -> tuple:
    """Orders layers as data pass them: the store keeps them by name, where the classifier comes first and 10 before 2."""
    parts = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in layer.split("."))
    return layer == "classifier", not layer.startswith("stem"), parts


def density(p: Parameters, results: Mapping[str, Result], method: str, level: int) -> dict[str, np.ndarray]:
    """The share of every layer's weights that survives, percent: {layer: (initialisations,)}."""
    each = [densities(masks(results[name(p, method, level, seed)])) for seed in p.seeds]
    return {layer: 100 * np.array([one[layer] for one in each]) for layer in each[0]}


def sizes(p: Parameters, results: Mapping[str, Result]) -> dict[str, int]:
    """{layer: number of its prunable weights}."""
    return {layer: mask.size for layer, mask in masks(results[name(p, "imp", p.levels[0], p.seeds[0])]).items()}


def greatest_difference(p: Parameters, results: Mapping[str, Result], level: int) -> np.ndarray:
    """(initialisations,): how far the densities of the synthetic and the IMP mask part in the layer where they part most."""
    synthetic, imp = (density(p, results, method, level) for method in METHODS)
    return np.max([np.abs(synthetic[layer] - imp[layer]) for layer in imp], axis=0)


@dataclass(frozen=True)
class Likeness:
    """How alike two kinds of masks of the same initialisations are; arrays (initialisations,), shares in percent.

    `jaccard`: weights kept by both among those kept by either. `hamming`: weights that only one of the two keeps, among
    all. `chance_...`: the means of these over independent random masks with the same densities in every layer (exact).
    `z`: how many standard deviations of such masks the Jaccard overlap lies above their mean.
    """

    first: str
    second: str
    level: int
    jaccard: np.ndarray
    chance_jaccard: np.ndarray
    hamming: np.ndarray
    chance_hamming: np.ndarray
    z: np.ndarray

    @property
    def above_chance(self) -> np.ndarray:
        return self.jaccard - self.chance_jaccard


def likenesses(p: Parameters, results: Mapping[str, Result]) -> list[Likeness]:
    """Every pair of masks at every level that has both."""
    return [likeness(p, results, first, second, level) for level in p.levels for first, second in PAIRS
            if name(p, second, level, p.seeds[0]) in results]


def likeness(p: Parameters, results: Mapping[str, Result], first: str, second: str, level: int) -> Likeness:
    rows = []
    for seed in p.seeds:
        layers = overlaps(*(masks(results[name(p, method, level, seed)]) for method in (first, second))).values()
        both, chance = total(layers), by_chance(layers)
        rows.append((100 * both.jaccard, 100 * chance["jaccard"].mean, 100 * both.hamming, 100 * chance["hamming"].mean,
                     chance["jaccard"].z(both.jaccard)))
    return Likeness(first, second, level, *np.array(rows).T)


def cost(p: Parameters, results: Mapping[str, Result], method: Method, level: int) -> Cost:
    """What a mask of `method` at `level` takes; `flops` is NaN where the operations of a visit were not counted."""
    evaluated = results[first_round(p)].metrics
    return entries.cost(p, method, level, evaluated["train_images"], evaluated.get("flops", math.nan))


def energy(p: Parameters, store: Store, method: Method, level: int) -> np.ndarray:
    """(initialisations,): joules counted while a mask was found, all trainings together, the making of the synthetic set
    apart; NaN where one was not measured, or nobody knows where it came from."""
    def joules(seed: int) -> float:
        whole = specs.closure([subnetwork(p, method, seed, level)])
        counted = [(store.whence(one) or {}).get("joules") for one in whole if not isinstance(one, specs.Made)]
        return math.nan if None in counted else float(sum(counted))

    return np.array([joules(seed) for seed in p.seeds])


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter."""
    of = {"layer_density_difference": lambda p, level: greatest_difference(p, results, level),
          "overlap_above_chance": lambda p, level: likeness(p, results, *METHODS, level).above_chance}
    scenes = measured_scenes(p, results)
    return {measure: Measure({f"{scene.scene}, level {level}": stats.interval(read(scene, level)).out_of(len(scene.planned))
                              for scene in scenes for level in scene.levels}, "percentage points", len(p.seeds))
            for measure, read in of.items()}


def largest_layer(p: Parameters, results: Mapping[str, Result]) -> tuple[str, Overlap]:
    """The largest layer and its counts in the synthetic and the IMP mask: first scene measured, first initialisation,
    highest level."""
    scene = measured_scenes(p, results)[0]
    layers = overlaps(*(masks(results[name(scene, method, scene.levels[-1], scene.seeds[0])]) for method in METHODS))
    layer = max(layers, key=lambda one: layers[one].size)
    return layer, layers[layer]


def check_chance(answer: Any, p: Parameters, results: Mapping[str, Result]) -> str:
    """What to say to the Jaccard overlap (percent) that a reader expects of independent masks in the largest layer."""
    if not measured_scenes(p, results):
        return "This run has no masks, so the question has no answer here: try another scene."
    layer, counts = largest_layer(p, results)
    chance, measured = 100 * by_chance([counts])["jaccard"].mean, 100 * counts.jaccard
    product = 100 * counts.first * counts.second / counts.size**2

    percent = "In percent, please: a hundred times as much."
    return judged(answer, (
        (chance, f"Right: chance alone gives {chance:.1f} %. The two masks of {layer} share {measured:.1f} %, so they are"
                 f" {'more' if measured > chance else 'less'} alike than independent ones."),
        (product, "Nearly: that is the share of all weights that both keep. Divide it by the share that at least one of them"
                  " keeps."), (chance / 100, percent), (product / 100, percent)),
        lambda right: max(0.1, 0.02 * right), "Give one number: the expected share in percent.",
        "Not yet. Say a and b are the two densities: which share of the weights do both keep, and which share does either?")
