"""From specifications to results: what is stored is loaded, what is missing is computed, here or on Dask workers.

What computes (torch and all) is imported only once something is missing: a page of stored results never loads it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from synthprune.machine import interrupted, keep_freed_memory
from synthprune.problems import Problem
from synthprune.results.specs import Entry, Real, Trained, describe
from synthprune.results.store import Busy, Result, Store, StoreProblem

Report = Callable[[int, int, str], None]
"""Told (entries done, entries in all, a line about the one just finished, which begins with FAILED where it failed)."""
FAILED = "failed: "
GRACE_SECONDS = 5
"""After Ctrl-C, for a training to save where it is."""


def solve(requests: Mapping[str, Entry], store: Store, *, workers: int | None = None,
          report: Report = lambda done, total, line: None) -> dict[str, Result]:
    """The result of every request that can be had; missing ones are computed first, with all they rest on.

    A request whose data are not on this machine is left out (`unobtainable` names it and them); where that is every
    request, Problem is raised.

    `workers`: 1 computes in this process, more starts that many local Dask processes, None chooses: a cluster only
    where more than about half a minute of work is missing. SYNTHPRUNE_SCHEDULER names a running cluster to use
    instead: an address, or a scheduler file. Raises Problem, after everything that could be finished is stored, where
    an entry could not be computed.
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
    from synthprune.results.obstacles import require_networks
    from synthprune.results.plan import worthwhile_workers

    require_networks(todo)
    address = os.environ.get("SYNTHPRUNE_SCHEDULER")
    count = min(workers, len(todo)) if workers else 1 if address else worthwhile_workers(todo)
    with interruptible():
        if address or count > 1:
            from synthprune.results.cluster import on_cluster

            on_cluster(todo, store, address, count, report)
        else:
            with store.marked():
                _in_process(todo, store, report)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """The first Ctrl-C lets a training save where it is; GRACE_SECONDS later, or at the second, all is broken off."""
    # No signal arrives in a thread; and a shell's background process is to pass over the Ctrl-C that is meant for others.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield
        return
    timer = threading.Timer(GRACE_SECONDS, signal.raise_signal, [signal.SIGINT])
    timer.daemon = True

    def first(*_: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)
        timer.start()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
        interrupted.clear()


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
    """The requests that need data which are not on this machine, or what their network cannot do: {name: which and why}."""
    todo = missing(requests, store)
    if not todo:
        return {}
    from synthprune.results.obstacles import lacking, unable

    looked_up, reasons = functools.cache(lacking), dict[Entry, str]()
    for entry in todo:
        data = entry.data if isinstance(entry, Trained) else Real()
        reason = unable(entry) or looked_up(entry.dataset, data)
        reason = reason or next((reasons[parent] for parent in entry.parents if parent in reasons), "")
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
            compute_in_turn(entry, store, alone=True)
            report(done, len(todo), describe(entry))
        except StoreProblem:
            raise
        except Problem as problem:  # the rest is finished first, as on a cluster
            problems.append(problem)
            lost.add(entry)
            report(done, len(todo), f"{FAILED}{problem}")
    if problems:
        raise problems[0]


def compute_in_turn(entry: Entry, store: Store, *, alone: bool) -> None:
    """Compute `entry`, or wait until the process that holds its lock has (or has died: then it is ours to compute)."""
    from synthprune.results.compute import compute

    # Whoever holds the lock waits for nobody, so waiting for it cannot become a circle.
    while not store.holds(entry):
        if interrupted.is_set():
            raise KeyboardInterrupt
        try:
            compute(entry, store, alone=alone)
        except Busy:
            time.sleep(0.5)
