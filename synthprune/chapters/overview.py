"""Chapter 07: ratios of accuracy and barrier over networks, data and compression. Paper section 4.3, figure 6."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, model_validator

from synthprune import stats
from synthprune.chapters import entries, settings
from synthprune.chapters.described import described, joined, more_scenes
from synthprune.chapters.paths import Paths, complete
from synthprune.chapters.settings import METHODS, Method, Settings, field, overrides, parameters
from synthprune.data.facts import facts
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result
from synthprune.stats import Interval, Measure

SET = re.compile(r"([^:]+):([1-9]\d*)(?::([1-9]\d*))?")
"""A set in `other_sets`: its name, its stored images per class, and its decode factor, unless it is the scene's."""


def checked_sets(sets: list[str]) -> list[str]:
    """`other_sets` as they are. Raises ValueError where one cannot be read or is said twice."""
    for one in sets:
        if not SET.fullmatch(str(one)):
            raise ValueError(f"{one} is not NAME:IMAGES PER CLASS, as distilled:1, and not"
                             " NAME:IMAGES PER CLASS:DECODE FACTOR, as distilled:1:2")
    if len(set(sets)) < len(sets):
        raise ValueError("must be distinct")
    return sets


OtherSets = Annotated[list[str], AfterValidator(checked_sets)]


class Parameters(Settings):
    chapter: ClassVar[str] = "07_overview"

    scenes: list[str] = field("networks and data sets of the profile to compare", min_length=1)
    other_sets: OtherSets = field("synthetic sets beside `synthetic`, each NAME:IMAGES PER CLASS, as distilled:1,"
                                  " or NAME:IMAGES PER CLASS:DECODE FACTOR, where the factor is another")
    low_level: int = field("the low pruning level (the paper: 4, 59 % pruned)", ge=1, le=30)
    high_level: int = field("the high pruning level (the paper: 9, 87 % pruned)", ge=1, le=30)
    orders: list[int] = field("data orders to train in; every pair makes a path", min_length=2)
    points: int = field("points on a path, both ends included (odd)", ge=3)

    @model_validator(mode="after")
    def _in_order(self) -> Parameters:
        if self.low_level >= self.high_level:
            raise ValueError(f"low_level={self.low_level} is not below high_level={self.high_level}")
        return self

    @property
    def both_levels(self) -> tuple[int, int]:
        return self.low_level, self.high_level


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    others = f" Other synthetic sets: {html.escape(', '.join(p.other_sets))}." if p.other_sets else ""
    return described(p, f"{others}{more_scenes(p)} Initialisations {joined(p.seeds)}; levels {p.low_level} and {p.high_level};"
                        f" each subnetwork is trained in {len(p.orders)} orders.", "they show how the comparison works")


def with_each_set(p: Settings) -> list[Settings]:
    """A scene's parameters with each of its synthetic sets (`other_sets`) as `synthetic`, its own first.

    Raises Problem for an unknown one, and for two different ones that go by the same words.
    """
    given, found = overrides(p) | {"profile": p.profile, "scene": p.scene}, {set_words(p): p}
    for name, size, factor in (SET.fullmatch(one).groups() for one in p.other_sets):
        one = parameters(type(p), p.chapter, given | {"synthetic": name, "synthetic_per_class": int(size),
                                                      "synthetic_factor": int(factor or p.synthetic_factor)})
        if _which_set(found.setdefault(set_words(one), one)) != _which_set(one):
            raise Problem(f"other_sets: two different sets are both called '{set_words(one)}': give one of them another title")
    return list(found.values())


def _which_set(p: Settings) -> tuple[str, int, int]:
    return p.synthetic, p.synthetic_per_class, p.synthetic_factor


def set_words(p: Settings) -> str:
    """The synthetic set, as '5 per class, distilled'."""
    return f"{p.synthetic_per_class} per class, {p.synthetic.split('@')[0]}"


def making(p: Parameters) -> str:
    """How the synthetic set was made: its title without the sizes, so that mtt1 and mtt50 are of one making."""
    return re.sub(r"\d+", "", p.synthetic.split("@")[0])


def name(p: Parameters, method: Method, level: int, seed: int, pair: tuple[int, int]) -> str:
    """What a path is called in this chapter; IMP's belong to every synthetic set of the scene."""
    return (f"{p.scene}: {'IMP' if method == 'imp' else set_words(p)}, level {level}, initialisation {seed},"
            f" orders {pair[0]}-{pair[1]}")


