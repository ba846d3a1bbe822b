"""Which space the values of images are in, as far as their numbers tell."""

from __future__ import annotations

import numpy as np

from synthprune.problems import Problem

WHITE = 0.75
"""A set about zero that deviates by less is taken as whitened: standardised images deviate by about 1, whitened photographs
by .25, and the one published set that is known to be whitened by .55."""

SMOOTH = 0.8
"""Neighbouring pixels that agree by more were not whitened: in whitened photographs they correlate by .64, in the published set
by .56, in photographs by .93."""

ROUGH = 0.7
"""Neighbouring pixels that agree by less are no standardised images: in those they correlate by .94, in the sets that Zhao et
al. learnt by .79 or more."""

FAINT = 0.1
"""Pixels of 0 to 1 of which none is brighter were divided by 255 twice."""

SPACES = {"pixels": "pixels of 0 to 1", "bytes": "pixels of 0 to 255", "symmetric": "pixels of -1 to 1, brought to 0 to 1",
          "standardised": "standardised images, turned back into pixels", "whitened": "ZCA-whitened images"}


def space_of(images: np.ndarray, where: str, said: str = "") -> str:
    """Which of SPACES the values of images (n, c, h, w) are in: what was said, or else what they tell.

    Raises Problem where they do not tell, or cannot be what was said.
    """
    found = _told_by(images)
    if said and said != found and not _may_be(images, said):
        raise Problem(f"{where}: values of type {images.dtype} from {images.min():g} to {images.max():g} are no"
                      f" {SPACES[said].split(',')[0]}: leave --space away, or say what they are")
    if said or found:
        return said or found
    digits = 2 if images.max() >= FAINT else 4
    low, high, deviation = (f"{v:.{digits}f}" for v in (images.min(), images.max(), images.std(dtype=np.float64)))
    raise Problem(f"{where}: values reach from {low} to {high} and deviate by {deviation}; pixels in about [0, 1] are expected,"
                  f" or standardised or whitened images: say which with --space ({', '.join(SPACES)})")


def _told_by(images: np.ndarray) -> str:
    """Which of SPACES the values tell; empty where they do not."""
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind in "biu":
        return "bytes" if low >= 0 and 1 < high <= 255 else ""
    if low >= -0.5 and high <= 1.5 and (images < 0).mean() < 0.1:
        return "pixels" if high >= FAINT else ""
    if low >= 0 and 16 < high <= 255:
        return "bytes"
    mean, deviation = (float(f(images, dtype=np.float64)) for f in (np.mean, np.std))  # half precision would overflow
    if not (abs(mean) < deviation / 2 and (low < -1 or high > 1) and low < 0 < high and deviation < 6):
        return ""
    smooth = np.corrcoef(images[..., 1:].ravel(), images[..., :-1].ravel())[0, 1]
    if deviation >= WHITE:
        return "standardised" if smooth >= ROUGH else ""
    return "whitened" if smooth < SMOOTH else ""


def _may_be(images: np.ndarray, space: str) -> bool:
    """Whether nearly all values are what they would be there: learnt images leave every range somewhat."""
    least, most = images.min(), images.max()
    if space == "bytes":
        return bool(least >= 0 and 1 < most <= 255)
    if images.dtype.kind in "biu":
        return bool(space == "pixels" and least >= 0 and most <= 1)
    low, high = np.quantile(images.astype(np.float32), (0.01, 0.99))
    below, centred = float((images < 0).mean()), abs(images.mean(dtype=np.float64)) < images.std(dtype=np.float64)
    return bool({"pixels": low >= -0.5 and high <= 1.5, "symmetric": low >= -1.5 and high <= 1.5 and below > 0.02,
                 "standardised": low >= -5 and high <= 5 and below > 0.1 and centred, "whitened": below > 0.1 and centred}[space])
