"""Planes through trained networks: geometry against other algebra, losses against the networks themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nets import convnet, noise, resnet, trained_like
from torch.nn.functional import cross_entropy

from synthprune.analysis.landscape import Mixtures, Plane, plane_through
from synthprune.models import State, initial_state, network_with, prunable
from synthprune.problems import Problem
from synthprune.pruning import apply_masks, dense_masks, prune_by_magnitude
from synthprune.training import evaluate


def siblings(network: torch.nn.Module, count: int) -> tuple[list[State], dict]:
    """Different states, with values in pruned places too, and masks that prune half."""
    initial = initial_state(network, 0)
    masks = prune_by_magnitude(initial, dense_masks(initial, prunable(network)), 0.5)
    return [trained_like(network, seed) for seed in range(1, count + 1)], masks


def parameters(network: torch.nn.Module, states: list[State], masks: dict) -> np.ndarray:
    """(models, parameters) float64, pruned weights zero."""
    names = [name for name, _ in network.named_parameters()]
    return np.array([np.concatenate([apply_masks(state, masks)[name].numpy().ravel().astype(np.float64) for name in names])
                     for state in states])


def axes(plane: Plane, models: np.ndarray) -> np.ndarray:
    """(parameters, 2): the plane's axes in the space of parameters."""
    return (models - models.mean(0)).T @ plane.directions


@pytest.mark.parametrize("count", [3, 4, 6])
def test_projections_are_those_of_least_squares(count: int) -> None:
    network = convnet()
    states, masks = siblings(network, count)
    plane, models = plane_through(network, states, masks), parameters(network, states, masks)
    basis, centred = axes(plane, models), models - models.mean(0)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-10)
    coordinates, *_ = np.linalg.lstsq(basis, centred.T)
    np.testing.assert_allclose(plane.coordinates, coordinates.T, atol=1e-9)
    np.testing.assert_allclose(plane.off_plane, np.linalg.norm(centred.T - basis @ coordinates, axis=0), atol=1e-9)
    for i in range(count):
        for j in range(count):
            assert plane.distances[i, j] == pytest.approx(math.dist(models[i], models[j]), abs=1e-9)


def test_no_plane_is_nearer_to_four_models() -> None:
    network = convnet()
    states, masks = siblings(network, 4)
    plane, models = plane_through(network, states, masks), parameters(network, states, masks)
    centred = models - models.mean(0)
    discarded = np.linalg.eigvalsh(centred @ centred.T)[:-2].sum()
    basis = axes(plane, models)
    for residual in ((plane.off_plane**2).sum(), ((centred - centred @ basis @ basis.T) ** 2).sum()):
        assert residual == pytest.approx(discarded, rel=1e-9) and residual > 0.1


def test_the_plane_of_three_is_exact() -> None:
    network = convnet()
    states, masks = siblings(network, 3)
    plane = plane_through(network, states, masks)
    assert plane.off_plane.max() < 1e-10 * plane.distances.max()
    np.testing.assert_allclose(plane.weights(plane.coordinates), np.eye(3), atol=1e-12)
    shown = np.linalg.norm(plane.coordinates[:, None] - plane.coordinates, axis=-1)
    np.testing.assert_allclose(shown, plane.distances, atol=1e-9)


def test_every_tetrahedron_of_equal_edges_is_as_far_from_its_plane_as_promised() -> None:
    network = convnet()
    states = [{name: torch.zeros_like(value) for name, value in initial_state(network, 0).items()} for _ in range(4)]
    for place, state in enumerate(states):
        state["features.0.weight"].view(-1)[place] = 1 / math.sqrt(2)
    plane = plane_through(network, states, {})
    assert plane.distances[~np.eye(4, dtype=bool)] == pytest.approx(1)
    assert math.sqrt((plane.off_plane**2).mean()) == pytest.approx(0.3536, abs=1e-4)


@pytest.mark.parametrize("count", [3, 4])
def test_axes_point_from_the_first_model_to_the_farthest_and_to_the_side_of_the_rest(count: int) -> None:
    network = convnet()
    for order in range(count):
        states, masks = siblings(network, count)
        x, y = plane_through(network, states[order:] + states[:order], masks).coordinates.T
        far = np.argmax(np.hypot(x - x[0], y - y[0]))
        assert y[far] == pytest.approx(y[0], abs=1e-9) and x[far] > x[0]
        assert (y - y[0])[np.argmax(np.abs(y - y[0]))] > 0


def test_the_grid_is_a_square_around_the_models_row_by_row() -> None:
    plane = Plane(np.array([[0.0, 0.0], [4.0, 0.0], [1.0, 2.0]]), np.zeros(3), np.zeros((3, 3)), np.zeros((3, 2)))
    points = plane.grid(5, margin=0.25)
    assert points.shape == (25, 2)
    np.testing.assert_allclose(points[:5, 0], [-1, 0.5, 2, 3.5, 5])
    np.testing.assert_allclose(points[::5, 1], [-2, -0.5, 1, 2.5, 4])
    np.testing.assert_allclose(points[:5, 1], -2)


