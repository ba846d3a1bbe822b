"""What a run will cost: exact counts of image visits, over rates measured on this machine or, for a GPU, by arithmetic."""

from __future__ import annotations

import functools
import heapq
import json
import time
from collections.abc import Iterable

from synthprune import specs
from synthprune.data.facts import FACTS
from synthprune.home import home, write_whole
from synthprune.specs import Entry

PROBABLE = {"digits": (1438, 359), "imagenet10": (13_000, 500)}
"""Training and test images where classes differ in size (ImageNet-10: about, as the authors' code has it)."""


def seconds(entry: Entry) -> float:
    """Core-seconds to compute `entry` alone on this machine, from its image visits and the measured rates of its network."""
    visits, trains = visited(entry)
    if not visits:
        return 0.01
    return visits / rate(_architecture(entry), entry.dataset, entry.recipe.batch if trains else None)


def compiles(entry: Entry) -> bool:
    """Whether `entry` is computed by the compiled engine: a function of its specification alone, whatever the machine.

    A training that stops early is the beginning of one that does not, so the whole recipe counts.
    """
    from synthprune.engine import worth_compiling

    architecture, batch = _architecture(entry), 500
    steps = visited(entry)[0] / 3 / batch  # an evaluation costs a third of a step on as many images
    if isinstance(entry, specs.Trained):
        batch = entry.recipe.batch
        steps = entry.recipe.epochs * -(-training_images(entry) // batch)
    return worth_compiling(architecture.name, architecture.width, entry.dataset.pixels, batch, int(steps))


def visited(entry: Entry) -> tuple[float, bool]:
    """How many images pass through the network for `entry`, and whether they train it (else they only pass forward)."""
    if isinstance(entry, specs.Trained):
        return ((entry.stop_epoch or entry.recipe.epochs) - entry.first_epoch) * training_images(entry), True
    return _passed(entry), False


def _passed(entry: Entry) -> float:
    (train, test), classes = images(entry.dataset), len(FACTS[entry.dataset.name].classes)
    match entry:
        case specs.Evaluation():
            return train + test
        case specs.Path():
            return entry.points * (train + test + train * (entry.batch_norm == "recomputed"))
        case specs.Plane():
            return (entry.side**2 + 2 * len(entry.models)) * entry.per_class * classes
        case specs.Diagonal():
            return entry.batches * entry.batch * (_survivors(entry.subnetwork) * TAYLOR_SHARE + PRODUCTS)
        case specs.Distilled():
            # Forward only over the real images, forward and backward over the synthetic ones.
            return entry.steps * classes * (entry.real_batch + 3 * entry.ipc * entry.factor**2)
    return 0


TAYLOR_SHARE = 0.05
"""What a surviving weight adds to a Hessian diagonal, in forward passes per image."""
PRODUCTS = 240
"""What the leading eigenvalue and the trace add: about forty products with the Hessian, of six forward passes each."""


def images(dataset: specs.Dataset) -> tuple[int, int]:
    """Training and test images of a data set, whether or not it is on this machine."""
    known = FACTS[dataset.name]
    whole = PROBABLE.get(dataset.name) or [known.complete[part] * len(known.classes) for part in ("train", "test")]
    train, test = (count * len(known.classes) if count else all_ for count, all_ in
                   zip((dataset.train_per_class, dataset.test_per_class), whole, strict=True))
    return train, test


def training_images(entry: specs.Trained) -> int:
    """How many images an epoch of `entry` visits (decoded ones, for a synthetic set)."""
    match data := specs.origin(entry.data):
        case specs.Real():
            return images(entry.dataset)[0]
        case specs.Published():
            from synthprune.data.synthetic import published

            chosen = published(data.name, entry.dataset.name, entry.dataset.whitened)
            return len(chosen.labels) * chosen.factor**2
    return len(FACTS[entry.dataset.name].classes) * data.ipc * data.factor**2


def flops(entry: Entry) -> float:
    """Floating-point operations of convolutions and linear layers, counted exactly for each visit (see `tracing`)."""
    visits, trains = visited(entry)
    return visits * _flops_per_visit(_architecture(entry), entry.dataset, trains) if visits else 0.0


def memory(entry: specs.Trained) -> int:
    """Bytes that a training holds at its peak, its data included (estimated, see `tracing.training_memory`)."""
    from synthprune.tracing import training_memory

    count, real = training_images(entry), isinstance(specs.origin(entry.data), specs.Real)
    channels, pixels = FACTS[entry.dataset.name].channels, entry.dataset.pixels
    data = count * (channels * pixels**2 * (1 if real else 4) + 8)
    return training_memory(_network(_architecture(entry), entry.dataset), channels, pixels, entry.recipe.batch, data).total


def makespan(entries: Iterable[Entry], workers: int) -> float:
    """Wall seconds for `entries` (parents first) on `workers` cores, each entry starting when parents and a core are free."""
    ordered = list(entries)
    place = {entry: n for n, entry in enumerate(ordered)}
    needs = [{place[parent] for parent in entry.parents if parent in place} for entry in ordered]
    feeds: list[list[int]] = [[] for _ in ordered]
    for child, parents in enumerate(needs):
        for parent in parents:
            feeds[parent].append(child)
    ready = [n for n, parents in enumerate(needs) if not parents]  # a heap already: what comes first begins first
    now, running = 0.0, []
    while ready or running:
        while ready and len(running) < workers:
            n = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds(ordered[n]), n))
        now, finished = heapq.heappop(running)
        for child in feeds[finished]:
            needs[child].discard(finished)
            if not needs[child]:
                heapq.heappush(ready, child)
    return now


