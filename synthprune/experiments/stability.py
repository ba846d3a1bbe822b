"""Chapter 04: are two trainings of one subnetwork linearly connected? Paper section 4, figures 3 and 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from pydantic import field_validator, model_validator

from synthprune import specs, stats
from synthprune.analysis.barriers import ends, highest_barrier, midpoint_barrier
from synthprune.experiments import settings
from synthprune.experiments.settings import METHODS, Method, Settings, decides, field, retrained
from synthprune.problems import Problem
from synthprune.stats import Interval
from synthprune.store import Result


class Parameters(Settings):
    levels: list[int] = field("pruning levels to test (level n keeps 0.8^n of the weights)", min_length=1)
    orders: list[int] = field("data orders to train in; every pair makes a path", min_length=2)
    points: int = field("points on a path, both ends included (odd)", ge=3)

    @field_validator("levels")
    @classmethod
    def _in_range(cls, levels: list[int]) -> list[int]:
        if max(levels) > 30:
            raise ValueError("levels go from 0 (dense) to 30 (0.1 % of the weights left)")
        return sorted(levels)

    @field_validator("points")
    @classmethod
    def _odd(cls, points: int) -> int:
        if points % 2 == 0:
            raise ValueError("must be odd, so that the midpoint is on the path")
        return points

    @model_validator(mode="after")
    def _rewinds_in_time(self) -> Parameters:
        if self.rewind.isdecimal() and int(self.rewind) >= min(self.epochs, self.synthetic_epochs):
            raise ValueError(f"rewind={self.rewind} is not before the last epoch of a search")
        return self


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    note = "" if decides(p) else (" <strong>Demonstration data decide nothing about the paper:</strong> they show how the"
                                  " measurement works.")
    return (f"{settings.in_words(p)} Initialisations {_listed(p.seeds)}; pruning levels {_listed(p.levels)}; each subnetwork is"
            f" trained in {len(p.orders)} orders ({_listed(p.orders)}), the searches in order {p.search_seed}.{note}")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def name(method: Method, level: int, seed: int, pair: tuple[int, int], batch_norm: str = "interpolated") -> str:
    """What a path is called in this chapter; the dense network belongs to both methods."""
    return f"{method if level else 'dense'}, level {level}, initialisation {seed}, orders {pair[0]}-{pair[1]}, {batch_norm}"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every path this chapter shows: method x level x initialisation x pair of orders (x batch-norm statistics)."""
    return {
        name(method, level, seed, pair, statistics): specs.Path(
            ends=tuple(retrained(p, method, seed, level, order) for order in pair), points=p.points,
            batch_norm=statistics)
        for method in METHODS for level in p.levels for seed in p.seeds for pair in combinations(p.orders, 2)
        for statistics in batch_norm_statistics(p)}


def batch_norm_statistics(p: Parameters) -> tuple[str, ...]:
    """How running statistics are treated along a path: two ways where there are any."""
    has_any = p.norm == "batch" and p.architecture != "lenet300"
    return ("interpolated", "recomputed") if has_any else ("interpolated",)


QUANTITIES = ("train_loss", "train_error", "test_loss", "test_error")
BARRIERS = {"midpoint": midpoint_barrier, "highest": highest_barrier}


@dataclass(frozen=True)
class Curves:
    """One method's measured paths: per quantity an array (levels, initialisations, pairs of orders, points).

    Losses in nats, errors in [0, 1]. A collapsed or diverged subnetwork is NaN, and named in `left_out`.
    """

    levels: tuple[int, ...]
    paths: Mapping[str, np.ndarray]
    left_out: tuple[str, ...]

    @property
    def beta(self) -> np.ndarray:
        return np.linspace(0, 1, self.paths["train_loss"].shape[-1])

    def at(self, level: int, quantity: str) -> np.ndarray:
        """(initialisations, points) of one level, pairs averaged. Raises Problem for a level that was not measured."""
        return self._level(level, quantity).mean(1)

    def barrier(self, level: int, quantity: str, which: str) -> np.ndarray:
        """(initialisations,): the "midpoint" or "highest" barrier of each pair, then averaged over pairs.

        In this order: the highest point of a mean curve is lower than the mean of the highest points.
        """
        return BARRIERS[which](self._level(level, quantity)).mean(1)

    def _level(self, level: int, quantity: str) -> np.ndarray:
        if level not in self.levels:
            raise Problem(f"level {level} was not measured: levels={list(self.levels)}")
        return self.paths[quantity][self.levels.index(level)]


def curves(p: Parameters, results: Mapping[str, Result], method: Method, batch_norm: str = "interpolated") -> Curves:
    """The measured paths of one method as arrays."""
    pairs, left_out = list(combinations(p.orders, 2)), []
    values = {quantity: np.empty((len(p.levels), len(p.seeds), len(pairs), p.points)) for quantity in QUANTITIES}
    for row, level in enumerate(p.levels):
        for column, seed in enumerate(p.seeds):
            paths = [results[name(method, level, seed, pair, batch_norm)] for pair in pairs]
            faults = {fault for path in paths for fault in faults_of(path)}
            if faults:
                which = f"{method if level else 'dense'}, level {level}, initialisation {seed}"
                left_out.append(f"{which}: {', '.join(sorted(faults))}")
            for quantity in QUANTITIES:
                values[quantity][row, column] = np.nan if faults else [path.arrays[quantity] for path in paths]
    return Curves(tuple(p.levels), values, tuple(left_out))


