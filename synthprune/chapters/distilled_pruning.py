"""Chapter 03: accuracy against sparsity, and what a mask costs. Paper section 3, figures 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import field_validator

from synthprune import stats
from synthprune.chapters import entries, settings
from synthprune.chapters.answers import judged
from synthprune.chapters.described import described, joined, more_scenes
from synthprune.chapters.entries import cost, retrained, search_recipe, synthetic_data
from synthprune.chapters.paths import complete, gathered, left_out, mean_accuracy
from synthprune.chapters.settings import METHODS, Method, Settings, field, parameters
from synthprune.own import is_own
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result
from synthprune.stats import Measure


class Parameters(Settings):
    chapter: ClassVar[str] = "03_distilled_pruning"

    scenes: list[str] = field("networks and data sets of the profile to show, one after the other", min_length=1)
    methods: list[str] = field("where masks come from: imp, synthetic, any of random, magnitude, snip and synflow, and your own"
                               " FILE.py:FUNCTION")
    levels: list[int] = field("pruning levels to test (level n keeps 0.8^n of the weights); dense is shown in any case",
                              min_length=1)
    orders: list[int] = field("data orders to train every subnetwork in; their accuracies are averaged", min_length=1)

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str]) -> list[str]:
        """In the order in which they are shown; the two that the chapter compares are always among them."""
        for method in methods:
            if method not in SHOWN and not is_own(method):
                raise ValueError(f"'{method}' is none of {', '.join(SHOWN)}")
        return [method for method in SHOWN if method in {*METHODS, *methods}] + list(filter(is_own, dict.fromkeys(methods)))

    @field_validator("levels")
    @classmethod
    def _in_range(cls, levels: list[int]) -> list[int]:
        if not any(levels) or max(levels) > 30:
            raise ValueError("levels go from 1 to 30 (0.1 % of the weights left)")
        return sorted(levels)

    @property
    def sparse(self) -> list[int]:
        """The levels without 0, the dense network, which belongs to no method."""
        return [level for level in self.levels if level]


SHOWN: tuple[Method, ...] = ("imp", "synthetic", "random", "magnitude", "snip", "synflow")
"""Figure 2's two methods and the authors' random masks; then, ours, what can be had without any training."""

LOW, HIGH, EXTREME = 4, 8, 11
"""Levels of the paper's words: 59 % pruned; from 83 % (section 5); more than 90 % (section 3)."""


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    return described(p, f"{more_scenes(p)} Initialisations {joined(p.seeds)}; pruning levels {joined(p.sparse)} beside the dense"
                        f" network; each is trained in {len(p.orders)} order{'' if len(p.orders) == 1 else 's'}"
                        f" ({joined(p.orders)}), the searches in order {p.search_seed}.", "they show how the comparison works")


def name(p: Parameters, method: str, level: int, seed: int, order: int) -> str:
    """What the evaluation of a retrained subnetwork is called; level 0 is the dense network, whatever the method."""
    return f"{p.scene}: {f'{method}, level {level}' if level else 'dense'}, initialisation {seed}, order {order}"


def on_synthetic(p: Parameters, seed: int) -> str:
    """What the evaluation of the dense network trained on the synthetic set alone is called."""
    return f"{p.scene}: dense, trained on the synthetic set, initialisation {seed}"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every evaluation this chapter shows, in every scene."""
    return {name: entry for scene in settings.scenes(p) for name, entry in of_scene(scene).items()}


def of_scene(p: Parameters) -> dict[str, specs.Entry]:
    """One scene's evaluations: method x level x initialisation x order; dense; dense trained on the synthetic set, which is
    the synthetic search's own first training."""
    found = {name(p, method, level, seed, order): specs.Evaluation(of=retrained(p, method, seed, level, order))
             for method in p.methods for level in (0, *p.sparse) for seed in p.seeds for order in p.orders}
    return found | {on_synthetic(p, seed): specs.Evaluation(of=specs.Trained(
        subnetwork=entries.subnetwork(p, "synthetic", seed, 0), data=synthetic_data(p),
        recipe=search_recipe(p, p.synthetic_epochs), order_seed=p.search_seed)) for seed in p.seeds}


def measured_scenes(p: Parameters, results: Mapping[str, Result]) -> list[Parameters]:
    """The scenes that could be measured, each with the initialisations that are here."""
    return [here for scene in settings.scenes(p) if (here := complete(scene, of_scene, results))]


def accuracies(p: Parameters, results: Mapping[str, Result], method: Method, level: int) -> np.ndarray:
    """(initialisations,): test accuracy after retraining on real data, percent, orders averaged; NaN where one is faulty.

    Raises Problem for a level that was not measured.
    """
    if level not in (0, *p.sparse):
        raise Problem(f"level {level} was not measured: levels={p.sparse}, and 0 for the dense network")
    return np.array([mean_accuracy([results[name(p, method, level, seed, order)] for order in p.orders]) for seed in p.seeds])


