"""What every chapter's experiments share: the fields of a profile, and the specifications they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from synthprune.chapters.profiles import said_by
from synthprune.costs import Cost, criterion_cost, search_cost
from synthprune.data.facts import FACTS, facts, full_name
from synthprune.home import synthetic_sets
from synthprune.own import is_own, named
from synthprune.problems import Problem, nearest
from synthprune.results import specs

Method = Literal["synthetic", "imp", "magnitude", "snip", "synflow", "random", "coreset", "noise", "shuffled",
                 "like synthetic", "like imp", "synthetic, steps of imp", "imp, steps of synthetic"]
"""Where a mask comes from: pruning on synthetic or real images; scores at initialisation; and the controls of chapter 10."""

METHODS: tuple[Method, ...] = ("synthetic", "imp")
"""The two that the paper compares."""

CELL_METHODS: tuple[str, ...] = ("dense", *get_args(Method))
"""What a cell of chapter 10 may be about: masks of a method, or none."""

class Titles(dict[str, str]):
    """What names are called; one of the user's own is called by its name."""

    def __missing__(self, name: str) -> str:
        return name


ARCHITECTURES = Titles({"convnet3": "ConvNet-3", "resnet10": "ResNet-10", "resnet18": "ResNet-18", "lenet300": "LeNet-300-100",
                 "resnet10_imagenet": "ResNet-10 (ImageNet's stem)"})
CRITERIA = ("magnitude", "snip", "synflow", "random")


def field(comment: str, **limits: Any) -> Any:
    return Field(description=comment, **limits)


