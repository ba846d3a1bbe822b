"""Small networks and data that several tests use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from synthprune.data.datasets import facts
from synthprune.models import State, build, initial_state
from synthprune.training import Resident

SMALL = str(Path(__file__).with_name("small.yaml"))
"""A profile of tests' own."""


def convnet(width: int = 4, norm: str = "instance") -> torch.nn.Module:
    return build("convnet3", channels=1, pixels=16, classes=10, width=width, norm=norm)


def resnet(width: int = 2) -> torch.nn.Module:
    return build("resnet10", channels=1, pixels=16, classes=10, width=width, norm="batch")


def some_digits(per_class: int = 12, split: str = "train") -> Resident:
    from synthprune.data.datasets import load

    data = load("digits", per_class)
    if split == "train":
        return Resident.of(data.train_images, data.train_labels, data.facts, "cpu")
    return Resident.of(data.test_images[:100], data.test_labels[:100], data.facts, "cpu")


def noise(count: int = 40, seed: int = 0) -> Resident:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 1, 16, 16), dtype=np.uint8)
    return Resident.of(images, np.arange(count, dtype=np.int64) % 10, facts("digits"), "cpu")


def equal(first: State, second: State) -> bool:
    """Whether two states are the same bits under the same names."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def trained_like(network: torch.nn.Module, seed: int = 1) -> State:
    """A state in which every tensor, norms and buffers too, differs from initialisation."""
    state = initial_state(network, 0)
    rng = np.random.default_rng(seed)
    return {name: value + torch.from_numpy(rng.random(value.shape) + 0.1).to(value.dtype) if value.is_floating_point()
            else value + 7 for name, value in state.items()}