def failed(p: Parameters, results: Mapping[str, Result]) -> list[str]:
    """The results of a scene that may not enter a mean, each with its reason."""
    return left_out({name: results[name] for name in of_scene(p)}, p.scene)


def shortfalls(p: Parameters, results: Mapping[str, Result]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Paper section 3: whether the low accuracy after training on the synthetic set carries over to pruning with it.

    By level what the synthetic set costs in points of test accuracy, paired by initialisation (initialisations,): for
    training (dense network trained on the real set, less one trained on the synthetic set), and for pruning (IMP subnetwork
    less synthetic subnetwork, both trained on the real set).
    """
    trained = np.array([mean_accuracy([results[on_synthetic(p, seed)]]) for seed in p.seeds])
    return {level: (accuracies(p, results, "imp", 0) - trained,
                    accuracies(p, results, "imp", level) - accuracies(p, results, "synthetic", level)) for level in p.sparse}


def real_images(p: Settings, results: Mapping[str, Result]) -> int:
    """Training images that IMP sees in an epoch: counted where something was measured, else from the data set's facts.

    Raises Problem where neither knows: the classes of ImageNet differ in size.
    """
    for name, result in results.items():
        if name.startswith(f"{p.scene}: "):
            return result.metrics["train_images"]
    return entries.real_images(p)


COUNTS = {"training_points": "training points: stored images, each epoch", "visits": "image visits: decoded images, each epoch",
          "steps": "SGD steps", "stored_images": "images in the set, stored", "decoded_images": "images in the set, decoded"}
"""What can be counted of a search, in words. The first is the paper's."""


def ratios(p: Settings, results: Mapping[str, Result], level: int) -> dict[str, float]:
    """How many times the synthetic search's cost IMP's is, by each of COUNTS."""
    images = real_images(p, results)
    times = cost(p, "imp", level, images).times(cost(p, "synthetic", level, images))
    return {count: times[count] for count in COUNTS}


def paper_setting() -> Parameters:
    """Figure 2 of the paper, as the `paper` profile has it."""
    return parameters(Parameters, Parameters.chapter, {"profile": "paper", "scene": "resnet18-cifar10"})


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter, over every scene that was measured; see book/claims.yml."""
    found = ((measure, f"{scene.scene}, level {level}", stats.interval(values).out_of(len(scene.planned)))
             for scene in measured_scenes(p, results) for measure, level, values in _measured(scene, results))
    return gathered(found, {"stored_point_ratio": "ratio"}, len(p.seeds))


def _measured(p: Parameters, results: Mapping[str, Result]) -> Iterator[tuple[str, int, np.ndarray]]:
    """(measure, level, values per initialisation) of one scene."""
    dense = accuracies(p, results, "imp", 0)
    for level, (training, pruning) in shortfalls(p, results).items():
        yield "accuracy_synthetic_minus_imp", level, -pruning
        if level == LOW:
            yield "accuracy_synthetic_minus_imp_low", level, -pruning
        if level >= EXTREME:
            yield "accuracy_synthetic_minus_imp_extreme", level, -pruning
        if level >= HIGH:
            yield "accuracy_imp_minus_dense_high", level, accuracies(p, results, "imp", level) - dense
        yield "stored_point_ratio", level, np.full(len(p.seeds), ratios(p, results, level)["training_points"])
        yield "shortfall_training_minus_pruning", level, training - pruning


EXERCISE_BATCH = 48
"""Images per step in the exercise: not the run's own, whose ratio the page shows."""


def check_steps(answer: Any, p: Parameters, results: Mapping[str, Result]) -> str:
    """What to say to the ratio of SGD steps in batches of EXERCISE_BATCH, IMP over synthetic, that a reader worked out: first
    scene, highest level."""
    if not measured_scenes(p, results):
        return "This run has no results, so the question has no answer here: try another scene."
    first = measured_scenes(p, results)[0]
    images, scene, level = real_images(first, results), first.model_copy(update={"batch": EXERCISE_BATCH}), first.sparse[-1]
    right = ratios(scene, results, level)
    imp, synthetic = (cost(scene, method, level, images).steps for method in ("imp", "synthetic"))
    return judged(answer, (
        (right["steps"], f"Right: {imp} steps against {synthetic}, {right['steps']:.3g} times as many. By the paper's count it is"
                         f" {right['training_points']:.3g} times, by image visits {right['visits']:.3g}: name the count before"
                         " the ratio."),
        (1 / right["steps"], "Upside down: divide IMP's steps by the synthetic search's."),
        (right["visits"], "That is the ratio of image visits. The last batch of an epoch may be smaller, and still is a step:"
                          " round up."),
        (right["training_points"], "That is the paper's count, of stored images. A step takes a batch of the images that the"
                                   " network is shown.")), lambda value: 0.01 * value,
        "Give one number: the SGD steps of IMP, divided by those of the synthetic search.",
        "Not yet. Steps of an epoch: decoded images divided by the batch size, rounded up. Then times epochs, for each search.")
