"""What ships: written alike from the same results, never less than before, read elsewhere as it was, and open to a check."""

from __future__ import annotations

import inspect
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from synthprune import chapter, cli
from synthprune.book.findings import REFERENCE
from synthprune.book.shipping import BY_HAND, LIVE, asked, compared, draw, export, recheck, verdicts, wall_seconds
from synthprune.chapter import STALE, STORED_ONLY, Run, judgements, uncomputed
from synthprune.chapters import experiment
from synthprune.chapters.figures import Verdict
from synthprune.chapters.profiles import read_profile
from synthprune.chapters.settings import parameters
from synthprune.problems import Problem
from synthprune.results import compute, plan, specs
from synthprune.results.solve import solve
from synthprune.results.store import Arrays, Metrics, Result, Store

STABILITY = "04_stability"


@pytest.fixture
def profile(tmp_path: Path, home: Path) -> str:
    """The demo's chapters in the digits' smallest setting, with two units of chapters 4 and 9."""
    said = read_profile("demo")
    scene = {"chapters": {name: {**values, **({"scenes": ["main"]} if "scenes" in values else {}),
                                 **({"scene": "main"} if "scene" in values else {})}
                          for name, values in said["chapters"].items()},
             "scenes": {"main": {}}, "scene": "main"}
    said = said | scene | {
        "train_per_class": 20, "width": 4, "epochs": 4, "batch": 50, "synthetic_per_class": 1, "distillation_steps": 2,
        "synthetic_epochs": 4, "seeds": [10, 11], "levels": [0, 1], "points": 3,
        "units": {"first": {"says": "one", "chapters": {STABILITY: {"seeds": [10]}}},
                  "second": {"says": "two", "chapters": {STABILITY: {}}}}}
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(said, sort_keys=False))
    return str(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results" / "tiny"


def requests(profile: str) -> dict[str, specs.Entry]:
    room = experiment(STABILITY)
    return room.requests(parameters(room.Parameters, STABILITY, {"profile": profile}))


def made_up(entry: specs.Entry) -> tuple[Arrays, Metrics]:
    """Numbers that follow from the key."""
    rng = np.random.default_rng(int(entry.key[:8], 16))
    arrays = {f"{part}_{what}": rng.random(3) for part in ("train", "test") for what in ("loss", "error")}
    return arrays, {"collapsed": [], "diverged": False, "train_images": 200, "test_images": 359}


def fill(store: Store, entries: list[specs.Entry], **provenance: object) -> Store:
    for entry in specs.closure(entries):
        store.put(entry, *made_up(entry), {
            "seconds": 60.0, "finished": "2026-01-02T03:04:05+00:00", "cpu": "abacus", "device": "cpu", "torch": "2",
            "numpy": "2", "python": "3", "engine": "eager", "package": "0", "revision": "r", "data": "f00d", "joules": None,
            "energy_counters": [], "peak_memory_mb": 1} | provenance)
    return store


def of_seed(profile: str, seed: int) -> list[specs.Entry]:
    return [entry for entry in requests(profile).values() if entry.subnetwork.init_seed == seed]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def shelf(folder: Path, tmp_path: Path) -> Store:
    return Store(tmp_path / "empty", shelves=[folder.parent])


def test_the_same_results_are_the_same_bytes_and_once(profile: str, folder: Path, tmp_path: Path) -> None:
    everything = list(requests(profile).values())
    counts = export(profile, fill(Store(tmp_path / "a"), everything), folder)
    assert counts[STABILITY] == (len(everything), len(everything)) and counts["06_hessian"][0] == 0 < counts["06_hessian"][1]
    assert not set(LIVE) & counts.keys()
    export(profile, fill(Store(tmp_path / "b"), everything[::-1]), other := tmp_path / "elsewhere" / "tiny")
    assert contents(folder) == contents(other)
    export(profile, Store(tmp_path / "a"), folder)  # onto itself
    export(profile, Store(tmp_path / "empty", shelves=[other.parent]), other)  # with nothing but what ships
    assert contents(folder) == contents(other)
    keys = [key for file in folder.glob("[0-9]*.json") for key in json.loads(file.read_bytes())["results"]]
    assert len(keys) == len(set(keys)) and {entry.key for entry in everything} < set(keys)
    heavy = {entry.key for entry in specs.closure(everything) if not entry.light}
    assert not heavy & set(keys) and heavy == json.loads((folder / "provenance.json").read_bytes())["behind"].keys()


def test_a_next_machine_with_an_empty_store_adds_and_loses_nothing(profile: str, folder: Path, tmp_path: Path) -> None:
    first, second = of_seed(profile, 10), of_seed(profile, 11)
    export(profile, fill(Store(tmp_path / "a"), first), folder)
    counts = export(profile, fill(Store(tmp_path / "b"), second, cpu="slide rule", seconds=30.0), folder)
    assert counts[STABILITY] == (len(first + second), len(first + second))
    ships = shelf(folder, tmp_path)
    for entry in first + second:
        assert ships.get(entry).digest == Store(tmp_path / ("a" if entry in first else "b")).get(entry).digest
    trainings = [entry for entry in specs.closure(first + second) if not entry.light]
    assert {ships.whence(entry)["cpu"] for entry in trainings} == {"abacus", "slide rule"}
    text = (folder / "PROVENANCE.md").read_text()
    assert "cpu abacus" in text and "cpu slide rule" in text and "digits, 16 pixels, 20 per class: f00d" in text
    whole = len(specs.closure(first))
    assert f"| first | one | {len(first)} of {len(first)} | {whole} | {whole / 60:.2f} |" in text
    before = contents(folder)
    export(profile, Store(tmp_path / "none"), folder)
    assert contents(folder) == before


def test_what_is_written_by_hand_stays(profile: str, folder: Path, tmp_path: Path) -> None:
    store = fill(Store(tmp_path / "a"), of_seed(profile, 10))
    export(profile, store, folder)
    page = folder / "PROVENANCE.md"
    before, _, rest = page.read_text().partition(BY_HAND[0])
    page.write_text(f"{before}{BY_HAND[0]}\n## Started\n\nA run at 8 pixels: too small.\n{rest[rest.index(BY_HAND[1]):]}")
    written = page.read_text()
    export(profile, store, folder)
    assert page.read_text() == written and "too small" in written


def test_the_book_without_a_word_more_is_of_what_ships() -> None:
    """`make book` and `synthprune book`: the reference run's results, whose answer stands on the front page."""
    makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
    assert f"PROFILE ?= {REFERENCE}\n" in makefile
    assert inspect.signature(cli.book).parameters["profile"].default == REFERENCE


def test_wall_time_counts_each_moment_once() -> None:
    def made(minute: int, seconds: float) -> dict[str, object]:
        return {"finished": f"2026-01-02T03:{minute:02}:00+00:00", "seconds": seconds}

    assert wall_seconds([]) == 0
    assert wall_seconds([made(10, 60), made(10, 120), made(11, 90), made(30, 60)]) == 180 + 60


def test_a_page_elsewhere_shows_the_same_numbers_and_computes_nothing(
        profile: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = fill(Store(tmp_path / "a"), of_seed(profile, 10))
    export(profile, kept, folder)
    room = experiment(STABILITY)
    p = parameters(room.Parameters, STABILITY, {"profile": profile})
    monkeypatch.setenv(STORED_ONLY, f"03_distilled_pruning,{STABILITY}")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr(compute, "compute", never)
    monkeypatch.setattr(chapter, "unobtainable", never)
    run = Run(STABILITY, p, {"profile": profile}, shelf(folder, tmp_path))
    found = run.solve()
    assert run.computed == 0 and len(found) == len(of_seed(profile, 10)) and not (tmp_path / "empty").exists()
    assert {run.requests[name].key: result.digest for name, result in found.items()} == {
        entry.key: kept.get(entry).digest for entry in of_seed(profile, 10)}
    reason = f"not computed yet; 'synthprune compute --profile {profile}' computes them"
    assert run.absent == {name: reason for name, entry in run.requests.items() if entry.subnetwork.init_seed == 11}
    assert set(run.record()["absent"].values()) == {reason}
    # A training does not ship, but what it took does.
    assert run.record()["core_seconds"] == 60 * len(specs.closure(of_seed(profile, 10)))
    judged = json.loads((folder / "claims.json").read_bytes())
    assert judged and {name: one.model_dump() for name, one in judgements(STABILITY, p, found).items()}.items() <= judged.items()
    monkeypatch.setenv(STORED_ONLY, "")
    with pytest.raises(AssertionError, match="computed"):
        Run(STABILITY, p, {"profile": profile}, shelf(folder, tmp_path)).solve()


def test_a_result_asked_for_by_several_names_counts_once(profile: str, folder: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    kept = fill(Store(tmp_path / "a"), of_seed(profile, 10))
    monkeypatch.setenv(STORED_ONLY, STABILITY)
    shown: list[Verdict] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    run = Run(STABILITY, parameters(experiment(STABILITY).Parameters, STABILITY, {"profile": profile}), {}, kept)
    entries = set(run.requests.values())
    run.__dict__["requests"] = run.requests | {f"{name}, again": entry for name, entry in run.requests.items()}
    run.solve()
    here = {entry for entry in entries if kept.has(entry)}
    assert shown[0].title == f"{len(entries) - len(here)} of {len(entries)} results are missing"
    assert [row[1:] for row in run.plan().rows] == [(str(len(entries)), str(len(here)))]


def test_what_an_older_version_made_is_called_stale(profile: str, folder: Path, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    export(profile, fill(Store(tmp_path / "a"), of_seed(profile, 10)), folder)
    ships = shelf(folder, tmp_path)
    said = set(uncomputed(requests(profile), ships, profile).values())
    assert len(said) == 1 and next(iter(said)).startswith("not computed yet")
    for kind in (specs.Trained, specs.Path):  # behind what ships, and itself
        with monkeypatch.context() as raised:
            raised.setattr(kind, "version", kind.version + 1)
            reasons = uncomputed(requests(profile), ships, profile)
            assert reasons.keys() == requests(profile).keys()
            assert all(reason.startswith(f"{STALE}what ships was made by an older version of {kind.__name__.lower()};")
                       for reason in reasons.values())


# Recomputing.


@pytest.fixture
def computed(profile: str, folder: Path, tmp_path: Path) -> list[specs.Entry]:
    """Two results that were really computed, and ship."""
    wanted = [entry for entry in of_seed(profile, 10) if entry.subnetwork.level == 0 or "Real" in str(entry.facts())][:2]
    store = Store(tmp_path / "a")
    solve({entry.key: entry for entry in wanted}, store, workers=1)
    export(profile, store, folder)
    return wanted


def test_a_recheck_agrees_or_notices_a_changed_number(profile: str, folder: Path, tmp_path: Path,
                                                      computed: list[specs.Entry]) -> None:
    def check() -> list:
        return recheck(computed, shelf(folder, tmp_path), 0.05, lambda *_: None, workers=1)

    assert [one.sound for one in check()] == [True] * len(computed) and all("same bits" in one.words for one in check())
    # Another number, as carefully filed as the true one.
    changed, elsewhere = computed[0], Store(tmp_path / "changed")
    true = Store(tmp_path / "a").get(changed)
    name = "train_error"
    elsewhere.put(changed, true.arrays | {name: true.arrays[name] + 0.01}, true.metrics, true.provenance)
    export(profile, elsewhere, folder)
    one, *rest = check()
    assert not one.sound and "differs by 0.01 at most (in train_error)" in one.words and "same versions" in one.words
    assert all(other.sound for other in rest)


def test_another_processor_may_differ_by_the_tolerance_and_is_named() -> None:
    def of(cpu: str, **arrays: object) -> Result:
        return Result("k", {name: np.asarray(array) for name, array in arrays.items()}, {}, {"cpu": cpu})

    kept = of("abacus", error=[0.1, np.nan], count=[1000.0], mask=[True] * 20)
    for new, sound in ((of("slide rule", error=[0.14, np.nan], count=[1040.0], mask=[True] * 19 + [False]), True),
                       (of("slide rule", error=[0.16, np.nan], count=[1000.0], mask=[True] * 20), False),
                       (of("slide rule", error=[0.1, 0.1], count=[1000.0], mask=[True] * 20), False),
                       (of("slide rule", error=[0.1, np.nan], count=[1000.0], mask=[True] * 18 + [False] * 2), False),
                       (of("slide rule", error=[0.1, np.nan], count=[1000.0]), False),
                       (of("abacus", error=[0.1001, np.nan], count=[1000.0], mask=[True] * 20), False)):
        found = compared("it", kept, new, 0.05)
        assert found.sound == sound, found.words
        assert ("cpu abacus then, slide rule now" in found.words) == (new.provenance["cpu"] == "slide rule")


def test_a_draw_follows_its_seed_and_its_budget(profile: str, folder: Path, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "seconds", lambda entry: 60.0)
    with pytest.raises(Problem, match="nothing of profile .*tiny.yaml ships"):
        draw(profile, shelf(folder, tmp_path), 2, 0)
    export(profile, fill(Store(tmp_path / "a"), list(requests(profile).values())), folder)
    ships = shelf(folder, tmp_path)
    draws = [tuple(draw(profile, ships, 2, seed)) for seed in range(8)]
    assert draws[0] == tuple(draw(profile, ships, 2, 0)) and len(set(draws)) > 3 and all(len(set(one)) == 2 for one in draws)
    least = min(len(specs.closure([entry])) for entry in draw(profile, ships, 99, 0))
    assert all(len(specs.closure([entry])) <= least + 1 for entry in draw(profile, ships, 1, 0, least + 1))
    with pytest.raises(Problem, match="within 0.5 minutes"):
        draw(profile, ships, 2, 0, 0.5)
    assert len(draw(profile, ships, 2, 0, math.inf)) == 2


def test_what_ships_is_read_without_torch(profile: str, folder: Path, tmp_path: Path) -> None:
    import subprocess

    export(profile, fill(Store(tmp_path / "a"), list(requests(profile).values())), folder)
    code = ("import sys; from pathlib import Path; from synthprune.book.shipping import verdicts\n"
            "from synthprune.results.store import Store\n"
            "print(len(verdicts(sys.argv[1], Store(Path('none'), [Path(sys.argv[2])]))), 'torch' in sys.modules)")
    printed = subprocess.run([sys.executable, "-c", code, profile, folder.parent], text=True, capture_output=True, check=True)
    assert printed.stdout.split() == [str(len(verdicts(profile, shelf(folder, tmp_path)))), "False"]
    assert asked(profile).keys() >= {STABILITY, "10_controls"}
