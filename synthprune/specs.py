"""Specifications: what a result is, and from which its name follows.

Values say how (data, network, recipe, search); entries are what is stored: synthetic sets, masks, trainings, and what is
measured of them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from synthprune.own import NAME
from synthprune.values import Entry, Value

Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Dataset(Value):
    """A real data set: `train_per_class` images of smallest content hash (None: all), averaged to `pixels` a side.

    `name`: that of a known one, or '<title>@<content>' of an imported one. `whitened`: in the space of its ZCA whitening,
    where some published sets live. `test_per_class`: test images likewise.
    """

    later: ClassVar[frozenset[str]] = frozenset({"whitened", "test_per_class"})
    name: Annotated[str, Field(pattern=r"^[\w.-]+(@[0-9a-f]{12})?$")]
    pixels: Positive
    train_per_class: Positive | None = None
    whitened: bool = False
    test_per_class: Positive | None = None


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


PruningData = Real | Published | Awaited | Coreset | Distilled | Condensed | Noise | Shuffled


def origin(data: PruningData) -> PruningData:
    """The data that a shuffled set shuffles; any other data themselves."""
    return data.of if isinstance(data, Shuffled) else data


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
        if not (self.level and self.search.epoch):
            return None
        return Trained(subnetwork=self.at(0), data=self.search.data, recipe=self.search.recipe,
                       order_seed=self.search.seed, stop_epoch=self.search.epoch)

    @property
    def parents(self) -> tuple[Entry, ...]:
        match self.search:
            case Search():
                below = self.at(self.level - 1)
                return (self.round, below) if self.level > 1 else (self.round,)
            case SameDensities():
                return (self.model_copy(update={"search": self.search.of}),)
        return ()


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
        return self.subnetwork.search.epoch if self.subnetwork.level else 0

    @property
    def parents(self) -> tuple[Entry, ...]:
        data = origin(self.data)
        candidates = (self.subnetwork if self.subnetwork.level else None, self.subnetwork.rewind_point,
                      data if isinstance(data, Entry) else None)
        return tuple(entry for entry in candidates if entry is not None)


class Evaluation(Entry):
    """Loss and error of one training, on its data set's training and test images."""

    of: Trained

    @property
    def subnetwork(self) -> Subnetwork:
        return self.of.subnetwork

    @property
    def dataset(self) -> Dataset:
        return self.of.dataset

    @property
    def parents(self) -> tuple[Entry, ...]:
        return _with_mask(self.of)


class Path(Entry):
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
    def subnetwork(self) -> Subnetwork:
        return self.ends[0].subnetwork

    @property
    def dataset(self) -> Dataset:
        return self.subnetwork.dataset

    @property
    def parents(self) -> tuple[Entry, ...]:
        return _with_mask(*self.ends)


class Plane(Entry):
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
    def subnetwork(self) -> Subnetwork:
        return self.models[0].subnetwork

    @property
    def dataset(self) -> Dataset:
        return self.subnetwork.dataset

    @property
    def parents(self) -> tuple[Entry, ...]:
        return _with_mask(*self.models)


class Diagonal(Entry):
    """The exact Hessian diagonal of a training's loss, on each of `batches` batches of training images (section 4.2)."""

    of: Trained
    batches: Positive
    batch: Positive = 64
    seed: Natural = 0

    @property
    def subnetwork(self) -> Subnetwork:
        return self.of.subnetwork

    @property
    def dataset(self) -> Dataset:
        return self.of.dataset

    @property
    def parents(self) -> tuple[Entry, ...]:
        return _with_mask(self.of)


def _with_mask(*trainings: Trained) -> tuple[Entry, ...]:
    """The trainings, each once, and the mask they share, if it is one."""
    subnetwork = trainings[0].subnetwork
    return (*dict.fromkeys(trainings), *((subnetwork,) if subnetwork.level else ()))


ENTRIES: tuple[type[Entry], ...] = (Distilled, Condensed, Subnetwork, Trained, Evaluation, Path, Plane, Diagonal)
"""Every kind of entry, by which stored versions are compared with today's."""


def versions() -> dict[str, int]:
    return {entry.__name__.lower(): entry.version for entry in ENTRIES}


def stale(kind: str, version: int) -> bool:
    """Whether a result was made by a version of its kind that is below today's (or of a kind that is no more)."""
    return version < versions().get(kind, version + 1)


def own_names(entry: Entry) -> set[str]:
    """The functions of the user's own, if any, that an entry rests on, among the names of its network and its criterion."""
    subnetwork = entry if isinstance(entry, Subnetwork) else getattr(entry, "subnetwork", None)
    if subnetwork is None:
        return set()
    return {subnetwork.architecture.name, getattr(subnetwork.search, "criterion", "")}


def describe(entry: Entry) -> str:
    """One line about an entry, for people."""
    match entry:
        case Distilled():
            return f"synthetic set, {entry.ipc} per class from {entry.dataset.name}"
        case Condensed():
            return f"synthetic set by gradient matching, {entry.ipc} per class from {entry.dataset.name}"
        case Subnetwork():
            return f"mask {_which(entry)}"
        case Trained():
            return f"training on {data_in_words(entry.data)}, {_which(entry.subnetwork)}, order {entry.order_seed}"
        case Evaluation() | Path() | Plane() | Diagonal():
            return f"{entry.kind}, {_which(entry.subnetwork)}"
    return entry.kind


def _which(subnetwork: Subnetwork) -> str:
    start = f"{subnetwork.architecture.name} on {subnetwork.dataset.name}, initialisation {subnetwork.init_seed}"
    return f"{_method(subnetwork.search)}, level {subnetwork.level}, {start}" if subnetwork.level else f"dense, {start}"


def _method(search: Search | AtInitialisation | SameDensities) -> str:
    match search:
        case AtInitialisation():
            return f"{search.criterion} at initialisation"
        case SameDensities():
            return f"random with the densities of {_method(search.of)}"
        case Search(start=Start()):
            return f"{_method(search.model_copy(update={'start': None}))} on a {_method(search.start.search)} start"
    return "IMP" if isinstance(search.data, Real) else f"pruning on {data_in_words(search.data)}"


def method(search: Search | AtInitialisation | SameDensities) -> str:
    """A chapter's word for how masks are found: "imp", "synthetic", a criterion's name, or a control of chapter 10."""
    match search:
        case AtInitialisation():
            return search.criterion
        case SameDensities():
            return f"like {method(search.of)}"
        case Search(start=Start()):
            return f"{method(search.model_copy(update={'start': None}))} on a {method(search.start.search)} start"
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
