"""Synthetic training sets: published ones by content, random real ones to compare with, and the decode they share.

A set stores few images per class; the network sees each stored image cut into factor x factor tiles, every tile
enlarged to full size ("multi-formation", Kim et al. 2022). What is stored and what is seen are counted apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from synthprune.data.datasets import Split, average, facts
from synthprune.data.images import fingerprint, read_classes
from synthprune.home import home, write_whole
from synthprune.problems import Problem, nearest
from synthprune.seeds import generator


@dataclass(frozen=True)
class SyntheticSet:
    """Stored images in [0, 1]: float32 or uint8 (classes * ipc, c, h, h), in equal blocks by class; decode `factor`."""

    images: np.ndarray
    labels: np.ndarray
    factor: int

    @property
    def name(self) -> str:
        """Twelve hex digits over images, labels and decode factor: what the network sees, not how it was filed."""
        return fingerprint(self.images, np.append(self.labels, self.factor))

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
        chosen = split.train_images[rng.permutation(own)[: ipc * factor**2]]
        stored.append(mix(torch.from_numpy(chosen.astype(np.float32) / 255), factor).numpy())
    return SyntheticSet(np.concatenate(stored), np.repeat(np.arange(len(stored)), ipc), factor)


def read_idc(path: Path, name: str, factor: int) -> SyntheticSet:
    """Kim et al.'s `data.pt`: a list [images float32 (classes * ipc, c, h, h) about [0, 1], labels int64 in blocks].

    Read without executing anything the file may hold; their values may leave [0, 1] slightly and are kept.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise Problem(f"no such file: {path}") from None
    except Exception as error:  # torch reports refused code, damage and foreign formats by different exceptions
        reason = "holds pickled code, which is never executed" if "Weights only" in str(error) else "is damaged or foreign"
        raise Problem(f"{path} {reason}: only a list [images, labels] of tensors is read") from None
    if not (isinstance(content, list | tuple) and len(content) == 2 and all(isinstance(t, Tensor) for t in content)):
        raise Problem(f"{path} is not a list [images, labels] of two tensors")
    images, labels = content
    if not images.is_floating_point() or images.layout != torch.strided or images.is_meta:
        raise Problem(f"{path}: images must be a dense tensor of floats, not {images.dtype}, {images.layout}")
    if labels.dtype not in (torch.int64, torch.int32, torch.uint8) or labels.layout != torch.strided or labels.ndim != 1:
        raise Problem(f"{path}: labels must be one integer per image, not {labels.dtype} of shape {tuple(labels.shape)}")
    return _checked(SyntheticSet(images.detach().float().numpy(), labels.long().numpy(), factor), str(path), name)


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


def _checked(synthetic: SyntheticSet, where: str, name: str) -> SyntheticSet:
    known, images, labels = facts(name), synthetic.images, synthetic.labels
    shape = (known.channels, known.pixels, known.pixels)
    if images.ndim != 4 or images.shape[1:] != shape:
        raise Problem(f"{where}: images have shape {tuple(images.shape[1:])}, {name} has {shape}")
    if len(labels) != len(images) or not len(labels):
        raise Problem(f"{where}: {len(images)} images but {len(labels)} labels")
    if not np.isfinite(images).all():
        raise Problem(f"{where}: images hold NaN or infinite values")
    if images.dtype != np.uint8 and (images.min() < -0.5 or images.max() > 1.5):
        raise Problem(f"{where}: values reach from {images.min():.2f} to {images.max():.2f}; pixels in about [0, 1] are"
                      " expected, not normalised or whitened ones")
    present = np.unique(labels)
    if not np.array_equal(present, np.arange(len(known.classes))):
        raise Problem(f"{where}: {len(present)} classes in the labels, from {present[0]} to {present[-1]}; {name} has"
                      f" {len(known.classes)}, from 0 to {len(known.classes) - 1}")
    if not np.array_equal(labels, np.repeat(np.arange(len(known.classes)), len(labels) // len(known.classes))):
        raise Problem(f"{where}: labels must come sorted in equal blocks, 0 0 ... 1 1 ..., as the decode relies on it")
    return synthetic


def _folder() -> Path:
    return home() / "data" / "synthetic"


def keep(synthetic: SyntheticSet, title: str) -> str:
    """File a synthetic set under '<title>@<content>'; returns that name."""
    if not re.fullmatch(r"[\w.-]+", title):
        raise Problem(f"'{title}' cannot name a synthetic set: use letters, digits, '.', '-' and '_' only")
    full = f"{title}@{synthetic.name}"
    arrays = {"images": synthetic.images, "labels": synthetic.labels, "factor": np.array(synthetic.factor)}
    write_whole(_folder() / f"{full}.safetensors", save(arrays))
    return full


def imported() -> list[str]:
    """The full names of the synthetic sets on this machine."""
    return sorted(path.stem for path in _folder().glob("*@*.safetensors"))


def published(full: str, name: str) -> SyntheticSet:
    """The set imported as '<title>@<content>', for data set `name`.

    Raises Problem where it is absent, holds something else, or stands for another data set.
    """
    path = _folder() / f"{full}.safetensors"
    if not path.exists():
        hint = nearest(full, imported()) if imported() else "none is imported yet"
        raise Problem(f"the synthetic set '{full}' is not on this machine ({hint}): import it with"
                      f" 'synthprune data import {full.split('@', maxsplit=1)[0]} PATH --of DATASET'")
    try:
        arrays = load_file(path)
        synthetic = SyntheticSet(arrays["images"], arrays["labels"], int(arrays["factor"]))
    except (SafetensorError, KeyError) as error:
        raise Problem(f"{path} is damaged ({error}): import it again") from None
    if synthetic.name != full.rsplit("@", maxsplit=1)[-1]:
        raise Problem(f"{path} holds {synthetic.name}, not what its name says: import it again")
    return _checked(synthetic, full, name)
