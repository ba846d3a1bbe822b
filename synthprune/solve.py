"""From specifications to results: what is stored is loaded, what is missing is computed, here or on Dask workers.

The only room that knows both sides: specifications and store on one, models, training and analysis on the other (whose
imports wait until something must be computed, so that a page of stored results never loads torch).
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import synthprune
from synthprune import specs
from synthprune.problems import Problem
from synthprune.specs import Entry
from synthprune.store import Arrays, Busy, Metrics, Result, Store, digest_of

if TYPE_CHECKING:
    from synthprune.data.datasets import Split
    from synthprune.models import Masks, State
    from synthprune.training import Resident

Report = Callable[[int, int, str], None]
"""Told (entries done, entries in all, a line about the one just finished)."""

CHECKPOINT_SECONDS = 300.0


def solve(requests: Mapping[str, Entry], store: Store, *, workers: int | None = None,
          report: Report = lambda done, total, line: None) -> dict[str, Result]:
    """The result of every request; missing ones are computed first, with all they rest on.

    `workers`: 1 computes in this process, more starts that many local Dask processes, None chooses: a cluster only
    where more than about a minute of work is missing. SYNTHPRUNE_SCHEDULER names a running cluster to use instead.
    Raises Problem, after everything that could be finished is stored, where an entry could not be computed.
    """
    todo = missing(requests, store)
    if todo:
        address = os.environ.get("SYNTHPRUNE_SCHEDULER")
        count = workers or (cores() if not address and _worth_a_cluster(todo, store) else 1)
        if address or count > 1:
            _on_cluster(todo, store, address, count, report)
        else:
            _in_process(todo, store, report)
    return {name: store.get(entry) for name, entry in requests.items()}


def missing(requests: Mapping[str, Entry], store: Store) -> list[Entry]:
    """What must be computed for the requests, parents first: nothing that only a stored result would need."""
    ordered: dict[Entry, None] = {}

    def visit(entry: Entry, stored: Callable[[Entry], bool]) -> None:
        if entry not in ordered and not stored(entry):
            for parent in entry.parents:
                visit(parent, store.holds)
            ordered[entry] = None

    for entry in requests.values():
        visit(entry, store.has)
    return list(ordered)


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _worth_a_cluster(todo: list[Entry], store: Store) -> bool:
    from synthprune.plan import seconds

    return cores() > 1 and sum(seconds(entry, store) for entry in todo) > 60


def _in_process(todo: list[Entry], store: Store, report: Report) -> None:
    _keep_freed_memory()
    problems: list[Problem] = []
    lost: set[Entry] = set()
    for done, entry in enumerate(todo, 1):
        if not lost.isdisjoint(entry.parents):
            lost.add(entry)
            continue
        try:
            _compute_in_turn(entry, store)
            report(done, len(todo), describe(entry))
        except Problem as problem:  # the rest is finished first, as on a cluster
            problems.append(problem)
            lost.add(entry)
    if problems:
        raise problems[0]


def _on_cluster(todo: list[Entry], store: Store, address: str | None, count: int, report: Report) -> None:
    import logging

    from distributed import Client, LocalCluster, as_completed

    # Port 0: any free one. The default's is taken, with a warning, where another cluster runs on this machine.
    cluster = address or LocalCluster(n_workers=count, threads_per_worker=1, host="127.0.0.1",
                                      dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR)
    with Client(cluster) as client:
        # Two clients may share a cluster, and a key once failed must not be remembered: the run is part of the name.
        run, futures = f"{os.getpid()}-{time.time_ns()}", {}
        # Long chains first: what most others wait for.
        for place, entry in enumerate(todo):
            needed = [futures[parent] for parent in entry.parents if parent in futures]
            futures[entry] = client.submit(_on_worker, entry, store.root, needed, key=f"{entry.kind}-{entry.key}-{run}",
                                           pure=False, priority=-place, retries=0)
        problems, lines = [], {future: describe(entry) for entry, future in futures.items()}
        for done, future in enumerate(as_completed(list(futures.values())), 1):
            if future.status == "error":
                problems.append(future.exception())
            else:
                report(done, len(todo), lines[future])
    if address is None:
        cluster.close()
    if problems:
        raise next((p for p in problems if isinstance(p, Problem)), problems[0])


def _on_worker(entry: Entry, root: Path, parents: list[str]) -> str:
    """Compute one entry in a worker; `parents` is what Dask waits for."""
    _keep_freed_memory()
    _compute_in_turn(entry, Store(root))
    return entry.key


def _compute_in_turn(entry: Entry, store: Store) -> None:
    """Compute `entry`, or wait until the process that holds its lock has (or has died: then it is ours to compute)."""
    # Whoever holds the lock waits for nobody, so waiting for it cannot become a circle.
    while not store.holds(entry):
        try:
            compute(entry, store)
        except Busy:
            time.sleep(0.5)


def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees: giving every activation back to the system (Dask's default) doubles its cost."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the most it takes


def compute(entry: Entry, store: Store) -> None:
    """Compute `entry` from its stored parents and store it, unless it is there. Raises Busy, or Problem by name."""
    with store.lock(entry):
        if store.holds(entry):
            return
        begun = time.perf_counter()
        arrays, metrics = _made(entry, store)
        store.put(entry, arrays, metrics, _provenance(entry, time.perf_counter() - begun))


def _made(entry: Entry, store: Store) -> tuple[Arrays, Metrics]:
    """What `entry` is, computed on one torch thread: the number of cores must not change its bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return COMPUTE[type(entry)](entry, store)
    finally:
        torch.set_num_threads(threads)


