"""Entries computed on Dask workers, which need not share a disk with the client. `worker` is the other side.

The client submits an entry once its parents are stored, to as many workers as there are, and stores what comes back,
whole or not at all. So neither the scheduler nor the client ever holds more than what the workers are at.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import queue
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, LocalCluster
from distributed.scheduler import KilledWorker

from synthprune import home, own
from synthprune.machine import interrupted
from synthprune.problems import Problem, Unreachable, line
from synthprune.results import worker
from synthprune.results.crew import GO_ON, Crew, say
from synthprune.results.specs import Entry, describe, own_names
from synthprune.results.store import Busy, Store, StoreProblem
from synthprune.results.worker import Place

CONNECT_SECONDS = 10
BEAT_SECONDS = 5.0
"""Between two rounds of asking the workers for a sign of life."""
STALL_SECONDS = 300.0
"""Without a sign of life (processor time, a checkpoint) a worker is named; after twice that its entry is tried elsewhere."""
TRIES = 3
"""How many workers an entry may take with it."""


def on_cluster(todo: list[Entry], store: Store, address: str | None, count: int, report: Any) -> None:
    """Compute `todo`, parents first, on the cluster at `address`, or on one of `count` local processes. As `solve.fill`."""
    for name in ["asyncio", *logging.root.manager.loggerDict]:  # what Dask has to say in many lines is said in one
        if name.startswith(("asyncio", "distributed", "tornado")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"})
    where = address or "this machine"
    with _connected(address, count) as client, store.marked() as mark:
        _require_here(client, where)
        # Two clients may share a cluster, and a key once failed must not be remembered: the run is part of the name.
        place = Place(mark.stem, str(store.root), tuple(map(str, store.shelves)), str(mark), str(home.data_folder()),
                      worker.files(todo), os.environ.get("SYNTHPRUNE_DEVICE", ""))
        run = _Run(todo, store, client, Crew(client, where, place), report)
        try:
            run.all()
        except (OSError, RuntimeError, TimeoutError):  # of Dask's comms: what entries raise is kept for the end
            raise Problem(f"the cluster at {where} does not answer any more: start it again; {GO_ON}") from None
        finally:
            run.close()
    if run.problems:
        raise run.problems[0]


def _require_here(client: Client, where: str) -> None:
    """Dask's scheduler reads what it hands on. Raises Problem where it cannot read ours."""
    try:
        there = f"synthprune {client.run_on_scheduler(worker.versions)['synthprune']}"
    except ImportError:
        there = "no synthprune"
    if there != (here := f"synthprune {worker.versions()['synthprune']}"):
        raise Problem(f"the scheduler at {where} has {there} ({here} here): install the same version where it runs")


@contextlib.contextmanager
def _connected(address: str | None, count: int) -> Iterator[Client]:
    if not address:
        # Port 0: any free one. The default's is taken, with a warning, where another cluster runs on this machine.
        # Memory 0: no limit. Dask's, a share for each, pauses for good a worker that keeps what it freed.
        with LocalCluster(n_workers=count, threads_per_worker=1, memory_limit=0, host="127.0.0.1",
                          dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL) as cluster, Client(cluster) as client:
            yield client
        return
    file = Path(address).is_file()
    try:
        client = Client(timeout=CONNECT_SECONDS, **({"scheduler_file": address} if file else {"address": address}))
    except Exception as error:  # of many kinds, by what is wrong with the address
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unreachable(f"no Dask scheduler answers at {address} ({reason}): SYNTHPRUNE_SCHEDULER and --scheduler take an"
                          " address such as tcp://HOST:8786 or tls://HOST:8786, or a scheduler file") from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # it may be gone
            client.close(timeout=CONNECT_SECONDS)


@dataclass
class _Task:
    """An entry on its way. `carried`: with what it rests on, under the lock that this client holds; else by the shared store."""

    entry: Entry
    future: Future[Any]
    locked: contextlib.ExitStack
    carried: bool = False
    worker: str = ""
    moved: float = field(default_factory=time.monotonic)
    seen: tuple[float, int] = (0.0, 0)
    named: bool = False


