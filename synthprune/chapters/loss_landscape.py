"""Chapter 05: planes through trained networks. Paper section 4.1, figure 5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from synthprune import stats
from synthprune.chapters.described import described, joined
from synthprune.chapters.entries import path, retrained
from synthprune.chapters.paths import BARRIERS, Paths, faults_of, gathered, in_parts
from synthprune.chapters.settings import Settings, field
from synthprune.results import specs
from synthprune.results.store import Result
from synthprune.stats import Interval, Measure

Kind = Literal["dense", "imp", "synthetic"]
KINDS: tuple[Kind, ...] = ("dense", "imp", "synthetic")
"""The networks of the paper's figure 5, in its order."""


class Parameters(Settings):
    chapter: ClassVar[str] = "05_loss_landscape"

    level: int = field("pruning level of the sparse networks (level n keeps 0.8^n of the weights)", ge=1, le=30)
    orders: list[int] = field("four data orders to train in: the networks around which the loss is drawn", min_length=4,
                              max_length=4)
    three: list[int] = field("three of them: those that the exact plane goes through", min_length=3, max_length=3)
    points: int = field("points on the path between two networks, both ends included (odd)", ge=3)
    side: int = field("points along a side of a map (the paper: 10,000 points in all, so 100)", ge=2)
    map_per_class: int = field("training images per class on which a map's loss is measured", ge=1)

    @model_validator(mode="after")
    def _three_of_the_four(self) -> Parameters:
        if len(set(self.three)) < 3 or not set(self.three) <= set(self.orders):
            raise ValueError(f"three={self.three} are not three different ones of orders={self.orders}")
        return self


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    return described(p, f" Sparse networks at pruning level {p.level}; each network is trained in the orders {joined(p.orders)},"
                        f" the searches in order {p.search_seed}. Maps: initialisation {p.seeds[0]}, {p.side}&nbsp;×&nbsp;"
                        f"{p.side} points, {p.map_per_class} training images per class. Paths and distances:"
                        f" initialisation{'s' * (len(p.seeds) > 1)} {joined(p.seeds)}.", "they show how a map is made")


def plane_name(p: Parameters, kind: Kind, seed: int, orders: list[int]) -> str:
    """What a plane is called in this chapter."""
    return f"{p.scene}: plane, {_which(p, kind)}, initialisation {seed}, orders {'-'.join(map(str, orders))}"


def path_name(p: Parameters, kind: Kind, seed: int, pair: tuple[int, int]) -> str:
    """What the path between two networks is called in this chapter."""
    return f"{p.scene}: path, {_which(p, kind)}, initialisation {seed}, orders {pair[0]}-{pair[1]}"


