"""The paper profile runs: every sort of result that it asks for is made once, on random images of its real shape.

Networks, widths, pixels, norms, batches and decode factors are the paper's. Only how much there is to do is less: two
epochs of at most a batch or two, few images, one or two levels, short paths. So nobody need rent a GPU to learn that
the profile does not run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from synthprune import compute, criteria, specs
from synthprune.data.datasets import load
from synthprune.data.facts import FACTS
from synthprune.data.synthetic import SyntheticSet, keep
from synthprune.experiments import CHAPTERS, experiment
from synthprune.experiments.settings import parameters
from synthprune.home import home, write_whole
from synthprune.models import prunable
from synthprune.pruning import remaining
from synthprune.solve import solve
from synthprune.store import Result, Store
from synthprune.values import Value

pytestmark = pytest.mark.slow

Solved = dict[specs.Entry, tuple[specs.Entry, Result]]


def asked() -> list[specs.Entry]:
    """All that the paper profile's chapters rest on."""
    return specs.closure([entry for chapter in CHAPTERS for entry in experiment(chapter).requests(
        parameters(experiment(chapter).Parameters, chapter, {"profile": "paper"})).values()])


def sort(entry: specs.Entry) -> tuple[Any, ...]:
    """What decides which code computes an entry, and on tensors of which shapes."""
    data = entry.dataset.name, entry.dataset.pixels, entry.dataset.whitened
    if isinstance(entry, specs.Distilled):
        return entry.kind, *data, entry.factor, entry.width
    subnetwork = entry if isinstance(entry, specs.Subnetwork) else entry.subnetwork
    network = entry.kind, subnetwork.architecture, *data
    match entry:
        case specs.Subnetwork():
            return *network, _way(entry.search)
        case specs.Trained():
            origin = specs.origin(entry.data)
            recipe = entry.recipe.model_copy(update={"epochs": 1})
            return (*network, bool(entry.subnetwork.level), _rewind(entry.subnetwork.search), isinstance(entry.data, specs.Shuffled),
                    isinstance(origin, specs.Published | specs.Awaited) or type(origin), getattr(origin, "factor", 1), recipe,
                    entry.stop_epoch is None)
        case specs.Path():
            return *network, bool(subnetwork.level), entry.batch_norm, entry.aligned
        case specs.Plane():
            return *network, bool(subnetwork.level), len(entry.models)
        case specs.Evaluation() | specs.Diagonal():
            return *network, bool(subnetwork.level)
    raise AssertionError(f"say what makes one {entry.kind} differ from another")


def one_of_each(entries: list[specs.Entry]) -> list[specs.Entry]:
    """Of each sort one, IMP's where there is a choice, at a level as high as any: so that most share their trainings."""
    def imp(entry: specs.Entry) -> bool:
        search = getattr(getattr(entry, "subnetwork", entry), "search", None)
        return getattr(search, "data", None) == specs.Real()

    return list({sort(entry): entry for entry in sorted(entries, key=imp)}.values())


def _way(search: Any) -> tuple[Any, ...]:
    return type(search), getattr(search, "criterion", None), _rewind(search), getattr(search, "start", None) is not None


def _rewind(search: Any) -> str:
    return "epoch" if getattr(search, "epoch", 0) else getattr(search, "rewind", "")


