"""Chapter 10: what the paper leaves open. Is it the distillation, the few images, the few steps, the densities, the rewind?

And its own question: what makes IMP unstable, its real images or the length of its search?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
from pydantic import ValidationError, model_validator

from synthprune import stats
from synthprune.chapters.cells import Cell, Measured, of_cell, partner
from synthprune.chapters.described import described
from synthprune.chapters.profiles import read_profile
from synthprune.chapters.settings import METHODS, Settings, fault_of, field, overrides
from synthprune.own import is_own
from synthprune.problems import Problem, nearest
from synthprune.results import specs
from synthprune.results.store import Result
from synthprune.stats import Interval, Measure

ERRORS = {"error": "training error", "test_error": "test error"}
"""Quantities that are error barriers, and what labels call them."""

LEAST_LENGTHS = 3
"""Lengths of search that a slope is drawn through."""


class Parameters(Settings):
    chapter: ClassVar[str] = "10_controls"

    cells: list[str] = field("cells of the profile to show, ways to find masks and to retrain; and criteria of your own,"
                             " FILE.py:FUNCTION")
    levels: list[int] = field("pruning levels, where a cell does not say (level n keeps 0.8^n of the weights)", min_length=1)
    orders: list[int] = field("data orders to retrain in, where a cell does not say; every pair makes a path", min_length=2)
    points: int = field("points on a path, both ends included (odd)", ge=3)

    @model_validator(mode="after")
    def _cells_can_be_read(self) -> Parameters:
        known = read_profile(self.profile)["cells"]
        if not self.cells:
            raise ValueError(f"cells names none of profile {self.profile}'s:"
                             f" {', '.join(known) or 'it has none yet; the demo profile shows how to write them'}")
        for name in self.cells:
            if name not in known and not is_own(name):
                raise ValueError(f"cells names '{name}', which profile {self.profile} does not have: {nearest(name, known)}")
            try:
                cell(self, name)
            except ValidationError as error:
                raise ValueError(f"cell '{name}': {fault_of(error)}") from None
        if len(set(self.cells)) < len(self.cells):
            raise ValueError("cells must be distinct")
        return self


def cell(p: Parameters, name: str) -> Cell:
    """A cell of the profile, or a criterion of your own: what the profile says of the scene, then of the cell, then what was
    set by hand."""
    by_hand = {field: value for field, value in overrides(p).items() if field not in ("scene", "cells")}
    usual = {field: value for field, value in p.model_dump().items() if field != "cells"}
    said = {"part": "sources", "method": name} if is_own(name) else read_profile(p.profile)["cells"][name]
    return Cell(**usual | said | by_hand | {"name": name})


def cells(p: Parameters, *parts: str) -> list[Cell]:
    """The cells to show; of some `parts`, where any are named."""
    every = [cell(p, name) for name in p.cells]
    return [one for one in every if not parts or one.part in parts]


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    return described(p, f" These are the values where a row does not say otherwise; each of the {len(p.cells)} rows (cells) has"
                        " initialisations of its own.", "they show how the measurement works")


ALIGNED = ("dense", *METHODS)
"""What is also measured after an alignment: in the scene's own setting, at the first level."""