class Settings(BaseModel):
    """The fields of a profile; each can be overridden by a parameter of the same name. Descriptions are the reader's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    chapter: ClassVar[str]

    profile: str = field("demo, laptop, paper, or the path of a YAML file of your own")
    scene: str = field("which of the profile's networks and data sets")
    dataset: str = field("digits, cifar10, cifar100, imagenette, imagenet10, or TITLE[@CONTENT] of an imported one")
    pixels: int = field("side of the images, in pixels", ge=8)
    train_per_class: int = field("real training images per class; 0: all", ge=0)
    test_per_class: int = field("test images per class; 0: all", ge=0)
    architecture: str = field("convnet3, resnet10, resnet18, lenet300, resnet10_imagenet, or your own FILE.py:FUNCTION")
    width: int = field("channels of the first layer (the paper: 128 for ConvNet-3, 32 for the ResNets)", ge=1)
    norm: Literal["instance", "batch"] = field("instance or batch")
    epochs: int = field("epochs of every training on real data", ge=1)
    batch: int = field("images per step", ge=1)
    lr: float = field("initial learning rate", gt=0)
    weight_decay: float = field("weight decay of every step", ge=0)
    cutmix: float = field("probability of CutMix per batch", ge=0, le=1)
    synthetic: str = field("data of synthetic masks: distilled, condensed, coreset, or TITLE[@CONTENT] of an imported set")
    synthetic_per_class: int = field("stored images per class, where the set is made here", ge=1)
    synthetic_factor: int = field("decode factor, where the set is made here", ge=1)
    distillation_steps: int = field("steps of distribution (distilled) or gradient matching (condensed), where made here", ge=0)
    synthetic_epochs: int = field("epochs of every training on synthetic data", ge=1)
    search_epochs: int = field("epochs of every round of a mask search on real data; 0: as epochs", ge=0)
    search_lr: float = field("initial learning rate of mask searches; 0: as lr", ge=0)
    search_weight_decay: float = field("weight decay of mask searches; negative: as weight_decay")
    rewind: str = field("full (to initialisation), weights (as the authors' code), or an epoch of each search's own first round")
    search_seed: int = field("order in which the mask searches see their data", ge=0)
    seeds: list[int] = field("initialisations", min_length=1)

    _planned: list[int] = PrivateAttr(default_factory=list)

    @property
    def planned(self) -> list[int]:
        """The initialisations that were asked for; `seeds` may be fewer once `narrowed` to those whose results are here."""
        return self._planned or self.seeds

    @model_validator(mode="before")
    @classmethod
    def _read_strings(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Lists may come as text; a truth value is not a number, though Python thinks so."""
        read = dict(values)
        for name, value in values.items():
            if name in ("architecture", "method") and isinstance(value, str):
                read[name] = named(value)
            declared = cls.model_fields[name].annotation if name in cls.model_fields else None
            if get_origin(declared) is list and isinstance(value, str | int | float):
                value = read[name] = _list(name, value)
            if name in ("methods", "cells") and isinstance(value, list):
                read[name] = [named(item) if isinstance(item, str) else item for item in value]
            if declared is not bool and any(isinstance(item, bool) for item in (value if isinstance(value, list) else [value])):
                raise ValueError(f"{name}={value} is a truth value")
            if declared is str and isinstance(value, int):
                read[name] = str(value)
        return read

    @field_validator("seeds", "levels", "orders", check_fields=False)
    @classmethod
    def _distinct(cls, values: list[int]) -> list[int]:
        if len(set(values)) != len(values) or min(values) < 0:
            raise ValueError("must be distinct and not negative")
        return values

    @field_validator("points", check_fields=False)
    @classmethod
    def _odd(cls, points: int) -> int:
        if points % 2 == 0:
            raise ValueError("must be odd, so that the midpoint is on the path")
        return points

    @model_validator(mode="after")
    def _rewinds_in_time(self) -> Settings:
        if self.rewind.isdecimal() and int(self.rewind) >= min(self.epochs, self.round_epochs, self.synthetic_epochs):
            raise ValueError(f"rewind={self.rewind} is not before the last epoch of a search")
        return self

    @property
    def round_epochs(self) -> int:
        """Epochs of every round of a search on real data."""
        return self.search_epochs or self.epochs

    def real_draw(self, init_seed: int) -> int:
        """Which random real images an initialisation is compared on: others for each, so that an interval covers the draw."""
        return init_seed

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, value: str) -> str:
        return full_name(value)

    @field_validator("rewind")
    @classmethod
    def _known_rewind(cls, value: str) -> str:
        if value not in ("full", "weights") and not (value.isdecimal() and int(value) > 0):
            raise ValueError("must be full, weights, or the number of an epoch")
        return value

    @field_validator("architecture")
    @classmethod
    def _known_architecture(cls, value: str) -> str:
        if value not in ARCHITECTURES and not is_own(value):
            raise ValueError(f"{nearest(value, ARCHITECTURES)}, or FILE.py:FUNCTION of your own")
        return value

    @field_validator("synthetic")
    @classmethod
    def _in_full(cls, value: str) -> str:
        """A title becomes the full name of the imported set it belongs to; where there is none, it stays a title."""
        if ":" in value:
            raise ValueError("is a function, and this is the name of a set: a criterion of your own goes to chapter 3 in methods,"
                             " to chapter 10 in cells")
        if value in ("distilled", "condensed", "coreset") or "@" not in value:
            found = [name for name in sorted(synthetic_sets()) if name.startswith(f"{value}@")]
            if len(found) > 1:
                raise ValueError(f"is the title of {len(found)} imported sets: say which, {' or '.join(found)}")
            return found[0] if found else value
        try:
            specs.Published(name=value)
        except ValidationError:
            raise ValueError("must be distilled, condensed, coreset, or an imported set's TITLE@CONTENT, as 'synthprune data"
                             " list' shows it") from None
        return value


AnySettings = TypeVar("AnySettings", bound=Settings)
"""The parameters of any one chapter."""

LEAST_PIXELS = 16
"""Three poolings of the distilling network leave one number per channel of smaller images."""


