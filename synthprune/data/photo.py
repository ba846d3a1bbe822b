"""What photographs go through before they are normalised: random crops resized, mirrored, jittered and lit.

The paper's code, after Kim et al. (2022), on images whose central square was cut out before: RandomResizedCrop of .5 to 1
of the area, horizontal flip, jitter of brightness, contrast and saturation by .4, and lighting by .1 (Krizhevsky et al.
2012). Nothing is clipped, as there; then the three jitters commute, and their random order is none.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.299, 0.587, 0.114)
JITTER = 0.4
LIGHT = 0.1
# Deviations and directions of ImageNet's colours, as the code of both papers states them.
COLOUR_DEVIATIONS = (0.2175, 0.0188, 0.0045)
COLOURS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def photo(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Augment a batch (n, 3, h, h) of float images in [0, 1], each with draws of its own; values may leave [0, 1]."""
    n, _, side, _ = images.shape
    boxes, mirrored = crops(n, side, rng), rng.random(n) < 0.5
    brightness, contrast, saturation = rng.uniform(1 - JITTER, 1 + JITTER, (3, n))
    light = rng.normal(0, LIGHT, (n, 3)) * COLOUR_DEVIATIONS @ np.transpose(COLOURS)
    images = resized(images, boxes, mirrored)
    return jittered(images, brightness, contrast, saturation) + _like(light, images)


def crops(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Boxes (count, 4) of top, left, height and width in whole pixels, as torchvision's RandomResizedCrop draws them.

    The area is uniform in .5 to 1 of the image, width over height log-uniform in 3/4 to 4/3; the first of ten draws that
    fits is taken, the whole image if none does.
    """
    area = side**2 * rng.uniform(0.5, 1, (10, count))
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), (10, count)))
    sizes = np.rint(np.sqrt([area / ratio, area * ratio])).astype(int)
    fits = (sizes <= side).all(0)
    chosen = sizes[:, fits.argmax(0), np.arange(count)]
    size = np.where(fits.any(0), chosen, side)
    corner = rng.integers(side - size + 1)
    return np.concatenate([corner, size]).T


def resized(images: Tensor, boxes: np.ndarray, mirrored: np.ndarray) -> Tensor:
    """The `boxes` of square images enlarged to full size, bilinearly (corners not aligned); mirrored where said."""
    side = images.shape[-1]
    corner, size = np.split(boxes.astype(np.float64), 2, axis=1)
    # Source coordinates of every output row and column; beyond a crop's outermost pixels is nothing to interpolate with.
    places = (np.arange(side) + 0.5) / side * size[..., None] - 0.5
    places = np.clip(places, 0, size[..., None] - 1) + corner[..., None]
    places[mirrored, 1] = places[mirrored, 1, ::-1]
    rows, columns = torch.from_numpy((2 * places + 1) / side - 1).to(images.device, images.dtype).unbind(1)
    grid = torch.stack([columns[:, None, :].expand(-1, side, -1), rows[:, :, None].expand(-1, -1, side)], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def jittered(images: Tensor, brightness: np.ndarray, contrast: np.ndarray, saturation: np.ndarray) -> Tensor:
    """Factors (n,): brightness scales, contrast scales about the image's mean grey, saturation about each pixel's grey."""
    grey = (images * images.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
    level = grey.mean((2, 3), keepdim=True)
    b, c, s = (_like(factor[:, None], images) for factor in (brightness, contrast, saturation))
    return b * (c * (s * images + (1 - s) * grey) + (1 - c) * level)


def _like(values: np.ndarray, images: Tensor) -> Tensor:
    """(n, k) as (n, k, 1, 1), of the images' type and device."""
    return torch.from_numpy(values).to(images.device, images.dtype)[:, :, None, None]
