"""Chapter 11: a synthetic set of one's own, trained on, pruned with, and paid for. Paper section 2.3, and ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from synthprune.chapters import entries
from synthprune.chapters.described import described, joined
from synthprune.chapters.entries import retrained, subnetwork, trained_on
from synthprune.chapters.paths import in_parts, mean_accuracy
from synthprune.chapters.settings import Distilling, Method, field
from synthprune.costs import Cost
from synthprune.data.facts import facts
from synthprune.results import specs
from synthprune.results.store import Result, Store

SETS: tuple[Method, ...] = ("synthetic", "coreset")
"""The set of one's own, and random real images in the same number."""

SOURCES: tuple[Method, ...] = (*SETS, "imp")
"""What masks are found on: these, and all the real images."""

START, END = "the set before distillation", "the set after distillation"


class Parameters(Distilling):
    chapter: ClassVar[str] = "11_make_synthetic_data"

    level: int = field("level to prune to (level n keeps 0.8^n of the weights)", ge=1, le=30)
    order: int = field("data order of the trainings on real data", ge=0)


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    return described(p, f" Initialisations {joined(p.seeds)}; masks of level {p.level}; retrained in order {p.order}.",
                     "they show how a set is made and used")


def alone(method: Method, seed: int) -> str:
    """What the evaluation of a network trained on a set alone is called."""
    return f"trained on {method} alone, initialisation {seed}"


def pruned(method: str, seed: int) -> str:
    """What the evaluation of a retrained subnetwork, or of the "dense" network, is called."""
    return f"{method} mask, trained on real data, initialisation {seed}"


NAMES = {"alone": alone, "pruned": pruned}


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """The set before and after distillation, and the evaluations of what is trained on it and pruned with it."""
    made = entries.synthetic_data(p)
    wanted: dict[str, specs.Entry] = {START: made.model_copy(update={"steps": 0}), END: made}
    for seed in p.seeds:
        wanted |= {alone(method, seed): trained_on(p, method, seed) for method in SETS}
        wanted |= {pruned(method, seed): specs.Evaluation(of=retrained(p, method, seed, p.level, p.order)) for method in SOURCES}
        wanted[pruned("dense", seed)] = specs.Evaluation(of=retrained(p, "imp", seed, 0, p.order))
    return wanted


def accuracies(p: Parameters, results: Mapping[str, Result]) -> dict[str, dict[str, np.ndarray]]:
    """Test accuracy, percent (initialisations,), NaN where one is faulty: {"alone" or "pruned": {method: values}}."""
    p, networks = measured(p, results)
    found: dict[str, dict[str, np.ndarray]] = {"alone": {}, "pruned": {}}
    for what, method in networks:
        found[what][method] = np.array([mean_accuracy([results[NAMES[what](method, seed)]]) for seed in p.seeds])
    return found


def measured(p: Parameters, results: Mapping[str, Result]) -> tuple[Parameters, list[tuple[str, str]]]:
    """The initialisations that are here, and what could be measured: ("alone" or "pruned", method)."""
    networks = [*(("alone", method) for method in SETS), *(("pruned", method) for method in ("dense", *SOURCES))]
    return in_parts(p, networks, lambda p, network: [NAMES[network[0]](network[1], seed) for seed in p.seeds], results)


def moved(p: Parameters, results: Mapping[str, Result]) -> dict[str, float]:
    """Mean absolute change of each class's pixels by distillation, percent of their range; empty without a set."""
    if not {START, END} <= results.keys():
        return {}
    before, after = (results[name].arrays["images"] for name in (START, END))
    labels = results[END].arrays["labels"]
    change = 100 * np.abs(after - before).reshape(len(labels), -1).mean(1)
    return {name: float(change[labels == label].mean()) for label, name in enumerate(facts(p.dataset).classes)}


def making_visits(p: Parameters) -> int:
    """Images that pass through a network while the set is made, at every step: real and decoded ones, and those that the
    network is trained on where there are such."""
    made, classes = entries.synthetic_data(p), len(facts(p.dataset).classes)
    real = min(made.real_batch, p.train_per_class or made.real_batch)
    trained = getattr(made, "trained_images", 0)
    return made.steps * (classes * (real + made.ipc * made.factor**2) + min(trained, classes * (p.train_per_class or trained)))


def mask_cost(p: Parameters, results: Mapping[str, Result], method: Method) -> Cost:
    """What the search for one mask of the chapter's level takes, the making of the set apart."""
    dense = pruned("dense", measured(p, results)[0].seeds[0])
    return entries.cost(p, method, p.level, results[dense].metrics["train_images"], math.nan)


def seconds(p: Parameters, store: Store, method: Method) -> np.ndarray:
    """(initialisations,): core-seconds that finding the mask took, the set apart; NaN where nobody knows a training's."""
    searches = [specs.closure([subnetwork(p, method, seed, p.level)]) for seed in p.seeds]
    return np.array([sum(made["seconds"] if (made := store.whence(one)) else math.nan
                         for one in search if isinstance(one, specs.Trained)) for search in searches], float)


def break_even(p: Parameters, results: Mapping[str, Result]) -> int | None:
    """Rounds of pruning after which making the set and searching on it has visited fewer images than IMP; None: never."""
    saved = (mask_cost(p, results, "imp").visits - mask_cost(p, results, "synthetic").visits) / p.level
    return math.floor(making_visits(p) / saved) + 1 if saved > 0 else None


def check_rounds(answer: Any, p: Parameters, results: Mapping[str, Result]) -> str:
    """What to say to the number of rounds after which, a reader thinks, the set has paid for itself, or to "never"."""
    if ("pruned", "dense") not in measured(p, results)[1]:
        return "This run has no evaluations, so the question has no answer here: try another data set."
    right = break_even(p, results)
    if answer == "never":
        return "Right: a round on this set visits as many images as one of IMP, or more." if right is None else (
            "Not so: every round on the set visits fewer images than one of IMP, so it pays at some point.")
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return 'Give a whole number of rounds, or "never".'
    if right is None:
        return "Compare one round on the set with one round of IMP: is anything saved at all?"
    if answer == right:
        return (f"Right: after {right} round{'' if right == 1 else 's'} the set has paid for itself, and level {p.level} takes"
                f" {p.level}. Every further mask, of any network, has the set for nothing.")
    return f"Too {'few' if answer < right else 'many'}: divide what making the set visits by what one round saves."
