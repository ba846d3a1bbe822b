"""How much higher the path lies than its ends. Frankle et al. (2020); the paper's figures 3, 4 and 6."""

from __future__ import annotations

import numpy as np


def midpoint_barrier(values: np.ndarray) -> np.ndarray:
    """The paper's barrier (figure 6): value halfway minus the mean of the two ends, over the last axis (points odd)."""
    return values[..., values.shape[-1] // 2] - ends(values)


def highest_barrier(values: np.ndarray) -> np.ndarray:
    """Frankle et al.'s barrier: highest value on the path minus the mean of the two ends, over the last axis."""
    return values.max(-1) - ends(values)


def ends(values: np.ndarray) -> np.ndarray:
    """The mean of the two ends, over the last axis."""
    return (values[..., 0] + values[..., -1]) / 2
