"""What chapters read from results: which initialisations are there, and of those accuracies and barriers, one number each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from synthprune import stats
from synthprune.analysis.barriers import ends, highest_barrier, midpoint_barrier
from synthprune.chapters.settings import AnySettings, narrowed
from synthprune.results.store import Result
from synthprune.stats import Interval, Measure

Part = TypeVar("Part")

BARRIERS = {"midpoint": midpoint_barrier, "highest": highest_barrier}
QUANTITIES = ("train_loss", "train_error", "test_loss", "test_error")


def complete(p: AnySettings, wanted: Callable[[AnySettings], Iterable[str]], results: Mapping[str, Result]) -> AnySettings | None:
    """A scene with the initialisations of which every result is here; None where there is none.

    `wanted(p)`: the names of the results of `p.seeds`. Figures, tables and intervals are of the initialisations that are here,
    and no verdict falls before there are as many as `p.planned`.
    """
    here, parts = in_parts(p, [None], lambda p, _: wanted(p), results)
    return here if parts else None


def in_parts(p: AnySettings, parts: Sequence[Part], wanted: Callable[[AnySettings, Part], Iterable[str]],
             results: Mapping[str, Result]) -> tuple[AnySettings, list[Part]]:
    """A scene and those of its `parts` (as methods) that are here, with the initialisations that have all of these parts.

    A part can be missing for want of its data, or on some initialisations because they have not been run. The parts are those
    of the initialisation that has most of them. Where there is nothing at all: the scene as it is, and no part.
    """
    has = {seed: [part for part in parts if all(name in results for name in wanted(narrowed(p, [seed]), part))]
           for seed in p.seeds}
    most = max(has.values(), key=len)
    if not most:
        return p, []
    return narrowed(p, [seed for seed in p.seeds if all(part in has[seed] for part in most)]), most


def faults_of(result: Result) -> list[str]:
    """Why a result may not enter a mean: layers without a weight, or a training that diverged.

    A map is no less sound for points far out whose loss is beyond all numbers: there only the trainings count.
    """
    faults = [f"layer {layer} has no weight left" for layer in result.metrics["collapsed"]]
    finite = "grid" in result.arrays or all(np.isfinite(array).all() for array in result.arrays.values())
    return faults + ([] if finite and not result.metrics["diverged"] else ["the training diverged"])


def left_out(results: Mapping[str, Result], scene: str = "") -> list[str]:
    """What of trainings may not enter a mean, and why; by name, without that of the scene."""
    return [f"{name.removeprefix(f'{scene}: ')}: {', '.join(faults)}" for name, result in results.items()
            if "diverged" in result.metrics and (faults := faults_of(result))]


def mean_accuracy(evaluations: Sequence[Result]) -> float:
    """Mean test accuracy of some evaluations, percent; NaN where one is faulty."""
    if any(map(faults_of, evaluations)):
        return float("nan")
    return float(100 * (1 - np.mean([one.arrays["test_error"] for one in evaluations])))


@dataclass(frozen=True)
class Paths:
    """Paths of one network between trainings in every pair of orders.

    `of`: what each initialisation is called, and its paths; none where they are not here. Faulty ones are NaN in every number.
    """

    of: Mapping[str, Sequence[Result]]

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """Which initialisations are faulty, and why."""
        faults = {name: sorted({fault for path in pairs for fault in faults_of(path)}) for name, pairs in self.of.items()}
        return tuple(f"{name}: {', '.join(found)}" for name, found in faults.items() if found)

    @cached_property
    def sound(self) -> tuple[bool, ...]:
        return tuple(bool(pairs) and not any(map(faults_of, pairs)) for pairs in self.of.values())

    def each(self, quantity: str) -> np.ndarray:
        """(initialisations, pairs, points): losses in nats, errors from 0 to 1."""
        read = [np.array([path.arrays[quantity] for path in pairs]) for pairs in self.of.values()]
        nothing = np.full(next((values.shape for values in read if values.size), (1, 1)), np.nan)
        return np.array([values if sound else nothing for values, sound in zip(read, self.sound, strict=True)])

    def curves(self, quantity: str) -> np.ndarray:
        """(initialisations, points): losses in nats, errors in percent; pairs averaged."""
        return _scale(quantity) * self.each(quantity).mean(1)

    def rises(self, quantity: str) -> np.ndarray:
        """The same above the mean of the ends."""
        curves = self.each(quantity).mean(1)
        return _scale(quantity) * (curves - ends(curves)[:, None])

    def barrier(self, quantity: str, which: str) -> np.ndarray:
        """(initialisations,): the "midpoint" or "highest" barrier of each pair, nats or percentage points, then averaged.

        In this order: the highest point of a mean curve is lower than the mean of the highest points.
        """
        return _scale(quantity) * BARRIERS[which](self.each(quantity)).mean(1)

    @property
    def accuracy(self) -> np.ndarray:
        """(initialisations,): test accuracy of the ends, percent."""
        return 100 * (1 - ends(self.each("test_error")).mean(1))

    def barriers(self, decides: bool, planned: int) -> Barriers:
        """What may be said of the network: `planned` initialisations were, and its data may speak if they are to `decides`."""
        error = stats.interval(self.barrier("train_error", "highest"))
        return Barriers(stats.interval(self.accuracy), *(stats.interval(self.barrier("train_loss", which)) for which in BARRIERS),
                        error, stats.interval(self.barrier("test_error", "highest")), stats.stability(error, decides, planned))


def _scale(quantity: str) -> int:
    return 100 if "error" in quantity else 1


@dataclass(frozen=True)
class Barriers:
    """A network over its initialisations: accuracy in percent, barriers in nats and points, and the verdict on its stability."""

    accuracy: Interval
    midpoint_loss: Interval
    highest_loss: Interval
    train_error: Interval
    test_error: Interval
    verdict: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The same as a row of a table."""
        return (self.accuracy.text(1), self.midpoint_loss.text(3), self.highest_loss.text(3), self.train_error.text(2),
                self.test_error.text(2), self.verdict)


def gathered(found: Iterable[tuple[str, str, Interval]], units: Mapping[str, str] | str, planned: int) -> dict[str, Measure]:
    """Intervals by measure and label, for the claim ledger; `units` by measure, or one for all."""
    by: dict[str, dict[str, Interval]] = {}
    for measure, label, interval in found:
        by.setdefault(measure, {})[label] = interval
    return {measure: Measure(of, units if isinstance(units, str) else units.get(measure, "percentage points"), planned)
            for measure, of in by.items()}
