"""What a plan rests on: which rates it measures, how, and for how long they are believed."""

from __future__ import annotations

import itertools
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sweep import MADE, subnetwork, trained

from synthprune import engine, machine, training
from synthprune.chapters import budget
from synthprune.problems import Problem
from synthprune.results import plan, rates, specs


@pytest.fixture
def measured(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[rates.Probe]:
    """What was measured, in order; nothing really is, and every rate is the same."""
    probes: list[rates.Probe] = []
    monkeypatch.setattr(rates, "_measured", lambda of: probes.append(of) or 100.0)
    for kept in (rates.rate, rates._announce):
        kept.cache_clear()
    yield probes
    rates.rate.cache_clear()


def long(entry: specs.Trained) -> specs.Trained:
    """Enough epochs to be worth compiling."""
    return entry.model_copy(update={"recipe": entry.recipe.model_copy(update={"epochs": 10**6})})


def test_a_rate_is_of_the_engine_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "works", lambda: True)
    assert plan.probe(trained(0)).engine == "eager" and plan.probe(long(trained(0))).engine == "compiled"
    # An evaluation is eager however long the training before it, and everything is where nothing compiles.
    assert plan.probe(specs.Evaluation(of=long(trained(0)))).engine == "eager"
    monkeypatch.setattr(engine, "works", lambda: False)
    assert plan.probe(long(trained(0))).engine == "eager"


def test_short_epochs_are_measured_as_they_are_and_long_ones_by_whole_batches() -> None:
    assert (plan.probe(trained(0)).images, plan.probe(trained(0)).batch) == (200, 50)
    on_few = trained(0).model_copy(update={"data": MADE})
    assert (plan.probe(on_few).images, plan.probe(on_few).batch) == (40, 50)
    many = trained(0).model_copy(update={"recipe": specs.Recipe(epochs=2, batch=20)})
    assert plan.probe(many).images == 80


def test_rates_differ_by_what_they_depend_on_alone() -> None:
    same = plan.probe(trained(0))
    assert plan.probe(trained(0, 7, epochs=9)) == plan.probe(trained(2, 1)) == same
    others = (trained(0, norm="batch"), trained(0).model_copy(update={"data": MADE}), specs.Evaluation(of=trained(0)))
    assert len({str(plan.probe(entry)) for entry in (trained(0), *others)}) == 4
    # Evaluated alike, whatever the training behind it: one rate for paths, planes and evaluations.
    pair = specs.Path(ends=(trained(0, 0, epochs=9), trained(0, 1, epochs=9)))
    assert plan.probe(pair) == plan.probe(specs.Evaluation(of=trained(0)))


def test_a_rate_is_kept_until_versions_or_processor_change(measured: list[rates.Probe], home: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    of = plan.probe(trained(0))

    def again() -> int:
        rates.rate.cache_clear()  # as in another process
        assert rates.rate(of) == 100.0
        return len(measured)

    assert (again(), again()) == (1, 1)
    (name, kept), = json.loads((home / "rates.json").read_text()).items()
    assert kept.keys() == {"images_per_second", "measured"} and str(of) in name and "eager" in name
    monkeypatch.setattr(torch, "__version__", "99")
    assert (again(), again()) == (2, 2)
    monkeypatch.setattr(machine, "cpu", lambda: "another processor")
    assert (again(), again()) == (3, 3)
    monkeypatch.setattr(rates, "__version__", "99")
    assert (again(), again()) == (4, 4)
    (home / "rates.json").write_text("{damaged")
    assert (again(), again()) == (5, 5)


def test_one_line_says_that_rates_are_measured(measured: list[rates.Probe], capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in (trained(0), specs.Evaluation(of=trained(0))):
        plan.seconds(entry)
    assert len(measured) == 2 and capsys.readouterr().err.count("\n") == 1
    rates.rate.cache_clear()
    rates._announce.cache_clear()
    plan.seconds(trained(0))  # known by now
    assert capsys.readouterr().err == ""
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=None))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    plan.seconds(trained(0, norm="batch"))
    assert len(measured) == 3 and capsys.readouterr() == ("", "")


def test_what_others_do_with_the_processor_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(look: rates.Look) -> None:
        for count in itertools.count(1):
            end = time.process_time() + 0.01
            while time.process_time() < end:
                pass
            time.sleep(0.03)
            look(count * 200)

    monkeypatch.setattr(rates, "_work", lambda of: work)
    assert rates._measured(plan.probe(trained(0))) == pytest.approx(20_000, rel=0.5)


def test_what_is_compiled_early_or_late_is_not_counted() -> None:
    now = [0.0]

    def work(look: rates.Look) -> None:
        now[0] += 3
        for count in itertools.count(1):
            now[0] += 1 if count in (2, 9, 30) else 0.01
            look(count * 10)

    assert rates._timed(work, 20, lambda: now[0]) == pytest.approx(1000)


