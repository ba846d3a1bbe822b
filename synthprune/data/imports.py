"""Importing real data sets: known ones, which are checked to be what they are called, and those of the user's own."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from pathlib import Path, PurePosixPath

import numpy as np
from safetensors.numpy import save

from synthprune.data.archives import files
from synthprune.data.arrays import facts_of
from synthprune.data.bounds import Budget
from synthprune.data.datasets import arrays_of, content, load, place, subset
from synthprune.data.facts import FACTS
from synthprune.data.images import by_content, content_hash, fingerprint
from synthprune.data.labelled import NOTHING, Labelled, Told, class_order, read_labelled
from synthprune.home import write_whole
from synthprune.problems import Problem

# Where torchvision's official files are, by data set: folder and archive.
OFFICIAL = {"cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
            "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz")}

LEAST_PIXELS = 8
"""Three poolings leave one pixel of such an image."""


def import_dataset(name: str, path: Path, told: Told = NOTHING) -> str:
    """Read a data set from `path` and keep it; returns what was kept, in words.

    `path`: any form that `labelled.read_labelled` knows. A known `name` is checked to be that data set; for CIFAR
    torchvision's official files are read too (the folder that holds cifar-10-batches-py, or cifar-10-python.tar.gz).
    Photographs are kept as their central square of the data set's size, as the authors' loader sees them before it
    augments. ImageNet-10 takes about 10 GB of memory. Under any other name it is filed as '<name>@<content>'.
    Raises Problem and leaves nothing behind if anything is off.
    """
    if name == "digits":
        raise Problem("digits come with scikit-learn: there is nothing to import")
    return _keep_known(name, path, told) if name in FACTS else _keep_own(name, path, told)


def _keep_known(name: str, path: Path, told: Told) -> str:
    known, (folder, archive) = FACTS[name], OFFICIAL.get(name, ("", ""))
    path = path.parent if folder and path.name == folder else path  # the folder itself
    official = name in OFFICIAL and ((path / folder).is_dir() or path.name == archive)
    parts = {split: _official(path, split, name) for split in ("train", "test")} if official else \
        _in_known_order(read_labelled(path, dataclasses.replace(told, pixels=known.pixels if known.photos else 0),
                                      known.channels, known.classes if known.photos else ()), name, path)
    arrays: dict[str, np.ndarray] = {}
    for split, classes in parts.items():
        arrays |= arrays_of(split, [by_content(images) for images in classes])
    other = "under another name it is imported as a data set of its own"
    for which, expected in known.fingerprints.items():
        split, count = which.split("/")
        fewest = int(np.bincount(arrays[f"{split}_labels"]).min())
        if fewest < int(count):
            raise Problem(f"{path} is not {name}: a class has only {fewest} {split} images, not {count} or more; {other}")
        found = fingerprint(*subset(arrays, split, int(count), name))
        if expected and found != expected:
            raise Problem(f"{path} is not {name}: the first {count} {split} images per class have fingerprint {found},"
                          f" not {expected}; {other}")
    write_whole(place(name), save(arrays))
    load.cache_clear()
    return f"{name}: {len(arrays['train_labels'])} training and {len(arrays['test_labels'])} test images"


def _in_known_order(found: Labelled, name: str, path: Path) -> dict[str, list[np.ndarray]]:
    """The images of each part, class by class in the order of the known data set. Raises Problem where it cannot be it."""
    known, shape = FACTS[name], (FACTS[name].channels, FACTS[name].pixels, FACTS[name].pixels)
    if found.train[0].shape[1:] != shape:
        raise Problem(f"{path} is not {name}: images have shape {found.train[0].shape[1:]}, not {shape}")
    folders = list(found.classes) or [str(number) for number in range(int(found.train[1].max()) + 1)]
    order, _ = class_order(folders, known.classes, name, path)
    numbers = [folders.index(folder) for folder in order]
    parts = {}
    for split, (images, labels) in (("train", found.train), ("test", found.test)):
        parts[split] = [images[labels == number] for number in numbers]
        if empty := [known.classes[i] for i, own in enumerate(parts[split]) if not len(own)]:
            raise Problem(f"{path} is not {name}: class {empty[0]} has no {split} images")
    return parts


def _keep_own(name: str, path: Path, told: Told) -> str:
    if not re.fullmatch(r"[\w.-]+", name):
        raise Problem(f"'{name}' cannot name a data set: use letters, digits, '.', '-' and '_' only")
    found = read_labelled(path, told)
    try:
        _check_classes(found)
        known = facts_of(*found.train, flip=told.flip)
        _check_parts(found, len(known.classes))
    except Problem as problem:
        raise Problem(f"{path}: {problem}") from None
    if known.pixels < LEAST_PIXELS:
        raise Problem(f"{path}: images of {known.pixels} pixels are too small for any network here: enlarge them, as with"
                      " --pixels 16")
    arrays: dict[str, np.ndarray] = {}
    for split, (images, labels) in (("train", found.train), ("test", found.test)):
        arrays |= arrays_of(split, [by_content(images[labels == label]) for label in range(len(known.classes))])
    known = dataclasses.replace(known, title=name, classes=found.classes or known.classes, mean=_four_digits(known.mean),
                                std=_four_digits(known.std), source="your own files",
                                images={split: len(arrays[f"{split}_labels"]) for split in ("train", "test")})
    full = f"{name}@{content(arrays, known)}"
    write_whole(place(full), save(arrays, {"facts": json.dumps(dataclasses.asdict(known))}))
    load.cache_clear()
    colour = "grey" if known.channels == 1 else "colour"
    words = [f"{known.images['train']} training and {known.images['test']} test images", f"{len(known.classes)} classes",
             f"{colour}, {known.pixels} x {known.pixels} pixels", f"mean {_joined(known.mean)}, deviation {_joined(known.std)}",
             *found.notes, "mirrored in training" if told.flip else "never mirrored in training (--flip if they may be)"]
    return f"{full}: {'; '.join(words)}; use it as -p dataset={name}"


def _check_classes(found: Labelled) -> None:
    """Raises Problem where a label has no name, or a class that has a name has images in one part alone."""
    most = max(int(labels.max()) for _, labels in (found.train, found.test))
    if found.classes and most >= len(found.classes):
        raise Problem(f"labels reach to {most}, but only {len(found.classes)} classes have a name (counted from 0)")
    for what, (_, labels) in (("training", found.train), ("test", found.test)):
        if missing := sorted(set(range(len(found.classes))) - set(labels.tolist())):
            raise Problem(f"class {found.classes[missing[0]]} has no {what} images")


def _check_parts(found: Labelled, classes: int) -> None:
    """Raises Problem where a class has no test image, or an image is in both parts: its test would say nothing."""
    counts = np.bincount(found.test[1], minlength=classes)
    if len(counts) > classes:
        raise Problem(f"a test image has label {len(counts) - 1}, the training images {classes} classes from 0")
    if not counts.all():
        raise Problem(f"class {_called(found, int(counts.argmin()))} has no test images")
    seen = {content_hash(image): int(label) for image, label in zip(*found.train, strict=True)}
    equal = [int(label) for image, label in zip(*found.test, strict=True) if content_hash(image) in seen]
    if equal:
        raise Problem(f"{len(equal)} of {len(found.test[1])} test images are also training images, the first of class"
                      f" {_called(found, equal[0])}: take them out of one of the two, else the test tells nothing")


def _four_digits(values: tuple[float, ...]) -> tuple[float, ...]:
    """As the literature gives them; and the same on every machine, however it sums."""
    return tuple(float(f"{value:.4g}") for value in values)


def _called(found: Labelled, label: int) -> str:
    return found.classes[label] if found.classes else str(label)


def _joined(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _official(path: Path, split: str, name: str) -> list[np.ndarray]:
    """torchvision checks the MD5 of every batch file before it unpickles one."""
    from torchvision import datasets as official

    with tempfile.TemporaryDirectory() as scratch:
        root = path
        if path.is_file():
            root, folder = Path(scratch), OFFICIAL[name][0]
            (root / folder).mkdir()
            for member, payload in files(path, lambda inside: PurePosixPath(inside).parent.name == folder, Budget(path)):
                (root / folder / PurePosixPath(member).name).write_bytes(payload)
        try:
            read = {"cifar10": official.CIFAR10, "cifar100": official.CIFAR100}[name]
            found = read(root, train=split == "train", download=False)
        except RuntimeError:
            raise Problem(f"{path}: a file of {OFFICIAL[name][0]} is missing or has a wrong MD5: fetch it again") from None
    images, labels = found.data.transpose(0, 3, 1, 2), np.asarray(found.targets)
    return [images[labels == c] for c in range(len(FACTS[name].classes))]
