"""Specifications: what a result is, and from which its name follows.

Values say how (data, network, recipe, search); entries are what is stored: synthetic sets, masks, trainings, and what is
measured of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from synthprune.own import NAME
from synthprune.results.sets import (
    Awaited,
    Condensed,
    Coreset,
    Distilled,
    Made,
    Noise,
    PruningData,
    Published,
    Real,
    Shuffled,
    origin,
)
from synthprune.results.values import Dataset, Entry, Fraction, Natural, Positive, Value


class Architecture(Value):
    """A network by its name in `models`, or a function of your own, named by its file (see `own`)."""

    name: Annotated[str, Field(pattern=rf"^[a-z0-9_]+$|{NAME}")]
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


class Start(Value):
    """A subnetwork that another search begins from: that of `search` at `level`."""

    search: Search
    level: Positive


class Search(Value):
    """How masks are found: iterative magnitude pruning of `fraction` of the survivors per level, trained on `data`.

    `rewind`: "full" (every parameter and buffer to initialisation, the text's claim), "weights" (prunable weights only,
    the authors' code), or an epoch k (to the state after k epochs of the first round, trained on from epoch k).
    `start`: the levels up to its own are those of another search (paper section 5: IMP on a synthetic start).
    """

    later: ClassVar[frozenset[str]] = frozenset({"start"})
    data: PruningData
    recipe: Recipe
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    rewind: Literal["full", "weights"] | Positive = "full"
    seed: Natural
    start: Start | None = None

    @property
    def epoch(self) -> int:
        """The epoch rewound to."""
        return self.rewind if isinstance(self.rewind, int) else 0


class AtInitialisation(Value):
    """Masks found without training, from scores of the initial weights; level n keeps as many weights as a search's.

    "magnitude"; "snip" (Lee et al. 2019), on `per_class` training images of each class that `seed` draws; "synflow"
    (Tanaka et al. 2020); "random", drawn by `seed`; or a function of your own (see `own`), on the same images as SNIP.
    """

    epoch: ClassVar[int] = 0
    rewind: ClassVar[str] = "full"
    criterion: Annotated[str, Field(pattern=rf"^[a-z]+$|{NAME}")]
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    per_class: Positive = 10
    seed: Natural = 0


class SameDensities(Value):
    """Random masks, drawn by `seed`, that keep as many weights of every layer as the masks of `of` at the same level."""

    epoch: ClassVar[int] = 0
    rewind: ClassVar[str] = "full"
    of: Search
    seed: Natural


class Subnetwork(Entry):
    """The mask at `level` of a search from one initialisation; level 0 is the dense network, whatever the search.

    Up to the level of a search's start, the masks are the start's own: one name for one mask.
    """

    dataset: Dataset
    architecture: Architecture
    init_seed: Natural
    search: Search | AtInitialisation | SameDensities | None = None
    level: Annotated[int, Field(ge=0, le=50)] = 0

    @model_validator(mode="before")
    @classmethod
    def _named_once(cls, fields: dict[str, Any]) -> dict[str, Any]:
        level, search = fields.get("level", 0), fields.get("search")
        while level and isinstance(search, Search) and search.start and level <= search.start.level:
            search = search.start.search
        return {**fields, "search": search if level else None}

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
        trained = self.level and not isinstance(self.search, AtInitialisation)
        return super().facts() | ({"trained": Trained.version} if trained and Trained.version > 1 else {})

    @property
    def round(self) -> Trained | None:
        """The training whose weights decided this mask: that of the level below, on the search's data."""
        if not isinstance(self.search, Search):
            return None
        return Trained(subnetwork=self.at(self.level - 1), data=self.search.data, recipe=self.search.recipe,
                       order_seed=self.search.seed)

    @property
    def rewind_point(self) -> Trained | None:
        """The stored training that survivors return to, where that is not the initialisation."""
        if not (isinstance(self.search, Search) and self.search.epoch):
            return None
        return Trained(subnetwork=self.at(0), data=self.search.data, recipe=self.search.recipe,
                       order_seed=self.search.seed, stop_epoch=self.search.epoch)

    @property
    def parents(self) -> tuple[Entry, ...]:
        match self.search:
            case Search():
                return _those(self.round, self.at(self.level - 1) if self.level > 1 else None)
            case SameDensities(of=of):
                return (self.model_copy(update={"search": of}),)
        return ()


def _those(*entries: Entry | None) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry is not None)


class Trained(Entry):
    """A subnetwork trained on `data` in the order of `order_seed`: a retraining, or a round of a search, alike."""

    version: ClassVar[int] = 4
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
        return self.subnetwork.search.epoch if self.subnetwork.search else 0

    @property
    def parents(self) -> tuple[Entry, ...]:
        data = origin(self.data)
        return _those(self.subnetwork if self.subnetwork.level else None, self.subnetwork.rewind_point,
                      data if isinstance(data, Entry) else None)


class Measured(Entry):
    """What is measured of trainings of one subnetwork."""

    if TYPE_CHECKING:  # a field of each kind, or a property over one

        @property
        def trainings(self) -> tuple[Trained, ...]:
            """The trainings that it is measured of."""

    @property
    def subnetwork(self) -> Subnetwork:
        return self.trainings[0].subnetwork

    @property
    def dataset(self) -> Dataset:
        return self.subnetwork.dataset

    @property
    def parents(self) -> tuple[Entry, ...]:
        return tuple(dict.fromkeys(self.trainings)) + _those(self.subnetwork if self.subnetwork.level else None)


