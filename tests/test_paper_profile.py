"""The paper profile runs: every sort of result that it asks for is made once, on random images of its real shape.

Networks, widths, pixels, norms, batches and decode factors are the paper's. Only how much there is to do is less: a few
steps on few images, one or two levels, short paths. So nobody need rent a GPU to learn that the profile does not run.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from typer.testing import CliRunner

from synthprune import cli, criteria, engine
from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.profiles import read_profile
from synthprune.chapters.settings import parameters
from synthprune.costs import PEAK_TFLOPS
from synthprune.data.datasets import load
from synthprune.data.facts import FACTS
from synthprune.data.synthetic import SyntheticSet, keep, published
from synthprune.home import home, write_whole
from synthprune.models import build, initial_state, prunable
from synthprune.pruning import remaining
from synthprune.results import compute, plan, specs
from synthprune.results.solve import solve
from synthprune.results.store import Result, Store
from synthprune.results.values import Value
from synthprune.training import Recipe, Resident, train

pytestmark = pytest.mark.slow

PRUNABLE = {
    ("convnet3", 128, "cifar10"): 318_848, ("convnet3", 128, "cifar100"): 503_168, ("resnet10", 32, "cifar10"): 1_226_080,
    ("resnet18", 32, "cifar10"): 2_792_800, ("resnet10_imagenet", 64, "imagenet10"): 4_905_152,
    # A classifier on 256 channels, of 90 classes more.
    ("resnet10", 32, "cifar100"): 1_226_080 + 256 * 90, ("resnet18", 32, "cifar100"): 2_792_800 + 256 * 90}
"""(network, width, data set) to prunable weights, counted on the authors' classes."""

Solved = dict[specs.Entry, tuple[specs.Entry, Result]]


def sort(entry: specs.Entry) -> tuple[Any, ...]:
    """What decides which code computes an entry, and on tensors of which shapes."""
    data = entry.dataset.name, entry.dataset.pixels, entry.dataset.whitened
    if isinstance(entry, specs.Distilled):
        return entry.kind, *data, entry.factor, entry.width
    subnetwork = entry if isinstance(entry, specs.Subnetwork) else entry.subnetwork
    match entry:
        case specs.Subnetwork():
            way = _way(entry.search)
        case specs.Trained():
            origin = specs.origin(entry.data)
            way = (bool(subnetwork.level), _rewind(subnetwork.search), isinstance(entry.data, specs.Shuffled),
                   specs.Published if isinstance(origin, specs.Awaited) else type(origin), _factor(origin, entry.dataset),
                   entry.recipe.model_copy(update={"epochs": 1, "lr": 0.01, "weight_decay": 0}), entry.stop_epoch is None)
        case specs.Path():
            way = bool(subnetwork.level), entry.batch_norm, entry.aligned
        case specs.Plane():
            way = bool(subnetwork.level), len(entry.models)
        case specs.Evaluation():
            way = (bool(subnetwork.level),)
        case specs.Diagonal():  # whose cost is that of the surviving weights: the dense network's would be the longest of all
            way = ()
        case _:
            raise AssertionError(f"say what makes one {entry.kind} differ from another")
    return entry.kind, subnetwork.architecture, *data, *way


