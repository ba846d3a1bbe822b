"""Operations (exact) and memory (estimated) of a training, by tracing its network on the meta device: nothing is computed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode


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
    where = next(network.parameters()).device  # a network of the user's own has values
    images = torch.zeros(batch, channels, pixels, pixels, device=where)
    return F.cross_entropy(network(images), torch.zeros(batch, dtype=torch.int64, device=where))


def training_memory(network: nn.Module, channels: int, pixels: int, batch: int, data: int) -> int:
    """Bytes that a training holds at its peak, without the libraries' workspaces and the GPU driver's context: of `network` (on
    the meta device) trained in batches of `batch`, beside `data` bytes of resident images and labels.

    They are those of weights (parameters and buffers), of gradients and of momentum, and of activations: all that autograd
    keeps for the backward pass, once each, and the gradient of the largest of them.
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
    return 3 * parameters + buffers + sum(sizes) + max(sizes) + data
