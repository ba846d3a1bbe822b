"""Chapter 10's arithmetic on hand-made paths: cases, paired differences, what the ledger asks for, pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from synthprune.book.claims import load
from synthprune.chapters.cells import Cell, above_chance, of_cell
from synthprune.chapters.controls import (
    Parameters,
    aligned,
    cell,
    cells,
    check_source,
    measured,
    measures,
    not_run,
    over_dense,
    planned,
    requests,
    training_error,
)
from synthprune.chapters.entries import retrained, search, subnetwork
from synthprune.chapters.figures.controls import alignment, rewinding, source_table, sources
from synthprune.chapters.figures.search_length import question, table, why
from synthprune.chapters.profiles import read_profile
from synthprune.chapters.settings import parameters
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.solve import solve
from synthprune.results.store import Result, Store
from synthprune.stats import untold

CHAPTER = "10_controls"
QUANTITIES = ("train_loss", "train_error", "test_loss", "test_error")

PROFILE = """
<base>
cells:
  dense: {part: sources, method: dense, seeds: [0, 1, 2]}
  synthetic: {part: sources, method: synthetic, levels: [4, 9], seeds: [0, 1, 2, 3, 4]}
  imp: {part: sources, method: imp, seeds: [0, 1, 2]}
  imp-short: {part: sources, method: "imp, steps of synthetic", seeds: [0, 1, 2]}
  magnitude: {part: sources, method: magnitude, seeds: [0, 1, 2]}
  real: {part: sources, method: coreset, levels: [4, 9], seeds: [0, 1, 2]}
  like: {part: sources, method: like synthetic, seeds: [0, 1, 2]}
  weights: {part: rewind, method: imp, rewind: weights, seeds: [0, 1, 2]}
  q20: &q {part: question, method: imp, train_per_class: 500, epochs: 300, search_epochs: 20, seeds: [0, 1, 2]}
  q40: {<<: *q, search_epochs: 40}
  q80: {<<: *q, search_epochs: 80}
  q300: {<<: *q, search_epochs: 300}
  q-dense: {<<: *q, method: dense}
  q-magnitude: {<<: *q, method: magnitude}
  q-synthetic: {<<: *q, method: synthetic, seeds: [0, 1]}
  q-long: {<<: *q, method: "synthetic, steps of imp", search_epochs: 300}
  no-decay: {<<: *q, part: why, search_epochs: 300, search_weight_decay: 0}
  narrow: {part: scale, method: imp, width: 16, seeds: [0]}
"""

HEIGHTS = {"dense": 0.06, "synthetic": 0.01, "like": 0.03, "real": 0.02, "q20": 0.01, "q40": 0.02, "q80": 0.03, "q300": 0.05,
           "no-decay": 0.015, "q-dense": 0.1, "q-long": 0.04, "imp-short": 0.004, "weights": 0.08}
"""How far the training error rises in the middle of a cell's paths; .05 where it is not said."""


@pytest.fixture
def profile(tmp_path: Path) -> str:
    """The laptop's profile with a few cells of our own."""
    base = {name: value for name, value in read_profile("laptop").items() if name not in ("cells", "units")}
    base |= {"train_per_class": 1000, "synthetic": "mtt10@0f71478c0686", "synthetic_factor": 1}
    base["chapters"] = {CHAPTER: {"levels": [4], "orders": [0, 1], "points": 11}}
    (tmp_path / "own.yaml").write_text(PROFILE.replace("<base>", yaml.safe_dump(base)))
    return str(tmp_path / "own.yaml")


def read(profile: str, **given: Any) -> Parameters:
    return parameters(Parameters, CHAPTER, {"profile": profile} | given)


def rise(one: Cell, seed: int) -> float:
    return HEIGHTS.get(one.name, 0.05) + 0.001 * seed


