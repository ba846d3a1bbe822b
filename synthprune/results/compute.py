"""How each kind of entry is computed from its stored parents.

The one room that knows both sides: specifications and store on one, models, training and analysis on the other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from synthprune.analysis.alignment import align, permuted, union
from synthprune.analysis.connectivity import path_losses
from synthprune.analysis.hessian import BIN_EDGES, hessian_diagonal, histogram, leading_eigenvalue, summary, trace
from synthprune.analysis.landscape import Mixtures, plane_through
from synthprune.condense import Progress as Condensing
from synthprune.condense import gradient_matching
from synthprune.criteria import prune_at_initialisation
from synthprune.data.datasets import Split, load
from synthprune.data.synthetic import SyntheticSet, noise, published, random_real, shuffled_labels
from synthprune.distill import Look, distribution_matching
from synthprune.machine import EnergyMeter, computing_seconds, device, interrupted
from synthprune.models import Masks, State, first_state, network_with, prunable
from synthprune.problems import Problem
from synthprune.pruning import apply_masks, collapsed, dense_masks, random_like, rewound, severed, sparsity
from synthprune.results import specs
from synthprune.results.plan import compiles, learn
from synthprune.results.provenance import EARLIER, earlier_parts, of_part, provenance
from synthprune.results.rates import built, shape_of
from synthprune.results.result import made_otherwise
from synthprune.results.sets import Synthetic
from synthprune.results.specs import Entry, describe, origin
from synthprune.results.store import Arrays, Metrics, Result, Store, StoreProblem, digest_of
from synthprune.search import one_round
from synthprune.seeds import generator
from synthprune.tracing import training_flops
from synthprune.training import Progress, Recipe, Resident, evaluate, train

CHECKPOINT_SECONDS = 300.0
TELL_SECONDS = 5.0
"""Between two words on how far an entry is."""
PLANE_CHUNK = 25
"""Points of a plane between two looks at the clock."""
PLANE_VALUES = ("loss", "loss_deviation", "error", "error_deviation")
TRACE_PROBES = 10


def compute(entry: Entry, store: Store, *, alone: bool, look: Look | None = None) -> None:
    """Compute `entry` from its stored parents and store it, unless it is there. Raises Busy, or Problem by name.

    `alone`: no other entry is computed meanwhile, so that the machine's energy counters count this one. `look`: where a set is
    made, told each step that is done.
    """
    with store.lock(entry):
        if store.holds(entry):
            return
        begun, counted, saved = time.perf_counter(), computing_seconds(), store.load_checkpoint(entry)
        fresh, earlier = saved is None, earlier_parts(saved)
        del saved
        with EnergyMeter() as meter:
            arrays, metrics = _made(entry, store, look)
        took = time.perf_counter() - begun
        made = provenance(entry, took + sum(part["seconds"] for part in earlier))
        made |= {"joules": meter.joules if alone and fresh else None, "energy_counters": meter.counters}
        store.put(entry, arrays, metrics, made | ({"parts": [*earlier, of_part(entry, took)]} if earlier else {}))
    if fresh:
        learn(entry, computing_seconds() - counted)


def _made(entry: Entry, store: Store, look: Look | None = None) -> tuple[Arrays, Metrics]:
    """What `entry` is, computed on one torch thread: the number of cores must not change its bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if look is not None and isinstance(entry, specs.Made):
            return COMPUTE[type(entry)](entry, store, look)
        return COMPUTE[type(entry)](entry, store)
    except StoreProblem:
        raise
    except Problem as problem:
        raise Problem(f"{describe(entry)}: {problem}") from None
    except Exception as error:  # as where memory is short: the rest can still be computed
        lines = str(error).splitlines()
        raise Problem(f"{describe(entry)}: {type(error).__name__}{f': {lines[0]}' if lines else ''}") from error
    finally:
        torch.set_num_threads(threads)


