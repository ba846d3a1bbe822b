"""What the README's commands say and do, tried on a profile of seconds."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from commands import run

import synthprune
from synthprune.chapters import CHAPTERS
from synthprune.chapters.units import units
from synthprune.data.facts import FACTS
from synthprune.results import plan, specs
from synthprune.results.specs import closure
from synthprune.results.store import Store


def words(said: str) -> str:
    return " ".join(said.split())


def test_a_run_is_followed_from_beginning_to_end(profile: str, home: Path, tmp_path: Path) -> None:
    asked = {unit.name: set(unit.requests.values()) for unit in units(profile)}
    store, of = Store(home / "store"), len(asked["first"] | asked["second"])
    assert f"0 of {of} results are there" in run("status", "--profile", profile)[1]
    assert run("table", "04_stability", "--profile", profile)[0] == 2

    log = tmp_path / "log.txt"
    code, said = run("compute", "first", "--profile", profile, "--log", str(log), "--workers", "1")
    there = len(asked["first"])
    assert (code, f"first: {there} of {there} results are there" in said) == (0, True)
    assert f"{len(store.entries())} of {len(store.entries())}" in log.read_text()
    assert f"{there} of {of} results are there" in run("status", "--profile", profile)[1]
    code, said = run("units", "--profile", profile)
    assert code == 0 and "first" in said and "second" in said

    code, said = run("store", "list")
    counts = Counter(path.parent.name for path in store.entries())
    listed = {kind: int(count) for count, kind in (line.split() for line in said.splitlines()[1:])}
    assert code == 0 and listed == dict.fromkeys(specs.versions(), 0) | counts and sum(counts.values()) == len(store.entries())

    code, csv = run("table", "04_stability", "--profile", profile)
    table = pd.read_csv(io.StringIO(csv))
    assert code == 0 and set(table["result"]) == {name.partition(": ")[2] for name in units(profile)[0].requests}
    assert run("table", "04_stability", "--profile", profile, "--parquet", str(tmp_path / "t.parquet"))[0] == 0
    assert len(pd.read_parquet(tmp_path / "t.parquet")) == len(table)


def test_what_is_damaged_is_named_and_deleted_only_when_asked(home: Path) -> None:
    store = Store(home / "store")
    entries = [specs.Subnetwork(dataset=specs.Dataset(name="digits", pixels=16), init_seed=seed, level=0,
                                architecture=specs.Architecture(name="convnet3", width=4, norm="instance"), search=None)
               for seed in (0, 1)]
    for entry in entries:
        store.put(entry, {}, {"sparsity": 0.0}, {"seconds": 0.0})
    assert run("store", "verify") == (0, "2 entries, 0 damaged\n")
    file = next(path for path in sorted(store.path(entries[1]).iterdir()) if path.stat().st_size > 10)
    file.write_bytes(file.read_bytes()[:-5])
    code, said = run("store", "verify")
    assert code == 2 and "2 entries, 1 damaged\n" in said and entries[1].key[:12] in said
    assert store.path(entries[1]).exists()
    code, said = run("store", "verify", "--remove")
    assert code == 0 and "2 entries, 1 damaged and deleted" in said and run("store", "verify") == (0, "1 entries, 0 damaged\n")
    assert store.holds(entries[0]) and not store.path(entries[1]).exists()


def test_what_no_profile_asks_for_is_counted_then_deleted_and_a_run_keeps_all_it_asks_for(home: Path) -> None:
    store, asked = Store(home / "store"), closure([e for unit in units("laptop") for e in unit.requests.values()])
    mine = specs.Subnetwork(dataset=specs.Dataset(name="digits", pixels=16), init_seed=77, level=0, search=None,
                            architecture=specs.Architecture(name="convnet3", width=5, norm="instance"))
    for entry in [mine, *asked]:
        store.put(entry, {}, {}, {"seconds": 0.0})
    code, said = run("store", "gc")
    assert code == 0 and "1 results are asked for by no profile: --yes deletes them" in said and store.holds(mine)
    with store.lock(asked[0]):
        code, said = run("store", "gc", "--yes")
    assert code == 2 and "1 results are being computed now" in said and store.holds(mine)
    code, said = run("store", "gc", "--yes")
    assert code == 0 and "1 results are asked for by no profile: deleted" in said and not store.holds(mine)
    assert all(map(store.holds, asked))


def test_plans_and_lists_speak(profile: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "seconds", lambda entry: 36.0)  # nothing is measured for it
    code, said = run("plan", "04_stability", "--profile", profile)
    assert code == 0 and "04_stability" in said
    code, said = run("plan")
    assert code == 0 and "the book, profile demo" in said and all(chapter in said for chapter in CHAPTERS)
    code, said = run("data", "list")
    assert code == 0 and [line.partition(":")[0] for line in said.splitlines()][:len(FACTS)] == list(FACTS)
    code, said = run("doctor")
    assert code == 0 and "0 stored" in words(said) and "jupyter-book" in said
    assert run("--version") == (0, f"synthprune {synthprune.__version__}\n")


@pytest.mark.parametrize("command", ["run", "book", "table", "compute", "status", "units", "plan", "workshop", "doctor",
                                     "data import", "data distill", "data list", "store list", "store verify", "store gc",
                                     "store export", "store recheck"])
def test_every_command_has_help(command: str) -> None:
    code, said = run(*command.split(), "--help")
    assert code == 0 and "Usage" in said
