"""What masks are searched on: real images, published and own synthetic sets, and the controls beside them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from synthprune.results.values import Dataset, Entry, Natural, Positive, Value


class Real(Value):
    """The data set's own training images."""


class Published(Value):
    """An imported synthetic set, named '<title>@<content>'."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+@[0-9a-f]{12}$")]


class Awaited(Value):
    """A published set that is not on this machine yet, of known size: its trainings can be planned, not computed."""

    name: str
    ipc: Positive
    factor: Positive


class Coreset(Value):
    """Random real images, `ipc` stored per class, decoded by `factor` as a synthetic set of equal size would be."""

    ipc: Positive
    factor: Positive
    seed: Natural


class Distilled(Entry):
    """A synthetic set of our own making: distribution matching on `dataset`. Images (classes * ipc, c, h, h)."""

    version: ClassVar[int] = 2
    dataset: Dataset
    ipc: Positive
    factor: Positive
    steps: Natural
    lr: Annotated[float, Field(gt=0)] = 1.0
    real_batch: Positive = 32
    width: Positive = 16
    seed: Natural = 0


class Condensed(Entry):
    """A synthetic set of our own making: gradient matching (IDC) on `dataset`. Images (classes * ipc, c, h, h).

    Each of `steps` matches every class once and trains the network on `trained_images` real images; a fresh network is
    drawn every `inner` steps. The pixels' rate falls from `lr` to 0.
    """

    dataset: Dataset
    ipc: Positive
    factor: Positive
    steps: Natural
    inner: Positive = 100
    lr: Annotated[float, Field(gt=0)] = 0.04
    real_batch: Positive = 64
    trained_images: Natural = 1000
    width: Positive = 16
    seed: Natural = 0


Made = Distilled | Condensed
"""Sets that are made here."""


class Noise(Value):
    """Images without content, `ipc` stored per class: pixels drawn from the data set's mean and deviation per channel."""

    ipc: Positive
    factor: Positive
    seed: Natural


class Shuffled(Value):
    """The images of `of` with their labels permuted: as many of each class, none that means anything."""

    of: Real | Published | Awaited | Coreset | Distilled | Condensed
    seed: Natural


Synthetic = Published | Awaited | Coreset | Distilled | Condensed | Noise
"""Sets of few images, which are decoded."""
PruningData = Real | Published | Awaited | Coreset | Distilled | Condensed | Noise | Shuffled


def origin(data: PruningData) -> Real | Synthetic:
    """The data that a shuffled set shuffles; any other data themselves."""
    return data.of if isinstance(data, Shuffled) else data
