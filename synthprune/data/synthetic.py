"""Synthetic training sets: published ones by content, random real ones and noise to compare with, and their decode.

A set stores few images per class; the network sees each stored image cut into factor x factor tiles, every tile
enlarged to full size ("multi-formation", Kim et al. 2022). What is stored and what is seen are counted apart.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from synthprune.data.datasets import Split, average
from synthprune.data.facts import Facts, facts
from synthprune.data.images import fingerprint, read_classes
from synthprune.home import data_folder, synthetic_sets, write_whole
from synthprune.problems import Problem, nearest
from synthprune.seeds import generator


@dataclass(frozen=True)
class SyntheticSet:
    """Stored images, float32 about [0, 1] or uint8 (classes * ipc, c, h, h), in equal blocks by class; decode `factor`.

    `whitened`: the images are no pixels but live in the ZCA-whitened space of their data set, where alone they are of use.
    """

    images: np.ndarray
    labels: np.ndarray
    factor: int
    whitened: bool = False

    @property
    def name(self) -> str:
        """Twelve hex digits over images, labels, decode factor and space: what the network sees, not how it was filed."""
        return fingerprint(self.images, np.append(self.labels, [self.factor] + [1] * self.whitened))

    def decoded(self, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """What the network sees: float32 (classes * ipc * factor^2, c, pixels, pixels) and int64 labels."""
        images = self.images.astype(np.float32) / (255 if self.images.dtype == np.uint8 else 1)
        classes = int(self.labels.max()) + 1
        seen = decode(torch.from_numpy(images), self.factor, classes).numpy()
        return average(seen, pixels), np.repeat(np.arange(classes), len(seen) // classes)


def decode(images: Tensor, factor: int, classes: int) -> Tensor:
    """Multi-formation decode (n, c, h, h) -> (n * factor^2, c, h, h), differentiable and linear; Kim et al. (2022).

    Within each class block the crops come crop-major, row by row. A side that the factor does not divide is padded
    right and bottom with 0.5. Enlarged bilinearly (corners not aligned, no antialias).
    """
    if factor == 1:
        return images
    side, per_class = images.shape[-1], len(images) // classes
    tile = _tile(side, factor)
    pad = tile * factor - side
    padded = F.pad(images, (0, pad, 0, pad), value=0.5)
    tiles = padded.unfold(2, tile, tile).unfold(3, tile, tile)  # n, c, rows, columns, tile, tile
    tiles = tiles.unflatten(0, (classes, per_class)).permute(0, 3, 4, 1, 2, 5, 6).flatten(0, 3)
    return F.interpolate(tiles, size=(side, side), mode="bilinear", align_corners=False)


def _tile(side: int, factor: int) -> int:
    """The side of a tile, the last one maybe padded. Raises Problem where it would be nothing but padding."""
    tile = -(-side // factor)
    if tile * (factor - 1) >= side:
        raise Problem(f"images of {side} pixels cannot be cut by decode factor {factor}: its last tile would be empty")
    return tile


def mix(images: Tensor, factor: int) -> Tensor:
    """The inverse in spirit: factor^2 real images of one class pasted, shrunk by nearest neighbour, into each stored one.

    (ipc * factor^2, c, h, h) -> (ipc, c, h, h); cell k of stored image i holds real image k * ipc + i.
    """
    if factor == 1:
        return images
    side, count = images.shape[-1], len(images) // factor**2
    edges = [_tile(side, factor) * i for i in range(factor)] + [side]
    stored = images.new_zeros(count, *images.shape[1:])
    for k in range(factor**2):
        row, column = divmod(k, factor)
        (top, bottom), (left, right) = edges[row: row + 2], edges[column: column + 2]
        stored[..., top:bottom, left:right] = F.interpolate(images[k * count:(k + 1) * count], (bottom - top, right - left))
    return stored


def random_real(split: Split, ipc: int, factor: int, seed: int) -> SyntheticSet:
    """A class-balanced random coreset: `ipc` stored images per class, each of factor^2 training images.

    Raises Problem where a class has too few images.
    """
    rng, stored = generator(seed, "coreset"), []
    for label in range(len(split.facts.classes)):
        own = np.flatnonzero(split.train_labels == label)
        if len(own) < ipc * factor**2:
            raise Problem(f"class {label} has {len(own)} training images; a coreset of {ipc} per class at decode factor"
                          f" {factor} takes {ipc * factor**2}")
        chosen = split.train_images[rng.permutation(own)[: ipc * factor**2]].astype(np.float32)
        stored.append(mix(torch.from_numpy(chosen if split.whitened else chosen / 255), factor).numpy())
    return SyntheticSet(np.concatenate(stored), np.repeat(np.arange(len(stored)), ipc), factor, split.whitened)


def noise(known: Facts, ipc: int, factor: int, seed: int) -> SyntheticSet:
    """Images without content: every stored value normal with its channel's mean and deviation, clipped to [0, 1]."""
    values = generator(seed, "noise").standard_normal((len(known.classes) * ipc, known.channels, known.pixels, known.pixels))
    mean, std = (np.reshape(v, (-1, 1, 1)) for v in (known.mean, known.std))
    images = np.clip(mean + std * values, 0, 1).astype(np.float32)
    return SyntheticSet(images, np.repeat(np.arange(len(known.classes)), ipc), factor)


