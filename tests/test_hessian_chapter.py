"""Chapter 06 on hand-made diagonals: the table, both ways of counting, second opinions, the ledger's measures, the exercise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from synthprune.book.claims import load
from synthprune.chapters.figures.hessian import histograms, opinion_table, paper_table, scatter_table
from synthprune.chapters.hessian import (
    COLUMNS,
    PAPER_TABLE,
    Network,
    Parameters,
    check_zeros,
    diagonal_sum,
    distribution,
    measured,
    measures,
    name,
    networks,
    requests,
    scatter,
    second_opinions,
    setting,
    statistic,
    table,
)
from synthprune.chapters.paths import left_out
from synthprune.chapters.settings import parameters
from synthprune.problems import Problem
from synthprune.results.store import Result

LAPTOP = {"profile": "laptop", "seeds": [0, 1, 2], "levels": [4, 9], "hessian_batches": 3}
EDGES = np.concatenate([-np.logspace(2, -6, 65), np.logspace(-6, 2, 65)])
LAYERS = {"features.0.weight": 800, "classifier.weight": 1200}
WIDTH = {"dense": 0.01, "imp": 0.02, "synthetic": 0.005}


def entries(network: Network, seed: int, batch: int) -> dict[str, tuple[np.ndarray, int]]:
    """{layer: (surviving entries, how many were pruned)}: wider for IMP, and for the higher initialisation and batch."""
    rng = np.random.default_rng([seed, batch, network.level, len(network.method)])
    width = WIDTH[network.method] * (1 + 0.1 * seed) * (1 + 0.05 * batch) * (2 if network.level == 9 else 1)
    kept = {layer: round(size * 0.8**network.level) for layer, size in LAYERS.items()}
    return {layer: (width * (rng.standard_normal(count) + 0.2), LAYERS[layer] - count) for layer, count in kept.items()}


def diagonal(network: Network, seed: int, batches: int) -> Result:
    """What compute stores of these entries, by other means: numpy on the whole vector, and an estimate of the trace."""
    rows: dict[str, list] = {}
    for batch in range(batches):
        layers = entries(network, seed, batch)
        kept = np.concatenate([alive for alive, _ in layers.values()])
        zeros = np.zeros(sum(pruned for _, pruned in layers.values()))
        for kind, values in (("survivors", kept), ("all", np.concatenate([kept, zeros]))):
            found = (values.min(), values.max(), values.mean(), values.std(), np.abs(values).mean())
            for column, value in zip(COLUMNS, found, strict=True):
                rows.setdefault(f"{kind}/overall/{column}", []).append(value)
        for layer, (alive, _) in layers.items():
            rows.setdefault(f"histogram/{layer}", []).append(np.histogram(alive, EDGES)[0])
        rows.setdefault("eigenvalue", []).append(100 * WIDTH[network.method] * (1 + 0.1 * seed))
        rows.setdefault("trace", []).append((kept.sum() + 0.5 * (batch - 1), 0.3))
    arrays = {key: np.array(value) for key, value in rows.items()} | {"edges": EDGES}
    return Result("", arrays, {"collapsed": [], "diverged": False, "trace_probes": 10}, {})


def made(given: dict) -> tuple[Parameters, dict[str, Result]]:
    p = parameters(Parameters, "06_hessian", given)
    results = {name(p, network, seed): diagonal(network, seed, p.hessian_batches) for network in networks(p) for seed in p.seeds}
    assert results.keys() == requests(p).keys()
    return p, results


def brute(network: Network, column: str, seeds: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """(initialisations,): a statistic over survivors, batches averaged, from the entries themselves."""
    functions = {"std": np.std, "mean": np.mean, "magnitude": lambda v: np.abs(v).mean(), "span": np.ptp}
    return np.array([np.mean([functions[column](np.concatenate([alive for alive, _ in entries(network, seed, batch).values()]))
                              for batch in range(3)]) for seed in seeds])


def test_measures_are_those_the_ledger_asks_for() -> None:
    p, results = made(LAPTOP)
    found = measures(p, results)
    asked = {name: declared.unit for claim in load() if claim.chapter == p.chapter for name, declared in claim.declared.items()}
    assert {name: measure.unit for name, measure in found.items()} == asked
    assert {measure.initialisations for measure in found.values()} == {3}
    scene, both = "convnet3-cifar10", ("std", "mean magnitude")
    per_level = {f"{scene}, level {level}, {statistic}" for level in (4, 9) for statistic in both}
    assert found["diagonal_synthetic_over_imp"].intervals.keys() == per_level
    assert found["diagonal_synthetic_over_dense"].intervals.keys() == per_level
    assert found["diagonal_imp_low_over_dense"].intervals.keys() == {f"{scene}, {s}" for s in (*both, "mean", "span")}
    assert found["diagonal_high_over_low"].intervals.keys() == {f"{scene}, {m}, {s}" for m in ("imp", "synthetic") for s in both}
    assert found["top_eigenvalue_synthetic_over_imp"].intervals.keys() == {f"{scene}, level {level}" for level in (4, 9)}


def test_ratios_are_paired_by_initialisation_and_batches_averaged_first() -> None:
    p, results = made(LAPTOP)
    found = measures(p, results)
    scene = "convnet3-cifar10"
    for measure, label, above, below, column in (
            ("diagonal_synthetic_over_imp", "level 9, std", Network("synthetic", 9), Network("imp", 9), "std"),
            ("diagonal_synthetic_over_dense", "level 4, mean magnitude", Network("synthetic", 4), Network("dense"), "magnitude"),
            ("diagonal_imp_low_over_dense", "span", Network("imp", 4), Network("dense"), "span"),
            ("diagonal_high_over_low", "imp, std", Network("imp", 9), Network("imp", 4), "std")):
        ratios = brute(above, column) / brute(below, column)
        interval = found[measure].intervals[f"{scene}, {label}"]
        low, high = scipy_stats.t.interval(0.95, 2, ratios.mean(), scipy_stats.sem(ratios))
        assert (interval.mean, interval.low, interval.high) == pytest.approx((ratios.mean(), low, high)), measure
    top = found["top_eigenvalue_synthetic_over_imp"].intervals[f"{scene}, level 4"]
    assert (top.mean, top.low) == pytest.approx((0.25, 0.25))


def test_pruned_weights_count_as_zeros_in_the_second_table_alone() -> None:
    p, results = made(LAPTOP)
    network = Network("imp", 9)
    share = sum(round(size * 0.8**9) for size in LAYERS.values()) / 2000
    for column in ("mean", "magnitude"):
        np.testing.assert_allclose(statistic(p, results, network, column, "all"),
                                   share * statistic(p, results, network, column))
    rows = table(p, results, "survivors")
    assert rows[network]["magnitude"].mean == pytest.approx(brute(network, "magnitude").mean())
    assert list(rows) == [Network("dense"), *(Network(method, level) for method in ("imp", "synthetic") for level in (4, 9))]


def test_scatter_is_that_of_batches_and_of_initialisations() -> None:
    p, results = made(LAPTOP)
    between_batches, between_initialisations = scatter(p, results)[Network("dense")]
    each = np.array([results[name(p, Network("dense"), seed)].arrays["survivors/overall/std"] for seed in p.seeds])
    assert between_batches == pytest.approx(np.mean(each.std(1, ddof=1) / each.mean(1)))
    assert between_initialisations == pytest.approx(each.mean(1).std(ddof=1) / each.mean())
    one, alone = made({"profile": "laptop", "seeds": [0], "levels": [4], "hessian_batches": 1})
    assert scatter_table(one, alone).rows[0] == ("dense", "needs two", "needs two")


def test_the_trace_is_held_against_the_diagonals_sum() -> None:
    """Estimates off by -.5, 0 and .5 with standard error .3: within 2.26 of it; with .2, two of three are not."""
    p, results = made(LAPTOP)
    dense = results[name(p, Network("dense"), 0)]
    whole = [sum(alive.sum() for alive, _ in entries(Network("dense"), 0, batch).values()) for batch in range(3)]
    np.testing.assert_allclose(diagonal_sum(dense), whole)
    opinion = second_opinions(p, results)[0]
    assert (opinion.inside, opinion.checks, opinion.error) == (9, 9, pytest.approx(0.3))
    assert opinion.trace.mean == pytest.approx(opinion.sum.mean)
    dense.arrays["trace"][:, 1] = 0.2
    assert second_opinions(p, results)[0].inside == 7
    assert opinion_table(p, results).rows[0][-1] == "7 of 9"


def test_a_distribution_is_the_share_of_survivors_per_bin() -> None:
    p, results = made(LAPTOP)
    network = Network("synthetic", 4)
    found = distribution(p, results, network)
    values = np.concatenate([alive for batch in range(3) for alive, _ in entries(network, 1, batch).values()])
    np.testing.assert_allclose(found.share[1], np.histogram(values, EDGES)[0] / len(values))
    assert found.share.sum(1) == pytest.approx(1)


def test_a_diverged_training_is_named_and_kept_out() -> None:
    """Its Hessian has no arrays to read."""
    p, results = made(LAPTOP)
    lost = name(p, Network("imp", 4), 1)
    results[lost] = Result("", {}, {"collapsed": [], "diverged": True}, {})
    assert left_out(results) == [f"{lost}: the training diverged"]
    assert measures(p, results)["diagonal_synthetic_over_imp"].intervals["convnet3-cifar10, level 4, std"].n == 2
    std = table(p, results, "survivors")[Network("imp", 4)]["std"]
    assert std.n == 2 and std.mean == pytest.approx(brute(Network("imp", 4), "std", (0, 2)).mean())
    assert next(o for o in second_opinions(p, results) if o.network == Network("imp", 4)).checks == 6
    assert lost in histograms(p, results).caption
    gone = {key: Result("", {}, {"collapsed": [], "diverged": True}, {}) for key in results}
    assert "Nothing to draw" in histograms(p, gone).caption and not histograms(p, gone).panels
    assert opinion_table(p, gone).rows[0][1:] == ("not measured",) * 4 + ("0 of 0",)
    assert scatter_table(p, gone).rows[0][1] == "needs two" and paper_table(p, gone, "all").rows[0][1] == "not measured"


def test_a_network_without_data_is_left_out_and_named() -> None:
    p, results = made(LAPTOP)
    results = {key: result for key, result in results.items() if "synthetic" not in key}
    assert [network.method for network in measured(p, results)[1]] == ["dense", "imp", "imp"]
    found = measures(p, results)
    assert found.keys() == {"diagonal_imp_low_over_dense", "diagonal_high_over_low"}
    assert found["diagonal_high_over_low"].intervals.keys() == {f"convnet3-cifar10, imp, {s}" for s in ("std", "mean magnitude")}
    assert "Not run: synthetic, level 4 (59.0\N{NO-BREAK SPACE}%)" in histograms(p, results).caption


def test_low_and_high_need_both_levels() -> None:
    assert measures(*made(LAPTOP | {"levels": [4]})).keys() & {"diagonal_high_over_low", "diagonal_imp_low_over_dense"} == {
        "diagonal_imp_low_over_dense"}
    assert not measures(*made(LAPTOP | {"levels": [9]})).keys() & {"diagonal_high_over_low", "diagonal_imp_low_over_dense"}


def test_the_papers_rows_stand_beside_ours() -> None:
    p, results = made(LAPTOP)
    rows = {row[0]: row for row in paper_table(p, results, "survivors").rows}
    assert len(rows) == 10 and sum(label.startswith("the paper") for label in rows) == len(PAPER_TABLE)
    assert rows["the paper: IMP, 90 % pruned"][1:] == ("\N{MINUS SIGN}6.323", "6.127", "0.0035", "0.0594", "0.0060")
    assert rows["dense"][4].startswith(f"{brute(Network('dense'), 'std').mean():.4f} [")


def test_figures_show_every_level() -> None:
    p, results = made(LAPTOP)
    shown = histograms(p, results)
    assert len(shown.panels) == 2 and shown._repr_html_().count("<img") == 4
    values = np.concatenate([alive for seed in p.seeds for batch in range(3)
                             for alive, _ in entries(Network("dense"), seed, batch).values()])
    assert f"dense: {100 * (values < -1e-6).mean():.1f} % of the entries below zero" in shown.panels[0].alt
    assert "Percentage of entries beyond 0.1 in magnitude. " in shown.panels[0].alt
    assert "8 bins per decade" in shown.caption and "3 × 64 images" in shown.caption


@pytest.mark.parametrize(("given", "words"), [
    ({"levels": [0]}, "levels go from 1 to 30"), ({"levels": [31]}, "levels go from 1 to 30"), ({"levels": [4, 4]}, "distinct"),
    ({"hessian_batches": 0}, "hessian_batches = 0"), ({"order": -1}, "order = -1")])
def test_nonsense_is_refused_in_words(given: dict, words: str) -> None:
    with pytest.raises(Problem, match=words):
        parameters(Parameters, "06_hessian", LAPTOP | given)


def test_the_dense_network_is_always_there_once() -> None:
    p = parameters(Parameters, "06_hessian", LAPTOP | {"levels": [0, 9, 4]})
    assert p.levels == [4, 9] and len(requests(p)) == 5 * 3 and "pruning levels 4, 9" in setting(p)
    assert len({entry.key for entry in requests(p).values()}) == 15


def test_the_exercise_knows_right_wrong_and_nothing() -> None:
    p, results = made(LAPTOP)
    share = sum(round(size * 0.8**9) for size in LAYERS.values()) / 2000
    assert check_zeros(0.0060 / share, p, results).startswith(f"Right, {0.0060 / share:.4f}")
    assert check_zeros("0.0447", p, results).startswith("Right")
    assert check_zeros(0.0060, p, results).startswith("Not 0.006")
    for nonsense in (None, "much", [0.04], {}):
        assert check_zeros(nonsense, p, results).startswith("Put a number")
    assert check_zeros(float("nan"), p, results).startswith("Not nan")
    assert check_zeros(0.0447, p, {}).startswith("There is no IMP")