def recheck(entry: Entry, store: Store) -> str:
    """Compute a stored `entry` again and say how it differs; empty where its digest is the same.

    Equal bits are promised for the engine, versions and processor model an entry was made with; where those are others,
    the answer says so.
    """
    kept = store.get(entry)
    store.forget_checkpoint(entry)
    try:
        arrays, metrics = _made(entry, store)
    finally:
        store.forget_checkpoint(entry)  # nothing goes on from here: an earlier beginning proves nothing
    if digest_of(arrays, metrics) == kept.digest:
        return ""
    other = made_otherwise(kept.provenance, provenance(entry, 0))
    return f"{entry.kind} {entry.key[:12]} differs ({'; '.join(other) or 'same versions and processor'})"


# How each kind is computed: (entry, store) -> (arrays, metrics).


def _distilled(entry: specs.Distilled, store: Store, look: Look | None = None) -> tuple[Arrays, Metrics]:
    def told(done: int) -> None:
        store.tell(entry, done, entry.steps, "steps")
        if interrupted.is_set():
            raise KeyboardInterrupt
        if look is not None:
            look(done)

    made = distribution_matching(split_of(entry.dataset), ipc=entry.ipc, factor=entry.factor, steps=entry.steps, lr=entry.lr,
                                 real_batch=entry.real_batch, width=entry.width, seed=entry.seed, device=device(),
                                 look=told)
    return {"images": made.images, "labels": made.labels}, {"factor": made.factor, "name": made.name}


def _condensed(entry: specs.Condensed, store: Store, look: Look | None = None) -> tuple[Arrays, Metrics]:
    saved = store.load_checkpoint(entry)
    resume = None if saved is None else Condensing(
        saved[0], _part(saved[1], "images/")["all"], _part(saved[1], "pixel_momentum/")["all"],
        _part(saved[1], "state/"), _part(saved[1], "momentum/"))
    progress = _Progress(entry, store, entry.steps, "steps", earlier_parts(saved))

    def keep(now: Condensing) -> None:
        progress(now.step, now.step, images={"all": now.images}, pixel_momentum={"all": now.pixel_momentum}, state=now.state,
                 momentum=now.momentum)

    made = gradient_matching(
        split_of(entry.dataset), ipc=entry.ipc, factor=entry.factor, steps=entry.steps, inner=entry.inner, lr=entry.lr,
        real_batch=entry.real_batch, trained_images=entry.trained_images, width=entry.width, seed=entry.seed, device=device(),
        compiled=compiles(entry), resume=resume, checkpoint=keep, every_seconds=min(TELL_SECONDS, CHECKPOINT_SECONDS), look=look)
    return {"images": made.images, "labels": made.labels}, {"factor": made.factor, "name": made.name}


@dataclass
class _Progress:
    """Tells how far an entry is, and saves it every CHECKPOINT_SECONDS and where what runs shall stop: then it does."""

    entry: Entry
    store: Store
    of: int
    unit: str
    earlier: list[Metrics]
    saved: float = field(default_factory=time.monotonic)
    begun: float = field(default_factory=time.perf_counter)

    def __call__(self, done: int, step: int, **groups: State) -> None:
        self.store.tell(self.entry, done, self.of, self.unit)
        if time.monotonic() - self.saved > CHECKPOINT_SECONDS or interrupted.is_set():
            parts = [*self.earlier, of_part(self.entry, time.perf_counter() - self.begun)]
            arrays = {f"{group}/{name}": tensor.numpy() for group, tensors in groups.items() for name, tensor in tensors.items()}
            self.store.save_checkpoint(self.entry, arrays | {EARLIER: np.frombuffer(json.dumps(parts).encode(), np.uint8)}, step)
            self.saved = time.monotonic()
        if interrupted.is_set():
            raise KeyboardInterrupt


