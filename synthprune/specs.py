"""Specifications: small frozen values that say what a result is, and from which its name follows.

A field is a fact that changes the numbers; device, worker count and verbosity are not fields. An `Entry` has a place in
the store under its key; a `Value` is only part of others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Value(BaseModel):
    """A frozen, typed record. Fields are coerced to their declared type, so that 1 and 1.0 are one float."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()
    """Fields added after results existed: left out of the name while they equal their default, "as before"."""

    def facts(self) -> dict[str, Any]:
        """The fields as plain JSON values; entries among them by their key."""
        fields = type(self).model_fields
        kept = {name: getattr(self, name) for name in fields}
        return {"is": type(self).__name__} | {name: _plain(value) for name, value in kept.items()
                                              if not (name in self.later and value == fields[name].default)}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed, checked and named anew (pydantic's would keep the old key)."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | dict(update or {}))


class Entry(Value):
    """Something that can be stored. `version` rises when the same specification would give other numbers."""

    version: ClassVar[int] = 1
    light: ClassVar[bool] = True
    """Light kinds (numbers, curves, masks) may ship with the book; heavy kinds (weights) stay in the local store."""

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()

    @cached_property
    def key(self) -> str:
        """SHA-256, 64 hex digits, of the canonical JSON of kind, version and fields; parents enter by their key."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "version": self.version, "fields": self.facts()}

    @property
    def parents(self) -> tuple[Entry, ...]:
        """The entries that must exist before this one can be computed."""
        return ()


def _plain(value: Any) -> Any:
    if isinstance(value, Entry):
        return {"entry": value.key}
    if isinstance(value, Value):
        return value.facts()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


class Dataset(Value):
    """A real data set: `train_per_class` images of smallest content hash (None: all), averaged to `pixels` a side."""

    name: Literal["digits", "cifar10"]
    pixels: Positive
    train_per_class: Positive | None = None


class Architecture(Value):
    name: Literal["convnet3", "resnet10", "resnet18", "lenet300"]
    width: Positive
    norm: Literal["instance", "batch"]


class Recipe(Value):
    """How a network is trained; see training.Recipe."""

    epochs: Positive
    batch: Positive = 64
    lr: Annotated[float, Field(gt=0)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    milestones: tuple[Fraction, ...] = (2 / 3, 5 / 6)
    decay: Fraction = 0.2
    augment: bool = True
    cutmix: Fraction = 0.5


class Real(Value):
    """The data set's own training images."""


class Published(Value):
    """An imported synthetic set, named '<title>@<content>'."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+@[0-9a-f]{12}$")]


class Coreset(Value):
    """Random real images, `ipc` stored per class, decoded by `factor` as a synthetic set of equal size would be."""

    ipc: Positive
    factor: Positive
    seed: Natural


class Distilled(Entry):
    """A synthetic set of our own making: distribution matching on `dataset`. Images (classes * ipc, c, h, h)."""

    dataset: Dataset
    ipc: Positive
    factor: Positive
    steps: Natural
    lr: Annotated[float, Field(gt=0)] = 1.0
    real_batch: Positive = 32
    width: Positive = 16
    seed: Natural = 0


PruningData = Real | Published | Coreset | Distilled


class Search(Value):
    """How masks are found: iterative magnitude pruning of `fraction` of the survivors per level, trained on `data`.

    `rewind`: "full" (every parameter and buffer to initialisation, the text's claim), "weights" (prunable weights only,
    the authors' code), or an epoch k (to the state after k epochs of the first round, trained on from epoch k).
    """

    data: PruningData
    recipe: Recipe
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    rewind: Literal["full", "weights"] | Positive = "full"
    seed: Natural

    @property
    def epoch(self) -> int:
        """The epoch rewound to."""
        return self.rewind if isinstance(self.rewind, int) else 0


class Subnetwork(Entry):
    """The mask at `level` of a search from one initialisation; level 0 is the dense network, whatever the search."""

    dataset: Dataset
    architecture: Architecture
    init_seed: Natural
    search: Search | None = None
    level: Annotated[int, Field(ge=0, le=50)] = 0

    @model_validator(mode="before")
    @classmethod
    def _dense_has_no_search(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "search": None} if fields.get("level", 0) == 0 else fields

    @model_validator(mode="after")
    def _sparse_has_one(self) -> Subnetwork:
        if self.level and self.search is None:
            raise ValueError(f"level {self.level} needs a search")
        return self

    def at(self, level: int) -> Subnetwork:
        """The same search's subnetwork at another level."""
        return Subnetwork(dataset=self.dataset, architecture=self.architecture, init_seed=self.init_seed,
                          search=self.search, level=level)

    def facts(self) -> dict[str, Any]:
        # The trainings behind a mask are implied by its fields and not among them: their version is told beside them.
        implied = {"trained": Trained.version} if self.level and Trained.version > 1 else {}
        return super().facts() | implied

    @property
    def round(self) -> Trained:
        """The training whose weights decided this mask: that of the level below, on the search's data."""
        return Trained(subnetwork=self.at(self.level - 1), data=self.search.data, recipe=self.search.recipe,
                       order_seed=self.search.seed)

    @property
    def rewind_point(self) -> Trained | None:
        """The stored training that survivors return to, where that is not the initialisation."""
        if not (self.level and self.search.epoch):
            return None
        return Trained(subnetwork=self.at(0), data=self.search.data, recipe=self.search.recipe,
                       order_seed=self.search.seed, stop_epoch=self.search.epoch)

    @property
    def parents(self) -> tuple[Entry, ...]:
        if self.level == 0:
            return ()
        below = self.at(self.level - 1)
        return (self.round, below) if self.level > 1 else (self.round,)


class Trained(Entry):
    """A subnetwork trained on `data` in the order of `order_seed`: a retraining, or a round of a search, alike."""

    light: ClassVar[bool] = False
    subnetwork: Subnetwork
    data: PruningData
    recipe: Recipe
    order_seed: Natural
    stop_epoch: Positive | None = None

    @property
    def dataset(self) -> Dataset:
        return self.subnetwork.dataset

    @property
    def first_epoch(self) -> int:
        return self.subnetwork.search.epoch if self.subnetwork.level else 0

    @property
    def parents(self) -> tuple[Entry, ...]:
        candidates = (self.subnetwork if self.subnetwork.level else None, self.subnetwork.rewind_point,
                      self.data if isinstance(self.data, Entry) else None)
        return tuple(entry for entry in candidates if entry is not None)


class Path(Entry):
    """Loss and error on the straight line between two trainings of one subnetwork, at an odd number of points."""

    ends: tuple[Trained, Trained]
    points: Annotated[int, Field(ge=3)] = 11
    batch_norm: Literal["interpolated", "recomputed"] = "interpolated"

    @model_validator(mode="after")
    def _one_line(self) -> Path:
        if self.points % 2 == 0:
            raise ValueError(f"points must be odd, so that the midpoint is on the path, not {self.points}")
        if self.ends[0].subnetwork != self.ends[1].subnetwork:
            raise ValueError("the two ends of a path must be trainings of one subnetwork")
        return self

    @property
    def subnetwork(self) -> Subnetwork:
        return self.ends[0].subnetwork

    @property
    def dataset(self) -> Dataset:
        return self.subnetwork.dataset

    @property
    def parents(self) -> tuple[Entry, ...]:
        masked = (self.subnetwork,) if self.subnetwork.level else ()
        return (*dict.fromkeys(self.ends), *masked)


ENTRIES: tuple[type[Entry], ...] = (Distilled, Subnetwork, Trained, Path)
"""Every kind of entry, by which stored versions are compared with today's."""


def versions() -> dict[str, int]:
    return {entry.__name__.lower(): entry.version for entry in ENTRIES}


def stale(kind: str, version: int) -> bool:
    """Whether a result was made by a version of its kind that is below today's (or of a kind that is no more)."""
    return version < versions().get(kind, version + 1)


def describe(entry: Entry) -> str:
    """One line about an entry, for people."""
    match entry:
        case Distilled():
            return f"synthetic set, {entry.ipc} per class from {entry.dataset.name}"
        case Subnetwork():
            return f"mask {_which(entry)}"
        case Trained():
            data = "real" if isinstance(entry.data, Real) else "synthetic"
            return f"training on {data} data, {_which(entry.subnetwork)}, order {entry.order_seed}"
        case Path():
            return f"path, {_which(entry.subnetwork)}"
    return entry.kind


def _which(subnetwork: Subnetwork) -> str:
    start = f"initialisation {subnetwork.init_seed}"
    if subnetwork.level == 0:
        return f"dense, {start}"
    return f"{'IMP' if isinstance(subnetwork.search.data, Real) else 'synthetic'}, level {subnetwork.level}, {start}"


def closure(entries: list[Entry]) -> list[Entry]:
    """All entries and everything they rest on, parents before children, each once."""
    ordered: dict[Entry, None] = {}

    def visit(entry: Entry) -> None:
        if entry not in ordered:
            for parent in entry.parents:
                visit(parent)
            ordered[entry] = None

    for entry in entries:
        visit(entry)
    return list(ordered)