def _factor(data: specs.PruningData, dataset: specs.Dataset) -> int:
    return published(data.name, dataset.name).factor if isinstance(data, specs.Published) else getattr(data, "factor", 1)


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
        match few:  # in one order where one will do, so that rounds, retrainings and what is measured share trainings
            case specs.Trained():
                return few.model_copy(update={"order_seed": 0})
            case specs.Evaluation() | specs.Diagonal():
                return few.model_copy(update={"of": few.of.model_copy(update={"order_seed": 0})})
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
        sizes: dict[str, Any] = {}
        match value:
            case specs.Dataset():
                sizes = {"train_per_class": self.per_class[value.name], "test_per_class": 1}
            case specs.Coreset() | specs.Noise():
                sizes = {"ipc": 1}
            case specs.Distilled():
                sizes = {"ipc": 1, "steps": 2, "real_batch": 2}
            case specs.Search():
                recipe, epochs = self._two_steps(value, dataset, value.epoch)
                sizes = {"recipe": recipe, "rewind": epochs if value.epoch else value.rewind, "seed": 0}
            case specs.AtInitialisation():
                sizes = {"per_class": 1}
            case specs.Start():
                sizes = {"level": 1}
            case specs.Subnetwork():
                sizes = {"level": value.level and 1 + (getattr(value.search, "start", None) is not None), "init_seed": 0}
            case specs.Trained():
                recipe, epochs = self._two_steps(value, dataset, value.first_epoch or value.stop_epoch)
                sizes = {"recipe": recipe, "stop_epoch": value.stop_epoch and epochs}
            case specs.Path():
                sizes = {"points": 3}
            case specs.Plane():
                sizes = {"side": 2, "per_class": 1}
            case specs.Diagonal():
                sizes = {"batches": 1, "batch": 1}
        return sizes

    def _two_steps(self, value: specs.Search | specs.Trained, dataset: str, split: int | None) -> tuple[specs.Recipe, int]:
        """The recipe of at least two steps, and of two more behind the epoch where it is `split`; that epoch."""
        data = specs.origin(value.data)
        images = len(FACTS[dataset].classes) * (getattr(data, "factor", 0)**2 or self.per_class[dataset])
        epochs = 1 + (images <= value.recipe.batch)
        return value.recipe.model_copy(update={"epochs": 2 * epochs if split else epochs}), epochs


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
def asked() -> Iterator[list[specs.Entry]]:
    """All that the paper profile's chapters rest on, in an empty SYNTHPRUNE_HOME that lasts as long as this file's tests."""
    # A folder of our own: pytest would keep gigabytes.
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHPRUNE_HOME", folder)
        yield specs.closure([entry for chapter in CHAPTERS for entry in experiment(chapter).requests(
            parameters(experiment(chapter).Parameters, chapter, {"profile": "paper"})).values()])


