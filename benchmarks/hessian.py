"""The exact Hessian diagonal against one Hessian-vector product per weight: `python -m benchmarks.hessian`,
into RESULTS.md.

ConvNet-3, width 128, 32 pixels, batch 64, 87 % sparsity. CPU seconds of one thread, the two taken in turn, eight images of
the diagonal against a share of 50 products over the whole batch, so that other work on the machine weighs on both. Then the
difference from float64 on sampled survivors of every layer, relative to the layer's largest entry. Takes some minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.table import Row, record
from synthprune.analysis.hessian import hessian_diagonal
from synthprune.models import Masks, State, build, initial_state, network_with, prunable
from synthprune.pruning import apply_masks, dense_masks, prune_by_magnitude, sparsity
from synthprune.seeds import generator

PRODUCTS = 50
SAMPLES = 5


def sparse_masks(state: State, names: list[str], target: float) -> Masks:
    """Masks of sparsity `target` that keep the first convolution whole: its weights cost the most, so the dear case."""
    masks = dense_masks(state, names)
    total, first = sum(mask.numel() for mask in masks.values()), masks[names[0]].numel()
    fraction = target * total / (total - first)
    return masks | {name: prune_by_magnitude(state, {name: masks[name]}, fraction)[name] for name in names[1:]}


def gradients(model: nn.Module, names: list[str], images: Tensor, labels: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """The weights and the loss's gradient there, differentiable once more."""
    weights = [model.get_parameter(name) for name in names]
    return weights, torch.autograd.grad(F.cross_entropy(model(images), labels), weights, create_graph=True)


def cpu_seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    torch.set_num_threads(1)
    network = build("convnet3", channels=3, pixels=32, classes=10, width=128, norm="instance")
    state = initial_state(network, 0)
    names = prunable(network)
    masks = sparse_masks(state, names, 0.87)
    survivors = sum(int(mask.sum()) for mask in masks.values())
    rng = generator(0, "benchmark/hessian")
    images = torch.from_numpy(rng.standard_normal((64, 3, 32, 32)).astype("float32"))
    labels = torch.from_numpy(rng.integers(0, 10, 64))

    model = network_with(network, apply_masks(state, masks)).eval()
    # The graph of the gradient is kept: the fastest way to many products.
    weights, gradient = gradients(model, names, images, labels)
    vectors = [torch.from_numpy(rng.standard_normal(weight.shape).astype("float32")) for weight in weights]
    parts: list[dict[str, Tensor]] = []
    exact, products = [], []
    rounds = len(images) // 8
    for few_images, few_labels, share in zip(images.split(8), labels.split(8), torch.arange(PRODUCTS).chunk(rounds),
                                             strict=True):
        exact.append(cpu_seconds(lambda i=few_images, y=few_labels: parts.append(hessian_diagonal(network, state, masks, i, y))))
        products.append(sum(cpu_seconds(lambda: torch.autograd.grad(gradient, weights, vectors, retain_graph=True))
                            for _ in share) / len(share))
    rows = [Row(f"exact Hessian diagonal of {survivors:,} weights, {sparsity(masks):.0%} sparsity, width 128, batch 64",
                "a product with the Hessian for each weight", "at least 300 times less",
                [product * survivors / (rounds * few) for few, product in zip(exact, products, strict=True)], "times less"),
            Row("the same, alone", "", "within 600 on two cores", [sum(exact)], "CPU-seconds")]

    weights, gradient = gradients(model.double(), names, images.double(), labels)
    for name, weight, slope in zip(names, weights, gradient, strict=True):
        value = torch.stack([part[name] for part in parts]).mean(0).flatten()
        alive = masks[name].flatten().nonzero().flatten().numpy()
        worst = 0.0
        for index in [int(value.abs().argmax()), *rng.choice(alive, SAMPLES - 1, replace=False)]:
            row, = torch.autograd.grad(slope.flatten()[index], weight, retain_graph=True)
            worst = max(worst, abs(float(row.flatten()[index]) - float(value[index])))
        rows.append(Row(f"its difference from float64, {SAMPLES} weights of {name}", "the layer's largest entry", "at most 1e-5",
                        [worst / float(value.abs().max())]))
    record("python -m benchmarks.hessian", rows)


if __name__ == "__main__":
    main()
