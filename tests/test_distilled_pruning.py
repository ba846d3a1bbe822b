"""Chapter 03 on hand-made evaluations: accuracies, paired differences, and counts against a search counted step by step."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from synthprune.book.claims import load
from synthprune.chapters import entries, settings, stability
from synthprune.chapters.distilled_pruning import (
    COUNTS,
    Parameters,
    accuracies,
    check_steps,
    cost,
    measured_scenes,
    measures,
    name,
    of_scene,
    on_synthetic,
    paper_setting,
    ratios,
    real_images,
    requests,
    setting,
    shortfalls,
)
from synthprune.chapters.figures import DARK, LIGHT
from synthprune.chapters.figures.distilled_pruning import (
    accuracy_against_sparsity,
    accuracy_table,
    algorithm,
    cost_table,
    in_scenes,
    shortfall_table,
)
from synthprune.chapters.figures.drawings import Line, limits
from synthprune.chapters.settings import parameters
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result

CHAPTER, SCENE = "03_distilled_pruning", "convnet3-cifar10"
SMALL = {"profile": "laptop", "scene": SCENE, "train_per_class": 1000, "synthetic": "mtt10@0f71478c0686", "synthetic_factor": 1,
         "methods": ["imp", "synthetic", "random", "magnitude", "snip", "synflow"], "orders": [0, 1]}
LAPTOP = SMALL | {"levels": [0, 4, 9, 12], "seeds": [0, 1, 2]}
POINTS = {"imp": 60.0, "synthetic": 58.5, "random": 50.0, "magnitude": 55.0, "snip": 54.0, "synflow": 53.0, "dense": 64.0,
          "on synthetic": 40.0}


def evaluation(accuracy: float, **metrics: object) -> Result:
    values = {quantity: np.array(1 - accuracy / 100) for quantity in ("train_loss", "train_error", "test_loss", "test_error")}
    return Result("", values, {"collapsed": [], "diverged": False, "train_images": 10000, "test_images": 10000} | metrics, {})


def made(given: dict, accuracy: Callable[[str, int, int, int], float]) -> tuple[Parameters, dict[str, Result]]:
    """Evaluations whose test accuracy in percent is `accuracy(method, level, seed, order)`."""
    p = parameters(Parameters, CHAPTER, given)
    results = {name(p, method, level, seed, order): evaluation(accuracy(method if level else "dense", level, seed, order))
               for method in p.methods for level in (0, *p.sparse) for seed in p.seeds for order in p.orders}
    results |= {on_synthetic(p, seed): evaluation(accuracy("on synthetic", 0, seed, 0)) for seed in p.seeds}
    assert results.keys() == requests(p).keys()
    return p, results


def plain(method: str, level: int, seed: int, order: int) -> float:
    """Falls with the level, differs between initialisations by two points (paired) and between orders by half a point."""
    return POINTS[method] - 0.5 * level + 2 * seed + 0.5 * order - 0.1 * seed * (method == "synthetic")


def test_orders_are_averaged_and_methods_paired() -> None:
    p, results = made(LAPTOP, plain)
    assert accuracies(p, results, "imp", 4) == pytest.approx([58.25, 60.25, 62.25])
    assert accuracies(p, results, "snip", 0) == pytest.approx([64.25, 66.25, 68.25])  # dense, whatever the method
    rows = {row[0]: row[1:] for row in accuracy_table(p, results).rows}
    # Initialisations differ by two points, the difference between methods by a tenth: the pairing sees it.
    assert rows["synthetic, level 4 (59.0\N{NO-BREAK SPACE}%)"][1] == "−1.6 [−1.8,\N{NO-BREAK SPACE}−1.4]"
    assert rows["IMP, level 4 (59.0\N{NO-BREAK SPACE}%)"][2].startswith("−6.0")
    with pytest.raises(Problem, match=r"level 7 was not measured: levels=\[4, 9, 12\]"):
        accuracies(p, results, "imp", 7)


def test_measures_are_those_the_ledger_asks_for() -> None:
    p, results = made(LAPTOP, plain)
    found = measures(p, results)
    asked = {name: declared for claim in load() if claim.chapter == CHAPTER for name, declared in claim.declared.items()}
    assert {name: m.unit for name, m in found.items()} == {name: declared.unit for name, declared in asked.items()}
    assert all(m.initialisations == 3 for m in found.values())
    mean = {(measure, label): interval.mean for measure, m in found.items() for label, interval in m.intervals.items()}
    assert mean["accuracy_synthetic_minus_imp", f"{SCENE}, level 9"] == pytest.approx(-1.6)
    assert found["accuracy_synthetic_minus_imp_low"].intervals.keys() == {f"{SCENE}, level 4"}
    assert found["accuracy_synthetic_minus_imp_extreme"].intervals.keys() == {f"{SCENE}, level 12"}
    # 64.25 less 40 when trained on the set, 1.6 when pruned with it.
    assert mean["shortfall_training_minus_pruning", f"{SCENE}, level 4"] == pytest.approx(24.25 - 1.6)
    assert found["accuracy_imp_minus_dense_high"].intervals.keys() == {f"{SCENE}, level 9", f"{SCENE}, level 12"}
    assert mean["accuracy_imp_minus_dense_high", f"{SCENE}, level 12"] == pytest.approx(-10)
    # Laptop: 60 epochs on 10,000 real images, 1,000 on 100 stored ones.
    assert mean["stored_point_ratio", f"{SCENE}, level 9"] == pytest.approx(60 * 10000 / (1000 * 100))


def test_a_scene_that_was_not_measured_is_left_out() -> None:
    given = SMALL | {"seeds": [0], "levels": [4]}
    several = parameters(Parameters, CHAPTER, given | {"scenes": [SCENE, "convnet3-cifar100"]})
    one, results = made(given, plain)
    assert len(several.scenes) == 2 and [scene.scene for scene in measured_scenes(several, results)] == [SCENE]
    assert set(measures(several, results)["accuracy_synthetic_minus_imp"].intervals) == {f"{SCENE}, level 4"}
    assert len(in_scenes(accuracy_table, several, results).items) == 1 and measures(several, {}) == {}


def test_a_collapsed_network_is_named_and_in_no_mean() -> None:
    p, results = made(LAPTOP, plain)
    lost = name(p, "random", 12, 1, 0)
    results[lost] = evaluation(10.0, collapsed=["features.8"])
    assert np.isnan(accuracies(p, results, "random", 12)).tolist() == [False, True, False]
    shown = accuracy_against_sparsity(p, results)
    assert "random, level 12, initialisation 1, order 0: layer features.8 has no weight left" in shown.caption
    rows = {row[0]: row[1] for row in accuracy_table(p, results).rows}
    assert rows["random, level 12 (93.1\N{NO-BREAK SPACE}%) (1 of 3 left out)"].startswith("46.2")  # of 44.25 and 48.25
    results[name(p, "synthetic", 4, 0, 1)] = evaluation(10.0, diverged=True)
    assert measures(p, results)["accuracy_synthetic_minus_imp"].intervals[f"{SCENE}, level 4"].n == 2


@pytest.mark.parametrize("given", [{}, {"batch": 50}, {"rewind": "2"}, {"profile": "laptop", "scene": SCENE}])
@pytest.mark.parametrize("method", ["imp", "synthetic"])
def test_counts_are_those_of_a_search_counted_batch_by_batch(given: dict, method: str) -> None:
    """The trainings are those that the mask rests on, by its specification; their batches are counted one at a time."""
    p, level, images = parameters(Parameters, CHAPTER, given), 4, 1438
    mask = entries.subnetwork(p, method, 0, level)
    rounds = [mask.at(n).round for n in range(1, level + 1)]
    assert set(rounds) <= set(specs.closure([mask]))
    stored = images if method == "imp" else 10 * p.synthetic_per_class
    decoded = images if method == "imp" else stored * p.synthetic_factor**2
    visits = steps = epochs = 0
    for one in rounds:
        for _ in range(one.first_epoch, one.recipe.epochs):
            epochs += 1
            for begin in range(0, decoded, one.recipe.batch):
                steps, visits = steps + 1, visits + min(one.recipe.batch, decoded - begin)
    counted = cost(p, method, level, images)
    assert (counted.steps, counted.visits, counted.training_points) == (steps, visits, epochs * stored)
    assert (counted.stored_images, counted.decoded_images) == (stored, decoded)


def test_the_papers_150_is_one_of_several_ratios() -> None:
    """300 epochs on 50,000 images against 1,000 on 100 stored ones, decoded to 400, in batches of 64: by hand."""
    found = ratios(paper_setting(), {}, 9)
    assert found == {"training_points": 150.0, "visits": 37.5, "steps": pytest.approx(300 * 782 / (1000 * 7)),
                     "stored_images": 500.0, "decoded_images": 125.0}
    p, results = made(LAPTOP, plain)
    rows = {row[0]: row[1:] for row in cost_table(p, results).rows}
    assert [rows[COUNTS[what]][-1] for what in ("training_points", "visits", "steps")] == ["150×", "37.5×", "33.5×"]
    assert rows[COUNTS["visits"]][2] == "6×"


def test_images_are_counted_or_known_or_nobody_knows() -> None:
    p, results = made(LAPTOP, plain)
    assert real_images(p, results) == 10000 == real_images(p, {})
    results = {key: evaluation(50.0, train_images=7) for key in results}
    assert real_images(p, results) == 7
    assert real_images(parameters(Parameters, CHAPTER, {}), {}) == 1438
    with pytest.raises(Problem, match="set train_per_class"):
        real_images(parameters(Parameters, CHAPTER, {"profile": "paper", "scene": "resnet10-imagenet10"}), {})


def test_trainings_are_shared_with_chapter_04_and_with_the_search() -> None:
    p, other = parameters(Parameters, CHAPTER, {}), parameters(stability.Parameters, "04_stability", {})
    ours = {entry.of for entry in of_scene(p).values()}
    assert {end for path in stability.paths(settings.in_scene(other, p.scene)).values() for end in path.ends} <= ours
    assert of_scene(p)[on_synthetic(p, 0)].of == entries.subnetwork(p, "synthetic", 0, 1).round
    assert isinstance(entries.search(p, "imp").data, specs.Real)


def test_shortfalls_are_paired() -> None:
    p, results = made(LAPTOP, plain)
    training, pruning = shortfalls(p, results)[4]
    assert training == pytest.approx([24.25] * 3) and pruning == pytest.approx([1.5, 1.6, 1.7])
    assert shortfall_table(p, results).rows[0][2].startswith("1.6")


def test_figures_show_the_data() -> None:
    """Every panel in both schemes, alternative texts from the numbers, the numbers as CSV; words where nothing is finite."""
    p, results = made(LAPTOP, plain)
    shown = accuracy_against_sparsity(p, results)
    assert shown._repr_html_().count("<img") == 6
    assert "dense: 66.2; IMP: level 4 60.2, level 9 57.8, level 12 56.2" in shown.panels[0].alt
    assert "Sparse networks at level 4. Highest: " in shown.panels[0].alt
    assert "random" in shown.panels[0].alt and "SynFlow" in shown.panels[1].alt and "random" not in shown.panels[1].alt
    narrow = "\N{NARROW NO-BREAK SPACE}"
    assert f"IMP 7{narrow}200{narrow}000 training points" in shown.panels[2].alt  # 12 levels of 60 epochs of 10,000
    assert ("imp", 9, 1, "57.7500") in list(shown.rows) and len(list(shown.rows)) == 1 + 3 + 6 * 3 * 3
    lost = {key: evaluation(math.nan, diverged=True) for key in results}
    gone = accuracy_against_sparsity(p, lost)
    assert "no value" in gone.panels[0].alt and gone._repr_html_().count("<img") == 6 and "and " in gone.caption
    assert {row[1] for row in accuracy_table(p, lost).rows} == {"not measured"}


def test_bands_are_ranges_of_two_and_intervals_of_more() -> None:
    """Of 1, 2 and 6: mean 3, deviation sqrt(7), Student's factor for two degrees of freedom 4.3027."""
    two, three = (Line("", lambda style: style.imp, (4,), np.array([values]).T) for values in ([1.0, 2.0], [1.0, 2.0, 6.0]))
    assert [float(bound[0]) for bound in two.band] == [1, 2] and two.mean[0] == 1.5
    assert [float(bound[0]) for bound in three.band] == pytest.approx([3 - 4.3027 * (7 / 3) ** 0.5, 3 + 4.3027 * (7 / 3) ** 0.5],
                                                                      abs=1e-3)


