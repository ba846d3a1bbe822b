"""Chapter 09 on hand-made masks: densities, overlaps beside chance, costs and energy, the ledger's measures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import yaml
from conftest import ROOT

from synthprune.chapters import stability
from synthprune.chapters.discussion import (
    SHOWN,
    Parameters,
    check_chance,
    cost,
    density,
    energy,
    first_round,
    greatest_difference,
    largest_layer,
    likeness,
    likenesses,
    masks,
    measured_scenes,
    measures,
    name,
    requests,
)
from synthprune.chapters.entries import subnetwork
from synthprune.chapters.figures.discussion import cost_table, density_table, overlap_table, where
from synthprune.chapters.settings import parameters
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result, Store

LAYERS = {"classifier": (10, 8), "features.10": (5, 4), "features.2": (10, 30), "stem.0": (4, 5)}
ONE = {"profile": "laptop", "scenes": ["convnet3-cifar10"], "seeds": [0, 1, 2], "train_per_class": 1000, "second_level": 4,
       "synthetic": "mtt10@0f71478c0686", "synthetic_factor": 1}


def stored(arrays: dict[str, np.ndarray]) -> Result:
    """A mask as it comes from the store, whose JSON is sorted by name."""
    survivors = json.loads(json.dumps({f"{layer}.weight": int(mask.sum()) for layer, mask in arrays.items()}, sort_keys=True))
    return Result("", {f"mask/{layer}.weight": mask for layer, mask in arrays.items()}, {"survivors": survivors}, {})


def made(given: dict, flops: int | None = None) -> tuple[Parameters, dict[str, Result]]:
    """Masks of four small layers: IMP's random, the synthetic ones IMP's with some weights moved, the others random."""
    p, rng, results = parameters(Parameters, "09_discussion", given), np.random.default_rng(0), {}
    for key, entry in requests(p).items():
        if isinstance(entry, specs.Evaluation):
            counted = {} if flops is None else {"flops": flops}
            results[key] = Result(key, {}, {"train_images": 10_000} | counted, {})
        else:
            results[key] = stored({layer: rng.random(shape) < 0.8**entry.level for layer, shape in LAYERS.items()})
    for scene in measured_scenes(p, results):
        for level in scene.levels:
            for seed in scene.seeds:
                imp = masks(results[name(scene, "imp", level, seed)])
                results[name(scene, "synthetic", level, seed)] = stored({
                    layer: np.where(rng.random(mask.shape) < 0.3, rng.permutation(mask), mask) for layer, mask in imp.items()})
    return p, results


def test_masks_are_asked_for_by_the_names_of_chapter_four_and_only_second_searches_are_new() -> None:
    p, four = parameters(Parameters, "09_discussion", {}), parameters(stability.Parameters, "04_stability", {})
    known = set(specs.closure(list(stability.requests(four).values())))
    new = {key for key, entry in requests(p).items() if isinstance(entry, specs.Subnetwork) and entry not in known
           and isinstance(entry.search, specs.Search)}
    assert new == {name(scene, f"{method} again", 4, seed) for scene in measured_scenes(p, dict.fromkeys(requests(p)))
                   for method in ("synthetic", "imp") for seed in (0, 1)}
    evaluation = requests(p)[first_round(p)]
    assert evaluation.of in known  # IMP's own first round: nothing is trained to count its images


@pytest.mark.parametrize(("given", "words"), [
    ({"levels": [0]}, "levels go from 1 to 30"), ({"levels": [4, 31]}, "levels go from 1 to 30"),
    ({"second_seed": 3}, "second_seed=3 is search_seed"), ({"scenes": []}, "at least 1")])
def test_bad_parameters_are_refused_in_words(given: dict, words: str) -> None:
    with pytest.raises(Problem, match=words):
        parameters(Parameters, "09_discussion", given)


def test_layers_stand_as_data_pass_them() -> None:
    assert list(masks(stored({layer: np.ones(shape, bool) for layer, shape in LAYERS.items()}))) == [
        "stem.0", "features.2", "features.10", "classifier"]


def test_densities_and_their_greatest_difference() -> None:
    p, results = made(ONE)
    own = {method: np.array([[100 * results[name(p, method, 4, seed)].arrays[f"mask/{layer}.weight"].mean() for seed in p.seeds]
                             for layer in LAYERS]) for method in SHOWN}
    assert np.array(list(density(p, results, "imp", 4).values())).sum(0) == pytest.approx(own["imp"].sum(0))
    assert density(p, results, "snip", 4)["features.2"] == pytest.approx(own["snip"][2])
    assert greatest_difference(p, results, 4) == pytest.approx(np.abs(own["synthetic"] - own["imp"]).max(0))
    rows = density_table(p, results).rows
    assert len(rows) == 2 * (len(LAYERS) + 1) and rows[1][0] == "level 4, features.2 (300 weights)"


def test_overlap_and_chance_against_counting_and_drawing() -> None:
    p, results = made(ONE)
    found, rng = likeness(p, results, "synthetic", "imp", 4), np.random.default_rng(1)
    first, second = (masks(results[name(p, method, 4, 1)]) for method in ("synthetic", "imp"))

    def measured(first: dict, second: dict) -> tuple[float, float]:
        a, b = (np.concatenate([mask[layer].ravel() for layer in LAYERS]) for mask in (first, second))
        return 100 * (a & b).sum() / (a | b).sum(), 100 * (a != b).mean()

    assert (found.jaccard[1], found.hamming[1]) == pytest.approx(measured(first, second))
    drawn = np.array([measured(first, {layer: rng.permutation(mask.ravel()) for layer, mask in second.items()})
                      for _ in range(4000)])
    assert (found.chance_jaccard[1], found.chance_hamming[1]) == pytest.approx(drawn.mean(0), abs=0.3)
    assert found.z[1] == pytest.approx((found.jaccard[1] - drawn[:, 0].mean()) / drawn[:, 0].std(), rel=0.1)
    assert found.above_chance == pytest.approx(found.jaccard - found.chance_jaccard) and (found.above_chance > 20).all()
    assert abs(likeness(p, results, "imp", "magnitude", 4).above_chance).max() < 8  # made independent of each other


def test_second_searches_are_compared_where_they_went() -> None:
    p, results = made(ONE)
    assert [(one.first, one.second) for one in likenesses(p, results) if one.level == 9] == [
        ("synthetic", "imp"), ("synthetic", "magnitude"), ("imp", "magnitude")]
    assert ("imp", "imp again") in {(one.first, one.second) for one in likenesses(p, results) if one.level == 4}
    none, results = made(ONE | {"second_level": 0})
    assert not any("again" in key for key in results) and "second search" not in overlap_table(none, results).caption


def test_costs_follow_from_the_settings() -> None:
    """Laptop: 10,000 real images and 60 epochs, 100 synthetic ones and 1,000 epochs, batches of 64, four rounds."""
    p, results = made(ONE, flops=7)
    imp, synthetic = (cost(p, results, method, 4) for method in ("imp", "synthetic"))
    assert (imp.steps, imp.visits, imp.training_points) == (4 * 60 * 157, 4 * 60 * 10_000, 4 * 60 * 10_000)
    assert (synthetic.steps, synthetic.visits) == (4 * 1000 * 2, 4 * 1000 * 100) and synthetic.flops == 7 * 400_000
    decoded = parameters(Parameters, "09_discussion", {"profile": "demo"})
    results |= {first_round(decoded): results[first_round(p)]}
    assert cost(decoded, results, "synthetic", 1).visits == 4 * cost(decoded, results, "synthetic", 1).training_points == 40 * 200
    assert cost(p, results, "snip", 4).visits == 100 and cost(p, results, "magnitude", 9).flops == 0
    assert math.isnan(cost(p, made(ONE)[1], "imp", 4).flops)


def test_energy_is_summed_over_a_search_or_not_measured(home: object) -> None:
    p, store = parameters(Parameters, "09_discussion", ONE | {"synthetic": "distilled", "distillation_steps": 1}), Store()
    wanted = specs.closure([subnetwork(p, "synthetic", seed, 2) for seed in p.seeds])
    for entry in wanted:
        # The synthetic set's own energy is no search's; one training of initialisation 2 was not measured.
        joules = {specs.Distilled: 1e6, specs.Trained: 100.0 + 10 * getattr(getattr(entry, "subnetwork", None), "level", 0),
                  specs.Subnetwork: 1.0}[type(entry)]
        lost = isinstance(entry, specs.Trained) and (entry.subnetwork.init_seed, entry.subnetwork.level) == (2, 1)
        with store.lock(entry):
            store.put(entry, {"x": np.zeros(1)}, {}, {"joules": None if lost else joules})
    assert energy(p, store, "synthetic", 2)[:2] == pytest.approx([100 + 110 + 2] * 2)
    assert np.isnan(energy(p, store, "synthetic", 2)[2]) and np.isnan(energy(p, store, "synthetic", 3)).all()
    assert np.isnan(energy(p, store, "imp", 1)).all()  # not in this store


def test_tables_and_figure_say_what_was_and_was_not_counted(home: object) -> None:
    p, results = made(ONE)
    rows = {row[0]: row[1:] for row in cost_table(p, results, Store()).rows}
    imp = [cell.replace("\N{NARROW NO-BREAK SPACE}", ",") for cell in rows["IMP, level 4"]]
    assert imp == ["37,680", "2,400,000", "2,400,000", "not counted", "not measured"]
    assert rows["IMP over synthetic, level 4"][:3] == ("4.71\N{MULTIPLICATION SIGN}", *["6\N{MULTIPLICATION SIGN}"] * 2)
    counted = {row[0]: row[4] for row in cost_table(*made(ONE, flops=10**6), Store()).rows}
    assert (counted["IMP, level 4"], counted["magnitude at init, level 4"]) == ("2.4", "0")
    shown = where(p, results)
    assert len(shown.panels) == 3 and shown._repr_html_().count("<img") == 6
    found = likeness(p, results, "synthetic", "imp", 4)
    assert f"synthetic and IMP, level 4: {found.jaccard.mean():.1f}, by chance" in shown.panels[-1].alt
    assert "Distance between the synthetic mask's percentage and IMP's, in points. Highest: " in shown.panels[0].alt
    assert len(shown.rows) == 1 + 2 * len(SHOWN) * 4 * 3 + 2 * 3 * (5 + 3)
    assert len(overlap_table(p, results).rows) == 5 + 3


def test_measures_are_those_the_ledger_asks_for() -> None:
    p, results = made(ONE)
    found = measures(p, results)
    asked_for = yaml.safe_load((ROOT / "book" / "claims.yml").read_text())["measures"]["09_discussion"]
    assert {key: measure.unit for key, measure in found.items()} == {key: how["unit"] for key, how in asked_for.items()}
    for measure in found.values():
        assert measure.intervals.keys() == {"convnet3-cifar10, level 4", "convnet3-cifar10, level 9"}
        assert measure.initialisations == 3 and all(interval.n == 3 for interval in measure.intervals.values())
    overlap = found["overlap_above_chance"].intervals["convnet3-cifar10, level 9"]
    assert overlap.mean == pytest.approx(likeness(p, results, "synthetic", "imp", 9).above_chance.mean())
    assert measures(p, {})["overlap_above_chance"].intervals == {}


def test_the_exercise_knows_the_right_the_wrong_and_no_answer() -> None:
    p, results = made(ONE)
    layer, counts = largest_layer(p, results)
    a, b = counts.first / counts.size, counts.second / counts.size
    assert layer == "features.2"
    assert check_chance(100 * a * b / (a + b - a * b), p, results).startswith("Right: chance alone gives")
    assert check_chance(100 * a * b, p, results).startswith("Nearly")
    assert check_chance(a * b / (a + b - a * b), p, results).startswith("In percent")
    assert check_chance(90, p, results).startswith("Not yet") and check_chance(float("nan"), p, results).startswith("Not yet")
    for nothing in (None, "much", [1, 2], {}):
        assert check_chance(nothing, p, results).startswith("Give one number")
    assert "no answer here" in check_chance(7, p, {})
