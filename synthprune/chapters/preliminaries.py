"""Chapter 02: stability at initialisation, synthetic sets, and what training on them alone gives. Paper section 2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from pydantic import field_validator, model_validator

from synthprune import stats
from synthprune.chapters import entries, settings
from synthprune.chapters.answers import judged
from synthprune.chapters.described import described, joined
from synthprune.chapters.entries import decoded_images, matched_epochs, trained_on
from synthprune.chapters.overview import OtherSets, set_words, with_each_set
from synthprune.chapters.paths import Barriers, Paths, complete, left_out, mean_accuracy
from synthprune.chapters.settings import Settings, field
from synthprune.data.facts import facts
from synthprune.data.synthetic import filed, hard
from synthprune.results import specs
from synthprune.results.store import Result
from synthprune.stats import Interval, Measure

STAND_IN = "digits"
"""What stands here for MNIST, of which the paper speaks."""

KIM = re.compile(r"idc(1|10|50)-cifar10")
"""Titles under which Kim et al.'s sets are filed; their decode factor is 2."""

PAPER = {1: 50.6, 10: 67.5, 50: 74.5}
"""Test accuracy on CIFAR-10 after training on Kim et al.'s sets, percent, by images per class: section 2.4."""

PAPER_AGAIN = 72.8
"""The same for 10 per class in section 3; in section 2.4 it is ImageNet-10's."""


class Parameters(Settings):
    chapter: ClassVar[str] = "02_preliminaries"

    scenes: list[str] = field("networks and data sets of the profile whose stability is tested, dense", min_length=1)
    other_sets: OtherSets = field("synthetic sets beside `synthetic`, each NAME:IMAGES PER CLASS, as distilled:1,"
                                  " or NAME:IMAGES PER CLASS:DECODE FACTOR, where the factor is another")
    orders: list[int] = field("data orders to train in; every pair makes a path", min_length=2)
    points: int = field("points on a path, both ends included (odd)", ge=3)

    @field_validator("synthetic")
    @classmethod
    def _synthetic(cls, value: str) -> str:
        if value == "coreset":
            raise ValueError("random real images are what synthetic sets are compared with here: name a synthetic set")
        return value

    @model_validator(mode="after")
    def _as_in_its_file(self) -> Parameters:
        """Random images could not match a set whose size and decode are other than said."""
        if found := filed(self.synthetic):
            if found.whitened:
                raise ValueError(f"{self.synthetic} holds ZCA-whitened images, which are no pixels: this chapter cannot use it")
            per_class = len(found.labels) // len(facts(self.dataset).classes)
            if (per_class, found.factor) != (self.synthetic_per_class, self.synthetic_factor):
                raise ValueError(f"{self.synthetic} stores {per_class} images per class for decode factor {found.factor}: say"
                                 f" synthetic_per_class={per_class} and synthetic_factor={found.factor}, or in other_sets"
                                 f" {self.synthetic}:{per_class}:{found.factor}")
        return self


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    sets = "; ".join(set_words(one) for one in with_each_set(p))
    return described(p, f" Synthetic sets: {sets}. Stability is tested in {', '.join(p.scenes)}, in {len(p.orders)} orders each."
                        f" Initialisations {joined(p.seeds)}.", "they show how sets and stability are measured")


# What is asked for.


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Dense paths of every scene; evaluations of what is trained on each set and on random real images; sets made here."""
    wanted: dict[str, specs.Entry] = {}
    for scene in settings.scenes(p):
        wanted |= paths(scene)
    for one in with_each_set(p):
        if isinstance(made := entries.synthetic_data(one), specs.Made):
            wanted[the_set(one)] = made
        for seed in p.seeds:
            wanted |= {on_set(one, seed): trained_on(one, "synthetic", seed),
                       on_random(one, seed): trained_on(one, "coreset", seed)}
    other = other_decode(p)
    return wanted | {on_random(other, seed): trained_on(other, "coreset", seed) for seed in p.seeds}


def paths(p: Parameters) -> dict[str, specs.Entry]:
    """The paths of one scene's dense network: those of chapter 04, where it asks for the same."""
    return {path_name(p, seed, pair): entries.path(p, "imp", seed, 0, pair)
            for seed in p.seeds for pair in combinations(p.orders, 2)}


