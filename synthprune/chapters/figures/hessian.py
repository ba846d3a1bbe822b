"""Chapter 06's pictures: the distributions of the paper's appendix, and its table of section 4.2 beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas

from synthprune.chapters.figures import LABELS, Figure, Panel, Play, Style, Table
from synthprune.chapters.figures.words import absences, extremes, interval_words, level_words, minus, setting, sparsity, titled
from synthprune.chapters.hessian import (
    COLUMNS,
    PAPER_TABLE,
    Distribution,
    Network,
    Parameters,
    Weights,
    distribution,
    measured,
    networks,
    scatter,
    second_opinions,
    table,
)
from synthprune.chapters.paths import left_out
from synthprune.results.store import Result

SIZE = (3.6, 3.7)
HEADER = ("smallest", "greatest", "mean", "standard deviation", "mean magnitude")
WIDE = 0.1
"""What an alternative text calls a large entry."""
DASHES = {"dense": "-", "imp": (0, (4, 2)), "synthetic": (0, (1, 1.2))}


def histograms(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """One panel per level: how the diagonal is spread in the dense, the IMP and the synthetic network."""
    p, known = measured(p, results)
    found = {network: distribution(p, results, network) for network in known}
    shown = {level: [found[network] for network in found if network.level in (0, level) and found[network]] for level in p.levels}
    panels = [Panel(lambda style, level=level: _histogram(style, level, shown[level]), _alt(level, shown[level]))
              for level in p.levels if shown[level]]
    lines = f"Thick: mean over {len(p.seeds)} initialisations; thin: each of them." if len(p.seeds) > 1 else "One initialisation."
    caption = (f"{setting(p)} Exact Hessian diagonals of the training loss after training, surviving prunable weights of all"
               f" layers, {p.hessian_batches} × {p.hessian_batch} images.{_bins(found)} {lines} {level_words(p.levels)}"
               f"{_left_out(p, results)}")
    finest = next((each.edges[each.edges > 0][0] for each in found.values() if each), 1.0)
    return Figure(panels, caption, _rows(found), "06_hessian_distributions",
                  Play("from", "diagonal entry of the Hessian", {"share": "share of survivors per bin"}, "method",
                       {"level": "level"}, "network", always=("dense",), scale=f"symlog:{finest:g}", logy=True))


def paper_table(p: Parameters, results: Mapping[str, Result], weights: Weights) -> Table:
    """The paper's five rows beside ours."""
    p, _ = measured(p, results)
    ours = table(p, results, weights)
    rows: list[Sequence[str]] = []
    for method in ("dense", "imp", "synthetic"):
        rows += [(title(network), *map(_number, columns.values())) for network, columns in ours.items()
                 if network.method == method]
        rows += [(f"the paper: {LABELS[method]}, {pruned} pruned",
                  *(minus(value, 3 if column in ("min", "max") else 4) for column, value in zip(COLUMNS, values, strict=True)))
                 for (of, pruned), values in PAPER_TABLE.items() if of == method]
    over = "surviving weights" if weights == "survivors" else "all prunable weights, the pruned counted as zeros"
    return Table(f"Diagonal of the Hessian over {over}, batches averaged: {interval_words(p)}", ("network", *HEADER), rows,
                 "The paper's rows are ConvNet-3 on CIFAR-10; by the authors' code of width 128, one network each, one batch of"
                 " 64 images. It does not say whether pruned weights are counted.")


def scatter_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """How far one batch, or one initialisation, may speak for all."""
    rows = [(title(network), *map(_percent, shares)) for network, shares in scatter(p, results).items()]
    return Table("How much the diagonal's standard deviation scatters (standard deviation over mean)",
                 ("network", "among batches of one network", "among initialisations, batches averaged"), rows)


def opinion_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Largest eigenvalue, and the trace by another algorithm beside the sum of the exact diagonal."""
    p, _ = measured(p, results)
    rows = [(title(of.network), _number(of.eigenvalue), _number(of.sum), _number(of.trace),
             minus(of.error, _digits(of.error)) if np.isfinite(of.error) else "not measured",
             f"{of.inside} of {of.checks}") for of in second_opinions(p, results)]
    return Table(f"A second opinion on the same Hessians, batches averaged: {interval_words(p)}",
                 ("network", "largest eigenvalue", "sum of the exact diagonal", "trace, estimated",
                  "standard error of one estimate", "estimates whose 95\N{NO-BREAK SPACE}% interval holds the sum"), rows,
                 "Of right estimates, one in twenty has an interval that misses the sum.")


def title(network: Network) -> str:
    return titled(network.method, network.level)


def _number(of: object) -> str:
    """An interval with as many digits as its mean needs."""
    return of.text(_digits(of.mean))


def _digits(value: float) -> int:
    """Decimals that show three significant digits, four at least for the paper's own numbers to compare with."""
    return 4 if not np.isfinite(value) or value == 0 else int(np.clip(2 - np.floor(np.log10(abs(value))), 1, 8))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "needs two"


