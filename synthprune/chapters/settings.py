"""What every chapter's experiments share: the fields of a profile, and the specifications they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from synthprune.chapters.profiles import parsed, said_by
from synthprune.data.facts import FACTS, facts, full_name
from synthprune.home import synthetic_sets
from synthprune.own import is_own, named
from synthprune.problems import Problem, cut, nearest
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
    width: int = field("channels of the first layer (the authors: 128 for ConvNet-3, 32 for the ResNets)", ge=1)
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
                raise ValueError(f"{name}={cut(str(value))} is a truth value")
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
            raise ValueError(f"rewind={cut(self.rewind)} is not before the last epoch of a search")
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
        return parsed(str(value) if str(value).strip().startswith("[") else f"[{value}]")
    except yaml.YAMLError:
        raise ValueError(f"{name}={cut(str(value))} is not a list: write it as [0,1] or 0,1") from None


def parameters(model: type[Settings], chapter: str, given: Mapping[str, Any]) -> Settings:
    """A chapter's typed parameters: what the profile says of the chapter and its scene, overridden by those `given`.

    Raises Problem naming the parameter, its value and the nearest valid name or what is wrong.
    """
    for name in given:
        if name not in model.model_fields:
            raise Problem(f"unknown parameter '{cut(name)}' for {chapter}: {nearest(name, model.model_fields)}")
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
    value = f" = {cut(repr(first['input']))}" if first["loc"] else ""
    return f"{where}{value}: {first['msg'].removeprefix('Value error, ')}"


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