def other_decode(p: Parameters) -> Parameters:
    """The same number of stored images, not cut where the chapter's own are and cut in 2 x 2 where they are not, for as many
    steps as whole epochs allow."""
    other = p.model_copy(update={"synthetic_factor": 1 if p.synthetic_factor > 1 else 2})
    epochs = matched_epochs(p, decoded_images(p), p.synthetic_epochs, decoded_images(other))
    return other.model_copy(update={"synthetic_epochs": epochs})


def path_name(p: Parameters, seed: int, pair: tuple[int, int]) -> str:
    return f"{p.scene}: dense, initialisation {seed}, orders {pair[0]}-{pair[1]}"


def the_set(p: Parameters) -> str:
    """What a set made here is called."""
    return f"{set_words(p)}: the set"


def on_set(p: Parameters, seed: int) -> str:
    """What the evaluation of a dense network trained on the synthetic set alone is called."""
    return f"trained on the set: {set_words(p)}, initialisation {seed}"


def on_random(p: Parameters, seed: int) -> str:
    """The same for random real images, whose decode and epochs belong to the name: sets of equal size share them."""
    return (f"trained on random real images: {p.synthetic_per_class} per class, decode factor {p.synthetic_factor},"
            f" {p.synthetic_epochs} epochs, initialisation {seed}")


# Stability.


@dataclass(frozen=True)
class Dense:
    """One scene's dense network between two trainings of each initialisation."""

    p: Parameters
    paths: Paths

    @property
    def barriers(self) -> Barriers:
        """The verdict is on this network on these data: the digits may be said to be stable, though they say nothing of MNIST."""
        return self.paths.barriers(self.p.profile != "demo", len(self.p.planned))


def dense(p: Parameters, results: Mapping[str, Result]) -> list[Dense]:
    """Every scene that was measured, in the order of `scenes`, on the initialisations that are here."""
    return [Dense(here, Paths({f"{here.scene}, initialisation {seed}": [results[path_name(here, seed, pair)]
                                                                        for pair in combinations(here.orders, 2)]
                               for seed in here.seeds}))
            for scene in settings.scenes(p) if (here := complete(scene, paths, results))]


# Sets.


def shown(p: Parameters, results: Mapping[str, Result]) -> np.ndarray | None:
    """The first stored image of each class, float (classes, c, h, h) about [0, 1]; None where the set is not here."""
    if the_set(p) in results:
        images, labels = (results[the_set(p)].arrays[name] for name in ("images", "labels"))
    elif found := filed(p.synthetic):
        images, labels = found.pictures, hard(found.labels)
    else:
        return None
    return images[np.unique(labels, return_index=True)[1]]


def how_to_import(p: Parameters) -> str:
    """What to do about a set that is not here."""
    if p.synthetic in ("distilled", "condensed"):
        bring = "" if p.dataset == "digits" else f" ('synthprune data import {p.dataset} PATH')"
        return f"it is made as soon as the real images are here{bring}."
    return f"import it with 'synthprune data import {p.synthetic.split('@')[0]} PATH --of {p.dataset}'."


@dataclass(frozen=True)
class Worth:
    """Test accuracy, percent (initialisations,), of dense networks trained on a set alone and on as many random real images,
    decoded alike, for as many steps; NaN where a training failed."""

    p: Parameters
    on_set: np.ndarray
    on_random: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """What the set adds to random images, on each initialisation: percentage points."""
        return self.on_set - self.on_random


def worths(p: Parameters, results: Mapping[str, Result]) -> list[Worth]:
    """Every set whose evaluations are here, the profile's own first, on the initialisations that have both."""
    def both(one: Parameters) -> list[str]:
        return [name(one, seed) for name in (on_set, on_random) for seed in one.seeds]

    return [Worth(here, _accuracies(here, on_set, results), _accuracies(here, on_random, results)) for one in with_each_set(p)
            if (here := complete(one, both, results))]


def _accuracies(p: Parameters, name: Any, results: Mapping[str, Result]) -> np.ndarray:
    return np.array([mean_accuracy([results[name(p, seed)]]) for seed in p.seeds])


