"""Chapter 11 on hand-made sets and evaluations: what is asked for, accuracies, costs, the exercise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synthprune.chapters.entries import retrained
from synthprune.chapters.figures import LIGHT
from synthprune.chapters.figures.make_synthetic_data import contact_sheet, cost_table, worth, worth_table
from synthprune.chapters.make_synthetic_data import (
    END,
    START,
    Parameters,
    accuracies,
    alone,
    break_even,
    check_rounds,
    making_visits,
    mask_cost,
    moved,
    pruned,
    requests,
    seconds,
)
from synthprune.chapters.settings import parameters
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result, Store

GIVEN = {"profile": "laptop", "synthetic": "distilled", "synthetic_per_class": 2, "synthetic_factor": 2, "distillation_steps": 7,
         "synthetic_epochs": 5, "epochs": 3, "level": 4, "order": 0, "seeds": [0, 1, 2]}
ERRORS = {"alone coreset": 0.7, "alone synthetic": 0.6, "dense": 0.3, "coreset": 0.35, "synthetic": 0.32, "imp": 0.28}


def made(**given: object) -> tuple[Parameters, dict[str, Result]]:
    """Evaluations with the errors above, a little more for each initialisation; a set whose class k moves by k percent."""
    p = parameters(Parameters, "11_make_synthetic_data", GIVEN | given)
    labels = np.repeat(np.arange(10), p.synthetic_per_class)
    before = np.full((len(labels), 3, 16, 16), 0.5, np.float32)
    after = before + 0.01 * labels[:, None, None, None]
    results = {name: Result(name, {"images": images, "labels": labels}, {}, {"seconds": 12.0})
               for name, images in ((START, before), (END, after))}
    for seed in p.seeds:
        for key, error in ERRORS.items():
            name = alone(key.split()[1], seed) if " " in key else pruned(key, seed)
            metrics = {"collapsed": [], "diverged": False, "train_images": 10_000}
            results[name] = Result(name, {"test_error": np.array(error + 0.01 * seed)}, metrics, {})
    assert results.keys() == requests(p).keys()
    return p, results


def test_the_set_is_compared_with_its_own_beginning_in_as_many_steps() -> None:
    p, _ = made()
    asked = requests(p)
    assert asked[START] == asked[END].model_copy(update={"steps": 0}) and asked[END].steps == 7
    ours, other = (asked[alone(method, 1)].of for method in ("synthetic", "coreset"))
    assert ours.data == asked[END] and other.data == specs.Coreset(ipc=2, factor=2, seed=asked[START].seed)
    assert (ours.recipe, ours.order_seed, ours.subnetwork) == (other.recipe, other.order_seed, other.subnetwork)
    assert ours in specs.closure([asked[pruned("synthetic", 1)]])  # no training of its own
    assert asked[pruned("dense", 2)].of == retrained(p, "imp", 2, 0, 0)
    assert asked[pruned("imp", 2)].of == retrained(p, "imp", 2, 4, 0)


def test_accuracies_and_differences_are_of_the_same_initialisations() -> None:
    p, results = made()
    assert accuracies(p, results)["alone"]["synthetic"] == pytest.approx([40, 39, 38])
    rows = {row[0]: row[1:] for row in worth_table(p, results).rows}
    gain = "10.0 [10.0,\N{NO-BREAK SPACE}10.0]"
    assert rows["synthetic: trained on this set alone"] == ("39.0 [36.5,\N{NO-BREAK SPACE}41.5]", gain)
    assert rows["random real images: trained on this set alone"][1] == ""
    assert rows["IMP: mask, trained on real data"][1].startswith("7.0 [")


def test_a_diverged_training_is_named_and_left_out() -> None:
    p, results = made()
    name = alone("synthetic", 1)
    results[name] = Result(name, results[name].arrays, results[name].metrics | {"diverged": True}, {})
    assert np.isnan(accuracies(p, results)["alone"]["synthetic"]).tolist() == [False, True, False]
    assert f"{name}: the training diverged" in worth(p, results).caption


def test_what_was_not_run_is_named_and_not_drawn() -> None:
    p, results = made()
    assert "Trained on the set alone: the dense network, on 80 decoded images" in worth(p, results).caption
    real = {name: result for name, result in results.items() if name in {pruned(kind, seed) for kind in ("dense", "imp")
                                                                          for seed in p.seeds}}
    shown = worth(p, real)
    assert len(shown.panels) == 1 and "mask from the set" in shown.panels[0].alt
    assert "Not run: trained on the set alone." in shown.caption and "decoded images" not in shown.caption
    assert contact_sheet(p, real).title == "Not run: the set"
    assert "Not run" not in contact_sheet(p, results).caption


def test_pixels_move_class_by_class() -> None:
    p, results = made()
    assert list(moved(p, results).values()) == pytest.approx(np.arange(10), abs=1e-4)
    assert moved(p, {}) == {}
    sheet = contact_sheet(p, results)
    assert len(sheet.panels) == 2 and "4.5 percent" in sheet.panels[0].alt and "airplane" in sheet.panels[0].alt
    assert sheet.panels[0].svg(LIGHT).count(b"<image") == 10 and sheet.panels[0].svg(LIGHT) != sheet.panels[1].svg(LIGHT)


def test_visits_are_counted_as_the_code_makes_them() -> None:
    p, results = made()
    assert making_visits(p) == 7 * 10 * (32 + 2 * 4)
    assert making_visits(p.model_copy(update={"train_per_class": 20})) == 7 * 10 * (20 + 2 * 4)
    assert mask_cost(p, results, "imp").visits == 4 * 3 * 10_000
    assert mask_cost(p, results, "synthetic").visits == mask_cost(p, results, "coreset").visits == 4 * 5 * 80
    assert mask_cost(p, results, "synthetic").stored_images == 20


def test_seconds_are_those_of_the_search_and_known_only_where_every_training_is(home: Path) -> None:
    p, results = made(seeds=[0])
    store, search = Store(), specs.closure([requests(p)[pruned("synthetic", 0)].of.subnetwork])
    trainings = [entry for entry in search if isinstance(entry, specs.Trained)]
    assert len(trainings) == 4
    for number, entry in enumerate(search):
        if entry in trainings:
            assert np.isnan(seconds(p, store, "synthetic")[0])
        store.put(entry, {"x": np.zeros(1)}, {}, {"seconds": 10.0**number if entry in trainings else 1e9})
    assert seconds(p, store, "synthetic")[0] == sum(10.0**search.index(entry) for entry in trainings)
    rows = {row[0]: row for row in cost_table(p, results, store).rows}
    assert rows["making the set"][-1] == "12.0" and rows["one mask, IMP"][-1] == "not measured"


def test_the_exercise_knows_right_wrong_and_nothing() -> None:
    p, results = made(distillation_steps=200)  # 200 x 10 x 40 images, and a round saves 30,000 less 400 of them
    assert break_even(p, results) == 3
    assert check_rounds(3, p, results).startswith("Right: after 3 rounds")
    assert check_rounds(2, p, results).startswith("Too few") and check_rounds(4, p, results).startswith("Too many")
    assert check_rounds("never", p, results).startswith("Not so")
    assert check_rounds(None, p, results) == check_rounds(True, p, results) == 'Give a whole number of rounds, or "never".'
    assert "no answer here" in check_rounds(3, p, {})
    p, results = made(synthetic_epochs=1000)
    assert break_even(p, results) is None and check_rounds("never", p, results).startswith("Right")
    assert check_rounds(3, p, results).startswith("Compare")


@pytest.mark.parametrize(("given", "said"), [
    ({"synthetic": "coreset"}, "leave it at distilled"), ({"pixels": 8}, "at least 16 pixels"), ({"level": 0}, "level = 0"),
    ({"rewind": "3"}, "rewind=3 is not before the last epoch")])
def test_nonsense_is_refused_in_words(given: dict, said: str) -> None:
    with pytest.raises(Problem, match=said):
        parameters(Parameters, "11_make_synthetic_data", GIVEN | given)