def _left_out(p: Parameters, results: Mapping[str, Result]) -> str:
    _, known = measured(p, results)
    absent = [title(network) for network in networks(p) if network not in known]
    return absences(not_run=absent, left_out=left_out(results))


def _bins(found: Mapping[Network, Distribution | None]) -> str:
    """How the axis is divided, in words."""
    edges = next((each.edges for each in found.values() if each), None)
    if edges is None:
        return " Nothing to draw: every network collapsed or diverged." if found else " Nothing was run."
    per_decade = round(1 / np.log10(edges[-1] / edges[-2]))
    return (f" Both axes are logarithmic, the horizontal one to either side of zero: {per_decade} bins per decade,"
            f" and one bin for all within 10<sup>{minus(np.log10(edges[edges > 0][0]), 0)}</sup> of zero.")


def _histogram(style: Style, level: int, shown: Sequence[Distribution]) -> Canvas:
    axes = Canvas(figsize=SIZE).add_axes((0.18, 0.3, 0.78, 0.62))
    for each in shown:
        colour, dash = style.colour(each.network.method), DASHES[each.network.method]
        for share in each.share if len(each.share) > 1 else ():
            axes.stairs(_gaps(share), each.edges, baseline=None, color=colour, linewidth=0.6, alpha=0.45)
        axes.stairs(_gaps(each.share.mean(0)), each.edges, baseline=None, color=colour, linestyle=dash, linewidth=1.6,
                    label=LABELS[each.network.method])
    inner = shown[0].edges[shown[0].edges > 0][0]
    used = np.flatnonzero(np.any([each.share.any(0) for each in shown], axis=0))
    reach = np.abs(shown[0].edges[[used[0], used[-1] + 1]]).max()
    axes.set_xscale("symlog", linthresh=inner, linscale=0.5)
    axes.set_yscale("log")
    powers = [10.0**power for power in range(-5, 3, 2) if inner < 10.0**power <= reach]
    axes.set_xticks([*(-power for power in reversed(powers)), 0, *powers])
    axes.minorticks_off()
    axes.tick_params(axis="x", labelsize=8)
    axes.set(xlim=(-reach, reach), title=f"level {level} ({sparsity(level)} pruned)", xlabel="diagonal entry of the Hessian",
             ylabel="share of survivors per bin")
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=3, columnspacing=1)
    return axes.figure


def _gaps(share: np.ndarray) -> np.ndarray:
    """Empty bins have no place on a logarithmic axis."""
    return np.where(share > 0, share, np.nan)


def _alt(level: int, shown: Sequence[Distribution]) -> str:
    said, beyond = [], {}
    for each in shown:
        share, middle = each.share.mean(0), np.searchsorted(each.edges, 0) - 1
        wide = share[np.minimum(np.abs(each.edges[:-1]), np.abs(each.edges[1:])) > WIDE - 1e-9].sum()
        beyond[LABELS[each.network.method]] = 100 * wide
        said.append(f"{LABELS[each.network.method]}: {100 * share[:middle].sum():.1f} % of the entries below zero,"
                    f" {100 * share[middle + 1:].sum():.1f} % above, {100 * wide:.2f} % beyond {WIDE:g} in magnitude")
    found = extremes(beyond, 2, f"Percentage of entries beyond {WIDE:g} in magnitude. ")
    return f"Histograms of the Hessian's diagonal at level {level}. {found}{'; '.join(said)}."


def _rows(found: Mapping[Network, Distribution | None]) -> Sequence[tuple]:
    rows: list[tuple] = [("method", "level", "network", "from", "to", "share")]
    for network, each in found.items():
        for number, share in enumerate(each.share if each else ()):
            rows += [(network.method, network.level, number, f"{low:.4g}", f"{high:.4g}", f"{value:.4g}")
                     for low, high, value, used in zip(each.edges[:-1], each.edges[1:], share, each.share.any(0), strict=True)
                     if used]
    return rows