@dataclass(frozen=True)
class Decode:
    """Random real images, as many stored per class, whole and cut: accuracies in percent (initialisations,)."""

    p: Parameters
    whole: np.ndarray
    cut: np.ndarray
    factor: int
    """Of the cut ones."""

    @property
    def gain(self) -> np.ndarray:
        return self.cut - self.whole


def decode_alone(p: Parameters, results: Mapping[str, Result]) -> Decode | None:
    """What the decode is worth without any distillation; None where it was not run."""
    here = complete(p, lambda p: [on_random(one, seed) for one in (p, other_decode(p)) for seed in p.seeds], results)
    if here is None:
        return None
    whole, cut = sorted((here, other_decode(here)), key=lambda one: one.synthetic_factor)
    return Decode(here, _accuracies(whole, on_random, results), _accuracies(cut, on_random, results), cut.synthetic_factor)


def scenes_not_run(p: Parameters, results: Mapping[str, Result]) -> list[str]:
    """Scenes that were asked for and have no results."""
    return [scene for scene in p.scenes if scene not in {one.p.scene for one in dense(p, results)}]


def sets_not_run(p: Parameters, results: Mapping[str, Result]) -> list[str]:
    """Sets that were asked for and have no results, in words."""
    run = {set_words(one.p) for one in worths(p, results)}
    return [words for words in map(set_words, with_each_set(p)) if words not in run]


def failed(p: Parameters, results: Mapping[str, Result]) -> list[str]:
    """Trainings on sets that may not enter a mean, and why."""
    return left_out({name: results[name] for name, entry in requests(p).items()
                     if isinstance(entry, specs.Evaluation) and name in results})


def kim(p: Parameters, results: Mapping[str, Result]) -> dict[int, Interval]:
    """Test accuracy after training on Kim et al.'s CIFAR-10 sets, decoded as by them, by images per class: percent."""
    return {one.p.synthetic_per_class: stats.interval(one.on_set) for one in worths(p, results) if _is_kims(one.p)}


def _is_kims(p: Parameters) -> bool:
    title = KIM.fullmatch(p.synthetic.split("@")[0])
    return bool(title) and asked_of_kim(p) and (
        p.dataset, p.synthetic_per_class, p.synthetic_factor) == ("cifar10", int(title[1]), 2)


def asked_of_kim(p: Parameters) -> bool:
    """Whether a set with a title like Kim et al.'s may be theirs. Anybody can give a set that title: so only in the profile that
    asks for theirs, and never a set that is filed here with images of another side than the data set's own."""
    found = filed(p.synthetic)
    return p.profile == "paper" and (found is None or found.images.shape[-1] == facts(p.dataset).pixels)


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter."""
    return {f"accuracy_kim_cifar10_{per_class}_per_class": Measure({p.scene: of}, "percent", len(p.planned))
            for per_class, of in kim(p, results).items()}


def test_images(p: Parameters, results: Mapping[str, Result]) -> int:
    """How many test images the networks trained on the first set were evaluated on; 0 where none was."""
    case = next(iter(worths(p, results)), None)
    return results[on_set(case.p, case.p.seeds[0])].metrics["test_images"] if case else 0


def check_images(answer: Any, p: Parameters, results: Mapping[str, Result]) -> str:
    """What to say to how many more test images, a reader thinks, the first set gets right than random real images do."""
    case = next(iter(worths(p, results)), None)
    if case is None or not np.isfinite(case.gain).all():
        return "This run has no accuracy on every initialisation, so the question has no answer here: try another set."
    images = test_images(p, results)
    right = float(case.gain.mean()) / 100 * images
    gain = case.gain / 100 * images
    number = isinstance(answer, int | float) and not isinstance(answer, bool) and np.isfinite(answer)
    return judged(answer if number else None, (
        (right, f"Right: {right:.1f} of {images} images on average; one initialisation gives from {gain.min():.0f} to"
                f" {gain.max():.0f}."),
        (-right, "The number is right and its sign is not: take random from synthetic."),
        (case.gain.mean(), f"These are percentage points: how many of {images} images are they?")),
        lambda value: 0.06 if value == case.gain.mean() else 0.6, "Give a number of images.",
        "Not yet. Average the differences over the initialisations; a point is a hundredth of the test images.")