def recheck(entry: Entry, store: Store) -> str:
    """Compute a stored `entry` again and say how it differs; empty where its digest is the same.

    Equal bits are promised for the engine, versions and processor model an entry was made with; where those are others,
    the answer says so.
    """
    kept = store.get(entry)
    arrays, metrics = _made(entry, store)
    if digest_of(arrays, metrics) == kept.digest:
        return ""
    now = _provenance(entry, 0)
    other = [f"{name} {kept.provenance[name]} then, {now[name]} now" for name in ("torch", "cpu", "device", "package")
             if kept.provenance[name] != now[name]]
    return f"{entry.kind} {entry.key[:12]} differs ({'; '.join(other) or 'same versions and processor'})"


def describe(entry: Entry) -> str:
    """One line about an entry, for people."""
    match entry:
        case specs.Distilled():
            return f"synthetic set, {entry.ipc} per class from {entry.dataset.name}"
        case specs.Subnetwork():
            return f"mask at level {entry.level}, initialisation {entry.init_seed}"
        case specs.Trained():
            return f"training at level {entry.subnetwork.level}, order {entry.order_seed}"
        case specs.Path():
            return f"path at level {entry.subnetwork.level}"
    return entry.kind


# How each kind is computed: (entry, store) -> (arrays, metrics).


def _distilled(entry: specs.Distilled, store: Store) -> tuple[Arrays, Metrics]:
    from synthprune.distill import distribution_matching

    made = distribution_matching(_split(entry.dataset), ipc=entry.ipc, factor=entry.factor, steps=entry.steps, lr=entry.lr,
                                 real_batch=entry.real_batch, width=entry.width, seed=entry.seed, device=device())
    return {"images": made.images, "labels": made.labels}, {"factor": made.factor, "name": made.name}


def _subnetwork(entry: specs.Subnetwork, store: Store) -> tuple[Arrays, Metrics]:
    from synthprune import pruning

    trained = _tensors(store.get(entry.round).arrays)
    masks = pruning.prune_by_magnitude(trained, _masks(entry.at(entry.level - 1), store), entry.search.fraction)
    arrays = {f"mask/{name}": mask.numpy() for name, mask in masks.items()}
    if entry.search.rewind == "weights":
        arrays |= {f"kept/{name}": value.numpy() for name, value in trained.items() if name not in masks}
    return arrays, {"sparsity": pruning.sparsity(masks), "collapsed": pruning.collapsed(masks),
                    "survivors": {name: int(mask.sum()) for name, mask in masks.items()}}


def _trained(entry: specs.Trained, store: Store) -> tuple[Arrays, Metrics]:
    from synthprune.training import Progress, Recipe, train

    saved = store.load_checkpoint(entry)
    resume = None if saved is None else Progress(saved[0], _part(saved[1], "state/"), _part(saved[1], "momentum/"),
                                                 _part(saved[1], "losses/")["all"])

    def keep(progress: Progress) -> None:
        groups = {"state": progress.state, "momentum": progress.momentum, "losses": {"all": progress.losses}}
        store.save_checkpoint(entry, {f"{group}/{name}": tensor.numpy() for group, tensors in groups.items()
                                      for name, tensor in tensors.items()}, progress.step)

    state, losses = train(
        _network(entry.subnetwork), _start(entry.subnetwork, store), _masks(entry.subnetwork, store),
        _training_data(entry, store), Recipe(**dict(entry.recipe)), order_seed=entry.order_seed, first_epoch=entry.first_epoch,
        stop_epoch=entry.stop_epoch, resume=resume, checkpoint=keep, every_seconds=CHECKPOINT_SECONDS)
    finite = bool(np.isfinite(losses).all())
    return {name: value.numpy() for name, value in state.items()}, {
        "epoch_losses": [float(v) if np.isfinite(v) else None for v in losses], "diverged": not finite}


