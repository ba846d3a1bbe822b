"""Paths between trained networks: ends exact, masks applied, statistics recomputed, barriers by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import convnet, equal, noise, resnet, some_digits, trained_like
from torch import nn

from synthprune.analysis.barriers import ends, highest_barrier, midpoint_barrier
from synthprune.analysis.connectivity import interpolate, path_losses, refresh_statistics
from synthprune.models import initial_state, network_with, prunable, state_of
from synthprune.pruning import dense_masks, prune_by_magnitude
from synthprune.training import Recipe, evaluate, train


def masks_of(network: torch.nn.Module) -> dict:
    state = initial_state(network, 0)
    return prune_by_magnitude(state, dense_masks(state, prunable(network)), 0.5)


def test_ends_are_the_ends_bit_for_bit() -> None:
    network = resnet()
    first, second = trained_like(network, 1), trained_like(network, 2)
    assert equal(interpolate(first, second, 0.0, {}), first)
    end = interpolate(first, second, 1.0, {})
    assert all(torch.equal(end[name], second[name]) for name in end if end[name].is_floating_point())


def test_the_middle_is_the_mean_and_the_mask_holds_at_every_point() -> None:
    network = convnet()
    masks = masks_of(network)
    first, second = trained_like(network, 1), trained_like(network, 2)  # pruned weights hold values in both
    for beta in (0.0, 0.3, 0.5, 1.0):
        blend = interpolate(first, second, beta, masks)
        for name, mask in masks.items():
            assert torch.all(blend[name][~mask] == 0)
            torch.testing.assert_close(blend[name][mask], ((1 - beta) * first[name] + beta * second[name])[mask])


def test_a_path_evaluates_the_masked_network() -> None:
    network, data = convnet(), noise()
    masks, dirty = masks_of(network), trained_like(network)
    clean = {name: value * masks[name] if name in masks else value for name, value in dirty.items()}
    path = path_losses(network, dirty, dirty, masks, data, data, points=3)
    assert path.train_loss[0] == evaluate(network_with(network, clean), data)[0]


def test_the_same_order_twice_has_a_barrier_of_exactly_zero() -> None:
    network, data, test = convnet(), some_digits(), some_digits(split="test")
    state, _ = train(network, initial_state(network, 0), {}, data, Recipe(epochs=2, batch=16), order_seed=0)
    path = path_losses(network, state, dict(state), {}, data, test, points=5)
    for values in (path.train_loss, path.train_error, path.test_loss, path.test_error):
        assert midpoint_barrier(values) == 0 and highest_barrier(values) == 0


def test_two_initialisations_have_a_large_barrier() -> None:
    network, data, test = convnet(8), some_digits(50), some_digits(50, "test")
    recipe = Recipe(epochs=8, lr=0.05, augment=False, cutmix=0.0)
    first, second = (train(network, initial_state(network, seed), {}, data, recipe, order_seed=0)[0] for seed in (0, 1))
    path = path_losses(network, first, second, {}, data, test, points=5)
    assert highest_barrier(path.train_error) > 0.2 and midpoint_barrier(path.train_loss) > 0.5


def test_train_and_test_are_not_mistaken_for_each_other() -> None:
    network, train_data, test_data = convnet(), noise(30, 0), noise(20, 1)
    state = trained_like(network)
    path = path_losses(network, state, state, {}, train_data, test_data, points=3)
    model = network_with(network, state)
    assert (path.train_loss[0], path.train_error[0]) == evaluate(model, train_data)
    assert (path.test_loss[0], path.test_error[0]) == evaluate(model, test_data)
    assert path.train_loss[0] != path.test_loss[0]


def test_statistics_are_recomputed_at_every_point_ends_included() -> None:
    network, data = resnet(), noise()
    first, second = trained_like(network, 1), trained_like(network, 2)
    path = path_losses(network, first, second, {}, data, data, points=3, recompute_statistics=True)
    for place, beta in enumerate((0.0, 0.5, 1.0)):
        model = network_with(network, interpolate(first, second, beta, {}))
        with torch.no_grad():  # one batch: the statistics of the batch itself, as training mode uses them
            logits = model.train()(data.batch(slice(None)))
        loss = float(torch.nn.functional.cross_entropy(logits, data.labels))
        assert path.train_loss[place] == pytest.approx(loss, rel=0.02)  # running variance is the unbiased one
        raw = evaluate(network_with(network, interpolate(first, second, beta, {})), data)[0]
        assert path.train_loss[place] != raw


def test_interpolated_statistics_are_those_of_both_ends() -> None:
    network = resnet()
    first, second = trained_like(network, 1), trained_like(network, 2)
    blend = interpolate(first, second, 0.5, {})
    for name in ("stem.1.running_mean", "stem.1.running_var"):
        torch.testing.assert_close(blend[name], (first[name] + second[name]) / 2)
        assert not torch.equal(first[name], second[name])


def test_refreshed_statistics_are_the_datas() -> None:
    network, data = resnet(), noise()
    model = network_with(network, trained_like(network))
    refresh_statistics(model, data, batch=40)
    with torch.no_grad():
        stem = model.stem[0](data.batch(slice(None)))
    torch.testing.assert_close(model.stem[1].running_mean, stem.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_refreshed_statistics_are_the_same_each_time_and_of_every_batch_norm() -> None:
    network, data = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(256, 8), nn.BatchNorm1d(8)), noise()
    for _ in range(2):
        model = network_with(network, state_of(network))
        refresh_statistics(model, data, batch=40)
        with torch.no_grad():
            wanted = model[2](data.batch(slice(None)).flatten(1)).mean(0)
        torch.testing.assert_close(model[3].running_mean, wanted, rtol=1e-4, atol=1e-5)


def test_barriers_by_hand() -> None:
    curve = np.array([1.0, 2.0, 1.5, 4.0, 3.0])
    assert ends(curve) == 2.0 and midpoint_barrier(curve) == -0.5 and highest_barrier(curve) == 2.0
    assert highest_barrier(np.array([[1.0, 1.0, 1.0], [0.0, 5.0, 2.0]])).tolist() == [0.0, 4.0]


def test_an_even_number_of_points_has_no_middle() -> None:
    with pytest.raises(ValueError, match="odd"):
        path_losses(convnet(), {}, {}, {}, noise(), noise(), points=10)
