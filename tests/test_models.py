"""Networks are those of the paper, and initialisation is a function of the seed."""

from __future__ import annotations

import math

import pytest
import torch
from nets import convnet, equal

from synthprune.models import build, initial_state, network_with, prunable
from synthprune.problems import Problem


# Counted with the authors' classes.
@pytest.mark.parametrize(("name", "width", "norm", "parameters", "weights"), [
    ("convnet3", 128, "instance", 320_010, 318_848), ("resnet10", 32, "batch", 1_228_970, 1_226_080),
    ("resnet18", 32, "batch", 2_797_610, 2_792_800)])
def test_parameter_counts_are_the_papers(name: str, width: int, norm: str, parameters: int, weights: int) -> None:
    network = build(name, channels=3, pixels=32, classes=10, width=width, norm=norm)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(network.get_parameter(n).numel() for n in prunable(network)) == weights


def test_lenet_300_100() -> None:
    network = build("lenet300", channels=1, pixels=28, classes=10, width=300, norm="instance")
    assert [tuple(network.get_parameter(n).shape) for n in prunable(network)] == [(300, 784), (100, 300), (10, 100)]


@pytest.mark.parametrize("name", ["convnet3", "resnet10", "resnet18", "lenet300"])
def test_every_network_maps_images_to_logits(name: str) -> None:
    network = build(name, channels=3, pixels=16, classes=10, width=6, norm="batch")
    assert network_with(network, initial_state(network, 0)).eval()(torch.rand(2, 3, 16, 16)).shape == (2, 10)


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
