"""Chapter 04's arithmetic on hand-made paths: barriers, differences, and every verdict the claim can have."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from synthprune.chapter import Run, open_store
from synthprune.experiments.settings import METHODS, overrides, parameters
from synthprune.experiments.stability import Claim, Parameters, claim, curves, differences, name, requests, setting, table
from synthprune.problems import Problem
from synthprune.store import Result

QUANTITIES = ("train_loss", "train_error", "test_loss", "test_error")
LAPTOP = {"profile": "laptop", "levels": [0, 4, 9], "seeds": [0, 1, 2]}


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
                    key = name(method, level, seed, pair)
                    results[key] = Result(key, dict.fromkeys(QUANTITIES, curve), {"collapsed": [], "diverged": False}, {})
    assert results.keys() == requests(p).keys()
    return p, results


def spread(points: float, seed: int) -> float:
    """A barrier of about `points` percentage points, a little different for each initialisation."""
    return (points + 0.05 * (seed - 1)) / 100


def test_barriers_are_taken_pair_by_pair_and_then_averaged() -> None:
    p, results = made(LAPTOP | {"orders": [0, 1, 2]}, lambda method, level, seed, k: 0.06)
    of = curves(p, results, "imp")
    assert of.barrier(4, "train_error", "highest") == pytest.approx([0.06] * 3)
    assert of.at(4, "train_error").max() == pytest.approx(0.12)  # the mean curve is lower than any of its three
    with pytest.raises(Problem, match="level 7 was not measured"):
        of.at(7, "train_error")


def judged(*points: float, **given: object) -> Claim:
    """The claim, for barriers of so many points of the dense, the synthetic and the IMP networks."""
    heights = dict(zip(("dense", "synthetic", "imp"), points, strict=True))
    return claim(*made(LAPTOP | given, lambda method, level, seed, k: spread(heights[method], seed)))


@pytest.mark.parametrize(("dense", "synthetic", "imp", "state", "title"), [
    (6, 0.5, 5, "holds", "Holds at this scale"), (6, 4, 5, "fails", "Does not hold at this scale"),
    (6, 0.5, 0.4, "fails", "Does not hold at this scale"), (6, 2, 5, "open", "Cannot be told here"),
    (0.5, 0.4, 0.3, "open", "Cannot be told here")],
    ids=["holds", "synthetic unstable", "imp stable", "on the line", "dense stable"])
def test_the_claim_reaches_each_of_its_verdicts(dense: float, synthetic: float, imp: float, state: str, title: str) -> None:
    found = judged(dense, synthetic, imp)
    assert (found.state, found.title) == (state, title)
    assert f"dense at level 0: {dense:.2f}" in found.text


def test_the_words_of_the_paper_profile_are_its_own() -> None:
    paper = {"profile": "paper", "synthetic": "mtt10@0f71478c0686", "levels": [0, 4, 9]}
    assert judged(6, 0.5, 5, **paper).title == "Reproduced" and judged(6, 4, 5, **paper).title == "Contradicted"


def test_demo_data_and_a_single_initialisation_decide_nothing() -> None:
    assert judged(6, 0.5, 5, profile="demo").title == "Demo data decide nothing"
    assert judged(6, 0.5, 5, dataset="digits", synthetic="distilled").title == "Demo data decide nothing"
    assert judged(6, 0.5, 5, seeds=[0]).state == "open"


def test_differences_are_paired_by_initialisation() -> None:
    """Barriers that differ much between initialisations, and by the same between methods: the pairing sees it."""
    p, results = made(LAPTOP, lambda method, level, seed, k: 0.03 * seed + {"synthetic": 0.01, "imp": 0.02}.get(method, 0.0))
    rows = {(d.label, d.level): d for d in differences(p, results)}
    assert rows["IMP minus synthetic", 4].train_error.mean == pytest.approx(1.0)
    assert rows["IMP minus synthetic", 4].train_error.low == pytest.approx(1.0)
    assert rows["IMP minus synthetic", 4].verdict == "rises more" and rows["dense minus synthetic", 9].verdict == "rises less"


def test_a_diverged_initialisation_leaves_no_verdict() -> None:
    p, results = made(LAPTOP, lambda method, level, seed, k: spread(0.5, seed))
    lost = name("synthetic", 4, 1, (0, 1))
    results[lost] = Result(lost, results[lost].arrays, {"collapsed": [], "diverged": True}, {})
    row = next(row for row in table(p, results) if (row.method, row.level) == ("synthetic", 4))
    assert (row.left_out, row.accuracy.n, row.verdict) == (1, 2, "cannot be told (1 of 3 left out)")
    assert curves(p, results, "synthetic").left_out == ("synthetic, level 4, initialisation 1: the training diverged",)


def test_what_was_changed_of_a_profile_is_said() -> None:
    p = parameters(Parameters, "04_stability", {"profile": "laptop", "seeds": [0], "epochs": "60"})
    assert overrides(p) == {"seeds": [0]}
    words = re.sub("<[^>]+>", "", setting(p))
    assert words.startswith("Profile laptop, with seeds=[0]. Data: 1000 training images per class of CIFAR-10 at 16 pixels.")
    assert "decide nothing" not in words and "decide nothing" in setting(parameters(Parameters, "04_stability", {}))


def test_a_varied_run_takes_the_new_profiles_values(home: object) -> None:
    run = Run("04_stability", parameters(Parameters, "04_stability", {"epochs": 3}), {"epochs": 3}, open_store())
    assert run.vary(profile="laptop").parameters == parameters(Parameters, "04_stability", {"profile": "laptop", "epochs": 3})
    with pytest.raises(Problem, match="did you mean 'epochs'"):
        run.vary(epoch=3)


def test_front_page_tables_and_box_say_what_was_measured() -> None:
    """The hero, both tables, the box and the data behind a figure; and nothing but words where nothing is finite."""
    from synthprune.figures.stability import barrier_table, claim_box, difference_table, hero, surfaces

    p, results = made(LAPTOP, lambda method, level, seed, k: spread({"dense": 6, "synthetic": 0.5, "imp": 5}[method], seed))
    shown = hero(p, results)
    assert shown.panels[0].alt.startswith("Lines of training loss") and shown._repr_html_().count("<img") == 2
    assert [row[-1] for row in barrier_table(p, results).rows] == ["unstable", "stable", "stable", "unstable", "unstable"]
    assert {row[-1] for row in difference_table(p, results).rows} == {"rises more"}
    assert 'class="verdict verdict--holds"' in claim_box(p, results)._repr_html_()
    rows = surfaces(p, results).rows
    assert len(rows) == 1 + (1 + 2 * 2) * 3 * p.points and {row[2] for row in rows[1:]} == {0, 1, 2}
    lost = {key: Result(key, {q: np.full(p.points, np.nan) for q in QUANTITIES}, {"collapsed": [], "diverged": True}, {})
            for key in results}
    assert "Nothing to draw" in hero(p, lost).panels[0].alt and "Nothing to draw" in surfaces(p, lost).panels[0].alt
    assert surfaces(p, lost)._repr_html_().count("<img") == 6
    assert {row[-1] for row in barrier_table(p, lost).rows} == {"cannot be told (3 of 3 left out)"}