class Less:
    """`less(entry)`: the same sort of entry with little to do, on random images that are filed in SYNTHPRUNE_HOME."""

    def __init__(self, entries: list[specs.Entry]) -> None:
        self.per_class = dict.fromkeys((entry.dataset.name for entry in entries), 1)
        for entry in entries:
            data = specs.origin(entry.data) if isinstance(entry, specs.Trained) else entry
            if isinstance(data, specs.Coreset | specs.Distilled):  # which paste that many real images into one
                self.per_class[entry.dataset.name] = max(self.per_class[entry.dataset.name], data.factor**2)
        for name, count in self.per_class.items():
            _file_images(name, count)

    def __call__(self, entry: specs.Entry) -> specs.Entry:
        few = self._less(entry, entry.dataset.name)
        if isinstance(few, specs.Trained):
            return few.model_copy(update={"order_seed": 0})  # so that rounds and retrainings are shared
        return few.at(2) if isinstance(entry, specs.Subnetwork) and entry.level > 1 else few

    def _less(self, value: Any, dataset: str) -> Any:
        if isinstance(value, tuple):
            return tuple(self._less(item, dataset) for item in value)
        if not isinstance(value, Value):
            return value
        if isinstance(value, specs.Awaited):
            return specs.Published(name=_filed_set(dataset, value.factor))
        changes = {name: self._less(getattr(value, name), dataset) for name in type(value).model_fields}
        return type(value)(**changes | self._sizes(value, dataset))

    def _sizes(self, value: Value, dataset: str) -> dict[str, Any]:
        match value:
            case specs.Dataset():
                return {"train_per_class": self.per_class[value.name], "test_per_class": 1}
            case specs.Coreset() | specs.Noise():
                return {"ipc": 1}
            case specs.Distilled():
                return {"ipc": 1, "steps": 2, "real_batch": 2}
            case specs.Search():
                return self._two_steps(value, dataset) | {"rewind": 1 if value.epoch else value.rewind, "seed": 0}
            case specs.AtInitialisation():
                return {"per_class": 1}
            case specs.Start():
                return {"level": 1}
            case specs.Subnetwork():
                return {"level": value.level and 1 + (getattr(value.search, "start", None) is not None), "init_seed": 0}
            case specs.Trained():
                return self._two_steps(value, dataset) | {"stop_epoch": value.stop_epoch and 1}
            case specs.Path():
                return {"points": 3}
            case specs.Plane():
                return {"side": 2, "per_class": 1}
            case specs.Diagonal():
                return {"batches": 1, "batch": 1}
        return {}

    def _two_steps(self, value: specs.Search | specs.Trained, dataset: str) -> dict[str, Any]:
        """A recipe of at least two steps: two epochs where all images are one batch."""
        data = specs.origin(value.data)
        images = len(FACTS[dataset].classes) * (getattr(data, "factor", 0)**2 or self.per_class[dataset])
        return {"recipe": value.recipe.model_copy(update={"epochs": 1 + (images <= value.recipe.batch)})}


def _file_images(name: str, per_class: int) -> None:
    known, rng = FACTS[name], np.random.default_rng(0)
    labels = np.arange(len(known.classes)).repeat(per_class)
    parts = {part: rng.integers(0, 256, (len(labels), known.channels, known.pixels, known.pixels), dtype=np.uint8)
             for part in ("train", "test")}
    write_whole(home() / "data" / f"{name}.safetensors", save({
        f"{part}_{what}": array for part, images in parts.items() for what, array in (("images", images), ("labels", labels))}))


def _filed_set(dataset: str, factor: int) -> str:
    known = FACTS[dataset]
    images = np.random.default_rng(factor).random((len(known.classes), known.channels, known.pixels, known.pixels), np.float32)
    return keep(SyntheticSet(images, np.arange(len(images)), factor), "random")


@pytest.fixture(scope="module")
def solved() -> Iterator[Solved]:
    """One entry of every sort that the profile asks for: {it: (the same with little to do, its result)}."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:  # pytest's own would keep gigabytes
        patch.setenv("SYNTHPRUNE_HOME", folder)
        patch.setattr(criteria, "SYNFLOW_ROUNDS", 2)
        load.cache_clear()
        entries = asked()
        less = Less(entries)
        few = {entry: less(entry) for entry in one_of_each(entries)}
        results = solve({few_.key: few_ for few_ in few.values()}, Store(Path(folder) / "store"), workers=1)
        yield {entry: (few_, results[few_.key]) for entry, few_ in few.items()}
        load.cache_clear()
