"""Chapter 07 on hand-made paths: which sets are compared, ratios that may not be defined, differences, the ledger's measures."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import yaml
from conftest import ROOT
from nets import SMALL
from scipy import stats as scipy_stats

from synthprune.chapters import settings, stability
from synthprune.chapters.figures.overview import accuracy_table, barrier_table, overview
from synthprune.chapters.overview import (
    Parameters,
    _hundred_and_ten_classes,
    asked,
    check_ratios,
    comparisons,
    making,
    measures,
    name,
    not_run,
    requests,
    set_words,
    with_each_set,
)
from synthprune.chapters.settings import METHODS, parameters
from synthprune.problems import Problem
from synthprune.results.store import Result

THREE = {"profile": SMALL, "scenes": ["convnet3-cifar10"], "other_sets": ["mtt1:1", "mtt50:50"], "seeds": [0, 1, 2]}
Height = Callable[[Parameters, str, int, int], tuple[float, float]]


def made(given: dict, height: Height, images: int = 10_000) -> tuple[Parameters, dict[str, Result]]:
    """Paths with the peak midway (nats, and as error) and the test accuracy that `height(p, method, level, seed)` gives."""
    p = parameters(Parameters, "07_overview", given)
    results = {}
    for one in asked(p):
        for method in METHODS:
            for level in one.both_levels:
                for seed in one.seeds:
                    for pair in combinations(one.orders, 2):
                        peak, accuracy = height(one, method, level, seed)
                        rise, ends = np.zeros(one.points), np.full(one.points, 1 - accuracy)
                        rise[one.points // 2] = peak
                        key = name(one, method, level, seed, pair)
                        arrays = {"train_loss": rise + 0.1, "train_error": rise + 0.1, "test_error": ends, "test_loss": ends}
                        results[key] = Result(key, arrays, {"collapsed": [], "diverged": False, "train_images": images}, {})
    assert results.keys() == requests(p).keys()
    return p, results


def told(one: Parameters, method: str, level: int, seed: int) -> tuple[float, float]:
    """Barriers that grow with the synthetic set's size and vary with the seed; IMP's about .2 nats."""
    wobble = 0.01 * (seed - 1)
    if method == "imp":
        return 0.2 + wobble, 0.8
    return 0.02 * np.log(one.synthetic_per_class) + 0.01 * level + 2 * wobble, 0.7 + wobble


def test_a_scene_compares_its_own_set_and_the_others_and_shares_chapter_fours_paths(home: object) -> None:
    p = parameters(Parameters, "07_overview", {})
    words = [(one.scene, set_words(one)) for one in asked(p)]
    assert words == [(scene, f"{n} per class, distilled") for scene in ("convnet3-digits", "lenet300-digits") for n in (5, 1)]
    four = set(stability.requests(parameters(stability.Parameters, "04_stability", {})).values())
    extra = {name for name, entry in requests(p).items() if entry not in four}
    assert len(extra) == 2 * 2 * 2 and all("1 per class" in name for name in extra)
    laptop = parameters(Parameters, "07_overview", THREE)
    assert [one.synthetic_per_class for one in asked(laptop)] == [10, 1, 50] and {making(one) for one in asked(laptop)} == {"mtt"}
    again = parameters(Parameters, "07_overview", {"other_sets": ["distilled:5"]})
    assert len(asked(again)) == 2  # what is asked for twice is compared once


@pytest.mark.parametrize(("given", "words"), [
    ({"other_sets": ["mtt50"]}, "mtt50 is not NAME:IMAGES PER CLASS"), ({"other_sets": ["mtt50:50:0"]}, "mtt50:50:0 is not"),
    ({"other_sets": ["distilled:0"]}, "distilled:0 is not"),
    ({"other_sets": ["distilled:1", "distilled:1"]}, "must be distinct"), ({"points": 4}, "must be odd"),
    ({"low_level": 9, "high_level": 9}, "low_level=9 is not below high_level=9"), ({"rewind": "10"}, "rewind=10 is not before")])
def test_bad_parameters_are_refused_in_words(given: dict, words: str) -> None:
    with pytest.raises(Problem, match=words):
        parameters(Parameters, "07_overview", given)


def test_ratios_and_differences_are_paired_by_initialisation() -> None:
    p, results = made(THREE, told)
    found = {(set_words(c.p), c.level): c for c in comparisons(p, results)}
    one = found["1 per class, mtt1", 4]
    synthetic, imp = np.array([0.02, 0.04, 0.06]), np.array([0.19, 0.2, 0.21])
    low, high = scipy_stats.t.interval(0.95, 2, (synthetic / imp).mean(), scipy_stats.sem(synthetic / imp))
    ratio = one.ratio("loss")
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx(((synthetic / imp).mean(), low, high))
    assert one.difference("loss").mean == pytest.approx(-0.16) and one.difference("error").mean == pytest.approx(-16)
    assert one.difference("accuracy").mean == pytest.approx(-10) and one.ratio("accuracy").mean == pytest.approx(0.875)
    assert (one.compression, found["50 per class, mtt50", 4].compression) == (1000, 20)


def test_a_ratio_over_a_barrier_that_may_be_zero_is_not_defined_and_stands_aside() -> None:
    p, results = made(THREE, lambda one, method, level, seed: (0.01 * (seed - 1) if method == "imp" else 0.05, 0.8))
    assert not any(c.orders for c in comparisons(p, results))
    assert {row[3] for row in barrier_table(p, results).rows} == {"not defined"}
    assert overview(p, results).panels[0].alt.count("no ratio, or over a barrier below zero, 1.000") == 2 * 3
    assert overview(p, results).panels[1].alt.count("0.050, 0.000") == 2 * 3


def test_over_a_barrier_below_zero_a_ratio_orders_nothing() -> None:
    """Twice as deep below zero: the ratio is 2, though the synthetic barrier is the lower one."""
    depth = {"imp": -0.1, "synthetic": -0.2}
    p, results = made(THREE, lambda one, method, level, seed: (depth[method] * (1 + 0.01 * seed), 0.8))
    for c in comparisons(p, results):
        assert c.ratio("loss").mean == pytest.approx(2) and c.difference("loss").high < 0 and not c.orders
    assert all("\N{DAGGER}" in row[3] for row in barrier_table(p, results).rows)
    assert "no ratio, or over a barrier below zero" in overview(p, results).panels[0].alt


def test_measures_are_those_the_ledger_asks_for() -> None:
    p, results = made(THREE, told)
    found = measures(p, results)
    asked_for = yaml.safe_load((ROOT / "book" / "claims.yml").read_text())["measures"]["07_overview"]
    assert {key: measure.unit for key, measure in found.items()} == {key: how["unit"] for key, how in asked_for.items()}
    assert all(measure.initialisations == 3 for measure in found.values())
    most_less_least = found["loss_barrier_most_minus_least_compressed"].intervals
    assert most_less_least.keys() == {f"convnet3-cifar10, level {level}" for level in (4, 9)}
    assert most_less_least["convnet3-cifar10, level 4"].mean == pytest.approx(-0.02 * np.log(50))
    high = found["loss_barrier_synthetic_high"].intervals
    assert high["convnet3-cifar10, 1 per class, mtt1"].mean == pytest.approx(0.09) and len(high) == 3
    assert found["accuracy_cost_cifar100_minus_cifar10"].intervals == {}


def test_cost_on_cifar100_is_set_beside_the_same_networks_on_cifar10() -> None:
    accuracy = {("cifar10", "imp"): 0.6, ("cifar10", "synthetic"): 0.59, ("cifar100", "imp"): 0.5,
                ("cifar100", "synthetic"): 0.44}
    given = {"profile": SMALL, "scenes": ["convnet3-cifar10", "resnet10-cifar10", "convnet3-cifar100"]}
    p, results = made(given, lambda one, method, level, seed: (0.1, accuracy[one.dataset, method] + 0.1 * seed))
    cost = measures(p, results)["accuracy_cost_cifar100_minus_cifar10"]
    assert cost.intervals.keys() == {"convnet3-cifar100, level 4", "convnet3-cifar100, level 9"}
    assert cost.intervals["convnet3-cifar100, level 4"].mean == pytest.approx(5)
    assert "10 per class, mtt10" in cost.note and "5 per class, distilled" in cost.note


def test_what_was_not_run_or_failed_is_named_and_enters_no_mean() -> None:
    p, results = made(THREE, told)
    small = {key: result for key, result in results.items() if "mtt50" not in key}
    assert not_run(p, small) == ["convnet3-cifar10: 50 per class, mtt50"]
    assert accuracy_table(p, small).rows[-1] == ("ConvNet-3 on CIFAR-10, 50 per class, mtt50", *["not run"] * 5)
    assert "Not run: ConvNet-3 on CIFAR-10, 50 per class, mtt50." in overview(p, small).caption
    assert measures(p, small)["loss_barrier_most_minus_least_compressed"].intervals == {}
    lost = next(key for key in results if "mtt1," in key and "level 4, initialisation 1" in key)
    failed = results | {lost: Result(lost, results[lost].arrays, results[lost].metrics | {"diverged": True}, {})}
    one = next(c for c in comparisons(p, failed) if "mtt1" in set_words(c.p) and c.level == 4 and c.p.synthetic_per_class == 1)
    assert one.ratio("loss").n == 2 and one.left_out == (
        "convnet3-cifar10: 1 per class, mtt1, level 4, initialisation 1: the training diverged",)
    assert "the training diverged" in overview(p, failed).caption
    assert "(1 failed training: left out)" in " ".join(row[0] for row in accuracy_table(p, failed).rows)


def test_the_figure_has_a_point_for_every_comparison_and_its_numbers() -> None:
    p, results = made(THREE, told)
    shown = overview(p, results)
    assert shown._repr_html_().count("<img") == 4
    assert len(shown.rows) == 1 + 3 * 2 * 3
    assert "Less accurate than IMP: " in shown.panels[0].alt and "Less accurate" not in overview(p, {}).panels[0].alt
    assert "IMP at (1, 1)" in shown.panels[0].alt and shown.panels[0].alt.count("level 9") == 3
    for seeds in ([0], [0, 1]):
        assert overview(*made(THREE | {"seeds": seeds}, told))._repr_html_().count("<img") == 4
    assert overview(p, {}).panels[0].alt.endswith("nothing was run.") and overview(p, {})._repr_html_().count("<img") == 4


def test_the_exercise_knows_the_right_the_wrong_and_no_answer() -> None:
    p, results = made(THREE, told)
    right = next(c for c in comparisons(p, results) if c.level == 9).ratios("loss")
    assert check_ratios(list(right), p, results).startswith(f"Right: a study of one initialisation would have drawn a ratio"
                                                            f" anywhere from {right.min():.2f}")
    assert check_ratios(1 / right, p, results).startswith("Upside down")
    assert check_ratios([0.3, 0.3, 0.3], p, results).startswith("Not yet")
    for nothing in (None, "much", [1], {}, [None, 1, 2]):
        assert check_ratios(nothing, p, results).startswith("Give a list with one number for each initialisation: 0, 1, 2.")
    assert "no answer here" in check_ratios([1, 1, 1], p, {})


def test_only_a_scenes_own_set_stands_beside_cifar100() -> None:
    """A scene with a third part, such as one of other sets, enters no claim."""
    p = parameters(Parameters, "07_overview", {"profile": "laptop"})
    sets = [with_each_set(scene) for scene in settings.scenes(p)]
    assert {"convnet3-cifar10", "convnet3-cifar10-sets"} <= {one[0].scene for one in sets}
    pairs = [(hard.scene, easy.scene) for hard, easy in _hundred_and_ten_classes(sets)]
    assert pairs == [("convnet3-cifar100", "convnet3-cifar10")]
