"""Chapter 10: what the paper leaves open. Is it the distillation, the few images, the few steps, the densities, the rewind?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, get_args

import numpy as np
from pydantic import field_validator, model_validator

from synthprune import specs, stats
from synthprune.analysis.barriers import ends
from synthprune.experiments import settings
from synthprune.experiments.paths import accuracy, barrier, faults_of
from synthprune.experiments.settings import METHODS, Method, Settings, demo_note, field, joined, retrained
from synthprune.stats import Measure
from synthprune.store import Result

SCANS = {"widths": "width", "lengths": "epochs", "amounts": "train_per_class"}
"""A scan's list of values, and the setting it varies."""


class Parameters(Settings):
    chapter: ClassVar[str] = "10_controls"

    methods: list[str] = field("where masks come from: synthetic, imp and the controls", min_length=2)
    low_only: list[str] = field("which of them at the first level alone, to spare time")
    levels: list[int] = field("pruning levels, low to high (level n keeps 0.8^n of the weights)", min_length=1)
    orders: list[int] = field("data orders to train in; every pair makes a path", min_length=2)
    points: int = field("points on a path, both ends included (odd)", ge=3)
    widths: list[int] = field("other widths of the network to try at the first level")
    lengths: list[int] = field("other numbers of epochs on real data to try at the first level")
    amounts: list[int] = field("other numbers of training images per class to try at the first level")

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str]) -> list[str]:
        unknown = [method for method in methods if method not in get_args(Method)]
        if unknown or len(set(methods)) < len(methods):
            raise ValueError(f"'{unknown[0]}' is none of {', '.join(get_args(Method))}" if unknown else "must be distinct")
        return list(dict.fromkeys([*METHODS, *methods]))

    @field_validator("widths", "lengths", "amounts")
    @classmethod
    def _other_values(cls, values: list[int]) -> list[int]:
        if len(set(values)) < len(values) or min(values, default=1) < 1:
            raise ValueError("must be distinct and at least 1")
        return values

    @field_validator("levels")
    @classmethod
    def _sparse(cls, levels: list[int]) -> list[int]:
        if not 1 <= min(levels) <= max(levels) <= 30:
            raise ValueError("levels go from 1 to 30; the dense network is always there")
        return sorted(levels)

    @model_validator(mode="after")
    def _consistent(self) -> Parameters:
        unknown = [method for method in self.low_only if method not in get_args(Method)]
        if unknown:
            raise ValueError(f"low_only names '{unknown[0]}', which is none of {', '.join(get_args(Method))}")
        if self.rewind.isdecimal() and int(self.rewind) >= min(self.lengths, default=self.epochs):
            raise ValueError(f"rewind={self.rewind} is not before the last epoch of a search")
        return self

    def levels_of(self, method: str) -> list[int]:
        """The levels at which a source is measured."""
        return self.levels[:1] if method in self.low_only else self.levels


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    note = demo_note(p, "they show how the measurement works")
    return (f"{settings.in_words(p)} Initialisations {joined(p.seeds)}; levels {joined(p.levels)}; orders {joined(p.orders)}."
            f" Scans at level {p.levels[0]}, from initialisation {p.seeds[0]}.{note}")


@dataclass(frozen=True)
class Case:
    """Networks to compare: masks of `method` ("dense" for none) at `level`, under settings `p` that may differ in one thing.

    `variant` says in what: "" for the chapter's own settings, "weights rewound", "aligned", or "width = 8".
    """

    variant: str
    p: Parameters
    method: str
    level: int

    def paths(self) -> Iterator[tuple[str, int, specs.Path]]:
        """(name, initialisation, path) of every path."""
        for seed in self.p.seeds:
            for pair in combinations(self.p.orders, 2):
                trained = (retrained(self.p, "imp" if self.method == "dense" else self.method, seed, self.level, order)
                           for order in pair)
                name = f"{self.method}, level {self.level}, initialisation {seed}, orders {pair[0]}-{pair[1]}"
                path = specs.Path(ends=tuple(trained), points=self.p.points, aligned=self.variant == "aligned")
                yield (f"{name}, {self.variant}" if self.variant else name), seed, path


