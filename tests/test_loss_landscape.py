"""Chapter 05 on hand-made planes and paths: distances, what a plane holds, the ledger's measures, figures, the exercise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from synthprune.book.claims import load
from synthprune.chapters import stability
from synthprune.chapters.figures.loss_landscape import flat, kind_table, network_table, pair_table, surfaces
from synthprune.chapters.loss_landscape import (
    KINDS,
    Parameters,
    check_shortened,
    maps,
    measures,
    of_kind,
    pairs,
    path_name,
    plane_name,
    requests,
    setting,
    table,
)
from synthprune.chapters.paths import left_out
from synthprune.chapters.settings import parameters
from synthprune.problems import Problem
from synthprune.results.store import Result

LAPTOP = {"profile": "laptop", "seeds": [0, 1, 2], "side": 9, "orders": [0, 1, 2, 4], "three": [0, 1, 2]}
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 8**0.5
"""Four corners, each at distance 1 from the others."""
FLAT = np.array([[-3, 1, 0], [3, 1, 0], [-3, -1, 0], [3, -1, 0]]) / 4
SOUND = {"collapsed": [], "diverged": False, "plane_images": 500}


def plane(corners: np.ndarray, side: int, height: Callable[[np.ndarray], np.ndarray]) -> Result:
    """What compute stores of the plane of the first two coordinates; loss `height` of (n, 2) places."""
    middle = corners.mean(0)
    places = (corners - middle)[:, :2]
    steps = np.linspace(-2, 2, side)
    grid = np.stack([each.ravel() for each in np.meshgrid(steps, steps)], 1)
    arrays = {"grid": grid, "coordinates": places, "off_plane": np.abs(corners - middle)[:, 2],
              "distances": np.linalg.norm(corners[:, None] - corners[None], axis=-1),
              "loss": height(grid), "loss_deviation": 0.1 * height(grid), "at_projections/loss": height(places),
              "at_models/loss": np.full(len(corners), 0.01), "at_models/loss_deviation": np.full(len(corners), 0.001)}
    return Result("", arrays, SOUND, {})


def bowl(places: np.ndarray) -> np.ndarray:
    return 0.05 + (places**2).sum(1)


def made(given: dict, rise: Callable[[str, int, int], float], corners: dict[str, np.ndarray] | None = None,
         ) -> tuple[Parameters, dict[str, Result]]:
    """Every result: pair `k` of a kind rises by `rise(kind, seed, k)`; networks at `corners`, a unit tetrahedron's."""
    p = parameters(Parameters, "05_loss_landscape", given)
    results = {}
    for kind in KINDS:
        at = (corners or {}).get(kind, TETRAHEDRON)
        for seed in p.seeds:
            for k, pair in enumerate(combinations(p.orders, 2)):
                curve = np.full(p.points, 0.1)
                curve[3] += rise(kind, seed, k)
                results[path_name(p, kind, seed, pair)] = Result("", {"train_error": curve, "train_loss": 2 * curve}, SOUND, {})
            size = (1 + 0.1 * seed) * (0.8 if kind == "imp" else 1)
            results[plane_name(p, kind, seed, p.orders)] = plane(size * at, p.side if seed == p.seeds[0] else 2, bowl)
        results[plane_name(p, kind, p.seeds[0], p.three)] = plane(at[:3], p.side, bowl)
    assert results.keys() == requests(p).keys()
    return p, results


def some(kind: str, seed: int, k: int) -> float:
    """The fourth pair rises most: about 3 points for the dense network, 5 for IMP, half a point for synthetic."""
    return ({"dense": 3, "imp": 5, "synthetic": 0.5}[kind] + 0.1 * seed) * (1 if k == 3 else 0.2) / 100


def test_measures_are_those_the_ledger_asks_for() -> None:
    p, results = made(LAPTOP, some)
    found = measures(p, results)
    asked = {name: declared.unit for claim in load() if claim.chapter == p.chapter for name, declared in claim.declared.items()}
    assert {name: measure.unit for name, measure in found.items()} == asked
    assert {measure.initialisations for measure in found.values()} == {3}
    scene = "convnet3-cifar10"
    assert found["pair_barrier_dense"].intervals.keys() == {scene}
    assert found["pair_barrier_synthetic"].intervals.keys() == {f"{scene}, level 4"}
    worst = found["pair_barrier_imp"].intervals[f"{scene}, level 4"]
    low, high = scipy_stats.t.interval(0.95, 2, 5.1, scipy_stats.sem([5.0, 5.1, 5.2]))
    assert (worst.mean, worst.low, worst.high) == pytest.approx((5.1, low, high))
    assert found["distance_over_dense"].intervals.keys() == {f"{scene}, {kind}, level 4" for kind in ("imp", "synthetic")}
    assert found["distance_over_dense"].intervals[f"{scene}, imp, level 4"].mean == pytest.approx(0.8)
    assert table(p, results)["dense"][1].mean == pytest.approx(3.1 * (1 + 5 * 0.2) / 6)
    assert table(p, results)["dense"][2].mean == pytest.approx(2 * 0.031)


