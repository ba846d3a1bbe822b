"""What the parts of a data set are called."""

from __future__ import annotations

import re

TRAINING = ("train", "training", "trn")
TESTING = ("test", "testing", "tst", "val", "valid", "validation", "dev")
"""In this order: where there are several to test on, the first is taken."""


def part_of(name: str) -> str:
    """The part that a name tells: 'train' of x_train, trainX and train_images, and of train-00000-of-00001; empty: none."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=^[xyXY])(?=t)", "_", name)
    words = re.split(r"[\W_]+", parted.lower())
    return next((word for word in words if word in TRAINING + TESTING), "")
