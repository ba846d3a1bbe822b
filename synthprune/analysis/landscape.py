"""Planes through trained networks, and the loss on them. The paper's section 4.1 and figure 5; Garipov et al. (2018).

Every point of a plane through trained networks is an affine combination of them: weights that sum to 1, negative outside
their hull. So one matrix (points, models) describes any set of points: a grid, the models, their projections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from synthprune.models import Masks, State, check_state
from synthprune.problems import Problem
from synthprune.pruning import apply_masks
from synthprune.training import Evaluator, Resident


@dataclass(frozen=True)
class Plane:
    """The plane nearest to some models in the space of parameters, in Euclidean distance; all arrays float64.

    `coordinates` (models, 2): each model's projection, in orthonormal axes with the models' mean at (0, 0). The first
    axis points from model 0 to the one farthest from it in the plane; the second to the side of the one farthest off
    that line. `off_plane` (models,): each model's distance from the plane. `distances` (models, models): the true
    pairwise distances. `directions` (models, 2): axis j is the sum over models of directions[i, j] * (model i - mean).
    """

    coordinates: np.ndarray
    off_plane: np.ndarray
    distances: np.ndarray
    directions: np.ndarray

    def weights(self, points: np.ndarray) -> np.ndarray:
        """The affine combinations (n, models) of the models that are the points (n, 2) of the plane; rows sum to 1."""
        return 1 / len(self.directions) + points @ self.directions.T

    def grid(self, side: int, margin: float = 0.5) -> np.ndarray:
        """side x side points (side * side, 2) of a square around the models, row by row from the lower left corner.

        On each side the square goes `margin` times the models' larger extent beyond them (0.5: as the authors' samples).
        """
        low, high = self.coordinates.min(0), self.coordinates.max(0)
        steps = np.linspace(-1, 1, side) * (0.5 + margin) * (high - low).max()
        across, up = np.meshgrid(steps, steps)
        return (low + high) / 2 + np.stack([across.ravel(), up.ravel()], 1)


def plane_through(network: nn.Module, states: Sequence[State], masks: Masks) -> Plane:
    """The plane through three states of `network`, or the least-squares plane of more, pruned weights at zero.

    It is a plane of parameters: buffers (running statistics) play no part in it. Least squares by the singular values of
    the centred parameters (principal components). Four models that are all equally far from each other have no best
    plane: every one leaves them off it by .35 of that distance (root mean square). Raises Problem where the states are
    fewer than three, of another network, not finite or on one line.
    """
    if len(states) < 3:
        raise Problem(f"a plane goes through three states or more, not {len(states)}: between two there is a path (path_losses)")
    check_state(network, *states)
    flat = np.stack([_parameters(network, state, masks) for state in states])
    if not np.isfinite(flat).all():
        raise Problem("no plane goes through these models: a weight is not finite (a training diverged)")
    left, spread, _ = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    if spread[1] <= 1e-6 * spread[0]:  # float32 weights on one line are off it by their rounding
        raise Problem(f"no plane is told by these {len(states)} models: they lie on one line (are two of them the same?)")
    full = left * spread
    turn = _orientation(full[:, :2])
    return Plane(full[:, :2] @ turn, np.linalg.norm(full[:, 2:], axis=1),
                 np.linalg.norm(full[:, None] - full[None], axis=-1), left[:, :2] / spread[:2] @ turn)


def _parameters(network: nn.Module, state: State, masks: Masks) -> np.ndarray:
    masked = apply_masks(state, masks)
    return torch.cat([masked[name].flatten().double() for name, _ in network.named_parameters()]).cpu().numpy()


def _orientation(coordinates: np.ndarray) -> np.ndarray:
    """The orthogonal (2, 2) matrix that turns or mirrors `coordinates` as `Plane` promises; singular vectors have no sign."""
    steps = coordinates - coordinates[0]
    lengths = np.linalg.norm(steps, axis=1)
    along = steps[lengths.argmax()] / lengths.max()
    across = np.array([-along[1], along[0]])
    offsets = steps @ across
    return np.stack([along, across * np.sign(offsets[np.abs(offsets).argmax()])], 1)


@dataclass(frozen=True)
class PointLosses:
    """At each point, float64 (points,): mean cross-entropy in nats and error in [0, 1], with their standard errors.

    The standard errors are those of means over images drawn at random. All points see the same images, so differences
    between points are more certain than the heights themselves.
    """

    loss: np.ndarray
    loss_deviation: np.ndarray
    error: np.ndarray
    error_deviation: np.ndarray


class Mixtures:
    """Affine combinations of some states of one network, evaluated on fixed images, not augmented.

    Every floating-point tensor is combined in float64 and rounded once; pruned weights are zero at every point. Running
    statistics are combined with the same weights, as on a path, so that each model meets its own; where extrapolation
    makes a variance negative it is set to zero (batch norm divides by the root of the variance plus 1e-5). Integer
    buffers are the first state's. Memory does not depend on the number of points, and time is linear in it.
    """

    def __init__(self, network: nn.Module, states: Sequence[State], masks: Masks, data: Resident, *,
                 compiled: bool = False) -> None:
        device = data.labels.device
        first, *_ = masked = [apply_masks(state, masks) for state in states]
        self._fixed = {name: value for name, value in first.items() if not value.is_floating_point()}
        self._stacks = {name: torch.stack([state[name] for state in masked]).to(device, torch.float64)
                        for name in first if name not in self._fixed}
        self._evaluator = Evaluator(network, data, compiled=compiled)

    def losses(self, weights: np.ndarray) -> PointLosses:
        """Loss and error at the rows of `weights` (points, models).

        Each point is computed by itself, so rows may come in chunks of any size and give the same bits.
        """
        rows = []
        for weight in torch.from_numpy(weights):
            each = torch.stack([values.double() for values in self._evaluator.each(self.state(weight))])  # (2, images)
            rows.append(torch.stack([each.mean(1), each.std(1) / each.shape[1] ** 0.5], 1).flatten().tolist())
        return PointLosses(*np.array(rows).reshape(-1, 4).T)

    def state(self, weight: Tensor) -> State:
        """The state at one point; `weight` (models,) float64."""
        state = {name: torch.tensordot(weight.to(stack.device), stack, 1).float() for name, stack in self._stacks.items()}
        return self._fixed | {name: value.clamp(min=0) if name.endswith("running_var") else value
                              for name, value in state.items()}