def path(height: float, points: int, name: str) -> Result:
    """A path at .1 whose middle is `height` higher in training, half as much in testing."""
    middle = np.zeros(points)
    middle[points // 2] = height
    curves = {quantity: 0.1 + middle * (0.5 if quantity.startswith("test") else 1) for quantity in QUANTITIES}
    return Result(name, curves, {"collapsed": [], "diverged": False, "train_images": 5_000}, {})


def mask(share: float) -> np.ndarray:
    """A mask of 100 weights that keeps 40, that `share` of them among the first 40."""
    kept = np.zeros(100, bool)
    kept[:round(40 * share)] = kept[40:80 - round(40 * share)] = True
    return kept


def made(p: Parameters, height: Callable[[Cell, int], float] = rise) -> dict[str, Result]:
    """Everything the chapter asks for, by hand; masks remember 80 % of the largest initial weights."""
    results: dict[str, Result] = {}
    for one in cells(p):
        for level in one.levels:
            for seed in one.seeds:
                results |= {name: path(height(one, seed), p.points, name) for name in one.paths(level, seed)}
                if level and one.part != "sources":
                    results |= {name: Result(name, {"mask/a": mask(1.0 if "largest" in name else 0.8)}, {}, {})
                                for name in one.masks(level, seed)}
    for one, level in aligned(p):
        for seed in one.seeds:
            for name in one.paths(level, seed, aligned=True):
                before = results[name.removesuffix(", aligned")]
                results[name] = Result(name, before.arrays, before.metrics | {"moved": 0.25, "union_density": 0.5}, {})
    assert results.keys() == requests(p).keys()
    return results


def without(results: dict[str, Result], *starts: str) -> dict[str, Result]:
    return {name: result for name, result in results.items() if not name.startswith(starts)}


# What cells ask for.


def test_each_control_changes_what_it_says(profile: str) -> None:
    p = read(profile)
    of = {one.name: next(iter(one.paths(one.levels[0], 1).values())) for one in cells(p)}
    ends = tuple(retrained(p, "imp", 1, 4, order) for order in (0, 1))
    assert of["imp"] == specs.Path(ends=ends, points=p.points)
    assert of["weights"].subnetwork.search.rewind == "weights" and of["narrow"].subnetwork.architecture.width == 16
    assert of["like"].subnetwork.search.of == of["synthetic"].subnetwork.search
    assert of["dense"].subnetwork.level == 0 and of["q-dense"].dataset.train_per_class == 500
    found = requests(p)
    assert found["imp: level 4, initialisation 1, orders 0-1, aligned"] == of["imp"].model_copy(update={"aligned": True})
    assert found["q20: mask of level 4, initialisation 1"] == of["q20"].subnetwork


def test_a_search_has_a_recipe_of_its_own_and_retraining_the_settings(profile: str) -> None:
    p = read(profile)
    short, bare = (next(iter(cell(p, name).paths(4, 0).values())) for name in ("q20", "no-decay"))
    assert short.subnetwork.search.recipe.epochs == 20 and short.ends[0].recipe.epochs == 300
    assert (bare.subnetwork.search.recipe.weight_decay, bare.ends[0].recipe.weight_decay) == (0, 5e-4)
    q = read(profile, search_lr=0.2, search_weight_decay=0.1, weight_decay=0.3)
    for method in ("imp", "synthetic", "coreset"):
        recipe = search(q, method).recipe
        assert (recipe.lr, recipe.weight_decay) == (0.2, 0.1)
    dense = retrained(q, "imp", 0, 0, 0).recipe
    assert (dense.lr, dense.weight_decay) == (q.lr, 0.3)


def test_cells_that_are_the_same_training_share_their_keys(profile: str) -> None:
    found = requests(read(profile, search_epochs=300, epochs=300, train_per_class=500))
    keys = {name: found[f"{name}: level 4, initialisation 1, orders 0-1"].key
            for name in ("imp", "q300", "weights", "q-magnitude")}
    assert keys["imp"] == keys["q300"] and len(set(keys.values())) == 3


def test_matched_steps_are_as_many_as_whole_epochs_allow(profile: str) -> None:
    p = read(profile)  # 10,000 real images and 100 synthetic ones, in batches of 64
    assert search(p, "imp, steps of synthetic").recipe.epochs == 13  # 1,000 x 2 steps, at 157 an epoch
    assert search(p, "synthetic, steps of imp").recipe.epochs == 4710  # 60 x 157 steps, at 2 an epoch
    assert search(cell(p, "q-long"), "synthetic, steps of imp").recipe.epochs == 300 * 79 // 2  # of the search, not of retraining


def test_random_images_and_masks_are_drawn_for_every_initialisation(profile: str) -> None:
    p = read(profile)
    assert [search(p, "coreset", seed).data.seed for seed in (0, 3)] == [0, 3]
    for method in ("random", "like synthetic", "like imp"):
        assert subnetwork(p, method, 0, 4).search != subnetwork(p, method, 1, 4).search
    for method in ("synthetic", "imp", "magnitude", "snip", "synflow"):
        assert subnetwork(p, method, 0, 4).search == subnetwork(p, method, 1, 4).search


def test_what_is_set_by_hand_holds_in_every_cell(profile: str) -> None:
    p = read(profile, seeds=[7], orders=[3, 4], lr=0.3)
    assert {(tuple(one.seeds), tuple(one.orders), one.lr) for one in cells(p)} == {((7,), (3, 4), 0.3)}
    assert [one.name for one in cells(read(profile, cells=["q20", "imp"]))] == ["q20", "imp"]


# What was measured.


def test_measures_are_those_the_ledger_asks_for(profile: str) -> None:
    p = read(profile)
    asked = {name: declared.unit for claim in load() if claim.chapter == CHAPTER for name, declared in claim.declared.items()}
    assert asked.items() <= {name: measure.unit for name, measure in measures(p, made(p)).items()}.items()


def test_measures_are_paired_differences_by_initialisation(profile: str) -> None:
    p = read(profile)
    found, scene = measures(p, made(p)), "convnet3-cifar10, level 4"
    means = {name: {label: round(of.mean, 6) for label, of in one.intervals.items()} for name, one in found.items()}
    assert means["barrier_synthetic_minus_random_real"][f"{scene}, training error"] == -1
    assert means["barrier_synthetic_minus_random_real"]["convnet3-cifar10, level 9, test error"] == -0.5
    assert means["error_barrier_same_densities_minus_synthetic"] == {scene: 2}
    assert means["accuracy_synthetic_minus_random_real"].keys() == {scene, "convnet3-cifar10, level 9"}
    retraining = f"{scene}, 500 images per class, retraining of 300 epochs"
    # Barriers of 1, 2, 3 and 5 points over 20, 40, 80 and 300 epochs.
    x = np.log2([20, 40, 80, 300])
    slope = np.polyfit(x, [1, 2, 3, 5], 1)[0]
    assert means["barrier_per_doubling_of_search"] == pytest.approx(
        {f"{retraining}, training error": slope, f"{retraining}, test error": slope / 2}, abs=1e-5)
    assert means["barrier_longest_minus_shortest_search"] == {f"{retraining}, training error": 4, f"{retraining}, test error": 2}
    equal = means["barrier_real_minus_synthetic"]
    assert equal == {
        f"{scene}, steps of the synthetic search, 1000 images per class, retraining of 60 epochs, training error": -0.6,
        f"{scene}, steps of the synthetic search, 1000 images per class, retraining of 60 epochs, test error": -0.3,
        f"{scene}, steps of IMP, 500 images per class, retraining of 300 epochs, training error": 1,
        f"{scene}, steps of IMP, 500 images per class, retraining of 300 epochs, test error": 0.5}
    long = f"{scene}, search of 300 epochs, retraining of 300 epochs"
    assert means["barrier_without_decay"] == {f"{long}, training error": pytest.approx(1.6)}  # .1 more for each initialisation
    assert means["barrier_decay_minus_without_decay"] == {f"{long}, training error": 3.5, f"{long}, test error": 1.75}
    # Paired: the initialisations differ, their differences do not.
    one = found["barrier_decay_minus_without_decay"].intervals[f"{long}, training error"]
    assert (one.low, one.high) == pytest.approx((3.5, 3.5))


def test_nothing_is_told_before_every_planned_initialisation_is_there(profile: str) -> None:
    p = read(profile)
    whole = made(p)
    label = "convnet3-cifar10, level 4, 500 images per class, retraining of 300 epochs, training error"

    def slope(results: dict[str, Result]) -> tuple[int, str]:
        measure = measures(p, results)["barrier_per_doubling_of_search"]
        return measure.intervals[label].n, untold(measure.intervals[label], measure.asked(label))

    assert slope(whole) == (3, "")
    assert slope(without(whole, "q40: level 4, initialisation 2")) == (2, "2 of 3 initialisations")
    # The ends alone would tell a difference: it is an initialisation's own only where the lengths between were run too.
    ends = measures(p, without(whole, "q40: level 4, initialisation 2"))["barrier_longest_minus_shortest_search"]
    assert ends.intervals[label].n == 2
    assert "barrier_per_doubling_of_search" not in measures(p, without(whole, "q40: "))
    # Five synthetic initialisations are planned, three of random real images: three pairs, and they are all.
    measure = measures(p, whole)["barrier_synthetic_minus_random_real"]
    assert {measure.asked(label) for label in measure.intervals} == {3}
    some = measures(p, without(whole, "real: level 9"))["barrier_synthetic_minus_random_real"]
    assert untold(some.intervals["convnet3-cifar10, level 9, test error"], 3) == "0 of 3 initialisations"


def test_a_cell_is_shown_as_soon_as_one_initialisation_is_whole(profile: str) -> None:
    p = read(profile)
    results = without(made(p), "synthetic: level 4, initialisation 1", "synthetic: level 4, initialisation 3", "q80: ",
                      "q20: level 4, initialisation 0")
    one = measured(p, results)["synthetic", 4]
    assert one.done == (0, 2, 4) and np.isnan(one.error[[1, 3]]).all() and np.isfinite(one.error[[0, 2, 4]]).all()
    assert not_run(p, results) == ["q80"] and ("q80", 4) not in measured(p, results)
    assert "Complete so far: 8 of 9 rows" in sources(p, results).caption
    caption = question(p, results).caption
    assert "Complete so far: 6 of 7 rows" in caption and "Not run yet: 1 of 8; " in caption
    rows = table(p, results, "question").rows
    assert [row[-1] for row in rows[:4]] == ["2 of 3", "3 of 3", "not run yet (3)", "3 of 3"]
    assert {row[0]: row[-1] for row in source_table(p, results).rows}["dense"] == "3 of 3"


def test_where_nothing_is_there_nothing_is_claimed(profile: str) -> None:
    p = read(profile)
    assert measures(p, {}) == {} and check_source("noise", p, {}) == "No control was measured here."
    assert not_run(p, {}) == p.cells and np.isnan(training_error(p, {}, "imp"))
    for shown in (sources, question, why):
        page = shown(p, {})._repr_html_()
        assert "Not run yet: " in page and "<img" not in page, "empty axes say nothing"
    assert {row[-1] for row in table(p, {}, "scale").rows} == {"not run yet (1)"}
    assert source_table(p, {}).rows == [] and alignment(p, {}).rows[0][1] == "not measured" == rewinding(p, {}).rows[0][3]


def test_a_diverged_training_is_named_and_left_out(profile: str) -> None:
    p = read(profile)
    results, lost = made(p), "real: level 4, initialisation 1, orders 0-1"
    results[lost] = Result(lost, results[lost].arrays, results[lost].metrics | {"diverged": True}, {})
    one = measured(p, results)["real", 4]
    assert np.isnan(one.error[1]) and one.left_out == ("real, level 4, initialisation 1: the training diverged",)
    found = measures(p, results)["accuracy_synthetic_minus_random_real"]
    assert untold(found.intervals["convnet3-cifar10, level 4"], 3) == "2 of 3 initialisations"
    assert "Left out: real, level 4, initialisation 1: the training diverged." in sources(p, results).caption


def test_what_is_read_of_a_cell(profile: str) -> None:
    p = read(profile)
    results = made(p)
    of = planned(p, results)
    one = of["q40", 4]
    assert one.error == pytest.approx([2, 2.1, 2.2]) and one.test_error == pytest.approx([1, 1.05, 1.1])
    assert one.loss == pytest.approx([0.02, 0.021, 0.022]) and one.left == pytest.approx([10] * 3)
    assert one.accuracy == pytest.approx([90] * 3) and one.steps == 40 * 79  # 5,000 images in batches of 64
    assert of["q-synthetic", 4].steps == 2000 and np.isnan(of["q-dense", 0].steps)
    ratio = over_dense(list(of.values()), one, "error")
    assert ratio.mean == pytest.approx(np.mean([2 / 10, 2.1 / 10.1, 2.2 / 10.2]))
    assert over_dense(list(of.values()), of["narrow", 4], "error") is None
    # 32 of 48 weights are kept by both; of random masks that keep 40 of 100, some 25 of 100 would be.
    assert above_chance(one, results) == pytest.approx([100 * 32 / 48 - 25.1] * 3, abs=0.2)
    assert np.isnan(above_chance(of["q-dense", 0], results)).all()


# What is shown.


def test_pictures_and_tables_show_the_data(profile: str) -> None:
    p = read(profile)
    results = made(p)
    alt = sources(p, results).panels[1].alt
    assert "random real images, level 9: 2.10" in alt and "SNIP" not in alt and "Highest: " in alt.partition("; ")[0]
    rows = {row[0]: row for row in source_table(p, results).rows}
    assert rows["random real images, level 4 (59.0\N{NO-BREAK SPACE}%)"][6].startswith("1.00 [1.00")
    aligned_rows = {row[0]: row for row in alignment(p, results).rows}
    assert aligned_rows["IMP, level 4"][4:7] == ("25.0 [25.0,\N{NO-BREAK SPACE}25.0]", "41.0",
                                                 "50.0 [50.0,\N{NO-BREAK SPACE}50.0]")
    assert rewinding(p, results).rows[0][0] == "IMP, weights alone rewound, level 4"
    assert rewinding(p, results).rows[0][5].startswith("3.00 [3.00")
    figure = question(p, results)
    assert len(figure.panels) == 2 and figure._repr_html_().count("<img") == 4
    assert ("IMP, retrained 300 epochs: from 1.10 after a search of 1,580 steps to 5.10 after 23,700"
            in figure.panels[0].alt)
    assert "epochs, over lengths of search. Highest: " in figure.panels[0].alt
    assert "dense, trained 300 epochs: 10.10" in figure.panels[0].alt and "Over 2 and 3 initialisations." in figure.caption
    assert len(figure.rows) == 1 + 3 * 7 + 2
    mechanism = why(p, results)
    assert "IMP, search of 300, decay 0, retrained 300 epochs: 1.60 points at 41.5 %" in mechanism.panels[0].alt
    by_search = {row[2]: row for row in table(p, results, "why").rows}
    assert by_search["300"][5] == "0" and by_search["300"][9].startswith("0.16")


def test_a_cell_to_try_and_an_exercise(profile: str) -> None:
    p = read(profile)
    results = made(p)
    assert training_error(p, results, "real") == pytest.approx(10)
    with pytest.raises(Problem, match="unknown cell 'rael': did you mean 'real'"):
        training_error(p, results, "rael")
    assert check_source("coreset", p, results).startswith("Not quite: coreset rises by 2.10 points")
    assert check_source("imp, steps of synthetic", p, results).startswith("Yes: imp, steps of synthetic rises by 0.50 points")
    assert check_source(None, p, results).startswith("Name one of the controls: ")
    assert check_source("synthetic", p, results).startswith("Name one of the controls: ")


# What is refused.


@pytest.mark.parametrize(("given", "said"), [
    ({"cells": ["sythetic"]}, "cells names 'sythetic', which profile .* does not have: did you mean 'synthetic'"),
    ({"cells": ["imp", "imp"]}, "must be distinct"), ({"cells": []}, "cells names none of profile"),
    ({"levels": [0, 4]}, "levels go from 1 to 30"), ({"points": 4}, "must be odd"),
    ({"rewind": "20"}, "cell 'q20': parameters: rewind=20 is not before the last epoch"),
    ({"rewind": "3", "search_epochs": 3}, "rewind=3 is not before the last epoch"), ({"search_lr": -1}, "search_lr = -1")])
def test_nonsense_is_refused_in_words(profile: str, given: dict, said: str) -> None:
    with pytest.raises(Problem, match=said) as problem:
        read(profile, **given)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(("wrong", "said"), [
    ("{part: sources, method: imp, epoch: 3}", "unknown key 'epoch' in cells wrong: did you mean 'epochs'"),
    ("{part: sources, method: magnitud}", "method: 'magnitud' in cells wrong: did you mean 'magnitude'"),
    ("{part: source, method: imp}", "part: 'source' in cells wrong: did you mean 'sources'"),
    ("{part: sources}", "method: '' in cells wrong: known: "), ("{part: sources, method: imp, scene: x}", "unknown key 'scene'"),
    ("{part: sources, method: imp, levels: [0]}", "cell 'wrong': .*levels go from 1 to 30"),
    ("{part: sources, method: imp, lr: fast}", "cell 'wrong': lr = 'fast'")])
def test_a_bad_cell_is_refused_in_words(profile: str, wrong: str, said: str) -> None:
    with Path(profile).open("a") as file:
        file.write(f"  wrong: {wrong}\n")
    with pytest.raises(Problem, match=said) as problem:
        read(profile)
    assert "\n" not in str(problem.value)


@pytest.mark.slow
def test_the_demo_computes_its_cells(home: Path) -> None:
    """With little of everything: each cell's training runs, and its results are read back."""
    p = parameters(Parameters, CHAPTER, {
        "epochs": 2, "synthetic_epochs": 2, "train_per_class": 10, "test_per_class": 5, "width": 4, "synthetic_per_class": 2,
        "distillation_steps": 1, "levels": [1], "seeds": [0], "points": 3, "search_epochs": 1})
    results = solve(requests(p), Store(), workers=1)
    assert not_run(p, results) == [] and results.keys() == requests(p).keys()
    one = of_cell(cell(p, "search-20-no-decay"), 1, results)
    assert np.isfinite(above_chance(one, results)).all()
    assert "Not run yet" not in question(p, results).caption + why(p, results).caption + sources(p, results).caption


def test_a_cell_without_a_counterpart_is_compared_with_nothing() -> None:
    """A rewind to epoch 10 lies beyond a search of nine: such a search was not asked for, and nothing of it is told."""
    p = parameters(Parameters, "10_controls", {"profile": "laptop", "rewind": 10, "cells": ["dense", "synthetic", "imp"]})
    one = next(one for one in cells(p, "sources") if one.method == "synthetic")
    assert one.like(4, method="imp, steps of synthetic") == () != one.like(4, method="imp")
    assert measures(p, made(p)) == {}
