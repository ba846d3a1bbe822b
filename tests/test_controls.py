"""Chapter 10's arithmetic on hand-made paths: cases, paired differences, what the ledger asks for, pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from synthprune import specs
from synthprune.claims import load
from synthprune.experiments.controls import Case, Parameters, cases, check_source, measured, measures, requests, trained_loss
from synthprune.experiments.settings import parameters, retrained
from synthprune.figures.controls import scans, source_table, sources, variant_table
from synthprune.problems import Problem
from synthprune.store import Result

LAPTOP = {"profile": "laptop", "levels": [4, 9], "seeds": [0, 1, 2], "widths": [16], "lengths": [], "amounts": [250]}
QUANTITIES = ("train_loss", "train_error", "test_loss", "test_error")


def made(height: Callable[[Case, int], float], **given: object) -> tuple[Parameters, dict[str, Result]]:
    """Paths at .1 whose middle is `height(case, initialisation)` higher."""
    p, results = parameters(Parameters, "10_controls", LAPTOP | given), {}
    for case in cases(p):
        for name, seed, path in case.paths():
            curve = np.full(p.points, 0.1)
            curve[p.points // 2] += height(case, seed)
            metrics = {"collapsed": [], "diverged": False, "train_images": 10_000}
            metrics |= {"moved": 0.25, "union_density": 0.5} if path.aligned else {}
            results[name] = Result(path.key, dict.fromkeys(QUANTITIES, curve), metrics, {})
    assert results.keys() == requests(p).keys()
    return p, results


def rise(case: Case, seed: int) -> float:
    return {"dense": 0.06, "synthetic": 0.01, "like synthetic": 0.03, "coreset": 0.02}.get(case.method, 0.05) + 0.001 * seed


def test_each_control_changes_what_it_says() -> None:
    p = parameters(Parameters, "10_controls", LAPTOP)
    of = {(case.variant, case.method, case.level): next(case.paths())[2] for case in cases(p)}
    assert of["", "imp", 4] == specs.Path(ends=tuple(retrained(p, "imp", 0, 4, order) for order in (0, 1)), points=p.points)
    assert of["aligned", "imp", 4] == of["", "imp", 4].model_copy(update={"aligned": True})
    assert of["weights rewound", "imp", 4].subnetwork.search.rewind == "weights"
    assert of["", "noise", 4].subnetwork.search.data == specs.Noise(ipc=10, factor=1, seed=0)
    assert of["", "shuffled", 4].subnetwork.search.data == specs.Shuffled(of=specs.Published(name=p.synthetic), seed=0)
    assert of["", "like imp", 9].subnetwork.search.of == of["", "imp", 9].subnetwork.search
    assert of["width = 16", "dense", 0].subnetwork.architecture.width == 16
    assert of["train_per_class = 250", "imp", 4].dataset.train_per_class == 250


def test_matched_steps_are_as_many_as_whole_epochs_allow() -> None:
    p = parameters(Parameters, "10_controls", LAPTOP)  # 10,000 real images and 100 synthetic ones, in batches of 64
    of = {case.method: next(case.paths())[2].subnetwork.search for case in cases(p) if case.level == 4 and not case.variant}
    assert of["imp, steps of synthetic"].recipe.epochs == 13  # 1,000 x 2 steps, at 157 an epoch
    assert of["synthetic, steps of imp"].recipe.epochs == 4710  # 60 x 157 steps, at 2 an epoch


def test_measures_are_those_the_ledger_asks_for() -> None:
    p, results = made(rise)
    found = measures(p, results)
    asked = {name: declared.unit for claim in load() if claim.chapter == p.chapter for name, declared in claim.declared.items()}
    assert {name: measure.unit for name, measure in found.items()} == asked
    barrier = found["error_barrier_same_densities_minus_synthetic"].intervals
    assert barrier.keys() == {f"{p.scene}, level 4", f"{p.scene}, level 9"}
    # Paired: the initialisations differ, their differences do not.
    assert (barrier[f"{p.scene}, level 4"].low, barrier[f"{p.scene}, level 4"].high) == pytest.approx((2.0, 2.0))


def test_a_diverged_training_is_named_and_left_out() -> None:
    p, results = made(rise)
    lost = "coreset, level 4, initialisation 1, orders 0-1"
    results[lost] = Result(lost, results[lost].arrays, results[lost].metrics | {"diverged": True}, {})
    one = measured(p, results)["", "coreset", 4]
    assert np.isnan(one.error[1]) and one.left_out == ("coreset, level 4, initialisation 1: the training diverged",)
    assert measures(p, results)["accuracy_synthetic_minus_random_real"].intervals[f"{p.scene}, level 4"].n == 2
    assert "the training diverged" in sources(p, results).caption


def test_pictures_and_tables_show_the_data() -> None:
    p, results = made(rise)
    assert "like" not in sources(p, results).panels[0].alt and "SNIP" not in sources(p, results).panels[0].alt
    rows = {row[0]: row for row in source_table(p, results).rows}
    assert rows["random real images, level 4 (59.0\N{NO-BREAK SPACE}%)"][-1].startswith("1.00 [1.00")
    aligned = {row[0]: row for row in variant_table(p, results, "aligned").rows}
    assert aligned["IMP, level 4"][4:] == ("25.0 [25.0,\N{NO-BREAK SPACE}25.0]", "41.0", "50.0 [50.0,\N{NO-BREAK SPACE}50.0]")
    assert [row[0] for row in variant_table(p, results, "weights rewound").rows] == ["synthetic, level 4", "IMP, level 4"]
    figure = scans(p, results)
    assert len(figure.panels) == 2 and "6.00 at 16" in figure.panels[0].alt and figure._repr_html_().count("<img") == 4
    assert trained_loss(p, results, "coreset", 4) == pytest.approx(0.1)
    assert np.isnan(trained_loss(p, {}, "coreset", 4))


def test_a_source_may_be_measured_at_the_first_level_alone() -> None:
    p, results = made(rise, low_only=["coreset"])
    assert [level for variant, method, level in measured(p, results) if method == "coreset" and not variant] == [4]
    assert measures(p, results)["accuracy_synthetic_minus_random_real"].intervals.keys() == {f"{p.scene}, level 4"}
    assert "random real images, level 9" not in sources(p, results).panels[0].alt


def test_all_images_are_drawn_at_their_number_per_class() -> None:
    p, results = made(rise, train_per_class=0)  # the results say 10,000 images, of ten classes
    assert "6.00 at 250, 6.00 at 1000" in scans(p, results).panels[1].alt


def test_where_nothing_can_be_had_nothing_is_claimed() -> None:
    p = parameters(Parameters, "10_controls", LAPTOP)
    assert measures(p, {}) == {} and check_source("noise", p, {}) == "No control was measured here."


def test_the_exercise_knows_right_wrong_and_nothing() -> None:
    p, results = made(rise)
    assert check_source("coreset", p, results).startswith("Yes: coreset rises by 2.10 points")
    assert check_source("noise", p, results).startswith("Not quite: noise rises by 5.10 points")
    assert check_source(None, p, results).startswith("Name one of the controls: ")
    assert check_source("synthetic", p, results).startswith("Name one of the controls: ")


@pytest.mark.parametrize(("given", "said"), [
    ({"methods": ["synthetic", "magic"]}, "'magic' is none of"), ({"methods": ["imp", "imp"]}, "must be distinct"),
    ({"levels": [0, 4]}, "levels go from 1 to 30"), ({"points": 4}, "must be odd"), ({"widths": [0]}, "widths.*at least 1"),
    ({"lengths": [5, 5]}, "lengths.*must be distinct"), ({"low_only": ["magic"]}, "'magic', which is none of"),
    ({"rewind": "20", "lengths": [20]}, "rewind=20 is not before the last epoch")])
def test_nonsense_is_refused_in_words(given: dict, said: str) -> None:
    with pytest.raises(Problem, match=said):
        parameters(Parameters, "10_controls", LAPTOP | given)