def aligned(p: Parameters) -> list[tuple[Cell, int]]:
    """The cells whose paths are also aligned, each with its level: the first of each method."""
    first = {one.method: one for one in reversed(cells(p, "sources"))}
    return [(first[method], first[method].levels[0]) for method in ALIGNED if method in first]


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every path this chapter shows, and the masks whose memory of the initial magnitudes it compares with barriers."""
    found: dict[str, specs.Entry] = {}
    for one in cells(p):
        for level in one.levels:
            for seed in one.seeds:
                found |= one.paths(level, seed)
                if level and one.part != "sources":
                    found |= one.masks(level, seed)
    for one, level in aligned(p):
        for seed in one.seeds:
            found |= one.paths(level, seed, aligned=True)
    return found


Found = Mapping[tuple[str, int], Measured]


def planned(p: Parameters, results: Mapping[str, Result]) -> dict[tuple[str, int], Measured]:
    """Every cell at each of its levels, by name and level, measured or not."""
    return {(one.name, level): of_cell(one, level, results) for one in cells(p) for level in one.levels}


def measured(p: Parameters, results: Mapping[str, Result], *parts: str) -> dict[tuple[str, int], Measured]:
    """Those of which an initialisation has all its paths; of some `parts`, where any are named."""
    return {key: one for key, one in planned(p, results).items() if one.done and (not parts or one.cell.part in parts)}


def not_run(p: Parameters, results: Mapping[str, Result], *parts: str) -> list[str]:
    """Names of the cells, of some `parts`, of which nothing was measured yet."""
    done = {name for name, _ in measured(p, results)}
    return [one.name for one in cells(p, *parts) if one.name not in done]


Compared = Iterator[tuple[str, str, np.ndarray, str]]
"""Of what is compared its label, words that end the label, if any (the ledger takes labels that differ in their last part alone
for one case), the values (planned initialisations,), NaN where not measured, and a name that tells apart what shares a label."""


def _measure(found: Compared, unit: str) -> Measure | None:
    """Intervals by label, each with the number of initialisations that was planned for it; None where nothing was measured."""
    intervals: dict[str, Interval] = {}
    for label, words, values, name in found:
        ending = f", {words}" if words else ""
        label = f"{label}, {name}{ending}" if label + ending in intervals else label + ending
        intervals[label] = stats.interval(values).out_of(len(values))
    if not any(of.n for of in intervals.values()):
        return None
    return Measure(intervals, unit, max(of.planned for of in intervals.values()))


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter; see book/claims.yml."""
    of = list(planned(p, results).values())
    found = {
        "accuracy_synthetic_minus_random_real": _between_sources(p, of, "synthetic", "coreset", {"accuracy": ""}),
        "accuracy_synthetic_minus_magnitude": _between_sources(p, of, "synthetic", "magnitude", {"accuracy": ""}),
        "error_barrier_same_densities_minus_synthetic": _between_sources(p, of, "like synthetic", "synthetic", {"error": ""}),
        "barrier_synthetic_minus_random_real": _between_sources(p, of, "synthetic", "coreset", ERRORS),
        "barrier_per_doubling_of_search": _over_length(p, of, _per_doubling),
        "barrier_longest_minus_shortest_search": _over_length(p, of, lambda lengths, heights: heights[-1] - heights[0]),
        "barrier_real_minus_synthetic": _real_minus_synthetic(p, of),
        "barrier_without_decay": _without_decay(p, of),
        "barrier_decay_minus_without_decay": _decay_minus_without(p, of)}
    units = {"barrier_per_doubling_of_search": "points per doubling"}
    made = {name: _measure(compared, units.get(name, "percentage points")) for name, compared in found.items()}
    return {name: measure for name, measure in made.items() if measure}


def _of_part(of: Sequence[Measured], *parts: str) -> list[Measured]:
    return [one for one in of if one.cell.part in parts]


def _own(p: Parameters, of: Sequence[Measured]) -> list[Measured]:
    """What rests on the scene's own synthetic set, or on none: other sets stand in figures and decide no claim."""
    return [one for one in of if one.cell.synthetic == p.synthetic]


def _less(first: Measured, second: Measured, quantity: str, seeds: Sequence[int]) -> np.ndarray:
    """The difference, initialisation by initialisation."""
    return first.of(quantity, seeds) - second.of(quantity, seeds)


def _between_sources(p: Parameters, of: Sequence[Measured], first: str, second: str, quantities: Mapping[str, str]) -> Compared:
    """One source of masks less another, all else equal, at every level that both have."""
    among = _own(p, _of_part(of, "sources"))
    for one in (one for one in among if one.cell.method == first):
        asked = one.cell.like(one.level, method=second)
        other = partner((other for other in among if other.cell.method == second), asked, one.cell.seeds)
        for quantity, words in quantities.items() if other else ():
            yield f"{p.scene}, level {one.level}", words, _less(one, other[0], quantity, other[1]), one.cell.name


def lengths(of: Sequence[Measured]) -> Iterator[list[Measured]]:
    """The cells of part "question" whose search is IMP and differs in its length alone, shortest first; at least three."""
    imp = [one for one in _of_part(of, "question") if one.cell.method == "imp"]
    groups: dict[Any, list[Measured]] = {}
    for one in imp:
        groups.setdefault((one.level, one.cell.apart_from_length), []).append(one)
    for group in groups.values():
        ordered = sorted(group, key=lambda one: one.cell.round_epochs)
        if len({one.cell.round_epochs for one in ordered}) >= LEAST_LENGTHS:
            yield ordered


def _over_length(p: Parameters, of: Sequence[Measured], read: Any) -> Compared:
    """`read(log2 of lengths (cells,), barriers (cells, initialisations))` of every retraining, for both errors."""
    for group in lengths(of):
        seeds = [seed for seed in group[0].cell.seeds if all(seed in one.cell.seeds for one in group)]
        doublings = np.log2([one.cell.round_epochs for one in group])
        for quantity, words in ERRORS.items():
            heights = np.array([one.of(quantity, seeds) for one in group])
            label = f"{p.scene}, level {group[0].level}, {images(group[0].cell)}, {retraining(group[0].cell)}"
            # A slope or an end is an initialisation's own only where every length was run from it.
            values = np.where(np.isfinite(heights).all(0), read(doublings, heights), np.nan)
            if seeds:
                yield label, words, values, group[0].cell.name


