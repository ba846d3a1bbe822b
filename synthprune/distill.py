"""Distribution matching on the multi-formation parameterisation: a synthetic set of one's own within minutes.

Zhao and Bilen (2023) for the objective, Kim et al. (2022) for storing factor^2 images in one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthprune.data.augment import diffaug
from synthprune.data.datasets import Split
from synthprune.data.synthetic import SyntheticSet, decode, random_real
from synthprune.models import build, initial_state, network_with
from synthprune.seeds import generator

Look = Callable[[int], None]
"""Told how many steps are done."""


def distribution_matching(split: Split, *, ipc: int, factor: int, steps: int, lr: float, real_batch: int, width: int,
                          seed: int, device: str = "cpu", look: Look | None = None) -> SyntheticSet:
    """Distil `ipc` stored images per class, seen at decode `factor`, from `split`'s training images.

    Every step draws a random untrained ConvNet-3 of `width` and moves the synthetic images so that, class by class,
    the mean of its last convolutional features over them comes nearer that over `real_batch` real images, both under
    one shared augmentation: loss = sum over classes of ||mean f(real) - mean f(synthetic)||^2. SGD on the pixels with
    momentum .5, clamped to [0, 1]. Starts from random real images pasted at the same factor. `look` is told each step that
    is done. Needs images of at least 16 pixels, uint8 or floats in [0, 1]; memory grows with
    classes * (real_batch + ipc * factor^2).
    """
    facts, classes = split.facts, len(split.facts.classes)
    start = random_real(split, ipc, factor, seed)
    images = torch.from_numpy(start.images).to(device).requires_grad_()
    mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (facts.mean, facts.std))
    optimiser = torch.optim.SGD([images], lr, momentum=0.5)
    shape = build("convnet3", channels=facts.channels, pixels=split.pixels, classes=classes, width=width, norm="instance")
    for step in range(steps):
        drawn = int(generator(seed, "distill/extractor", step).integers(2**31))
        network = network_with(shape, initial_state(shape, drawn), device)
        network.requires_grad_(False)
        features: Any = network.features
        real = _real_batch(split, real_batch, seed, step).to(device)
        seen = decode(images, factor, classes)
        both = (torch.cat([real, seen]) - mean) / std
        both = diffaug(both, generator(seed, "distill/augment", step), flip=facts.flip, shared=True)
        with torch.no_grad():
            target = features(both[: len(real)]).unflatten(0, (classes, -1)).mean(1)
        matched = features(both[len(real):]).unflatten(0, (classes, -1)).mean(1)
        optimiser.zero_grad()
        (matched - target).square().sum().backward()
        optimiser.step()
        with torch.no_grad():
            images.clamp_(0, 1)
        if look is not None:
            look(step + 1)
    return SyntheticSet(images.detach().cpu().numpy(), start.labels, factor)


def _real_batch(split: Split, count: int, seed: int, step: int) -> Tensor:
    """`count` random training images of each class, float32 in [0, 1], in class order; fewer where a class has fewer."""
    rng = generator(seed, "distill/real", step)
    smallest = int(np.bincount(split.train_labels).min())
    rows = [rng.permutation(np.flatnonzero(split.train_labels == label))[: min(count, smallest)]
            for label in range(len(split.facts.classes))]
    chosen = split.train_images[np.concatenate(rows)].astype(np.float32)
    return torch.from_numpy(chosen / (255 if split.train_images.dtype == np.uint8 else 1))
