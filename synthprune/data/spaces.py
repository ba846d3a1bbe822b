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

SPACES = {"pixels": "pixels of 0 to 1", "bytes": "pixels of 0 to 255", "symmetric": "pixels of -1 to 1, brought to 0 to 1",
          "standardised": "standardised images, turned back into pixels", "whitened": "ZCA-whitened images"}


def space_of(images: np.ndarray, where: str) -> str:
    """Which of SPACES the values are in. Raises Problem where they do not tell."""
    low, high, mean, deviation = (float(f(images)) for f in (np.min, np.max, np.mean, np.std))
    if images.dtype.kind in "biu":
        if low >= 0 and high <= 255 and high > 1:
            return "bytes"
    elif low >= -0.5 and high <= 1.5 and (images < 0).mean() < 0.1:
        return "pixels"
    elif low >= 0 and 16 < high <= 255:
        return "bytes"
    elif abs(mean) < deviation / 2 and (low < -1 or high > 1) and low < 0 < high and deviation < 6:
        if deviation >= WHITE:
            return "standardised"
        if np.corrcoef(images[..., 1:].ravel(), images[..., :-1].ravel())[0, 1] < SMOOTH:
            return "whitened"
    raise Problem(f"{where}: values reach from {low:.2f} to {high:.2f} and deviate by {deviation:.2f}; pixels in about [0, 1] are"
                  f" expected, or standardised or whitened images: say which with --space ({', '.join(SPACES)})")
