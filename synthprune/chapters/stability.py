"""Chapter 04: are two trainings of one subnetwork linearly connected? Paper section 4, figures 3 and 4."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from pydantic import field_validator

from synthprune import stats
from synthprune.analysis.barriers import ends
from synthprune.chapters import entries, settings
from synthprune.chapters.described import described, joined
from synthprune.chapters.paths import Barriers, Paths, complete, gathered
from synthprune.chapters.settings import METHODS, Method, Settings, decides, field
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result
from synthprune.stats import Interval, Measure


class Parameters(Settings):
    chapter: ClassVar[str] = "04_stability"

    scenes: list[str] = field("networks and data sets of the profile to show, one after the other", min_length=1)
    levels: list[int] = field("pruning levels to test (level n keeps 0.8^n of the weights)", min_length=1)
    orders: list[int] = field("data orders to train in; every pair makes a path", min_length=2)
    points: int = field("points on a path, both ends included (odd)", ge=3)

    @field_validator("levels")
    @classmethod
    def _in_range(cls, levels: list[int]) -> list[int]:
        if max(levels) > 30:
            raise ValueError("levels go from 0 (dense) to 30 (0.1 % of the weights left)")
        return sorted(levels)


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    return described(p, f" Initialisations {joined(p.seeds)}; pruning levels {joined(p.levels)}; each subnetwork is trained in"
                        f" {len(p.orders)} orders ({joined(p.orders)}), the searches in order {p.search_seed}.",
                     "they show how the measurement works")


def name(p: Parameters, method: Method, level: int, seed: int, pair: tuple[int, int], batch_norm: str = "interpolated") -> str:
    """What a path is called in this chapter; the dense network belongs to both methods."""
    return (f"{p.scene}: {method if level else 'dense'}, level {level}, initialisation {seed}, orders {pair[0]}-{pair[1]},"
            f" {batch_norm}")


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every path this chapter shows, in every scene."""
    return {name: path for scene in settings.scenes(p) for name, path in paths(scene).items()}


def measured_scenes(p: Parameters, results: Mapping[str, Result]) -> list[Parameters]:
    """The scenes that could be measured, each with the initialisations that are here."""
    return [here for scene in settings.scenes(p) if (here := complete(scene, paths, results))]


def paths(p: Parameters) -> dict[str, specs.Entry]:
    """The paths of one scene: method x level x initialisation x pair of orders (x batch-norm statistics)."""
    return {
        name(p, method, level, seed, pair, statistics): entries.path(p, method, seed, level, pair, batch_norm=statistics)
        for method in METHODS for level in p.levels for seed in p.seeds for pair in combinations(p.orders, 2)
        for statistics in batch_norm_statistics(p)}


def batch_norm_statistics(p: Parameters) -> tuple[str, ...]:
    """How running statistics are treated along a path: two ways where there are any."""
    has_any = p.norm == "batch" and p.architecture != "lenet300"
    return ("interpolated", "recomputed") if has_any else ("interpolated",)


LOW = 4
"""The paper's low sparsity, "when synthetic subnetworks first achieve general stability" (section 4.3)."""

class Levels(dict[int, Paths]):
    """One method's paths by level."""

    def __missing__(self, level: int) -> Paths:
        raise Problem(f"level {level} was not measured: levels={list(self)}")


def curves(p: Parameters, results: Mapping[str, Result], method: Method, batch_norm: str = "interpolated") -> Levels:
    """The measured paths of one method, level by level."""
    def of(level: int, seed: int) -> list[Result]:
        return [results[name(p, method, level, seed, pair, batch_norm)] for pair in combinations(p.orders, 2)]

    return Levels({level: Paths({f"{method if level else 'dense'}, level {level}, initialisation {seed}": of(level, seed)
                                 for seed in p.seeds}) for level in p.levels})


