"""Chapter 01 on hand-made sets, masks and paths: what is asked for, barriers, shares, the picture, the exercise."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.figures import DARK, LIGHT
from synthprune.chapters.figures.introduction import (
    at_point,
    barrier_table,
    conclusion,
    contact_sheet,
    idea,
    verdict_words,
    weave,
)
from synthprune.chapters.introduction import (
    EXERCISE,
    NETWORKS,
    SET,
    Parameters,
    check_barriers,
    largest_layer,
    mask_of,
    name,
    paths,
    requests,
    setting,
    shares,
    table,
)
from synthprune.chapters.plain import DEMO, PAPER, SCALE
from synthprune.chapters.profiles import profile_names
from synthprune.chapters.settings import decides, parameters
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result

CHAPTER = "01_introduction"
NOTEBOOK = Path(__file__).parent.parent / "notebooks" / f"{CHAPTER}.ipynb"
PEAKS = {"dense": 0.06, "synthetic": 0.004, "imp": 0.03}
"""How high each network's path rises at its fourth point, a little more for each initialisation."""
METRICS = {"collapsed": [], "diverged": False, "train_images": 400}


def made(**given: object) -> tuple[Parameters, dict[str, Result]]:
    """Paths at .1 with one peak off the middle; masks of a small network; a set of two images per class."""
    p = parameters(Parameters, CHAPTER, {"seeds": [0, 1, 2]} | given)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 2)
    results = {SET: Result(SET, {"images": rng.random((20, 1, 16, 16), np.float32), "labels": labels}, {}, {})}
    for method, keep in (("synthetic", 40), ("imp", 60)):
        masks = {"mask/features.0.weight": np.ones((4, 1, 3, 3), bool), "mask/classifier.weight": np.zeros((10, 16), bool)}
        masks["mask/classifier.weight"].flat[keep - 40:keep] = True  # synthetic 0 to 39, IMP 20 to 59
        results[mask_of(method)] = Result(method, masks, {}, {})
    for network in NETWORKS:
        for seed in p.seeds:
            curve = np.full(p.points, 0.1)
            curve[3] += PEAKS[network] + 0.001 * seed
            key = name(network, seed, (0, 1))
            arrays = {"train_loss": curve * 2, "train_error": curve, "test_loss": curve, "test_error": 3 * curve}
            results[key] = Result(key, arrays, METRICS, {})
    assert results.keys() == requests(p).keys()
    return p, results


def lost(results: dict[str, Result], key: str) -> dict[str, Result]:
    return results | {key: Result(key, results[key].arrays, METRICS | {"diverged": True}, {})}


def test_every_profile_asks_for_the_same_results_on_the_digits() -> None:
    asked = [{entry.key for entry in requests(parameters(Parameters, CHAPTER, {"profile": profile})).values()}
             for profile in profile_names()]
    assert len(profile_names()) == 3 and asked[0] == asked[1] == asked[2]
    assert not any(decides(parameters(Parameters, CHAPTER, {"profile": profile})) for profile in profile_names())


def test_in_the_demo_book_nothing_is_computed_for_this_chapter_alone() -> None:
    """Its paths are chapter 4's, its masks chapter 6's, its set chapter 11's."""
    of = {chapter: set(experiment(chapter).requests(parameters(experiment(chapter).Parameters, chapter, {})).values())
          for chapter in ("04_stability", "09_discussion", "11_make_synthetic_data")}
    elsewhere = {specs.Path: "04_stability", specs.Subnetwork: "09_discussion", specs.Distilled: "11_make_synthetic_data"}
    asked = requests(parameters(Parameters, CHAPTER, {}))
    assert {type(entry) for entry in asked.values()} == elsewhere.keys()
    assert all(entry in of[elsewhere[type(entry)]] for entry in asked.values())


def test_networks_differ_in_their_masks_alone() -> None:
    asked = requests(made()[0])
    ends = {network: asked[name(network, 1, (0, 1))].ends for network in NETWORKS}
    assert {network: (one.subnetwork.level, one.order_seed, two.order_seed) for network, (one, two) in ends.items()} == {
        "dense": (0, 0, 1), "synthetic": (4, 0, 1), "imp": (4, 0, 1)}
    assert ends["synthetic"][0].subnetwork.search.data == asked[SET] and ends["imp"][0].subnetwork.search.data == specs.Real()
    assert len({(one.recipe, one.data, one.subnetwork.init_seed) for one, _ in ends.values()}) == 1


