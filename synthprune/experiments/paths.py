"""What chapters read from results: which initialisations are there, and of those accuracies and barriers, one number each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from synthprune.analysis.barriers import ends, highest_barrier, midpoint_barrier
from synthprune.experiments.settings import AnySettings, narrowed
from synthprune.store import Result

Part = TypeVar("Part")

BARRIERS = {"midpoint": midpoint_barrier, "highest": highest_barrier}


def complete(p: AnySettings, wanted: Callable[[AnySettings], Iterable[str]], results: Mapping[str, Result]) -> AnySettings | None:
    """A scene with the initialisations of which every result is here; None where there is none.

    `wanted(p)`: the names of the results of `p.seeds`. Figures, tables and intervals are of the initialisations that are here,
    and no verdict falls before there are as many as `p.planned`.
    """
    here, parts = in_parts(p, [None], lambda p, _: wanted(p), results)
    return here if parts else None


def in_parts(p: AnySettings, parts: Sequence[Part], wanted: Callable[[AnySettings, Part], Iterable[str]],
             results: Mapping[str, Result]) -> tuple[AnySettings, list[Part]]:
    """A scene and those of its `parts` (as methods) that are here, with the initialisations that have all of these parts.

    A part can be missing for want of its data, or on some initialisations because they have not been run. The parts are those
    of the initialisation that has most of them. Where there is nothing at all: the scene as it is, and no part.
    """
    has = {seed: [part for part in parts if all(name in results for name in wanted(narrowed(p, [seed]), part))]
           for seed in p.seeds}
    most = max(has.values(), key=len)
    if not most:
        return p, []
    return narrowed(p, [seed for seed in p.seeds if all(part in has[seed] for part in most)]), most


def faults_of(result: Result) -> list[str]:
    """Why a result may not enter a mean: layers without a weight, or a training that diverged."""
    faults = [f"layer {layer} has no weight left" for layer in result.metrics["collapsed"]]
    finite = all(np.isfinite(array).all() for array in result.arrays.values())
    return faults + ([] if finite and not result.metrics["diverged"] else ["the training diverged"])


def barrier(pairs: Sequence[Result], quantity: str, which: str) -> float:
    """The "midpoint" or "highest" barrier of `quantity` (as train_error) of each path, then averaged; NaN where one is faulty.

    In this order: the highest point of a mean curve is lower than the mean of the highest points.
    """
    if any(faults_of(path) for path in pairs):
        return float("nan")
    return float(np.mean([BARRIERS[which](path.arrays[quantity]) for path in pairs]))


def accuracy(pairs: Sequence[Result]) -> float:
    """Test accuracy in percent, averaged over the ends of the paths; NaN where one is faulty."""
    if any(faults_of(path) for path in pairs):
        return float("nan")
    return float(100 * (1 - np.mean([ends(path.arrays["test_error"]) for path in pairs])))


def mean_accuracy(evaluations: Sequence[Result]) -> float:
    """Mean test accuracy of some evaluations, percent; NaN where one is faulty."""
    if any(faults_of(one) for one in evaluations):
        return float("nan")
    return float(100 * (1 - np.mean([one.arrays["test_error"] for one in evaluations])))
