"""The forms in which synthetic sets are published, each read into one: images in class order, in pixels or whitened.

What a file does not tell is asked for, never guessed; what its numbers tell is said in words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthprune.data import tensors
from synthprune.data.facts import Facts, facts
from synthprune.data.images import read_classes
from synthprune.data.synthetic import SyntheticSet, check, hard
from synthprune.problems import Problem

# Where the standardisation of Zhao et al.'s code, and of Cazenavette et al.'s after it, is not that of Kim et al.'s.
STANDARDISED = {"cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))}

WHITE = 0.75
"""A set about zero that deviates by less is taken as whitened: standardised images deviate by about 1, whitened photographs
by .25, and the one published set that is known to be whitened by .55."""

SPACES = {"pixels": "pixels of 0 to 1", "bytes": "pixels of 0 to 255", "symmetric": "pixels of -1 to 1, brought to 0 to 1",
          "standardised": "standardised images, turned back into pixels", "whitened": "ZCA-whitened images"}


@dataclass(frozen=True)
class Told:
    """What a person says about a file that does not tell it; empty where nothing was said."""

    inside: str = ""
    """Folder above the class folders."""
    classes: str = ""
    """How class folders are meant: 'number' (by the number in the name), 'name' (in the order of their names), or the
    folders' names in the data set's order, with commas between."""
    images: str = ""
    """Name of the entry that holds the images."""
    labels: str = ""
    """Name of the entry, or of the file, that holds the labels."""
    space: str = ""
    """One of SPACES."""
    soft: str = ""
    """'probabilities' or 'logits', for labels of one number per class."""
    pixels: int = 0
    """Side of the images; images in folders are brought to it. 0: the data set's own."""


NOTHING = Told()


def read_set(path: Path, name: str, factor: int, told: Told = NOTHING) -> SyntheticSet:
    """A published set for data set `name`, of whatever form, with notes on how it was read. Raises Problem for no form."""
    if path.suffix in tensors.SUFFIXES:
        return read_tensors(path, name, factor, told)
    return read_images(path, name, factor, told.inside, told)


def read_tensors(path: Path, name: str, factor: int, told: Told = NOTHING) -> SyntheticSet:
    """Images and labels of a file as `tensors.read_pair` finds them.

    Images integers of 0 to 255, or floats whose numbers tell their space (SPACES), channels first or last. Labels one
    integer per image, in any order, or one number per class and image: probabilities or logits, kept soft.
    """
    known, where = facts(name), str(path)
    images, labels = tensors.read_pair(path, told.images, told.labels)
    images = _channels_first(images, known, told.pixels or known.pixels)
    labels, label_note = _labels(labels, where, told.soft)
    if len(labels) != len(images) or not len(labels):
        raise Problem(f"{where}: {len(images)} images but {len(labels)} labels")
    check(SyntheticSet(images, labels, factor), where, name, told.pixels or None)
    space = told.space or _space(images, where)
    images = _in_pixels(images, space, name)
    return _in_class_order(SyntheticSet(images, labels, factor, space == "whitened", (SPACES[space], *label_note)), where, name,
                           told.pixels or None)


def read_images(path: Path, name: str, factor: int, inside: str = "", told: Told = NOTHING) -> SyntheticSet:
    """A folder, zip or tar of `<inside>/<class>/<image>` for data set `name`; `inside` is found where it is the only one.

    Folders are called like the data set's classes (a prefix aside) or by number from 0; else `told` says what they mean.
    """
    known = facts(name)
    found = read_classes(path, told.pixels or known.pixels, known.channels, inside or None, resized=bool(told.pixels))
    order, note = _order(list(found), known, name, path, told.classes)
    labels = np.repeat(np.arange(len(order)), [len(found[folder]) for folder in order])
    images = np.concatenate([found[folder] for folder in order])
    return check(SyntheticSet(images, labels, factor, notes=note), str(path), name, told.pixels or None)


# Which folder is which class.


def _order(folders: list[str], known: Facts, name: str, path: Path, said: str) -> tuple[list[str], tuple[str, ...]]:
    """The folders in the order of the data set's classes, and what is to be said about it."""
    if len(folders) != len(known.classes):
        raise Problem(f"{path} has {len(folders)} classes ({', '.join(folders[:3])}, ...), {name} has"
                      f" {len(known.classes)} ({', '.join(known.classes[:3])}, ...)")
    numbers = [int(found[-1]) if (found := re.findall(r"\d+", folder)) and len(found[-1]) < 10 else -1 for folder in folders]
    counted = sorted(numbers) == list(range(len(folders)))
    if said == "name":
        return folders, ("classes in the order of their folders' names",)
    if said == "number":
        if not counted:
            raise Problem(f"{path}: the folders {', '.join(folders[:3])}, ... are not numbered from 0 to {len(folders) - 1}")
        return [folders[i] for i in np.argsort(numbers)], ("classes by the number in their folders' names",)
    if said:
        if sorted(order := [part.strip() for part in said.split(",")]) != folders:
            raise Problem(f"--classes must be 'number', 'name', or the names of the folders in {path} ({', '.join(folders[:3])},"
                          f" ...) in {name}'s order, with commas between")
        return order, ("classes in the order that was said",)
    if set(folders) == set(known.classes):
        return list(known.classes), ()
    if found := _by_ending(folders, known.classes):
        return found, ("classes by the names that their folders' names end in",)
    if counted and all(folder.isdecimal() for folder in folders):
        return [folders[i] for i in np.argsort(numbers)], (f"folder {folders[int(np.argmin(numbers))]} is {known.classes[0]}",)
    hint = "number" if counted else ",".join(["FOLDER"] * 2) + ",..."
    raise Problem(f"{path} has {len(folders)} classes ({', '.join(folders[:3])}, ...), which are not called like those of {name}"
                  f" ({', '.join(known.classes[:3])}, ...): say what they are, as with --classes {hint}")


