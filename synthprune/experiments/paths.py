"""What chapters read from measured paths and evaluations: accuracies and barriers, one number per initialisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthprune.analysis.barriers import ends, highest_barrier, midpoint_barrier
from synthprune.store import Result

BARRIERS = {"midpoint": midpoint_barrier, "highest": highest_barrier}


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
