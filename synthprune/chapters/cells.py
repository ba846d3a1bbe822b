"""Cells: the settings that chapter 10 measures beside each other, and what was measured of each so far.

A cell is one way to find masks and to retrain what they leave. Cells that ask for the same training share it, as it has one
name; which cells differ in one thing alone is therefore asked of their specifications, not of their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import model_validator

from synthprune.analysis.barriers import ends
from synthprune.analysis.masks import by_chance, overlaps, total
from synthprune.chapters.entries import decoded_images, path, search, subnetwork
from synthprune.chapters.paths import Paths
from synthprune.chapters.settings import Settings, field
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result


class Cell(Settings):
    """Networks to compare: masks of `method` ("dense" for none) at `levels`, found and retrained under settings of their own."""

    chapter: ClassVar[str] = "10_controls"

    name: str = field("what the profile calls the cell")
    part: str = field("sources, rewind, question, why or scale")
    method: str = field("where the masks come from; dense for none")
    levels: list[int] = field("pruning levels", min_length=1)
    orders: list[int] = field("data orders to retrain in; every pair makes a path", min_length=2)
    points: int = field("points on a path, both ends included (odd)", ge=3)

    @model_validator(mode="after")
    def _sparse_unless_dense(self) -> Self:
        if self.method == "dense":
            object.__setattr__(self, "levels", [0])
        elif not 1 <= min(self.levels) <= max(self.levels) <= 30:
            raise ValueError("levels go from 1 to 30; the dense network is a cell of its own")
        else:
            object.__setattr__(self, "levels", sorted(self.levels))
        return self

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return list(combinations(self.orders, 2))

    def differing(self, **changes: Any) -> Self:
        """The same cell but for some fields."""
        return type(self)(**self.model_dump() | changes)

    def paths(self, level: int, seed: int, *, aligned: bool = False) -> dict[str, specs.Path]:
        """The path of every pair of orders, by its name."""
        found = {}
        for pair in self.pairs:
            name = f"{self.name}: level {level}, initialisation {seed}, orders {pair[0]}-{pair[1]}"
            found[name + ", aligned" * aligned] = path(self, self.method, seed, level, pair, aligned=aligned)
        return found

    def masks(self, level: int, seed: int) -> dict[str, specs.Subnetwork]:
        """The mask, and that of the largest initial weights, by their names."""
        where = f"level {level}, initialisation {seed}"
        return {f"{self.name}: mask of {where}": subnetwork(self, self.method, seed, level),
                f"{self.name}: largest initial weights, {where}": subnetwork(self, "magnitude", seed, level)}

    def same(self, level: int) -> tuple[specs.Path, ...]:
        """What the cell asks for at a level, whatever its name: equal for cells that are the same training."""
        return tuple(self.paths(level, 0).values())

    def like(self, level: int, **changes: Any) -> tuple[specs.Path, ...]:
        """What the same cell but for some fields asks for at a level; nothing where there can be no such training."""
        try:
            return self.differing(**changes).same(level)
        except Problem:
            return ()

    @property
    def dense(self) -> tuple[specs.Path, ...]:
        """The dense network of the same retraining."""
        return self.differing(method="dense").same(0)

    @property
    def apart_from_length(self) -> tuple[Any, ...]:
        """Everything about the cell but how long its search is."""
        how = search(self, self.method)
        return self.dense, how.model_copy(update={"recipe": how.recipe.model_copy(update={"epochs": 1})})

    @property
    def real(self) -> bool:
        """Whether a search trains on the data set's own images."""
        return self.searched is not None and isinstance(self.searched.data, specs.Real)

    @property
    def searched(self) -> specs.Search | None:
        """How the masks are found, where that takes training."""
        how = search(self, self.method) if self.method != "dense" else None
        return how if isinstance(how, specs.Search) else None