class Distilling(Settings):
    """The fields of a chapter whose synthetic set is made on the spot."""

    @field_validator("synthetic")
    @classmethod
    def _made_here(cls, value: str) -> str:
        if value not in ("distilled", "condensed"):
            raise ValueError("this chapter makes a set of its own: leave it at distilled, or say condensed")
        return value

    def real_draw(self, init_seed: int) -> int:
        """Those that the distillation begins at, for every initialisation."""
        return 0

    @field_validator("pixels")
    @classmethod
    def _enough(cls, pixels: int) -> int:
        if pixels < LEAST_PIXELS:
            raise ValueError(f"making a set needs images of at least {LEAST_PIXELS} pixels")
        return pixels


def sparse_levels(levels: list[int]) -> list[int]:
    """Without 0, the dense network, which is no mask's. Raises ValueError where none is left, or one is above 30."""
    sparse = sorted(level for level in levels if level)
    if not sparse or sparse[-1] > 30:
        raise ValueError("levels go from 1 to 30 (0.1 % of the weights left); 0, the dense network, has no mask")
    return sparse


SparseLevels = Annotated[list[int], AfterValidator(sparse_levels)]


def _list(name: str, value: str | float) -> list[Any]:
    """`[0,1]`, `0,1` or a single item, as a list."""
    try:
        return yaml.safe_load(str(value) if str(value).strip().startswith("[") else f"[{value}]")
    except yaml.YAMLError:
        raise ValueError(f"{name}={value} is not a list: write it as [0,1] or 0,1") from None


def parameters(model: type[Settings], chapter: str, given: Mapping[str, Any]) -> Settings:
    """A chapter's typed parameters: what the profile says of the chapter and its scene, overridden by those `given`.

    Raises Problem naming the parameter, its value and the nearest valid name or what is wrong.
    """
    for name in given:
        if name not in model.model_fields:
            raise Problem(f"unknown parameter '{name}' for {chapter}: {nearest(name, model.model_fields)}")
    chosen = {name: value for name, value in given.items() if value is not None}
    name = str(chosen.get("profile", "demo"))
    values = said_by(name, model, chapter, chosen.get("scene")) | chosen
    if "dataset" in chosen and str(chosen["dataset"]) not in FACTS and "pixels" not in chosen:
        values["pixels"] = facts(full_name(str(chosen["dataset"]))).pixels  # a profile's are for its own data sets
    if "scene" in chosen and "scenes" in model.model_fields and "scenes" not in chosen:
        values["scenes"] = [chosen["scene"]]
    elif "scenes" in values and "scenes" not in chosen and str(chosen.get("architecture", "convnet3")) not in ARCHITECTURES:
        first: dict[str, str] = {}  # of scenes that a network of one's own has made one, by what they say
        sized = {"pixels": 0} if str(chosen.get("dataset", "digits")) not in FACTS else {}  # as above
        for scene in (values["scene"], *values["scenes"]):
            says = said_by(name, model, chapter, scene) | sized | chosen | {"scene": ""}
            first.setdefault(repr(sorted(says.items())), scene)
        values["scenes"] = [scene for scene in values["scenes"] if scene in first.values()]
    try:
        p = model(**values | {"profile": name})
        for scene in getattr(p, "scenes", ()):
            said_by(name, model, chapter, scene)
        return p
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            raise Problem(f"profile {name} leaves '{first['loc'][0]}' to you: pass it as a parameter"
                          f" ({model.model_fields[first['loc'][0]].description})") from None
        raise Problem(f"{chapter}: {fault_of(error)}") from None


