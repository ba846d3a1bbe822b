"""How alike two masks are, and how alike chance alone would make them. Paper section 6; for stored pages: no torch.

A mask is a bool array, True where the weight survives; masks of a network are {layer: array}.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from synthprune.problems import Problem

ArrayMasks = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Overlap:
    """Counts of weights: all, surviving in the first mask, in the second, and (a number, or an array of them) in both."""

    size: int
    first: int
    second: int
    both: int | np.ndarray

    @property
    def jaccard(self) -> float | np.ndarray:
        """Survivors of both masks among survivors of either, in [0, 1]; NaN where neither mask has any."""
        either = self.first + self.second - self.both
        return self.both / either if self.first + self.second else math.nan

    @property
    def hamming(self) -> float | np.ndarray:
        """The fraction of weights that survive in one mask and not in the other, in [0, 1]."""
        return (self.first + self.second - 2 * self.both) / self.size


@dataclass(frozen=True)
class Chance:
    """Mean and standard deviation of a measure over random masks."""

    mean: float
    deviation: float

    def z(self, observed: float) -> float:
        """How many standard deviations `observed` lies above the mean; NaN where random masks do not vary."""
        return (observed - self.mean) / self.deviation if self.deviation else math.nan


def densities(masks: ArrayMasks) -> dict[str, float]:
    """The fraction of each layer's weights that survive, in [0, 1]."""
    return {layer: float(mask.mean()) for layer, mask in masks.items()}


def overlaps(first: ArrayMasks, second: ArrayMasks) -> dict[str, Overlap]:
    """The overlap of two masks of one network, layer by layer. Raises Problem where they are of different networks."""
    for layer in sorted(first.keys() | second.keys()):
        ours, theirs = (masks[layer].shape if layer in masks else "absent" for masks in (first, second))
        if ours != theirs:
            raise Problem(f"layer '{layer}' is {ours} in one mask and {theirs} in the other: compare masks of one network")
    return {layer: Overlap(mask.size, int(mask.sum()), int(second[layer].sum()), int((mask & second[layer]).sum()))
            for layer, mask in first.items()}


def total(layers: Iterable[Overlap]) -> Overlap:
    """The overlap over several layers together."""
    counts = np.array([(layer.size, layer.first, layer.second, layer.both) for layer in layers]).sum(0)
    return Overlap(*(int(count) for count in counts))


def by_chance(layers: Iterable[Overlap]) -> dict[str, Chance]:
    """What random masks of the same layer densities would give for "both", "jaccard" and "hamming", over all `layers`.

    The null keeps how many weights of each layer survive in each mask and draws which ones uniformly, independently for
    the two masks. The common survivors of a layer then follow a hypergeometric distribution, and those of all layers
    the convolution of these, from which mean and deviation are summed exactly (to about 1e-12): no draws, no
    approximation.
    """
    layers = list(layers)
    least, probabilities = 0, np.ones(1)
    for layer in layers:
        start, these = _hypergeometric(layer)
        least, probabilities = _trimmed(least + start, np.convolve(probabilities, these))
    possible = replace(total(layers), both=least + np.arange(len(probabilities)))
    return {measure: _moments(getattr(possible, measure), probabilities) for measure in ("both", "jaccard", "hamming")}


def _hypergeometric(layer: Overlap) -> tuple[int, np.ndarray]:
    """The least number of common survivors, and the probability of it and each number above it."""
    least = max(0, layer.first + layer.second - layer.size)
    k = np.arange(least, min(layer.first, layer.second), dtype=np.float64)
    # Ratios of neighbours, summed as logarithms: factorials of layer sizes would cost nine digits.
    ratios = (layer.first - k) * (layer.second - k) / ((k + 1) * (layer.size - layer.first - layer.second + k + 1))
    logarithms = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    return _trimmed(least, np.exp(logarithms - logarithms.max()))


def _trimmed(least: int, probabilities: np.ndarray) -> tuple[int, np.ndarray]:
    """The same distribution without its ends below 1e-20 of its peak, which float64 cannot see; else large layers cost."""
    kept = np.flatnonzero(probabilities > 1e-20 * probabilities.max())
    probabilities = probabilities[kept[0]:kept[-1] + 1]
    return least + int(kept[0]), probabilities / probabilities.sum()


def _moments(values: np.ndarray, probabilities: np.ndarray) -> Chance:
    mean = float(np.sum(probabilities * values))
    return Chance(mean, math.sqrt(float(np.sum(probabilities * (values - mean) ** 2))))