def shuffled_labels(labels: np.ndarray, seed: int) -> np.ndarray:
    """The labels in a random order: as many of each class as before, and none that says what its image shows."""
    return generator(seed, "labels").permutation(labels)


# The one function that pickles of numpy scalars call, under its old and its new module: VICO files hold accuracies.
_SCALAR = np.float64().__reduce__()[0]
HARMLESS = [_SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype(np.float64))]

# Where the standardisation of Zhao et al.'s code, and of Cazenavette et al.'s after it, is not that of Kim et al.'s.
STANDARDISED = {"cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))}

WHITE = 0.75
"""A set of Cazenavette et al.'s that deviates by less is taken as whitened."""


def read_tensors(path: Path, name: str, factor: int) -> SyntheticSet:
    """A published set for data set `name`, of the three forms that torch.save is used for, told apart by content.

    * Kim et al.'s (IDC) `data.pt`: a list [images, labels], pixels about [0, 1]; they may leave it slightly and are kept.
    * VICO's (Zhao et al.: DC, DSA, DM): a dictionary whose "data" is a list of [images, labels], the last one taken;
      standardised images, turned back into pixels, which may lie far outside [0, 1].
    * Cazenavette et al.'s (MTT): a tensor of images, its labels in a file of the same name with "labels" for "images";
      standardised or ZCA-whitened, as their deviation tells: about 1 in standardised space, .25 for whitened photographs
      and .55 for the one whitened set at hand.

    Images float (classes * ipc, c, h, h), labels integers in equal blocks. Read without executing anything the file may
    hold. Raises Problem for all else.
    """
    content = _loaded(path)
    if isinstance(content, Tensor):
        found = _of_pair([content, _loaded(_labels_of(path))], path, name, factor, standardised=True)
        return dataclasses.replace(found, whitened=True) if found.images.std() < WHITE else _in_pixels(found, name)
    if isinstance(content, dict) and isinstance(content.get("data"), list) and content["data"]:
        return _in_pixels(_of_pair(content["data"][-1], path, name, factor, standardised=True), name)
    return _of_pair(content, path, name, factor, standardised=False)



def _loaded(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise Problem(f"no such file: {path}") from None
    except Exception as error:  # torch reports refused code, damage and foreign formats by different exceptions
        reason = "holds pickled code, which is never executed" if "Weights only" in str(error) else "is damaged or foreign"
        raise Problem(f"{path} {reason}: only a list [images, labels] of tensors is read, or one of the other published"
                      " forms") from None


def _labels_of(path: Path) -> Path:
    if "images" not in path.name:
        raise Problem(f"{path} is one tensor: name it ...images... and put its labels beside it as ...labels...")
    return path.with_name(path.name.replace("images", "labels"))


def _of_pair(content: object, path: Path, name: str, factor: int, standardised: bool) -> SyntheticSet:
    """The set [images, labels], its values as they are; they must look like pixels, or like `standardised` ones."""
    if not (isinstance(content, list | tuple) and len(content) == 2 and all(isinstance(t, Tensor) for t in content)):
        raise Problem(f"{path} is not a list [images, labels] of two tensors, nor one of the other published forms")
    images, labels = content
    if not images.is_floating_point() or images.layout != torch.strided or images.is_meta:
        raise Problem(f"{path}: images must be a dense tensor of floats, not {images.dtype}, {images.layout}")
    if labels.dtype not in (torch.int64, torch.int32, torch.uint8) or labels.layout != torch.strided or labels.ndim != 1:
        raise Problem(f"{path}: labels must be one integer per image, not {labels.dtype} of shape {tuple(labels.shape)}")
    found = _checked(SyntheticSet(images.detach().float().numpy(), labels.long().numpy(), factor), str(path), name)
    low, high = found.images.min(), found.images.max()
    if standardised and low >= 0:
        raise Problem(f"{path}: values reach from {low:.2f} to {high:.2f}; standardised or whitened images are expected in"
                      " this form, not pixels")
    if not standardised and (low < -0.5 or high > 1.5):
        raise Problem(f"{path}: values reach from {low:.2f} to {high:.2f}; pixels in about [0, 1] are expected, not"
                      " normalised or whitened ones")
    return found


def _in_pixels(standardised: SyntheticSet, name: str) -> SyntheticSet:
    known = facts(name)
    mean, std = (np.array(v, np.float32).reshape(-1, 1, 1) for v in STANDARDISED.get(name, (known.mean, known.std)))
    return dataclasses.replace(standardised, images=standardised.images * std + mean)


def read_images(path: Path, name: str, factor: int, inside: str = "") -> SyntheticSet:
    """A folder or tar of `<inside>/<class>/<image>` for data set `name`; classes by name, in the data set's order."""
    known = facts(name)
    found = read_classes(path, known.pixels, known.channels, inside)
    if tuple(found) != tuple(sorted(known.classes)):
        raise Problem(f"{path} has {len(found)} classes ({', '.join(list(found)[:3])}, ...), {name} has"
                      f" {len(known.classes)} ({', '.join(known.classes[:3])}, ...)")
    labels = np.repeat(np.arange(len(found)), [len(found[c]) for c in known.classes])
    images = np.concatenate([found[c] for c in known.classes])
    return _checked(SyntheticSet(images, labels, factor), str(path), name)


def _checked(synthetic: SyntheticSet, where: str, name: str, pixels: int | None = None) -> SyntheticSet:
    known, images, labels = facts(name), synthetic.images, synthetic.labels
    shape = (known.channels, known.pixels, known.pixels)
    if pixels and images.ndim == 4 and images.shape[1:] != shape and images.shape[1:] != (known.channels, pixels, pixels):
        raise Problem(f"{where}: images of shape {tuple(images.shape[1:])} cannot be used at pixels={pixels}: only a set of"
                      f" that size, or of {name}'s own {known.pixels} pixels and {known.channels} channels, can")
    if not pixels and (images.ndim != 4 or images.shape[1:] != shape):
        raise Problem(f"{where}: images have shape {tuple(images.shape[1:])}, {name} has {shape}")
    if len(labels) != len(images) or not len(labels):
        raise Problem(f"{where}: {len(images)} images but {len(labels)} labels")
    if not np.isfinite(images).all():
        raise Problem(f"{where}: images hold NaN or infinite values")
    present = np.unique(labels)
    if not np.array_equal(present, np.arange(len(known.classes))):
        raise Problem(f"{where}: {len(present)} classes in the labels, from {present[0]} to {present[-1]}; {name} has"
                      f" {len(known.classes)}, from 0 to {len(known.classes) - 1}")
    if not np.array_equal(labels, np.repeat(np.arange(len(known.classes)), len(labels) // len(known.classes))):
        raise Problem(f"{where}: labels must come sorted in equal blocks, 0 0 ... 1 1 ..., as the decode relies on it")
    return synthetic


def _folder() -> Path:
    return data_folder() / "synthetic"


def keep(synthetic: SyntheticSet, title: str) -> str:
    """File a synthetic set under '<title>@<content>'; returns that name."""
    if not re.fullmatch(r"[\w.-]+", title):
        raise Problem(f"'{title}' cannot name a synthetic set: use letters, digits, '.', '-' and '_' only")
    full = f"{title}@{synthetic.name}"
    arrays = {"images": synthetic.images, "labels": synthetic.labels, "factor": np.array(synthetic.factor)}
    if synthetic.whitened:
        arrays["whitened"] = np.array(True)
    write_whole(_folder() / f"{full}.safetensors", save(arrays))
    return full


def imported() -> list[str]:
    """The full names of the synthetic sets on this machine, those that ship with the results included."""
    return sorted(synthetic_sets())


def published(full: str, name: str, whitened: bool = False, pixels: int | None = None) -> SyntheticSet:
    """The set filed as '<title>@<content>', for data set `name`, `whitened` or not, to be used at `pixels` (None: its own).

    Raises Problem where it is absent, holds something else, stands for another data set, lives in the other space or has
    images of another size: they must have the data set's own, or just the one they are used at.
    """
    path = synthetic_sets().get(full)
    if path is None:
        hint = nearest(full, imported()) if imported() else "none is imported yet"
        raise Problem(f"the synthetic set '{full}' is not on this machine ({hint}): import it with"
                      f" 'synthprune data import {full.split('@', maxsplit=1)[0]} PATH --of DATASET'")
    try:
        arrays = load_file(path)
        synthetic = SyntheticSet(arrays["images"], arrays["labels"], int(arrays["factor"]), "whitened" in arrays)
    except (SafetensorError, KeyError) as error:
        raise Problem(f"{path} is damaged ({error}): import it again") from None
    if synthetic.name != full.rsplit("@", maxsplit=1)[-1]:
        raise Problem(f"{path} holds {synthetic.name}, not what its name says: import it again")
    if synthetic.whitened != whitened:
        spaces = "ZCA-whitened images and this {} is not" if synthetic.whitened else "pixels and this {} is ZCA-whitened"
        raise Problem(f"the synthetic set '{full}' holds {spaces.format(name)}: use it with whitened={synthetic.whitened}")
    return _checked(synthetic, full, name, pixels)