def table(p: Parameters, results: Mapping[str, Result], batch_norm: str = "interpolated") -> dict[tuple[str, int], Barriers]:
    """Accuracy, barriers and stability by method and level; the dense network once."""
    return {(method if level else "dense", level): of.barriers(decides(p), len(p.planned))
            for method in METHODS for level, of in curves(p, results, method, batch_norm).items()
            if level or method == METHODS[0]}


def differences(p: Parameters, results: Mapping[str, Result]) -> dict[tuple[str, int], tuple[Interval, Interval, str]]:
    """How much more one kind of network rises than the synthetic subnetwork, paired by initialisation: by what is compared (IMP
    minus synthetic, dense minus synthetic) and sparse level, nats, points of training error, and the verdict.

    "higher" where the whole interval of the error's difference lies above zero, "lower" where below.
    """
    of = {method: curves(p, results, method) for method in METHODS}
    found = {}
    for level in (level for level in p.levels if level):
        for label, method, other in (("IMP minus synthetic", "imp", level), ("dense minus synthetic", "synthetic", 0)):
            if other not in p.levels:
                continue
            loss, error = (stats.interval(of[method][other].barrier(*which) - of["synthetic"][level].barrier(*which))
                           for which in (("train_loss", "midpoint"), ("train_error", "highest")))
            found[label, level] = loss, error, stats.direction(error, decides(p), len(p.planned))
    return found


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter, over every scene that was measured; see book/claims.yml."""
    found = ((measure, label, stats.interval(values).out_of(len(scene.planned)))
             for scene in measured_scenes(p, results) for measure, label, values in _measured(scene, results))
    return gathered(found, {"loss_barrier_synthetic": "nats", "train_loss_change_synthetic": "nats"}, len(p.seeds))


def _measured(p: Parameters, results: Mapping[str, Result]) -> Iterator[tuple[str, str, np.ndarray]]:
    """(measure, label, values per initialisation) of one scene."""
    of = {method: curves(p, results, method) for method in METHODS}

    def error(method: Method, level: int) -> np.ndarray:
        return of[method][level].barrier("train_error", "highest")

    if 0 in p.levels:
        yield "error_barrier_dense", p.scene, error("synthetic", 0)
    sparse = [level for level in p.levels if level >= LOW]
    for level in sparse:
        label = f"{p.scene}, level {level}"
        yield "error_barrier_synthetic", label, error("synthetic", level)
        yield "error_barrier_imp", label, error("imp", level)
        yield "error_barrier_imp_minus_synthetic", label, error("imp", level) - error("synthetic", level)
        yield "loss_barrier_synthetic", label, of["synthetic"][level].barrier("train_loss", "midpoint")
    if LOW in sparse and len(sparse) > 1:
        low, high = LOW, sparse[-1]
        yield "error_barrier_change_synthetic", p.scene, error("synthetic", high) - error("synthetic", low)
        loss = {level: ends(of["synthetic"][level].curves("train_loss")) for level in (low, high)}
        yield "train_loss_change_synthetic", p.scene, loss[high] - loss[low]


def training_images(p: Parameters, results: Mapping[str, Result]) -> int:
    """How many training images the first scene's paths were measured on; 0 where there are none."""
    return next((results[name].metrics["train_images"] for scene in measured_scenes(p, results) for name in paths(scene)), 0)


def check_images(answer: Any, p: Parameters, results: Mapping[str, Result]) -> str:
    """What to say to the smallest number of images by which, a reader thinks, a path rises too much to be called stable."""
    images = training_images(p, results)
    if not images:
        return "This run has no paths, so the question has no answer here: try another scene."
    right = math.ceil(stats.STABLE_BELOW / 100 * images)
    if isinstance(answer, bool) or not isinstance(answer, int):
        return "Give a whole number of images."
    if answer == right:
        return (f"Right: {right} of {images} images are {100 * right / images:.2f} percentage points. In the table a barrier is a"
                " mean over paths and initialisations, so there it need not be a whole number of images.")
    if answer == right - 1:
        return f"Just too few: {answer} images are {100 * answer / images:.2f} points, which is still below the line."
    return "Not yet: stable means that the rise stays below two percentage points. What share of all images is that?"
