"""On real CIFAR-10: a published synthetic set is worth far more than as many random real images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synthprune.data.datasets import import_dataset, load
from synthprune.data.synthetic import SyntheticSet, random_real, read_images
from synthprune.models import build, initial_state, network_with
from synthprune.training import Recipe, Resident, evaluate, train

SHARED = os.environ.get("SYNTHPRUNE_SHARED_DATA")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(SHARED is None, reason="SYNTHPRUNE_SHARED_DATA is not set: CIFAR-10 and the MTT set were not looked at")
def test_ten_mtt_images_per_class_beat_ten_random_ones_by_twenty_points(home: Path) -> None:
    import_dataset("cifar10", Path(SHARED) / "cifar10.tar")
    split = load("cifar10", 2000)
    test = Resident.of(split.test_images, split.test_labels, split.facts, "cpu")
    network = build("convnet3", channels=3, pixels=32, classes=10, width=32, norm="instance")

    def accuracy(chosen: SyntheticSet) -> float:
        data = Resident.of(*chosen.decoded(32), split.facts, "cpu")
        recipe = Recipe(epochs=300, lr=0.02, cutmix=0.0)
        state, _ = train(network, initial_state(network, 0), {}, data, recipe, order_seed=0)
        return 100 * (1 - evaluate(network_with(network, state), test)[1])

    mtt = read_images(Path(SHARED) / "distilled" / "cifar10_dc_mtt_png.tar", "cifar10", 1, "mtt/ipc10")
    found = accuracy(mtt), accuracy(random_real(split, ipc=10, factor=1, seed=0))
    print(f"MTT {found[0]:.1f} %, random real {found[1]:.1f} %")
    assert found[0] - found[1] >= 20
