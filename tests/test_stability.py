"""Chapter 04's arithmetic on hand-made paths: barriers, differences, and every verdict the claim can have."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from nets import SMALL

from synthprune.book.claims import load
from synthprune.chapter import Run, open_store
from synthprune.chapters.paths import Paths
from synthprune.chapters.settings import METHODS, overrides, parameters
from synthprune.chapters.stability import (
    Parameters,
    check_images,
    curves,
    differences,
    measured_scenes,
    measures,
    name,
    requests,
    setting,
    table,
    training_images,
)
from synthprune.problems import Problem
from synthprune.results.store import Result

QUANTITIES = ("train_loss", "train_error", "test_loss", "test_error")
LAPTOP = {"profile": SMALL, "scene": "convnet3-cifar10", "levels": [0, 4, 9], "seeds": [0, 1, 2]}


def made(given: dict, height: Callable[[str, int, int, int], float]) -> tuple[Parameters, dict[str, Result]]:
    """Paths at .1 whose pair `k` of orders has one peak of `height(method, level, seed, k)`, each pair elsewhere."""
    p = parameters(Parameters, "04_stability", given)
    results = {}
    for method in METHODS:
        for level in p.levels:
            for seed in p.seeds:
                for k, pair in enumerate(combinations(p.orders, 2)):
                    curve = np.full(p.points, 0.1)
                    curve[3 + 2 * k] += height(method if level else "dense", level, seed, k)
                    key = name(p, method, level, seed, pair)
                    metrics = {"collapsed": [], "diverged": False, "train_images": 1438}
                    results[key] = Result(key, dict.fromkeys(QUANTITIES, curve), metrics, {})
    assert results.keys() == requests(p).keys()
    return p, results


def spread(points: float, seed: int) -> float:
    """A barrier of about `points` percentage points, a little different for each initialisation."""
    return (points + 0.05 * (seed - 1)) / 100


def test_barriers_are_taken_pair_by_pair_and_then_averaged() -> None:
    p, results = made(LAPTOP | {"orders": [0, 1, 2]}, lambda method, level, seed, k: 0.06)
    of = curves(p, results, "imp")
    assert of[4].barrier("train_error", "highest") == pytest.approx([6] * 3)
    assert of[4].curves("train_error").max() == pytest.approx(12)  # the mean curve is lower than any of its three
    with pytest.raises(Problem, match="level 7 was not measured"):
        of[7]


def test_measures_are_those_the_ledger_asks_for() -> None:
    """Each in its unit, per scene and level from 4 up, paired where it is a difference."""
    heights = {"dense": 6.0, "synthetic": 0.5, "imp": 5.0}
    p, results = made(LAPTOP, lambda method, level, seed, k: spread(heights[method] + (level == 9), seed))
    found = measures(p, results)
    asked = {name: declared for claim in load() if claim.chapter == p.chapter for name, declared in claim.declared.items()}
    assert {name: m.unit for name, m in found.items()} == {name: declared.unit for name, declared in asked.items()}
    scene = "convnet3-cifar10"
    assert found["error_barrier_dense"].intervals[scene].mean == pytest.approx(6)
    assert found["error_barrier_imp_minus_synthetic"].intervals.keys() == {f"{scene}, level 4", f"{scene}, level 9"}
    assert found["error_barrier_imp_minus_synthetic"].intervals[f"{scene}, level 4"].low == pytest.approx(4.5)
    assert found["error_barrier_change_synthetic"].intervals[scene].mean == pytest.approx(1)
    assert found["train_loss_change_synthetic"].intervals[scene].mean == pytest.approx(0)
    assert found["loss_barrier_synthetic"].intervals[f"{scene}, level 9"].mean == pytest.approx(0)  # the peak is not midway


def test_a_scene_that_was_not_measured_is_left_out() -> None:
    p = parameters(Parameters, "04_stability", {"profile": SMALL, "levels": [0, 4], "seeds": [0]})
    one, results = made(LAPTOP | {"levels": [0, 4], "seeds": [0]}, lambda method, level, seed, k: 0.1)
    assert [scene.scene for scene in measured_scenes(p, results)] == [one.scene]
    assert set(measures(p, results)["error_barrier_dense"].intervals) == {one.scene}


def test_differences_are_paired_by_initialisation() -> None:
    """Barriers that differ much between initialisations, and by the same between methods: the pairing sees it."""
    p, results = made(LAPTOP, lambda method, level, seed, k: 0.03 * seed + {"synthetic": 0.01, "imp": 0.02}.get(method, 0.0))
    rows = differences(p, results)
    _, error, verdict = rows["IMP minus synthetic", 4]
    assert error.mean == pytest.approx(1.0) and error.low == pytest.approx(1.0)
    assert verdict == "higher" and rows["dense minus synthetic", 9][2] == "lower"


def test_a_diverged_initialisation_leaves_no_verdict() -> None:
    p, results = made(LAPTOP, lambda method, level, seed, k: spread(0.5, seed))
    lost = name(p, "synthetic", 4, 1, (0, 1))
    results[lost] = Result(lost, results[lost].arrays, {"collapsed": [], "diverged": True}, {})
    row = table(p, results)["synthetic", 4]
    assert (row.accuracy.n, row.verdict) == (2, "no verdict (2 of 3 initialisations)")
    assert curves(p, results, "synthetic")[4].left_out == ("synthetic, level 4, initialisation 1: the training diverged",)


def test_what_was_changed_of_a_profile_is_said() -> None:
    p = parameters(Parameters, "04_stability", {"profile": SMALL, "seeds": [0], "epochs": "60"})
    assert overrides(p) == {"seeds": [0]}
    words = re.sub("<[^>]+>", "", setting(p))
    assert words.startswith(f"Profile {SMALL}, with seeds=[0]. Data: 1000 training images per class of CIFAR-10 at 16 pixels.")
    assert "decide nothing" not in words and "decide nothing" in setting(parameters(Parameters, "04_stability", {}))


def test_a_varied_run_takes_the_new_profiles_values(home: object) -> None:
    run = Run("04_stability", parameters(Parameters, "04_stability", {"epochs": 3}), {"epochs": 3}, open_store())
    assert run.vary(profile="laptop").parameters == parameters(Parameters, "04_stability", {"profile": "laptop", "epochs": 3})
    with pytest.raises(Problem, match="did you mean 'epochs'"):
        run.vary(epoch=3)


def test_front_page_tables_say_what_was_measured() -> None:
    """The hero, both tables and the data behind a figure; and nothing but words where nothing is finite."""
    from synthprune.chapters.figures.stability import barrier_table, difference_table, hero, surfaces

    p, results = made(LAPTOP, lambda method, level, seed, k: spread({"dense": 6, "synthetic": 0.5, "imp": 5}[method], seed))
    shown = hero(p, results, {})
    assert shown.panels[0].alt.startswith("Lines of rise of training error") and shown._repr_html_().count("<img") == 2
    assert "IMP, level 4" in shown.panels[0].alt and "level 9" not in shown.panels[0].alt  # more bands hide one another
    flat = Paths({str(seed): [results[name(p, "synthetic", 4, seed, pair)] for pair in combinations(p.orders, 2)]
                  for seed in p.seeds})
    beside = hero(p, results, {"imp, steps of synthetic": flat}).panels[0].alt
    assert "IMP, as many steps as synthetic, level 4: highest 0." in beside and "the lowest two methods lie alike" in beside
    assert [row[-1] for row in barrier_table(p, results).rows] == ["unstable", "stable", "stable", "unstable", "unstable"]
    assert {row[-1] for row in difference_table(p, results).rows} == {"higher"}
    rows = surfaces(p, results).rows
    assert len(rows) == 1 + (1 + 2 * 2) * 3 * p.points and {row[2] for row in rows[1:]} == {0, 1, 2}
    lost = {key: Result(key, {q: np.full(p.points, np.nan) for q in QUANTITIES}, {"collapsed": [], "diverged": True}, {})
            for key in results}
    assert "Nothing to draw" in hero(p, lost, {}).panels[0].alt and "Nothing to draw" in surfaces(p, lost).panels[0].alt
    assert surfaces(p, lost)._repr_html_().count("<img") == 6
    assert {row[-1] for row in barrier_table(p, lost).rows} == {"no verdict (0 of 3 initialisations)"}


def test_the_exercise_knows_right_from_wrong() -> None:
    p, results = made({"profile": "demo", "scenes": ["convnet3-digits"]}, lambda *_: 0.0)
    assert training_images(p, results) == 1438
    assert check_images(29, p, results).startswith("Right: 29 of 1438 images are 2.02")  # 2 % of 1438 are 28.76
    assert check_images(28, p, results).startswith("Just too few")
    for answer, words in ((2, "Not yet"), (None, "Give a whole number"), (28.76, "Give a whole number"), (True, "Give a whole")):
        assert words in check_images(answer, p, results)
    assert "no answer here" in check_images(29, p, {})
