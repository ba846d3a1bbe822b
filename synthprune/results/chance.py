"""Whether a network learns anything from an imported synthetic set alone; where it tests at chance, the likely reason.

That is the commonest report about published sets: labels in another order, whitened images taken for pixels, another scale.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from synthprune.data.datasets import is_here
from synthprune.data.facts import facts
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.solve import compute_in_turn
from synthprune.results.store import Store

if TYPE_CHECKING:
    from synthprune.data.datasets import Split

DEVIATIONS = 3
"""Of the number of images that a guess gets right: what is above is no guess."""
SMOOTH, ROUGH = 0.5, 0.25
"""Correlations of neighbouring pixels: above in real images, below in whitened ones (photographs: about .9 and 0)."""


def flags(requests: Iterable[specs.Entry], store: Store, *, computing: bool = True) -> list[str]:
    """One line for each imported synthetic set on which masks of `requests` rest and from which a network learns nothing.

    Its first round of pruning is such a training; where its weights are in this user's store and `computing`, it is
    evaluated. What cannot be told from what is here is passed over.
    """
    found = []
    for evaluation in alone(requests):
        if not is_here(evaluation.dataset.name):
            continue
        if computing and store.holds(evaluation.of) and not store.has(evaluation):
            with contextlib.suppress(Problem):
                compute_in_turn(evaluation, store, alone=True)
        if store.has(evaluation):
            accuracy = 1 - float(store.get(evaluation).arrays["test_error"])
            if not accuracy > (limit := _guessed(evaluation.dataset)):
                why = "its trained weights are not here to say why"
                try:
                    why = _reason(evaluation, store) if store.holds(evaluation.of) else why
                except Problem as problem:  # the set itself is not here
                    why = str(problem)
                found.append(f"a network trained on {_published(evaluation.of).name} alone gets {accuracy:.1%} of the test"
                             f" images of {evaluation.dataset.name} right, as a guess may (up to {limit:.1%}): {why}")
    return found


def alone(requests: Iterable[specs.Entry]) -> list[specs.Evaluation]:
    """The evaluation of one dense network trained on each imported set alone, for each data set and network."""
    first: dict[object, specs.Trained] = {}
    for entry in specs.closure(list(requests)):
        if isinstance(entry, specs.Trained) and isinstance(entry.data, specs.Published) and not entry.subnetwork.level \
                and entry.stop_epoch is None:
            first.setdefault((entry.data, entry.dataset, entry.subnetwork.architecture), entry)
    return [specs.Evaluation(of=trained) for trained in first.values()]


def _published(trained: specs.Trained) -> specs.Published:
    """The imported set that a network was trained on."""
    assert isinstance(trained.data, specs.Published)
    return trained.data


def _guessed(dataset: specs.Dataset) -> float:
    """The share of test images that naming one class may get right, with what chance adds."""
    labels = _split(dataset).test_labels
    share = np.bincount(labels).max() / len(labels)
    return share + DEVIATIONS * (share * (1 - share) / len(labels)) ** 0.5


def _reason(evaluation: specs.Evaluation, store: Store) -> str:
    """What is likely wrong, from the network's answers and from the values of the set."""
    from synthprune.data.synthetic import published

    trained = evaluation.of
    dataset, title = trained.dataset, _published(trained).name.split("@")[0]
    order, share = _best_order(evaluation, store)
    limit = _guessed(dataset)
    if share > min(4 * limit, (1 + limit) / 2):  # from labels without meaning the best order is right a third of the time
        moved = [f"{ours} for {theirs}" for ours, theirs in order if ours != theirs]
        return (f"its labels are in another order (answers are right {share:.1%} of the time with {', '.join(moved[:3])}"
                f"{', ...' * (len(moved) > 3)}): import it again with its classes in the order of {dataset.name}")
    real = _split(dataset)
    made, _ = published(_published(trained).name, dataset.name, dataset.whitened, dataset.pixels).decoded(dataset.pixels)
    images = real.train_images[:1000] / (1 if real.whitened else 255)
    smooth = {name: _smoothness(one) for name, one in (("set", made), ("real", images))}
    if not dataset.whitened and smooth["real"] > SMOOTH and smooth["set"] < ROUGH:
        return (f"its images seem to be whitened, or noise (neighbouring pixels correlate by {smooth['set']:.2f}, those of"
                f" {dataset.name} by {smooth['real']:.2f}): import {title} again with --space whitened")
    if dataset.whitened and smooth["set"] > SMOOTH:
        return f"its images seem to be pixels, not whitened (neighbouring pixels correlate by {smooth['set']:.2f})"
    shift = float(np.abs(made.mean((0, 2, 3)) - images.mean((0, 2, 3))).max() / images.std())
    ratio = float(made.std() / images.std())
    if shift > 1.5 or not 1 / 3 < ratio < 3:
        return (f"its values seem to be on another scale (they deviate {ratio:.2f} times as much as those of {dataset.name},"
                f" about a mean that is {shift:.1f} deviations away): import {title} again and say what they are with --space")
    return (f"neither another order of labels nor whitening nor scale shows; {trained.recipe.epochs} epochs may be too few, or it"
            " was made for other classes")


def _best_order(evaluation: specs.Evaluation, store: Store) -> tuple[list[tuple[str, str]], float]:
    """Which class the network answers for each, so that most answers are right: (answered, true) names, and the share."""
    import torch
    from scipy.optimize import linear_sum_assignment

    from synthprune.models import network_with
    from synthprune.results.compute import network_of
    from synthprune.training import Resident

    split = _split(evaluation.dataset)
    state = {name: torch.from_numpy(array) for name, array in store.get(evaluation.of).arrays.items()}
    network, data = network_with(network_of(evaluation.subnetwork), state), Resident.of(
        split.test_images, split.test_labels, split.facts)
    with torch.no_grad():
        answers = torch.cat([network(data.batch(slice(begin, begin + 500))).argmax(1) for begin in range(0, len(data), 500)])
    names = facts(evaluation.dataset.name).classes
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (answers.numpy(), split.test_labels), 1)
    rows, columns = linear_sum_assignment(-counts)
    return [(names[a], names[b]) for a, b in zip(rows, columns, strict=True)], float(counts[rows, columns].sum() / counts.sum())


def _smoothness(images: np.ndarray) -> float:
    """Correlation of horizontally neighbouring values about each image's mean."""
    centred = images - images.mean((2, 3), keepdims=True)
    left, right = centred[..., :-1], centred[..., 1:]
    return float((left * right).sum() / max(np.sqrt((left**2).sum() * (right**2).sum()), 1e-12))


def _split(dataset: specs.Dataset) -> Split:
    from synthprune.results.compute import split_of

    return split_of(dataset)
