"""Chapters while initialisations are missing: shown with those that are there, said to be incomplete, and without a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from partial import everything, only, page, planned, without

from synthprune.chapter import judgements
from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.figures import LIGHT, Panel, loss_landscape, stability
from synthprune.chapters.overview import comparisons
from synthprune.chapters.paths import complete, in_parts
from synthprune.chapters.settings import Settings, in_scene, narrowed, overrides

CHAPTER = pytest.mark.parametrize("chapter", [chapter for chapter in CHAPTERS if chapter[:2] not in ("01", "10")])


@pytest.fixture(autouse=True)
def one_scheme(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every panel is drawn once, and not in both colour schemes."""
    monkeypatch.setattr(Panel, "html", lambda panel: f"<img>{panel.alt}{len(panel.svg(LIGHT))}")


def reasons(p: Settings, results: dict) -> set[str]:
    """Why the intervals that a chapter offers the ledger may decide nothing."""
    measures = getattr(experiment(p.chapter), "measures", lambda p, results: {})(p, results)
    return {measure.untold(label) for measure in measures.values() for label in measure.intervals}


VERDICTS = {f"<td>{words}</td>" for words in ("stable", "unstable", "higher", "lower")}
"""Cells of tables that judge."""


def states(p: Settings, results: dict) -> set[str]:
    return {judged.state for judged in judgements(p.chapter, p, results).values()}


@CHAPTER
def test_all_initialisations_are_shown_as_before(chapter: str, tmp_path: Path) -> None:
    p = planned(chapter, tmp_path)
    shown, found = page(p, everything(p)), reasons(p, everything(p))
    assert "<img>" in shown and "planned initialisation" not in shown and " of 3 initialisations" not in shown
    assert found <= {"", "not defined"} and (chapter == "02_preliminaries" or chapter[:2] == "11" or "" in found)
    if chapter == "06_hessian":
        assert states(p, everything(p)) > {"open"}
    if chapter == "04_stability":
        assert all(words in shown for words in VERDICTS - {"<td>lower</td>"})


@CHAPTER
def test_a_missing_initialisation_is_said_and_leaves_no_verdict(chapter: str, tmp_path: Path) -> None:
    """Of the second scene, which plans two of its own, it leaves one."""
    p = planned(chapter, tmp_path)
    results = without(everything(p), 11)
    shown = page(p, results)
    assert "<img>" in shown and "2 of 3 planned initialisations" in shown
    assert reasons(p, results) <= {"2 of 3 initialisations", "1 of 2 initialisations"} and states(p, results) <= {"open"}
    assert not any(words in shown for words in VERDICTS)
    if "curves" in " ".join(results):
        assert "1 of 2 initialisations" in shown and "convnet3-cifar10-curves" in shown
    if reasons(p, results):
        assert "2 of 3 initialisations" in " ".join(one.evidence for one in judgements(chapter, p, results).values())


@CHAPTER
def test_a_first_initialisation_is_enough(chapter: str, tmp_path: Path) -> None:
    """Not the first one, from which some chapters take more than from the others."""
    p = planned(chapter, tmp_path)
    results = only(everything(p), 12)
    assert results and "1 of 3 planned initialisations" in page(p, results)
    assert reasons(p, results) <= {"1 of 3 initialisations"} and states(p, results) <= {"open"}


@CHAPTER
def test_a_chapter_without_any_result_is_a_page(chapter: str, tmp_path: Path) -> None:
    p = planned(chapter, tmp_path)
    assert page(p, {}) and states(p, {}) <= {"open"}


def test_a_verdict_waits_for_all_that_were_planned(tmp_path: Path) -> None:
    p = planned("04_stability", tmp_path)
    four, some = experiment(p.chapter), without(everything(p), 11)
    said = {scene.scene: {row.verdict for row in four.table(scene, some).values()} for scene in four.measured_scenes(p, some)}
    assert said == {"convnet3-cifar10": {"no verdict (2 of 3 initialisations)"},
                    "convnet3-cifar10-curves": {"no verdict (1 of 2 initialisations)"}}
    assert reasons(p, some) == {"2 of 3 initialisations", "1 of 2 initialisations"}


def test_scenes_are_paired_on_the_initialisations_that_both_have(tmp_path: Path) -> None:
    p = planned("07_overview", tmp_path)
    some = {name: result for name, result in everything(p).items()
            if not (name.startswith("convnet3-cifar100") and "initialisation 10" in name)
            and not (name.startswith("convnet3-cifar10:") and "1 per class" not in name and "initialisation 12" in name)}
    cost = experiment(p.chapter).measures(p, some)["accuracy_cost_cifar100_minus_cifar10"].intervals["convnet3-cifar100, level 4"]
    of = {c.p.dataset: c for c in comparisons(p, some) if c.level == 4 and c.p.synthetic_per_class == 2}
    assert (of["cifar10"].p.seeds, of["cifar100"].p.seeds) == ([10, 11], [11, 12])
    only = of["cifar10"].differences("accuracy")[1] - of["cifar100"].differences("accuracy")[0]
    assert (cost.n, cost.planned, cost.mean) == (1, 3, pytest.approx(only))


def test_the_initialisation_that_is_drawn_is_the_first_one_planned(tmp_path: Path) -> None:
    """Of the others only the distances are known."""
    p = planned("05_loss_landscape", tmp_path)
    shown = loss_landscape.flat(p, without(everything(p), 10), p.orders)
    assert not shown.panels and "Not run: initialisation 10, the one that is drawn." in shown.caption
    assert "2 of 3 planned initialisations" in loss_landscape.kind_table(p, without(everything(p), 10)).caption
    assert len(loss_landscape.flat(p, without(everything(p), 11), p.orders).panels) == 4, "three maps and their colour bar"


def test_a_level_of_another_scene_is_not_drawn(tmp_path: Path) -> None:
    p = planned("04_stability", tmp_path)
    shown = stability.in_scenes(stability.one_level, p, everything(p), 9)
    assert [title for title, _ in shown.items] == ["ConvNet-3 on CIFAR-10 (convnet3-cifar10)",
                                                   "ConvNet-3 on CIFAR-10 (convnet3-cifar10-curves)"]
    assert "Level 9 is none of the levels of convnet3-cifar10-curves, which are 0, 2, 4 and 11." in shown._repr_html_()


def test_costs_wait_for_the_training_that_tells_them(tmp_path: Path) -> None:
    p = planned("09_discussion", tmp_path)
    some = {name: result for name, result in everything(p).items() if "first round" not in name}
    assert "Not run" in page(p, some) and "The first training of IMP on initialisation 10" in page(p, some)


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
