"""The package as a library: its names, networks and images of one's own, and one IMP for the store and for a person."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice, product
from typing import Any

import numpy as np
import pytest
import torch
from nets import convnet, equal, some_digits
from sweep import recipe as spec_recipe
from torch import nn

import synthprune
from synthprune.analysis.connectivity import PathLosses
from synthprune.models import prunable, state_of
from synthprune.problems import Problem
from synthprune.pruning import dense_masks
from synthprune.results import compute, specs
from synthprune.results.store import Store
from synthprune.training import Recipe, Resident

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (24, 3, 8, 8), dtype=np.uint8), np.arange(24) % 3


def test_importing_is_quick_and_loads_nothing() -> None:
    code = ("import time; t = time.process_time(); import synthprune; took = time.process_time() - t; import sys;"
            "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules); print(took)")
    took = min(float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
               for _ in range(3))
    assert took < 0.2


def test_the_names_are_the_words_of_the_field() -> None:
    assert 5 <= len(synthprune.__all__) <= 15 and synthprune.__all__ == sorted(synthprune.__all__)
    assert set(synthprune.__all__) <= set(dir(synthprune))
    for name in synthprune.__all__:
        assert getattr(synthprune, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'prune'"):
        _ = synthprune.prune


class Mine(nn.Module):
    """A network that the package does not know, with a constant that is no part of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.register_buffer("gain", torch.tensor(2.0), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(torch.relu(self.norm(self.first(images))).mean((2, 3)))


@pytest.mark.parametrize("images", [IMAGES, (IMAGES / 255).astype(np.float32), IMAGES / 255.0])
def test_any_network_and_any_arrays_go_through_every_word(images: np.ndarray) -> None:
    data = synthprune.from_arrays(images, LABELS.astype(np.int32), images[:12], LABELS[:12])
    train, test = data.resident()
    network, few = Mine(), Recipe(epochs=2, batch=8, lr=0.1)
    start = state_of(network)
    assert np.allclose(train.batch(slice(None)).mean((0, 2, 3)), 0, atol=1e-5)
    _, last = synthprune.imp(network, start, train, few, levels=1)
    assert last.masks.keys() == {"first.weight", "last.weight"} and last.sparsity == pytest.approx(24 / 120)
    ends = [synthprune.train(network, last.start, last.masks, train, few, order_seed=order)[0] for order in range(3)]
    losses = synthprune.path_losses(network, *ends[:2], last.masks, train, test, points=3)
    assert losses.barrier("train_loss", "midpoint") == pytest.approx(losses.train_loss[1] - losses.train_loss[::2].mean())
    assert losses.barrier("test_error") >= losses.barrier("test_error", "midpoint")
    network.eval()
    with torch.no_grad():  # the constant that the state does not hold took part
        network.load_state_dict(ends[0])
        expected = nn.functional.cross_entropy(network(train.batch(slice(None))), train.labels)
    assert losses.train_loss[0] == pytest.approx(float(expected), rel=1e-5)
    assert synthprune.plane_through(network, ends, last.masks).distances.shape == (3, 3)
    batch = train.batch(slice(0, 8)), train.labels[:8]
    assert synthprune.hessian_diagonal(network, ends[0], last.masks, *batch)["last.weight"].shape == (3, 4)
    for criterion in ("magnitude", "snip", "random"):
        masks = synthprune.prune_at_initialisation(network, start, criterion, level=1, fraction=0.2, images=batch[0],
                                                   labels=batch[1], seed=0)
        assert sum(int(mask.sum()) for mask in masks.values()) == 96


def test_a_set_is_distilled_from_arrays() -> None:
    images = RNG.integers(0, 256, (24, 1, 16, 16), dtype=np.uint8)
    given = [synthprune.from_arrays(kind, LABELS, kind, LABELS) for kind in (images, (images / np.float32(255)))]
    made = [synthprune.distribution_matching(data, ipc=1, factor=2, steps=1, lr=1, real_batch=4, width=4, seed=0)
            for data in given]
    assert made[0].images.shape == (3, 1, 16, 16) and np.allclose(made[0].images, made[1].images, atol=1e-4)


def test_channels_of_a_network_of_ones_own_are_aligned() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 3))
    state, order = state_of(network), torch.tensor([2, 0, 3, 1])
    other = state | {name: state[name][order] for name in ("1.weight", "1.bias")} | {"3.weight": state["3.weight"][:, order]}
    assert synthprune.align(network, state, other, seed=0)["1"].tolist() == torch.argsort(order).tolist()


