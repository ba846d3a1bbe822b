"""Data of one's own: any labelled images that are at hand as arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from synthprune.data.datasets import Split
from synthprune.data.facts import Facts
from synthprune.problems import Problem


def from_arrays(train_images: ArrayLike, train_labels: ArrayLike, test_images: ArrayLike, test_labels: ArrayLike, *,
                flip: bool = False) -> Split:
    """A data set of square images (n, c, h, h), uint8 (0 to 255) or float, and labels (n,), integers from 0 without a gap:
    arrays, or what numpy makes one of (lists, tensors on the CPU).

    Both parts are normalised by the training images' mean and deviation per channel. `flip`: whether a mirrored image is
    still of its class. Raises Problem where a part is of another form, or the test images are of another kind or class.
    """
    images, labels, tested, told = map(np.asarray, (train_images, train_labels, test_images, test_labels))
    known = facts_of(images, labels, flip=flip)
    _check(tested, told, "test images")
    if (tested.dtype, tested.shape[1:]) != (images.dtype, images.shape[1:]):
        raise Problem(f"test images are {tested.dtype} {tested.shape[1:]}, training images {images.dtype}"
                      f" {images.shape[1:]}: bring both to one form")
    if told.max() >= len(known.classes):
        raise Problem(f"a test image has label {told.max()}, the training images {len(known.classes)} classes from 0")
    return Split(known, images, labels.astype(np.int64), tested, told.astype(np.int64))


def facts_of(images: np.ndarray, labels: np.ndarray, *, flip: bool = False) -> Facts:
    """What training needs to know of some images: their classes, and mean and deviation per channel.

    Raises Problem where images or labels are of no known form, there is one class or a gap, or a channel does not vary.
    """
    _check(images, labels, "images")
    classes = int(labels.max()) + 1
    missing = np.setdiff1d(np.arange(classes), labels)
    if classes < 2 or len(missing):
        raise Problem("the labels are all 0: a network needs two classes or more to tell apart" if classes < 2 else
                      f"no image has label {missing[0]}, yet labels reach to {classes - 1}: number classes without a gap")
    white = 255.0 if images.dtype == np.uint8 else 1.0
    mean, std = (getattr(images, moment)((0, 2, 3), dtype=np.float64) / white for moment in ("mean", "std"))
    if not std.all():
        raise Problem(f"channel {int(std.argmin())} has one value in every image: leave it out")
    return Facts("your images", tuple(map(str, range(classes))), images.shape[1], images.shape[-1], tuple(mean.tolist()),
                 tuple(std.tolist()), flip)


def _check(images: np.ndarray, labels: np.ndarray, what: str) -> None:
    if images.ndim != 4 or images.shape[2] != images.shape[3] or not len(images):
        raise Problem(f"{what} have shape {images.shape}: give (images, channels, side, side)")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise Problem(f"{what} are {images.dtype}: give uint8 (0 to 255) or float")
    if not np.isfinite(images).all():
        raise Problem(f"{what} hold a value that is not finite")
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1] or labels.min() < 0:
        raise Problem(f"the labels of {len(images)} {what} are {labels.dtype} {labels.shape}: give one integer from 0 for each")
