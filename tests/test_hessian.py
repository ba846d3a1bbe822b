"""Hessian diagonals against float64 double backward, entry by entry; eigenvalue and trace against a dense Hessian."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import convnet, resnet
from torch import Tensor, nn

from synthprune.analysis import hessian
from synthprune.analysis.hessian import BIN_EDGES, hessian_diagonal, histogram, leading_eigenvalue, route, summary, trace
from synthprune.models import Masks, State, build, initial_state, network_with, prunable, state_of
from synthprune.problems import Problem
from synthprune.pruning import dense_masks, prune_by_magnitude
from synthprune.seeds import generator

Case = tuple[nn.Module, State, Masks, Tensor, Tensor]

NETWORKS = {
    "instance norm": (convnet(4), (1, 16, 16)),
    "odd pooling": (build("convnet3", channels=3, pixels=18, classes=10, width=5, norm="instance"), (3, 18, 18)),
    "batch norm": (convnet(4, "batch"), (1, 16, 16)),
    "residual": (resnet(1), (1, 16, 16)),
    "fully connected": (build("lenet300", channels=1, pixels=8, classes=10, width=9, norm="batch"), (1, 8, 8)),
}


def case(kind: str, pruned: float) -> Case:
    """A network away from its initialisation (norms, biases and buffers too), masks, and 11 images: two parts of at most 8."""
    network, shape = NETWORKS[kind]
    rng = generator(0, "test/hessian")
    state = {name: value + 0.3 * torch.from_numpy(rng.random(value.shape, np.float32)) if value.is_floating_point() else value
             for name, value in initial_state(network, 0).items()}
    # Centred weights, so that the logits of a few random images do not saturate the softmax.
    state |= {name: state[name] - state[name].mean() for name in prunable(network)}
    masks = dense_masks(state, prunable(network))
    masks = prune_by_magnitude(state, masks, pruned) if pruned else masks
    images = torch.from_numpy(rng.standard_normal((11, *shape)))
    return network, state, masks, images, torch.from_numpy(rng.integers(0, 10, 11))


@cache
def dense_hessian(kind: str, pruned: float) -> Tensor:
    """The whole Hessian over all prunable weights in float64, by double backward."""
    network, state, masks, images, labels = case(kind, pruned)
    clean = {name: torch.where(masks[name], value, 0) if name in masks else value for name, value in state.items()}
    model = network_with(network, clean).double().eval()
    weights = [model.get_parameter(name) for name in masks]
    gradients = torch.autograd.grad(F.cross_entropy(model(images), labels), weights, create_graph=True)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    blocks = [torch.autograd.grad(flat, weights, rows, retain_graph=True, is_grads_batched=True)
              for rows in torch.eye(len(flat), dtype=torch.float64).split(64)]
    return torch.cat([torch.cat([part.flatten(1) for part in block], 1) for block in blocks])


def reference(kind: str, pruned: float) -> dict[str, Tensor]:
    masks = case(kind, pruned)[2]
    parts = dense_hessian(kind, pruned).diagonal().split([mask.numel() for mask in masks.values()])
    return {name: part.view(mask.shape) * mask for (name, mask), part in zip(masks.items(), parts, strict=True)}


@pytest.mark.parametrize("pruned", [0.0, 0.5])
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_entry_equals_double_backward(kind: str, pruned: float) -> None:
    network, state, masks, images, labels = case(kind, pruned)
    expected = reference(kind, pruned)
    exact = hessian_diagonal(network, state, masks, images, labels)
    single = hessian_diagonal(network, state, masks, images.float(), labels)
    assert exact.keys() == single.keys() == expected.keys()
    for name, value in expected.items():
        largest = float(value.abs().max())
        assert largest > 1e-6  # a saturated softmax would make every answer right
        assert single[name].dtype == torch.float32
        torch.testing.assert_close(exact[name], value, rtol=0, atol=1e-11 * largest)
        torch.testing.assert_close(single[name].double(), value, rtol=0, atol=1e-5 * largest)


def test_a_pruned_weight_has_exactly_zero_whatever_the_state_holds_there() -> None:
    for kind in ("instance norm", "residual"):
        network, state, masks, images, labels = case(kind, 0.5)
        diagonal = hessian_diagonal(network, state, masks, images.float(), labels)
        assert any(torch.any(state[name][~mask] != 0) for name, mask in masks.items())
        assert all(torch.all(diagonal[name][~mask] == 0) for name, mask in masks.items())
        # That the zeros are the mask's doing: without it the same network has something there.
        clean = {name: state[name] * masks[name] if name in masks else state[name] for name in state}
        full = hessian_diagonal(network, clean, dense_masks(state, list(masks)), images.float(), labels)
        assert any(torch.any(full[name][~mask] != 0) for name, mask in masks.items())
        for name, mask in masks.items():
            torch.testing.assert_close(full[name][mask], diagonal[name][mask])


@pytest.mark.parametrize("kind", ["instance norm", "residual"])
def test_chunks_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, state, masks, images, labels = case(kind, 0.5)
    once = hessian_diagonal(network, state, masks, images, labels)
    for images_at_once, numbers in ((3, 1), (11, 700), (1, 2**22)):
        monkeypatch.setattr(hessian, "_IMAGES", images_at_once)
        monkeypatch.setattr(hessian, "_NUMBERS", numbers)
        for name, value in hessian_diagonal(network, state, masks, images, labels).items():
            torch.testing.assert_close(value, once[name], rtol=1e-10, atol=1e-14)


def test_cost_falls_with_sparsity(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    behind = hessian._curvature_behind
    monkeypatch.setattr(hessian, "_curvature_behind", lambda *args: seen.append(len(args[1])) or behind(*args))
    network, state, masks, images, labels = case("instance norm", 0.8)
    hessian_diagonal(network, state, masks, images, labels)
    first, second, *_ = masks.values()
    assert sum(seen) == len(images) * int(first.sum() + second.sum()) < len(images) * (first.numel() + second.numel())


def test_the_gauss_newton_diagonal_alone_is_wrong_for_instance_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    network, state, masks, images, labels = case("instance norm", 0.0)
    expected = reference("instance norm", 0.0)["features.0.weight"]
    assert expected.min() < 0
    monkeypatch.setattr(hessian, "route", lambda _: "piecewise linear")
    shortcut = hessian_diagonal(network, state, masks, images, labels)["features.0.weight"]
    assert shortcut.min() >= 0
    assert float((shortcut - expected).norm() / expected.norm()) > 0.1


def test_route_by_what_the_network_contains() -> None:
    assert {kind: route(network) for kind, (network, _) in NETWORKS.items()} == {
        "instance norm": "instance norm", "odd pooling": "instance norm", "batch norm": "piecewise linear",
        "residual": "piecewise linear", "fully connected": "piecewise linear"}
    curved = build("resnet10", channels=1, pixels=16, classes=10, width=2, norm="instance")
    with pytest.raises(Problem, match="ResNet with GroupNorm: take batch norm"):
        route(curved)
    smooth = convnet()
    smooth.features[2] = nn.GELU()
    with pytest.raises(Problem, match="ConvNet3 with GELU: of activations ReLU alone"):
        route(smooth)
    dropping = convnet()
    dropping.features[2] = nn.Dropout()
    with pytest.raises(Problem, match="ConvNet3 with Dropout: known are"):
        route(dropping)
    shared = convnet()
    shared.features[1] = nn.GroupNorm(2, 4)
    with pytest.raises(Problem, match="ConvNet3 with"):
        route(shared)


def test_a_diverged_network_is_named() -> None:
    network, state, masks, images, labels = case("instance norm", 0.0)
    state["features.4.weight"][0, 0, 0, 0] = torch.nan
    with pytest.raises(Problem, match=r"Hessian diagonal of features\.0\.weight is not finite"):
        hessian_diagonal(network, state, masks, images, labels)


@pytest.mark.parametrize("kind", ["instance norm", "batch norm", "fully connected"])
def test_leading_eigenvalue_is_the_dense_hessians_over_survivors(kind: str) -> None:
    network, state, masks, images, labels = case(kind, 0.5)
    alive = torch.cat([mask.flatten() for mask in masks.values()])
    expected = float(torch.linalg.eigvalsh(dense_hessian(kind, 0.5)[alive][:, alive])[-1])
    whole = float(torch.linalg.eigvalsh(dense_hessian(kind, 0.5))[-1])
    found = leading_eigenvalue(network, state, masks, images.float(), labels, seed=0)
    assert found == pytest.approx(expected, rel=1e-3)
    assert whole != pytest.approx(expected, rel=1e-2)  # so that forgetting the mask would be seen
    torch.manual_seed(5)  # a global seed is nothing to us
    assert leading_eigenvalue(network, state, masks, images.float(), labels, seed=0) == found


@pytest.mark.parametrize("kind", ["instance norm", "residual"])
def test_trace_agrees_with_the_exact_diagonal_within_its_error(kind: str) -> None:
    network, state, masks, images, _ = case(kind, 0.5)
    # Labels the network agrees with, so that the diagonal's entries do not cancel in the sum.
    labels = network_with(network, state).eval()(images.float()).argmax(1)
    exact = sum(float(value.sum()) for value in hessian_diagonal(network, state, masks, images, labels).values())
    mean, error = trace(network, state, masks, images.float(), labels, probes=40, seed=0)
    assert abs(mean - exact) < 3 * error
    assert 2 * error < exact
    few = [trace(network, state, masks, images.float(), labels, probes=2, seed=seed) for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]


def test_no_product_with_the_hessian_of_a_norm_over_groups() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.LazyLinear(3))
    images, labels = torch.zeros(2, 1, 6, 6), torch.arange(2)
    network(images)
    state = state_of(network)
    with pytest.raises(Problem, match="no product with the Hessian for a GroupNorm of 2 groups over 4 channels"):
        leading_eigenvalue(network, state, dense_masks(state, prunable(network)), images, labels, seed=0)


def test_the_traces_error_is_its_spread() -> None:
    network, state, masks, images, labels = case("fully connected", 0.5)
    estimates = np.array([trace(network, state, masks, images.float(), labels, probes=8, seed=seed) for seed in range(40)])
    assert np.mean(estimates[:, 1]) == pytest.approx(np.std(estimates[:, 0], ddof=1), rel=0.35)


def test_summary_counts_survivors_and_all() -> None:
    diagonal = {"a.weight": torch.tensor([[-3.0, 0.0], [1.0, 0.0]]), "b.weight": torch.tensor([2.0, 0.0]),
                "c.weight": torch.zeros(2)}
    masks = {"a.weight": torch.tensor([[True, False], [True, True]]), "b.weight": torch.tensor([True, False]),
             "c.weight": torch.tensor([False, False])}
    table = summary(diagonal, masks)
    assert table["survivors"]["a.weight"] == pytest.approx(
        {"min": -3, "max": 1, "mean": -2 / 3, "std": np.std([-3, 1, 0]), "magnitude": 4 / 3})
    assert table["survivors"]["overall"] == pytest.approx(
        {"min": -3, "max": 2, "mean": 0, "std": np.std([-3, 1, 0, 2]), "magnitude": 1.5})
    assert table["all"]["overall"] == pytest.approx(
        {"min": -3, "max": 2, "mean": 0, "std": np.std([-3, 0, 1, 0, 2, 0, 0, 0]), "magnitude": 0.75})
    assert table["all"]["b.weight"]["min"] == 0 and table["survivors"]["b.weight"]["min"] == 2
    assert "c.weight" not in table["survivors"] and table["all"]["c.weight"]["max"] == 0


def test_histogram_counts_every_survivor_once() -> None:
    np.testing.assert_allclose(BIN_EDGES, -BIN_EDGES[::-1])
    values = torch.tensor([-1e9, -0.5, -1e-9, 0.0, 1e-9, 0.5, 1e9, 0.5])
    masks = {"a.weight": torch.tensor([True] * 7 + [False])}
    counts = histogram({"a.weight": values}, masks)["a.weight"]
    assert counts.dtype == np.int64 and counts.shape == (len(BIN_EDGES) - 1,)
    assert counts.sum() == 7 and counts[0] == counts[-1] == 1
    assert counts[len(counts) // 2] == 3
    assert counts[np.searchsorted(BIN_EDGES, 0.5, "right") - 1] == counts[np.searchsorted(BIN_EDGES, -0.5, "right") - 1] == 1
