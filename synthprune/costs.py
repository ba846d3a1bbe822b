"""What things cost, by arithmetic without torch: images, steps, operations of a mask; hours on a named GPU. No measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from synthprune.problems import Problem, nearest

SYNFLOW_ROUNDS = 100
PEAK_TFLOPS = {"H200": 67.0, "H100 SXM": 67.0, "A100": 19.5, "V100": 15.7, "RTX 4090": 82.6}
"""Peak float32 rate without tensor cores, in TFLOP/s: NVIDIA's data sheets (V100: SXM2; RTX 4090: Ada whitepaper)."""
UTILISATION = 0.3
"""The share of the peak that `gpu_hours` assumes to be reached."""


@dataclass(frozen=True)
class Cost:
    """What it takes to find a mask. Where searches follow each other with other data or recipes, costs add.

    `stored_images` and `decoded_images`: the set's size before and after decoding. `training_points`: stored images
    times epochs, what the paper counts. `visits`: images that passed forward and backward (decoded images times epochs).
    `steps`: SGD updates. `flops`: operations of those passes (`tracing.training_flops`), NaN where nobody counted them.
    """

    stored_images: int = 0
    decoded_images: int = 0
    training_points: int = 0
    visits: int = 0
    steps: int = 0
    flops: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Cost)))

    def times(self, other: Cost) -> dict[str, float]:
        """How many times `other` this is, by each count; NaN where the other's is 0."""
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(Cost)}
        return {name: mine / its if its else math.nan for name, (mine, its) in pairs.items()}


def search_cost(*, stored: int, decoded: int, epochs: int, batch: int, levels: int, flops: float, rewind: int = 0) -> Cost:
    """Of a mask of level `levels` by iterative magnitude pruning: that many trainings of `epochs` epochs on `decoded` images,
    kept as `stored`, in batches of `batch`, the last of an epoch smaller. `flops` per visit; all trainings but the first
    begin at epoch `rewind`. The trainings that then use the mask are not the search's."""
    run = levels * epochs - max(levels - 1, 0) * rewind
    return Cost(stored, decoded, run * stored, run * decoded, run * math.ceil(decoded / batch), run * decoded * flops)


def criterion_cost(criterion: str, images: int, flops: float) -> Cost:
    """Of a mask of any level by `prune_at_initialisation`: `images` looked at once by SNIP, none by the others, no SGD step.

    `flops` per image, forward and backward; SynFlow's 100 rounds pass one image of ones each.
    """
    if criterion == "snip":
        return Cost(images, images, images, images, 0, images * flops)
    return Cost(flops=SYNFLOW_ROUNDS * flops if criterion == "synflow" else 0)


def gpu_hours(flops: float, gpu: str) -> float:
    """Hours for `flops` operations on `gpu`, one of PEAK_TFLOPS, at UTILISATION of its peak. Raises Problem for another."""
    return flops / (_peak(gpu) * 1e12 * UTILISATION) / 3600


def gpu_assumption(gpu: str) -> str:
    """What `gpu_hours` rests on, in words to print beside every such number. Raises Problem for an unknown GPU."""
    return f"arithmetic, not measured: {UTILISATION:.0%} of the {_peak(gpu):g} TFLOP/s (float32, no tensor cores) of {gpu}"


def _peak(gpu: str) -> float:
    if gpu not in PEAK_TFLOPS:
        raise Problem(f"unknown GPU '{gpu}': {nearest(gpu, PEAK_TFLOPS)}")
    return PEAK_TFLOPS[gpu]