def _which(p: Parameters, kind: Kind) -> str:
    return kind if kind == "dense" else f"{kind}, level {p.level}"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every path and plane this chapter shows."""
    return {name: entry for kind in KINDS for name, entry in of_kind(p, kind).items()}


def of_kind(p: Parameters, kind: Kind) -> dict[str, specs.Entry]:
    """All pairs' paths and the plane of the four, of every initialisation; the planes of the first one planned are drawn.

    Of the others' planes only the distances are read, so they have the smallest grid there is.
    """
    level = 0 if kind == "dense" else p.level

    def networks(seed: int, orders: list[int]) -> tuple[specs.Trained, ...]:
        return tuple(retrained(p, kind, seed, level, order) for order in orders)

    def plane(seed: int, orders: list[int]) -> specs.Plane:
        return specs.Plane(models=networks(seed, orders), side=p.side if seed == p.planned[0] else 2, per_class=p.map_per_class)

    paths = {path_name(p, kind, seed, pair): path(p, kind, seed, level, pair)
             for seed in p.seeds for pair in combinations(p.orders, 2)}
    planes = {plane_name(p, kind, seed, orders): plane(seed, orders)
              for seed in p.seeds for orders in ([p.orders, p.three] if seed == p.planned[0] else [p.orders])}
    return paths | planes


def measured(p: Parameters, results: Mapping[str, Result]) -> tuple[Parameters, list[Kind]]:
    """The initialisations that are here, and the kinds of network that could be measured: those whose data are here."""
    return in_parts(p, KINDS, of_kind, results)


@dataclass(frozen=True)
class Map:
    """The loss on a plane at or near some trained networks of one kind; float64.

    `x` and `y` (side,): where the grid's points lie, in units of Euclidean distance between weights. `loss` and
    `deviation` (side, side), row by row upwards: mean cross-entropy in nats over `images` training images, and its standard
    error. `places` (networks, 2): the networks' projections; `off_plane` (networks,): how far they lie off the plane;
    `distances` (networks, networks): the true ones. `own_loss`, `own_deviation`, `map_loss` (networks,): each network's
    loss, its standard error, and the loss at its projection.
    """

    kind: Kind
    orders: tuple[int, ...]
    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    deviation: np.ndarray
    places: np.ndarray
    off_plane: np.ndarray
    distances: np.ndarray
    own_loss: np.ndarray
    own_deviation: np.ndarray
    map_loss: np.ndarray
    images: int

    @property
    def shown_distances(self) -> np.ndarray:
        """(networks, networks): distances on the map, none of which exceeds the true one."""
        return np.linalg.norm(self.places[:, None] - self.places[None], axis=-1)

    @property
    def share(self) -> float:
        """How much of the networks' squared distances from their mean lies in the plane, in [0, 1].

        1: all of it. For four networks all equally far from each other 2/3, whichever plane through their mean it is.
        """
        spread = (self.distances**2).sum() / (2 * len(self.orders))
        return float((self.places**2).sum() / spread)


def maps(p: Parameters, results: Mapping[str, Result], orders: list[int]) -> dict[Kind, Map]:
    """The maps of the first initialisation through or near the networks trained in `orders`; none for a faulty kind, and none
    at all while that initialisation is missing."""
    here, kinds = measured(p, results)
    drawn = here.planned[0]
    found = {kind: results[plane_name(p, kind, drawn, orders)] for kind in kinds if drawn in here.seeds}
    return {kind: _map(kind, orders, plane) for kind, plane in found.items() if not faults_of(plane)}


def _map(kind: Kind, orders: list[int], plane: Result) -> Map:
    of = plane.arrays
    side = round(len(of["grid"]) ** 0.5)
    x, y = of["grid"].reshape(side, side, 2).transpose(2, 0, 1)
    return Map(kind, tuple(orders), x[0], y[:, 0], of["loss"].reshape(side, side), of["loss_deviation"].reshape(side, side),
               of["coordinates"], of["off_plane"], of["distances"], of["at_models/loss"], of["at_models/loss_deviation"],
               of["at_projections/loss"], plane.metrics["plane_images"])


@dataclass(frozen=True)
class Pairs:
    """All pairs of the four networks of one kind; arrays (initialisations, pairs), NaN where one is faulty.

    Highest barriers on the path, of training error in percentage points and of training loss in nats, and Euclidean
    distances between all weights.
    """

    error: np.ndarray
    loss: np.ndarray
    distance: np.ndarray


def pairs(p: Parameters, results: Mapping[str, Result], kind: Kind) -> Pairs:
    """Barriers and distances between the four networks of a kind that was measured, pairs as `combinations(p.orders, 2)`; of
    the initialisations that are here."""
    p, _ = measured(p, results)
    planes = {seed: results[plane_name(p, kind, seed, p.orders)] for seed in p.seeds}
    of = Paths({str(seed): [results[path_name(p, kind, seed, pair)] for pair in combinations(p.orders, 2)] for seed in p.seeds})
    sound = np.array(of.sound) & np.array([not faults_of(plane) for plane in planes.values()])
    rows = (100 * BARRIERS["highest"](of.each("train_error")), BARRIERS["highest"](of.each("train_loss")),
            [np.full(6, np.nan) if faults_of(plane) else plane.arrays["distances"][np.triu_indices(4, 1)]
             for plane in planes.values()])
    return Pairs(*(np.where(sound[:, None], row, np.nan) for row in rows))


def table(p: Parameters, results: Mapping[str, Result]) -> dict[Kind, tuple[Interval, ...]]:
    """By kind of network, over initialisations: the highest error barrier of the six pairs and their mean (points), the highest
    loss barrier (nats), the mean distance, and that over the dense one's."""
    of = {kind: pairs(p, results, kind) for kind in measured(p, results)[1]}
    return {kind: (*map(stats.interval, (each.error.max(1), each.error.mean(1), each.loss.max(1), each.distance.mean(1))),
                   _over_dense(of, kind)) for kind, each in of.items()}


def _over_dense(of: Mapping[Kind, Pairs], kind: Kind) -> Interval:
    dense = of["dense"].distance if "dense" in of else np.full_like(of[kind].distance, np.nan)
    return stats.ratio(of[kind].distance.mean(1), dense.mean(1))


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter; see book/claims.yml."""
    return gathered(_measured(p, results), {"distance_over_dense": "ratio"}, len(p.planned))


def _measured(p: Parameters, results: Mapping[str, Result]) -> Iterator[tuple[str, str, Interval]]:
    """(measure, label, interval)."""
    of = {kind: pairs(p, results, kind) for kind in measured(p, results)[1]}
    for kind, each in of.items():
        label = p.scene if kind == "dense" else f"{p.scene}, level {p.level}"
        yield f"pair_barrier_{kind}", label, stats.interval(each.error.max(1))
        if kind != "dense":
            yield "distance_over_dense", f"{p.scene}, {kind}, level {p.level}", _over_dense(of, kind)


def check_shortened(answer: Any, p: Parameters, results: Mapping[str, Result]) -> str:
    """Judges the exercise: which two dense networks does the map of the four bring together most?"""
    dense = maps(p, results, p.orders).get("dense")
    if dense is None:
        return "There is no map of dense networks here to ask about."
    try:
        given = tuple(sorted(p.orders.index(order) for order in answer))
    except (TypeError, ValueError):
        given = ()
    if len(set(given)) != 2:
        return f"Put two of the orders {joined(p.orders)} in brackets, as answer = ({p.orders[0]}, {p.orders[1]})."
    shown, true = dense.shown_distances, dense.distances
    shortened = {pair: shown[pair] / true[pair] for pair in combinations(range(4), 2)}
    words = f"{true[given]:.2f} apart in truth, {shown[given]:.2f} on the map, {100 * shortened[given]:.0f} % of it"
    if given == min(shortened, key=shortened.__getitem__):
        out = (true[given] ** 2 - shown[given] ** 2) ** 0.5
        return (f"Right: {words}. The way between them leads {out:.2f} out of the plane, which no map of it can show: by"
                " Pythagoras, the two parts make the whole.")
    return f"Not these two ({words}). Divide the distance on the map by the true one, pair by pair: another quotient is lower."