def test_the_images_it_says_pass_by_the_engine_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[int] = []
    compiled: list[str] = []
    forward, step = training._pass, training._step
    monkeypatch.setattr(training, "_pass", lambda model, rows, *rest: passed.append(len(rows)) or forward(model, rows, *rest))
    monkeypatch.setattr(training, "_step", lambda model, momentum, masks, batch, *rest: passed.append(len(batch[1])) or step(
        model, momentum, masks, batch, *rest))
    monkeypatch.setattr(engine, "works", lambda: True)
    monkeypatch.setattr(engine, "_compile", lambda function: compiled.append(function) or function)

    def look(count: float) -> None:
        if count >= 3 * probe.images and count % probe.images == 0:
            assert count == sum(passed)
            raise rates._Enough

    monkeypatch.setattr(rates, "TURN_SECONDS", 0)  # look at every step
    for entry in (trained(0), trained(0).model_copy(update={"data": MADE}), specs.Evaluation(of=trained(0))):
        for name in ("eager", "compiled"):
            probe = replace(plan.probe(entry), engine=name)
            with pytest.raises(rates._Enough):
                rates._work(probe)(look)
            assert bool(compiled) == (name == "compiled")
            passed.clear(), compiled.clear()


def test_workers_are_started_for_more_than_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[specs.Entry] = []
    monkeypatch.setattr(plan, "seconds", lambda entry: asked.append(entry) or 12.0)
    monkeypatch.setattr(machine, "gpus", lambda: 0)
    monkeypatch.setattr(machine, "cores", lambda: 3)
    entries = [trained(0, order) for order in range(9)]
    assert plan.worthwhile_workers(entries[:2]) == 1 and plan.worthwhile_workers(entries[:3]) == 3
    asked.clear()
    assert plan.worthwhile_workers(entries) == 3 and len(asked) == 3  # no rate is measured that decides nothing
    assert budget._wall(entries[:2]) == "0.4 on 1 core"
    assert budget._wall(entries[:6], 4) == f"{(24 + plan.STARTING + 4) / 60:.1f} on 3 cores"
    assert budget._wall([], 60) == "1.0"
    monkeypatch.setattr(plan, "seconds", lambda entry: 40.0)
    assert plan.worthwhile_workers(entries[:1]) == 1 and plan.worthwhile_workers(entries[:2]) == 2, "none would have no work"
    for memory, workers in ((2**30, 1), (5 * 2**30, 2), (2**40, 3)):
        monkeypatch.setattr(machine, "memory_limit", lambda memory=memory: memory)
        assert plan.worthwhile_workers(entries) == workers


def test_masks_found_without_training_cost_their_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "rate", lambda of: 1000.0)

    def at(criterion: str) -> float:
        search = specs.AtInitialisation(criterion=criterion, per_class=4)
        return plan.seconds(subnetwork(2).model_copy(update={"search": search}))

    once = at("magnitude")
    assert 0 < once == at("random") == plan.seconds(subnetwork(1))
    assert at("snip") == pytest.approx(once + 3 * 4 * 10 / 1000)
    assert at("synflow") == pytest.approx(100 * once + 300 / 1000)


def test_a_hessian_diagonal_costs_classes_survivors_and_products_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "rate", lambda of: 1000.0)

    def of(level: int, norm: str = "instance", batches: int = 1) -> float:
        return plan.seconds(specs.Diagonal(of=trained(level, norm=norm), batches=batches, batch=20))

    flat = plan.FIXED[specs.Diagonal] + 20 * (10 * plan.CLASS_PASSES + plan.PRODUCT_PASSES) / 1000
    assert of(0, "batch") == of(4, "batch") == pytest.approx(flat)
    assert of(0) == pytest.approx(flat + 20 * 2 * plan.TAYLOR_PASSES / 1000)
    assert of(4) - flat == pytest.approx((of(0) - flat) * 0.8**2)
    assert of(4, batches=3) == pytest.approx(3 * of(4))
    found = trained(4)
    like = found.subnetwork.model_copy(update={"search": specs.SameDensities(of=found.subnetwork.search, seed=0)})
    assert plan.seconds(specs.Diagonal(of=found.model_copy(update={"subnetwork": like}), batches=1, batch=20)) == of(4)


def test_a_rate_that_proves_wrong_by_half_is_replaced(measured: list[rates.Probe], home: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "works", lambda: False)
    entry = long(trained(0))
    of, planned = plan.probe(entry), plan.seconds(entry)  # at 100 images per second
    rest = planned - plan.visited(entry)[0] / 100
    for spent in (0.6 * planned, 1.4 * planned, plan.PROOF_SECONDS - 1):
        plan.learn(entry, spent)
    assert rates.known(of) == 100.0
    plan.learn(entry, rest + 2 * (planned - rest))  # it ran beside others when it was measured, or does now
    assert rates.known(of) == 50.0 and plan.seconds(entry) == pytest.approx(2 * planned, rel=1e-3)
    plan.learn(entry, planned / 2)
    assert rates.known(of) == pytest.approx(200.0, rel=1e-3) and len(measured) == 1
    plan.learn(entry.model_copy(update={"recipe": entry.recipe.model_copy(update={"batch": 7})}), 10**9)
    assert len(json.loads((home / "rates.json").read_text())) == 1, "of what was never planned nothing is known"


def test_a_device_is_one_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    machine.require_device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(Problem, match="device 'cuda:1': this machine has cpu$"):
        machine.require_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    machine.require_device("cuda:1")
    with pytest.raises(Problem, match="device 'gpu': this machine has cpu, cuda, cuda:0, cuda:1"):
        machine.require_device("gpu")
    monkeypatch.setenv("SYNTHPRUNE_DEVICE", "cuda:1")
    assert (machine.gpus(), machine.device()) == (1, "cuda:1"), "one process, on the one that was named"
    monkeypatch.setenv("SYNTHPRUNE_DEVICE", "cpu")
    assert machine.gpus() == 0
