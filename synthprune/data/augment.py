"""What a training batch goes through: DiffAug as the authors use it, then CutMix. On the batch's device, whole batch.

Kim et al. (2022), and the paper's code: flip, then colour, then one of crop, scale and rotate drawn per batch, with
parameters per image. All of it acts on normalised images, so the zero that fills a border is the data set's mean.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GEOMETRIES = ("crop", "scale", "rotate")


def diffaug(images: Tensor, rng: np.random.Generator, *, flip: bool, shared: bool = False) -> Tensor:
    """Augment a batch (n, c, h, h) of normalised float images; differentiable.

    `flip`: also mirror with probability 1/2. `shared`: one draw for the whole batch instead of one per image, as
    matching real with synthetic images needs.
    """
    draws = rng.random((6, 1 if shared else len(images)))
    geometry = GEOMETRIES[int(rng.integers(3))]
    drawn = torch.from_numpy(draws).to(images.device, images.dtype)
    if shared:
        drawn = drawn.expand(-1, len(images))
    mirror, brightness, saturation, contrast, u, v = drawn
    mirrored = mirror < (0.5 if flip else 0.0)
    images = _colour(images, brightness, saturation, contrast)
    return (_shift if geometry == "crop" else _scale if geometry == "scale" else _rotate)(images, u, v, mirrored)


def _colour(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add U(-.5, .5); scale about the channel mean by U(0, 2); scale about the image mean by U(.5, 1.5).

    With b, s, c those three, all in one: c s x + c (1 - s) grey + (1 - c) level + b, of the x that came in.
    """
    b, s, c = (w[:, None, None, None] for w in (brightness - 0.5, 2 * saturation, contrast + 0.5))
    grey = images.mean(1, keepdim=True)
    level = grey.mean((2, 3), keepdim=True)
    return torch.addcmul(c * (1 - s) * grey + ((1 - c) * level + b), images, c * s)


def _shift(images: Tensor, u: Tensor, v: Tensor, mirrored: Tensor, ratio: float = 0.125) -> Tensor:
    """Mirror where said, then move by whole pixels, up to an eighth of the side per axis, zeros behind it."""
    n, _, side, _ = images.shape
    reach = int(ratio * side + 0.5)
    # A draw just below 1 is 1 in float32.
    down, right = (torch.floor(w * (2 * reach + 1)).long().clamp(max=2 * reach)[:, None] for w in (u, v))
    padded = F.pad(images, (reach, reach, reach, reach))
    steps = torch.arange(side, device=images.device)
    rows, columns = down + steps, right + steps
    columns = torch.where(mirrored[:, None], side + 2 * reach - 1 - columns, columns)
    batch = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _scale(images: Tensor, u: Tensor, v: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror where said, then scale by U(1/1.2, 1.2) per axis."""
    low, high = 1 / 1.2, 1.2
    zero = torch.zeros_like(u)
    return _warp(images, (low + u * (high - low), zero, zero, low + v * (high - low)), mirrored)


def _rotate(images: Tensor, u: Tensor, _: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror where said, then rotate by U(-15, 15) degrees."""
    angle = (u - 0.5) * 2 * np.deg2rad(15)
    cosine, sine = angle.cos(), angle.sin()
    return _warp(images, (cosine, -sine, sine, cosine), mirrored)


def _warp(images: Tensor, matrix: tuple[Tensor, Tensor, Tensor, Tensor], mirrored: Tensor) -> Tensor:
    """Look up every pixel where the matrices (n,) xx, xy, yx, yy send it, about the centre; bilinear, zeros outside."""
    sign = 1 - 2 * mirrored.to(images.dtype)
    xx, xy, yx, yy = matrix
    zero = torch.zeros_like(xx)
    theta = torch.stack([sign * xx, sign * xy, zero, yx, yy, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def cutmix(images: Tensor, labels: Tensor, rng: np.random.Generator, probability: float) -> tuple[Tensor, Tensor, float]:
    """With `probability`, paste one box of other images of the batch (Yun et al. 2019).

    Returns images, the labels the box came from, and the weight of the images' own labels: exactly the share of the
    area that was not pasted over, in [0, 1]. The loss is weight * CE(own) + (1 - weight) * CE(pasted).
    """
    if rng.random() >= probability:
        return images, labels, 1.0
    side = images.shape[-1]
    cut = int(side * np.sqrt(1 - rng.random()))
    centre = rng.integers(side, size=2)
    top, left = np.maximum(centre - cut // 2, 0)
    bottom, right = np.minimum(centre + cut // 2, side)
    partner = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    images = images.clone()
    images[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    return images, labels[partner], 1 - float((bottom - top) * (right - left)) / side**2