def test_the_frame_is_that_of_the_values() -> None:
    assert limits([np.array([50.0, np.nan]), np.array([60.0])]) == pytest.approx((49.2, 60.8))
    assert limits([np.array([np.nan])]) == pytest.approx((-0.08, 1.08)) and limits([np.array([7.0])]) == (6.5, 7.5)


def test_the_diagram_says_what_this_run_does() -> None:
    p = parameters(Parameters, CHAPTER, {})
    drawn = algorithm(p)
    ours, theirs = (panel.alt for panel in drawn.panels)
    assert "train 40 epochs on 50 synthetic images, decoded to 200; then prune the 20 % smallest" in ours
    assert "train 10 epochs on the real images; then prune" in theirs and "synthetic" not in theirs
    weights = algorithm(p.model_copy(update={"rewind": "weights"})).panels[0].alt
    assert "return the weights left" in weights and "return what is left" in ours
    assert all(panel.svg(style).startswith(b"<?xml") for panel in drawn.panels for style in (LIGHT, DARK))


@pytest.mark.parametrize(("given", "words"), [
    ({"levels": [0]}, "levels go from 1 to 30"), ({"levels": [31]}, "levels go from 1 to 30"),
    ({"levels": [4, 4]}, "must be distinct"), ({"rewind": "10"}, "rewind=10 is not before the last epoch"),
    ({"orders": []}, "at least 1 item"), ({"scenes": ["convnet3-mnist"]}, "no scene 'convnet3-mnist'")])