def fault_of(error: ValidationError) -> str:
    """The first thing that is wrong with some settings, in a line: which, its value, and why."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "parameters"
    value = f" = {first['input']!r}" if first["loc"] else ""
    return f"{where}{value}: {first['msg'].removeprefix('Value error, ')}"


# The specifications that settings stand for.


def dataset(p: Settings) -> specs.Dataset:
    return specs.Dataset(name=p.dataset, pixels=p.pixels, train_per_class=p.train_per_class or None,
                         test_per_class=p.test_per_class or None)


def architecture(p: Settings) -> specs.Architecture:
    return specs.Architecture(name=p.architecture, width=p.width, norm=p.norm)


def synthetic_data(p: Settings) -> specs.PruningData:
    made = {"distilled": specs.Distilled, "condensed": specs.Condensed}.get(p.synthetic)
    if made:
        return made(dataset=dataset(p), ipc=p.synthetic_per_class, factor=p.synthetic_factor, steps=p.distillation_steps)
    if p.synthetic == "coreset":
        return coreset(p)
    if "@" in p.synthetic:
        return specs.Published(name=p.synthetic)
    return specs.Awaited(name=p.synthetic, ipc=p.synthetic_per_class, factor=p.synthetic_factor)


def coreset(p: Settings, seed: int = 0) -> specs.Coreset:
    """Random real images: as many, and decoded alike, as the synthetic set."""
    return specs.Coreset(ipc=p.synthetic_per_class, factor=p.synthetic_factor, seed=seed)


def recipe(p: Settings, epochs: int) -> specs.Recipe:
    """How a network is retrained."""
    return specs.Recipe(epochs=epochs, batch=p.batch, lr=p.lr, cutmix=p.cutmix, weight_decay=p.weight_decay)


def search_recipe(p: Settings, epochs: int) -> specs.Recipe:
    """How every round of a mask search is trained, on real or synthetic data."""
    decay = p.weight_decay if p.search_weight_decay < 0 else p.search_weight_decay
    return recipe(p, epochs).model_copy(update={"lr": p.search_lr or p.lr, "weight_decay": decay})


def decoded_images(p: Settings) -> int:
    """What a training on the synthetic set sees in an epoch."""
    return len(facts(p.dataset).classes) * p.synthetic_per_class * p.synthetic_factor**2


def matched_epochs(p: Settings, images: int, epochs: int, on: int) -> int:
    """Epochs over `on` images that take as many steps as `epochs` over `images`, as nearly as whole epochs can."""
    return max(1, round(epochs * -(-images // p.batch) / -(-on // p.batch)))


def search(p: Settings, method: Method, init_seed: int = 0) -> specs.Search | specs.AtInitialisation | specs.SameDensities:
    """How masks of `method` are found under these settings. `init_seed` draws what is random beside the order: real images
    and masks, which one draw for all initialisations would leave without an interval.

    Raises Problem where steps must match an unknown number, or a search would rewind beyond its end.
    """
    if method in CRITERIA or is_own(method):
        return specs.AtInitialisation(criterion=method, seed=init_seed if method == "random" else p.search_seed)
    if method in ("like synthetic", "like imp"):
        return specs.SameDensities(of=search(p, method.removeprefix("like "), init_seed), seed=init_seed)
    data = {"imp": specs.Real(), "imp, steps of synthetic": specs.Real(), "coreset": coreset(p, p.real_draw(init_seed)),
            "noise": specs.Noise(ipc=p.synthetic_per_class, factor=p.synthetic_factor, seed=0)}.get(method) or synthetic_data(p)
    if method == "shuffled":
        data = specs.Shuffled(of=data, seed=0)
    epochs = p.round_epochs if method == "imp" else p.synthetic_epochs
    if method == "imp, steps of synthetic":
        epochs = matched_epochs(p, decoded_images(p), p.synthetic_epochs, real_images(p))
    if method == "synthetic, steps of imp":
        epochs = matched_epochs(p, real_images(p), p.round_epochs, decoded_images(p))
    if p.rewind.isdecimal() and int(p.rewind) >= epochs:
        raise Problem(f"rewind={p.rewind} is not before the last of the {epochs} epochs of the search '{method}'")
    return specs.Search(data=data, recipe=search_recipe(p, epochs), seed=p.search_seed,
                        rewind=int(p.rewind) if p.rewind.isdecimal() else p.rewind)


def cost(p: Settings, method: Method, level: int, images: int, flops: float = 0) -> Cost:
    """What a mask of `method` at `level` takes, by `images` real ones and `flops` of a visit.

    The making of a synthetic set is not in it, nor the retraining of the subnetwork.
    """
    how, classes = search(p, method), len(facts(p.dataset).classes)
    if isinstance(how, specs.AtInitialisation):
        return criterion_cost(how.criterion, classes * how.per_class, flops)
    stored, decoded = ((images, images) if isinstance(how.data, specs.Real)
                       else (classes * p.synthetic_per_class, decoded_images(p)))
    return search_cost(stored=stored, decoded=decoded, epochs=how.recipe.epochs, batch=how.recipe.batch, levels=level,
                       flops=flops, rewind=how.epoch)


def real_images(p: Settings) -> int:
    """Training images of the whole data set, or of the part that is used. Raises Problem where that is not known."""
    if not p.train_per_class and facts(p.dataset).images:
        return facts(p.dataset).images["train"]
    count = p.train_per_class or facts(p.dataset).complete.get("train")
    if not count:
        raise Problem(f"the classes of {facts(p.dataset).title} differ in size: set train_per_class to match steps")
    return len(facts(p.dataset).classes) * count


def subnetwork(p: Settings, method: Method, init_seed: int, level: int) -> specs.Subnetwork:
    return specs.Subnetwork(dataset=dataset(p), architecture=architecture(p), init_seed=init_seed,
                            search=search(p, method, init_seed) if level else None, level=level)


def retrained(p: Settings, method: Method, init_seed: int, level: int, order_seed: int) -> specs.Trained:
    """The subnetwork trained on the real data, in one order."""
    return specs.Trained(subnetwork=subnetwork(p, method, init_seed, level), data=specs.Real(),
                         recipe=recipe(p, p.epochs), order_seed=order_seed)


def path(p: Settings, method: Method, init_seed: int, level: int, pair: tuple[int, int], **how: Any) -> specs.Path:
    """The path between the subnetwork's trainings in a `pair` of orders; level 0: the dense network, whatever the method."""
    return specs.Path(ends=tuple(retrained(p, method, init_seed, level, order) for order in pair), points=p.points, **how)


