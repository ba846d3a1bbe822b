"""Chapter 01: the idea from end to end, on small data. Paper: abstract and section 1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np

from synthprune import stats
from synthprune.analysis.barriers import highest_barrier, midpoint_barrier
from synthprune.analysis.masks import overlaps, total
from synthprune.chapters import entries
from synthprune.chapters.described import described, joined
from synthprune.chapters.discussion import masks
from synthprune.chapters.entries import subnetwork
from synthprune.chapters.paths import Barriers, Paths
from synthprune.chapters.settings import METHODS, Distilling, decides, field
from synthprune.results import specs
from synthprune.results.store import Result

Network = Literal["dense", "synthetic", "imp"]
NETWORKS: tuple[Network, ...] = ("dense", "synthetic", "imp")
"""What is trained twice: the whole network, and the subnetworks of the two methods."""

SET = "the synthetic set"

EXERCISE = (1.0, 1.5, 2.0, 5.0, 2.0)
"""Training error in percent at five points of an invented path, on which the two barriers tell different stories."""


class Parameters(Distilling):
    chapter: ClassVar[str] = "01_introduction"

    level: int = field("level to prune to (level n keeps 0.8^n of the weights)", ge=1, le=30)
    orders: list[int] = field("data orders to train in; every pair makes a path", min_length=2)
    points: int = field("points on a path, both ends included (odd)", ge=3)


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    return described(p, f" Initialisations {joined(p.seeds)}; masks of level {p.level}; every network trained in orders"
                        f" {joined(p.orders)}.", "they show how a measurement is made")


def mask_of(method: str) -> str:
    """What the mask that a method finds is called in this chapter."""
    return f"mask found by {method}"


def name(network: Network, seed: int, pair: tuple[int, int]) -> str:
    """What a path is called in this chapter."""
    return f"{network}, initialisation {seed}, orders {pair[0]}-{pair[1]}"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """The synthetic set, the two masks of the first initialisation, and the paths of every network."""
    wanted: dict[str, specs.Entry] = {SET: entries.synthetic_data(p)}
    wanted |= {mask_of(method): subnetwork(p, method, p.seeds[0], p.level) for method in METHODS}
    return wanted | {name(network, seed, pair): entries.path(p, network, seed, 0 if network == "dense" else p.level, pair)
                     for network in NETWORKS for seed in p.seeds for pair in combinations(p.orders, 2)}


def paths(p: Parameters, results: Mapping[str, Result], network: Network) -> Paths:
    """The paths of a network between its trainings."""
    return Paths({f"{network}, initialisation {seed}": [results[name(network, seed, pair)] for pair in combinations(p.orders, 2)]
                  for seed in p.seeds})


def table(p: Parameters, results: Mapping[str, Result]) -> dict[Network, Barriers]:
    """Test accuracy, the paper's barrier and Frankle et al.'s, and what they allow to say, network by network."""
    return {network: paths(p, results, network).barriers(decides(p), len(p.seeds)) for network in NETWORKS}


def shares(results: Mapping[str, Result]) -> dict[str, float]:
    """Percent of all prunable weights that are kept by "both" masks, by "synthetic" or "imp" alone, and by "neither"."""
    of = total(overlaps(*(masks(results[mask_of(method)]) for method in METHODS)).values())
    counts = {"both": of.both, "synthetic": of.first - of.both, "imp": of.second - of.both,
              "neither": of.size - of.first - of.second + of.both}
    return {kept: 100 * count / of.size for kept, count in counts.items()}


def largest_layer(results: Mapping[str, Result]) -> tuple[str, np.ndarray, np.ndarray]:
    """The layer with most weights, and what the synthetic and the IMP mask keep of it (bool, the shape of its weights)."""
    first, second = (masks(results[mask_of(method)]) for method in METHODS)
    layer = max(first, key=lambda layer: first[layer].size)
    return layer, first[layer], second[layer]


def check_barriers(midway: Any, highest: Any) -> str:
    """What to say to the two barriers, in percentage points, that a reader finds on the path of `EXERCISE`."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (midway, highest)):
        return "Give two numbers, in percentage points: the barrier midway, and the highest barrier."
    path = np.array(EXERCISE)
    if math.isclose(midway, path[len(path) // 2]) or math.isclose(highest, path.max()):
        return "That is how high the path lies. A barrier is how much higher it lies than the mean of its two ends."
    for where, given, right in (("midway", midway, midpoint_barrier(path)),
                                ("at the highest point", highest, highest_barrier(path))):
        if not math.isclose(given, right, abs_tol=0.01):
            return f"The barrier {where} is {'higher' if given < right else 'lower'}: take the mean of the two ends off the path."
    return ("Right. Judged by its middle this path hardly rises; its highest point lies beyond the line of"
            f" {stats.STABLE_BELOW:g} points. That is why this book shows both barriers.")
