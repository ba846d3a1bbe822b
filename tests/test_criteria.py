"""Pruning at initialisation: each criterion against a computation that shares nothing with it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import convnet, resnet
from torch import nn

from synthprune import criteria
from synthprune.criteria import CRITERIA, prune_at_initialisation, snip_scores, synflow_scores
from synthprune.models import Masks, State, build, initial_state, prunable, state_of
from synthprune.problems import Problem
from synthprune.pruning import collapsed, dense_masks, keep_largest, prune_by_magnitude, severed


def some_images(count: int = 6, pixels: int = 16, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.standard_normal((count, channels, pixels, pixels), np.float32)), torch.arange(count) % 10


def pruned(network: torch.nn.Module, criterion: str, level: int, seed: int = 0, images: torch.Tensor | None = None) -> Masks:
    default, labels = some_images()
    return prune_at_initialisation(network, initial_state(network, 3), criterion, level=level, fraction=0.2,
                                   images=default if images is None else images, labels=labels, seed=seed)


def small_mlp() -> torch.nn.Module:
    """4 inputs, hidden layers of 6 and 2, 3 classes: 144 paths."""
    return build("lenet300", channels=1, pixels=2, classes=3, width=6, norm="instance")


def test_magnitude_is_a_sort() -> None:
    network = convnet()
    state = initial_state(network, 3)
    masks = pruned(network, "magnitude", 6)
    everything = np.concatenate([state[name].abs().numpy().ravel() for name in masks])
    chosen = np.concatenate([mask.numpy().ravel() for mask in masks.values()])
    assert everything[~chosen].max() < everything[chosen].min()


@pytest.mark.parametrize("network", [convnet(2), resnet(1)], ids=["instance", "batch"])
def test_snip_is_the_slope_of_the_loss_along_each_mask(network: torch.nn.Module) -> None:
    images, labels = some_images()
    state = {name: value.double() if value.is_floating_point() else value for name, value in initial_state(network, 3).items()}
    scores = snip_scores(network.double(), state, images.double(), labels)
    assert list(scores) == prunable(network)

    def loss(name: str, entry: int, kept: float) -> float:
        mask = torch.ones_like(state[name])
        mask.view(-1)[entry] = kept
        logits = torch.func.functional_call(network.eval(), state | {name: state[name] * mask}, (images.double(),))
        return float(F.cross_entropy(logits, labels))

    rng, h = np.random.default_rng(1), 1e-5
    for name, score in scores.items():
        for entry in rng.choice(score.numel(), min(8, score.numel()), replace=False):
            slope = (loss(name, int(entry), 1 + h) - loss(name, int(entry), 1 - h)) / (2 * h)
            assert float(score.view(-1)[entry]) == pytest.approx(abs(slope), rel=1e-5, abs=1e-9)


def test_snip_scores_do_not_depend_on_how_the_images_are_split() -> None:
    network = convnet()
    images, labels = (part.repeat(13, *[1] * (part.dim() - 1)) for part in some_images(10))  # 130 images: 64, 64 and 2
    whole, once = (snip_scores(network, initial_state(network, 3), images[:n], labels[:n]) for n in (130, 10))
    assert all(torch.allclose(whole[name], once[name], rtol=1e-3, atol=1e-8) for name in whole)


def paths_by_hand(weights: list[np.ndarray]) -> list[np.ndarray]:
    """For each weight of an MLP, the sum over every path through it of the product of the path's |weights|."""
    first, second, third = (np.abs(w) for w in weights)
    scores = [np.zeros_like(w) for w in (first, second, third)]
    for i, j, k, o in itertools.product(range(first.shape[1]), range(6), range(2), range(3)):
        product = first[j, i] * second[k, j] * third[o, k]
        scores[0][j, i] += product
        scores[1][k, j] += product
        scores[2][o, k] += product
    return scores


def test_synflow_scores_are_sums_over_paths() -> None:
    network = small_mlp()
    state = initial_state(network, 3)
    masks = prune_by_magnitude(state, dense_masks(state, prunable(network)), 0.4)
    scores = synflow_scores(network, state, masks, (1, 2, 2))
    expected = paths_by_hand([(state[name] * mask).double().numpy() for name, mask in masks.items()])
    assert all(score.dtype == torch.float64 for score in scores.values())
    assert all(np.allclose(score, by_hand, rtol=1e-12) for score, by_hand in zip(scores.values(), expected, strict=True))