def test_nonsense_is_refused_in_words(given: dict, words: str) -> None:
    with pytest.raises(Problem, match=words):
        parameters(Parameters, CHAPTER, given)


def test_the_setting_is_said() -> None:
    words = setting(parameters(Parameters, CHAPTER, {}))
    assert "pruning levels 4, 9 beside the dense network; each is trained in 2 orders (0, 1)" in words
    assert "decide nothing" in words and "with " not in words.split("</strong>")[0]  # nothing was changed of the profile


def test_the_exercise_knows_right_from_wrong() -> None:
    p, results = made(LAPTOP, plain)
    right = (60 * 209) / (1000 * 3)  # 10,000 images in batches of 48; 100 images are three batches
    assert check_steps(right, p, results).startswith("Right")
    assert check_steps(round(right, 1), p, results).startswith("Right") and check_steps("4.18", p, results).startswith("Right")
    for answer, words in ((1 / right, "Upside down"), (6, "image visits"), (99, "Not yet"), (None, "Give one number"),
                          ("many", "Give one number"), ([1, 2], "Give one number"), (math.nan, "Not yet")):
        assert words in check_steps(answer, p, results)
    assert "no results" in check_steps(right, p, {})
    decoded, results = made({"seeds": [0]}, plain)
    results = {key: evaluation(50.0, train_images=1438) for key in results}
    assert "paper's count" in check_steps(1438 * 10 / (50 * 40), decoded, results)
    assert "image visits" in check_steps(1438 * 10 / (200 * 40), decoded, results)