def trained_on(p: Settings, method: Method, seed: int) -> specs.Evaluation:
    """The dense network trained on a set alone: the first round of the search on that set, so that it costs nothing more."""
    return specs.Evaluation(of=subnetwork(p, method, seed, 1).round)


def overrides(p: Settings) -> dict[str, Any]:
    """The parameters that are not what the profile says: a profile's name alone would not tell what was run."""
    said = said_by(p.profile, type(p), p.chapter, p.scene)
    usual = said_by(p.profile, type(p), p.chapter, None)["scene"]
    own = p.dataset not in FACTS and _other(said.get("dataset"), p.dataset)  # then pixels are never the profile's
    return {name: value for name, value in (p.model_dump() | {"seeds": p.planned}).items()
            if name != "profile" and ((value != usual if name == "scene" else _other(said.get(name), value))
                                      or (own and name == "pixels"))}


def _other(said: Any, value: Any) -> bool:
    """Whether a parameter is not what was said: a title says any set of that title."""
    return said != value and not (isinstance(said, str) and str(value).startswith(f"{said}@"))


def scenes(p: Settings) -> list[Settings]:
    """The parameters of each of `p.scenes`, for chapters that have several."""
    return [in_scene(p, scene) for scene in p.scenes]


def in_scene(p: Settings, scene: str) -> Settings:
    """The same chapter in another scene of the profile; what was set by hand stays set.

    Raises Problem for a scene that the profile does not have.
    """
    if scene == p.scene:
        return p
    several = {"scenes": p.scenes} if "scenes" in type(p).model_fields else {}
    return parameters(type(p), p.chapter, overrides(p) | several | {"profile": p.profile, "scene": scene})


def decides(p: Settings) -> bool:
    """Whether results of these settings may speak for or against the paper: the digits and a data set of one's own never do."""
    return p.profile != "demo" and p.dataset in FACTS and p.dataset != "digits"


def narrowed(p: AnySettings, seeds: Sequence[int]) -> AnySettings:
    """The same parameters with fewer initialisations, which still know how many were planned."""
    if list(seeds) == p.seeds:
        return p
    fewer = p.model_copy(update={"seeds": list(seeds)})
    fewer._planned = p.planned
    return fewer
