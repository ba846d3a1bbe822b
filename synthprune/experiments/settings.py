"""What every chapter's experiments share: the fields of a profile, and the specifications they stand for."""

from __future__ import annotations

import html
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from synthprune import specs
from synthprune.problems import Problem, nearest

Method = Literal["synthetic", "imp"]
METHODS: tuple[Method, ...] = ("synthetic", "imp")


def field(comment: str, **limits: Any) -> Any:
    return Field(description=comment, **limits)


class Settings(BaseModel):
    """The fields of a profile; each can be overridden by a parameter of the same name. Descriptions are the reader's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    profile: str = field("demo, laptop, paper, or the path of a YAML file of your own")
    dataset: Literal["digits", "cifar10"] = field("digits or cifar10")
    pixels: int = field("side of the images, in pixels", ge=8)
    train_per_class: int = field("real training images per class; 0: all", ge=0)
    architecture: Literal["convnet3", "resnet10", "resnet18", "lenet300"] = field(
        "convnet3, resnet10, resnet18 or lenet300")
    width: int = field("channels of the first layer (the paper: 128 for ConvNet-3, 32 for the ResNets)", ge=1)
    norm: Literal["instance", "batch"] = field("instance or batch")
    epochs: int = field("epochs of every training on real data", ge=1)
    batch: int = field("images per step", ge=1)
    lr: float = field("initial learning rate", gt=0)
    cutmix: float = field("probability of CutMix per batch", ge=0, le=1)
    synthetic: str = field("data that synthetic masks are found with: distilled, coreset, or an imported TITLE@CONTENT")
    synthetic_per_class: int = field("stored images per class, where the set is made here", ge=1)
    synthetic_factor: int = field("decode factor, where the set is made here", ge=1)
    distillation_steps: int = field("steps of distribution matching, where the set is distilled here", ge=0)
    synthetic_epochs: int = field("epochs of every training on synthetic data", ge=1)
    rewind: str = field("full (to initialisation), weights (as the authors' code), or an epoch of each search's own first round")
    search_seed: int = field("order in which the mask searches see their data", ge=0)
    seeds: list[int] = field("initialisations", min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _read_strings(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Lists may come as text; a truth value is not a number, though Python thinks so."""
        read = dict(values)
        for name, value in values.items():
            declared = cls.model_fields[name].annotation if name in cls.model_fields else None
            if get_origin(declared) is list and isinstance(value, str | int | float):
                value = read[name] = _list(name, value)
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

    @field_validator("rewind")
    @classmethod
    def _known_rewind(cls, value: str) -> str:
        if value not in ("full", "weights") and not (value.isdecimal() and int(value) > 0):
            raise ValueError("must be full, weights, or the number of an epoch")
        return value

    @field_validator("synthetic")
    @classmethod
    def _known_synthetic(cls, value: str) -> str:
        if value not in ("distilled", "coreset"):
            try:
                specs.Published(name=value)
            except ValidationError:
                raise ValueError("must be distilled, coreset, or the TITLE@CONTENT of an imported set, as 'synthprune data"
                                 " list' shows it") from None
        return value


def _list(name: str, value: str | float) -> list[Any]:
    """`[0,1]`, `0,1` or a single item, as a list."""
    try:
        return yaml.safe_load(str(value) if str(value).strip().startswith("[") else f"[{value}]")
    except yaml.YAMLError:
        raise ValueError(f"{name}={value} is not a list: write it as [0,1] or 0,1") from None


def parameters(model: type[Settings], chapter: str, given: Mapping[str, Any]) -> Settings:
    """A chapter's typed parameters: the profile's values, overridden by those `given`.

    Raises Problem naming the parameter, its value and the nearest valid name or what is wrong.
    """
    for name in given:
        if name not in model.model_fields:
            raise Problem(f"unknown parameter '{name}' for {chapter}: {nearest(name, model.model_fields)}")
    chosen = {name: value for name, value in given.items() if value is not None}
    name = str(chosen.get("profile", "demo"))
    values = {k: v for k, v in read_profile(name).items() if k in model.model_fields} | chosen
    try:
        return model(**values | {"profile": name})
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            raise Problem(f"profile {name} leaves '{first['loc'][0]}' to you: pass it as a parameter"
                          f" ({model.model_fields[first['loc'][0]].description})") from None
        where = ".".join(str(part) for part in first["loc"]) or "parameters"
        value = f" = {first['input']!r}" if first["loc"] else ""
        raise Problem(f"{chapter}: {where}{value}: {first['msg'].removeprefix('Value error, ')}") from None


