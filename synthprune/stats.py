"""Uncertainty and the words it allows.

Orders are averaged within an initialisation; initialisations are the independent units. Intervals are Student t's: with
3 x 3 values a bootstrap that says 95 % covers 76 to 90 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

STABLE_BELOW = 2.0
"""Percentage points of error barrier under which Frankle et al. (2020) call a network stable to SGD noise."""


@dataclass(frozen=True)
class Interval:
    """A mean over `n` initialisations with its 95 % interval; without one (low = high = NaN) where n is below 2.

    A mean that is NaN although n is not 0 is not defined (a ratio whose denominator may be zero).
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.low))

    def text(self, digits: int = 2) -> str:
        """'1.20 [0.80, 1.60]', '1.20' alone where there is no interval, else 'not defined' or 'not measured'."""
        if not np.isfinite(self.mean):
            return "not defined" if self.n else "not measured"
        bounds = f" [{self.low:.{digits}f},\N{NO-BREAK SPACE}{self.high:.{digits}f}]" if self.known else ""
        return f"{self.mean:.{digits}f}{bounds}".replace("-", "\N{MINUS SIGN}")


def interval(values: np.ndarray, coverage: float = 0.95) -> Interval:
    """The Student t interval of a mean; values (initialisations,), those not finite are left out."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    n = len(finite)
    if n < 2:
        return Interval(float(finite[0]) if n else float("nan"), float("nan"), float("nan"), n)
    half = float(stdtrit(n - 1, (1 + coverage) / 2) * finite.std(ddof=1) / np.sqrt(n))
    return Interval(float(finite.mean()), float(finite.mean()) - half, float(finite.mean()) + half, n)


def bounds(values: np.ndarray) -> tuple[float, float]:
    """What a bar spans: the interval of the mean; of fewer than three values, whose interval says nothing, their range.

    values (initialisations,), one at least finite; those not finite are left out.
    """
    finite = values[np.isfinite(values)]
    of = interval(finite)
    return (float(finite.min()), float(finite.max())) if len(finite) < 3 else (of.low, of.high)


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, low and high (points,) of curves (initialisations, points), point by point; NaN bounds below 2 curves."""
    each = [interval(column) for column in np.asarray(values).T]
    return tuple(np.array([getattr(i, bound) for i in each]) for bound in ("mean", "low", "high"))


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> Interval:
    """The interval of the ratios of paired values, both (initialisations,); pairs not finite are left out.

    Not defined where the interval of the denominators holds 0: their sign is unknown then, and a mean of such ratios is
    ruled by the smallest of them.
    """
    values = np.stack([numerators, denominators]).astype(np.float64)
    above, below = values[:, np.isfinite(values).all(0)]
    bottom = interval(below)
    if bottom.low <= 0 <= bottom.high or (below == 0).any():
        return Interval(float("nan"), float("nan"), float("nan"), bottom.n)
    return interval(above / below)


@dataclass(frozen=True)
class Measure:
    """What a chapter offers the claim ledger under one name: an interval per label, over initialisations.

    A label names the scene first and may go on after a comma: "convnet3-cifar10, level 4".
    """

    intervals: Mapping[str, Interval]
    unit: str
    initialisations: int
    """How many were asked for: an interval of fewer leaves some out, and the others cannot speak for them."""
    note: str = ""
    planned: Mapping[str, int] = field(default_factory=dict)
    """How many were asked for at a label, where that is another number."""

    def asked(self, label: str) -> int:
        """How many initialisations an interval must be of, or it decides nothing."""
        return self.planned.get(label, self.initialisations)


def untold(of: Interval, initialisations: int) -> str:
    """Why an interval may decide nothing whatever its values are; "" where it may."""
    if of.n < initialisations:
        return f"{initialisations - of.n} of {initialisations} left out"
    if np.isnan(of.mean):
        return "not defined"
    return "" if of.known else f"{of.n} initialisation{'' if of.n == 1 else 's'}"


def stability(barrier: Interval, decides: bool, initialisations: int) -> str:
    """The verdict on an error barrier in percentage points: stable wholly below 2, unstable wholly above, else untold.

    `decides` is False for demonstration data, whose numbers prove nothing whatever they are. Where the interval is of
    fewer than the `initialisations` that were run (some diverged or collapsed), the others cannot speak for all.
    """
    return _side(barrier, STABLE_BELOW, ("stable", "unstable"), decides, initialisations)


def direction(difference: Interval, decides: bool, initialisations: int) -> str:
    """The verdict on a paired difference: "rises less" wholly below zero, "rises more" wholly above, else untold."""
    return _side(difference, 0.0, ("rises less", "rises more"), decides, initialisations)


def _side(of: Interval, line: float, words: tuple[str, str], decides: bool, initialisations: int) -> str:
    if not decides:
        return "demo data decide nothing"
    if reason := untold(of, initialisations):
        return f"cannot be told ({reason})"
    if of.high < line:
        return words[0]
    return words[1] if of.low > line else "cannot be told"
