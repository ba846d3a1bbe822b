"""Chapter 05's pictures: the paper's figure 5, as the surfaces it shows and as maps that keep distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from synthprune.chapters.figures import Figure, Panel, Play, Style, Table
from synthprune.chapters.figures.words import absences, count, interval_words, level_words, listed, setting, titled
from synthprune.chapters.loss_landscape import KINDS, Kind, Map, Parameters, maps, measured, pairs, table
from synthprune.chapters.paths import left_out
from synthprune.results.store import Result

SIZE = (3.6, 3.7)
COLOURS = "cividis"
FLOOR = 1e-6
"""The lowest loss, in nats, that the logarithmic scale tells from none."""


def flat(p: Parameters, results: Mapping[str, Result], orders: list[int]) -> Figure:
    """Maps of the loss through or near the networks trained in `orders`: one colour scale, one scale of distance."""
    p, _ = measured(p, results)
    shown = maps(p, results, orders)
    scale = _scale(shown)
    half = max((np.ptp(each.x) / 2 for each in shown.values()), default=1.0)
    panels = [Panel(lambda style, each=each: _flat(each, scale, half, _title(p, each.kind)), _alt(each, _title(p, each.kind)))
              for each in shown.values()]
    bar = f"Colour bar of the maps: training loss from {scale.vmin:.3g} (dark) to {scale.vmax:.3g} nats (bright)."
    panels += [Panel(lambda style: _bar(style, scale), bar, apart=True)] if shown else []
    exact = len(orders) == 3
    which = ("the plane through the three networks; the dashed lines are the straight paths between them" if exact else
             "the plane nearest to the four networks (least squares); crosses and numbers mark their projections")
    caption = (f"{_begin(p)} Loss on {which}. Numbers are data orders. Axes: Euclidean distance between all weights; every map"
               f" has the same scale of distance and of colour (the bar below: logarithmic, nothing cut off), with contour lines"
               f" at the bar's marks.{_errors(shown)} {level_words([p.level])}{_left_out(p, results)}")
    return Figure(panels, caption, _rows(shown), f"05_loss_landscape_{'exact' if exact else 'nearest'}",
                  Play("column", "column of the map, from left to right", {"loss": "training loss (nats)"}, "network",
                       {"row": "cut along row"}, logy=True))


def surfaces(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """The paper's form: the same loss as height over the plane of the four networks."""
    p, _ = measured(p, results)
    shown = maps(p, results, p.orders)
    scale = _scale(shown)
    panels = [Panel(lambda style, each=each: _surface(each, scale, _title(p, each.kind)),
                    f"Surface of the same numbers as a height. {_alt(each, _title(p, each.kind))}") for each in shown.values()]
    caption = (f"{_begin(p)} The maps above as surfaces, in the form of the paper's figure 5. Height and colour both show the"
               f" training loss, on one logarithmic scale; dots mark the networks' projections at the surface's height, also"
               f" where it hides them. Each surface spans its own range of distance: read slopes from the maps, not from here."
               f"{_left_out(p, results)}")
    rows = [("network", "order", "x", "y", "loss_on_map"),
            *((kind, order, *place, loss) for kind, of in shown.items()
              for order, place, loss in zip(of.orders, of.places, of.map_loss, strict=True))]
    return Figure(panels, caption, rows, "05_loss_landscape_surfaces")


def network_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Of each drawn network: its loss, the loss where the map shows it, and how far it lies off the map's plane."""
    shown = maps(p, results, p.orders)
    rows = [(f"{_title(p, each.kind)}, order {order}", f"{each.own_loss[i]:.4f} ± {each.own_deviation[i]:.4f}",
             f"{each.map_loss[i]:.4f}", f"{each.off_plane[i]:.2f}", f"{np.linalg.norm(each.places[i]):.2f}")
            for each in shown.values() for i, order in enumerate(each.orders)]
    held = "; ".join(f"{_title(p, kind)} {100 * each.share:.0f} %" for kind, each in shown.items())
    return Table(f"The four networks of each map (initialisation {p.planned[0]})",
                 ("network", "its loss, nats (± standard error)", "loss where the map shows it", "distance off the plane",
                  "distance on the map from the four's mean"), rows,
                 f"Of the networks' squared distances from their mean, the plane holds: {held}. Of four networks all equally far"
                 f" from each other it would hold {100 * 2 / 3:.0f} %, whichever plane it is.")