def test_paths_and_trainings_are_those_of_chapter_04() -> None:
    """What both chapters ask for has one key: the paths between the first two orders, dense and at this level."""
    p = parameters(Parameters, "05_loss_landscape", {"profile": "laptop"})
    other = parameters(stability.Parameters, "04_stability", {"profile": "laptop"})
    keys = {entry.key for entry in stability.requests(other).values()}
    shared = [path_name(p, kind, seed, tuple(p.orders[:2])) for kind in KINDS for seed in p.seeds]
    assert {requests(p)[name].key for name in shared} <= keys


def test_only_the_first_initialisation_is_drawn() -> None:
    p = parameters(Parameters, "05_loss_landscape", LAPTOP)
    sides = [entry.side for entry in requests(p).values() if entry.kind == "plane"]
    assert sorted(sides) == [2] * 2 * 3 + [9] * 2 * 3
    assert all(entry.subnetwork.level == (0 if kind == "dense" else 4) for kind in KINDS for entry in of_kind(p, kind).values())


def test_a_plane_holds_two_thirds_of_a_tetrahedron_and_all_of_a_flat_figure() -> None:
    p, results = made(LAPTOP, some, {"imp": FLAT})
    drawn = maps(p, results, p.orders)
    assert drawn["dense"].share == pytest.approx(2 / 3) and drawn["imp"].share == pytest.approx(1)
    np.testing.assert_allclose(drawn["imp"].shown_distances, drawn["imp"].distances)
    assert (drawn["dense"].shown_distances <= drawn["dense"].distances + 1e-12).all()
    exact = maps(p, results, p.three)["imp"]
    assert exact.orders == (0, 1, 2) and exact.share == pytest.approx(1)
    assert exact.loss[0, -1] == pytest.approx(bowl(np.array([[exact.x[-1], exact.y[0]]]))[0])


def test_a_map_is_the_grid_row_by_row() -> None:
    """Loss that grows to the right, and to the right alone."""
    p, results = made(LAPTOP, some)
    name = plane_name(p, "dense", 0, p.orders)
    results[name] = plane(TETRAHEDRON, p.side, lambda places: 3 + places[:, 0])
    drawn = maps(p, results, p.orders)["dense"]
    np.testing.assert_allclose(drawn.loss, np.tile(3 + drawn.x, (p.side, 1)))


def test_a_diverged_training_is_named_and_kept_out() -> None:
    """Its plane has no arrays to read; a loss beyond all numbers far out on a sound map is no divergence."""
    p, results = made(LAPTOP, some)
    lost = plane_name(p, "imp", 0, p.orders)
    results[lost] = Result("", {}, SOUND | {"diverged": True}, {})
    sound = plane_name(p, "dense", 0, p.orders)
    results[sound].arrays["loss"][:4] = np.inf
    assert left_out(results) == [f"{lost}: the training diverged"]
    assert maps(p, results, p.orders).keys() == {"dense", "synthetic"}
    assert np.isnan(pairs(p, results, "imp").error[0]).all() and np.isfinite(pairs(p, results, "imp").error[1:]).all()
    assert measures(p, results)["pair_barrier_imp"].intervals["convnet3-cifar10, level 4"].n == 2
    shown = flat(p, results, p.orders)
    assert lost in shown.caption and "4 points without a finite loss" in shown.caption
    assert len([panel for panel in shown.panels if not panel.apart]) == 2
    assert shown._repr_html_().count("<img") == 6


def test_a_kind_without_data_is_left_out_and_named() -> None:
    p, results = made(LAPTOP, some)
    results = {name: result for name, result in results.items() if "synthetic" not in name}
    assert measures(p, results).keys() == {"pair_barrier_dense", "pair_barrier_imp", "distance_over_dense"}
    assert "Not run: synthetic, level 4." in surfaces(p, results).caption
    assert [row[0] for row in kind_table(p, results).rows] == ["dense", "IMP, level 4"]