def _path(entry: specs.Path, store: Store) -> tuple[Arrays, Metrics]:
    from synthprune.analysis.connectivity import path_losses

    subnetwork, split = entry.subnetwork, _split(entry.dataset)
    first, second = (store.get(end) for end in entry.ends)
    losses = path_losses(
        _network(subnetwork), _tensors(first.arrays), _tensors(second.arrays), _masks(subnetwork, store),
        _resident(split.train_images, split.train_labels, split), _resident(split.test_images, split.test_labels, split),
        points=entry.points, recompute_statistics=entry.batch_norm == "recomputed")
    collapsed = store.get(subnetwork).metrics["collapsed"] if subnetwork.level else []
    return vars(losses), {"collapsed": collapsed, "diverged": first.metrics["diverged"] or second.metrics["diverged"],
                          "train_images": len(split.train_labels), "test_images": len(split.test_labels)}


COMPUTE: dict[type[Entry], Callable[[Any, Store], tuple[Arrays, Metrics]]] = {
    specs.Distilled: _distilled, specs.Subnetwork: _subnetwork, specs.Trained: _trained, specs.Path: _path}


# Parts that several kinds need.


def device() -> str:
    """SYNTHPRUNE_DEVICE, or the first GPU there is, or the CPU."""
    import torch

    return os.environ.get("SYNTHPRUNE_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


def _split(dataset: specs.Dataset) -> Split:
    from synthprune.data.datasets import load

    return load(dataset.name, dataset.train_per_class, dataset.pixels)


def _network(subnetwork: specs.Subnetwork) -> Any:
    from synthprune.data.datasets import facts
    from synthprune.models import build

    known, architecture = facts(subnetwork.dataset.name), subnetwork.architecture
    return build(architecture.name, channels=known.channels, pixels=subnetwork.dataset.pixels,
                 classes=len(known.classes), width=architecture.width, norm=architecture.norm)


def _masks(subnetwork: specs.Subnetwork, store: Store) -> Masks:
    from synthprune.models import prunable
    from synthprune.pruning import dense_masks

    if subnetwork.level == 0:
        network = _network(subnetwork)
        return dense_masks(network.state_dict(), prunable(network))
    return _part(store.get(subnetwork).arrays, "mask/")


def _start(subnetwork: specs.Subnetwork, store: Store) -> State:
    """The state a subnetwork is trained from."""
    from synthprune.models import initial_state
    from synthprune.pruning import rewound

    initial = initial_state(_network(subnetwork), subnetwork.init_seed)
    if subnetwork.level == 0:
        return initial
    if subnetwork.rewind_point is not None:
        initial = _tensors(store.get(subnetwork.rewind_point).arrays)
    rewind = "weights" if subnetwork.search.rewind == "weights" else "full"
    return rewound(initial, _part(store.get(subnetwork).arrays, "kept/"), _masks(subnetwork, store), rewind)


def _training_data(entry: specs.Trained, store: Store) -> Resident:
    from synthprune.data.synthetic import SyntheticSet, published, random_real

    dataset, data = entry.dataset, entry.data
    split = _split(dataset)
    match data:
        case specs.Real():
            return _resident(split.train_images, split.train_labels, split)
        case specs.Published():
            chosen = published(data.name)
        case specs.Coreset():
            chosen = random_real(split, data.ipc, data.factor, data.seed)
        case specs.Distilled():
            made = store.get(data)
            chosen = SyntheticSet(made.arrays["images"], made.arrays["labels"], made.metrics["factor"])
    return _resident(*chosen.decoded(dataset.pixels), split)


def _resident(images: np.ndarray, labels: np.ndarray, split: Split) -> Resident:
    from synthprune.training import Resident

    return Resident.of(images, labels, split.facts, device())


def _tensors(arrays: Arrays) -> State:
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _part(arrays: Arrays, prefix: str) -> State:
    return _tensors({name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)})


def _provenance(entry: Entry, seconds: float) -> Metrics:
    import torch

    on = device()
    return {
        "package": synthprune.__version__, "revision": revision(), "engine": "eager", "torch": torch.__version__,
        "numpy": np.__version__, "device": torch.cuda.get_device_name() if on.startswith("cuda") else on, "cpu": cpu(),
        "python": platform.python_version(), "seconds": round(seconds, 3), "data": _data_fingerprint(entry.dataset),
        "peak_memory_mb": _peak_memory(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds")}


def _peak_memory() -> int:
    """The most memory this process has held, in MB."""
    import psutil

    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if platform.system() == "Darwin" else 2**10)


@functools.lru_cache(maxsize=4)
def _data_fingerprint(dataset: specs.Dataset) -> str:
    from synthprune.data.images import fingerprint

    split = _split(dataset)
    return "+".join(fingerprint(*part) for part in ((split.train_images, split.train_labels),
                                                    (split.test_images, split.test_labels)))


@functools.cache
def revision() -> str:
    """The git revision of this checkout, marked if it has uncommitted changes; 'unknown' outside one."""
    def git(*words: str) -> str:
        # Without optional locks: a run killed here must not leave the checkout locked.
        return subprocess.run(["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True,
                              timeout=10, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@functools.cache
def cpu() -> str:
    """The processor's model name: results are the same bits only on the same."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
