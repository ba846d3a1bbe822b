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
    u = torch.from_numpy(draws).to(images.device, images.dtype)[:, :, None, None, None]
    if shared:
        u = u.expand(-1, len(images), -1, -1, -1)
    if flip:
        images = torch.where(u[0] < 0.5, images.flip(3), images)
    images = _colour(images, u[1], u[2], u[3])
    if geometry == "crop":
        return _shift(images, u[4], u[5])
    return _warp(images, geometry, u[4], u[5])


def _colour(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add U(-.5, .5); scale about the channel mean by U(0, 2); scale about the image mean by U(.5, 1.5)."""
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    level = images.mean((1, 2, 3), keepdim=True)
    return (images - level) * (contrast + 0.5) + level


def _shift(images: Tensor, u: Tensor, v: Tensor, ratio: float = 0.125) -> Tensor:
    """Move each image by whole pixels, up to an eighth of its side per axis, zeros behind it."""
    n, _, side, _ = images.shape
    reach = int(ratio * side + 0.5)
    # A draw just below 1 is 1 in float32.
    down, right = (torch.floor(w.flatten() * (2 * reach + 1)).long().clamp(max=2 * reach) for w in (u, v))
    padded = F.pad(images, (reach, reach, reach, reach))
    steps = torch.arange(side, device=images.device)
    rows, columns = down[:, None] + steps, right[:, None] + steps
    batch = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _warp(images: Tensor, geometry: str, u: Tensor, v: Tensor) -> Tensor:
    """Scale by U(1/1.2, 1.2) per axis, or rotate by U(-15, 15) degrees; bilinear, zeros outside."""
    u, v = u.flatten(), v.flatten()
    matrix = images.new_zeros(len(images), 2, 3)
    if geometry == "scale":
        low, high = 1 / 1.2, 1.2
        matrix[:, 0, 0], matrix[:, 1, 1] = low + u * (high - low), low + v * (high - low)
    else:
        angle = (u - 0.5) * 2 * np.deg2rad(15)
        matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
        matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
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
