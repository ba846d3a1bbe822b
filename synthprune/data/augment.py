"""What a training batch goes through: DiffAug as the authors use it, then CutMix. On the batch's device, whole batch.

Kim et al. (2022), and the paper's code: flip, then colour, then one of crop, scale and rotate drawn per batch, with
parameters per image. All of it acts on normalised images, so the zero that fills a border is the data set's mean.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Numbers = np.ndarray | float


def diffaug(images: Tensor, rng: np.random.Generator, *, flip: bool, shared: bool = False) -> Tensor:
    """Augment a batch (n, c, h, h) of normalised float images; differentiable.

    `flip`: also mirror with probability 1/2. `shared`: one draw for the whole batch instead of one per image, as
    matching real with synthetic images needs.
    """
    return changed(images, drawn(rng, 1 if shared else len(images), images.shape[-1], flip=flip))


def drawn(rng: np.random.Generator, count: int, side: int, *, flip: bool) -> np.ndarray:
    """What happens to `count` images of one batch (9, count): brightness, saturation, contrast, then a matrix's six numbers."""
    mirror, brightness, saturation, contrast, u, v = rng.random((6, count))
    matrix = GEOMETRIES[int(rng.integers(3))](u, v, side)
    matrix[0] *= np.where(mirror < (0.5 if flip else 0), -1, 1)  # before it is moved
    return np.concatenate([[brightness - 0.5, 2 * saturation, contrast + 0.5], matrix.reshape(6, -1)])


def changed(images: Tensor, draws: np.ndarray) -> Tensor:
    """Normalised float images (n, c, h, h), each changed by its column of `draws`, or all by the only one."""
    return _moved(_coloured(images, *draws[:3]), draws[3:].reshape(2, 3, -1))


# What is drawn is made into one matrix of each image before it comes to the device: there, few and large operations are left.


def _coloured(images: Tensor, b: np.ndarray, s: np.ndarray, c: np.ndarray) -> Tensor:
    """Add b; scale about the channel mean by s; scale about the image mean by c.

    All in one: c s x + c (1 - s) grey + (1 - c) level + b, of the x that came in.
    """
    channels = images.shape[1]
    mixing = np.multiply.outer(c * s, np.eye(channels)) + (c * (1 - s) / channels)[:, None, None]
    each, rest, level = (images.new_tensor(values) for values in (mixing, 1 - c, b))
    moved = torch.addcmul(level, rest, images.mean((1, 2, 3)))[:, None, None]
    return torch.baddbmm(moved, each.expand(len(images), -1, -1), images.flatten(2)).view(images.shape)


def _crop(u: np.ndarray, v: np.ndarray, side: int) -> np.ndarray:
    """Move by whole pixels, up to an eighth of the side per axis."""
    reach = int(side / 8 + 0.5)
    down, right = (np.floor(w * (2 * reach + 1)) - reach for w in (u, v))
    return _matrix(u, xx=1, yy=1, x=right * (2 / side), y=down * (2 / side))


def _scale(u: np.ndarray, v: np.ndarray, _: int) -> np.ndarray:
    """Scale by U(1/1.2, 1.2) per axis."""
    low, high = 1 / 1.2, 1.2
    return _matrix(u, xx=low + u * (high - low), yy=low + v * (high - low))


def _rotate(u: np.ndarray, *_: object) -> np.ndarray:
    """Rotate by U(-15, 15) degrees."""
    angle = np.deg2rad(30 * u - 15)
    return _matrix(u, xx=np.cos(angle), xy=-np.sin(angle), yx=np.sin(angle), yy=np.cos(angle))


GEOMETRIES = (_crop, _scale, _rotate)


def _matrix(like: np.ndarray, *, xx: Numbers, yy: Numbers, xy: Numbers = 0, yx: Numbers = 0, x: Numbers = 0,
            y: Numbers = 0) -> np.ndarray:
    """(2, 3, n): the pixel at (X, Y), -1 to 1 about the centre, comes from (xx X + xy Y + x, yx X + yy Y + y)."""
    made = np.empty((6, len(like)))
    for row, values in zip(made, (xx, xy, x, yx, yy, y), strict=True):
        row[:] = values
    return made.reshape(2, 3, -1)


def _moved(images: Tensor, matrix: np.ndarray) -> Tensor:
    """Take every pixel from where `matrix` says; bilinear, zeros outside."""
    n, _, side, _ = images.shape
    places = images.new_tensor(matrix.transpose(0, 2, 1)) @ images.new_tensor(_pixels(side))
    grid = places.view(2, -1, side, side).movedim(0, -1).expand(n, -1, -1, -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@functools.cache
def _pixels(side: int) -> np.ndarray:
    """(3, side²): X and Y of every pixel, -1 to 1 about the centre, and 1.

    Exact where the side is a power of two: a move by whole pixels then interpolates nothing.
    """
    steps = (2 * np.arange(side) + 1) / side - 1
    return np.stack([np.tile(steps, side), np.repeat(steps, side), np.ones(side**2)])


def cutmix(images: Tensor, labels: Tensor, rng: np.random.Generator, probability: float) -> tuple[Tensor, float]:
    """With `probability`, paste one box of other images of the batch into `images` themselves (Yun et al. 2019).

    Returns the labels the box came from, and the weight of the images' own labels: exactly the share of the area that was
    not pasted over, in [0, 1]. The loss is weight * CE(own) + (1 - weight) * CE(pasted).
    """
    if rng.random() >= probability:
        return labels.clone(), 1.0
    side = images.shape[-1]
    cut = int(side * np.sqrt(1 - rng.random()))
    centre = rng.integers(side, size=2)
    top, left = np.maximum(centre - cut // 2, 0)
    bottom, right = np.minimum(centre + cut // 2, side)
    partner = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    box = images[:, :, top:bottom, left:right]
    box.copy_(box.index_select(0, partner))
    return labels[partner], 1 - float((bottom - top) * (right - left)) / side**2
