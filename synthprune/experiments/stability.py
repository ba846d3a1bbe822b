"""Chapter 04: are two trainings of one subnetwork linearly connected? Paper section 4, figures 3 and 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from pydantic import field_validator, model_validator

from synthprune import specs, stats
from synthprune.analysis.barriers import ends, highest_barrier, midpoint_barrier
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
        if self.rewind.isdigit() and int(self.rewind) >= min(self.epochs, self.synthetic_epochs):
            raise ValueError(f"rewind={self.rewind} is not before the last epoch of a search")
        return self


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


@dataclass(frozen=True)
class Curves:
    """Along the path, orders averaged within an initialisation: (levels, initialisations, points) per quantity.

    Losses in nats, errors in [0, 1]. A row of a collapsed or diverged subnetwork is NaN, and named in `left_out`.
    """

    levels: tuple[int, ...]
    train_loss: np.ndarray
    train_error: np.ndarray
    test_loss: np.ndarray
    test_error: np.ndarray
    left_out: tuple[str, ...]

    @property
    def beta(self) -> np.ndarray:
        return np.linspace(0, 1, self.train_loss.shape[-1])

    def at(self, level: int, quantity: str) -> np.ndarray:
        """(initialisations, points) of one level. Raises Problem for a level that was not measured."""
        if level not in self.levels:
            raise Problem(f"level {level} was not measured: levels={list(self.levels)}")
        return getattr(self, quantity)[self.levels.index(level)]


def curves(p: Parameters, results: Mapping[str, Result], method: Method, batch_norm: str = "interpolated") -> Curves:
    """The measured paths of one method as arrays."""
    pairs, left_out = list(combinations(p.orders, 2)), []
    values = np.empty((4, len(p.levels), len(p.seeds), p.points))
    for row, level in enumerate(p.levels):
        for column, seed in enumerate(p.seeds):
            paths = [results[name(method, level, seed, pair, batch_norm)] for pair in pairs]
            for quantity, key in enumerate(("train_loss", "train_error", "test_loss", "test_error")):
                values[quantity, row, column] = np.mean([path.arrays[key] for path in paths], axis=0)
            faults = {fault for path in paths for fault in faults_of(path)}
            if faults:
                values[:, row, column] = np.nan
                left_out.append(f"{method}, level {level}, initialisation {seed}: {', '.join(sorted(faults))}")
    return Curves(tuple(p.levels), *values, left_out=tuple(left_out))


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
    verdict: str


def table(p: Parameters, results: Mapping[str, Result], batch_norm: str = "interpolated") -> list[Row]:
    """Accuracy, barriers and stability, level by level; the dense network once."""
    rows = []
    for method in METHODS:
        of = curves(p, results, method, batch_norm)
        for level in p.levels:
            if level == 0 and method != METHODS[0]:
                continue
            test_error, train_loss = of.at(level, "test_error"), of.at(level, "train_loss")
            train_barrier = stats.interval(100 * highest_barrier(of.at(level, "train_error")))
            rows.append(Row(
                method if level else "dense", level, stats.interval(100 * (1 - ends(test_error))),
                stats.interval(midpoint_barrier(train_loss)), stats.interval(highest_barrier(train_loss)), train_barrier,
                stats.interval(100 * highest_barrier(test_error)), stats.stability(train_barrier, decides(p))))
    return rows
