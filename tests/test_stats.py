"""Intervals cover what they say, and verdicts follow from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from synthprune import stats
from synthprune.stats import LEVEL, Interval, Measure, band, direction, interval, p_above, p_between, ratio, stability, untold


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
    assert stability(interval(np.array([0.1])), True, 1) == "no verdict (1 initialisation)"
    assert stability(Interval(0.5, 0.1, 0.9, 5), False, 5) == "demo data decide nothing"


def test_survivors_do_not_speak_for_those_left_out() -> None:
    values = np.array([0.1, np.nan, 0.2, 0.15])
    assert stability(interval(values), True, 4) == "no verdict (3 of 4 initialisations)"
    assert stability(interval(values), True, 3) == "stable"


@pytest.mark.parametrize(("values", "verdict"), [
    ([1.0, 1.1, 1.2], "higher"), ([-1.0, -1.1, -1.2], "lower"), ([-1.0, 1.0, 0.1], "cannot be told")])
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


def test_a_p_is_that_of_students_test() -> None:
    values = np.array([1.0, 2.0, 4.0, 4.5])
    for line in (0.5, 2.875, 4.0):
        greater = scipy_stats.ttest_1samp(values, line, alternative="greater").pvalue
        assert p_above(interval(values), line) == pytest.approx(greater, rel=1e-9)
        less = scipy_stats.ttest_1samp(values, line, alternative="less").pvalue
        assert p_between(interval(values), -np.inf, line) == pytest.approx(less, rel=1e-9)
    # By hand: n = 3, mean 5, s = 1, line 3: t = 2 sqrt 3 = 3.4641, and with 2 degrees of freedom p = (1 - t / sqrt(t^2 + 2)) / 2.
    assert p_above(interval(np.array([4.0, 5.0, 6.0])), 3) == pytest.approx((1 - np.sqrt(12 / 14)) / 2)


def test_a_p_reaches_the_level_where_the_whole_interval_does() -> None:
    of = interval(np.array([1.0, 2.0, 4.0, 4.5]))
    assert p_above(of, of.low) == pytest.approx(LEVEL) and p_between(of, -np.inf, of.high) == pytest.approx(LEVEL)
    assert p_between(of, of.low - 1e-6, of.high + 1e-6) < LEVEL < p_between(of, of.low + 1e-6, of.high + 1)


def test_a_p_without_spread_or_interval_is_none_or_one() -> None:
    same = interval(np.array([2.0, 2.0, 2.0]))
    assert (p_above(same, 1), p_above(same, 2), p_above(same, 3)) == (0, 1, 1)
    assert (p_between(same, 1, 3), p_between(same, 3, 4)) == (0, 1)
    assert p_above(interval(np.array([2.0])), 0) == 1 and p_above(interval(np.array([])), 0) == 1


def test_holm_steps_down() -> None:
    # By hand: 4 x .01, 3 x .02, 2 x .03 = .06, then .04 raised to the greatest before it.
    assert stats.holm([0.02, 0.01, 0.04, 0.03]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm([0.5, 0.9]) == [1.0, 1.0] and stats.holm([0.03]) == [0.03] and stats.holm([]) == []


def test_a_measure_may_plan_fewer_initialisations_at_a_label() -> None:
    three = interval(np.array([1.0, 2.0, 3.0]))
    of = Measure({"a": three, "b": three.out_of(3)}, "points", 5)
    assert (of.untold("a"), of.untold("b")) == ("3 of 5 initialisations", "")
