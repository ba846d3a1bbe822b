"""On real CIFAR-10: a published synthetic set is worth far more than as many random real images."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import real

from synthprune.data.datasets import Split, load
from synthprune.data.forms import read_images, read_tensors
from synthprune.data.imports import import_dataset
from synthprune.data.synthetic import SyntheticSet, random_real
from synthprune.models import build, initial_state, network_with
from synthprune.training import Recipe, Resident, evaluate, train


def accuracy(chosen: SyntheticSet, split: Split, epochs: int) -> float:
    """Test accuracy in percent of a small ConvNet-3 after `epochs` on the set."""
    network = build("convnet3", channels=3, pixels=32, classes=10, width=32, norm="instance")
    data = Resident.of(*chosen.decoded(32), split.facts, "cpu")
    state, _ = train(network, initial_state(network, 0), {}, data, Recipe(epochs=epochs, lr=0.02, cutmix=0.0), order_seed=0)
    return 100 * (1 - evaluate(network_with(network, state), Resident.of(split.test_images, split.test_labels, split.facts,
                                                                         "cpu"))[1])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.data
@pytest.mark.parametrize(("whitened", "epochs", "points"), [(False, 300, 20), (True, 60, 15)])
def test_ten_mtt_images_per_class_beat_ten_random_ones_by_far(whitened: bool, epochs: int, points: int, home: Path) -> None:
    import_dataset("cifar10", real("cifar10.tar"))
    split = load("cifar10", 2000, whitened=whitened)
    mtt = (read_tensors(real("distilled/cifar10_mtt_zca_ipc10_images.pt"), "cifar10", 1) if whitened
           else read_images(real("distilled/cifar10_dc_mtt_png.tar"), "cifar10", 1, "mtt/ipc10"))
    found = accuracy(mtt, split, epochs), accuracy(random_real(split, ipc=10, factor=1, seed=0), split, epochs)
    print(f"MTT {found[0]:.1f} %, random real {found[1]:.1f} %")
    assert found[0] - found[1] >= points
