"""A run's units: what a profile asks for in which order, computed without a page, resumable, told line by line."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml
from commands import run
from sweep import CONDENSED, MADE, trained

from synthprune.chapters.profiles import read_profile
from synthprune.chapters.units import Log, initialisation, table, to_compute, units
from synthprune.cli.options import Bars
from synthprune.problems import Problem
from synthprune.results import compute, plan, specs
from synthprune.results.store import Store, StoreProblem


@pytest.fixture
def kept(home: Path) -> Store:
    return Store(home / "store")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[specs.Entry]:
    """What was computed, in order: as an empty result, at once. Nothing is measured to plan it."""
    done: list[specs.Entry] = []

    def computed(entry: specs.Entry, store: Store, *, alone: bool) -> None:
        assert all(map(store.holds, entry.parents))
        done.append(entry)
        store.put(entry, {}, {}, {"seconds": 0.0})

    monkeypatch.setattr(compute, "compute", computed)
    monkeypatch.setattr(plan, "seconds", lambda entry: 36.0)
    return done


def test_units_are_read_in_order_with_what_their_chapters_are_asked(profile: str) -> None:
    first, second = units(profile)
    assert (first.name, first.says, second.name) == ("first", "what the paper says", "second")
    assert set(first.requests.values()) < set(second.requests.values())
    assert {entry.subnetwork.init_seed for entry in second.requests.values()} == {10, 11, 12}
    assert [unit.name for unit in units(profile, ["second", "first"])] == ["first", "second"]


@pytest.mark.parametrize(("unit", "said"), [
    ({"says": "x", "chapters": {"04_stability": {"epoch": 3}}}, "unknown parameter 'epoch'"),
    ({"says": "x", "chapters": {"04_stability": {"scenes": ["nowhere"]}}}, "no scene 'nowhere'"),
    ({"says": "x", "chapters": {"04_stabilty": {}}}, "unknown chapter '04_stabilty'"),
    ({"says": "x", "chapters": {"04_stability": 3}}, "unit first: chapters.04_stability"),
    ({"says": "x"}, "unit first: chapters"), (7, "unit first: "),
    ({"says": "x", "chapters": {}, "seeds": [1]}, "unit first: seeds")])
def test_what_a_unit_may_not_say_is_named(profile: str, unit: object, said: str) -> None:
    text = yaml.safe_load(Path(profile).read_text())
    text["units"]["first"] = unit
    Path(profile).write_text(yaml.safe_dump(text))
    with pytest.raises(Problem, match=said):
        units(profile, ["first"])


def test_unknown_units_and_profiles_without(profile: str) -> None:
    with pytest.raises(Problem, match="no unit 'secnd': did you mean 'second'"):
        units(profile, ["secnd"])
    with pytest.raises(Problem, match="profile demo has no units"):
        units("demo")


def test_initialisation_after_initialisation_parents_first_what_is_shared_once(profile: str, kept: Store) -> None:
    todo, lacking = to_compute(units(profile), kept)
    assert not lacking and not set(todo["first"]) & set(todo["second"])
    asked = [entry for unit in units(profile) for entry in unit.requests.values()]
    ordered = [*todo["first"], *todo["second"]]
    assert set(ordered) == set(specs.closure(asked))
    for unit in todo.values():
        starts = [initialisation(entry) for entry in unit]
        assert starts == sorted(starts) and len(set(starts)) > 1
    assert [initialisation(entry) for entry in todo["first"]][0] == -1
    for rank, entry in enumerate(ordered):
        assert set(entry.parents) <= set(ordered[:rank]), specs.describe(entry)


def test_a_run_goes_on_where_it_stopped_and_says_when_all_is_there(profile: str, kept: Store, made: list[specs.Entry]) -> None:
    status, said = run("compute", "first", "--profile", profile, "--workers", "1")
    assert status == 0 and "first: 6 of 6 results are there" in said and len(made) == len(set(made)) > 6
    before, _ = set(made), made.clear()
    status, said = run("compute", "--profile", profile, "--workers", "1")
    assert status == 0 and "15 of 15 results are there" in said
    assert made and not set(made) & before
    made.clear()
    assert run("compute", "--profile", profile, "--workers", "1")[0] == 0 and not made


def test_a_failure_leaves_the_rest_and_another_status(profile: str, kept: Store, made: list[specs.Entry],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    computed = compute.compute
    broken = next(entry for name, entry in units(profile)[0].requests.items() if "imp, level 1, initialisation 10" in name)

    def one_fails(entry: specs.Entry, store: Store, *, alone: bool) -> None:
        if entry == broken:
            raise Problem("out of order")
        computed(entry, store, alone=alone)

    monkeypatch.setattr(compute, "compute", one_fails)
    status, said = run("compute", "--profile", profile, "--workers", "1")
    assert status == 1 and said.count("failed: out of order") >= 1 and "14 of 15 results are there" in said

    def full(*_: object, **__: object) -> None:
        raise StoreProblem("no space left")

    monkeypatch.setattr(compute, "compute", full)
    assert run("compute", "--profile", profile, "--workers", "1") == (2, "no space left")


def test_the_table_says_how_far_each_unit_is(profile: str, kept: Store, made: list[specs.Entry]) -> None:
    both = units(profile)
    whole = specs.closure([entry for unit in both for entry in unit.requests.values()])
    first, second = table(both, kept)
    assert first[:4] == ("first", "what the paper says", "0 of 6", "0 of 2") and second[2:4] == ("0 of 15", "0 of 3")
    assert float(first[4]) + float(second[4]) == pytest.approx(len(whole) * 36 / 3600, abs=0.11)
    for name, entry in both[0].requests.items():
        if "initialisation 10" in name:
            kept.put(entry, {}, {}, {})
    first, second = table(both, kept)
    assert first[2:4] == ("3 of 6", "1 of 2") and second[2:4] == ("3 of 15", "0 of 3")
    run("compute", "--profile", profile, "--workers", "1")
    assert [row[2:] for row in table(both, kept)] == [("6 of 6", "2 of 2", "0.0"), ("15 of 15", "3 of 3", "0.0")]


def test_a_recheck_without_a_terminal_says_a_line_for_each_result(profile: str, kept: Store) -> None:
    run("compute", "--profile", profile, "--workers", "1", "first")
    *lines, last = run("store", "recheck", "04_stability", "--profile", profile)[1].splitlines()
    assert last == f"{len(lines)} results computed again, 0 differ" and len(lines) > 6
    assert all(re.fullmatch(rf"\d\d \w+ \d\d:\d\d  {n} of {len(lines)}; .+", line) for n, line in enumerate(lines, 1))


def test_every_failure_stays_on_a_terminal(kept: Store, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Bars(kept) as report:
        for done, line in enumerate(("failed: [one]", "well", "failed: another", "well"), 1):
            report(done, 9, line)
    said = capsys.readouterr().err
    assert "failed: [one]\n" in said and "failed: another\n" in said


@pytest.mark.parametrize("said", ["[a, b]", "7", "{1: {says: x, chapters: {06_hessian: {}}}}"])
def test_units_that_are_no_names_with_what_they_say(said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(read_profile("demo") | {"units": yaml.safe_load(said)}))
    if said.startswith("{"):
        assert [one.name for one in units(str(file))] == [one.name for one in units(str(file), ["1"])] == ["1"]
        return
    with pytest.raises(Problem, match="units is .* each unit's name"):
        units(str(file))


def test_each_worker_has_a_bar_with_its_epoch(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    bars, entry = Bars(kept, every_seconds=0.02), trained(0)
    rows: list[list[tuple[float, float | None, str]]] = []
    with bars as report, kept.lock(entry):
        report(1, 9, "the first")
        for epoch in (4, 5):
            kept.tell(entry, epoch, 60, "epochs")
            time.sleep(0.3)
            rows.append([(task.completed, task.total, f"{task.fields['unit']} {task.description}") for task in bars._bars.tasks])
    assert rows == [[(1, 9, " the first"), (epoch, 60, f"epochs {specs.describe(entry)}")] for epoch in (4, 5)]
    assert len(bars._bars.tasks) == 1
    with Bars(kept, 9) as report:  # before anything is done
        first, = report.__self__._bars.tasks
        assert (first.completed, first.total) == (0, 9)


def test_a_training_tells_its_epoch(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(compute, "TELL_SECONDS", -1)
    monkeypatch.setattr(Store, "tell", lambda _, entry, *how_far: told.append(how_far))
    compute.compute(trained(0, epochs=3), kept, alone=True)
    epochs = [done for done, of, unit in told if (of, unit) == (3, "epochs")]
    assert epochs == sorted(epochs) and {*epochs} == {0, 1, 2, 3} and not list(kept.root.glob("checkpoints/*"))


@pytest.mark.parametrize("entry", [MADE, CONDENSED], ids=["distilled", "condensed"])
def test_a_set_tells_its_step(entry: specs.Entry, kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(compute, "TELL_SECONDS", -1)
    monkeypatch.setattr(Store, "tell", lambda _, entry, *how_far: told.append(how_far))
    compute.compute(entry, kept, alone=True)
    assert told == [(done, entry.steps, "steps") for done in range(1, entry.steps + 1)]


def test_a_log_tells_what_took_long_and_that_it_lives(profile: str, kept: Store, made: list[specs.Entry]) -> None:
    todo, _ = to_compute(units(profile), kept)
    lines: list[str] = []
    with Log(todo, kept, 2, lines.append) as report:
        quick, slow = todo["first"][:2]
        kept.put(quick, {}, {}, {"seconds": 9.9})
        report(1, 9, "")
        assert lines == []
        kept.put(slow, {}, {}, {"seconds": 90.0})
        report(2, 9, "")
        assert len(lines) == 1 and specs.describe(slow) in lines[0] and "1.5 min" in lines[0]
        assert re.search(rf"  2 of {sum(map(len, todo.values()))}, about \d+ min left; ", lines[0])
        report(3, 9, "failed: one"), report(4, 9, "failed: one")
        assert len(lines) == 2 and re.fullmatch(r"\d\d \w+ \d\d:\d\d  failed: one", lines[1])
        for entry in todo["first"][2:]:
            kept.put(entry, {}, {}, {"seconds": 1.0})
        report(5, 9, "")
        assert lines[-1].endswith(f"first is complete, all {len(todo['first'])}")
    slow = todo["second"][0]
    with Log({"second": todo["second"]}, kept, 2, lines.append, every_seconds=0.2), kept.lock(slow):
        kept.tell(slow, 4, 60, "epochs")
        end = time.monotonic() + 60
        while not lines[-1].endswith(f"; second: {specs.describe(slow)}, 4 of 60 epochs"):
            assert time.monotonic() < end, lines
            time.sleep(0.1)
    count = len(lines)
    time.sleep(0.3)
    assert len(lines) == count
