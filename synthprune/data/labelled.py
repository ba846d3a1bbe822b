"""Labelled images in the forms in which people keep real data sets: class folders, arrays, parquet, CIFAR's own files.

What a file does not tell is asked for, never guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from synthprune.data import tensors
from synthprune.data.archives import files
from synthprune.data.bounds import RATIO, Budget
from synthprune.data.images import Seen, content_hash, decoded, is_image, none_found, squared
from synthprune.data.parts import TESTING, TRAINING, part_of
from synthprune.data.rows import is_rows, read_rows
from synthprune.data.spaces import space_of
from synthprune.problems import Problem

MOST_CLASSES = 2**16

Part = tuple[np.ndarray, np.ndarray]
"""Images uint8 (n, c, h, h) and labels (n,), int64."""


@dataclass(frozen=True)
class Told:
    """What a person says about a file that does not tell it; empty where nothing was said."""

    inside: str = ""
    """Folder above the class folders, or above train/ and test/."""
    classes: str = ""
    """How the class folders of a synthetic set are meant: 'number' (by the number in the name), 'name' (in the order of their
    names), or the folders' names in the data set's order, with commas between."""
    images: str = ""
    """Name of the entry or column that holds the images."""
    labels: str = ""
    """Name of the entry, column or file that holds the labels."""
    space: str = ""
    """What the values are: one of forms.SPACES."""
    soft: str = ""
    """'probabilities' or 'logits', for labels of one number per class."""
    pixels: int = 0
    """Side of the images; images in folders are brought to it. 0: the data set's own."""
    test: float = 0.0
    """Share of each class that is kept for the test, where there is no test part."""
    flip: bool = False
    """Whether a mirrored image is still of its class."""


NOTHING = Told()


