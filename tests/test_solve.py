"""From requests to results: nothing needless, the same bits whatever happened before, and what can be finished is."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sweep import DIGITS, MADE, digests, held, recipe, requests, subnetwork, trained

from synthprune.data.datasets import load
from synthprune.data.synthetic import SyntheticSet, keep
from synthprune.models import State, initial_state
from synthprune.problems import Problem
from synthprune.results import compute, obstacles, plan, provenance, solve, specs
from synthprune.results.result import made_otherwise
from synthprune.results.store import Arrays, Metrics, Store, StoreProblem

WANTED = requests()
NOWHERE = specs.Published(name="nowhere@000000000000")


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@functools.cache
def undisturbed() -> dict[str, str]:
    """The digests of the whole sweep, computed in this process from an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Store(Path(folder))
        solve.solve(WANTED, kept, workers=1)
        return digests(kept)


def here(entry: specs.Entry, kept: Store) -> Arrays:
    return solve.solve({"it": entry}, kept, workers=1)["it"].arrays


def assert_bits(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        other = found[name]
        assert (other.dtype, other.shape) == (tensor.dtype, tensor.shape), name
        assert other.numpy().tobytes() == tensor.numpy().tobytes(), name


# What is computed.


def test_a_stored_result_needs_nothing_behind_it(kept: Store) -> None:
    whole = solve.missing(WANTED, kept)
    assert set(whole) == set(specs.closure(list(WANTED.values())))
    one = WANTED["Distilled 2"]
    kept.put(one, {}, {}, {})
    assert solve.missing({"it": one}, kept) == []
    # The mask is stored: the search before it is not needed, though the trainings from it are.
    kept.remove(kept.path(one))
    kept.put(subnetwork(2), {}, {}, {})
    assert solve.missing({"it": one}, kept) == [trained(2, 0), trained(2, 1), one]
    # Another request that needs the search asks for it all the same.
    assert trained(1, 0) in solve.missing({"it": one, "other": WANTED["Distilled 1"]}, kept)


def test_a_mask_on_a_shelf_need_not_be_found_again(kept: Store, tmp_path: Path) -> None:
    """Whoever has an empty disk goes on from the masks that ship, here and on workers."""
    here(subnetwork(1), kept)
    kept.export([subnetwork(1)], tmp_path / "results" / "demo" / "chapter")
    for workers in (1, 2):
        empty = Store(tmp_path / f"empty {workers}", shelves=[tmp_path / "results"])
        assert solve.missing({"mask": subnetwork(1), "weights": trained(1)}, empty) == [trained(1)]
        found = solve.solve({"weights": trained(1)}, empty, workers=workers)["weights"]
        assert found.digest == solve.solve({"weights": trained(1)}, kept, workers=1)["weights"].digest
        assert [path.name for path in empty.entries()] == [trained(1).key]


def test_stored_results_are_read_without_torch(kept: Store) -> None:
    mask = subnetwork(1)
    here(mask, kept)
    code = ("import sys; from sweep import *\n"
            "found = solve({'it': subnetwork(1)}, Store(Path(sys.argv[1])))\n"
            "print(found['it'].digest, *({'torch', 'distributed', 'sklearn'} & sys.modules.keys()))")
    printed = subprocess.run([sys.executable, "-c", code, kept.root], cwd=Path(__file__).parent, text=True,
                             capture_output=True, check=True).stdout
    assert printed.split() == [kept.get(mask).digest]


# The same bits.


def test_in_another_order_and_after_other_work(kept: Store) -> None:
    expected = undisturbed()
    torch.manual_seed(7)
    np.random.seed(7)
    torch.rand(1000)
    torch.nn.Linear(3, 3)(torch.rand(2, 3)).sum().backward()
    here(trained(0, 5, epochs=1, norm="batch"), Store(kept.root.with_name("other")))
    names = list(WANTED)
    random.Random(1).shuffle(names)
    assert names != list(WANTED)
    solve.solve({name: WANTED[name] for name in names}, kept, workers=1)
    assert digests(kept) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_that_cannot_be_written_ends_the_run(kept: Store, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """What is computed after that would be thrown away."""
    calls = []

    def computed(entry: specs.Entry, store: Store, *, alone: bool) -> None:
        calls.append(entry)
        raise StoreProblem("cannot write to the store: no space left")

    monkeypatch.setattr(compute, "compute", computed)
    if workers == 2:  # other processes would not see the patch: the store itself is in a place that cannot be written
        kept = Store(Path(os.devnull) / "store")
    with pytest.raises(Problem, match="cannot write to the store"):
        solve.solve(WANTED, kept, workers=workers)
    assert len(calls) == (workers == 1)


def test_what_needs_absent_data_is_named_and_left_out(kept: Store) -> None:
    failing = {"failing": trained(1, data=NOWHERE), "resting on it": trained(2, data=NOWHERE)}
    lacking = solve.unobtainable(failing | WANTED, kept)
    assert lacking.keys() == failing.keys() and all("not on this machine" in r for r in lacking.values())
    with pytest.raises(Problem, match="'nowhere@000000000000' is not on this machine"):
        solve.solve(failing, kept, workers=1)
    assert digests(kept) == {}
    assert solve.solve(failing | WANTED, kept, workers=1).keys() == WANTED.keys()
    assert solve.unobtainable(WANTED, kept) == {}


def test_on_two_workers_with_one_entry_that_fails(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstacles, "lacking", lambda dataset, data: "")  # the set is lost while the workers are at it
    failing = {"failing": trained(1, data=NOWHERE)}
    with pytest.raises(Problem, match="'nowhere@000000000000' is not on this machine"):
        solve.solve(failing | WANTED, kept, workers=2)
    assert digests(kept) == undisturbed()


def test_after_being_stopped_at_any_checkpoint(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = trained(1, 1, epochs=3, norm="batch", rewind="weights")
    expected = here(entry, Store(kept.root.with_name("quiet")))
    here(subnetwork(1, epochs=3, norm="batch", rewind="weights"), kept)

    class Stop(BaseException):
        pass

    saved, save = [], Store.save_checkpoint

    def save_and_stop(self: Store, entry: specs.Entry, arrays: Arrays, step: int) -> None:
        save(self, entry, arrays, step)
        saved.append(step)
        if len(saved) in (1, 3, 8):
            raise Stop

    monkeypatch.setattr(compute, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(Store, "save_checkpoint", save_and_stop)
    for _ in range(3):
        with pytest.raises(Stop):
            here(entry, kept)
    found = here(entry, kept)
    # 200 images in batches of 50, three epochs: every step once, so each start went on where the last one stopped.
    assert saved == list(range(1, 13))
    assert_bits(compute._tensors(found), compute._tensors(expected))
    assert kept.get(entry).metrics["epoch_losses"] == Store(kept.root.with_name("quiet")).get(entry).metrics["epoch_losses"]
    assert kept.load_checkpoint(entry) is None
    made = kept.provenance(entry)
    assert len(made["parts"]) == 4 and made["seconds"] == pytest.approx(sum(part["seconds"] for part in made["parts"]), abs=0.01)
    assert made["joules"] is None and "parts" not in Store(kept.root.with_name("quiet")).provenance(entry)


def test_parts_of_one_training_on_two_processors_are_told_apart(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, save = trained(0), Store.save_checkpoint

    def save_and_stop(self: Store, *what: object) -> None:
        save(self, *what)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compute, "CHECKPOINT_SECONDS", -1)
        patch.setattr(provenance, "cpu", lambda: "abacus")
        patch.setattr(Store, "save_checkpoint", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            here(entry, kept)
    here(entry, kept)
    made = kept.provenance(entry)
    assert [part["cpu"] for part in made["parts"]] == ["abacus", made["cpu"]]
    assert made_otherwise(made, made) == [f"cpu {made['cpu']}, abacus then, {made['cpu']} now"]
    assert made_otherwise(made | {"parts": made["parts"][1:]}, made) == []
    old = trained(0, 1)  # saved before parts were
    kept.save_checkpoint(old, {"step": np.array(1)}, 1)
    assert provenance.earlier_parts(kept.load_checkpoint(old)) == provenance.earlier_parts(None) == []


def test_a_checkpoint_without_momentum(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = trained(0).model_copy(update={"recipe": recipe(1).model_copy(update={"momentum": 0})})
    expected = here(entry, Store(kept.root.with_name("quiet")))
    normal = Store.save_checkpoint

    def stop(self: Store, *what: object) -> None:
        normal(self, *what)
        raise KeyboardInterrupt

    monkeypatch.setattr(compute, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(Store, "save_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        here(entry, kept)
    monkeypatch.setattr(Store, "save_checkpoint", normal)
    assert kept.load_checkpoint(entry)[0] == 1
    assert_bits(compute._tensors(here(entry, kept)), compute._tensors(expected))


def test_the_number_of_threads_changes_nothing(kept: Store) -> None:
    entry, before = trained(0, norm="batch"), torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            here(entry, Store(kept.root / str(threads)))
            assert torch.get_num_threads() == threads  # given back
    finally:
        torch.set_num_threads(before)
    assert digests(Store(kept.root / "1")) == digests(Store(kept.root / "2"))


# When something is in the way.


def test_a_failing_entry_leaves_the_rest_finished(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    normal = compute._subnetwork

    def no_level_one(entry: specs.Subnetwork, store: Store) -> tuple[Arrays, Metrics]:
        if entry == subnetwork(1):
            raise Problem("level 1 is out of order")
        return normal(entry, store)

    monkeypatch.setitem(compute.COMPUTE, specs.Subnetwork, no_level_one)
    with pytest.raises(Problem, match="out of order"):
        solve.solve(WANTED, kept, workers=1)
    lost = {f"{entry.kind}/{entry.key}" for entry in specs.closure(list(WANTED.values()))
            if subnetwork(1) in specs.closure([entry])}
    assert 5 < len(lost) < len(undisturbed())
    assert digests(kept) == {name: digest for name, digest in undisturbed().items() if name not in lost}
    monkeypatch.undo()
    solve.solve(WANTED, kept, workers=1)
    assert digests(kept) == undisturbed()


def test_what_another_process_computes_is_waited_for(kept: Store) -> None:
    entry, stored_meanwhile = subnetwork(1), []
    with held(subnetwork(1), kept) as holder:
        def release() -> None:
            stored_meanwhile.append(kept.holds(entry))
            holder.kill()

        timer = threading.Timer(1.5, release)
        timer.start()
        begun = time.monotonic()
        here(entry, kept)
        assert time.monotonic() - begun > 1.4
    assert stored_meanwhile == [False] and kept.holds(subnetwork(1).round) and kept.holds(entry)


def test_recheck_agrees_or_says_what_differs(kept: Store) -> None:
    for entry in (trained(1, norm="batch"), specs.Path(ends=(trained(0, 0), trained(0, 0)), points=3)):
        here(entry, kept)
        assert [compute.recheck(e, kept) for e in specs.closure([entry])] == [""] * len(specs.closure([entry]))
    good = kept.get(trained(1, norm="batch"))
    kept.save_checkpoint(trained(1, norm="batch"), {"state/nothing": np.zeros(1)}, 1)
    assert compute.recheck(trained(1, norm="batch"), kept) == "", "a beginning that was left is not gone on from"
    assert not list((kept.root / "checkpoints").iterdir())
    kept.remove(kept.path(trained(1, norm="batch")))
    name = "features.0.bias"
    other = good.arrays | {name: np.nextafter(good.arrays[name], 9, dtype=np.float32)}
    kept.put(trained(1, norm="batch"), other, good.metrics, good.provenance)
    assert kept.damaged() == []
    assert "trained" in (line := compute.recheck(trained(1, norm="batch"), kept)) and "same versions" in line
    kept.remove(kept.path(trained(1, norm="batch")))
    kept.put(trained(1, norm="batch"), other, good.metrics, good.provenance | {"cpu": "abacus"})
    assert "cpu abacus then" in compute.recheck(trained(1, norm="batch"), kept)


# Where a subnetwork is trained from.


def initial() -> State:
    return initial_state(compute.network_of(subnetwork(0, norm="batch")), 0)


@pytest.mark.parametrize("level", [1, 2])
def test_full_rewind_returns_everything(kept: Store, level: int) -> None:
    of = subnetwork(level, norm="batch")
    masks = {name.removeprefix("mask/"): torch.from_numpy(mask) for name, mask in here(of, kept).items()}
    start = compute._start(of, kept)
    assert_bits(start, {name: value * masks[name] if name in masks else value for name, value in initial().items()})
    after = kept.get(of.round).arrays  # the training did move all of it, so there was something to rewind
    assert {name for name, value in initial().items() if np.array_equal(after[name], value)} == set()


@pytest.mark.parametrize("level", [1, 2])
def test_weights_rewind_returns_prunable_weights_alone(kept: Store, level: int) -> None:
    of = subnetwork(level, norm="batch", rewind="weights")
    masks = {name.removeprefix("mask/"): torch.from_numpy(mask) for name, mask in here(of, kept).items()
             if name.startswith("mask/")}
    before = compute._tensors(kept.get(of.round).arrays)
    prunable = {"features.0.weight", "features.4.weight", "features.8.weight", "classifier.weight"}
    assert masks.keys() == prunable
    start = compute._start(of, kept)
    assert_bits(start, {name: value * masks[name] if name in prunable else before[name] for name, value in initial().items()})
    assert start["features.1.num_batches_tracked"] > 0 and not torch.equal(start["features.1.weight"], torch.ones(4))


def test_epoch_rewind_returns_to_the_state_after_that_epoch(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And stop_epoch is the prefix: the first round, watched at every step, passes through the state it stops at."""
    passed: dict[int, Arrays] = {}
    with monkeypatch.context() as watched:
        watched.setattr(compute, "CHECKPOINT_SECONDS", -1)
        watched.setattr(Store, "save_checkpoint", lambda _, entry, arrays, step: passed.update({step: arrays}))
        whole = trained(0, epochs=3, norm="batch")
        here(whole, kept)
    assert sorted(passed) == list(range(1, 13))  # 4 steps an epoch
    for epochs in (1, 2):
        prefix = whole.model_copy(update={"stop_epoch": epochs})
        found = compute._tensors(here(prefix, kept))
        assert_bits(found, compute._part(passed[4 * epochs], "state/"))
        assert kept.get(prefix).metrics["epoch_losses"] == kept.get(whole).metrics["epoch_losses"][:epochs]

        of = subnetwork(2, data=specs.Real(), rewind=epochs, epochs=3, norm="batch")
        masks = {name.removeprefix("mask/"): torch.from_numpy(mask) for name, mask in here(of, kept).items()}
        assert of.rewind_point == prefix
        assert_bits(compute._start(of, kept),
                    {name: value * masks[name] if name in masks else value for name, value in found.items()})
        again = trained(2, 1, data=specs.Real(), rewind=epochs, epochs=3, norm="batch")
        here(again, kept)
        assert len(kept.get(again).metrics["epoch_losses"]) == 3 - epochs


# What it will cost.


def chain(*orders: int) -> list[specs.Trained]:
    """Independent trainings."""
    return [trained(0, order) for order in orders]


def test_makespan_equals_schedules_made_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    took: dict[specs.Entry, float] = {}
    monkeypatch.setattr(plan, "seconds", lambda entry: took.get(entry, 0.0))

    def span(todo: dict[specs.Entry, float], workers: int) -> float:
        took.clear()
        took.update(todo)
        return plan.makespan(todo, workers)

    a, b, c, d = chain(0, 1, 2, 3)
    assert span({}, 2) == 0
    assert span({a: 3, b: 4, c: 5}, 1) == 12
    assert span({a: 3, b: 4, c: 5}, 2) == 8  # a, then c on one core; b on the other
    assert span({a: 3, b: 4, c: 5, d: 1}, 9) == 5
    mask = subnetwork(1)  # its round, then the mask, then a training of it; two other trainings beside
    line = {MADE: 1, mask.round: 10, mask: 2, trained(1): 20}
    assert span(line, 2) == span(line, 1) == 33
    # The second core does not wait for the chain: 6 and 7 are done before it ends.
    assert span(line | {a: 6, b: 7}, 2) == 33
    assert span({a: 6, b: 7} | line, 2) == 6 + 33
    # A parent that is stored already is nobody's to wait for.
    assert span({trained(1): 20}, 2) == 20
    # A path waits for both its ends.
    assert span({a: 3, b: 4, specs.Path(ends=(a, b)): 5}, 2) == 9


def test_images_of_an_epoch_are_counted_as_the_network_sees_them(home: Path) -> None:
    rng = np.random.default_rng(0)
    name = keep(SyntheticSet(rng.random((30, 1, 16, 16), np.float32), np.repeat(np.arange(10), 3), 2), "tiny")
    for data, count in ((specs.Real(), 200), (specs.Published(name=name), 3 * 10 * 4),
                        (specs.Coreset(ipc=2, factor=3, seed=0), 2 * 10 * 9), (MADE, 10 * 4)):
        entry = trained(0).model_copy(update={"data": data})
        assert plan.training_images(entry) == count, data
        kept = Store(home / "store")
        if isinstance(data, specs.Distilled):
            here(data, kept)
        assert len(compute._training_data(entry, kept)) == count, data


def test_seconds_follow_visits_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "rate", lambda probe: 100.0 if probe.trains else 1000.0)

    def seconds(entry: specs.Entry) -> float:
        return plan.seconds(entry) - plan.FIXED[type(entry)]

    assert seconds(trained(0, epochs=6)) == pytest.approx(6 * 200 / 100)
    assert seconds(trained(0, epochs=6).model_copy(update={"stop_epoch": 2})) == pytest.approx(2 * 200 / 100)
    assert seconds(trained(2, rewind=2, epochs=6)) == pytest.approx(4 * 200 / 100)
    tests = len(load(DIGITS.name, DIGITS.train_per_class, DIGITS.pixels).test_labels)
    for batch_norm, passes in (("interpolated", 1), ("recomputed", 2)):
        path = specs.Path(ends=(trained(0, 0), trained(0, 1)), points=5, batch_norm=batch_norm)
        assert seconds(path) == pytest.approx(5 * (passes * 200 + tests) / 1000)
    plane = specs.Plane(models=tuple(trained(0, order) for order in range(3)), side=4, per_class=7)
    assert seconds(plane) == pytest.approx((4 * 4 + 2 * 3) * 7 * 10 / 1000)
    assert seconds(specs.Evaluation(of=trained(0))) == pytest.approx((200 + tests) / 1000)
    assert plan.seconds(subnetwork(1)) < 0.01


def test_images_are_counted_without_the_data_as_with_them() -> None:
    for dataset in (DIGITS, DIGITS.model_copy(update={"train_per_class": None})):
        split = load(dataset.name, dataset.train_per_class, dataset.pixels)
        assert plan.images(dataset) == (len(split.train_labels), len(split.test_labels))


def test_operations_and_memory_are_those_of_the_network_times_what_it_visits() -> None:
    from synthprune.models import build
    from synthprune.tracing import forward_flops, training_flops, training_memory

    entry = trained(0, epochs=6)
    network = build("convnet3", channels=1, pixels=16, classes=10, width=4, norm="instance")
    assert plan.flops(entry) == 6 * 200 * training_flops(network, 1, 16)
    assert plan.flops(specs.Evaluation(of=entry)) == (200 + 359) * forward_flops(network, 1, 16)
    assert plan.memory(entry) == training_memory(network, 1, 16, entry.recipe.batch, 200 * (16 * 16 + 8))