def faults_of(path: Result) -> list[str]:
    """Why a path may not enter a mean: layers without a weight, or a training that diverged."""
    faults = [f"layer {layer} has no weight left" for layer in path.metrics["collapsed"]]
    finite = all(np.isfinite(array).all() for array in path.arrays.values())
    return faults + ([] if finite and not path.metrics["diverged"] else ["the training diverged"])


@dataclass(frozen=True)
class Row:
    """One line of the table of barriers: losses in nats, errors and accuracies in percent, over initialisations."""

    method: str
    level: int
    accuracy: Interval
    midpoint_loss: Interval
    highest_loss: Interval
    train_error: Interval
    test_error: Interval
    left_out: int
    """Initialisations that collapsed or diverged: where there are any, stability cannot be told from the others."""
    verdict: str


def table(p: Parameters, results: Mapping[str, Result], batch_norm: str = "interpolated") -> list[Row]:
    """Accuracy, barriers and stability, level by level; the dense network once."""
    rows = []
    for method in METHODS:
        of = curves(p, results, method, batch_norm)
        for level in p.levels:
            if level == 0 and method != METHODS[0]:
                continue
            train_error = stats.interval(100 * of.barrier(level, "train_error", "highest"))
            rows.append(Row(
                method if level else "dense", level, stats.interval(100 * (1 - ends(of.at(level, "test_error")))),
                stats.interval(of.barrier(level, "train_loss", "midpoint")),
                stats.interval(of.barrier(level, "train_loss", "highest")), train_error,
                stats.interval(100 * of.barrier(level, "test_error", "highest")), len(p.seeds) - train_error.n,
                stats.stability(train_error, decides(p), len(p.seeds))))
    return rows


@dataclass(frozen=True)
class Difference:
    """How much more one kind of network rises than the synthetic subnetwork, paired by initialisation."""

    label: str
    level: int
    midpoint_loss: Interval
    train_error: Interval
    verdict: str


def differences(p: Parameters, results: Mapping[str, Result]) -> list[Difference]:
    """IMP minus synthetic and dense minus synthetic, at every sparse level: nats, and points of training error.

    "rises more" where the whole interval of the error's difference lies above zero, "rises less" where below.
    """
    of = {method: curves(p, results, method) for method in METHODS}
    rows = []
    for level in (level for level in p.levels if level):
        for label, method, other in (("IMP minus synthetic", "imp", level), ("dense minus synthetic", "synthetic", 0)):
            if other not in p.levels:
                continue
            loss, error = (stats.interval(scale * (of[method].barrier(other, quantity, which)
                                                   - of["synthetic"].barrier(level, quantity, which)))
                           for quantity, which, scale in (("train_loss", "midpoint", 1), ("train_error", "highest", 100)))
            rows.append(Difference(label, level, loss, error, stats.direction(error, decides(p), len(p.seeds))))
    return rows


@dataclass(frozen=True)
class Claim:
    """What the measurements allow to say of the chapter's claim: `state` is "holds", "fails" or "open"."""

    state: str
    title: str
    text: str


def claim(p: Parameters, results: Mapping[str, Result]) -> Claim:
    """The claim: where the dense network is unstable, synthetic subnetworks are stable and IMP subnetworks are not.

    It fails where a synthetic subnetwork is unstable, or an IMP subnetwork of its level rises less or is stable too; it
    holds where at every sparse level the one is stable and the other unstable; else it cannot be told.
    """
    rows = {(row.method, row.level): row for row in table(p, results)}
    levels = [level for level in p.levels if level]
    shown = "; ".join(f"{row.method if row.method != 'imp' else 'IMP'} at level {row.level}: {row.train_error.text()} points"
                      for row in rows.values())
    text = f"Training-error barriers, mean and interval: {shown}."
    dense = rows.get(("dense", 0))
    if not decides(p):
        return Claim("open", "Demo data decide nothing", text + " They show how the measurement works, no more.")
    if dense is None or dense.verdict != "unstable" or not levels:
        return Claim("open", "Cannot be told here", text + " The dense network is not shown to be unstable, so there is no"
                     " instability for a mask to remove.")
    less = {d.level for d in differences(p, results) if d.label.startswith("IMP") and d.verdict == "rises less"}
    failing = [level for level in levels if rows["synthetic", level].verdict == "unstable"
               or rows["imp", level].verdict == "stable" or level in less]
    holding = [level for level in levels if rows["synthetic", level].verdict == "stable"
               and rows["imp", level].verdict == "unstable"]
    words = ("Contradicted", "Reproduced") if p.profile == "paper" else ("Does not hold at this scale", "Holds at this scale")
    if failing:
        return Claim("fails", words[0], f"{text} Against the claim: level {', '.join(map(str, failing))}.")
    if holding == levels:
        return Claim("holds", words[1], text)
    return Claim("open", "Cannot be told here", text)