@dataclass(frozen=True)
class Labelled:
    """A real data set as it was read: its two parts, what its classes are called, and notes on how it was read."""

    train: Part
    test: Part
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass
class Found:
    """What a file holds, before its parts are told apart: images and labels by the name of the part they lie in."""

    parts: dict[str, tuple[list[np.ndarray], list[int]]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def add(self, part: str, image: np.ndarray, label: int) -> None:
        images, labels = self.parts.setdefault(part, ([], []))
        images.append(image)
        labels.append(label)


def read_labelled(path: Path, told: Told = NOTHING, channels: int = 0, only: tuple[str, ...] = ()) -> Labelled:
    """A folder, tar or zip of class folders, of parquet files or of CIFAR's own; one such file; or a file of arrays.

    Images are uint8 and square, of `told.pixels` a side or all of one, with `channels` (0: one if every image is grey).
    `only`: read these class folders and pass over all others.
    Raises Problem for what cannot be read, for text in place of labels, and where the two parts cannot be told.
    """
    found = _of_arrays(path, told) if path.suffix.lower() in tensors.SUFFIXES else _of_files(path, told, only)
    if not found.parts:
        raise Problem(f"{path} holds no labelled images")
    channels, asked = channels or max(len(image) for images, _ in found.parts.values() for image in images), channels
    parts = {name: (_one_form(images, channels, f"{path}: its {name} images".replace("  ", " ")), _classes(labels, path))
             for name, (images, labels) in found.parts.items()}
    grey = not asked and all(bool((images == images[:, :1]).all()) for images, _ in parts.values())
    parts = {name: (images[:, :1] if grey else images, labels) for name, (images, labels) in parts.items()}
    return _in_two(parts, found.classes, path, told)


# Folders and archives.


def _of_files(path: Path, told: Told, only: tuple[str, ...]) -> Found:
    """All the files that matter, in one pass; images are decoded at once, since photographs are large."""
    inside, seen = PurePosixPath(told.inside).parts, Seen()

    def wanted(name: str) -> bool:
        seen.add(name)
        parts = PurePosixPath(name).parts
        if parts[:len(inside)] != inside:
            return False
        return is_rows(name) or (is_image(name) and len(parts) > len(inside) + 1 and (not only or parts[-2] in only))

    budget, images, rows = Budget(path), {}, {}
    if single := path.is_file() and is_rows(path.name):
        budget.spend(path.stat().st_size, "it")
    for name, payload in [(path.name, path.read_bytes())] if single else files(path, wanted, budget):
        if is_rows(name):
            rows[name] = payload
        else:
            images[name] = decoded(payload, f"{path}: {name}", told.pixels)
            size = images[name].nbytes  # what --pixels makes of small images is asked for, and claimed by no file
            budget.spend(min(size, RATIO * len(payload)) if told.pixels else size, f"image '{name}'")
    if images and rows:
        raise Problem(f"{path} holds images and also {next(iter(rows))}: say which folder is meant with --inside")
    if rows:
        found = Found()
        found.classes = read_rows(rows, path, told.images, told.labels, told.pixels, found.add, budget)
        return found
    if not images:
        raise none_found(path, told.inside, seen)
    seen.require_images(images, path, only)
    return _by_folder(images, path)


def _by_folder(images: dict[str, np.ndarray], path: Path) -> Found:
    """Images by the part and the class that their folders name: <...>/train/<class>/<image>, or <...>/<class>/<image>."""
    places = {PurePosixPath(name).parent.parent for name in images}
    parts = {place: place.name.lower() for place in places if place.name.lower() in TRAINING + TESTING}
    one_set = len({place.parent for place in parts}) == 1 and len(parts) == len(places) == len(set(parts.values()))
    if not one_set and (parts or len(places) > 1):
        shown = sorted(place.as_posix() for place in places)
        raise Problem(f"{path} holds class folders in {len(places)} places ({', '.join(shown[:4])}{', ...' * (len(shown) > 4)}):"
                      " say which with --inside")
    classes = in_order({PurePosixPath(name).parent.name for name in images})
    if {name.lower() for name in classes} <= {*TRAINING, *TESTING}:
        raise Problem(f"{path}: {' and '.join(classes)} hold images and no class folders: put those of each class into a folder"
                      " of its own")
    label, found = {name: number for number, name in enumerate(classes)}, Found(classes=classes)
    for name in sorted(images):
        folder = PurePosixPath(name).parent
        found.add(parts.get(folder.parent, ""), images[name], label[folder.name])
    return found


def in_order(names: set[str]) -> tuple[str, ...]:
    """Names of classes in their order: by number if they differ in one number alone, as class_2 and class_10, else by name."""
    parts = {name: re.split(r"(\d+)", name) for name in names}
    columns = list(zip(*parts.values(), strict=True)) if len({len(split) for split in parts.values()}) == 1 else []
    vary = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(vary) != 1 or not all(text.isdecimal() and len(text) < 10 for text in columns[vary[0]]):
        return tuple(sorted(names))
    return tuple(sorted(names, key=lambda name: (int(parts[name][vary[0]]), name)))


# Files of arrays.


def _of_arrays(path: Path, told: Told) -> Found:
    """Every pair of images and labels in a file: x_train and y_train, train_images and train_labels, or one pair alone;
    or a dictionary of images by class."""
    by_class = None if told.images or told.labels else tensors.by_class(path)
    found = Found(classes=in_order(set(by_class)) if by_class else ())
    for part, (images, labels) in ({"": tensors.joined(by_class, found.classes)} if by_class else _pairs(path, told)).items():
        if not images.ndim or not labels.ndim:
            raise Problem(f"{path}: the {'labels' if images.ndim else 'images'} are a single number: give one for every image")
        if len(images) != len(labels) or not len(images):
            raise Problem(f"{path}: {len(images)} {part or 'labelled'} images but {len(labels)} labels")
        if 0 in images.shape:
            raise Problem(f"{path}: images have shape {images.shape}, without a pixel")
        numbers, pixels = _whole_labels(labels, path), _bytes(_channels_last(images, path), told, path)
        for image, label in zip(pixels, numbers.tolist(), strict=True):
            picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
            found.add(part, squared(picture, told.pixels, str(path)), label)
    return found


def _pairs(path: Path, told: Told) -> dict[str, Part]:
    """{part: (images, labels)} as they are."""
    entries = tensors.entries(path)
    if entries is None:
        return {"": tensors.read_pair(path, told.images, told.labels)}
    by_part: dict[str, list[str]] = {}
    for name, array in entries.items():
        if array.ndim >= 3 and told.images in name:
            by_part.setdefault(part_of(name), []).append(name)
    if len(by_part) > 2:
        by_part.pop("", None)  # a mean image, or the like
    if len(by_part) < 2:
        return {next(iter(by_part), ""): tensors.read_pair(path, told.images, told.labels)}
    found = {}
    for part, names in by_part.items():
        fitting = [name for name in tensors.fitting_labels(entries, names[0]) if part_of(name) == part and told.labels in name]
        for what, fits in (("images", names), ("labels", fitting)):
            if len(fits) != 1:
                raise Problem(f"{path} holds {', '.join(list(entries)[:8])}; {' or '.join(fits[:4]) or 'none'} may be the {what}"
                              f" of its part '{part or 'without a name'}': say which with --{what} WORD (in its name)")
        found[part] = (tensors.plain(entries[names[0]], path, "images"), tensors.plain(entries[fitting[0]], path, "labels"))
    return found


def _whole_labels(labels: np.ndarray, path: Path) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and ((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all():
        return labels.argmax(1)
    if labels.ndim != 1 or not np.isfinite(labels).all() or (labels != np.rint(labels)).any():
        raise Problem(f"{path}: labels must be one whole number per image, not of shape {labels.shape}, {labels.dtype}")
    return labels.astype(np.int64)


def _channels_last(images: np.ndarray, path: Path) -> np.ndarray:
    """(n, h, w, c) of images with their channels first, last, or none at all."""
    if images.ndim == 3:
        return images[..., None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return images
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images.transpose(0, 2, 3, 1)
    raise Problem(f"{path}: images have shape {images.shape}: give (images, side, side), with 1 or 3 channels first or last")


def _bytes(images: np.ndarray, told: Told, path: Path) -> np.ndarray:
    """Pixels as uint8; from floats by rounding."""
    if not np.isfinite(images).all():
        raise Problem(f"{path}: image {int(np.argwhere(~np.isfinite(images))[0][0])} holds a value that is not finite")
    space = space_of(images.transpose(0, 3, 1, 2), str(path), told.space)
    if space not in ("pixels", "bytes", "symmetric"):
        raise Problem(f"{path}: images are {space}, no pixels: give the images themselves, as values of 0 to 255 or 0 to 1")
    if images.dtype == np.uint8 and space == "bytes":
        return images
    values = images.astype(np.float32)
    scaled = {"pixels": 255 * values, "bytes": values, "symmetric": 127.5 * (values + 1)}[space]
    if scaled.min() < -0.5 or scaled.max() > 255.5:
        raise Problem(f"{path}: values reach from {images.min():.2f} to {images.max():.2f}, which are no pixels")
    return np.rint(scaled).astype(np.uint8)


# Two parts of one form.


def _classes(labels: list[int], path: Path) -> np.ndarray:
    if min(labels) < 0 or max(labels) >= MOST_CLASSES:
        raise Problem(f"{path}: labels reach from {min(labels)} to {max(labels)}: they must number classes from 0")
    return np.array(labels, np.int64)


def _one_form(images: list[np.ndarray], channels: int, where: str) -> np.ndarray:
    """(n, channels, h, h); a grey image has its one channel in all. Raises Problem where sides differ."""
    sides = Counter(image.shape[-1] for image in images)
    if len(sides) > 1:
        shown = ", ".join(f"{count} of {side} pixels" for side, count in sides.most_common(3)) + ", ..." * (len(sides) > 3)
        raise Problem(f"{where} are of {len(sides)} sizes ({shown}): say which they are brought to, as with --pixels"
                      f" {max(sides)}")
    out = np.empty((len(images), channels, *images[0].shape[1:]), np.uint8)
    for row, image in zip(out, images, strict=True):
        row[:] = image
    return out


def _in_two(parts: Mapping[str, Part], classes: tuple[str, ...], path: Path, told: Told) -> Labelled:
    """The part to train on and the part to test on, cut from one where there is no other."""
    trains, tests = ([name for name in names if name in parts] for names in (TRAINING, TESTING))
    if len(parts) == 1:
        (whole,) = parts.values()
        if not told.test:
            raise Problem(f"{path} has no test images: put class folders under train/ and test/, or say which share of each class"
                          " is for the test, as --test 0.2 (for a synthetic set say which data set it stands for: --of DATASET)")
        train, test = cut(*whole, told.test, str(path))
        notes = [f"the {told.test:.0%} of each class with the largest content hashes are for the test"]
    elif not trains or not tests:
        raise Problem(f"{path} has parts {', '.join(sorted(parts))}: one to train on (train) and one to test on (test, or valid)"
                      " are needed")
    elif told.test:
        raise Problem(f"{path} has a part to test on, {tests[0]}: leave --test away")
    else:
        train, test = parts[trains[0]], parts[tests[0]]
        notes = [f"tested on {tests[0]}" + f", {' and '.join(tests[1:])} left out" * (len(tests) > 1)]
    if train[0].shape[1:] != test[0].shape[1:]:
        raise Problem(f"{path}: training images have shape {train[0].shape[1:]}, test images {test[0].shape[1:]}: bring both to"
                      " one, as with --pixels")
    return Labelled(train, test, classes, tuple(notes))


def cut(images: np.ndarray, labels: np.ndarray, share: float, where: str) -> tuple[Part, Part]:
    """Of each class, the `share` with the largest content hashes for the test; equal images stay on one side.

    Raises Problem where a class has too few images for both sides.
    """
    chosen = np.zeros(len(labels), bool)
    hashes = np.array([content_hash(image) for image in images])
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        ordered = np.sort(hashes[own])
        first = ordered[len(own) - max(1, round(len(own) * share))]
        chosen[own] = hashes[own] >= first
        if chosen[own].all():
            raise Problem(f"{where}: class {label} has {len(own)} images, too few to keep {share:.0%} of them for the test")
    return (images[~chosen], labels[~chosen]), (images[chosen], labels[chosen])


# Which folder is which class of a known data set.


def class_order(folders: list[str], classes: tuple[str, ...], name: str, path: Path, said: str = "") -> tuple[list[str], str]:
    """The folders in the order of the data set's classes, and what is to be said about it."""
    if len(folders) != len(classes):
        raise Problem(f"{path} has {len(folders)} classes ({', '.join(folders[:3])}, ...), {name} has"
                      f" {len(classes)} ({', '.join(classes[:3])}, ...)")
    numbers = [int(found[-1]) if (found := re.findall(r"\d+", folder)) and len(found[-1]) < 10 else -1 for folder in folders]
    counted = sorted(numbers) == list(range(len(folders)))
    if said == "name":
        return folders, "classes in the order of their folders' names"
    if said == "number":
        if not counted:
            raise Problem(f"{path}: the folders {', '.join(folders[:3])}, ... are not numbered from 0 to {len(folders) - 1}")
        return [folders[i] for i in np.argsort(numbers)], "classes by the number in their folders' names"
    if said:
        if sorted(order := [part.strip() for part in said.split(",")]) != sorted(folders):
            raise Problem(f"--classes must be 'number', 'name', or the names of the folders in {path} ({', '.join(folders[:3])},"
                          f" ...) in {name}'s order, with commas between")
        return order, "classes in the order that was said"
    if set(folders) == set(classes):
        return list(classes), ""
    if ending := _by_ending(folders, classes):
        return ending, "classes by the names that their folders' names end in"
    if counted and all(folder.isdecimal() for folder in folders):
        return [folders[i] for i in np.argsort(numbers)], f"folder {folders[int(np.argmin(numbers))]} is {classes[0]}"
    hint = "number" if counted else ",".join(["FOLDER"] * 2) + ",..."
    raise Problem(f"{path} has {len(folders)} classes ({', '.join(folders[:3])}, ...), which are not called like those of {name}"
                  f" ({', '.join(classes[:3])}, ...): say what they are, as with --classes {hint}")


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

