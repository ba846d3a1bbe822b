"""Real data sets: the digits that come with scikit-learn, and those that the user imports."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from synthprune.data.facts import FACTS, Facts, facts, full_name
from synthprune.data.images import by_content, fingerprint
from synthprune.home import data_folder
from synthprune.problems import Problem

if TYPE_CHECKING:
    from synthprune.training import Resident


@dataclass(frozen=True)
class Split:
    """Images (n, c, h, w), uint8 or whitened float32, and int64 labels (n,), training and test, with the facts that fit."""

    facts: Facts
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def pixels(self) -> int:
        return self.train_images.shape[-1]

    def resident(self, device: str = "cpu") -> tuple[Resident, Resident]:
        """Training and test images on a device, as `train` and `path_losses` take them."""
        from synthprune.training import Resident

        return (Resident.of(self.train_images, self.train_labels, self.facts, device),
                Resident.of(self.test_images, self.test_labels, self.facts, device))

    @property
    def whitened(self) -> bool:
        return self.train_images.dtype != np.uint8


@functools.lru_cache(maxsize=4)
def load(name: str, train_per_class: int | None = None, pixels: int | None = None, whitened: bool = False,
         test_per_class: int | None = None) -> Split:
    """The data set: of each class the training and test images of smallest content hash, as many as said (None: all).

    `pixels`: side to which images are averaged down (None: as they are); it must divide the original side. `whitened`:
    float32 images in the space of the ZCA whitening of these very training images, test images too, with facts that say
    mean 0 and deviation 1; at the original size only (takes seconds).
    Raises Problem where the data set is not imported, has fewer images, or cannot be averaged or whitened.
    """
    known = facts(name := full_name(name))
    images = _digits() if name == "digits" else _imported(name)
    (train, train_labels), (test, test_labels) = (
        subset(images, split, count, name) for split, count in (("train", train_per_class), ("test", test_per_class)))
    size = pixels or known.pixels
    if not whitened:
        return Split(known, average(train, size), train_labels, average(test, size), test_labels)
    if size != known.pixels:
        raise Problem(f"{name} is whitened at its own {known.pixels} pixels, not at {size}: leave pixels={known.pixels}")
    from synthprune.data.whitening import zca

    train, test = zca(train, test)
    white = dataclasses.replace(known, mean=(0.0,) * known.channels, std=(1.0,) * known.channels)
    return Split(white, train, train_labels, test, test_labels)


def average(images: np.ndarray, pixels: int) -> np.ndarray:
    """Images (n, c, h, h) averaged over square cells to (n, c, pixels, pixels); uint8 is rounded, float stays float."""
    side = images.shape[-1]
    if pixels == side:
        return images
    if pixels < 1 or side % pixels:
        raise Problem(f"images of {side} pixels cannot be averaged to {pixels}: it must divide {side}")
    cells = images.reshape(*images.shape[:2], pixels, side // pixels, pixels, side // pixels)
    means = cells.mean((3, 5), dtype=np.float64)
    return np.rint(means).astype(np.uint8) if images.dtype == np.uint8 else means.astype(images.dtype)


WORDS = {"train": "training", "test": "test"}


def subset(images: dict[str, np.ndarray], split: str, count: int | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` images and labels per class of a split (None: all, which must be the whole set)."""
    chosen, labels = images[f"{split}_images"], images[f"{split}_labels"]
    fewest, whole = int(np.bincount(labels).min()), facts(name).complete.get(split)
    if count is None:
        if whole not in (None, fewest):
            raise Problem(f"{name} was imported with {fewest} of {whole} {WORDS[split]} images per class: import the whole set,"
                          f" or say {split}_per_class={fewest}")
        return chosen, labels
    if fewest < count:
        raise Problem(f"{name} has only {fewest} {WORDS[split]} images in a class, not the {count} asked for"
                      f" ({split}_per_class)")
    index = np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(labels.max() + 1)])
    return chosen[index], labels[index]


def _digits() -> dict[str, np.ndarray]:
    """scikit-learn's 8 x 8 digits as uint8, enlarged to 16; of each class the fifth with the largest hashes is the test."""
    from PIL import Image
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey = np.rint(raw.images * (255 / 16)).astype(np.uint8)
    parts: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for label in range(10):
        images = by_content(grey[raw.target == label][:, None])
        cut = len(images) - round(len(images) * 0.2)
        parts["train"].append(images[:cut])
        parts["test"].append(images[cut:])
    big = {name: [np.stack([np.asarray(Image.fromarray(i[0]).resize((16, 16), Image.Resampling.BILINEAR))[None]
                            for i in images]) for images in classes] for name, classes in parts.items()}
    return {key: value for name, classes in big.items() for key, value in arrays_of(name, classes).items()}


def arrays_of(split: str, classes: list[np.ndarray]) -> dict[str, np.ndarray]:
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(c) for c in classes])
    return {f"{split}_images": np.ascontiguousarray(np.concatenate(classes)), f"{split}_labels": labels}


def place(name: str) -> Path:
    return data_folder() / f"{name}.safetensors"


def is_here(name: str) -> bool:
    """Whether the data set can be loaded on this machine."""
    return name == "digits" or place(name).exists()


def _imported(name: str) -> dict[str, np.ndarray]:
    path, known = place(name), facts(name)
    if not path.exists():
        raise Problem(f"the data set '{name}' is not on this machine: import it with 'synthprune data import {name} PATH'"
                      f" (PATH: {known.source})")
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise Problem(f"{path} is damaged ({error}): import '{name}' again") from None
    if name not in FACTS and (held := content(arrays, known)) != name.rsplit("@", maxsplit=1)[-1]:
        raise Problem(f"{path} holds {held}, not what its name says: import it again")
    return arrays


def content(arrays: dict[str, np.ndarray], known: Facts) -> str:
    """Twelve hex digits over all that a network sees: images and labels of both parts, normalisation, and if it is mirrored."""
    parts = [fingerprint(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test")]
    return hashlib.sha256(json.dumps([*parts, known.mean, known.std, known.flip]).encode()).hexdigest()[:12]
