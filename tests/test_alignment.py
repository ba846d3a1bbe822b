"""Relabelling hidden channels changes no function, and weight matching finds the labels again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from nets import convnet, equal, resnet, some_digits
from torch import Tensor, nn

from synthprune.analysis.alignment import Permutations, align, permuted, symmetries, union
from synthprune.models import ARCHITECTURES, State, build, initial_state, network_with, prunable
from synthprune.problems import Problem
from synthprune.pruning import apply_masks, dense_masks, prune_by_magnitude
from synthprune.training import Recipe, evaluate, train


def network_of(name: str, norm: str = "batch") -> nn.Module:
    return build(name, channels=3, pixels=64 if "imagenet" in name else 16, classes=10, width=6, norm=norm)


def scattered(network: nn.Module, seed: int) -> State:
    """A state in which no two channels are alike, norms and running statistics included."""
    rng = np.random.default_rng(seed)

    def moved(name: str, value: Tensor) -> Tensor:
        factor, shift = 0.5 + rng.random(value.shape, np.float32), rng.standard_normal(value.shape, np.float32)
        return value * torch.from_numpy(factor) + torch.from_numpy(shift) * name.endswith(("bias", "running_mean"))

    return {name: moved(name, value) if value.ndim else value for name, value in initial_state(network, seed).items()}


def shuffle(network: nn.Module, seed: int) -> Permutations:
    rng, state = np.random.default_rng(seed), network.state_dict()
    return {name: rng.permutation(state[axes[0].tensor].shape[0]) for name, axes in symmetries(network).items()}


def logits(network: nn.Module, state: State, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network_with(network, state).eval().double()(images)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_random_permutation_leaves_the_function_unchanged(name: str, norm: str) -> None:
    network = network_of(name, norm)
    state = scattered(network, 0)
    moved = permuted(network, state, shuffle(network, 1))
    pixels = 64 if "imagenet" in name else 16
    images = torch.from_numpy(np.random.default_rng(2).standard_normal((3, 3, pixels, pixels)))
    expected = logits(network, state, images)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits(network, moved, images), expected, rtol=0, atol=1e-8)
    same = {key for key in state if torch.equal(state[key], moved[key])}
    assert same == {key for key in state if key.endswith("num_batches_tracked")} | {list(state)[-1]}  # the logits' bias


@pytest.mark.parametrize(("name", "groups"), [("convnet3", 3), ("lenet300", 2), ("resnet10", 8), ("resnet18", 12),
                                               ("resnet10_imagenet", 8)])
def test_every_hidden_axis_is_in_one_group(name: str, groups: int) -> None:
    """3 convolutions; 2 hidden layers; 4 residual streams and one inner group for each block."""
    network = network_of(name)
    assert len(symmetries(network)) == groups
    first, *_, last = prunable(network)
    every = {(key, dim) for key, value in network.state_dict().items() for dim in range(min(value.ndim, 2))}
    found = [tuple(axis) for axes in symmetries(network).values() for axis in axes]
    assert len(found) == len(set(found))
    assert set(found) == every - {(first, 1), (last, 0), (last.replace("weight", "bias"), 0)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_permuted_copy_is_recovered_exactly_masks_included(name: str) -> None:
    network = network_of(name)
    state = scattered(network, 0)
    masks = prune_by_magnitude(state, dense_masks(state, prunable(network)), 0.5)
    state = apply_masks(state, masks)
    labels = shuffle(network, 1)
    copy, copied_masks = permuted(network, state, labels), permuted(network, masks, labels)
    assert not equal(copy, state)
    assert equal(apply_masks(copy, copied_masks), copy)
    found = align(network, state, copy, seed=0)
    assert equal(permuted(network, copy, found), state)
    assert equal(permuted(network, copied_masks, found), masks)
    assert all(np.array_equal(labels[group][found[group]], np.arange(len(labels[group]))) for group in labels)


def test_entry_i_is_the_channel_that_moves_to_place_i() -> None:
    network = convnet()
    state = scattered(network, 0)
    moved = permuted(network, state, {"features.8": np.array([2, 0, 3, 1])})
    assert torch.equal(moved["features.8.weight"], state["features.8.weight"][[2, 0, 3, 1]])
    flat = state["classifier.weight"].view(10, 4, 4)  # 4 channels of 2 x 2 pixels
    assert torch.equal(moved["classifier.weight"], flat[:, [2, 0, 3, 1]].reshape(10, 16))
    assert torch.equal(moved["features.4.weight"], state["features.4.weight"])


def test_one_hidden_layer_is_matched_as_well_as_can_be() -> None:
    """Against all 120 labellings: the one at the least distance over every parameter, biases included."""
    with torch.device("meta"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    for seed in range(5):
        first, second = scattered(network, seed), scattered(network, 100 + seed)
        distances = {order: sum(float((first[name] - value).square().sum()) for name, value in
                                permuted(network, second, {"1": np.array(order)}).items())
                     for order in itertools.permutations(range(5))}
        assert tuple(align(network, first, second, seed=0)["1"]) == min(distances, key=distances.get)


def distance(first: State, second: State, network: nn.Module) -> float:
    return sum(float((first[name] - second[name]).double().square().sum()) for name, _ in network.named_parameters())


def test_where_it_stops_no_swap_of_two_channels_comes_nearer() -> None:
    network = resnet()
    first, second = scattered(network, 0), scattered(network, 1)
    found = align(network, first, second, seed=0)
    reached = distance(first, permuted(network, second, found), network)
    assert reached < distance(first, second, network)
    for group, order in found.items():
        for i, j in itertools.combinations(range(len(order)), 2):
            swapped = order.copy()
            swapped[[i, j]] = order[[j, i]]
            assert distance(first, permuted(network, second, found | {group: swapped}), network) >= reached


def test_the_order_of_groups_follows_from_the_seed() -> None:
    network = network_of("resnet10")
    first, second = scattered(network, 0), scattered(network, 1)
    one, again, other = (align(network, first, second, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(one[group], again[group]) for group in one)
    assert any(not np.array_equal(one[group], other[group]) for group in one)


def test_running_statistics_do_not_decide() -> None:
    network = network_of("resnet10")
    first, second = scattered(network, 0), scattered(network, 1)
    noisy = {name: value * 1000 if "running" in name else value for name, value in second.items()}
    plain, found = align(network, first, second, 0), align(network, first, noisy, 0)
    assert all(np.array_equal(plain[group], found[group]) for group in plain)


def test_two_initialisations_are_nearer_in_loss_once_aligned() -> None:
    network, data = build("lenet300", channels=1, pixels=16, classes=10, width=96, norm="instance"), some_digits(50)
    recipe = Recipe(epochs=10, lr=0.05, augment=False, cutmix=0.0)
    first, second = (train(network, initial_state(network, seed), {}, data, recipe, order_seed=0)[0] for seed in (0, 1))
    aligned = permuted(network, second, align(network, first, second, seed=0))

    def midway(end: State) -> float:
        middle = {name: torch.lerp(value, end[name], 0.5) for name, value in first.items()}
        return evaluate(network_with(network, middle), data)[0]

    assert midway(aligned) < 0.5 * midway(second)


def test_union_by_hand() -> None:
    first, second = {"a": torch.tensor([True, True, False, False])}, {"a": torch.tensor([True, False, True, False])}
    assert union(first, second)["a"].tolist() == [True, True, True, False]


class Images(nn.Module):
    """Adds what it computes to the images' own channels, which must stay in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer, self.last = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 3, 1), nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.last((self.outer(torch.relu(self.inner(images))) + images).mean((2, 3)))


