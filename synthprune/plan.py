"""What a run will cost here: exact counts of image visits over rates measured on this machine."""

from __future__ import annotations

import functools
import heapq
import json
import time
from collections.abc import Iterable

from synthprune import specs
from synthprune.home import home, write_whole
from synthprune.specs import Entry
from synthprune.store import Store


def seconds(entry: Entry, store: Store) -> float:
    """Core-seconds to compute `entry` alone, from its image visits and the measured rate of its network."""
    match entry:
        case specs.Trained():
            stop = entry.stop_epoch or entry.recipe.epochs
            visits = (stop - entry.first_epoch) * training_images(entry)
            return visits / rate(entry.subnetwork.architecture, entry.dataset, entry.recipe.batch)
        case specs.Path():
            split = _split(entry.dataset)
            visits = entry.points * (len(split.train_labels) + len(split.test_labels))
            visits += entry.points * len(split.train_labels) * (entry.batch_norm == "recomputed")
            return visits / rate(entry.subnetwork.architecture, entry.dataset, None)
        case specs.Distilled():
            architecture = specs.Architecture(name="convnet3", width=entry.width, norm="instance")
            classes = len(_split(entry.dataset).facts.classes)
            # Forward only over the real images, forward and backward over the synthetic ones.
            visits = entry.steps * classes * (entry.real_batch + 3 * entry.ipc * entry.factor**2)
            return visits / rate(architecture, entry.dataset, None)
    return 0.01


def training_images(entry: specs.Trained) -> int:
    """How many images an epoch of `entry` visits (decoded ones, for a synthetic set)."""
    from synthprune.data.synthetic import published

    match entry.data:
        case specs.Real():
            return len(_split(entry.dataset).train_labels)
        case specs.Published():
            chosen = published(entry.data.name, entry.dataset.name)
            return len(chosen.labels) * chosen.factor**2
    return len(_split(entry.dataset).facts.classes) * entry.data.ipc * entry.data.factor**2


def makespan(entries: Iterable[Entry], store: Store, workers: int) -> float:
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
            heapq.heappush(running, (now + seconds(ordered[n], store), n))
        now, finished = heapq.heappop(running)
        for child in feeds[finished]:
            needs[child].discard(finished)
            if not needs[child]:
                heapq.heappush(ready, child)
    return now


def _split(dataset: specs.Dataset):
    from synthprune.data.datasets import load

    return load(dataset.name, dataset.train_per_class, dataset.pixels)


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
    from synthprune.models import build, initial_state, network_with
    from synthprune.training import Recipe, Resident, evaluate, train

    known, threads = facts(dataset.name), torch.get_num_threads()
    torch.set_num_threads(1)
    images = np.zeros(((batch or 500) * 4, known.channels, dataset.pixels, dataset.pixels), np.uint8)
    data = Resident.of(images, np.zeros(len(images), np.int64), known, device())
    network = build(architecture.name, channels=known.channels, pixels=dataset.pixels, classes=len(known.classes),
                    width=architecture.width, norm=architecture.norm)
    state, best = initial_state(network, 0), float("inf")
    for _ in range(4):  # the first warms up; the fastest is what an undisturbed core does
        begun = time.perf_counter()
        if batch is None:
            evaluate(network_with(network, state, device()), data)
        else:
            train(network, state, {}, data, Recipe(epochs=1, batch=batch), order_seed=0)
        best = min(best, time.perf_counter() - begun)
    torch.set_num_threads(threads)
    return len(images) / best