def pair_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Of each pair of drawn networks: the true distance, that on the map, and the error barrier between them."""
    shown = maps(p, results, p.orders)
    barriers = {kind: pairs(p, results, kind).error[0] for kind in shown}
    rows = [(f"{p.orders[i]} and {p.orders[j]}",
             *(text for kind, each in shown.items()
               for text in (f"{each.distances[i, j]:.2f} ({each.shown_distances[i, j]:.2f})", f"{barriers[kind][n]:.2f}")))
            for n, (i, j) in enumerate(combinations(range(4), 2)) if shown]
    header = (text for kind in shown for text in (f"{_title(p, kind)}: distance (on the map)",
                                                  f"{_title(p, kind)}: barrier, points"))
    return Table(f"Pairs of networks (initialisation {p.planned[0]}): true distance between all weights, distance on the map of"
                 " the four, training-error barrier", ("orders", *header), rows)


def kind_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """Barriers between the four trainings and their distances, with intervals over initialisations."""
    rows = [(_title(p, kind), worst.text(2), mean.text(2), loss.text(3), distance.text(2),
             "1" if kind == "dense" else over.text(3)) for kind, (worst, mean, loss, distance, over) in table(p, results).items()]
    here, _ = measured(p, results)
    return Table(f"Four trainings of one network, six pairs: {interval_words(here)}",
                 ("network", "training-error barrier, worst pair, points", "mean of the pairs, points",
                  "training-loss barrier, worst pair, nats", "mean distance between all weights", "the same over the dense"),
                 rows)


def _title(p: Parameters, kind: Kind) -> str:
    return titled(kind, 0 if kind == "dense" else p.level, pruned=False)


def _begin(p: Parameters) -> str:
    return f"{setting(p)} Initialisation {p.planned[0]}, {p.side}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{p.side} points."


def _errors(shown: Mapping[Kind, Map]) -> str:
    """How sure a height is, in words."""
    if not shown:
        return ""
    relative = np.concatenate([(each.deviation / each.loss.clip(FLOOR)).ravel() for each in shown.values()])
    relative = 100 * relative[np.isfinite(relative)]
    images = next(iter(shown.values())).images
    lost = sum(int((~np.isfinite(each.loss)).sum()) for each in shown.values())
    blank = f" {count(lost, 'point')} without a finite loss left blank." if lost else ""
    return (f" A point's loss is a mean over {count(images, 'training image')}; its standard error is {np.median(relative):.0f} %"
            f" of it at the median point, {relative.max():.0f} % at the worst. Differences between points are surer, as all see"
            f" the same images.{blank}")


def _left_out(p: Parameters, results: Mapping[str, Result]) -> str:
    absent = [_title(p, kind) for kind in KINDS if kind not in measured(p, results)[1]]
    late = p.planned[0] not in measured(p, results)[0].seeds and not absent
    drawn = [f"initialisation {p.planned[0]}, the one that is drawn"] if late else []
    return absences(not_run=[*absent, *drawn], left_out=left_out(results))


def _scale(shown: Mapping[Kind, Map]) -> LogNorm:
    """One colour scale for several maps, from their lowest to their highest loss."""
    values = np.concatenate([each.loss[np.isfinite(each.loss)] for each in shown.values()] or [np.ones(1)]).clip(FLOOR)
    return LogNorm(values.min(), max(values.max(), 1.01 * values.min()))


def _marks(scale: LogNorm, digits: tuple[float, ...] = (1, 2, 5)) -> list[float]:
    """Round losses within the scale: `digits` times powers of ten."""
    marks = [digit * 10.0**power for power in range(-7, 8) for digit in digits]
    return [mark for mark in marks if scale.vmin <= mark <= scale.vmax]


def _flat(of: Map, scale: LogNorm, half: float, title: str) -> Canvas:
    axes = Canvas(figsize=SIZE).add_axes((0.15, 0.13, 0.8, 0.76))
    step = of.x[1] - of.x[0]
    extent = (of.x[0] - step / 2, of.x[-1] + step / 2, of.y[0] - step / 2, of.y[-1] + step / 2)
    loss = np.ma.masked_invalid(of.loss).clip(FLOOR)
    axes.imshow(loss, origin="lower", extent=extent, cmap=COLOURS, norm=scale, interpolation="nearest")
    axes.contour(of.x, of.y, np.log(loss), np.log(_levels(scale)), colors="white", linewidths=0.7,
                 linestyles="solid", alpha=0.8)
    if len(of.orders) == 3:
        axes.plot(*of.places[[0, 1, 2, 0]].T, color="white", linewidth=1, linestyle=(0, (3, 2)))
    _mark_networks(axes, of)
    middle, reach = ((of.x[0] + of.x[-1]) / 2, (of.y[0] + of.y[-1]) / 2), half + step / 2
    axes.set(title=title, xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach),
             xlabel="distance in weights", ylabel="distance in weights")
    axes.grid(visible=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
    return axes.figure


def _levels(scale: LogNorm) -> list[float]:
    """The marks of the colour bar, at which the maps have their contour lines."""
    return _marks(scale, (1, 2, 5) if scale.vmax > 100 * scale.vmin else (1, 1.5, 2, 3, 5, 7))


def _bar(style: Style, scale: LogNorm) -> Canvas:
    """The colour bar that all maps share."""
    canvas = Canvas(figsize=(5.4, 0.6))
    bar = canvas.colorbar(ScalarMappable(scale, COLOURS), cax=canvas.add_axes((0.03, 0.7, 0.94, 0.25)), orientation="horizontal")
    bar.set_ticks(_levels(scale), labels=[f"{mark:g}" for mark in _levels(scale)], fontsize=8)
    bar.ax.minorticks_off()
    bar.set_label("training loss (nats)")
    return canvas


def _mark_networks(axes: Axes, of: Map) -> None:
    axes.plot(*of.places.T, linestyle="none", marker="X", markersize=8, color="white", markeredgecolor="black")
    for order, place in zip(of.orders, of.places, strict=True):
        axes.annotate(str(order), place, (6, 4), textcoords="offset points", color="black", fontsize=9,
                      bbox={"boxstyle": "round,pad=0.15", "color": "white", "alpha": 0.85})


def _surface(of: Map, scale: LogNorm, title: str) -> Canvas:
    axes = Canvas(figsize=SIZE).add_axes((0, 0.02, 0.88, 0.94), projection="3d", computed_zorder=False)
    x, y = np.meshgrid(of.x, of.y)
    height = np.where(np.isfinite(of.loss), np.log10(of.loss.clip(FLOOR)), np.nan)
    axes.plot_surface(x, y, height, facecolors=colormaps[COLOURS](scale(of.loss)), rcount=100, ccount=100, linewidth=0,
                      antialiased=False, shade=False, rasterized=True)
    axes.plot(*of.places.T, np.log10(of.map_loss.clip(FLOOR)), linestyle="none", marker="o", markersize=6, color="white",
              markeredgecolor="black", zorder=5)
    axes.set(title=title, xlabel="distance in weights", zlim=np.log10([scale.vmin, scale.vmax]))
    axes.set_zticks(np.log10(_marks(scale)), [f"{mark:g}" for mark in _marks(scale)])
    axes.set_zlabel("training loss (nats)", labelpad=4)
    axes.tick_params(labelsize=8, pad=0)
    axes.view_init(elev=32, azim=-58)
    axes.set_box_aspect((1, 1, 0.8), zoom=0.92)
    return axes.figure


def _alt(of: Map, title: str) -> str:
    """How high the loss is over the map, at the networks and between them."""
    finite = of.loss[np.isfinite(of.loss)]
    return (f"Training loss around the networks, {title}: at most {max(of.map_loss):.3f} nats at a mark, at most"
            f" {_midway(of):.3f} midway between two. On the whole map: {finite.min():.3f} to {finite.max():.3f} nats. At the"
            f" marks of orders {listed(of.orders)}: {listed([f'{loss:.3f}' for loss in of.map_loss])} nats. The networks lie"
            f" {listed([f'{distance:.2f}' for distance in of.off_plane])} off the plane.")


def _midway(of: Map) -> float:
    """The highest loss halfway between two marks, at the nearest points of the grid."""
    halfway = [of.places[list(pair)].mean(0) for pair in combinations(range(len(of.orders)), 2)]
    return max(float(of.loss[np.abs(of.y - y).argmin(), np.abs(of.x - x).argmin()]) for x, y in halfway)


def _rows(shown: Mapping[Kind, Map]) -> Sequence[tuple]:
    rows: list[tuple] = [("network", "column", "row", "x", "y", "loss", "standard_error")]
    for kind, of in shown.items():
        rows += [(kind, i, j, f"{x:.4g}", f"{y:.4g}", f"{of.loss[j, i]:.4g}", f"{of.deviation[j, i]:.4g}")
                 for j, y in enumerate(of.y) for i, x in enumerate(of.x)]
    return rows