@pytest.mark.parametrize(("images", "labels", "said"), [
    (IMAGES[0], LABELS, "have shape"), (IMAGES[..., :4], LABELS, "have shape"), (IMAGES.astype(int), LABELS, "are int64"),
    (IMAGES, LABELS[:3], "one integer from 0 for each"), (IMAGES, LABELS - 1, "one integer"), (IMAGES, LABELS / 1, "one integer"),
    (IMAGES, LABELS * 0, "two classes or more"), (IMAGES, LABELS * 2, "no image has label 1"),
    (np.zeros_like(IMAGES), LABELS, "one value in every image"), (np.full(IMAGES.shape, np.nan), LABELS, "not finite")])
def test_arrays_of_another_form_are_refused_in_words(images: np.ndarray, labels: np.ndarray, said: str) -> None:
    with pytest.raises(Problem, match=said):
        synthprune.from_arrays(images, labels, IMAGES, LABELS)


def test_test_images_must_be_of_the_training_images_kind() -> None:
    with pytest.raises(Problem, match="bring both to one form"):
        synthprune.from_arrays(IMAGES, LABELS, IMAGES / 255, LABELS)
    with pytest.raises(Problem, match="label 3"):
        synthprune.from_arrays(IMAGES, LABELS, IMAGES, LABELS + 1)


def test_a_layer_without_a_known_initialisation_is_named() -> None:
    with pytest.raises(Problem, match="'0.weight' \\(PReLU\\)"):
        synthprune.initial_state(nn.Sequential(nn.PReLU()), 0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in another order have other last bits: the store computes on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("home", "one_thread")
@pytest.mark.parametrize("rewind", ["full", "weights", 1])
@pytest.mark.parametrize("started", [False, True])
def test_the_store_and_a_person_have_one_imp(rewind: str | int, started: bool) -> None:
    """Masks and starting states of every level, bit for bit; also on the start that another search has found."""
    store = Store()
    data = specs.Dataset(name="digits", pixels=16, train_per_class=12)
    how = spec_recipe().model_copy(update={"epochs": 2})
    other = specs.Search(data=specs.Real(), recipe=how, rewind="full", seed=7)
    search = specs.Search(data=specs.Real(), recipe=how, rewind=rewind, seed=3,
                          start=specs.Start(search=other, level=1) if started else None)
    last = specs.Subnetwork(dataset=data, architecture=specs.Architecture(name="convnet3", width=4, norm="instance"), init_seed=1,
                            search=search, level=2)
    retrained = specs.Trained(subnetwork=last, data=specs.Real(), recipe=how, order_seed=0)
    for entry in specs.closure(list(retrained.parents)):
        compute.compute(entry, store, alone=False)
    network, given, images = convnet(4), Recipe(**dict(how)), some_digits(12)
    initial = synthprune.initial_state(network, 1)
    after = list(synthprune.imp(network, initial, images, given, levels=1, seed=7))[1] if started else None
    levels = list(synthprune.imp(network, initial, images, given, levels=2, rewind=rewind, seed=3, after=after))
    assert [level.number for level in levels] == ([1, 2] if started else [0, 1, 2])
    for level in levels[-2:]:
        stored = last.at(level.number)
        assert equal(level.masks, compute._masks(stored, store)) and equal(level.start, compute._start(stored, store))
    assert levels[-1].first_epoch == (rewind if rewind == 1 else 0)


def test_a_round_is_trained_only_when_its_level_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = convnet(4), some_digits(12)
    monkeypatch.setattr("synthprune.search.train", lambda *_, **__: pytest.fail("trained"))
    initial = synthprune.initial_state(network, 0)
    (dense,) = islice(synthprune.imp(network, initial, images, Recipe(epochs=2), levels=4), 1)
    assert equal(dense.masks, dense_masks(initial, prunable(network))) and dense.sparsity == 0


def test_a_search_cannot_rewind_beyond_its_end() -> None:
    network, images = convnet(4), some_digits(12)
    with pytest.raises(Problem, match="rewind=2 is not before the last of 2 epochs"):
        next(synthprune.imp(network, synthprune.initial_state(network, 0), images, Recipe(epochs=2), levels=1, rewind=2))


def test_one_pair_of_arrays_is_enough_to_train_on() -> None:
    mine, known = Resident.of(IMAGES, LABELS), synthprune.from_arrays(IMAGES, LABELS, IMAGES, LABELS).resident()[0]
    assert torch.equal(mine.batch(slice(None)), known.batch(slice(None))) and mine.labels.dtype == torch.int64


def test_lists_and_tensors_are_arrays() -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), dtype=np.uint8), np.arange(8) % 2
    for form in (list, torch.from_numpy):
        split = synthprune.from_arrays(form(images[:4]), form(labels[:4]), form(images[4:]), form(labels[4:]))
        np.testing.assert_array_equal(split.train_images, images[:4])
        assert split.test_labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(("wrong", "said"), [({"levels": -1}, "levels=-1"), ({"rewind": "ful"}, "rewind='ful'"),
                                             ({"data": "split"}, "give the first that its resident")])