def test_synflow_masks_are_those_of_a_hundred_rounds_by_hand() -> None:
    network = small_mlp()
    state = initial_state(network, 3)
    weights = [state[name].double().numpy() for name in prunable(network)]
    kept = 42  # of 24 + 12 + 6
    for _ in range(7):
        kept -= round(0.2 * kept)
    alive = np.ones(42, bool)
    for done in range(1, 101):
        masked, begin = [], 0
        for weight in weights:
            masked.append(weight * alive[begin:begin + weight.size].reshape(weight.shape))
            begin += weight.size
        score = np.concatenate([part.ravel() for part in paths_by_hand(masked)])
        ranked = sorted(np.flatnonzero(alive), key=lambda n: (score[n], n))
        alive[ranked[:alive.sum() - round(42 * math.exp(math.log(kept / 42) * done / 100))]] = False
    masks = pruned(network, "synflow", 7, images=torch.zeros(1, 1, 2, 2))
    assert np.array_equal(np.concatenate([mask.numpy().ravel() for mask in masks.values()]), alive)


def test_synflow_removes_the_same_share_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [sum(weight.numel() for weight in pruned(convnet(8), "magnitude", 0).values())]

    def counted(scores: State, masks: Masks, kept: int) -> Masks:
        counts.append(kept)
        return keep_largest(scores, masks, kept)

    monkeypatch.setattr(criteria, "keep_largest", counted)
    masks = pruned(convnet(8), "synflow", 6)
    shares = [after / before for before, after in itertools.pairwise(counts)]
    assert len(shares) == 100 and shares == pytest.approx([0.8 ** (6 / 100)] * 100, abs=2e-3) and count(masks) == counts[-1]


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_same_flow_passes_every_layer(norm: str) -> None:
    network = convnet(4, norm)
    state = initial_state(network, 3)
    masks = prune_by_magnitude(state, dense_masks(state, prunable(network)), 0.5)
    layers = [float(score.sum()) for score in synflow_scores(network, state, masks, (1, 16, 16)).values()]
    assert layers == pytest.approx([layers[0]] * 4, rel=1e-12) and layers[0] > 0


def test_the_same_flow_passes_every_cut_of_a_residual_network() -> None:
    network = resnet()
    state = initial_state(network, 3)
    scores = synflow_scores(network, state, dense_masks(state, prunable(network)), (1, 16, 16))
    flow = {name.removesuffix(".weight"): float(score.sum()) for name, score in scores.items()}
    for block in range(1, 4):
        inner, outer, shortcut = (flow[f"stages.{block}.{part}"] for part in ("conv1", "conv2", "shortcut.0"))
        assert inner == pytest.approx(outer, rel=1e-12)
        assert outer + shortcut == pytest.approx(flow["classifier"], rel=1e-12)
    assert flow["stem.0"] == pytest.approx(flow["classifier"], rel=1e-12)


def test_synflow_looks_at_no_bias_norm_or_image() -> None:
    network = convnet()
    state = initial_state(network, 3)
    other = {name: value if name in prunable(network) else torch.full_like(value, 7.0) for name, value in state.items()}
    masks = dense_masks(state, prunable(network))
    scores, same = (synflow_scores(network, given, masks, (1, 16, 16)) for given in (state, other))
    assert all(torch.equal(scores[name], same[name]) for name in scores)
    assert same_masks(pruned(network, "synflow", 3), pruned(network, "synflow", 3, images=torch.full((1, 1, 16, 16), torch.nan)))


def test_synflow_collapses_no_layer_where_magnitude_does() -> None:
    # At 32 pixels the classifier's weights are drawn from the narrowest interval, so magnitude takes them all first.
    network = build("convnet3", channels=1, pixels=32, classes=10, width=8, norm="instance")
    images = torch.zeros(1, 1, 32, 32)
    assert collapsed(pruned(network, "magnitude", 9, images=images)) == ["classifier"]
    assert collapsed(pruned(network, "synflow", 9, images=images)) == []
    # Maximal critical compression: one weight a layer still makes a path.
    masks = pruned(network, "synflow", 26, images=images)
    assert sum(int(mask.sum()) for mask in masks.values()) < 12 and collapsed(masks) == []


