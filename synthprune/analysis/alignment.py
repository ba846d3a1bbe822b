"""Permutation alignment: is a barrier only a relabelling of hidden channels? Weight matching, Ainsworth et al. (2023).

Which axes of which tensors share a permutation is read off the network's graph: lists by hand go wrong unseen.
"""

from __future__ import annotations

import operator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, fx, nn

from synthprune.models import Masks, State, check_state
from synthprune.problems import Problem
from synthprune.seeds import generator

Permutations = dict[str, np.ndarray]
"""For each group of channels, named after the layer that makes it: entry i is the channel that moves to place i."""


class Axis(NamedTuple):
    """A dimension of a tensor on which a group's channels lie, each taking one or (flattened images) several rows."""

    tensor: str
    dim: int


def symmetries(network: nn.Module) -> dict[str, list[Axis]]:
    """The groups of hidden channels of `network` that can be relabelled without changing its function.

    Each group, named after the layer that makes it, with every axis that must be permuted alike, that layer's output
    first. A sum makes its terms' channels one group, so a residual stream has a single permutation. The images' channels
    and the logits are in no group. Raises Problem where a layer or operation is not known to allow relabelling.
    """
    groups: dict[str, list[Axis]] = {"": []}  # the images' channels
    of: dict[fx.Node, str] = {}
    for node in fx.Tracer().trace(network).nodes:
        group, *others = sorted({of[each] for each in node.all_input_nodes}, key=list(groups).index) or [""]
        module = network.get_submodule(node.target) if node.op == "call_module" else None
        once = all(each.target != node.target for each in of)
        if once and isinstance(module, nn.Conv2d | nn.Linear) and getattr(module, "groups", 1) == 1:
            groups[group].append(Axis(f"{node.target}.weight", 1))
            group = node.target
            groups[group] = [Axis(f"{group}.{name}", 0) for name, _ in module.named_parameters()]
        elif once and (isinstance(module, nn.BatchNorm2d)
                       or (isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels)):
            groups[group] += [Axis(f"{node.target}.{name}", 0) for name, value in module.state_dict().items() if value.ndim]
        elif node.target is operator.add:
            for other in others:
                groups[group] += groups.pop(other)
            of |= {each: group for each, name in of.items() if name in others}
        elif not _channelwise(node, module):
            raise Problem(f"cannot align a {type(network).__name__}: what its step '{node}' does to channels is not known "
                          "(known: convolutions, linear layers and norms per channel, each used once; ReLU, poolings, sums)")
        of[node] = group
    return {name: axes for name, axes in groups.items() if name not in ("", group)}


def _channelwise(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a step treats every channel alike and by itself. A flattened image is still ordered by channel."""
    return (node.op in ("placeholder", "output") or node.target in (torch.relu, F.relu)
            or isinstance(module, nn.ReLU | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.MaxPool2d | nn.Flatten | nn.Dropout)
            or (node.target in (torch.flatten, "flatten") and node.args[1:] == (1,))
            or (node.op, node.target, node.args[1:]) == ("call_method", "mean", ((2, 3),)))


def permuted(network: nn.Module, tensors: State, permutations: Permutations) -> State:
    """A state (parameters and running statistics) or the masks of `network` with its hidden channels relabelled."""
    return _permuted(tensors, symmetries(network), permutations)


def align(network: nn.Module, first: State, second: State, seed: int) -> Permutations:
    """The permutations of `second`'s hidden channels that bring its parameters near those of `first`.

    Ainsworth et al. (2023), algorithm 1: one group after another, in an order drawn by `seed`, is assigned optimally given
    the others (the inner product of all its parameters, biases, gains and shifts included, is as large as can be) until
    none improves: a local optimum. Running statistics do not decide. Pruned weights must be zero in both states; their
    masks are then permuted like the weights. Raises Problem where a weight is not finite.
    """
    check_state(network, first, second)
    groups = symmetries(network)
    ours, theirs = ({name: state[name].detach().cpu().double() for name, _ in network.named_parameters()}
                    for state in (first, second))
    if not all(value.isfinite().all() for state in (ours, theirs) for value in state.values()):
        raise Problem("cannot align: a weight is not finite (a training diverged)")
    found = {name: np.arange(ours[axes[0].tensor].shape[0]) for name, axes in groups.items()}
    rng, improved = generator(seed, "align"), True
    while improved:
        improved = False
        for name in rng.permutation(list(groups)):
            similarity = _similarity(ours, theirs, groups, found, name)
            best = linear_sum_assignment(similarity, maximize=True)[1]
            places = np.arange(len(best))
            gain = similarity[places, best].sum() - similarity[places, found[name]].sum()
            if gain > 1e-10 * np.linalg.norm(similarity):  # beyond rounding, or two equal assignments would alternate
                found[name], improved = best, True
    return found


def union(first: Masks, second: Masks) -> Masks:
    """What survives in either mask: where the path between two networks lies. Its density: 1 - `pruning.sparsity`."""
    return {name: mask | second[name] for name, mask in first.items()}


def _similarity(ours: State, theirs: State, groups: dict[str, list[Axis]], found: Permutations, name: str) -> np.ndarray:
    """Inner products (channels, channels) of a group's channels in two states, all other groups permuted as `found`."""
    size = len(found[name])
    axes = [axis for axis in groups[name] if axis.tensor in ours]
    others = {group: permutation for group, permutation in found.items() if group != name}
    moved = _permuted({axis.tensor: theirs[axis.tensor] for axis in axes}, groups, others)
    return np.asarray(sum((_rows(ours[axis.tensor], axis, size) @ _rows(moved[axis.tensor], axis, size).T).numpy()
                          for axis in axes))


def _rows(tensor: Tensor, axis: Axis, size: int) -> Tensor:
    return tensor.unflatten(axis.dim, (size, -1)).movedim(axis.dim, 0).flatten(1)


def _permuted(tensors: State, groups: dict[str, list[Axis]], permutations: Permutations) -> State:
    moved = dict(tensors)
    for group, permutation in permutations.items():
        order = torch.from_numpy(permutation)
        for name, dim in groups[group]:
            if name in moved:
                channels = moved[name].unflatten(dim, (len(order), -1))
                moved[name] = channels.index_select(dim, order.to(channels.device)).flatten(dim, dim + 1)
    return moved
