"""What things cost, by arithmetic: operations, image visits, memory, hours on a named GPU. Nothing here is a measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from synthprune.criteria import SYNFLOW_ROUNDS
from synthprune.problems import Problem, nearest

PEAK_TFLOPS = {"H200": 67.0, "H100 SXM": 67.0, "A100": 19.5, "V100": 15.7, "RTX 4090": 82.6}
"""Peak float32 rate without tensor cores, in TFLOP/s: NVIDIA's data sheets (V100: SXM2; RTX 4090: Ada whitepaper)."""
UTILISATION = 0.3
"""The share of the peak that `gpu_hours` assumes to be reached."""


def forward_flops(network: nn.Module, channels: int, pixels: int) -> int:
    """Floating-point operations to pass one image (channels, pixels, pixels) through `network` (on the meta device).

    Convolutions and linear layers, two operations for each multiplication with its addition; no biases, norms,
    activations or poolings. A mask saves none of them: pruned weights are multiplied like any other.
    """
    with FlopCounterMode(display=False) as counter:
        _loss(network, channels, pixels, _COUNTED)
    return counter.get_total_flops() // _COUNTED


def training_flops(network: nn.Module, channels: int, pixels: int) -> int:
    """Those of a training step per image: forward, and backward to every weight. The image itself needs no gradient, so
    the first layer's share is twice its forward pass and every other's three times. No update, no augmentation."""
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(_loss(network, channels, pixels, _COUNTED), list(network.parameters()))
    return counter.get_total_flops() // _COUNTED


_COUNTED = 2  # images: a batch norm refuses one


def _loss(network: nn.Module, channels: int, pixels: int, batch: int) -> Tensor:
    images = torch.empty(batch, channels, pixels, pixels, device="meta")
    return F.cross_entropy(network(images), torch.empty(batch, dtype=torch.int64, device="meta"))


@dataclass(frozen=True)
class Cost:
    """What it takes to find a mask. Where searches follow each other with other data or recipes, costs add.

    `stored_images` and `decoded_images`: the set's size before and after decoding. `training_points`: stored images
    times epochs, what the paper counts. `visits`: images that passed forward and backward (decoded images times epochs).
    `steps`: SGD updates. `flops`: operations of those passes (`training_flops`).
    """

    stored_images: int = 0
    decoded_images: int = 0
    training_points: int = 0
    visits: int = 0
    steps: int = 0
    flops: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Cost)))

    def times(self, other: Cost) -> dict[str, float]:
        """How many times `other` this is, by each count; NaN where the other's is 0."""
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(Cost)}
        return {name: mine / its if its else math.nan for name, (mine, its) in pairs.items()}


def search_cost(*, stored: int, decoded: int, epochs: int, batch: int, levels: int, flops: int, rewind: int = 0) -> Cost:
    """Of a mask of level `levels` by iterative magnitude pruning: that many trainings of `epochs` epochs on `decoded` images,
    kept as `stored`, in batches of `batch`, the last of an epoch smaller. `flops` per visit; all trainings but the first
    begin at epoch `rewind`. The trainings that then use the mask are not the search's."""
    run = levels * epochs - max(levels - 1, 0) * rewind
    return Cost(stored, decoded, run * stored, run * decoded, run * math.ceil(decoded / batch), run * decoded * flops)


def criterion_cost(criterion: str, images: int, flops: int) -> Cost:
    """Of a mask of any level by `prune_at_initialisation`: `images` looked at once by SNIP, none by the others, no SGD step.

    `flops` per image, forward and backward; SynFlow's 100 rounds pass one image of ones each.
    """
    if criterion == "snip":
        return Cost(images, images, images, images, 0, images * flops)
    return Cost(flops=SYNFLOW_ROUNDS * flops if criterion == "synflow" else 0)


@dataclass(frozen=True)
class Memory:
    """Bytes that a training holds at its peak, without the libraries' workspaces and the GPU driver's context."""

    weights: int
    gradients: int
    momentum: int
    activations: int
    data: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(Memory))


def training_memory(network: nn.Module, channels: int, pixels: int, batch: int, data: int) -> Memory:
    """Of `network` (on the meta device) trained in batches of `batch`, beside `data` bytes of resident images and labels.

    `weights` are parameters and buffers, `activations` all that autograd keeps for the backward pass, once each, and the
    gradient of the largest of them.
    """
    kept: set[torch.UntypedStorage] = set()

    def keep(tensor: Tensor) -> Tensor:
        kept.add(tensor.untyped_storage())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        _loss(network, channels, pixels, batch)
    kept -= {parameter.untyped_storage() for parameter in network.parameters()}
    sizes = [storage.nbytes() for storage in kept]
    parameters = sum(parameter.nbytes for parameter in network.parameters())
    buffers = sum(buffer.nbytes for buffer in network.buffers())
    return Memory(parameters + buffers, parameters, parameters, sum(sizes) + max(sizes), data)


def gpu_hours(flops: int, gpu: str) -> float:
    """Hours for `flops` operations on `gpu`, one of PEAK_TFLOPS, at UTILISATION of its peak. Raises Problem for another."""
    return flops / (_peak(gpu) * 1e12 * UTILISATION) / 3600


def gpu_assumption(gpu: str) -> str:
    """What `gpu_hours` rests on, in words to print beside every such number. Raises Problem for an unknown GPU."""
    return f"arithmetic, not measured: {UTILISATION:.0%} of the {_peak(gpu):g} TFLOP/s (float32, no tensor cores) of {gpu}"


def _peak(gpu: str) -> float:
    if gpu not in PEAK_TFLOPS:
        raise Problem(f"unknown GPU '{gpu}': {nearest(gpu, PEAK_TFLOPS)}")
    return PEAK_TFLOPS[gpu]