class _Run:
    """One client's work on a cluster: what becomes of each entry."""

    def __init__(self, todo: list[Entry], store: Store, client: Client, crew: Crew, report: Any) -> None:
        self._todo, self._store, self._client, self._crew, self._report = todo, store, client, crew, report
        self._rank = {entry: rank for rank, entry in enumerate(todo)}
        self._wait = {entry: sum(parent in self._rank for parent in entry.parents) for entry in todo}
        self._children: dict[Entry, list[Entry]] = {entry: [] for entry in todo}
        for entry in todo:
            for parent in entry.parents:
                if parent in self._rank:
                    self._children[parent].append(entry)
        self._ready = [rank for rank, entry in enumerate(todo) if not self._wait[entry]]
        self._elsewhere: list[int] = []
        self._suspects: list[int] = []
        self._tasks: dict[str, _Task] = {}
        self._ended: queue.Queue[Future[Any]] = queue.Queue()
        self._done, self._looked = 0, 0.0
        self._tries: Counter[Entry] = Counter()
        self._steps: dict[Entry, int] = {}
        self._left: set[str] = set()
        self.problems: list[Problem] = []

    def all(self) -> None:
        self._look_round()
        while self._ready or self._elsewhere or self._tasks or self._suspects:
            while self._ready and len(self._tasks) < len(self._crew.shared):
                self._submit(heapq.heappop(self._ready))
            if self._suspects and not self._tasks and self._crew.shared:
                self._submit(self._suspects.pop())
            with contextlib.suppress(queue.Empty):
                self._end(self._ended.get(timeout=min(BEAT_SECONDS, 0.5)))
            if interrupted.is_set():
                self._stop()
            if time.monotonic() - self._looked > BEAT_SECONDS:
                self._look_round()
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):  # all is done: that the cluster ends now is no fault
            for address in self._crew.gone():  # since the last look
                say(f"the worker {address} was lost: what it had begun was begun again elsewhere")

    def close(self) -> None:
        """Let go of all locks and futures."""
        for task in self._tasks.values():
            task.locked.close()
            with contextlib.suppress(Exception):
                task.future.cancel()
        self._tasks.clear()

    # An entry's way.

    def _submit(self, rank: int) -> None:
        entry, shared = self._todo[rank], all(self._crew.shared.values())
        with contextlib.ExitStack() as locked:
            if not shared:
                try:
                    locked.enter_context(self._store.lock(entry))
                except Busy:
                    self._elsewhere.append(rank)
                    return
                if self._store.holds(entry):  # another process was at it, and is done
                    self._finish(entry)
                    return
            try:
                parents = None if shared else {parent.key: self._store.get(parent) for parent in entry.parents}
            except Problem as problem:  # one is damaged
                self._fail(problem)
                return
            checkpoint = None if shared else self._store.load_checkpoint(entry)
            key = f"{entry.kind}-{entry.key}-{secrets.token_hex(8)}"
            future = self._client.submit(worker.compute_here, self._crew.place.run, key, entry, parents, checkpoint,
                                         own.sources(own_names(entry)), key=key, pure=False, priority=-rank, retries=0)
            self._tasks[key] = _Task(entry, future, locked.pop_all(), carried=not shared)
            future.add_done_callback(self._ended.put)

    def _end(self, future: Future[Any]) -> None:
        task = self._tasks.get(str(future.key))
        if task is None:  # given up before
            return
        if future.status == "finished":
            self._keep(task)
        elif future.status == "error":
            self._fault(task, future.exception())
        elif self._client.status != "running":
            raise OSError("lost with the cluster")
        else:  # cancelled, or lost with its worker
            self._again(task)

    def _keep(self, task: _Task) -> None:
        try:
            result = task.future.result(timeout=CONNECT_SECONDS * 12)
        except TimeoutError:  # its worker is gone with it
            self._again(task)
            return
        except Exception as error:  # as before, and computing it once more failed
            self._fault(task, error)
            return
        if result is not None:
            self._store.put(task.entry, result.arrays, result.metrics, result.provenance)
        self._let_go(task)
        self._finish(task.entry)

    def _finish(self, entry: Entry) -> None:
        self._done += 1
        for child in self._children[entry]:
            self._wait[child] -= 1
            if not self._wait[child]:
                heapq.heappush(self._ready, self._rank[child])
        self._report(self._done, len(self._todo), describe(entry))

    def _fault(self, task: _Task, error: BaseException) -> None:
        if isinstance(error, StoreProblem):
            raise error
        if isinstance(error, worker.NotShared):
            self._again(task)
            return
        self._let_go(task)
        if isinstance(error, KilledWorker):  # which Dask also says of what only waited where another killed the workers
            self._tries[task.entry] += TRIES
            if self._tries[task.entry] < 2 * TRIES:
                self._suspects.append(self._rank[task.entry])  # so it is tried once more, by itself
                return
            error = _deadly(task.entry)
        self._fail(error if isinstance(error, Problem) else Problem(f"{describe(task.entry)}: {line(error)}"))

    def _fail(self, problem: Problem) -> None:
        """What rests on a failed entry is never begun; the rest is."""
        self._done += 1
        self.problems.append(problem)
        self._report(self._done, len(self._todo), f"failed: {problem}")

    def _again(self, task: _Task) -> None:
        self._let_go(task)
        heapq.heappush(self._ready, self._rank[task.entry])

    def _let_go(self, task: _Task) -> None:
        del self._tasks[str(task.future.key)]
        task.locked.close()
        task.future.release()

    # What the workers are at.

    def _look_round(self) -> None:
        gone = self._crew.look()
        for address in gone:
            at = [task for task in self._tasks.values() if task.worker == address]
            for task in at:
                self._lost(task, f"the worker {address} was lost")
            # Before its first sign of life, or Dask gave what it was at to another before it was seen to be gone.
            if not at and (address in self._left or not all(task.worker for task in self._tasks.values())):
                say(f"the worker {address} was lost: what it had begun is begun again")
        self._ask(stop=False)
        for task in list(self._tasks.values()):
            self._watch(task)
        self._ready += self._elsewhere
        self._elsewhere = []
        heapq.heapify(self._ready)
        self._looked = time.monotonic()

    def _ask(self, stop: bool) -> None:
        """Every worker for a sign of life, and then for the checkpoints that are news: of these, one may take its time."""
        beats = [(self._tasks[beat.task], address, beat) for address, beat in self._crew.beats(list(self._tasks), stop)
                 if beat.task in self._tasks]
        for task, address, beat in beats:
            if task.worker not in ("", address):
                self._left.add(task.worker)
            if task.carried and task.worker != address:
                self._store.tell_worker(task.entry, address)
            task.worker, sign = address, (beat.seconds, beat.saved)
            if beat.told:
                self._store.tell(task.entry, *beat.told)
            if sign != task.seen:
                task.seen, task.moved, task.named = sign, time.monotonic(), False
        for task, address, beat in beats:
            if beat.saved > self._steps.get(task.entry, 0) and (saved := self._crew.checkpoint(address, beat.task)):
                self._steps[task.entry], arrays = saved
                self._store.save_checkpoint(task.entry, arrays, saved[0])

    def _watch(self, task: _Task) -> None:
        still = time.monotonic() - task.moved
        if still < STALL_SECONDS or (task.named and not task.worker):
            return
        if not task.worker:
            task.named = True
            say(f"no worker has begun {describe(task.entry)} for {still:.0f} s: they are at another's work, or paused for want of"
                " memory (start them with --memory-limit 0), or too few")
        elif not task.named:
            task.named = True
            say(f"no sign of life from the worker {task.worker} for {still:.0f} s: {describe(task.entry)}; after as long again"
                 " it is tried elsewhere")
        elif still > 2 * STALL_SECONDS:
            self._crew.restart(task.worker)
            self._lost(task, f"the worker {task.worker} did not move")

    def _lost(self, task: _Task, what: str) -> None:
        self._tries[task.entry] += 1
        task.future.cancel()
        if self._tries[task.entry] < TRIES:
            say(f"{what}: {describe(task.entry)}: it is tried again")
            self._again(task)
        else:
            self._let_go(task)
            self._fail(_deadly(task.entry))

    def _stop(self) -> None:
        """Trainings save where they are, and what they saved comes here."""
        self._ask(stop=True)
        time.sleep(1)
        self._ask(stop=True)
        raise KeyboardInterrupt


def _deadly(entry: Entry) -> Problem:
    return Problem(f"{describe(entry)}: each of {TRIES} or more workers that began it was killed, most often for want of memory:"
                   " try fewer workers (--workers 1), or some with more memory; all else is done")
