"""Masks: how many weights go, which, and what the others return to."""

from __future__ import annotations

import pytest
import torch
from nets import convnet, equal, resnet, trained_like
from torch.nn.utils import prune

from synthprune.models import initial_state, prunable
from synthprune.problems import Problem
from synthprune.pruning import (
    apply_masks,
    collapsed,
    dense_masks,
    keep_largest,
    prune_by_magnitude,
    random_like,
    remaining,
    rewound,
    severed,
    sparsity,
)


def levels(state: dict, names: list[str], count: int) -> list[dict]:
    masks = [dense_masks(state, names)]
    for _ in range(count):
        masks.append(prune_by_magnitude(state, masks[-1], 0.2))
    return masks


def test_counts_and_choice_are_those_of_torch_prune_level_by_level() -> None:
    network = convnet(8)
    state, names = initial_state(network, 3), prunable(network)
    real = convnet(8).to_empty(device="cpu")
    real.load_state_dict(state)
    pairs = [(module, "weight") for module in real.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    for masks in levels(state, names, 10)[1:]:
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=0.2)
        theirs = [module.weight_mask.bool() for module, _ in pairs]
        assert all(torch.equal(masks[name], mask) for name, mask in zip(names, theirs, strict=True))


def test_counts_equal_an_independent_count_under_ties() -> None:
    state = {"a.weight": torch.ones(7, 9), "b.weight": -torch.ones(5, 8)}
    left = 103
    for masks in levels(state, list(state), 12)[1:]:
        left -= round(0.2 * left)
        assert sum(int(mask.sum()) for mask in masks.values()) == left


def test_the_smallest_go_and_the_pruned_stay() -> None:
    state = {"a.weight": torch.tensor([0.1, -5.0, 0.3]), "b.weight": torch.tensor([-0.2, 4.0])}
    first = prune_by_magnitude(state, dense_masks(state, list(state)), 0.4)
    assert first["a.weight"].tolist() == [False, True, True] and first["b.weight"].tolist() == [False, True]
    grown = {"a.weight": torch.tensor([9.0, 1.0, 2.0]), "b.weight": torch.tensor([9.0, 3.0])}
    second = prune_by_magnitude(grown, first, 0.34)
    assert second["a.weight"].tolist() == [False, False, True] and second["b.weight"].tolist() == [False, True]


def test_among_equal_scores_the_first_go_first() -> None:
    scores = {"a": torch.tensor([1.0, 0.0, 1.0, 0.0]), "b": torch.tensor([0.0, 0.0, 2.0])}
    masks = keep_largest(scores, dense_masks(scores, ["a", "b"]), 4)
    assert masks["a"].tolist() == [True, False, True, False] and masks["b"].tolist() == [False, True, True]
    masks = keep_largest(scores, masks, 3)  # what is pruned ties with nobody
    assert masks["a"].tolist() == [True, False, True, False] and masks["b"].tolist() == [False, False, True]
    assert keep_largest(scores, masks, 3)["a"].tolist() == [True, False, True, False]


def test_remaining_weights_are_rounded_level_by_level() -> None:
    assert [remaining(13, 0.2, level) for level in range(5)] == [13, 10, 8, 6, 5]  # 13 less 3, 2, 2 and 1
    with pytest.raises(Problem, match="pruning 90% of 5 weights 3 times would leave none"):
        remaining(5, 0.9, 3)


def test_random_masks_keep_every_layers_count_and_nothing_else() -> None:
    network = convnet(16)
    state = initial_state(network, 3)
    masks = levels(state, prunable(network), 5)[-1]
    drawn, again, other = (random_like(masks, seed) for seed in (0, 0, 1))
    for name, mask in masks.items():
        assert drawn[name].shape == mask.shape and drawn[name].sum() == mask.sum()
        assert torch.equal(drawn[name], again[name]) and not torch.equal(drawn[name], other[name])


