"""What a plan rests on: which rates it measures, how, and for how long they are believed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sweep import MADE, subnetwork, trained

from synthprune import chapter, engine, machine, plan, specs


@pytest.fixture
def measured(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[plan.Probe]:
    """What was measured, in order; nothing really is, and every rate is 100."""
    probes: list[plan.Probe] = []
    monkeypatch.setattr(plan, "_measured", lambda of: probes.append(of) or 100.0)
    for kept in (plan.rate, plan._announce):
        kept.cache_clear()
    yield probes
    plan.rate.cache_clear()


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
    assert len({str(plan.probe(entry)) for entry in (
        trained(0), trained(0, norm="batch"), trained(0).model_copy(update={"data": MADE}), specs.Evaluation(of=trained(0)),
        MADE)}) == 5


def test_a_rate_is_kept_until_versions_or_processor_change(measured: list[plan.Probe], home: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    of = plan.probe(trained(0))

    def again() -> int:
        plan.rate.cache_clear()  # as in another process
        assert plan.rate(of) == 100
        return len(measured)

    assert (again(), again()) == (1, 1)
    (name, kept), = json.loads((home / "rates.json").read_text()).items()
    assert kept.keys() == {"images_per_second", "measured"} and str(of) in name and "eager" in name
    monkeypatch.setattr(torch, "__version__", "99")
    assert (again(), again()) == (2, 2)
    monkeypatch.setattr(machine, "cpu", lambda: "another processor")
    assert (again(), again()) == (3, 3)
    monkeypatch.setattr(plan, "__version__", "99")
    assert (again(), again()) == (4, 4)
    (home / "rates.json").write_text("{damaged")
    assert (again(), again()) == (5, 5)


def test_one_line_says_that_rates_are_measured(measured: list[plan.Probe], capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in (trained(0), specs.Evaluation(of=trained(0))):
        plan.seconds(entry)
    assert len(measured) == 2 and capsys.readouterr().err.count("\n") == 1
    plan.rate.cache_clear()
    plan._announce.cache_clear()
    plan.seconds(trained(0))  # known by now
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    plan.seconds(trained(0, norm="batch"))
    assert len(measured) == 3 and capsys.readouterr() == ("", "")


def test_what_others_do_with_the_processor_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds(of: plan.Probe) -> Callable[[int], None]:
        def work(count: int) -> None:
            for _ in range(count):
                end = time.process_time() + 0.01
                while time.process_time() < end:
                    pass
                time.sleep(0.03)
        return work

    monkeypatch.setattr(plan, "_rounds", rounds)
    of = plan.probe(trained(0))
    assert of.images / plan._measured(of) == pytest.approx(0.01, rel=0.5)


@pytest.mark.parametrize("of", [trained(0), trained(0).model_copy(update={"data": MADE}), specs.Evaluation(of=trained(0))])
def test_a_rate_is_that_of_the_work_itself(of: specs.Entry) -> None:
    """Against a hundred epochs or evaluations timed here: far apart only if the images are counted wrongly."""
    probe = plan.probe(of)
    work = plan._rounds(probe)
    work(1)
    begun = time.process_time()
    work(100)
    assert plan._measured(probe) == pytest.approx(100 * probe.images / (time.process_time() - begun), rel=0.6)


def test_warming_up_is_not_counted() -> None:
    now = [0.0]

    def work(rounds: int) -> None:
        now[0] += rounds * 0.01 + (100 if not now[0] else 0)

    assert plan._per_round(work, lambda: now[0]) == pytest.approx(0.01)


def test_workers_are_started_for_more_than_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[specs.Entry] = []
    monkeypatch.setattr(plan, "seconds", lambda entry: asked.append(entry) or 25.0)
    monkeypatch.setattr(machine, "gpus", lambda: 0)
    monkeypatch.setattr(machine, "cores", lambda: 3)
    entries = [trained(0, order) for order in range(9)]
    assert plan.worthwhile_workers(entries[:2]) == 1 and plan.worthwhile_workers(entries[:3]) == 3
    asked.clear()
    assert plan.worthwhile_workers(entries) == 3 and len(asked) == 3  # no rate is measured that decides nothing
    assert chapter._wall(entries[:2]) == "0.8 on 1 core"
    assert chapter._wall(entries[:6], 4) == f"{(50 + plan.STARTING + 4) / 60:.1f} on 3 cores"
    assert chapter._wall([], 60) == "1.0"


def test_masks_found_without_training_cost_their_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "rate", lambda of: 1000.0)

    def at(criterion: str) -> float:
        search = specs.AtInitialisation(criterion=criterion, per_class=4)
        return plan.seconds(subnetwork(2).model_copy(update={"search": search})) - plan.FIXED[specs.Subnetwork]

    assert at("magnitude") == at("random") == 0
    assert at("snip") == pytest.approx(3 * 4 * 10 / 1000) and at("synflow") > 0