def paths(p: Parameters) -> dict[str, specs.Entry]:
    """The paths that compare one synthetic set with IMP: those of chapter 04, where it asks for the same."""
    return {name(p, method, level, seed, pair): entries.path(p, method, seed, level, pair)
            for method in METHODS for level in p.both_levels for seed in p.seeds for pair in combinations(p.orders, 2)}


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every path this chapter reads: scene x synthetic set (and IMP) x level x initialisation x pair of orders."""
    return {name: path for one in asked(p) for name, path in paths(one).items()}


def asked(p: Parameters) -> list[Parameters]:
    """The parameters of every scene with each of its synthetic sets."""
    return [one for scene in settings.scenes(p) for one in with_each_set(scene)]


@dataclass(frozen=True)
class Comparison:
    """Synthetic against IMP subnetworks of one scene, one synthetic set and one level.

    `synthetic` and `imp`: arrays (initialisations,) of "accuracy" (test, percent), "loss" (training-loss barrier midway,
    nats: the paper's) and "error" (highest training-error barrier, percentage points); NaN where a training failed, as
    `left_out` says. `compression`: real training images per synthetic image stored.
    """

    p: Parameters
    level: int
    compression: float
    synthetic: Mapping[str, np.ndarray]
    imp: Mapping[str, np.ndarray]
    left_out: tuple[str, ...]

    def ratio(self, quantity: str) -> Interval:
        """Synthetic over IMP, as in figure 6; not defined where the interval of IMP's holds zero."""
        return stats.ratio(self.synthetic[quantity], self.imp[quantity])

    @property
    def orders(self) -> bool:
        """Whether the ratio of barriers says which of the two is lower: it is defined, and over a barrier above zero."""
        return bool(np.isfinite(self.ratio("loss").mean) and stats.interval(self.imp["loss"]).mean > 0)

    def ratios(self, quantity: str) -> np.ndarray:
        """Synthetic over IMP on each initialisation; not finite where IMP's is zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.synthetic[quantity] / self.imp[quantity]

    def differences(self, quantity: str) -> np.ndarray:
        """Synthetic less IMP on each initialisation."""
        return self.synthetic[quantity] - self.imp[quantity]

    def difference(self, quantity: str) -> Interval:
        return stats.interval(self.differences(quantity))


def comparisons(p: Parameters, results: Mapping[str, Result]) -> list[Comparison]:
    """Every comparison whose results are here, scene by scene, set by set, the low level before the high one; each on the
    initialisations that are here."""
    return [_comparison(here, level, results) for one in asked(p) if (here := complete(one, paths, results))
            for level in p.both_levels]


def _comparison(p: Parameters, level: int, results: Mapping[str, Result]) -> Comparison:
    synthetic, imp = (Paths({f"{p.scene}: {'IMP' if method == 'imp' else set_words(p)}, level {level}, initialisation {seed}": [
        results[name(p, method, level, seed, pair)] for pair in combinations(p.orders, 2)] for seed in p.seeds})
        for method in METHODS)
    images = next(iter(imp.of.values()))[0].metrics["train_images"]
    return Comparison(p, level, images / (len(facts(p.dataset).classes) * p.synthetic_per_class), _values(synthetic),
                      _values(imp), synthetic.left_out + imp.left_out)


def _values(of: Paths) -> dict[str, np.ndarray]:
    return {"accuracy": of.accuracy, "loss": of.barrier("train_loss", "midpoint"), "error": of.barrier("train_error", "highest")}


def not_run(p: Parameters, results: Mapping[str, Result]) -> list[str]:
    """The scenes and sets that were asked for and have no results, in words."""
    return [f"{one.scene}: {set_words(one)}" for one in asked(p) if not complete(one, paths, results)]


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter."""
    found = comparisons(p, results)
    at = {(c.p.scene, set_words(c.p), c.level): c for c in found}
    scenes = [with_each_set(scene) for scene in settings.scenes(p)]
    high = {f"{c.p.scene}, {set_words(c.p)}": stats.interval(c.synthetic["loss"]).out_of(len(c.p.planned)) for c in found
            if c.level == p.high_level}
    ends, costs, compared = {}, {}, []
    for level in p.both_levels:
        for most, least in _measured(map(_extremes, scenes), level, at):
            ends[f"{most.p.scene}, level {level}"] = _less(most, least, lambda c: c.synthetic["loss"])
        for hard, easy in _measured(_hundred_and_ten_classes(scenes), level, at):
            costs[f"{hard.p.scene}, level {level}"] = _less(easy, hard, lambda c: c.differences("accuracy"))
            compared.append(f"{hard.p.scene}: {set_words(hard.p)}; {easy.p.scene}: {set_words(easy.p)}")
    return {"loss_barrier_synthetic_high": Measure(high, "nats", len(p.planned)),
            "loss_barrier_most_minus_least_compressed": Measure(ends, "nats", len(p.planned)),
            "accuracy_cost_cifar100_minus_cifar10":
                Measure(costs, "percentage points", len(p.planned), "; ".join(dict.fromkeys(compared)))}


def _less(first: Comparison, second: Comparison, of: Callable[[Comparison], np.ndarray]) -> Interval:
    """The first less the second, paired on the initialisations that both have; planned are those that both plan."""
    shared = [seed for seed in first.p.seeds if seed in second.p.seeds]
    values = [of(c)[[c.p.seeds.index(seed) for seed in shared]] for c in (first, second)]
    return stats.interval(values[0] - values[1]).out_of(len(set(first.p.planned) & set(second.p.planned)))


def _extremes(sets: Sequence[Parameters]) -> tuple[Parameters, Parameters] | None:
    """A scene with its smallest and its largest set, among those made like its own; None where there is only one."""
    alike = sorted((one for one in sets if making(one) == making(sets[0])), key=lambda one: one.synthetic_per_class)
    return (alike[0], alike[-1]) if len(alike) > 1 else None


def _hundred_and_ten_classes(scenes: Sequence[Sequence[Parameters]]) -> list[tuple[Parameters, Parameters]]:
    """Every network with its own synthetic set on CIFAR-100 and on CIFAR-10, where they plan an initialisation in common.

    A scene whose name has a third part, as cells and sets of the same network, enters no claim.
    """
    own = [sets[0] for sets in scenes if sets[0].scene.count("-") == 1]
    return [(hard, easy) for hard in own for easy in own if (hard.dataset, easy.dataset) == ("cifar100", "cifar10")
            and hard.architecture == easy.architecture and set(hard.planned) & set(easy.planned)]


def _measured(pairs: Iterable[tuple[Parameters, Parameters] | None], level: int,
              at: Mapping[tuple[str, str, int], Comparison]) -> Iterable[tuple[Comparison, Comparison]]:
    """The comparisons of each pair of scenes and sets, where both have been measured."""
    for pair in filter(None, pairs):
        keys = [(one.scene, set_words(one), level) for one in pair]
        if all(key in at for key in keys):
            yield at[keys[0]], at[keys[1]]


def check_ratios(answer: Any, p: Parameters, results: Mapping[str, Result]) -> str:
    """What to say to the ratio of barriers that a reader found on each initialisation, first comparison, high level."""
    case = next((c for c in comparisons(p, results) if c.level == p.high_level), None)
    if case is None or not np.isfinite(case.ratios("loss")).all():
        return "This run has no ratio on every initialisation, so the question has no answer here: try another scene."
    right, seeds = case.ratios("loss"), joined(case.p.seeds)
    try:
        given = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        given = np.empty(0)
    if given.shape != right.shape or not np.isfinite(given).all():
        return f"Give a list with one number for each initialisation: {seeds}."
    if not np.allclose(given, right, rtol=0.02, atol=0.005):
        if np.allclose(given * right, 1, rtol=0.02):
            return "Upside down: the figure divides the synthetic barrier by IMP's."
        return "Not yet. Divide the synthetic barrier by IMP's, one initialisation at a time."
    difference = case.differences("loss")
    if len(right) == 1:
        return f"Right: {right[0]:.2f}. With one initialisation nobody can say how far another would have moved it."
    return (f"Right: a study of one initialisation would have drawn a ratio anywhere from {right.min():.2f} to {right.max():.2f},"
            f" with a difference anywhere from {difference.min():.3f} to {difference.max():.3f} nats.")
