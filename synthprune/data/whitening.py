"""ZCA whitening, for the sets that Cazenavette et al. (2022) distilled in whitened space."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from synthprune.problems import Problem

LARGEST = 3072
"""Values per image: the matrix has the square of it, and its eigenvectors cost the cube."""
ROWS = 1000
"""Images at a time; a constant, since how a sum is split changes its last bits."""


def zca(train: np.ndarray, test: np.ndarray, eps: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Both splits, uint8 (n, c, h, w), in the whitened space of the training images: float32, of the same shapes.

    x -> (x - m) U diag((s + eps)^-1/2) U' for flattened pixels x in [0, 1], where m is the mean and U diag(s) U' the
    covariance (over n - 1) of `train`; `eps` = 0.1 is Cazenavette et al.'s, through kornia's ZCAWhitening. In float64.
    Raises Problem for images of more than 3,072 values, and for fewer than two training images.
    """
    size = int(np.prod(train.shape[1:]))
    if size > LARGEST or len(train) < 2:
        raise Problem(f"{len(train)} images of {size} values each cannot be whitened: it takes two or more, of at most"
                      f" {LARGEST} values (32 x 32 pixels in colour)")
    with _one_thread():
        mean = sum(rows.sum(0) for rows in _flat(train)) / len(train)
        covariance = sum((rows - mean).T @ (rows - mean) for rows in _flat(train)) / (len(train) - 1)
        values, vectors = torch.linalg.eigh(covariance)
        matrix = (vectors * (values + eps).rsqrt()) @ vectors.T
        white = [torch.cat([((rows - mean) @ matrix).float() for rows in _flat(images)]) for images in (train, test)]
    return white[0].reshape(train.shape).numpy(), white[1].reshape(test.shape).numpy()


def _flat(images: np.ndarray) -> Iterator[Tensor]:
    """float64 rows in [0, 1], a thousand images at a time."""
    for begin in range(0, len(images), ROWS):
        yield torch.from_numpy(images[begin:begin + ROWS]).double().flatten(1) / 255


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The number of cores must not change the bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
