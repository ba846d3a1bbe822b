"""Linear mode connectivity: loss and error along the straight line between two trained networks.

Frankle et al. (2020); the paper's section 4 and figures 3, 4 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from torch import nn

from synthprune.analysis.barriers import highest_barrier, midpoint_barrier
from synthprune.models import Masks, State, check_state, draws
from synthprune.problems import Problem
from synthprune.pruning import apply_masks
from synthprune.training import Evaluator, Resident


@dataclass(frozen=True)
class PathLosses:
    """Along the path from end 0 to end 1, float64 (points,): mean cross-entropy in nats and error in [0, 1]."""

    train_loss: np.ndarray
    train_error: np.ndarray
    test_loss: np.ndarray
    test_error: np.ndarray

    def barrier(self, of: str = "train_error", at: Literal["midpoint", "highest"] = "highest") -> float:
        """How much higher the path lies than the mean of its ends, in the unit of `of` ("train_loss", "test_error", ...).

        At its highest point, as Frankle et al. (2020) say, or at its "midpoint", as the paper does (figure 6).
        """
        known = [one.name for one in fields(self)]
        if of not in known or at not in ("midpoint", "highest"):
            raise Problem(f"there is no barrier of '{of}' at '{at}': of {', '.join(known)}; at midpoint or highest")
        return float({"midpoint": midpoint_barrier, "highest": highest_barrier}[at](getattr(self, of)))


def interpolate(first: State, second: State, beta: float, masks: Masks) -> State:
    """(1 - beta) * first + beta * second, pruned weights at zero. At 0 and 1 the ends themselves, bit for bit.

    Integer buffers (batch counters) are the first end's.
    """
    blend = {name: torch.lerp(a, second[name], beta) if a.is_floating_point() else a for name, a in first.items()}
    return apply_masks(blend, masks)


def path_losses(network: nn.Module, first: State, second: State, masks: Masks, train: Resident, test: Resident, *,
                points: int, recompute_statistics: bool = False, compiled: bool = False) -> PathLosses:
    """Loss and error at `points` equally spaced points between two states of `network`, both ends included.

    The masks are applied at every point. `recompute_statistics`: batch norm's running statistics are replaced by those
    of the training images at every point, the ends included; else they are interpolated like parameters. `points` must
    be odd, so that the midpoint is on the path. `compiled` is the engine (see `engine.used` for the one that really runs).
    """
    if points < 3 or points % 2 == 0:
        raise ValueError(f"points must be odd and at least 3, not {points}")
    check_state(network, first, second)
    on_train, on_test = (Evaluator(network, data, compiled=compiled) for data in (train, test))
    rows = []
    for beta in np.linspace(0, 1, points):
        state = interpolate(first, second, float(beta), masks)
        if recompute_statistics:
            on_train.write(state)
            refresh_statistics(on_train.model, train)
            state = on_train.model.state_dict()
        rows.append((*on_train.at(state), *on_test.at(state)))
    return PathLosses(*np.array(rows).T)


@torch.no_grad()
def refresh_statistics(model: nn.Module, data: Resident, batch: int = 500) -> None:
    """Set every batch norm's running statistics to the average over `data` in whole batches (Jordan et al. 2023)."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over batches
    model.train()
    for module in model.modules():
        if draws(module):  # a dropout would drop others each time
            module.eval()
    for begin in range(0, len(data), batch):
        model(data.batch(slice(begin, begin + batch)))
