"""What stands in the way of computing entries, said before hours of work: data that are not here, what a network cannot do."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from synthprune import fitness, own
from synthprune.data.synthetic import published
from synthprune.models import build
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.compute import network_of, pruned_at_initialisation, split_of
from synthprune.results.rates import shape_of
from synthprune.results.specs import Entry, origin


def lacking(dataset: specs.Dataset, data: specs.PruningData) -> str:
    """Which of these data are not on this machine, and how to get them; empty where they can be trained on."""
    data = origin(data)
    try:
        split_of(dataset)
        if isinstance(data, specs.Published | specs.Awaited):
            published(data.name, dataset.name, dataset.whitened, dataset.pixels)
    except Problem as problem:
        return str(problem)
    return ""


def require_networks(entries: Iterable[Entry]) -> None:
    """Raises Problem where a network cannot be built for its images, or a criterion scores it: before hours, not after.

    Files of the user's own are kept from then on, under their names.
    """
    entries = list(entries)
    for subnetwork in {(e.subnetwork.architecture, e.dataset): e.subnetwork for e in entries
                       if isinstance(e, specs.Trained)}.values():
        if own.is_own(subnetwork.architecture.name):
            _require_own(subnetwork.architecture, subnetwork.dataset)
        network_of(subnetwork)
    for entry in entries:
        _require_scores(entry)
        own.keep(own.sources(specs.own_names(entry)))


def _require_scores(entry: Entry) -> None:
    if (isinstance(entry, specs.Subnetwork) and isinstance(entry.search, specs.AtInitialisation)
            and own.is_own(entry.search.criterion) and not lacking(entry.dataset, specs.Real())):
        if own.is_own(entry.architecture.name):
            _require_own(entry.architecture, entry.dataset)
        _scored(entry.architecture, entry.dataset, entry.search)


@functools.cache
def _scored(architecture: specs.Architecture, dataset: specs.Dataset, search: specs.AtInitialisation) -> None:
    pruned_at_initialisation(specs.Subnetwork(dataset=dataset, architecture=architecture, init_seed=0, search=search, level=1),
                             search)


@functools.cache
def _require_own(architecture: specs.Architecture, dataset: specs.Dataset) -> None:
    shape, name = shape_of(architecture, dataset), architecture.name
    try:
        fitness.check(lambda: build(**shape), (shape["channels"], shape["pixels"], shape["pixels"]), shape["classes"])
    except Problem as problem:
        raise Problem(str(problem) if name in str(problem) else f"{own.words(name)}: {problem}") from None


def unable(entry: Entry) -> str:
    """Why `entry` cannot be measured of a network of your own, and at which layer; empty where it can be.

    Raises Problem where such a network cannot even be trained, or a criterion of your own gives no scores.
    """
    _require_scores(entry)
    if not isinstance(entry, specs.Trained | specs.Measured) or not own.is_own(entry.subnetwork.architecture.name):
        return ""
    _require_own(entry.subnetwork.architecture, entry.dataset)
    asks = isinstance(entry, specs.Diagonal) or (isinstance(entry, specs.Path) and entry.aligned)
    return _unable(entry.kind, entry.subnetwork.architecture, entry.dataset) if asks else ""


@functools.cache
def _unable(kind: str, architecture: specs.Architecture, dataset: specs.Dataset) -> str:
    shape, name = shape_of(architecture, dataset), architecture.name
    image, network = (shape["channels"], shape["pixels"], shape["pixels"]), build(**shape)
    reason = (fitness.cannot_align(network, image) if kind == "path"
              else fitness.cannot_differentiate(network, image, shape["classes"]))
    return f"{own.words(name)}: {reason}" if reason else ""
