"""Randomness as a function of (seed, purpose, step): nothing global, nothing remembered."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """The random stream that belongs to (seed, purpose, step).

    Drawn on the CPU, so that every device sees the same numbers; keyed by a hash, so that step 1,000 can be drawn
    without drawing the 999 before it (a resumed training needs no saved generator state).
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
