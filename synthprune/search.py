"""Iterative magnitude pruning: train, remove the smallest weights, return the others to where they began.

Paper section 3 and figure 1; Frankle and Carbin (2019). The paper's own search is the same on synthetic images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from synthprune.models import Masks, State, check_state, prunable
from synthprune.problems import Problem
from synthprune.pruning import dense_masks, prune_by_magnitude, rewound, sparsity
from synthprune.training import Recipe, Resident, train


@dataclass(frozen=True)
class Level:
    """A subnetwork that a search has found: its masks, and the state and the epoch from which it is trained."""

    number: int
    masks: Masks
    start: State
    first_epoch: int = 0

    @property
    def sparsity(self) -> float:
        """The fraction of prunable weights that are gone, in [0, 1)."""
        return sparsity(self.masks)


def imp(network: nn.Module, initial: State, data: Resident, recipe: Recipe, *, levels: int, fraction: float = 0.2,
        rewind: str | int = "full", seed: int = 0, after: Level | None = None) -> Iterator[Level]:
    """The subnetworks of an iterative magnitude pruning, one after another: level 0 is the dense network.

    Every round trains the last level on `data` in the order of `seed` and removes the `fraction` of its weights that is
    smallest. `rewind`: "full" (every parameter and buffer returns to `initial`, as the paper's text says), "weights" (the
    prunable weights alone, as the authors' code does), or an epoch k (to the state after k epochs of the dense network's
    training, from which training goes on at epoch k; Frankle et al. 2020). `after`: go on from a level of another search
    (paper section 5: IMP on a synthetic start). A round is trained only when its level is asked for.
    Raises Problem where `data` are not on a device, `initial` is no state of this network, a training diverges, no weight
    would be left, or `rewind` is not before the last epoch.
    """
    if not isinstance(data, Resident):
        raise Problem(f"imp trains on a Resident, not on a {type(data).__name__}: give the first that its resident() returns")
    if levels < 0 or (isinstance(rewind, str) and rewind not in ("full", "weights")):
        raise Problem(f"levels={levels}, rewind={rewind!r}: levels go from 0; rewind is 'full', 'weights' or an epoch")
    epoch = rewind if isinstance(rewind, int) else 0
    if not 0 <= epoch < recipe.epochs:
        raise Problem(f"rewind={rewind} is not before the last of {recipe.epochs} epochs")
    check_state(network, initial)
    level = after or Level(0, dense_masks(initial, prunable(network)), initial)
    point = initial
    yield level
    if epoch:
        point, _ = train(network, initial, dense_masks(initial, prunable(network)), data, recipe, order_seed=seed,
                         stop_epoch=epoch)
    while level.number < levels:
        trained, _ = train(network, level.start, level.masks, data, recipe, order_seed=seed, first_epoch=level.first_epoch)
        masks, kept = one_round(trained, level.masks, fraction, rewind)
        level = Level(level.number + 1, masks, rewound(point, kept, masks, rewind), epoch)
        yield level


def one_round(trained: State, masks: Masks, fraction: float, rewind: str | int) -> tuple[Masks, State]:
    """The next level's masks, and what of the `trained` state stays: nothing, or under "weights" all that is not prunable."""
    fewer = prune_by_magnitude(trained, masks, fraction)
    return fewer, {name: value for name, value in trained.items() if name not in fewer} if rewind == "weights" else {}