def _by_ending(folders: list[str], classes: tuple[str, ...]) -> list[str] | None:
    """One folder for each class, whose name is the class's, or ends in it after a separator; None where it is not so."""
    plain = {re.sub(r"[\W_]+", "_", folder.lower()): folder for folder in folders}
    found = {}
    for end in sorted(classes, key=len, reverse=True):
        fits = [name for name in plain if name == end.lower() or name.endswith(f"_{end.lower()}")]
        if len(fits) != 1:
            return None
        found[end] = plain.pop(fits[0])
    return [found[name] for name in classes]


# What the numbers are.


def _channels_first(images: np.ndarray, known: Facts, pixels: int) -> np.ndarray:
    """(n, c, h, h) where it is plain how to get there; else as given."""
    last = (pixels, pixels, known.channels)
    if images.shape[1:] == last and last != (known.channels, pixels, pixels):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images[:, None] if known.channels == 1 and images.shape[1:] == (pixels, pixels) else images


def _labels(labels: np.ndarray, where: str, said: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """int64 (n,), or float32 probabilities (n, classes); and a note where they are soft."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2):
        raise Problem(f"{where}: labels must be one integer per image, or one number per class, not of shape {labels.shape}")
    if not np.isfinite(labels).all():
        raise Problem(f"{where}: label {int(np.argwhere(~np.isfinite(labels))[0][0])} is NaN or infinite")
    if labels.ndim == 1:
        if not (labels == np.rint(labels)).all() or np.abs(labels.astype(np.float64)).max(initial=0) > 2**31:
            raise Problem(f"{where}: labels must be one integer per image, not fractions of type {labels.dtype}")
        return labels.astype(np.int64), ()
    values = labels.astype(np.float64)
    sums = np.abs(values.sum(1) - 1).max(initial=0) < 1e-2  # half precision is off by so much
    if not said and sums and ((values == 0) | (values == 1)).all():
        return values.argmax(1).astype(np.int64), ()
    if said == "probabilities" or (not said and sums and values.min(initial=0) >= 0):
        if not sums or values.min(initial=0) < 0:
            raise Problem(f"{where}: labels of one number per class do not sum to one: they are no probabilities")
        return (values / values.sum(1, keepdims=True)).astype(np.float32), ("soft labels (probabilities)",)
    if not said and values.min(initial=0) >= 0:
        raise Problem(f"{where}: labels of one number per class are neither probabilities nor, as they are never negative,"
                      " plainly logits: say --soft logits if they are")
    grown = np.exp(values - values.max(1, keepdims=True))
    return (grown / grown.sum(1, keepdims=True)).astype(np.float32), ("soft labels (from logits)",)


def _space(images: np.ndarray, where: str) -> str:
    """Which of SPACES the values are in. Raises Problem where they do not tell."""
    low, high, mean, deviation = (float(f(images)) for f in (np.min, np.max, np.mean, np.std))
    if images.dtype.kind in "biu":
        if low >= 0 and high <= 255 and high > 1:
            return "bytes"
    elif low >= -0.5 and high <= 1.5 and (images < 0).mean() < 0.1:
        return "pixels"
    elif low >= 0 and 16 < high <= 255:
        return "bytes"
    elif abs(mean) < deviation / 2 and (low < -1 or high > 1) and low < 0 < high and deviation < 6:
        return "whitened" if deviation < WHITE else "standardised"
    raise Problem(f"{where}: values reach from {low:.2f} to {high:.2f} and deviate by {deviation:.2f}; pixels in about [0, 1] are"
                  f" expected, or standardised or whitened images: say which with --space ({', '.join(SPACES)})")


def _in_pixels(images: np.ndarray, space: str, name: str) -> np.ndarray:
    """Images of `space` as they are kept: whole bytes as uint8, all else as float32, about [0, 1] unless whitened."""
    if space == "bytes":
        whole = images.dtype.kind in "biu" or bool((images == np.rint(images)).all())
        return images.astype(np.uint8) if whole else images.astype(np.float32) / np.float32(255)
    images = np.ascontiguousarray(images, np.float32)
    if space == "symmetric":
        return (images + 1) / 2
    if space != "standardised":
        return images
    known = facts(name)
    mean, std = (np.array(v, np.float32).reshape(-1, 1, 1) for v in STANDARDISED.get(name, (known.mean, known.std)))
    return images * std + mean


def _in_class_order(synthetic: SyntheticSet, where: str, name: str, pixels: int | None) -> SyntheticSet:
    """The same set class by class, images of a class in the order they came in."""
    order = np.argsort(hard(synthetic.labels), kind="stable")
    return check(SyntheticSet(synthetic.images[order], synthetic.labels[order], synthetic.factor, synthetic.whitened,
                              synthetic.notes), where, name, pixels)