def test_synflow_leaves_a_path_though_it_empties_layers_that_a_shortcut_leads_around() -> None:
    network = resnet(4)
    assert collapsed(pruned(network, "synflow", 26)) == ["stages.3.conv1", "stages.3.conv2"]
    assert not severed(network, pruned(network, "synflow", 26), (1, 16, 16))
    assert severed(network, pruned(network, "magnitude", 12), (1, 16, 16))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_level_keeps_as_many_as_iterative_magnitude_pruning(criterion: str) -> None:
    network = convnet(2)
    state = initial_state(network, 3)
    masks = dense_masks(state, prunable(network))
    for level in range(13):
        if level:
            masks = prune_by_magnitude(state, masks, 0.2)
        assert count(pruned(network, criterion, level)) == count(masks)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_same_seed_same_mask_and_only_random_listens_to_it(criterion: str) -> None:
    first, again, other = (pruned(convnet(2), criterion, 4, seed) for seed in (0, 0, 1))
    assert same_masks(first, again)
    assert same_masks(first, other) == (criterion != "random")


def test_random_scores_are_uniform_over_all_weights() -> None:
    masks = pruned(convnet(32), "random", 4)
    kept = count(masks) / sum(mask.numel() for mask in masks.values())
    for mask in masks.values():
        assert float(mask.float().mean()) == pytest.approx(kept, abs=4 * math.sqrt(kept * (1 - kept) / mask.numel()))


def test_nothing_of_the_network_or_the_state_is_changed() -> None:
    network = resnet()
    state = initial_state(network, 3)
    before: State = {name: value.clone() for name, value in state.items()}
    images, labels = some_images()
    for criterion in CRITERIA:
        prune_at_initialisation(network, state, criterion, level=2, fraction=0.2, images=images, labels=labels, seed=0)
    assert all(torch.equal(state[name], before[name]) for name in before)
    assert network.training and all(parameter.is_meta and parameter.grad is None for parameter in network.parameters())
    assert prunable(network) == prunable(resnet()) and [*network.state_dict()] == [*resnet().state_dict()]


def test_bad_requests_are_named() -> None:
    with pytest.raises(Problem, match="unknown pruning criterion 'snipp': did you mean 'snip'"):
        pruned(convnet(), "snipp", 1)
    with pytest.raises(Problem, match="not finite"):
        pruned(convnet(), "snip", 1, images=torch.full((6, 1, 16, 16), torch.nan))


def test_whole_numbers_are_scores_too() -> None:
    network = convnet()

    def ranks(network: nn.Module) -> State:
        return {name: weight.detach().abs().flatten().argsort().argsort().view_as(weight)
                for name, weight in network.named_parameters()}

    masks = pruned(network, ranks, 2)
    assert count(masks) == count(pruned(network, "magnitude", 2)) and masks.keys() == set(prunable(network))


class Blurred(nn.Module):
    """A filter that is no weight, behind a norm that is in no list of ours."""

    def __init__(self, norm: nn.Module, gain: bool = False) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(1, 2, 3, padding=1), norm, nn.Linear(2, 3)
        self.register_buffer("kernel", torch.full((2, 1, 3, 3), 1 / 9))
        self.gain = nn.Parameter(torch.ones(1)) if gain else 1.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = F.conv2d(self.norm(self.first(images)), self.kernel, padding=1, groups=2)
        return self.last(self.gain * F.relu(images).mean((2, 3)))


@pytest.mark.parametrize("norm", [nn.Identity(), nn.InstanceNorm2d(2), nn.InstanceNorm2d(2, affine=True), nn.RMSNorm(16)])
def test_synflow_passes_any_norm_and_filter(norm: nn.Module) -> None:
    plain, network = Blurred(nn.Identity()), Blurred(norm)
    network.load_state_dict(plain.state_dict(), strict=False)
    masks = dense_masks(state_of(plain), prunable(plain))
    wanted, found = (synflow_scores(one, state_of(one), masks, (1, 16, 16)) for one in (plain, network))
    assert all(torch.equal(found[name], score) and score.sum() > 0 for name, score in wanted.items())


def test_synflow_says_where_nothing_flows() -> None:
    network = Blurred(nn.Identity(), gain=True)
    with pytest.raises(Problem, match="synflow finds no path .* a gain that is no weight"):
        synflow_scores(network, state_of(network), dense_masks(state_of(network), prunable(network)), (1, 16, 16))


def count(masks: Masks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def same_masks(first: Masks, second: Masks) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