def test_a_search_that_cannot_be_says_so_at_once(wrong: dict[str, Any], said: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    images, labels = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), dtype=np.uint8), np.arange(8) % 2
    split = synthprune.from_arrays(images, labels, images, labels)
    given = {"data": split.resident()[0], "levels": 1, "rewind": "full"} | wrong
    given["data"] = split if given["data"] == "split" else given["data"]
    with pytest.raises(Problem, match=said):
        next(synthprune.imp(network, state_of(network), recipe=synthprune.Recipe(epochs=1), **given))


def test_a_barrier_without_meaning_is_named() -> None:
    losses = PathLosses(*np.zeros((4, 3)))
    assert losses.barrier("test_loss", "midpoint") == 0
    for of, at in (("loss", "highest"), ("barrier", "highest"), ("test_loss", "midway")):
        with pytest.raises(Problem, match=f"no barrier of '{of}' at '{at}'"):
            losses.barrier(of, at)  # type: ignore[arg-type]


def test_a_criterion_may_be_any_function() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    initial, images, labels = state_of(network), torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])

    def smallest(network: nn.Module) -> dict[str, torch.Tensor]:
        return {name: -weight.detach().abs() for name, weight in network.named_parameters()}

    def broken(network: nn.Module) -> None:
        raise ValueError("no")

    ask = functools.partial(synthprune.prune_at_initialisation, network, initial, level=3, fraction=0.5, images=images,
                            labels=labels, seed=0)
    kept = ask(smallest)["1.weight"]
    assert int(kept.sum()) == 16 and initial["1.weight"].abs()[kept].max() <= initial["1.weight"].abs()[~kept].min()
    with pytest.raises(Problem, match=r"broken failed: line \d+: ValueError: no"):
        ask(broken)


def test_a_state_or_labels_of_another_network_are_named() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    initial, labels = state_of(network), np.arange(8) % 2
    data, other = (Resident.of(RNG.integers(0, 256, (8, 1, 8, 8), dtype=np.uint8), np.arange(8) % n) for n in (2, 3))
    masks, few = dense_masks(initial, prunable(network)), Recipe(epochs=1)
    batch = {"images": data.batch(slice(None)), "labels": torch.from_numpy(labels)}
    wrong = {"'1.bias' is absent in the state and (2,)": {"1.weight": initial["1.weight"]},
             "'1.weight' is (3, 64) in the state and (2, 64)": initial | {"1.weight": torch.zeros(3, 64)},
             "'more' is (1,) in the state and absent": initial | {"more": torch.zeros(1)}}
    calls: list[Callable[[dict[str, torch.Tensor]], object]] = [
        lambda state: synthprune.train(network, state, masks, data, few, order_seed=0),
        lambda state: next(synthprune.imp(network, state, data, few, levels=1)),
        lambda state: synthprune.path_losses(network, initial, state, masks, data, data, points=3),
        lambda state: synthprune.plane_through(network, [initial, initial, state], masks),
        lambda state: synthprune.align(network, initial, state, seed=0),
        lambda state: synthprune.hessian_diagonal(network, state, masks, *batch.values()),
        lambda state: synthprune.prune_at_initialisation(network, state, "magnitude", level=1, fraction=0.2, seed=0, **batch)]
    for (said, state), call in product(wrong.items(), calls):
        with pytest.raises(Problem, match=re.escape(said)):
            call(state)
    three = batch | {"labels": other.labels}
    for call in (lambda: synthprune.train(network, initial, masks, other, few, order_seed=0),
                 lambda: synthprune.path_losses(network, initial, initial, masks, data, other, points=3),
                 lambda: synthprune.hessian_diagonal(network, initial, masks, *three.values()),
                 lambda: synthprune.prune_at_initialisation(network, initial, "snip", level=1, fraction=0.2, seed=0, **three)):
        with pytest.raises(Problem, match="labels are of 3 classes and the network gives 2 logits: build it with classes=3"):
            call()
    with pytest.raises(Problem, match="three states or more, not 2"):
        synthprune.plane_through(network, [initial, initial], masks)
