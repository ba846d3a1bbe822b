"""Chapters while initialisations are missing: shown with those that are there, said to be incomplete, and without a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from partial import everything, only, page, planned, without

from synthprune.chapter import judgements
from synthprune.experiments import CHAPTERS, experiment
from synthprune.experiments.paths import complete, in_parts
from synthprune.experiments.settings import Settings, in_scene, narrowed, overrides
from synthprune.figures import LIGHT, Panel
from synthprune.stats import untold

CHAPTER = pytest.mark.parametrize("chapter", [chapter for chapter in CHAPTERS if chapter[:2] not in ("01", "10")])


@pytest.fixture(autouse=True)
def one_scheme(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every panel is drawn once, and not in both colour schemes."""
    monkeypatch.setattr(Panel, "html", lambda panel: f"<img>{panel.alt}{len(panel.svg(LIGHT))}")


def reasons(p: Settings, results: dict) -> set[str]:
    """Why the intervals that a chapter offers the ledger may decide nothing."""
    measures = getattr(experiment(p.chapter), "measures", lambda p, results: {})(p, results)
    return {untold(of, measure.initialisations) for measure in measures.values() for of in measure.intervals.values()}


def states(p: Settings, results: dict) -> set[str]:
    return {judged.state for judged in judgements(p.chapter, p, results).values()}


@CHAPTER
def test_all_initialisations_are_shown_as_before(chapter: str, tmp_path: Path) -> None:
    p = planned(chapter, tmp_path)
    shown, found = page(p, everything(p)), reasons(p, everything(p))
    assert "<img>" in shown and "planned; verdicts" not in shown and " of 3 initialisations" not in shown
    assert found <= {"", "not defined"} and (chapter == "02_preliminaries" or chapter[:2] == "11" or "" in found)
    if chapter == "04_stability":
        assert states(p, everything(p)) >= {"holds", "open"}


@CHAPTER
def test_a_missing_initialisation_is_said_and_leaves_no_verdict(chapter: str, tmp_path: Path) -> None:
    """Of the second scene, which plans two of its own, it leaves one."""
    p = planned(chapter, tmp_path)
    results = without(everything(p), 11)
    shown = page(p, results)
    assert "<img>" in shown and "initialisations 10 and 12 (2 of 3 planned; verdicts wait for all)" in shown
    assert reasons(p, results) <= {"2 of 3 initialisations", "1 of 2 initialisations"} and states(p, results) <= {"open"}
    if "curves" in " ".join(results):
        assert "1 of 2 initialisations" in shown and "convnet3-cifar10-curves" in shown
    if reasons(p, results):
        assert "2 of 3 initialisations" in " ".join(one.evidence for one in judgements(chapter, p, results).values())


@CHAPTER
def test_one_initialisation_of_one_scene_is_enough(chapter: str, tmp_path: Path) -> None:
    """Not the first one, from which some chapters take more than from the others."""
    p = planned(chapter, tmp_path)
    results = only(everything(p), 12)
    assert results and "initialisation 12 (1 of 3 planned; verdicts wait for all" in page(p, results)
    assert reasons(p, results) <= {"1 of 3 initialisations"} and states(p, results) <= {"open"}


@CHAPTER
def test_a_chapter_without_any_result_is_a_page(chapter: str, tmp_path: Path) -> None:
    p = planned(chapter, tmp_path)
    assert page(p, {}) and states(p, {}) <= {"open"}


def test_scenes_have_initialisations_of_their_own(tmp_path: Path) -> None:
    p = planned("04_stability", tmp_path)
    assert (p.seeds, in_scene(p, "convnet3-cifar10-curves").seeds) == ([10, 11, 12], [10, 11])
    found = experiment(p.chapter).measures(p, everything(p))["error_barrier_dense"]
    assert {label: (of.n, of.planned) for label, of in found.intervals.items()} == {
        "convnet3-cifar10": (3, 3), "convnet3-cifar10-curves": (2, 2)}


def test_fewer_initialisations_are_no_other_setting(tmp_path: Path) -> None:
    """What was planned is what the profile says, and what a page's record holds."""
    p = planned("04_stability", tmp_path)
    few = narrowed(p, [12])
    assert (few.seeds, few.planned, p.planned) == ([12], [10, 11, 12], [10, 11, 12])
    assert overrides(few) == overrides(p) == {} and narrowed(p, [10, 11, 12]) is p
    assert narrowed(few.model_copy(update={"points": 3}), []).planned == [10, 11, 12]
    assert "planned" not in " ".join(few.model_dump())


def test_parts_are_those_of_the_initialisation_that_has_most(tmp_path: Path) -> None:
    p = planned("04_stability", tmp_path)
    have = {"a 10": 0, "b 10": 0, "a 11": 0, "a 12": 0, "b 12": 0}

    def wanted(p: Settings, part: str) -> list[str]:
        return [f"{part} {seed}" for seed in p.seeds]

    here, parts = in_parts(p, ["a", "b", "c"], wanted, have)
    assert (here.seeds, parts) == ([10, 12], ["a", "b"])
    assert in_parts(p, ["c"], wanted, have) == (p, []) and complete(p, lambda p: wanted(p, "c"), have) is None
    assert complete(p, lambda p: wanted(p, "a"), have) is p and in_parts(here, ["a"], wanted, have) == (here, ["a"])