def read_profile(name: str) -> dict[str, Any]:
    """The fields of a profile: one that comes with the package, or a YAML file by its path.

    Raises Problem for an unknown name or key, or a file that is no mapping.
    """
    from synthprune.experiments import CHAPTERS, experiment

    shipped = {file.name.removesuffix(".yaml"): file for file in (files("synthprune") / "profiles").iterdir()
               if file.name.endswith(".yaml")}
    file = Path(name) if name.endswith((".yaml", ".yml")) else shipped.get(name)
    if file is None:
        raise Problem(f"unknown profile '{name}': {nearest(name, shipped)}")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Problem(f"profile {name} cannot be read: {' '.join(str(error).split())}") from None
    known = {field for chapter in CHAPTERS for field in experiment(chapter).Parameters.model_fields} - {"profile"}
    if not isinstance(values, dict):
        raise Problem(f"profile {name} is not a list of 'field: value' lines")
    for key in values:
        if key not in known:
            raise Problem(f"profile {name} has an unknown key '{key}': {nearest(str(key), known)}")
    return values


def profile_names() -> list[str]:
    return sorted(f.name.removesuffix(".yaml") for f in (files("synthprune") / "profiles").iterdir()
                  if f.name.endswith(".yaml"))


# The specifications that settings stand for.


def dataset(p: Settings) -> specs.Dataset:
    return specs.Dataset(name=p.dataset, pixels=p.pixels, train_per_class=p.train_per_class or None)


def synthetic_data(p: Settings) -> specs.PruningData:
    if p.synthetic == "distilled":
        return specs.Distilled(dataset=dataset(p), ipc=p.synthetic_per_class, factor=p.synthetic_factor,
                               steps=p.distillation_steps)
    if p.synthetic == "coreset":
        return specs.Coreset(ipc=p.synthetic_per_class, factor=p.synthetic_factor, seed=0)
    return specs.Published(name=p.synthetic)


def recipe(p: Settings, epochs: int) -> specs.Recipe:
    return specs.Recipe(epochs=epochs, batch=p.batch, lr=p.lr, cutmix=p.cutmix)


def search(p: Settings, method: Method) -> specs.Search:
    data, epochs = (synthetic_data(p), p.synthetic_epochs) if method == "synthetic" else (specs.Real(), p.epochs)
    return specs.Search(data=data, recipe=recipe(p, epochs), seed=p.search_seed,
                        rewind=int(p.rewind) if p.rewind.isdecimal() else p.rewind)


def subnetwork(p: Settings, method: Method, init_seed: int, level: int) -> specs.Subnetwork:
    architecture = specs.Architecture(name=p.architecture, width=p.width, norm=p.norm)
    return specs.Subnetwork(dataset=dataset(p), architecture=architecture, init_seed=init_seed,
                            search=search(p, method), level=level)


def retrained(p: Settings, method: Method, init_seed: int, level: int, order_seed: int) -> specs.Trained:
    """The subnetwork trained on the real data, in one order."""
    return specs.Trained(subnetwork=subnetwork(p, method, init_seed, level), data=specs.Real(),
                         recipe=recipe(p, p.epochs), order_seed=order_seed)


def overrides(p: Settings) -> dict[str, Any]:
    """The parameters that are not what the profile says: a profile's name alone would not tell what was run."""
    said = read_profile(p.profile)
    return {name: value for name, value in p.model_dump().items() if name != "profile" and said.get(name) != value}


def decides(p: Settings) -> bool:
    """Whether results of these settings may speak for or against the paper: the digits never do."""
    return p.profile != "demo" and p.dataset != "digits"


ARCHITECTURES = {"convnet3": "ConvNet-3", "resnet10": "ResNet-10", "resnet18": "ResNet-18", "lenet300": "LeNet-300-100"}
DATASETS = {"digits": "scikit-learn's digits", "cifar10": "CIFAR-10"}


def in_words(p: Settings) -> str:
    """Profile, data, network, training, synthetic set and rewind, as HTML sentences made from the values."""
    changed = ", ".join(f"{name}={value}" for name, value in overrides(p).items())
    count = f"{p.train_per_class} training images per class of " if p.train_per_class else "all training images of "
    made = {"distilled": f"{p.synthetic_per_class} stored images per class, decoded by factor {p.synthetic_factor}, made here by"
                         f" distribution matching in {p.distillation_steps} steps",
            "coreset": f"{p.synthetic_per_class} random real images per class, decoded by factor {p.synthetic_factor}"}
    rewind = {"full": "every parameter returns to initialisation",
              "weights": "only the prunable weights return to initialisation"}
    profile = html.escape(f"Profile {p.profile}, with {changed}" if changed else f"Profile {p.profile}")
    return (f"<strong>{profile}.</strong> Data: {count}{DATASETS[p.dataset]} at {p.pixels} pixels. Network:"
            f" {ARCHITECTURES[p.architecture]} of width {p.width}, {p.epochs} epochs in batches of {p.batch},"
            f" learning rate {p.lr:g}. Synthetic set:"
            f" {made.get(p.synthetic, html.escape(p.synthetic))}, {p.synthetic_epochs} epochs per round. Rewind:"
            f" {rewind.get(p.rewind, f'to epoch {p.rewind} of each search')}.")