def _architecture(entry: Entry) -> specs.Architecture:
    if isinstance(entry, specs.Distilled):
        return specs.Architecture(name="convnet3", width=entry.width, norm="instance")
    return entry.subnetwork.architecture


def _network(architecture: specs.Architecture, dataset: specs.Dataset):
    from synthprune.models import build

    known = FACTS[dataset.name]
    return build(architecture.name, channels=known.channels, pixels=dataset.pixels, classes=len(known.classes),
                 width=architecture.width, norm=architecture.norm)


@functools.cache
def _prunable(architecture: specs.Architecture, dataset: specs.Dataset) -> int:
    from synthprune.models import prunable

    network = _network(architecture, dataset)
    return sum(network.get_parameter(name).numel() for name in prunable(network))


def _survivors(subnetwork: specs.Subnetwork) -> float:
    kept = (1 - subnetwork.search.fraction) ** subnetwork.level if isinstance(subnetwork.search, specs.Search) else 1
    return _prunable(subnetwork.architecture, subnetwork.dataset) * kept


@functools.cache
def _flops_per_visit(architecture: specs.Architecture, dataset: specs.Dataset, trains: bool) -> int:
    from synthprune.tracing import forward_flops, training_flops

    count = training_flops if trains else forward_flops
    return count(_network(architecture, dataset), FACTS[dataset.name].channels, dataset.pixels)


@functools.cache
def rate(architecture: specs.Architecture, dataset: specs.Dataset, batch: int | None) -> float:
    """Images per second on one core: trained in batches of `batch`, or evaluated (None). Measured once, then kept."""
    import torch

    from synthprune.machine import cpu, device

    file, on = home() / "rates.json", torch.cuda.get_device_name() if device().startswith("cuda") else cpu()
    name = f"{on} torch {torch.__version__} {architecture.facts()} {dataset.name} {dataset.pixels} batch {batch}"
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):  # none yet, or damaged: a rate is soon measured again
        known = {}
    if name not in known:
        known[name] = round(_measure(architecture, dataset, batch), 1)
        write_whole(file, (json.dumps(known, indent=1) + "\n").encode())
    return known[name]


def _measure(architecture: specs.Architecture, dataset: specs.Dataset, batch: int | None) -> float:
    import numpy as np
    import torch

    from synthprune.data.datasets import facts
    from synthprune.machine import device
    from synthprune.models import initial_state, network_with
    from synthprune.training import Recipe, Resident, evaluate, train

    known, threads = facts(dataset.name), torch.get_num_threads()
    torch.set_num_threads(1)
    few = np.zeros(((batch or 500) * 4, known.channels, dataset.pixels, dataset.pixels), np.uint8)
    data = Resident.of(few, np.zeros(len(few), np.int64), known, device())
    network = _network(architecture, dataset)
    state, best = initial_state(network, 0), float("inf")
    for _ in range(4):  # the first warms up; the fastest is what an undisturbed core does
        begun = time.perf_counter()
        if batch is None:
            evaluate(network_with(network, state, device()), data)
        else:
            train(network, state, {}, data, Recipe(epochs=1, batch=batch), order_seed=0)
        best = min(best, time.perf_counter() - begun)
    torch.set_num_threads(threads)
    return len(few) / best
