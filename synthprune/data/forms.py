"""The forms in which synthetic sets are published, each read into one: images in class order, in pixels or whitened.

What a file does not tell is asked for, never guessed; what its numbers tell is said in words.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthprune.data import tensors
from synthprune.data.facts import Facts, facts
from synthprune.data.images import read_classes
from synthprune.data.labelled import NOTHING, Told, class_order, in_order
from synthprune.data.rows import is_rows
from synthprune.data.spaces import SPACES, space_of
from synthprune.data.synthetic import SyntheticSet, check, hard
from synthprune.problems import Problem

# Where the standardisation of Zhao et al.'s code, and of Cazenavette et al.'s after it, is not that of Kim et al.'s.
STANDARDISED = {"cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))}

def read_set(path: Path, name: str, factor: int, told: Told = NOTHING) -> SyntheticSet:
    """A published set for data set `name`, of whatever form, with notes on how it was read. Raises Problem for no form."""
    if is_rows(path.name):
        raise Problem(f"{path} is read as a data set of its own alone, without --of: a synthetic set is class folders or arrays")
    if path.suffix.lower() in tensors.SUFFIXES:
        return read_tensors(path, name, factor, told)
    return read_images(path, name, factor, told.inside, told)


def read_tensors(path: Path, name: str, factor: int, told: Told = NOTHING) -> SyntheticSet:
    """Images and labels of a file as `tensors.read_pair` finds them.

    Images integers of 0 to 255, or floats whose numbers tell their space (SPACES), channels first or last. Labels one
    integer per image, in any order, or one number per class and image: probabilities or logits, kept soft. Or a dictionary
    of images by class, whose names are those of class folders.
    """
    known, where, order_note = facts(name), str(path), ""
    if not (told.images or told.labels) and (by_class := tensors.by_class(path)):
        folders, order_note = class_order(list(in_order(set(by_class))), known.classes, name, path, told.classes)
        images, labels = tensors.joined(by_class, folders)
    else:
        images, labels = tensors.read_pair(path, told.images, told.labels)
    images, standard = _channels_first(images, known, told.pixels or known.pixels), _standard(name)
    labels, label_note = _labels(labels, where, told.soft)
    check(SyntheticSet(images, labels, factor), where, name, told.pixels or None)
    space = space_of(images, where, told.space)
    by = " by mean {} and deviation {}".format(*(", ".join(f"{v:g}" for v in values) for values in standard))
    images = _in_pixels(images, space, standard, where)
    notes = (SPACES[space] + by * (space == "standardised"), *label_note, *([order_note] if order_note else []))
    order = np.argsort(hard(labels), kind="stable")  # class by class, images of a class in the order they came in
    return SyntheticSet(images[order], labels[order], factor, space == "whitened", notes)


def read_images(path: Path, name: str, factor: int, inside: str = "", told: Told = NOTHING) -> SyntheticSet:
    """A folder, zip or tar of `<inside>/<class>/<image>` for data set `name`; `inside` is found where it is the only one.

    Folders are called like the data set's classes (a prefix aside) or by number from 0; else `told` says what they mean.
    """
    known = facts(name)
    found = read_classes(path, told.pixels or known.pixels, known.channels, inside or None, resized=bool(told.pixels))
    order, note = class_order(list(in_order(set(found))), known.classes, name, path, told.classes)
    labels = np.repeat(np.arange(len(order)), [len(found[folder]) for folder in order])
    images = np.concatenate([found[folder] for folder in order])
    return check(SyntheticSet(images, labels, factor, notes=(note,) if note else ()), str(path), name, told.pixels or None)


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
    why = ("are never negative" if values.min(initial=0) >= 0 else "have one sum for every image" if np.ptp(values.sum(1)) < 1e-2
           else "lie between about 0 and 1" if np.abs(values).max() < 1.5 and np.abs(values.max(1) - 1).max() < 0.5 else "")
    if not said and why:  # as learnt by regression on one-hot labels
        raise Problem(f"{where}: labels of one number per class are neither probabilities nor, as they {why}, plainly logits: say"
                      " --soft logits if they are")
    grown = np.exp(values - values.max(1, keepdims=True))
    return (grown / grown.sum(1, keepdims=True)).astype(np.float32), ("soft labels (from logits)",)


def _standard(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation by which sets for this data set are standardised."""
    return STANDARDISED.get(name, (facts(name).mean, facts(name).std))


def _in_pixels(images: np.ndarray, space: str, standard: tuple[tuple[float, ...], tuple[float, ...]], where: str) -> np.ndarray:
    """Images of `space` as they are kept: whole bytes as uint8, all else as float32, about [0, 1] unless whitened.

    Raises Problem where they were said to be bytes and cannot be, or can be nothing else.
    """
    low, high = float(images.min()), float(images.max())
    plain = low >= 0 and high > (1 if images.dtype.kind in "biu" else 16)
    if plain != (space == "bytes") or (space == "bytes" and high > 255):
        raise Problem(f"{where}: values of type {images.dtype} from {low:g} to {high:g} are no"
                      f" {SPACES[space].split(',')[0]}: leave --space away, or say what they are")
    if space == "bytes":
        whole = images.dtype.kind in "biu" or bool((images == np.rint(images)).all())
        return images.astype(np.uint8) if whole else images.astype(np.float32) / np.float32(255)
    images = np.ascontiguousarray(images, np.float32)
    if space == "symmetric":
        return (images + 1) / 2
    if space != "standardised":
        return images
    mean, std = (np.array(v, np.float32).reshape(-1, 1, 1) for v in standard)
    return images * std + mean