class Evaluation(Measured):
    """Loss and error of one training, on its data set's training and test images."""

    of: Trained

    @property
    def trainings(self) -> tuple[Trained, ...]:
        return (self.of,)


class Path(Measured):
    """Loss and error on the straight line between two trainings of one subnetwork, at an odd number of points.

    `aligned`: the second training's hidden channels are first permuted to match the first's (Ainsworth et al. 2023).
    """

    later: ClassVar[frozenset[str]] = frozenset({"aligned"})
    ends: tuple[Trained, Trained]
    points: Annotated[int, Field(ge=3)] = 11
    batch_norm: Literal["interpolated", "recomputed"] = "interpolated"
    aligned: bool = False

    @model_validator(mode="after")
    def _one_line(self) -> Path:
        if self.points % 2 == 0:
            raise ValueError(f"points must be odd, so that the midpoint is on the path, not {self.points}")
        if self.ends[0].subnetwork != self.ends[1].subnetwork:
            raise ValueError("the two ends of a path must be trainings of one subnetwork")
        return self

    @property
    def trainings(self) -> tuple[Trained, ...]:
        return self.ends


class Plane(Measured):
    """Loss on a square grid of `side` x `side` points in the plane through trainings of one subnetwork (paper figure 5).

    Three trainings span it exactly; of four it is the least-squares plane. Loss is over the first `per_class` training
    images of each class.
    """

    models: Annotated[tuple[Trained, ...], Field(min_length=3, max_length=4)]
    side: Annotated[int, Field(ge=2)]
    per_class: Positive

    @model_validator(mode="after")
    def _of_one_subnetwork(self) -> Plane:
        if len({model.subnetwork for model in self.models}) > 1 or len(set(self.models)) < len(self.models):
            raise ValueError("a plane goes through different trainings of one subnetwork")
        return self

    @property
    def trainings(self) -> tuple[Trained, ...]:
        return self.models


class Diagonal(Measured):
    """The exact Hessian diagonal of a training's loss, on each of `batches` batches of training images (section 4.2)."""

    of: Trained
    batches: Positive
    batch: Positive = 64
    seed: Natural = 0

    @property
    def trainings(self) -> tuple[Trained, ...]:
        return (self.of,)


ENTRIES: tuple[type[Entry], ...] = (Distilled, Condensed, Subnetwork, Trained, Evaluation, Path, Plane, Diagonal)
"""Every kind of entry, by which stored versions are compared with today's."""


def versions() -> dict[str, int]:
    return {entry.__name__.lower(): entry.version for entry in ENTRIES}


def stale(kind: str, version: int) -> bool:
    """Whether a result was made by a version of its kind that is below today's (or of a kind that is no more)."""
    return version < versions().get(kind, version + 1)


def subnetwork_of(entry: Entry) -> Subnetwork | None:
    """The subnetwork that an entry is, or is about; None for a synthetic set."""
    if isinstance(entry, Subnetwork):
        return entry
    return entry.subnetwork if isinstance(entry, Trained | Measured) else None


def own_names(entry: Entry) -> set[str]:
    """The functions of the user's own, if any, that an entry rests on, among the names of its network and its criterion."""
    subnetwork = subnetwork_of(entry)
    return set() if subnetwork is None else {subnetwork.architecture.name, getattr(subnetwork.search, "criterion", "")}


def describe(entry: Entry) -> str:
    """One line about an entry, for people."""
    if isinstance(entry, Made):
        how = " by gradient matching" if isinstance(entry, Condensed) else ""
        return f"synthetic set{how}, {entry.ipc} per class from {entry.dataset.name}"
    match entry:
        case Subnetwork():
            return f"mask {_which(entry)}"
        case Trained():
            return f"training on {data_in_words(entry.data)}, {_which(entry.subnetwork)}, order {entry.order_seed}"
        case Measured():
            return f"{entry.kind}, {_which(entry.subnetwork)}"
    return entry.kind


def _which(subnetwork: Subnetwork) -> str:
    start = f"{subnetwork.architecture.name} on {subnetwork.dataset.name}, initialisation {subnetwork.init_seed}"
    return f"{_method(subnetwork.search)}, level {subnetwork.level}, {start}" if subnetwork.search else f"dense, {start}"


def _method(search: Search | AtInitialisation | SameDensities) -> str:
    match search:
        case AtInitialisation():
            return f"{search.criterion} at initialisation"
        case SameDensities():
            return f"random with the densities of {_method(search.of)}"
        case Search(start=Start(search=first)):
            return f"{_method(search.model_copy(update={'start': None}))} on a {_method(first)} start"
    return "IMP" if isinstance(search.data, Real) else f"pruning on {data_in_words(search.data)}"


def method(search: Search | AtInitialisation | SameDensities) -> str:
    """A chapter's word for how masks are found: "imp", "synthetic", a criterion's name, or a control of chapter 10."""
    match search:
        case AtInitialisation():
            return search.criterion
        case SameDensities():
            return f"like {method(search.of)}"
        case Search(start=Start(search=first)):
            return f"{method(search.model_copy(update={'start': None}))} on a {method(first)} start"
    words = {Real: "imp", Coreset: "coreset", Noise: "noise", Shuffled: "shuffled"}
    return words.get(type(search.data), "synthetic")


def data_in_words(data: PruningData) -> str:
    """What is trained on, for people."""
    match data:
        case Real():
            return "real data"
        case Published() | Awaited():
            return data.name
        case Shuffled():
            return f"{data_in_words(data.of)} with shuffled labels"
    return {Coreset: "random real images", Distilled: "distilled images", Condensed: "condensed images",
            Noise: "noise"}[type(data)]


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