def test_every_choice_of_a_random_mask_is_equally_likely() -> None:
    masks = {"a.weight": torch.tensor([[True, False], [True, False]]), "b.weight": torch.tensor([True, False])}
    drawn = [random_like(masks, seed) for seed in range(1200)]
    chosen = [tuple(masks["a.weight"].flatten().tolist()) for masks in drawn]
    # Six pairs of four, each expected 200 times; standard deviation 13.
    assert len(set(chosen)) == 6 and all(abs(chosen.count(pair) - 200) < 55 for pair in set(chosen))


def test_paper_levels_are_what_the_paper_calls_them() -> None:
    network = convnet(16)
    state = initial_state(network, 0)
    found = [round(100 * sparsity(masks), 1) for masks in levels(state, prunable(network), 9)]
    assert (found[0], found[4], found[8], found[9]) == (0.0, 59.0, 83.2, 86.6)


def test_only_convolution_and_linear_weights_are_prunable() -> None:
    assert prunable(convnet()) == ["features.0.weight", "features.4.weight", "features.8.weight", "classifier.weight"]
    assert len(prunable(resnet())) == 13  # counted on the authors' class


@pytest.mark.parametrize("network", [convnet(), resnet()], ids=["instance", "batch"])
def test_full_rewind_restores_every_parameter_and_buffer_bit_for_bit(network: torch.nn.Module) -> None:
    initial, trained = initial_state(network, 5), trained_like(network)
    masks = prune_by_magnitude(trained, dense_masks(initial, prunable(network)), 0.5)
    start = rewound(initial, trained, masks, "full")
    assert equal(start, apply_masks(initial, masks))
    assert all(torch.equal(start[name], initial[name]) for name in initial if name not in masks)


@pytest.mark.parametrize("network", [convnet(), resnet()], ids=["instance", "batch"])
def test_weights_rewind_restores_the_prunable_weights_and_nothing_else(network: torch.nn.Module) -> None:
    initial, trained = initial_state(network, 5), trained_like(network)
    masks = prune_by_magnitude(trained, dense_masks(initial, prunable(network)), 0.5)
    start = rewound(initial, trained, masks, "weights")
    assert {name for name in initial if torch.equal(start[name], trained[name])} == set(initial) - set(masks)
    assert all(torch.equal(start[name], initial[name] * masks[name]) for name in masks)


def test_a_collapsed_layer_is_named() -> None:
    masks = {"features.0.weight": torch.ones(3, dtype=torch.bool), "classifier.weight": torch.zeros(3, dtype=torch.bool)}
    assert collapsed(masks) == ["classifier"]


def test_weights_that_are_not_finite_cannot_be_ranked() -> None:
    state = {"a.weight": torch.tensor([1.0, float("nan")])}
    with pytest.raises(Problem, match="diverged"):
        prune_by_magnitude(state, dense_masks(state, ["a.weight"]), 0.5)
    with pytest.raises(Problem, match="leave none"):
        prune_by_magnitude({"a.weight": torch.ones(1)}, {"a.weight": torch.ones(1, dtype=torch.bool)}, 0.9)


def test_one_path_left_is_a_path() -> None:
    network = convnet()
    masks = {name: torch.zeros_like(mask) for name, mask in dense_masks(initial_state(network, 0), prunable(network)).items()}
    masks["features.0.weight"][1, 0, 1, 1] = masks["features.4.weight"][2, 1, 1, 1] = True
    masks["classifier.weight"][5, 3 * 4] = True  # channel 3 of 4, 2 x 2 pixels each
    masks["features.8.weight"][3, 1, 1, 1] = True
    assert severed(network, masks, (1, 16, 16))
    masks["features.8.weight"][3, 2, 1, 1] = True
    assert not severed(network, masks, (1, 16, 16))


def test_a_dead_layer_severs_a_network_unless_a_shortcut_leads_around_it() -> None:
    for network, layer, cut in ((convnet(), "features.4.weight", True), (convnet(), "classifier.weight", True),
                                (resnet(), "stages.1.conv2.weight", False), (resnet(), "classifier.weight", True)):
        masks = dense_masks(initial_state(network, 0), prunable(network))
        assert not severed(network, masks, (1, 16, 16))
        masks[layer] = torch.zeros_like(masks[layer])
        assert severed(network, masks, (1, 16, 16)) == cut and collapsed(masks) == [layer.removesuffix(".weight")]