def test_channels_joined_to_the_images_stay() -> None:
    assert list(symmetries(Images())) == ["inner"]


class Reused(nn.Module):
    """Uses a term of a sum again after the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        first = self.first(images)
        second = self.second(torch.relu(first))
        return self.last(self.third(torch.relu(first + second)) + torch.relu(second))


def test_a_term_used_again_keeps_the_sums_permutation() -> None:
    network = Reused()
    moved = permuted(network, network.state_dict(), {"first": np.array([3, 1, 0, 2])})
    images, other = torch.rand(5, 3), Reused()
    other.load_state_dict(moved)
    assert list(symmetries(network)) == ["first"]
    torch.testing.assert_close(other(images), network(images))


class Averaging(nn.Module):
    """A mean over channels, not pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).mean((1, 2))


TWICE = nn.Linear(4, 4)


@pytest.mark.parametrize(("network", "step"), [
    (nn.Sequential(TWICE, nn.ReLU(), TWICE), "_0_1"),
    (nn.Sequential(nn.Conv2d(4, 4, 1, groups=2)), "_0"), (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), "_1"),
    (nn.Sequential(nn.Linear(3, 4), nn.Softmax(1)), "_1"), (Averaging(), "mean")])
def test_steps_that_may_mix_channels_are_refused_by_name(network: nn.Module, step: str) -> None:
    with pytest.raises(Problem, match=f"cannot align a {type(network).__name__}: what its step '{step}' does"):
        symmetries(network)


def test_a_diverged_state_is_refused() -> None:
    network = convnet()
    state = initial_state(network, 0)
    with pytest.raises(Problem, match="not finite"):
        align(network, state, {**state, "classifier.bias": torch.full((10,), torch.nan)}, seed=0)
