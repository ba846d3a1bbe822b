"""Networks are those of the paper, and initialisation is a function of the seed."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from nets import convnet, equal
from torch.utils.flop_counter import FlopCounterMode

from synthprune.models import ARCHITECTURES, build, initial_state, network_with, prunable
from synthprune.problems import Problem


# Counted with the authors' classes; multiplications of one image in millions, to the digits known.
@pytest.mark.parametrize(("name", "pixels", "width", "norm", "parameters", "weights", "millions"), [
    ("convnet3", 32, 128, "instance", 320_010, 318_848, 50.7), ("resnet10", 32, 32, "batch", 1_228_970, 1_226_080, 63.8),
    ("resnet18", 32, 32, "batch", 2_797_610, 2_792_800, 139.3),
    ("resnet10_imagenet", 224, 64, "batch", 4_910_922, 4_905_152, 889),
    ("resnet18_imagenet", 224, 64, "batch", 11_181_642, 11_172_032, 1814)])
def test_sizes_and_costs_are_the_papers(name: str, pixels: int, width: int, norm: str, parameters: int, weights: int,
                                        millions: float) -> None:
    network = build(name, channels=3, pixels=pixels, classes=10, width=width, norm=norm).eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(network.get_parameter(n).numel() for n in prunable(network)) == weights
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, pixels, pixels, device="meta"))
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions, abs=0.5 if millions > 500 else 0.05)


@pytest.mark.parametrize(("name", "width", "classes", "parameters"), [
    ("convnet3", 128, 100, 504_420), ("resnet10", 32, 100, 1_252_100), ("resnet18", 32, 100, 2_820_740)])
def test_sizes_for_cifar100_are_the_papers(name: str, width: int, classes: int, parameters: int) -> None:
    network = build(name, channels=3, pixels=32, classes=classes, width=width, norm="batch")
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_lenet_300_100() -> None:
    network = build("lenet300", channels=1, pixels=28, classes=10, width=300, norm="instance")
    assert [tuple(network.get_parameter(n).shape) for n in prunable(network)] == [(300, 784), (100, 300), (10, 100)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_maps_images_to_logits(name: str) -> None:
    network = build(name, channels=3, pixels=64, classes=10, width=6, norm="batch")
    assert network_with(network, initial_state(network, 0)).eval()(torch.rand(2, 3, 64, 64)).shape == (2, 10)


# SHA-256 over names and bytes, seed 0, 3 channels, 32 pixels, 10 classes, taken before ImageNet's stem was added.
@pytest.mark.parametrize(("name", "width", "norm", "expected"), [
    ("convnet3", 16, "instance", "d6f45b0ba652"), ("resnet10", 8, "batch", "07ac64ba9e39"),
    ("resnet18", 8, "instance", "0433213bbc70")])
def test_initial_states_keep_their_bits(name: str, width: int, norm: str, expected: str) -> None:
    digest = hashlib.sha256()
    for tensor, value in initial_state(build(name, channels=3, pixels=32, classes=10, width=width, norm=norm), 0).items():
        digest.update(tensor.encode() + value.numpy().tobytes())
    assert digest.hexdigest()[:12] == expected


def test_imagenets_stem_leaves_a_quarter_of_the_side() -> None:
    """7x7 with stride 2, then 3x3 max-pooling with stride 2, by hand on one bright pixel and a stem that only sums."""
    network = build("resnet10_imagenet", channels=1, pixels=64, classes=10, width=1, norm="batch")
    stem = network_with(network, initial_state(network, 0) | {"stem.0.weight": torch.ones(1, 1, 7, 7)}).stem.eval()
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 20, 20] = 1
    # Output row r of the convolution sees rows 2r - 3 to 2r + 3, row q of the pooling rows 2q - 1 to 2q + 1 of that.
    seen = [q for q in range(16) if any(2 * r - 3 <= 20 <= 2 * r + 3 for r in (2 * q - 1, 2 * q, 2 * q + 1))]
    expected = torch.zeros(16, 16)
    expected[seen[0]: seen[-1] + 1, seen[0]: seen[-1] + 1] = 1 / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(stem(image)[0, 0], expected)


def test_initialisation_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = initial_state(convnet(), 0)
    torch.rand(3)
    assert equal(first, initial_state(convnet(), 0))
    assert not torch.equal(first["features.0.weight"], initial_state(convnet(), 1)["features.0.weight"])


def test_initialisation_draws_nothing_global() -> None:
    before = torch.get_rng_state()
    initial_state(convnet(), 0)
    assert torch.equal(before, torch.get_rng_state())


def test_initial_scale_is_pytorchs_and_he_for_the_resnets() -> None:
    plain = initial_state(convnet(64), 0)
    bound = 1 / math.sqrt(64 * 9)
    for name in ("features.4.weight", "features.4.bias"):
        assert bound * 0.9 < plain[name].abs().max() <= bound
    he = build("resnet10", channels=3, pixels=32, classes=10, width=32, norm="batch")
    state = initial_state(he, 0)
    assert state["stages.1.conv2.weight"].std() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert torch.equal(state["stem.1.weight"], torch.ones(32)) and torch.equal(state["stem.1.running_mean"], torch.zeros(32))


def test_bad_architectures_are_named() -> None:
    with pytest.raises(Problem, match="did you mean 'convnet3'"):
        build("convnet", channels=1, pixels=16, classes=10, width=4, norm="instance")
    with pytest.raises(Problem, match="at least 16 pixels, not 8"):
        build("convnet3", channels=1, pixels=8, classes=10, width=4, norm="instance")
    with pytest.raises(Problem, match="resnet10_imagenet needs images of at least 64 pixels, not 32"):
        build("resnet10_imagenet", channels=1, pixels=32, classes=10, width=4, norm="batch")