def cases(p: Parameters) -> list[Case]:
    """Every case of the chapter: the sources, the other rewind, the alignment, and the three scans."""
    three = [("dense", 0), *((method, p.levels[0]) for method in METHODS)]
    found = [Case("", p, "dense", 0), *(Case("", p, method, level) for method in p.methods for level in p.levels_of(method))]
    found += [Case("aligned", p, method, level) for method, level in three]
    if p.rewind == "full":
        weights = p.model_copy(update={"rewind": "weights"})
        found += [Case("weights rewound", weights, method, p.levels[0]) for method in METHODS]
    for name, changed in SCANS.items():
        for value in getattr(p, name):
            other = p.model_copy(update={changed: value, "seeds": p.seeds[:1]})
            found += [Case(f"{changed} = {value}", other, method, level) for method, level in three]
    return found


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every path this chapter shows."""
    return {name: path for case in cases(p) for name, _, path in case.paths()}


@dataclass(frozen=True)
class Measured:
    """One case: per initialisation, NaN where it collapsed or diverged. Percent, percentage points, nats.

    `moved`, `union`: shares from 0 to 1, NaN where nothing was aligned. `images`: real training images.
    """

    case: Case
    accuracy: np.ndarray
    error: np.ndarray
    loss: np.ndarray
    moved: np.ndarray
    union: np.ndarray
    images: int
    left_out: tuple[str, ...]


def measured(p: Parameters, results: Mapping[str, Result]) -> dict[tuple[str, str, int], Measured]:
    """The cases that could be measured, by (variant, method, level)."""
    found = {}
    for case in cases(p):
        named = [(name, seed) for name, seed, _ in case.paths()]
        if all(name in results for name, _ in named):
            found[case.variant, case.method, case.level] = _measured(case, named, results)
    return found


def _measured(case: Case, named: list[tuple[str, int]], results: Mapping[str, Result]) -> Measured:
    of = [[results[name] for name, s in named if s == seed] for seed in case.p.seeds]
    faults = [f"{case.method}, level {case.level}, initialisation {seed}: {', '.join(sorted(set(found)))}"
              for seed, paths in zip(case.p.seeds, of, strict=True) if (found := [f for path in paths for f in faults_of(path)])]

    def metric(name: str) -> np.ndarray:
        return np.array([np.mean([path.metrics.get(name, np.nan) for path in paths]) for paths in of])

    return Measured(case, np.array([accuracy(paths) for paths in of]),
                    np.array([100 * barrier(paths, "train_error", "highest") for paths in of]),
                    np.array([barrier(paths, "train_loss", "midpoint") for paths in of]), metric("moved"),
                    metric("union_density"), of[0][0].metrics["train_images"], tuple(faults))


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter; see book/claims.yml."""
    of = measured(p, results)
    wanted = {"accuracy_synthetic_minus_random_real": ("accuracy", "synthetic", "coreset"),
              "accuracy_synthetic_minus_magnitude": ("accuracy", "synthetic", "magnitude"),
              "error_barrier_same_densities_minus_synthetic": ("error", "like synthetic", "synthetic")}
    found = {}
    for name, (quantity, first, second) in wanted.items():
        both = [level for level in p.levels if ("", first, level) in of and ("", second, level) in of]
        intervals = {f"{p.scene}, level {level}": stats.interval(
            getattr(of["", first, level], quantity) - getattr(of["", second, level], quantity)) for level in both}
        if intervals:
            found[name] = Measure(intervals, "percentage points", len(p.seeds))
    return found


def check_source(answer: str | None, p: Parameters, results: Mapping[str, Result]) -> str:
    """Is `answer` the control whose networks rise least at the lowest level, on average over initialisations?"""
    rises = {method: stats.interval(one.error).mean for (variant, method, level), one in measured(p, results).items()
             if not variant and level == p.levels[0] and method not in METHODS and np.isfinite(one.error).any()}
    if not rises:
        return "No control was measured here."
    if not isinstance(answer, str) or answer not in rises:
        return "Name one of the controls: " + ", ".join(f'"{name}"' for name in rises) + "."
    least = min(rises, key=rises.__getitem__)
    if answer == least:
        return f"Yes: {least} rises by {rises[least]:.2f} points, the least. Is it also the most accurate?"
    return f"Not quite: {answer} rises by {rises[answer]:.2f} points, another control by less. Look at the second panel again."


def trained_loss(p: Parameters, results: Mapping[str, Result], method: str, level: int) -> float:
    """Mean training loss, in nats, of the networks at the ends of the paths; NaN where they were not all measured.

    For the chapter's cell to try.
    """
    of = [results.get(name) for name, _, _ in Case("", p, method, level).paths()]
    return float("nan") if None in of else float(np.mean([ends(path.arrays["train_loss"]) for path in of]))