def _subnetwork(entry: specs.Subnetwork, store: Store) -> tuple[Arrays, Metrics]:
    kept: State = {}
    match entry.search, entry.round:
        case specs.Search() as search, specs.Trained() as last:
            below = _masks(entry.at(entry.level - 1), store)
            masks, kept = one_round(_tensors(store.get(last).arrays), below, search.fraction, search.rewind)
        case specs.AtInitialisation() as search, _:
            masks = pruned_at_initialisation(entry, search)
        case specs.SameDensities(of=of, seed=seed), _:
            masks = random_like(_masks(entry.model_copy(update={"search": of}), store), seed)
    arrays = {f"mask/{name}": mask.numpy() for name, mask in masks.items()}
    arrays |= {f"kept/{name}": value.numpy() for name, value in kept.items()}
    return arrays, {"sparsity": sparsity(masks), "collapsed": collapsed(masks),
                    "survivors": {name: int(mask.sum()) for name, mask in masks.items()}}


def pruned_at_initialisation(entry: specs.Subnetwork, search: specs.AtInitialisation) -> Masks:
    split, network = split_of(entry.dataset), network_of(entry)
    data = _resident(split.train_images, split.train_labels, split)
    index = torch.from_numpy(_drawn(split.train_labels, search.per_class, search.seed))
    initial = first_state(entry.init_seed, **shape_of(entry.architecture, entry.dataset))
    return prune_at_initialisation(network, initial, search.criterion, level=entry.level,
                                   fraction=search.fraction, images=data.batch(index), labels=data.labels[index],
                                   seed=search.seed)


