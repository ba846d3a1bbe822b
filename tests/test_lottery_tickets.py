"""Chapter 08 on hand-made evaluations: which subnetwork is a ticket, and whose trainings are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from synthprune.book.claims import load
from synthprune.chapters import entries
from synthprune.chapters.figures.lottery_tickets import level_table, ticket_table, trials
from synthprune.chapters.lottery_tickets import (
    MARGIN,
    TRIALS,
    Parameters,
    accuracies,
    beside_dense,
    check_margin,
    later_than_imp,
    measured,
    measures,
    name,
    requests,
    setting,
    surest_ticket,
    ticket_levels,
    title,
    trial_search,
)
from synthprune.chapters.settings import parameters
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result

CHAPTER, SCENE = "08_lottery_tickets", "resnet10-imagenette"
LAPTOP = {"profile": "laptop", "last_level": 8, "start_level": 4, "seeds": [0, 1, 2]}
LAST = {"k0": 3, "late": 7, "start": 5}
"""The last level at which a hand-made trial reaches the dense network."""


def evaluation(accuracy: float, **metrics: object) -> Result:
    values = {quantity: np.array(1 - accuracy / 100) for quantity in ("train_loss", "train_error", "test_loss", "test_error")}
    return Result("", values, {"collapsed": [], "diverged": False, "train_images": 4000, "test_images": 1000} | metrics, {})


def made(given: dict, accuracy: Callable[[str, int, int], float]) -> tuple[Parameters, dict[str, Result]]:
    """Evaluations whose test accuracy in percent is `accuracy(trial, level, seed)`; the trial is "dense" at level 0."""
    p = parameters(Parameters, CHAPTER, given)
    results = {name(p, trial, level, seed): evaluation(accuracy(trial if level else "dense", level, seed))
               for trial in TRIALS for level in (0, *p.levels) for seed in p.seeds}
    assert results.keys() == requests(p).keys()
    return p, results


def plain(trial: str, level: int, seed: int) -> float:
    """At the dense network's 70 % up to the last level of its trial, then one point lower per level; two points by seed.

    On initialisation 1 a synthetic start lasts one level longer.
    """
    last = 99 if trial == "dense" else LAST[trial] + (trial == "start" and seed == 1)
    return 70 + 2 * seed - max(0, level - last)


def test_the_search_trains_what_is_evaluated() -> None:
    """Every point is the round from which the next level's mask is taken; below the start, masks are the synthetic search's."""
    p = parameters(Parameters, CHAPTER, {})
    asked = requests(p)
    for trial in TRIALS:
        for level in range(p.start_level if trial == "start" else 0, p.last_level):
            mask = specs.Subnetwork(dataset=entries.dataset(p), architecture=entries.architecture(p), init_seed=0,
                                    search=trial_search(p, trial), level=level + 1)
            assert asked[name(p, trial, level, 0)].of == mask.round
    for level in range(1, p.last_level + 1):
        synthetic = entries.subnetwork(p, "synthetic", 0, level)
        assert (asked[name(p, "start", level, 0)].subnetwork == synthetic) == (level <= p.start_level)
        assert asked[name(p, "k0", level, 0)].subnetwork == entries.subnetwork(p, "imp", 0, level)
        assert asked[name(p, "late", level, 0)].of.first_epoch == 3
        assert isinstance(asked[name(p, "start", level, 0)].of.data, specs.Real)
    assert len({asked[name(p, trial, 0, 0)] for trial in TRIALS}) == 1


def test_a_ticket_reaches_the_dense_network_of_its_own_initialisation() -> None:
    p, results = made(LAPTOP, plain)
    assert beside_dense(p, results, "start", 7) == pytest.approx([-2, -1, -2])
    assert [ticket_levels(p, results, trial).tolist() for trial in TRIALS] == [[3, 3, 3], [7, 7, 7], [5, 6, 5]]
    # The line itself is a ticket's; a wider margin reaches further.
    half = {name(p, "k0", 8, seed): evaluation(70 + 2 * seed - MARGIN) for seed in p.seeds}
    assert ticket_levels(p, results | half, "k0").tolist() == [8, 8, 8]
    under = {name(p, "k0", level, 0): evaluation(69.4) for level in p.levels}
    assert ticket_levels(p, results | under, "k0").tolist() == [0, 3, 3]
    assert ticket_levels(p, results, "k0", margin=2.0).tolist() == [5, 5, 5]
    with pytest.raises(Problem, match="level 9 was not measured"):
        accuracies(p, results, "k0", 9)


def test_the_highest_level_counts_and_not_the_first_that_fails() -> None:
    p, results = made(LAPTOP, lambda trial, level, seed: 65.0 if level == 2 else plain(trial, level, seed))
    assert ticket_levels(p, results, "late").tolist() == [7, 7, 7]


def test_a_collapsed_subnetwork_is_no_ticket_and_is_named() -> None:
    p, results = made(LAPTOP, plain)
    results[name(p, "k0", 3, 0)] = evaluation(72.0, collapsed=["conv1"])
    results[name(p, "start", 0, 2)] = evaluation(70.0, diverged=True)
    assert ticket_levels(p, results, "k0").tolist()[:2] == [2, 3] and math.isnan(ticket_levels(p, results, "k0")[2])
    shown = trials(p, results)
    assert "IMP, k = 0, level 3, initialisation 0: layer conv1 has no weight left" in shown.caption
    assert "dense, initialisation 2: the training diverged" in shown.caption
    assert level_table(p, results).rows[2][0].endswith(", 1 left out")
    assert ticket_table(p, results).rows[0][1] == "2, 3 and dense diverged"
    assert measures(p, results)["ticket_level_synthetic_start_minus_k0"].intervals[SCENE].n == 2


def test_measures_are_those_the_ledger_asks_for() -> None:
    p, results = made(LAPTOP, plain)
    found = measures(p, results)
    asked = {name: declared for claim in load() if claim.chapter == CHAPTER for name, declared in claim.declared.items()}
    assert {name: m.unit for name, m in found.items()} == {name: declared.unit for name, declared in asked.items()}
    later = found["ticket_level_synthetic_start_minus_k0"].intervals[SCENE]
    assert (later.mean, later.n) == (pytest.approx(7 / 3), 3)
    beside = found["accuracy_k3_minus_synthetic_start"]
    assert beside.intervals.keys() == {f"{SCENE}, level {level}" for level in (5, 6, 7, 8)} and not beside.note
    assert beside.intervals[f"{SCENE}, level 7"].mean == pytest.approx((2 + 1 + 2) / 3)
    other, results = made(LAPTOP | {"rewind_epoch": 5}, plain)
    assert measures(other, results)["accuracy_k3_minus_synthetic_start"].note == "k = 5, not 3"


def test_a_sure_ticket_has_its_whole_interval_above_the_line() -> None:
    p, results = made(LAPTOP, plain)
    assert [surest_ticket(p, results, trial) for trial in TRIALS] == [3, 7, 5]
    results[name(p, "k0", 3, 0)] = evaluation(71.0)  # one better initialisation makes the interval reach below the line
    assert surest_ticket(p, results, "k0") == 2
    results[name(p, "late", 7, 0)] = evaluation(70.0, diverged=True)  # the others cannot speak for it
    assert surest_ticket(p, results, "late") == 6
    one, results = made(LAPTOP | {"seeds": [0]}, plain)
    assert surest_ticket(one, results, "k0") is None and ticket_table(one, results).rows[0][-1] == "at none"


def test_trials_whose_data_are_absent_are_left_out() -> None:
    p, results = made(LAPTOP, plain)
    here = {key: result for key, result in results.items() if title(p, "start") not in key}
    assert measured(p, here) == (p, ["k0", "late"]) and measures(p, here) == {}
    shown = trials(p, here)
    assert "synthetic start" not in shown.panels[0].alt and len(ticket_table(p, here).rows) == 2
    assert len(level_table(p, here).header) == 5 and "no accuracy" in check_margin(1, p, here)
    assert "nothing was run" in trials(p, {}).panels[0].alt and trials(p, {})._repr_html_().count("<img") == 4


def test_figure_and_tables_show_the_data() -> None:
    p, results = made(LAPTOP, plain)
    shown = trials(p, results)
    assert shown._repr_html_().count("<img") == 4 and "Upright line: level 4" in shown.caption
    assert "dense: 72.0; IMP, k = 0: level 2 72.0, level 4 71.0, level 6 69.0, level 8 67.0" in shown.panels[0].alt
    assert "IMP on a synthetic start: level 2 0.0, level 4 0.0, level 6 −0.7, level 8 −2.7" in shown.panels[1].alt
    rows = list(shown.rows)
    assert len(rows) == 1 + 3 * 8 * 3 and ('"IMP, k = 0"', 5, 1, "70.0000", "-2.0000") in rows
    assert [row[1] for row in ticket_table(p, results).rows] == ["3, 3 and 3", "7, 7 and 7", "5, 6 and 5"]
    assert ticket_table(p, results).rows[2][2].startswith("2.3 ")
    assert "on 1000 test images is 1.4 points" in level_table(p, results).note  # sqrt(.72 * .28 / 1000)


@pytest.mark.parametrize(("given", "words"), [
    ({"rewind": "3"}, "must be full or weights here"), ({"rewind_epoch": 10}, "rewind_epoch=10 is not before the last of 10"),
    ({"start_level": 12}, "start_level=12 leaves IMP no level before last_level=12"),
    ({"last_level": 41}, "less than or equal to 40"),
    ({"start_level": 0}, "greater than or equal to 1")])
def test_nonsense_is_refused_in_words(given: dict, words: str) -> None:
    with pytest.raises(Problem, match=words):
        parameters(Parameters, CHAPTER, given)


def test_the_setting_is_said() -> None:
    words = setting(parameters(Parameters, CHAPTER, {}))
    assert "The synthetic start is the synthetic subnetwork of level 4; k &gt; 0 is k = 3." in words and "decide nothing" in words
    assert "with " not in words.split("</strong>")[0]  # nothing was changed of the profile


def test_the_exercise_knows_right_from_wrong() -> None:
    """At level 8 the synthetic start lies 3, 2 and 3 points below dense."""
    p, results = made(LAPTOP, plain)
    assert check_margin(3, p, results).startswith("Right: with a margin of 3.00 points level 8")
    assert "with 2.00 on at least one" in check_margin(3, p, results)
    for answer, words in ((2.67, "on average"), (2, "on average"), (9, "Not yet"), (None, "Give one number"),
                          ("x", "Give one number"), ([], "Give one number")):
        assert words in check_margin(answer, p, results)
    p, results = made(LAPTOP, lambda trial, level, seed: 70 + level)
    assert check_margin(0, p, results).startswith("Right")
    results[name(p, "start", 8, 1)] = evaluation(70.0, diverged=True)
    assert "no accuracy" in check_margin(0, p, results)


def test_between_two_tickets_at_the_last_level_run_no_difference_is_told() -> None:
    """Where only one stands there the difference is at least as large, and is counted: else the others alone would speak."""
    p, results = made(LAPTOP | {"last_level": 3, "start_level": 2},
                      lambda trial, level, seed: 70 - 9 * (trial == "start" and seed > 0))
    assert later_than_imp(p, results, "start").tolist()[1:] == [-3, -3] and np.isnan(later_than_imp(p, results, "start")[0])
    assert "(2 of 3)" in next(row[2] for row in ticket_table(p, results).rows if "synthetic" in row[0])


def test_nothing_comes_later_than_the_last_level_run() -> None:
    """Where both sparsest tickets stand at the last level, either may have sparser ones: no difference can be told."""
    p, results = made(LAPTOP | {"last_level": 3, "start_level": 2}, plain)
    assert ticket_levels(p, results, "k0").tolist() == [3, 3, 3]
    assert np.isnan(later_than_imp(p, results, "start")).all()
    assert measures(p, results)["ticket_level_synthetic_start_minus_k0"].intervals[SCENE].n == 0
    table = ticket_table(p, results)
    assert table.rows[0][1].startswith("3 (last level run), 3 (last") and "sparser tickets" in table.note
