"""Which weights go, and what the survivors return to.

Masks are bool tensors, one per prunable weight, True where the weight survives.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from synthprune.models import Masks, State
from synthprune.problems import Problem
from synthprune.seeds import generator


def dense_masks(state: State, names: list[str]) -> Masks:
    """Masks that keep everything: level 0."""
    return {name: torch.ones(state[name].shape, dtype=torch.bool) for name in names}


def apply_masks(state: State, masks: Masks) -> State:
    """The state with every pruned weight set to exactly zero; other tensors are passed on as they are."""
    return {name: value * masks[name] if name in masks else value for name, value in state.items()}


def remaining(survivors: int, fraction: float, levels: int = 1) -> int:
    """How many of `survivors` weights are left when `fraction` of them has gone `levels` times, rounded each time.

    Every criterion keeps this many, so that methods are compared at equal sparsity. Raises Problem where none is left.
    """
    left = survivors
    for _ in range(levels):
        left -= round(fraction * left)
    if left < 1:
        raise Problem(f"pruning {fraction:.0%} of {survivors} weights{f' {levels} times' * (levels > 1)} would leave none")
    return left


def keep_largest(scores: State, masks: Masks, count: int) -> Masks:
    """Keep the `count` surviving weights of the largest score, over all layers together; a pruned weight stays pruned.

    `scores` holds one number for every weight in `masks`. Among equal scores those that come first in (layer, position)
    go first, so ties cannot prune more. Raises Problem where a score is not finite.
    """
    names = list(masks)
    alive = torch.cat([masks[name].flatten() for name in names])
    score = torch.cat([scores[name].detach().flatten() for name in names])
    if not torch.isfinite(score).all():
        raise Problem("cannot prune: the score of a weight is not finite (its training diverged, or an image is not finite)")
    surplus = int(alive.sum()) - count
    if surplus:
        score[~alive] = torch.inf
        threshold = score.kthvalue(surplus).values  # a sort would be most of SynFlow's time
        below = score < threshold
        alive[below] = False
        alive[(score == threshold).nonzero()[:surplus - int(below.sum())]] = False
    parts = alive.split([masks[name].numel() for name in names])
    return {name: part.view_as(masks[name]) for name, part in zip(names, parts, strict=True)}


def prune_by_magnitude(state: State, masks: Masks, fraction: float) -> Masks:
    """Remove the `fraction` of the surviving weights that is smallest in magnitude, over all layers together.

    Paper section 3 and figure 1; Frankle and Carbin (2019). See `remaining` for how many go and `keep_largest` for which;
    raises Problem as they do.
    """
    survivors = sum(int(mask.sum()) for mask in masks.values())
    return keep_largest({name: state[name].abs() for name in masks}, masks, remaining(survivors, fraction))


def random_like(masks: Masks, seed: int) -> Masks:
    """Random masks that keep as many weights of every layer as `masks` do, each choice equally likely."""
    drawn = {name: generator(seed, f"mask/{name}").permutation(mask.numel()) for name, mask in masks.items()}
    return {name: torch.from_numpy(drawn[name] < int(mask.sum())).view_as(mask) for name, mask in masks.items()}


def rewound(initial: State, trained: State, masks: Masks, rewind: str | int) -> State:
    """The state from which a pruned network is retrained, pruned weights at zero.

    `rewind` "full": every parameter and buffer returns to `initial`, as the paper's text says. "weights": only the
    prunable weights return; biases, norm gains and shifts and running statistics stay as trained, as the authors' code
    does; of `trained` only these are needed. An epoch k: as "full", where `initial` is the state at epoch k.
    """
    if rewind not in ("full", "weights") and not isinstance(rewind, int):
        raise ValueError(rewind)
    start = {k: initial[k] if k in masks else trained[k] for k in initial} if rewind == "weights" else initial
    return apply_masks(start, masks)


def collapsed(masks: Masks) -> list[str]:
    """The layers in which no weight survives. Nothing passes them; where no shortcut leads around, see `severed`."""
    return [name.removesuffix(".weight") for name, mask in masks.items() if not mask.any()]


def path_sum(network: nn.Module, weights: State, shape: tuple[int, ...]) -> Tensor:
    """The sum, over every path from input to output, of the product of the `weights` on it: a float64 scalar.

    `weights` are the prunable ones, float64 and not negative. That sum is what the logits of one image of ones, of
    `shape` (c, h, h), add up to without norms and biases: then nothing but poolings and ReLUs that pass everything
    stands between the layers. An average's share counts as a weight; a maximum passes only the largest sum.
    """
    plain = copy.deepcopy(network).double().eval()
    for name, module in network.named_modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.RMSNorm | nn.modules.batchnorm._NormBase):
            plain.set_submodule(name, nn.Identity())
    biases = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in plain.named_parameters() if name not in weights}
    return torch.func.functional_call(plain, weights | biases, (torch.ones(1, *shape, dtype=torch.float64),)).sum()


def severed(network: nn.Module, masks: Masks, shape: tuple[int, ...]) -> bool:
    """Whether the masks leave no path from an image of `shape` (c, h, h) to a logit."""
    return not path_sum(network, {name: mask.double() for name, mask in masks.items()}, shape) > 0


def sparsity(masks: Masks) -> float:
    """The fraction of prunable weights that are gone, in [0, 1)."""
    return 1 - sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
