"""Real data sets: the digits that come with scikit-learn, and CIFAR-10 as the user imports it."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from synthprune.data.images import DAMAGED, by_content, fingerprint, read_classes
from synthprune.home import home, write_whole
from synthprune.problems import Problem, nearest


@dataclass(frozen=True)
class Facts:
    """What is always true of a data set. `mean` and `std` per channel, of pixels in [0, 1]."""

    classes: tuple[str, ...]
    channels: int
    pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    """Whether a mirrored image is still of its class."""
    complete: int | None
    """Training images per class of the whole set, where classes are equal; "all" must mean all of them."""
    fingerprints: dict[str, str]
    """Of (split, images per class); what an import must match, whatever its format."""


@dataclass(frozen=True)
class Split:
    """uint8 images (n, c, h, w) and int64 labels (n,), training and test, with the facts that go with them."""

    facts: Facts
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def pixels(self) -> int:
        return self.train_images.shape[-1]


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

FACTS = {
    # Mean and deviation of all 1,797 digits at 16 pixels; checked by a test.
    "digits": Facts(tuple("0123456789"), 1, 16, (0.3053,), (0.3187,), False, None, {}),
    # Normalisation as in Kim et al.'s code, whose deviations (.2023 ...) the paper therefore uses.
    "cifar10": Facts(CIFAR10, 3, 32, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), True, 5000,
                     {"test/1000": "8c747874966f", "train/2000": "442fa3172216"}),
}


def facts(name: str) -> Facts:
    if name not in FACTS:
        raise Problem(f"unknown data set '{name}': {nearest(name, FACTS)}")
    return FACTS[name]


@functools.lru_cache(maxsize=4)
def load(name: str, train_per_class: int | None = None, pixels: int | None = None) -> Split:
    """The data set: per class the `train_per_class` training images of smallest content hash (None: all), whole test set.

    `pixels`: side to which images are averaged down (None: as they are); it must divide the original side.
    Raises Problem where the data set is not imported, has fewer images, or cannot be averaged to that size.
    """
    known = facts(name)
    images = _digits() if name == "digits" else _imported(name)
    fewest = int(np.bincount(images["train_labels"]).min())
    if train_per_class is None and known.complete not in (None, fewest):
        raise Problem(f"{name} was imported with {fewest} of {known.complete} training images per class: import the whole set, or"
                      f" say train_per_class={fewest}")
    train, test = _per_class(images["train_images"], images["train_labels"], train_per_class, name), (
        images["test_images"], images["test_labels"])
    size = pixels or known.pixels
    return Split(known, average(train[0], size), train[1], average(test[0], size), test[1])


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


def _per_class(images: np.ndarray, labels: np.ndarray, count: int | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    if count is None:
        return images, labels
    chosen = [np.flatnonzero(labels == c)[:count] for c in range(labels.max() + 1)]
    short = min(len(c) for c in chosen)
    if short < count:
        raise Problem(f"{name} has only {short} training images in a class, not the {count} asked for (train_per_class)")
    index = np.concatenate(chosen)
    return images[index], labels[index]


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
    return {key: value for name, classes in big.items() for key, value in _arrays(name, classes).items()}


def _arrays(split: str, classes: list[np.ndarray]) -> dict[str, np.ndarray]:
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(c) for c in classes])
    return {f"{split}_images": np.concatenate(classes), f"{split}_labels": labels}


def _path(name: str) -> Path:
    return home() / "data" / f"{name}.safetensors"


def is_here(name: str) -> bool:
    """Whether the data set can be loaded on this machine."""
    return name == "digits" or _path(name).exists()


def _imported(name: str) -> dict[str, np.ndarray]:
    path = _path(name)
    if not path.exists():
        raise Problem(f"the data set '{name}' is not on this machine: import it with 'synthprune data import {name} PATH'"
                      f" (PATH: torchvision's files, or train/<class>/ and test/<class>/ as a folder or tar)")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise Problem(f"{path} is damaged ({error}): import '{name}' again") from None


def import_dataset(name: str, path: Path) -> str:
    """Read data set `name` from `path`, check that it is that data set, keep it; returns what was kept, in words.

    `path`: a folder or tar with train/<class>/ and test/<class>/, or torchvision's official files (the folder that
    holds cifar-10-batches-py, or cifar-10-python.tar.gz). Raises Problem and leaves nothing behind if anything is off.
    """
    known = facts(name)
    if name == "digits":
        raise Problem("digits come with scikit-learn: there is nothing to import")
    read = _official if _is_official(path) else _folders
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        classes = read(path, split, known)
        arrays |= _arrays(split, [by_content(images) for images in classes])
    for which, expected in known.fingerprints.items():
        split, count = which.split("/")
        fewest = int(np.bincount(arrays[f"{split}_labels"]).min())
        if fewest < int(count):
            raise Problem(f"{path} is not {name}: a class has only {fewest} {split} images, not {count} or more")
        found = fingerprint(*_per_class(arrays[f"{split}_images"], arrays[f"{split}_labels"], int(count), name))
        if found != expected:
            raise Problem(f"{path} is not {name}: the first {count} {split} images per class have fingerprint {found},"
                          f" not {expected}")
    write_whole(_path(name), save(arrays))
    load.cache_clear()
    return f"{name}: {len(arrays['train_labels'])} training and {len(arrays['test_labels'])} test images"


def _folders(path: Path, split: str, known: Facts) -> list[np.ndarray]:
    found = read_classes(path, known.pixels, known.channels, inside=split)
    if tuple(found) != tuple(sorted(known.classes)):
        raise Problem(f"{path} has {len(found)} classes in {split}/ ({', '.join(list(found)[:3])}, ...), not the"
                      f" {len(known.classes)} expected ({', '.join(known.classes[:3])}, ...)")
    return [found[name] for name in known.classes]


def _is_official(path: Path) -> bool:
    return (path / "cifar-10-batches-py").is_dir() or path.name == "cifar-10-python.tar.gz"


def _official(path: Path, split: str, known: Facts) -> list[np.ndarray]:
    """torchvision checks the MD5 of every batch file before it unpickles one."""
    import shutil

    from torchvision.datasets import CIFAR10 as Official

    with tempfile.TemporaryDirectory() as scratch:
        root = path
        if path.is_file():
            root = Path(scratch)
            try:
                shutil.unpack_archive(path, scratch, filter="data")
            except (*DAMAGED, ValueError) as error:
                raise Problem(f"{path} is not a whole tar archive ({error}): fetch it again") from None
        try:
            official = Official(root, train=split == "train", download=False)
        except RuntimeError:
            raise Problem(f"{path}: a file of cifar-10-batches-py is missing or has a wrong MD5: fetch it again") from None
    images, labels = official.data.transpose(0, 3, 1, 2), np.asarray(official.targets)
    return [images[labels == c] for c in range(len(known.classes))]