@pytest.fixture(scope="module")
def solved(asked: list[specs.Entry]) -> Iterator[Solved]:
    """One entry of every sort that the profile asks for: {it: (the same with little to do, its result)}."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(criteria, "SYNFLOW_ROUNDS", 2)
        load.cache_clear()
        less = Less(asked)
        few = {entry: less(entry) for entry in one_of_each(asked)}
        results = solve({one.key: one for one in few.values()}, Store(), workers=1)
        yield {entry: (one, results[one.key]) for entry, one in few.items()}
        load.cache_clear()


def of_kind(solved: Solved, *kinds: type[specs.Entry]) -> list[tuple[Any, Result]]:
    """What was computed of some kinds of entry; never nothing."""
    found = [(few, result) for few, result in solved.values() if isinstance(few, kinds)]
    assert {type(few) for few, _ in found} == set(kinds)
    return found


def test_networks_have_as_many_prunable_weights_as_the_authors(asked: list[specs.Entry]) -> None:
    subnetworks = [entry.subnetwork for entry in asked if isinstance(entry, specs.Trained)]
    found = {}
    for (architecture, dataset), one in {(one.architecture, one.dataset): one for one in subnetworks}.items():
        network = compute.network_of(one)
        found[architecture.name, architecture.width, dataset.name] = sum(
            network.get_parameter(name).numel() for name in prunable(network))
    assert {one: found.get(one) for one in PRUNABLE} == PRUNABLE


def test_every_kind_and_every_scene_is_computed_as_the_profile_has_it(asked: list[specs.Entry], solved: Solved) -> None:
    # The profile condenses nothing: its sets are Kim et al.'s own, or made by distribution matching.
    assert {type(entry) for entry in solved} == {type(entry) for entry in asked} == {*specs.ENTRIES} - {specs.Condensed}
    assert {sort(few) for few, _ in solved.values()} == {sort(entry) for entry in asked}
    networks = {(few.subnetwork.architecture, few.dataset.name, few.dataset.pixels) for few, _ in of_kind(solved, specs.Trained)}
    said = read_profile("paper")
    for scene in said["scenes"].values():
        fields = said | scene
        architecture = specs.Architecture(name=fields["architecture"], width=fields["width"], norm=fields["norm"])
        assert (architecture, fields["dataset"], fields["pixels"]) in networks


def test_masks_keep_as_many_weights_as_pruning_says(solved: Solved) -> None:
    for few, result in of_kind(solved, specs.Subnetwork):
        network = compute.network_of(few)
        masks = {name.removeprefix("mask/"): array for name, array in result.arrays.items() if name.startswith("mask/")}
        assert {name: mask.shape for name, mask in masks.items()} == {
            name: tuple(network.get_parameter(name).shape) for name in prunable(network)}
        fraction = few.search.of.fraction if isinstance(few.search, specs.SameDensities) else few.search.fraction
        kept = remaining(sum(mask.size for mask in masks.values()), fraction, few.level)
        assert few.level and sum(int(mask.sum()) for mask in masks.values()) == kept == sum(result.metrics["survivors"].values())
        assert any(name.startswith("kept/") for name in result.arrays) == (few.search.rewind == "weights")


def test_trainings_take_their_steps_and_move_every_surviving_layer(solved: Solved) -> None:
    for few, result in of_kind(solved, specs.Trained):
        losses = result.metrics["epoch_losses"]
        assert len(losses) == (few.stop_epoch or few.recipe.epochs) - few.first_epoch and all(map(math.isfinite, losses))
        assert len(losses) * math.ceil(plan.training_images(few) / few.recipe.batch) >= 2
        start, masks = compute._start(few.subnetwork, Store()), compute._masks(few.subnetwork, Store())
        for name, mask in masks.items():
            weights = torch.from_numpy(result.arrays[name])
            assert torch.isfinite(weights).all() and not weights[~mask].any(), (few, name)
            # Weight decay alone would move all weights by one share of themselves.
            along = torch.cosine_similarity((weights - start[name]).flatten(), start[name].flatten(), dim=0)
            assert abs(along) < 0.5, (few, name)


def test_what_is_measured_is_finite_and_of_the_length_asked_for(solved: Solved) -> None:
    for few, result in of_kind(solved, specs.Evaluation, specs.Path, specs.Plane, specs.Diagonal):
        assert not result.metrics["diverged"] and all(np.isfinite(array).all() for array in result.arrays.values()), few
        shapes = {name: array.shape for name, array in result.arrays.items()}
        expected: dict[str, tuple[int, ...]] = {}
        match few:
            case specs.Evaluation() | specs.Path():
                points = (few.points,) if isinstance(few, specs.Path) else ()
                expected = {f"{part}_{what}": points for part in ("train", "test") for what in ("loss", "error")}
                assert shapes == expected
            case specs.Plane():
                models, grid = len(few.models), few.side**2
                expected = {"grid": (grid, 2), "loss": (grid,), "coordinates": (models, 2), "distances": (models, models),
                            "at_models/loss": (models,), "at_projections/loss": (models,)}
            case specs.Diagonal():
                layers = prunable(compute.network_of(few.subnetwork))
                expected = {"eigenvalue": (few.batches,), "trace": (few.batches, 2), "survivors/overall/std": (few.batches,)}
                expected |= {f"all/{layer}/mean": (few.batches,) for layer in layers}
        assert expected.items() <= shapes.items(), few


def test_aligned_paths_say_how_much_was_permuted(solved: Solved) -> None:
    aligned = [result for few, result in of_kind(solved, specs.Path) if few.aligned]
    assert aligned and all(0 < result.metrics["union_density"] <= 1 for result in aligned)


def test_distillation_moves_images_of_the_real_size(solved: Solved) -> None:
    for few, result in of_kind(solved, specs.Distilled):
        known, images = FACTS[few.dataset.name], result.arrays["images"]
        assert images.shape == (len(known.classes) * few.ipc, known.channels, known.pixels, known.pixels)
        before = solve({"it": few.model_copy(update={"steps": 0})}, Store(), workers=1)["it"].arrays["images"]
        assert np.isfinite(images).all() and (images != before).mean() > 0.5


def test_a_compiled_step_of_the_papers_size_is_the_eager_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainings above are short and so eager; those of the profile are not."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    if not engine.works():
        pytest.skip("no C++ compiler works here: the compiled engine was not tried")
    rng, network = np.random.default_rng(0), build("convnet3", channels=3, pixels=32, classes=10, width=128, norm="instance")
    images = rng.integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    data, start = Resident.of(images, np.arange(64) % 10, FACTS["cifar10"], "cpu"), initial_state(network, 0)
    (eager, losses), (compiled, same) = (
        train(network, start, {}, data, Recipe(epochs=1, batch=64), order_seed=0, compiled=choice) for choice in (False, True))
    assert same == pytest.approx(losses, rel=1e-5)
    for name, value in eager.items():
        step, apart = (value - start[name]).norm(), (compiled[name] - value).norm()
        # Where rounding puts one value on the other side of a ReLU, one term of very many is another: in all, and not weight by
        # weight, the steps agree. A bias before a norm has no gradient but its rounding: hence the 1e-7.
        assert apart < 0.01 * step + 1e-7, name


# The plan.


def planned(*words: str) -> str:
    """What `synthprune plan` prints on a wide terminal."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["plan", *words, "--profile", "paper"])
    assert done.exit_code == 0, done.output
    return done.stdout


