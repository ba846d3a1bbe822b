"""What a training step costs beside forward, backward and update: `python benchmarks/step.py [width pixels batch]`.

Prints medians of 15 steps each, on one thread of an otherwise idle machine, and the share of everything else in a step.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from synthprune.data.augment import cutmix, diffaug
from synthprune.data.datasets import facts
from synthprune.models import build, initial_state, network_with, prunable
from synthprune.pruning import dense_masks, prune_by_magnitude
from synthprune.seeds import generator
from synthprune.training import Recipe, Resident, train


def median(work: Callable[[], object], times: int = 15) -> float:
    """Median seconds of `work`, after two runs to warm up."""
    seconds = []
    for turn in range(times + 2):
        begun = time.perf_counter()
        work()
        if turn >= 2:
            seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def main(width: int = 128, pixels: int = 32, batch: int = 64) -> None:
    torch.set_num_threads(1)
    known = facts("cifar10")
    network = build("convnet3", channels=3, pixels=pixels, classes=10, width=width, norm="instance")
    state = initial_state(network, 0)
    masks = prune_by_magnitude(state, dense_masks(state, prunable(network)), 0.87)
    images = np.random.default_rng(0).integers(0, 256, (batch, 3, pixels, pixels), dtype=np.uint8)
    data = Resident.of(images, np.arange(batch) % 10, known, "cpu")

    model = network_with(network, state).train()
    optimiser = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=5e-4, foreach=True)
    ready = data.batch(slice(None))

    def bare() -> None:
        optimiser.zero_grad()
        F.cross_entropy(model(ready), data.labels).backward()
        optimiser.step()

    steps = 10
    once = median(lambda: train(network, state, masks, data, Recipe(epochs=1, batch=batch), order_seed=0), 5)
    many = median(lambda: train(network, state, masks, data, Recipe(epochs=1 + steps, batch=batch), order_seed=0), 5)
    whole, core = (many - once) / steps, median(bare)
    hidden = [(mask, torch.randn(mask.shape)) for mask in masks.values()]

    def extras() -> None:
        rng = generator(0, "order", 0)
        rng.permutation(len(data))
        ready = diffaug(data.batch(slice(None)), generator(0, "augment", 1), flip=True)
        cutmix(ready, data.labels, rng, 1.0)
        for mask, gradient in hidden:
            gradient.mul_(mask)

    beside = median(extras)
    print(f"ConvNet-3 width {width}, {pixels} pixels, batch {batch}, torch {torch.__version__}, one thread")
    print(f"forward, backward, update   {1000 * core:8.2f} ms")
    print(f"whole training step         {1000 * whole:8.2f} ms")
    print(f"everything else, timed alone{1000 * beside:8.2f} ms, {100 * beside / whole:.1f} % of the step")
    print(f"whole less its three parts  {1000 * (whole - core):8.2f} ms, {100 * (whole - core) / whole:.1f} % of the step")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
