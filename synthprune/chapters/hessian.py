"""Chapter 06: the Hessian's diagonal. Paper section 4.2 (table) and appendix (distributions)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import stdtrit

from synthprune import stats
from synthprune.chapters.answers import judged
from synthprune.chapters.described import described, joined
from synthprune.chapters.entries import retrained
from synthprune.chapters.paths import faults_of, gathered, in_parts
from synthprune.chapters.settings import METHODS, Settings, SparseLevels, field
from synthprune.chapters.stability import LOW
from synthprune.results import specs
from synthprune.results.store import Result
from synthprune.stats import Interval, Measure

Weights = Literal["survivors", "all"]
"""Over the weights that survive pruning, or over all prunable ones, the pruned counted as zeros."""

COLUMNS = ("min", "max", "mean", "std", "magnitude")
"""Smallest and greatest entry, mean, standard deviation and mean magnitude: the columns of the paper's table."""


PAPER_TABLE = {
    ("dense", "0 %"): (-1.847, 1.344, 0.0048, 0.035, 0.0067),
    ("imp", "60 %"): (-3.073, 4.510, 0.0051, 0.0559, 0.0087),
    ("imp", "90 %"): (-6.323, 6.127, 0.0035, 0.0594, 0.0060),
    ("synthetic", "60 %"): (-0.982, 2.093, 0.0047, 0.0286, 0.0061),
    ("synthetic", "90 %"): (-2.338, 1.730, 0.0037, 0.0354, 0.0053)}
"""The COLUMNS of the paper's table in section 4.2, by method and share pruned: ConvNet-3 on CIFAR-10, one network each, one
batch of 64 images."""


class Parameters(Settings):
    chapter: ClassVar[str] = "06_hessian"

    levels: SparseLevels = field("pruning levels to measure beside the dense network (level n keeps 0.8^n of the weights)",
                              min_length=1)
    order: int = field("data order of the training at whose end the Hessian is taken", ge=0)
    hessian_batches: int = field("batches of training images, each with a Hessian of its own", ge=1)
    hessian_batch: int = field("images in such a batch (the authors: 64)", ge=1)


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    return described(p, f" Initialisations {joined(p.seeds)}; pruning levels {joined(p.levels)} and the dense network, after"
                        f" training in order {p.order}; the searches in order {p.search_seed}. Hessians on {p.hessian_batches}"
                        f" batches of {p.hessian_batch} training images, not augmented.", "they show how the measurement works")


@dataclass(frozen=True)
class Network:
    """What a line of the table is of."""

    method: str
    level: int = 0


def networks(p: Parameters) -> list[Network]:
    """The dense network, and each method's at each level: the rows of the paper's table, in its order."""
    return [Network("dense"), *(Network(method, level) for method in reversed(METHODS) for level in p.levels)]


def name(p: Parameters, network: Network, seed: int) -> str:
    """What a Hessian's diagonal is called in this chapter."""
    return f"{p.scene}: {network.method}, level {network.level}, initialisation {seed}"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """The diagonal of every network and initialisation."""
    return {name(p, network, seed): specs.Diagonal(
        of=retrained(p, network.method, seed, network.level, p.order),
        batches=p.hessian_batches, batch=p.hessian_batch) for network in networks(p) for seed in p.seeds}


def measured(p: Parameters, results: Mapping[str, Result]) -> tuple[Parameters, list[Network]]:
    """The initialisations that are here, and the networks that could be measured: those whose data are here."""
    return in_parts(p, networks(p), lambda p, network: [name(p, network, seed) for seed in p.seeds], results)


def batches(p: Parameters, results: Mapping[str, Result], network: Network, array: str) -> np.ndarray:
    """(initialisations, batches): a number that every batch has, as "survivors/overall/std"; NaN where one is faulty."""
    each = [results[name(p, network, seed)] for seed in p.seeds]
    return np.array([np.full(p.hessian_batches, np.nan) if faults_of(result) else result.arrays[array] for result in each])


def statistic(p: Parameters, results: Mapping[str, Result], network: Network, column: str,
              weights: Weights = "survivors") -> np.ndarray:
    """(initialisations,): a column of the table, or "span" (greatest less smallest entry), batches averaged."""
    if column == "span":
        return statistic(p, results, network, "max", weights) - statistic(p, results, network, "min", weights)
    return batches(p, results, network, f"{weights}/overall/{column}").mean(1)


def table(p: Parameters, results: Mapping[str, Result], weights: Weights) -> dict[Network, dict[str, Interval]]:
    """The paper's table from our own networks: each of COLUMNS over initialisations."""
    p, known = measured(p, results)
    return {network: {column: stats.interval(statistic(p, results, network, column, weights)) for column in COLUMNS}
            for network in known}


def scatter(p: Parameters, results: Mapping[str, Result]) -> dict[Network, tuple[float, float]]:
    """How much the column "std" scatters among batches of one network (averaged), and among initialisations: its standard
    deviation over its mean; NaN where there is one."""
    found = {}
    p, known = measured(p, results)
    for network in known:
        each = batches(p, results, network, "survivors/overall/std")
        each = each[np.isfinite(each).all(1)]
        found[network] = (float(np.mean([_scatter(one) for one in each])) if len(each) else np.nan, _scatter(each.mean(1)))
    return found


def _scatter(values: np.ndarray) -> float:
    """The standard deviation of some values over their mean; NaN for fewer than two."""
    return float(values.std(ddof=1) / values.mean()) if len(values) > 1 else np.nan