def _per_doubling(doublings: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The least-squares slope of each column of heights (cells, initialisations)."""
    away = doublings - doublings.mean()
    return away @ heights / (away @ away)


def retraining(one: Cell) -> str:
    return f"retraining of {one.epochs} epochs"


def images(one: Settings) -> str:
    return f"{one.train_per_class} images per class" if one.train_per_class else "all images"


AT_EQUAL_STEPS = (("imp, steps of synthetic", "synthetic"), ("imp", "synthetic, steps of imp"))
"""Pairs of real and synthetic searches that take the same number of steps."""

PAIR_WORDS = ("steps of the synthetic search", "steps of IMP")


def _real_minus_synthetic(p: Parameters, of: Sequence[Measured]) -> Compared:
    """IMP less synthetic where both take the same steps, at the chapter's own scale."""
    seen, of = set(), _own(p, _of_part(of, "sources", "question"))
    for (real, synthetic), words in zip(AT_EQUAL_STEPS, PAIR_WORDS, strict=True):
        for one in (one for one in of if one.cell.method == synthetic):
            asked = one.cell.like(one.level, method=real)
            other = partner((other for other in of if other.cell.method == real), asked, one.cell.seeds)
            if other is None or (one.asked, asked) in seen:
                continue
            seen.add((one.asked, asked))
            for quantity, error in ERRORS.items():
                label = f"{p.scene}, level {one.level}, {words}, {images(one.cell)}, {retraining(one.cell)}"
                yield label, error, _less(other[0], one, quantity, other[1]), one.cell.name


def _undecayed(of: Sequence[Measured]) -> list[Measured]:
    """IMP whose search has no weight decay."""
    return [one for one in _of_part(of, "why")
            if one.cell.method == "imp" and one.cell.searched and one.cell.searched.recipe.weight_decay == 0]


def _searched_and_retrained(p: Parameters, one: Measured) -> str:
    return f"{p.scene}, level {one.level}, search of {one.cell.round_epochs} epochs, {retraining(one.cell)}"


def _without_decay(p: Parameters, of: Sequence[Measured]) -> Compared:
    for one in _undecayed(of):
        yield _searched_and_retrained(p, one), ERRORS["error"], one.error, one.cell.name


def _decay_minus_without(p: Parameters, of: Sequence[Measured]) -> Compared:
    """A search with the setting's weight decay less the same without."""
    for one in _undecayed(of):
        other = partner(of, one.cell.like(one.level, search_weight_decay=-1), one.cell.seeds)
        for quantity, error in ERRORS.items() if other else ():
            yield _searched_and_retrained(p, one), error, _less(other[0], one, quantity, other[1]), one.cell.name


def over_dense(of: Sequence[Measured], one: Measured, quantity: str) -> Interval | None:
    """A barrier over that of the dense network of the same retraining, paired; None where no cell has that network."""
    other = partner(of, one.cell.dense, one.cell.seeds)
    return stats.ratio(one.of(quantity, other[1]), other[0].of(quantity, other[1])) if other and one.level else None


def check_source(answer: str | None, p: Parameters, results: Mapping[str, Result]) -> str:
    """Is `answer` the control whose networks rise least at the lowest level, on average over initialisations?"""
    of = measured(p, results, "sources").values()
    lowest = min((one.level for one in of if one.level), default=0)
    controls = [one for one in of if one.level == lowest and one.cell.method not in ALIGNED and np.isfinite(one.error).any()]
    rises = {method: stats.interval(next(group).error).mean
             for method, group in groupby(sorted(controls, key=lambda one: one.cell.method), key=lambda one: one.cell.method)}
    if not rises:
        return "No control was measured here."
    if not isinstance(answer, str) or answer not in rises:
        return "Name one of the controls: " + ", ".join(f'"{name}"' for name in rises) + "."
    least = min(rises, key=rises.__getitem__)
    if answer == least:
        return f"Yes: {least} rises by {rises[least]:.2f} points, the least. Is it also the most accurate?"
    return f"Not quite: {answer} rises by {rises[answer]:.2f} points, another control by less. Look at the second panel again."


def training_error(p: Parameters, results: Mapping[str, Result], name: str) -> float:
    """Mean training error, in percent, of a cell's networks at the ends of their paths, at its lowest level; NaN where none was
    measured. For the chapter's cell to try. Raises Problem for a cell that is not shown.
    """
    if name not in p.cells:
        raise Problem(f"unknown cell '{name}': {nearest(name, p.cells)}")
    one = cell(p, name)
    return stats.interval(of_cell(one, one.levels[0], results).left).mean