def test_figures_and_tables_say_what_was_measured() -> None:
    p, results = made(LAPTOP, some)
    for figure in (flat(p, results, p.orders), flat(p, results, p.three), surfaces(p, results)):
        assert len([panel for panel in figure.panels if not panel.apart]) == 3
        assert figure._repr_html_().count("<img") == 2 * len(figure.panels)
    shown = flat(p, results, p.orders)
    assert "at most 0.300 nats at a mark, at most " in shown.panels[0].alt
    assert "0.300, 0.300, 0.300 and 0.300 nats" in shown.panels[0].alt and "0.35, 0.35, 0.35 and 0.35 off" in shown.panels[0].alt
    assert "its standard error is 10 % of it" in shown.caption and "500 training images" in shown.caption
    assert len(shown.rows) == 1 + 3 * p.side**2
    assert [row[3] for row in network_table(p, results).rows][:4] == [f"{1 / 8**0.5:.2f}"] * 4
    assert "dense 67 %" in network_table(p, results).note
    first = pair_table(p, results).rows[0]
    assert first[:3] == ("0 and 1", "1.00 (0.71)", "0.60") and len(first) == 7
    assert kind_table(p, results).rows[1][1].startswith("5.10 [")


@pytest.mark.parametrize("height", [0.0, 0.11, 5e4])
def test_a_level_loss_is_drawn_too(height: float) -> None:
    """No round number lies within such a scale, and nothing has a logarithm."""
    p, results = made(LAPTOP, some)
    for kind in KINDS:
        results[plane_name(p, kind, 0, p.orders)] = plane(TETRAHEDRON, p.side, lambda places: np.full(len(places), height))
    assert flat(p, results, p.orders)._repr_html_().count("<img") == 8
    assert surfaces(p, results)._repr_html_().count("<img") == 6


def test_maps_share_one_colour_bar_with_their_range() -> None:
    p, results = made(LAPTOP, some)
    *_, bar = flat(p, results, p.orders).panels
    losses = [float(row[5]) for row in flat(p, results, p.orders).rows[1:]]
    assert bar.apart and f"from {min(losses):.3g} (dark) to {max(losses):.3g} nats" in bar.alt
    assert not flat(p, {}, p.orders).panels


@pytest.mark.parametrize(("given", "words"), [
    ({"orders": [0, 1, 2]}, "at least 4 items"), ({"orders": [0, 1, 1, 2]}, "distinct"),
    ({"three": [0, 1, 9]}, "not three different ones"), ({"three": [0, 1, 1]}, "not three different ones"),
    ({"points": 10}, "must be odd"), ({"level": 0}, "level = 0"), ({"side": 1}, "side = 1")])
def test_nonsense_is_refused_in_words(given: dict, words: str) -> None:
    with pytest.raises(Problem, match=words):
        parameters(Parameters, "05_loss_landscape", LAPTOP | given)


def test_the_exercise_knows_right_wrong_and_nothing() -> None:
    """Orders 2 and 4 are 1.5 apart, nearly all of it across the plane."""
    corners = np.array([[-2, 0, 0], [2, 0, 0], [0.1, 1, 0.75], [-0.1, 1, -0.75]])
    p, results = made(LAPTOP, some, {"dense": corners})
    right = check_shortened((4, 2), p, results)
    assert right.startswith("Right: 1.51 apart in truth, 0.20 on the map, 13 %") and "leads 1.50 out" in right
    assert check_shortened((0, 1), p, results).startswith("Not these two (4.00 apart in truth, 4.00 on the map, 100 %")
    for nonsense in (None, 3, "12", (1, 1), (0, 7), (0, 1, 2), {}):
        assert check_shortened(nonsense, p, results).startswith("Put two of the orders 0, 1, 2, 4")
    assert "no map" in check_shortened((0, 1), p, {})


def test_the_setting_is_made_from_values() -> None:
    words = setting(parameters(Parameters, "05_loss_landscape", {"level": 9}))
    assert "pruning level 9" in words and "decide nothing" in words
    few = setting(parameters(Parameters, "05_loss_landscape", LAPTOP))
    assert "decide nothing" not in few and "Paths and distances: initialisations 0, 1, 2." in few
    one = setting(parameters(Parameters, "05_loss_landscape", LAPTOP | {"seeds": [10], "synthetic": "idc10@0123456789ab"}))
    assert "Paths and distances: initialisation 10." in one and "Synthetic set: the imported set idc10@0123456789ab," in one