@dataclass(frozen=True)
class Measured:
    """One cell at one level: arrays (planned initialisations,), NaN where not measured yet, collapsed or diverged.

    `accuracy`: test accuracy, percent. `error`, `test_error`: highest barrier of the training and the test error, percentage
    points. `loss`: training-loss barrier midway, nats. `left`: training error at the ends, percent. `moved`, `union`: shares
    from 0 to 1, NaN where nothing was aligned. `done`: initialisations with all their paths. `images`: real training images,
    0 where nothing was measured. `left_out`: which of `done` were, and why.
    """

    cell: Cell
    level: int
    done: tuple[int, ...]
    accuracy: np.ndarray
    error: np.ndarray
    test_error: np.ndarray
    loss: np.ndarray
    left: np.ndarray
    moved: np.ndarray
    union: np.ndarray
    images: int
    left_out: tuple[str, ...]

    def of(self, quantity: str, seeds: Iterable[int]) -> np.ndarray:
        """A quantity of some planned initialisations."""
        return getattr(self, quantity)[[self.cell.seeds.index(seed) for seed in seeds]]

    @cached_property
    def asked(self) -> tuple[specs.Path, ...]:
        """What the cell asks for here, whatever its name."""
        return self.cell.same(self.level)

    @property
    def steps(self) -> float:
        """SGD steps of every round of the search; NaN where the masks are found without one."""
        how = self.cell.searched
        images = self.images if self.cell.real else decoded_images(self.cell)
        return how.recipe.epochs * -(-images // how.recipe.batch) if how else float("nan")


def paths_of(cell: Cell, level: int, results: Mapping[str, Result], seeds: Iterable[int], *, aligned: bool = False) -> Paths:
    """The paths of some initialisations; none of one that lacks any of its own."""
    found = {seed: [results.get(name) for name in cell.paths(level, seed, aligned=aligned)] for seed in seeds}
    return Paths({f"{cell.name}, level {level}, initialisation {seed}": [] if None in pairs else pairs
                  for seed, pairs in found.items()})


def of_cell(cell: Cell, level: int, results: Mapping[str, Result], *, aligned: bool = False) -> Measured:
    """What the results so far say of a cell at a level."""
    paths = paths_of(cell, level, results, cell.seeds, aligned=aligned)
    done = {seed: pairs for seed, pairs in zip(cell.seeds, paths.of.values(), strict=True) if pairs}

    def metric(name: str) -> np.ndarray:
        return np.array([np.mean([path.metrics.get(name, np.nan) for path in pairs] or np.nan) for pairs in paths.of.values()])

    return Measured(
        cell, level, tuple(done), paths.accuracy, paths.barrier("train_error", "highest"), paths.barrier("test_error", "highest"),
        paths.barrier("train_loss", "midpoint"), 100 * ends(paths.each("train_error")).mean(1), metric("moved"),
        metric("union_density"), next((pairs[0].metrics["train_images"] for pairs in done.values()), 0), paths.left_out)


def above_chance(one: Measured, results: Mapping[str, Result]) -> np.ndarray:
    """(planned initialisations,): how much of the initial magnitudes a mask remembers.

    The Jaccard overlap, in percent, with the mask of as many largest initial weights, less the mean overlap of random masks
    with the same densities in every layer. NaN where it was not measured.
    """
    if not one.level:
        return np.full(len(one.cell.seeds), np.nan)
    return np.array([_overlap([results.get(name) for name in one.cell.masks(one.level, seed)]) for seed in one.cell.seeds])


def _overlap(pair: list[Result | None]) -> float:
    if None in pair:
        return float("nan")
    first, second = ({name: mask for name, mask in result.arrays.items() if name.startswith("mask/")} for result in pair)
    layers = overlaps(first, second).values()
    return float(100 * (total(layers).jaccard - by_chance(layers)["jaccard"].mean))


def partner(of: Iterable[Measured], asked: tuple[specs.Path, ...], seeds: list[int]) -> tuple[Measured, list[int]] | None:
    """What is the training `asked` for and shares most initialisations with `seeds`, with these; None where there is none."""
    same = [(one, [seed for seed in seeds if seed in one.cell.seeds]) for one in of if one.asked == asked]
    return max((found for found in same if found[1]), key=lambda found: len(found[1]), default=None)