def _drawn(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Rows of `per_class` random images of every class."""
    order = generator(seed, "images for SNIP").permutation(len(labels))
    return np.concatenate([order[labels[order] == label][:per_class] for label in range(labels.max() + 1)])


def _trained(entry: specs.Trained, store: Store) -> tuple[Arrays, Metrics]:
    saved = store.load_checkpoint(entry)
    resume = None if saved is None else Progress(saved[0], _part(saved[1], "state/"), _part(saved[1], "momentum/"),
                                                 _part(saved[1], "losses/")["all"])

    data = _training_data(entry, store)
    progress = _Progress(entry, store, entry.stop_epoch or entry.recipe.epochs, "epochs", earlier_parts(saved))

    def keep(now: Progress) -> None:
        progress(now.step // -(-len(data) // entry.recipe.batch), now.step, state=now.state, momentum=now.momentum,
                 losses={"all": now.losses})

    state, losses = train(
        network_of(entry.subnetwork), _start(entry.subnetwork, store), _masks(entry.subnetwork, store),
        data, Recipe(**dict(entry.recipe)), order_seed=entry.order_seed, first_epoch=entry.first_epoch,
        stop_epoch=entry.stop_epoch, resume=resume, checkpoint=keep, every_seconds=min(TELL_SECONDS, CHECKPOINT_SECONDS),
        compiled=compiles(entry))
    finite = bool(np.isfinite(losses).all())
    return {name: value.numpy() for name, value in state.items()}, {
        "epoch_losses": [float(v) if np.isfinite(v) else None for v in losses], "diverged": not finite}


def _evaluation(entry: specs.Evaluation, store: Store) -> tuple[Arrays, Metrics]:
    trained, split = store.get(entry.of), split_of(entry.dataset)
    model = network_with(network_of(entry.subnetwork), _tensors(trained.arrays), device())
    values: Arrays = {}
    for part in ("train", "test"):
        images, labels = (getattr(split, f"{part}_{what}") for what in ("images", "labels"))
        loss, error = evaluate(model, _resident(images, labels, split))
        values |= {f"{part}_loss": np.array(loss), f"{part}_error": np.array(error)}
    flops = training_flops(network_of(entry.subnetwork), split.facts.channels, entry.dataset.pixels)
    return values, _standing(entry, store, trained) | {"flops": flops}


def _path(entry: specs.Path, store: Store) -> tuple[Arrays, Metrics]:
    network, split = network_of(entry.subnetwork), split_of(entry.dataset)
    first, second = (store.get(end) for end in entry.ends)
    masks, start, end = _masks(entry.subnetwork, store), _tensors(first.arrays), _tensors(second.arrays)
    standing = _standing(entry, store, first, second)
    if entry.aligned and not standing["diverged"]:
        end, masks, standing = _aligned(network, apply_masks(start, masks), apply_masks(end, masks), masks, standing)
    losses = path_losses(
        network, start, end, masks, _resident(split.train_images, split.train_labels, split),
        _resident(split.test_images, split.test_labels, split),
        points=entry.points, recompute_statistics=entry.batch_norm == "recomputed", compiled=compiles(entry))
    return vars(losses), standing


def _aligned(network: nn.Module, first: State, second: State, masks: Masks, standing: Metrics) -> tuple[State, Masks, Metrics]:
    """The second end with its channels permuted towards the first's, the masks' union, and how much of either there is."""
    found = align(network, first, second, seed=0)
    moved = sum(int((permutation != np.arange(len(permutation))).sum()) for permutation in found.values())
    both = union(masks, permuted(network, masks, found))
    return permuted(network, second, found), both, standing | {
        "union_density": 1 - sparsity(both), "moved": moved / sum(map(len, found.values()))}


def _plane(entry: specs.Plane, store: Store) -> tuple[Arrays, Metrics]:
    trained = [store.get(model) for model in entry.models]
    split, network, masks = split_of(entry.dataset), network_of(entry.subnetwork), _masks(entry.subnetwork, store)
    states = [_tensors(result.arrays) for result in trained]
    if any(result.metrics["diverged"] for result in trained):
        return {}, _standing(entry, store, *trained)
    plane = plane_through(network, states, masks)
    grid = plane.grid(entry.side)
    weights = np.concatenate([plane.weights(grid), plane.weights(plane.coordinates), np.eye(len(states))])
    first = np.concatenate([np.flatnonzero(split.train_labels == label)[:entry.per_class]
                            for label in range(split.train_labels.max() + 1)])
    mixtures = Mixtures(network, states, masks, _resident(split.train_images[first], split.train_labels[first], split),
                        compiled=compiles(entry))
    done, found = saved = store.load_checkpoint(entry) or (0, {})
    rows, progress = [found[name] for name in found if name == "rows/all"], _Progress(entry, store, len(weights), "points",
                                                                                     earlier_parts(saved))
    for begin in range(done, len(weights), PLANE_CHUNK):
        losses = mixtures.losses(weights[begin:begin + PLANE_CHUNK])
        rows.append(np.stack([getattr(losses, name) for name in PLANE_VALUES], 1))
        end = begin + PLANE_CHUNK
        progress(min(end, len(weights)), end, rows={"all": torch.from_numpy(np.concatenate(rows))})
    values = dict(zip(PLANE_VALUES, np.concatenate(rows).T, strict=True))
    parts = {"": slice(len(grid)), "at_projections/": slice(len(grid), -len(states)), "at_models/": slice(-len(states), None)}
    arrays = {part + name: value[rows] for part, rows in parts.items() for name, value in values.items()}
    return arrays | {"grid": grid, "coordinates": plane.coordinates, "off_plane": plane.off_plane,
                     "distances": plane.distances}, _standing(entry, store, *trained) | {"plane_images": len(first)}


def _diagonal(entry: specs.Diagonal, store: Store) -> tuple[Arrays, Metrics]:
    trained, split = store.get(entry.of), split_of(entry.dataset)
    data = _resident(split.train_images, split.train_labels, split)
    known = network_of(entry.subnetwork), _tensors(trained.arrays), _masks(entry.subnetwork, store)
    rows: dict[str, list[Any]] = {}
    if trained.metrics["diverged"]:
        return {}, _standing(entry, store, trained)
    for number in range(entry.batches):
        drawn = generator(entry.seed, "hessian/batch", number).choice(len(data), min(entry.batch, len(data)), replace=False)
        images, labels = data.batch(torch.from_numpy(drawn)), data.labels[torch.from_numpy(drawn)]
        diagonal = hessian_diagonal(*known, images, labels)
        found: dict[str, Any] = {f"{weights}/{layer}/{column}": value for weights, layers in summary(diagonal, known[2]).items()
                 for layer, columns in layers.items() for column, value in columns.items()}
        found |= {f"histogram/{name}": counts for name, counts in histogram(diagonal, known[2]).items()}
        found["eigenvalue"] = leading_eigenvalue(*known, images, labels, seed=entry.seed)
        found["trace"] = trace(*known, images, labels, probes=TRACE_PROBES, seed=entry.seed)
        for name, value in found.items():
            rows.setdefault(name, []).append(value)
    arrays = {name: np.array(values) for name, values in rows.items()} | {"edges": BIN_EDGES}
    return arrays, _standing(entry, store, trained) | {"trace_probes": TRACE_PROBES}


def _standing(entry: specs.Measured, store: Store, *trained: Result) -> Metrics:
    """Whether what was measured may enter a mean, and over how many images it was."""
    masks, split = _masks(entry.subnetwork, store), split_of(entry.dataset)
    dead = collapsed(masks) if severed(network_of(entry.subnetwork), masks, split.train_images.shape[1:]) else []
    return {"collapsed": dead, "diverged": any(result.metrics["diverged"] for result in trained),
            "train_images": len(split.train_labels), "test_images": len(split.test_labels)}


COMPUTE: dict[type[Entry], Callable[..., tuple[Arrays, Metrics]]] = {
    specs.Distilled: _distilled, specs.Condensed: _condensed, specs.Subnetwork: _subnetwork, specs.Trained: _trained,
    specs.Evaluation: _evaluation, specs.Path: _path, specs.Plane: _plane, specs.Diagonal: _diagonal}


# Parts that several kinds need.


def split_of(dataset: specs.Dataset) -> Split:
    return load(dataset.name, dataset.train_per_class, dataset.pixels, dataset.whitened, dataset.test_per_class)


def network_of(subnetwork: specs.Subnetwork) -> nn.Module:
    return built(subnetwork.architecture, subnetwork.dataset)


def _masks(subnetwork: specs.Subnetwork, store: Store) -> Masks:
    if subnetwork.level == 0:
        network = network_of(subnetwork)
        return dense_masks(network.state_dict(), prunable(network))
    return _part(store.get(subnetwork).arrays, "mask/")


def _start(subnetwork: specs.Subnetwork, store: Store) -> State:
    """The state a subnetwork is trained from."""
    initial = first_state(subnetwork.init_seed, **shape_of(subnetwork.architecture, subnetwork.dataset))
    if subnetwork.search is None:
        return initial
    if subnetwork.rewind_point is not None:
        initial = _tensors(store.get(subnetwork.rewind_point).arrays)
    kept = _part(store.get(subnetwork).arrays, "kept/")
    return rewound(initial, kept, _masks(subnetwork, store), subnetwork.search.rewind)


def _training_data(entry: specs.Trained, store: Store) -> Resident:
    split, data = split_of(entry.dataset), origin(entry.data)
    images, labels = split.train_images, split.train_labels
    if not isinstance(data, specs.Real):
        images, labels = _synthetic(data, split, entry.dataset, store).decoded(entry.dataset.pixels)
    if isinstance(entry.data, specs.Shuffled):
        labels = shuffled_labels(labels, entry.data.seed)
    return _resident(images, labels, split)


def _synthetic(data: Synthetic, split: Split, dataset: specs.Dataset, store: Store) -> SyntheticSet:
    match data:
        case specs.Published() | specs.Awaited():
            return published(data.name, dataset.name, dataset.whitened, dataset.pixels)
        case specs.Noise():
            return noise(split.facts, data.ipc, data.factor, data.seed)
        case specs.Coreset():
            return random_real(split, data.ipc, data.factor, data.seed)
        case specs.Distilled() | specs.Condensed():
            made = store.get(data)
            return SyntheticSet(made.arrays["images"], made.arrays["labels"], made.metrics["factor"])


def _resident(images: np.ndarray, labels: np.ndarray, split: Split) -> Resident:
    return Resident.of(images, labels, split.facts, device())


def _tensors(arrays: Arrays) -> State:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _part(arrays: Arrays, prefix: str) -> State:
    return _tensors({name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)})