@dataclass(frozen=True)
class Opinion:
    """What other algorithms say of the same Hessians, over initialisations, batches averaged.

    `eigenvalue`: the largest. `trace`: an estimate of it from random vectors; `sum`: that of the exact diagonal's entries.
    `error`: the standard error of one batch's estimate, the median. `inside` of `checks` estimates lie so near to the sum
    that a right one lies farther off once in 20.
    """

    network: Network
    eigenvalue: Interval
    trace: Interval
    sum: Interval
    error: float
    inside: int
    checks: int


def second_opinions(p: Parameters, results: Mapping[str, Result]) -> list[Opinion]:
    """Largest eigenvalue and trace of every network's Hessian."""
    rows = []
    p, known = measured(p, results)
    for network in known:
        sound = [result for seed in p.seeds if not faults_of(result := results[name(p, network, seed)])]
        estimates = np.array([result.arrays["trace"] for result in sound]).reshape(-1, 2)
        sums = np.array([diagonal_sum(result) for result in sound]).reshape(-1, p.hessian_batches)
        allowed = np.repeat([stdtrit(result.metrics["trace_probes"] - 1, 0.975) for result in sound], p.hessian_batches)
        off = np.abs(estimates[:, 0] - sums.ravel()) / estimates[:, 1]
        rows.append(Opinion(
            network, stats.interval(batches(p, results, network, "eigenvalue").mean(1)),
            stats.interval(estimates[:, 0].reshape(sums.shape).mean(1)), stats.interval(sums.mean(1)),
            float(np.median(estimates[:, 1])) if sound else np.nan, int((off <= allowed).sum()), len(off)))
    return rows


def diagonal_sum(result: Result) -> np.ndarray:
    """(batches,): the sum of the diagonal's entries, from their mean and number."""
    return result.arrays["survivors/overall/mean"] * survivors(result)


def survivors(result: Result) -> int:
    """How many prunable weights a network has left."""
    return sum(int(counts[0].sum()) for array, counts in result.arrays.items() if array.startswith("histogram/"))


@dataclass(frozen=True)
class Distribution:
    """How a network's diagonal is spread: the share of its surviving weights in each bin, (initialisations, bins)."""

    network: Network
    edges: np.ndarray
    share: np.ndarray


def distribution(p: Parameters, results: Mapping[str, Result], network: Network) -> Distribution | None:
    """Layers and batches together; a faulty initialisation is left out, and None is returned where every one is."""
    sound = [result for seed in p.seeds if not faults_of(result := results[name(p, network, seed)])]
    if not sound:
        return None
    counts = np.array([sum(counts.sum(0) for array, counts in result.arrays.items() if array.startswith("histogram/"))
                       for result in sound])
    return Distribution(network, sound[0].arrays["edges"], counts / counts.sum(1, keepdims=True))


STATISTICS = {"mean": "mean", "std": "std", "mean magnitude": "magnitude", "span": "span"}
"""The claim ledger's names of the statistics."""


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter, over surviving weights; see book/claims.yml."""
    return gathered(_measured(p, results), "ratio", len(p.planned))


def _measured(p: Parameters, results: Mapping[str, Result]) -> Iterator[tuple[str, str, Interval]]:
    """(measure, label, interval): each a ratio of two networks of one initialisation, where both were measured."""
    p, known = measured(p, results)
    dense, high = Network("dense"), p.levels[-1]

    def ratios(measure: str, above: Network, below: Network, label: str, named: list[str]) -> Iterator[tuple]:
        if above in known and below in known:
            for one in named:
                yield measure, f"{p.scene}, {label}{one}", stats.ratio(
                    *(statistic(p, results, network, STATISTICS[one]) for network in (above, below)))

    tightness = ["std", "mean magnitude"]
    for level in p.levels:
        synthetic, imp = Network("synthetic", level), Network("imp", level)
        yield from ratios("diagonal_synthetic_over_imp", synthetic, imp, f"level {level}, ", tightness)
        yield from ratios("diagonal_synthetic_over_dense", synthetic, dense, f"level {level}, ", tightness)
        if synthetic in known and imp in known:
            top = [batches(p, results, network, "eigenvalue").mean(1) for network in (synthetic, imp)]
            yield "top_eigenvalue_synthetic_over_imp", f"{p.scene}, level {level}", stats.ratio(*top)
    if LOW in p.levels:
        yield from ratios("diagonal_imp_low_over_dense", Network("imp", LOW), dense, "", list(STATISTICS))
        for method in METHODS if high > LOW else ():
            yield from ratios("diagonal_high_over_low", Network(method, high), Network(method, LOW), f"{method}, ", tightness)


def check_zeros(answer: Any, p: Parameters, results: Mapping[str, Result]) -> str:
    """Judges the exercise: the mean magnitude over survivors of the paper's IMP at 90 %, if it counts pruned weights."""
    level = p.levels[-1]
    network = Network("imp", level)
    p, known = measured(p, results)
    if network not in known:
        return f"There is no IMP subnetwork of level {level} here to compare with."
    over_all, over_survivors = (stats.interval(statistic(p, results, network, "magnitude", weights)).mean
                                for weights in ("all", "survivors"))
    right = PAPER_TABLE["imp", "90 %"][COLUMNS.index("magnitude")] * over_survivors / over_all
    if not np.isfinite(right):
        return f"Every IMP subnetwork of level {level} collapsed or diverged: there is no share of survivors to divide by."
    return judged(answer, ((right, (
        f"Right, {right:.4f}: at level {level} one weight in {over_survivors / over_all:.1f} survives, and the sum is"
        f" theirs alone. In our own networks the two ways of counting give {over_all:.4g} and {over_survivors:.4g}: what falls as"
        " weights are pruned may rise for those that stay.")),), lambda value: 0.03 * value, "Put a number, as answer = 0.01.",
        f"Not {answer}. The pruned weights add nothing to the sum, but they were counted when it was divided. Which share of the"
        f" weights survives at level {level}?")
