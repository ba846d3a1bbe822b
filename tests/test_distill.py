"""Distribution matching: does it distil, and is it the same every time?"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthprune.data.datasets import load
from synthprune.data.synthetic import SyntheticSet, random_real
from synthprune.distill import distribution_matching
from synthprune.models import build, initial_state, network_with
from synthprune.training import Recipe, Resident, evaluate, train

NETWORK = {"channels": 1, "pixels": 16, "classes": 10, "width": 16, "norm": "instance"}


def distilled(seed: int, steps: int, width: int = 16) -> SyntheticSet:
    return distribution_matching(load("digits"), ipc=1, factor=2, steps=steps, lr=1.0, real_batch=32, width=width, seed=seed)


def accuracy(chosen: SyntheticSet, seed: int) -> float:
    """Of a network trained on the set, on the digits' test images, in percent."""
    split, network = load("digits"), build("convnet3", **NETWORK)
    state, _ = train(network, initial_state(network, seed), {}, Resident.of(*chosen.decoded(16), split.facts, "cpu"),
                     Recipe(epochs=120, lr=0.02), order_seed=seed)
    test = Resident.of(split.test_images, split.test_labels, split.facts, "cpu")
    return 100 * (1 - evaluate(network_with(network, state), test)[1])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_one_image_per_class_beats_random_real_images_with_the_same_decode() -> None:
    # Measured: 6.7 points (82.7 to 90.0 % for random images, 91.4 to 93.9 % distilled), the least of five 1.4.
    gains = [accuracy(distilled(seed, steps=20), seed) - accuracy(random_real(load("digits"), 1, 2, seed), seed)
             for seed in range(5)]
    assert np.mean(gains) > 3, gains


def test_it_starts_from_the_same_random_images() -> None:
    start = distilled(3, steps=0)
    assert start.name == random_real(load("digits"), 1, 2, seed=3).name
    moved = distilled(3, steps=1, width=4)
    assert (moved.images != start.images).mean() > 0.2 and np.array_equal(moved.labels, start.labels)


def test_it_is_the_same_every_time_and_another_for_another_seed() -> None:
    torch.manual_seed(1)
    first = distilled(0, steps=2, width=4)
    torch.manual_seed(2)
    np.random.seed(2)
    assert distilled(0, steps=2, width=4).name == first.name
    assert distilled(1, steps=2, width=4).name != first.name
    assert first.images.dtype == np.float32 and first.images.min() >= 0 and first.images.max() <= 1


def test_features_come_nearer_on_a_network_never_drawn() -> None:
    """What is minimised, measured on another random network, unaugmented, on all training images."""
    split = load("digits")
    network = build("convnet3", **NETWORK)
    model = network_with(network, initial_state(network, 123456)).eval()

    def means(images: np.ndarray, labels: np.ndarray) -> torch.Tensor:
        data = Resident.of(images, labels, split.facts, "cpu")
        with torch.no_grad():
            features = model.features(data.batch(slice(None)))
        return torch.stack([features[data.labels == label].mean(0) for label in range(10)])

    real = means(split.train_images, split.train_labels)
    before, after = ((means(*distilled(0, steps).decoded(16)) - real).square().sum() for steps in (0, 10))
    assert after < 0.7 * before  # measured: 0.33 to 0.40
