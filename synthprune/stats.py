"""Uncertainty and the words it allows.

Orders are averaged within an initialisation; initialisations are the independent units. Intervals are Student t's: with
3 x 3 values a bootstrap that says 95 % covers 76 to 90 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

STABLE_BELOW = 2.0
"""Percentage points of error barrier under which Frankle et al. (2020) call a network stable to SGD noise."""

COVERAGE = 0.95
LEVEL = (1 - COVERAGE) / 2
"""The one-sided p up to which something is said: reached exactly where a whole interval lies on one side of a line."""


@dataclass(frozen=True)
class Interval:
    """A mean over `n` initialisations with its 95 % interval; without one (low = high = NaN) where n is below 2.

    A mean that is NaN although n is not 0 is not defined (a ratio whose denominator may be zero).
    `planned`: how many initialisations were planned for it, where a measure's other labels plan other numbers; else 0.
    """

    mean: float
    low: float
    high: float
    n: int
    planned: int = 0

    def out_of(self, planned: int) -> Interval:
        """The same interval, which knows how many initialisations were planned."""
        return replace(self, planned=planned)

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.low))

    def text(self, digits: int = 2) -> str:
        """'1.20 [0.80, 1.60]', '1.20' alone where there is no interval, else 'not defined' or 'not measured'."""
        if not np.isfinite(self.mean):
            return "not defined" if self.n else "not measured"
        bounds = f" [{self.low:.{digits}f},\N{NO-BREAK SPACE}{self.high:.{digits}f}]" if self.known else ""
        return f"{self.mean:.{digits}f}{bounds}".replace("-", "\N{MINUS SIGN}")


def quantile(n: int, coverage: float = COVERAGE) -> float:
    """How many standard errors the interval of a mean of `n` values, 2 or more, reaches to each side (Student's t)."""
    return float(stdtrit(n - 1, (1 + coverage) / 2))


def interval(values: np.ndarray, coverage: float = COVERAGE) -> Interval:
    """The Student t interval of a mean; values (initialisations,), those not finite are left out."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    n = len(finite)
    if n < 2:
        return Interval(float(finite[0]) if n else float("nan"), float("nan"), float("nan"), n)
    half = float(quantile(n, coverage) * finite.std(ddof=1) / np.sqrt(n))
    return Interval(float(finite.mean()), float(finite.mean()) - half, float(finite.mean()) + half, n)


def p_above(of: Interval, line: float) -> float:
    """The one-sided p of Student's t against a mean of at most `line`; 1 where there is no interval, 0 or 1 without spread.

    From mean, half-width and n alone, so `of` must be a 95 % interval; at most LEVEL exactly where all of it is above.
    """
    if not of.known:
        return 1.0
    above, half = of.mean - line, of.high - of.mean
    if not half or np.isinf(line):
        return 0.0 if above > 0 else 1.0
    return float(stdtr(of.n - 1, -above / half * stdtrit(of.n - 1, 1 - LEVEL)))


def p_between(of: Interval, low: float, high: float) -> float:
    """The p against a mean outside the open region (low, high), each end one-sided: the greater of the two."""
    return max(p_above(of, low), p_above(Interval(-of.mean, -of.high, -of.low, of.n), -high))


def holm(ps: Sequence[float]) -> list[float]:
    """p values, each corrected for having been one of several (Holm 1979): where those up to a level count as met, the
    probability that any is met without being true is at most that level, whatever their dependence."""
    adjusted, greatest = [1.0] * len(ps), 0.0
    for done, which in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        greatest = max(greatest, min(1.0, (len(ps) - done) * ps[which]))
        adjusted[which] = greatest
    return adjusted


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
    return np.array([of.mean for of in each]), np.array([of.low for of in each]), np.array([of.high for of in each])


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
    """How many were asked for: an interval of fewer lacks some, and the others cannot speak for them."""
    note: str = ""

    def asked(self, label: str) -> int:
        """How many initialisations an interval must be of, or it decides nothing."""
        return self.intervals[label].planned or self.initialisations

    def untold(self, label: str) -> str:
        """Why the interval of a label may decide nothing; "" where it may."""
        return untold(self.intervals[label], self.asked(label))


def untold(of: Interval, initialisations: int) -> str:
    """Why an interval may decide nothing whatever its values are; "" where it may.

    Those that lack may be yet to run, or faulty: a chapter's figures name these, an interval cannot tell.
    """
    if of.n < initialisations:
        return f"{of.n} of {initialisations} initialisations"
    if np.isnan(of.mean):
        return "not defined"
    return "" if of.known else f"{of.n} initialisation{'' if of.n == 1 else 's'}"


def stability(barrier: Interval, decides: bool, initialisations: int) -> str:
    """The verdict on an error barrier in percentage points: stable wholly below 2, unstable wholly above, else untold.

    `decides` is False for demonstration data, whose numbers prove nothing whatever they are. Where the interval is of
    fewer than the `initialisations` that were asked for, these cannot speak for all.
    """
    return _side(barrier, STABLE_BELOW, ("stable", "unstable"), decides, initialisations)


def direction(difference: Interval, decides: bool, initialisations: int) -> str:
    """The verdict on a paired difference: "lower" wholly below zero, "higher" wholly above, else untold."""
    return _side(difference, 0.0, ("lower", "higher"), decides, initialisations)


def _side(of: Interval, line: float, words: tuple[str, str], decides: bool, initialisations: int) -> str:
    if not decides:
        return "demo data decide nothing"
    if reason := untold(of, initialisations):
        return f"no verdict ({reason})"
    if of.high < line:
        return words[0]
    return words[1] if of.low > line else "cannot be told"