def test_both_barriers_are_measured_and_of_demo_data_nothing_is_said() -> None:
    p, results = made()
    rows = table(p, results)
    assert rows["dense"].train_error.mean == pytest.approx(6.1) and rows["synthetic"].train_error.mean == pytest.approx(0.5)
    assert rows["imp"].midpoint_loss.mean == pytest.approx(0) and rows["imp"].accuracy.mean == pytest.approx(70)
    assert {row.verdict for row in rows.values()} == {DEMO}
    told = table(*made(profile="laptop", scene="convnet3-cifar100", level=4, orders=[0, 1], points=11))
    assert [row.verdict for row in told.values()] == ["unstable", "stable", "unstable"]
    shown = barrier_table(p, results)
    assert [row[0] for row in shown.rows] == ["dense", "synthetic, level 4", "IMP, level 4"]
    assert "0.25 points" in shown.note and shown.rows[0][3].startswith("6.10 [")


def test_the_table_of_a_point_shows_that_point_and_its_rise() -> None:
    p, results = made()
    assert at_point(p, results, 3).rows[0] == ("dense", "0.322", "0.122", "16.10", "6.10")
    assert at_point(p, results, 5).rows[0] == ("dense", "0.200", "0.000", "10.00", "0.00")
    assert "= 0.30 of the path" in at_point(p, results, 3).caption


def test_pairs_of_orders_are_averaged() -> None:
    p, results = made(orders=[0, 1], seeds=[0])
    three = parameters(Parameters, CHAPTER, {"orders": [0, 1, 2], "seeds": [0]})
    for k, pair in enumerate([(0, 1), (0, 2), (1, 2)]):
        curve = np.full(p.points, 0.1)
        curve[3 + k] += 0.06
        arrays = dict.fromkeys(("train_loss", "train_error", "test_error"), curve)
        results[name("dense", 0, pair)] = Result("", arrays, METRICS, {})
    for network in ("synthetic", "imp"):
        results |= {name(network, 0, pair): results[name(network, 0, (0, 1))] for pair in [(0, 2), (1, 2)]}
    assert paths(three, results, "dense").curves("train_error")[0, 3:6] == pytest.approx([12, 12, 12])
    assert table(three, results)["dense"].train_error.mean == pytest.approx(6)  # of each pair, not of their mean


def test_a_diverged_training_is_named_and_left_out() -> None:
    p, results = made()
    key = name("imp", 1, (0, 1))
    results = lost(results, key)
    assert np.isnan(paths(p, results, "imp").curves("train_loss")).all(1).tolist() == [False, True, False]
    assert table(p, results)["imp"].train_error.n == 2
    shown = idea(p, results)
    assert f"{key}: the training diverged" in shown.caption and "IMP: loss 0.200" in shown.panels[1].alt
    for seed in p.seeds:
        results = lost(results, name("imp", seed, (0, 1)))
    assert "IMP: no value" in idea(p, results).panels[1].alt and at_point(p, results, 3).rows[2][1:] == ("no value",) * 4
    assert idea(p, results)._repr_html_().count("<img") == 4


def test_shares_count_every_prunable_weight() -> None:
    _, results = made()
    assert largest_layer(results)[0] == "classifier"
    found = shares(results)
    assert found == pytest.approx({"both": 100 * 56 / 196, "synthetic": 100 * 20 / 196, "imp": 100 * 20 / 196,
                                   "neither": 100 * 100 / 196})


def test_a_weight_has_the_colour_of_the_masks_that_keep_it() -> None:
    colours = ["#000000", "#ff0000", "#00ff00", "#0000ff"]
    first, second = np.array([[[[1, 1], [0, 0]]]], bool), np.array([[[[1, 0], [1, 0]]]], bool)
    picture = weave(first, second, colours)
    assert picture.shape == (3, 3, 4) and not picture[2].any() and not picture[:, 2].any()  # a gap around the filter
    assert picture[:2, :2, :3].tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 0]]]
    assert weave(np.ones((20, 30), bool), np.zeros((20, 30), bool), colours).shape == (16, 16, 4)
    # Filters stand at their output and input channel.
    one = np.zeros((2, 3, 2, 2), bool)
    one[1, 2] = True
    assert np.argwhere(weave(one, one, colours)[..., 2]).min(0).tolist() == [3, 6]


