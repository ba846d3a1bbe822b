"""From specifications to results: what is stored is loaded, what is missing is computed, here or on Dask workers.

What computes (torch and all) is imported only once something is missing: a page of stored results never loads it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from synthprune.machine import gpus, keep_freed_memory
from synthprune.problems import Problem
from synthprune.specs import Entry, Real, Trained, describe
from synthprune.store import Busy, Result, Store, StoreProblem

Report = Callable[[int, int, str], None]
"""Told (entries done, entries in all, a line about the one just finished, which begins with FAILED where it failed)."""
FAILED = "failed: "


def solve(requests: Mapping[str, Entry], store: Store, *, workers: int | None = None,
          report: Report = lambda done, total, line: None) -> dict[str, Result]:
    """The result of every request that can be had; missing ones are computed first, with all they rest on.

    A request whose data are not on this machine is left out (`unobtainable` names it and them); where that is every
    request, Problem is raised.

    `workers`: 1 computes in this process, more starts that many local Dask processes, None chooses: a cluster only
    where more than about half a minute of work is missing. SYNTHPRUNE_SCHEDULER names a running cluster to use instead.
    Raises Problem, after everything that could be finished is stored, where an entry could not be computed.
    """
    lacking = unobtainable(requests, store)
    if lacking and len(lacking) == len(requests):
        raise Problem(next(iter(lacking.values())))
    requests = {name: entry for name, entry in requests.items() if name not in lacking}
    fill(missing(requests, store), store, workers=workers, report=report)
    return {name: store.get(entry) for name, entry in requests.items()}


def fill(todo: list[Entry], store: Store, *, workers: int | None = None,
         report: Report = lambda done, total, line: None) -> None:
    """Compute `todo`, parents before children; what comes first is begun first. As `solve` otherwise."""
    if not todo:
        return
    from synthprune.compute import require_networks
    from synthprune.plan import worthwhile_workers

    require_networks(todo)
    address = os.environ.get("SYNTHPRUNE_SCHEDULER")
    count = workers or (1 if address else worthwhile_workers(todo))
    if address or count > 1:
        _on_cluster(todo, store, address, count, report)
    else:
        _in_process(todo, store, report)


def missing(requests: Mapping[str, Entry], store: Store) -> list[Entry]:
    """What must be computed for the requests, parents first: nothing that only a stored result would need."""
    ordered: dict[Entry, None] = {}

    def visit(entry: Entry) -> None:
        if entry not in ordered and not store.has(entry):
            for parent in entry.parents:
                visit(parent)
            ordered[entry] = None

    for entry in requests.values():
        visit(entry)
    return list(ordered)


def unobtainable(requests: Mapping[str, Entry], store: Store) -> dict[str, str]:
    """The requests that need data which are not on this machine: {name: which data, and how to get them}."""
    todo = missing(requests, store)
    if not todo:
        return {}
    from synthprune.compute import lacking

    looked_up, reasons = functools.cache(lacking), {}
    for entry in todo:
        data = entry.data if isinstance(entry, Trained) else Real()
        reason = looked_up(entry.dataset, data) or next((reasons[parent] for parent in entry.parents if parent in reasons), "")
        if reason:
            reasons[entry] = reason
    return {name: reasons[entry] for name, entry in requests.items() if entry in reasons}


def _in_process(todo: list[Entry], store: Store, report: Report) -> None:
    keep_freed_memory()
    problems: list[Problem] = []
    lost: set[Entry] = set()
    for done, entry in enumerate(todo, 1):
        if not lost.isdisjoint(entry.parents):
            lost.add(entry)
            continue
        try:
            _compute_in_turn(entry, store, alone=True)
            report(done, len(todo), describe(entry))
        except StoreProblem:
            raise
        except Problem as problem:  # the rest is finished first, as on a cluster
            problems.append(problem)
            lost.add(entry)
            report(done, len(todo), f"{FAILED}{problem}")
    if problems:
        raise problems[0]


def _on_cluster(todo: list[Entry], store: Store, address: str | None, count: int, report: Report) -> None:
    import logging

    from distributed import Client, LocalCluster, as_completed
    from distributed.scheduler import KilledWorker

    # Port 0: any free one. The default's is taken, with a warning, where another cluster runs on this machine.
    place = contextlib.nullcontext(address) if address else LocalCluster(
        n_workers=count, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR)
    problems: list[BaseException] = []
    with place as cluster, Client(cluster) as client:
        # Two clients may share a cluster, and a key once failed must not be remembered: the run is part of the name.
        run, futures = f"{os.getpid()}-{time.time_ns()}", {}
        for rank, entry in enumerate(todo):
            needed = [futures[parent] for parent in entry.parents if parent in futures]
            futures[entry] = client.submit(_on_worker, entry, store.root, store.shelves, needed, pure=False, priority=-rank,
                                           retries=0, key=f"{entry.kind}-{entry.key}-{run}")
        lines = {future: describe(entry) for entry, future in futures.items()}
        for done, future in enumerate(as_completed(list(futures.values())), 1):
            if future.status != "error":
                report(done, len(todo), lines[future])
                continue
            problems.append(future.exception())
            if isinstance(problems[-1], StoreProblem):
                break
            report(done, len(todo), f"{FAILED}{problems[-1] or type(problems[-1]).__name__}")
    if problems:
        first = next((p for p in problems if isinstance(p, Problem)), problems[0])
        if isinstance(first, KilledWorker):
            raise Problem("a worker process was killed several times over, most often for want of memory: try --workers 1")
        raise first


def _on_worker(entry: Entry, root: Path, shelves: Iterable[Path], parents: list[str]) -> str:
    """Compute one entry in a worker, on a GPU of its own where there are any; `parents` is what Dask waits for."""
    from distributed import get_worker

    name = get_worker().name
    if isinstance(name, int) and gpus():
        os.environ.setdefault("SYNTHPRUNE_DEVICE", f"cuda:{name % gpus()}")
    keep_freed_memory()
    _compute_in_turn(entry, Store(root, shelves), alone=False)
    return entry.key


def _compute_in_turn(entry: Entry, store: Store, *, alone: bool) -> None:
    """Compute `entry`, or wait until the process that holds its lock has (or has died: then it is ours to compute)."""
    from synthprune.compute import compute

    # Whoever holds the lock waits for nobody, so waiting for it cannot become a circle.
    while not store.holds(entry):
        try:
            compute(entry, store, alone=alone)
        except Busy:
            time.sleep(0.5)