def rows(table: str) -> dict[str, list[float]]:
    """{chapter: its numbers}: results, trainings, PFLOP, hours, GiB."""
    cells = [[cell.strip() for cell in line.strip().strip("│").split("│")] for line in table.splitlines() if "│" in line]
    return {name: [float(number.replace(",", "")) for number in numbers] for name, *numbers in cells}


def test_the_plan_says_hours_and_memory_of_every_chapter_by_arithmetic(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the data, without a GPU, and without measuring anything here."""
    monkeypatch.delattr(plan, "rate")
    printed = planned()
    assert "arithmetic, not measured" in " ".join(printed.split()) and "H100 SXM" in printed
    found = rows(printed)
    assert list(found) == [*CHAPTERS, "the whole book"]
    for name, (results, trainings, petaflop, hours, gibibytes) in found.items():
        small = name in ("01_introduction", "01_method")  # on the digits, in every profile
        assert results and trainings and (small or petaflop) and (0 if small else 0.1) <= gibibytes < 80
        assert hours == pytest.approx(petaflop * 1e3 / (67 * 0.3) / 3600, abs=0.06)
    assert found["08_lottery_tickets"][4] > found["05_loss_landscape"][4]  # ImageNet's images and CIFAR's
    assert found["the whole book"][2] < sum(numbers[2] for name, numbers in found.items() if name in CHAPTERS)


def test_the_plan_of_a_chapter_is_that_counted_by_hand(home: Path) -> None:
    """Chapter 05: five initialisations, three kinds of ConvNet-3 at level 4, each trained in four orders on CIFAR-10."""
    first, second, third, last = 32**2 * 128 * 27, 16**2 * 128 * 1152, 8**2 * 128 * 1152, 2048 * 10
    forward, step = 2 * (first + second + third + last), 2 * (2 * first + 3 * (second + third + last))
    # The searches train in an order of their own, so that all four rounds of IMP come beside the twelve trainings.
    real, synthetic = 5 * (3 * 4 + 4), 5 * 4
    visits = real * 300 * 50_000 + synthetic * 1000 * 400
    paths = 3 * 5 * 6 * 11 * 60_000
    planes = 3 * ((100**2 + 2 * 4) + 4 * (2**2 + 2 * 4) + (100**2 + 2 * 3)) * 5000
    petaflop = (visits * step + (paths + planes) * forward) / 1e15
    found = rows(planned("05_loss_landscape", "--gpu", "A100"))["05_loss_landscape"]
    assert found[:2] == [3 * 5 * 7 + 3, real + synthetic] and found[2] == pytest.approx(petaflop, abs=0.051)
    assert found[3] == pytest.approx(petaflop * 1e3 / (PEAK_TFLOPS["A100"] * 0.3) / 3600, abs=0.051)
