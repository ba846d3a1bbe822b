"""Intervals cover what they say, and verdicts follow from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from synthprune import stats
from synthprune.stats import Interval, band, direction, interval, ratio, stability, untold


def test_interval_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 4.5])
    low, high = scipy_stats.t.interval(0.95, 3, values.mean(), scipy_stats.sem(values))
    found = interval(values)
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high)) and found.n == 4


def test_interval_of_three_covers_95_percent_of_simulations() -> None:
    rng = np.random.default_rng(0)
    found = [interval(rng.normal(2, 3, 3)) for _ in range(4000)]
    assert np.mean([i.low <= 2 <= i.high for i in found]) == pytest.approx(0.95, abs=0.012)


def test_one_value_has_no_interval_and_none_is_not_measured() -> None:
    assert interval(np.array([3.0])).text() == "3.00" and not interval(np.array([3.0])).known
    assert interval(np.array([np.nan])).text() == "not measured"
    assert interval(np.array([1.0, np.nan, 3.0])).n == 2
    assert interval(np.array([1.0, 1.0, 1.0])).text() == "1.00 [1.00,\N{NO-BREAK SPACE}1.00]"


@pytest.mark.parametrize(("low", "high", "verdict"), [
    (0.1, 1.9, "stable"), (2.1, 5.0, "unstable"), (1.0, 3.0, "cannot be told"), (-1.0, 2.0, "cannot be told")])
def test_every_verdict_can_be_reached(low: float, high: float, verdict: str) -> None:
    assert stability(Interval((low + high) / 2, low, high, 3), decides=True, initialisations=3) == verdict


def test_one_initialisation_and_demo_data_decide_nothing() -> None:
    assert stability(interval(np.array([0.1])), True, 1) == "cannot be told (1 initialisation)"
    assert stability(Interval(0.5, 0.1, 0.9, 5), False, 5) == "demo data decide nothing"


def test_survivors_do_not_speak_for_those_left_out() -> None:
    values = np.array([0.1, np.nan, 0.2, 0.15])
    assert stability(interval(values), True, 4) == "cannot be told (3 of 4 initialisations)"
    assert stability(interval(values), True, 3) == "stable"


@pytest.mark.parametrize(("values", "verdict"), [
    ([1.0, 1.1, 1.2], "rises more"), ([-1.0, -1.1, -1.2], "rises less"), ([-1.0, 1.0, 0.1], "cannot be told")])
def test_a_paired_difference_has_a_direction_or_none(values: list[float], verdict: str) -> None:
    assert direction(interval(np.array(values)), True, 3) == verdict


def test_bands_are_intervals_point_by_point() -> None:
    curves = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]])
    mean, low, high = band(curves)
    assert mean.tolist() == [3.0, 2.0] and low[0] == interval(curves[:, 0]).low and high[1] == 2.0


def test_a_ratio_is_taken_pair_by_pair() -> None:
    above, below = np.array([6.0, 12.0, 20.0, np.nan]), np.array([3.0, 4.0, 5.0, -40.0])
    assert ratio(above, below) == interval(np.array([2.0, 3.0, 4.0]))
    assert ratio(above[:1], below[:1]).text() == "2.00" and ratio(above[3:], below[3:]).text() == "not measured"
    with pytest.raises(ValueError, match="shape"):
        ratio(above, below[:2])


@pytest.mark.parametrize("below", [[-1.0, 1.0, 3.0], [1.0, 1.0, 10.0], [-1.0, -1.0, -10.0], [0.0]])
def test_a_ratio_is_not_defined_where_its_denominator_may_be_zero(below: list[float]) -> None:
    bottom, found = interval(np.array(below)), ratio(np.ones(len(below)), np.array(below))
    assert not bottom.known or bottom.low <= 0 <= bottom.high
    assert found.text() == "not defined" and found.n == len(below) and not found.known
    assert ratio(np.ones(3), np.array([-2.0, -2.1, -2.2])).high < 0


def test_an_interval_that_may_not_decide_says_why() -> None:
    assert untold(interval(np.array([1.0, 2.0, 3.0])), 3) == ""
    assert untold(interval(np.array([1.0, np.nan, 3.0])), 3) == "2 of 3 initialisations"
    assert untold(interval(np.array([1.0])), 1) == "1 initialisation"
    assert untold(ratio(np.ones(3), np.array([-1.0, 0.5, 1.0])), 3) == "not defined"


def test_a_bar_spans_the_interval_or_of_two_their_range() -> None:
    assert stats.bounds(np.array([1.0, 3.0])) == (1, 3) and stats.bounds(np.array([2.0])) == (2, 2)
    of = stats.interval(np.array([1.0, 2, 6]))
    assert stats.bounds(np.array([1.0, np.nan, 2, 6])) == (of.low, of.high)
