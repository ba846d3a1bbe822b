"""Synthetic training sets: published ones by content, random real ones and noise to compare with, and their decode.

A set stores few images per class; the network sees each stored image cut into factor x factor tiles, every tile
enlarged to full size ("multi-formation", Kim et al. 2022). What is stored and what is seen are counted apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from synthprune.data.datasets import Split, average
from synthprune.data.facts import Facts, facts
from synthprune.data.images import fingerprint
from synthprune.home import data_folder, synthetic_sets, write_whole
from synthprune.problems import Problem, cut, nearest
from synthprune.seeds import generator

if TYPE_CHECKING:
    from torch import Tensor  # a page that shows a set loads no torch


@dataclass(frozen=True)
class SyntheticSet:
    """Stored images, float32 about [0, 1] or uint8 (n, c, h, h), class by class; decode `factor`.

    `labels`: int64 (n,), classes in equal blocks where `factor` is above 1; or soft, float32 (n, classes), rows summing to 1.
    `whitened`: the images are no pixels but live in the ZCA-whitened space of their data set, where alone they are of use.
    `notes`: how it was read, in words for people.
    """

    images: np.ndarray
    labels: np.ndarray
    factor: int
    whitened: bool = False
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Twelve hex digits over images, labels, decode factor and space: what the network sees, not how it was filed."""
        return fingerprint(self.images, np.append(self.labels, [self.factor] + [1] * self.whitened))

    @property
    def pictures(self) -> np.ndarray:
        """The stored images as float32 about [0, 1]."""
        return self.images.astype(np.float32) / (255 if self.images.dtype == np.uint8 else 1)

    def decoded(self, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """What the network sees: float32 (n * factor^2, c, pixels, pixels) and labels, int64 or soft, one for each."""
        import torch

        images = self.pictures
        blocks = int(self.labels.max()) + 1 if self.labels.ndim == 1 and self.factor > 1 else 1
        seen = decode(torch.from_numpy(images), self.factor, blocks).numpy()
        own = np.reshape(self.labels, (blocks, 1, len(images) // blocks, *self.labels.shape[1:]))
        every = np.repeat(own, self.factor**2, axis=1)  # as the decode orders them: block by block, each tile of every image
        return average(seen, pixels), every.reshape(len(seen), *self.labels.shape[1:])


def hard(labels: np.ndarray) -> np.ndarray:
    """Integer labels (n,) of hard or soft ones: the likeliest class."""
    return labels if labels.ndim == 1 else labels.argmax(1)


def decode(images: Tensor, factor: int, classes: int) -> Tensor:
    """Multi-formation decode (n, c, h, h) -> (n * factor^2, c, h, h), differentiable and linear; Kim et al. (2022).

    Within each class block the crops come crop-major, row by row. A side that the factor does not divide is padded
    right and bottom with 0.5. Enlarged bilinearly (corners not aligned, no antialias).
    """
    import torch.nn.functional as F

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
    import torch.nn.functional as F

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
    import torch

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


def check(synthetic: SyntheticSet, where: str, name: str, pixels: int | None = None) -> SyntheticSet:
    """The set, if it can be one for data set `name`, of its own size or of `pixels` a side. Raises Problem else."""
    known, images, labels = facts(name), synthetic.images, synthetic.labels
    shape, classes = (known.channels, known.pixels, known.pixels), len(known.classes)
    if pixels and images.ndim == 4 and images.shape[1:] != shape and images.shape[1:] != (known.channels, pixels, pixels):
        raise Problem(f"{where}: images of shape {tuple(images.shape[1:])} cannot be used at pixels={pixels}: only a set of"
                      f" that size, or of {name}'s own {known.pixels} pixels and {known.channels} channels, can")
    if images.ndim != 4 or (not pixels and images.shape[1:] != shape):
        raise Problem(f"{where}: images have shape {tuple(images.shape[1:])}, {name} has {shape}")
    _tile(images.shape[-1], synthetic.factor)
    if len(labels) != len(images) or not len(labels):
        raise Problem(f"{where}: {len(images)} images but {len(labels)} labels")
    if not np.isfinite(images).all():
        first = int(np.argwhere(~np.isfinite(images))[0][0])
        raise Problem(f"{where}: images hold NaN or infinite values, the first of them image {first}")
    if labels.ndim == 2:
        if labels.shape[1] != classes:
            raise Problem(f"{where}: labels of {labels.shape[1]} numbers per image; {name} has {classes} classes")
        return synthetic
    present, counts = np.unique(labels, return_counts=True)
    if not np.array_equal(present, np.arange(classes)):
        raise Problem(f"{where}: {len(present)} classes in the labels, from {present[0]} to {present[-1]}; {name} has"
                      f" {classes}, from 0 to {classes - 1}")
    if synthetic.factor > 1 and counts.min() < counts.max():
        raise Problem(f"{where}: classes have from {counts.min()} to {counts.max()} images; they must be of equal size for a"
                      f" decode factor of {synthetic.factor}")
    return synthetic


def require_title(title: str) -> None:
    """Raises Problem where a set cannot be filed under this title."""
    if not re.fullmatch(r"[\w.-]+", title):
        raise Problem(f"'{title}' cannot name a synthetic set: use letters, digits, '.', '-' and '_' only")


def keep(synthetic: SyntheticSet, title: str) -> str:
    """File a synthetic set under '<title>@<content>'; returns that name."""
    require_title(title)
    full = f"{title}@{synthetic.name}"
    arrays = {"images": np.ascontiguousarray(synthetic.images), "labels": np.ascontiguousarray(synthetic.labels),
              "factor": np.array(synthetic.factor)}  # safetensors writes memory as it lies
    if synthetic.whitened:
        arrays["whitened"] = np.array(True)
    write_whole(data_folder() / "synthetic" / f"{full}.safetensors", save(arrays))
    return full


def imported() -> list[str]:
    """The full names of the synthetic sets on this machine, those that ship with the results included."""
    return sorted(synthetic_sets())


def filed(full: str) -> SyntheticSet | None:
    """The set filed as '<title>@<content>'; None where it is not here. Raises Problem where it is damaged or another."""
    path = synthetic_sets().get(full)
    if path is None:
        return None
    try:
        arrays = load_file(path)
        synthetic = SyntheticSet(arrays["images"], arrays["labels"], int(arrays["factor"]), "whitened" in arrays)
    except (SafetensorError, KeyError) as error:
        raise Problem(f"{path} is damaged ({error}): import it again") from None
    if synthetic.name != full.rsplit("@", maxsplit=1)[-1]:
        raise Problem(f"{path} holds {synthetic.name}, not what its name says: import it again")
    return synthetic


def published(full: str, name: str, whitened: bool = False, pixels: int | None = None) -> SyntheticSet:
    """The set filed as '<title>@<content>', for data set `name`, `whitened` or not, to be used at `pixels` (None: its own).

    Raises Problem where it is absent, holds something else, stands for another data set, lives in the other space or has
    images of another size: they must have the data set's own, or just the one they are used at.
    """
    synthetic = filed(full)
    if synthetic is None:
        hint = nearest(full, imported()) if imported() else "none is imported yet"
        full = cut(full)
        raise Problem(f"the synthetic set '{full}' is not on this machine ({hint}): import it with"
                      f" 'synthprune data import {full.split('@', maxsplit=1)[0]} PATH --of DATASET'")
    if synthetic.whitened != whitened:
        spaces = "ZCA-whitened images and this {} is not" if synthetic.whitened else "pixels and this {} is ZCA-whitened"
        raise Problem(f"the synthetic set '{full}' holds {spaces.format(name)}: use it with whitened={synthetic.whitened}")
    return check(synthetic, full, name, pixels)