def by_hand(network: torch.nn.Module, state: State) -> tuple[float, float, float, float]:
    """Loss, its standard error, error, its standard error; from all images at once in float64 statistics."""
    data = noise()
    with torch.no_grad():
        logits = network_with(network, state).eval()(data.batch(slice(None)))
    losses = cross_entropy(logits, data.labels, reduction="none").double().numpy()
    wrong = (logits.argmax(1) != data.labels).double().numpy()
    n = len(losses)
    return (losses.mean(), math.sqrt(((losses - losses.mean()) ** 2).sum() / (n - 1) / n),
            wrong.mean(), math.sqrt(wrong.mean() * (1 - wrong.mean()) / (n - 1)))


@pytest.mark.parametrize("network", [convnet(), resnet()], ids=["instance", "batch"])
def test_values_at_the_models_are_their_own(network: torch.nn.Module) -> None:
    states, masks = siblings(network, 3)
    plane, data = plane_through(network, states, masks), noise()
    mixtures = Mixtures(network, states, masks, data)
    themselves, projections = mixtures.losses(np.eye(3)), mixtures.losses(plane.weights(plane.coordinates))
    for place, state in enumerate(states):
        expected = by_hand(network, apply_masks(state, masks))
        for found in (themselves, projections):
            values = (found.loss[place], found.loss_deviation[place], found.error[place], found.error_deviation[place])
            assert values == pytest.approx(expected, rel=1e-5)
        loss, error = evaluate(network_with(network, apply_masks(state, masks)), data)
        assert (themselves.loss[place], themselves.error[place]) == pytest.approx((loss, error), rel=1e-6)
    assert len(set(themselves.loss)) == 3


def test_values_off_the_plane_are_those_of_the_projection_not_of_the_model() -> None:
    network = convnet()
    states, masks = siblings(network, 4)
    plane, models = plane_through(network, states, masks), parameters(network, states, masks)
    found = Mixtures(network, states, masks, noise()).losses(plane.weights(plane.coordinates))
    basis = axes(plane, models)
    for place, projection in enumerate(models.mean(0) + plane.coordinates @ basis.T):
        model = network_with(network, states[0])
        torch.nn.utils.vector_to_parameters(torch.from_numpy(projection).float(), model.parameters())
        assert found.loss[place] == pytest.approx(evaluate(model, noise())[0], rel=1e-5)


def test_chunks_change_nothing() -> None:
    network = resnet()
    states, masks = siblings(network, 4)
    plane = plane_through(network, states, masks)
    weights = plane.weights(plane.grid(4))
    whole = Mixtures(network, states, masks, noise()).losses(weights)
    mixtures = Mixtures(network, states, masks, noise())
    parts = [mixtures.losses(weights[begin:begin + 5]) for begin in (15, 10, 5, 0)]
    for name, values in vars(whole).items():
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts[::-1]]), values)


def test_masks_hold_and_statistics_are_possible_at_every_point() -> None:
    network = resnet()
    states, masks = siblings(network, 3)
    states[1]["stem.1.running_var"] += 9  # extrapolated away from this model, the variance would be negative
    plane, mixtures = plane_through(network, states, masks), Mixtures(network, states, masks, noise())
    weights = plane.weights(plane.grid(3, margin=2.0))
    variance = np.stack([state["stem.1.running_var"].numpy() for state in states])
    assert (weights @ variance).min() < 0
    for weight in weights:
        state = mixtures.state(torch.from_numpy(weight))
        assert all(torch.all(state[name][~mask] == 0) for name, mask in masks.items())
        assert sum(int((state[name] != 0).sum()) for name in masks) == sum(int(mask.sum()) for mask in masks.values())
        np.testing.assert_allclose(state["stem.1.running_var"], np.maximum(weight @ variance, 0), rtol=1e-6)
        mean = np.stack([each["stem.1.running_mean"].numpy() for each in states])
        np.testing.assert_allclose(state["stem.1.running_mean"], weight @ mean, rtol=1e-4, atol=1e-6)
    assert np.isfinite(mixtures.losses(weights).loss).all()


def test_models_that_span_no_plane_are_refused() -> None:
    network = convnet()
    first, second, third = siblings(network, 3)[0]
    middle = {name: torch.lerp(value, second[name], 0.3) for name, value in first.items()}
    for states in ([first, second, middle], [first, first, second], [first, first, first]):
        with pytest.raises(Problem, match="on one line"):
            plane_through(network, states, {})
    with pytest.raises(Problem, match="not finite"):
        plane_through(network, [first, second, {**third, "classifier.bias": third["classifier.bias"] * math.nan}], {})
    with pytest.raises(Problem, match="three states or more, not 2"):
        plane_through(network, [first, second], {})