def test_a_contact_sheet_has_a_column_for_each_class_and_a_gap_between_tiles() -> None:
    images, labels = np.stack([np.full((3, 4, 4), value) for value in (0.0, 0.2, 0.5, 1.0)]), np.array([1, 0, 1, 0])
    images[1, :, :2, 2:] = 0.3  # the upper right tile of the first image of class 0
    ground = [0.1, 0.3, 0.6, 1]
    sheet = contact_sheet(images, labels, 2, 2, tuple(ground))
    assert sheet.shape == (12, 12, 4)
    assert sheet[[0, 7, 0, 7], [0, 0, 7, 7], 0].tolist() == [0.2, 1, 0, 0.5]
    assert sheet[:5, :5, 0].tolist() == [[0.2, 0.2, 0.1, 0.3, 0.3]] * 2 + [[0.1] * 5] + [[0.2, 0.2, 0.1, 0.2, 0.2]] * 2
    assert (sheet[5:7] == ground).all() and (sheet[:, 5:7] == ground).all() and (sheet[0, 0] == [0.2, 0.2, 0.2, 1]).all()
    assert contact_sheet(images, labels, 2, 1, tuple(ground)).shape == (10, 10, 4)


def test_the_figure_shows_everything_in_both_schemes_and_says_it_in_words() -> None:
    p, results = made()
    shown = idea(p, results)
    left, right = shown.panels
    assert "both masks keep 28.6 percent, the synthetic one alone 10.2" in left.alt and "the 20 stored images" in left.alt
    assert "dense: loss 0.200 and 0.200 at the ends, 0.200 midway; error at most 6.10 points above its ends" in right.alt
    assert "Rise of error, in points. Highest: " in right.alt
    assert shown._repr_html_().count("<img") == 4 == shown._repr_html_().count('alt="')
    assert left.svg(LIGHT).count(b"<image") == 2 and left.svg(LIGHT) == left.svg(LIGHT) != left.svg(DARK)
    assert "on data that decide nothing" in shown.caption and "95\N{NO-BREAK SPACE}% intervals" in shown.caption
    assert len(shown.rows) == 1 + 3 * 3 * p.points and shown.rows[4] == ("dense", 0, "0.300", "0.320000", "16.000000")
    assert "each cut into its 2 x 2 tiles" in shown.caption and "channels" not in shown.caption
    assert "their range" in idea(*made(seeds=[0, 1])).caption and "no band" in idea(*made(seeds=[0])).caption


def test_the_box_decides_nothing() -> None:
    box = conclusion(*made())
    assert (box.state, box.title) == ("open", "Demo data decide nothing")
    assert "dense 6.10 [" in box.text and "synthetic 0.50 [" in box.text
    other = conclusion(*made(profile="laptop", scene="convnet3-cifar100", level=4, orders=[0, 1], points=11))
    assert other.state == "open" and "digits" not in other.text
    assert "decide nothing" in setting(made()[0])


def test_verdict_words_are_the_ledgers() -> None:
    rows = verdict_words().rows
    assert [row[1:3] for row in rows[:3]] == [(PAPER[state], SCALE[state]) for state in ("holds", "fails", "open")]
    assert {row[3] for row in rows} == {DEMO}


def test_the_exercise_knows_right_wrong_and_nothing() -> None:
    assert EXERCISE[len(EXERCISE) // 2] == 2.0 and max(EXERCISE) == 5.0
    assert check_barriers(0.5, 3.5).startswith("Right")
    assert check_barriers(2.0, 5.0) == check_barriers(0.5, 5.0) == check_barriers(2.0, 3.5)
    assert "mean of its two ends" in check_barriers(2.0, 5.0)
    assert "midway is lower" in check_barriers(1.0, 3.5) and "midway is higher" in check_barriers(0.0, 3.5)
    assert "highest point is lower" in check_barriers(0.5, 4.0) and "highest point is higher" in check_barriers(0.5, 0.5)
    assert check_barriers(None, None) == check_barriers(0.5, True) == check_barriers("0.5", 3.5)
    assert check_barriers(None, None).startswith("Give two numbers")


def test_the_map_leads_to_every_chapter() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    linked = re.findall(r"{doc}`[^<`]+<(\d\d_\w+)>`", prose)
    assert linked == sorted(set(linked)) and CHAPTERS.keys() - {CHAPTER} <= set(linked)


@pytest.mark.parametrize(("given", "said"), [
    ({"synthetic": "coreset"}, "leave it at distilled"), ({"pixels": 8}, "at least 16 pixels"), ({"level": 0}, "level = 0"),
    ({"points": 10}, "must be odd"), ({"orders": [0]}, "at least 2"), ({"rewind": "10"}, "rewind=10 is not before the last")])
def test_nonsense_is_refused_in_words(given: dict, said: str) -> None:
    with pytest.raises(Problem, match=said):
        parameters(Parameters, CHAPTER, given)
