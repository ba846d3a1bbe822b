"""Entries computed on Dask workers, which need not share a disk with the client. `worker` is the other side.

The client submits an entry once its parents are stored, to as many workers as there are, and stores what comes back,
whole or not at all. So neither the scheduler nor the client ever holds more than what the workers are at.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import os
import queue
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, LocalCluster
from distributed.scheduler import KilledWorker

from synthprune import home, own
from synthprune.machine import interrupted, tell
from synthprune.problems import Problem
from synthprune.results import worker
from synthprune.results.specs import Entry, describe, own_names
from synthprune.results.store import Arrays, Busy, Store, StoreProblem
from synthprune.results.worker import Beat, Place, versions

CONNECT_SECONDS = 10
ANSWER_SECONDS = 10
"""For a worker to answer a question; it does so beside what it computes."""
BEAT_SECONDS = 5.0
"""Between two rounds of asking the workers for a sign of life."""
NO_WORKER_SECONDS = 120.0
"""How long a run waits where no worker is left."""
STALL_SECONDS = 300.0
"""Without a sign of life (processor time, a checkpoint) a worker is named; after twice that its entry is tried elsewhere."""
TRIES = 3
"""How many workers an entry may take with it."""
CHUNK = 2**26
"""Bytes of a data set that travel at once."""
SEND_SECONDS = 600
"""For one such piece, and for a checkpoint."""
GO_ON = "what was finished is stored, and the same command goes on from there"


def on_cluster(todo: list[Entry], store: Store, address: str | None, count: int, report: Any) -> None:
    """Compute `todo`, parents first, on the cluster at `address`, or on one of `count` local processes. As `solve.fill`."""
    for name in ["asyncio", *logging.root.manager.loggerDict]:  # what Dask has to say in many lines is said in one
        if name.startswith(("asyncio", "distributed", "tornado")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"})
    where = address or "this machine"
    with _connected(address, count) as client, store.marked() as mark:
        # Two clients may share a cluster, and a key once failed must not be remembered: the run is part of the name.
        place = Place(mark.stem, store.root, store.shelves, mark, home.data_folder(), worker.files(todo),
                      os.environ.get("SYNTHPRUNE_DEVICE", ""))
        run = _Run(todo, store, client, _Crew(client, where, place), report)
        try:
            run.all()
        except (OSError, RuntimeError, TimeoutError):  # of Dask's comms: what entries raise is kept for the end
            raise Problem(f"the cluster at {where} does not answer any more: start it again; {GO_ON}") from None
        finally:
            run.close()
    if run.problems:
        raise next((problem for problem in run.problems if isinstance(problem, Problem)), run.problems[0])


@contextlib.contextmanager
def _connected(address: str | None, count: int) -> Iterator[Client]:
    if not address:
        # Port 0: any free one. The default's is taken, with a warning, where another cluster runs on this machine.
        with LocalCluster(n_workers=count, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0",
                          silence_logs=logging.CRITICAL) as cluster, Client(cluster) as client:
            yield client
        return
    file = Path(address).is_file()
    try:
        client = Client(timeout=CONNECT_SECONDS, **({"scheduler_file": address} if file else {"address": address}))
    except Exception as error:  # of many kinds, by what is wrong with the address
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Problem(f"no Dask scheduler answers at {address} ({reason}): SYNTHPRUNE_SCHEDULER and --scheduler take an"
                      " address such as tcp://HOST:8786 or tls://HOST:8786, or a scheduler file") from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # it may be gone
            client.close(timeout=CONNECT_SECONDS)


def _say(line: str) -> None:
    tell(f"{datetime.now():%d %b %H:%M}  {line}")


@dataclass
class _Task:
    """An entry on its way, under the lock that this client holds where workers share no store."""

    entry: Entry
    future: Future[Any]
    locked: contextlib.ExitStack
    worker: str = ""
    moved: float = field(default_factory=time.monotonic)
    seen: tuple[float, int] = (0.0, 0)
    named: bool = False


class _Run:
    """One client's work on a cluster: what becomes of each entry."""

    def __init__(self, todo: list[Entry], store: Store, client: Client, crew: _Crew, report: Any) -> None:
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
        self.problems: list[BaseException] = []

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
                parents = {} if shared else {parent.key: self._store.get(parent) for parent in entry.parents}
            except Problem as problem:  # one is damaged
                self._fail(problem)
                return
            checkpoint = None if shared else self._store.load_checkpoint(entry)
            key = f"{entry.kind}-{entry.key}-{secrets.token_hex(8)}"
            future = self._client.submit(worker.compute_here, self._crew.place.run, key, entry, parents, checkpoint,
                                         own.sources(own_names(entry)), key=key, pure=False, priority=-rank, retries=0)
            self._tasks[key] = _Task(entry, future, locked.pop_all())
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
        self._let_go(task)
        if isinstance(error, KilledWorker):  # which Dask also says of what only waited where another killed the workers
            self._tries[task.entry] += TRIES
            if self._tries[task.entry] < 2 * TRIES:
                self._suspects.append(self._rank[task.entry])  # so it is tried once more, by itself
                return
            error = _deadly(task.entry)
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """What rests on a failed entry is never begun; the rest is."""
        self._done += 1
        self.problems.append(error)
        self._report(self._done, len(self._todo), f"failed: {error or type(error).__name__}")

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
            if not at and not all(task.worker for task in self._tasks.values()):  # before its first sign of life
                _say(f"the worker {address} was lost: what it had begun is begun again")
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
        if not task.worker or still < STALL_SECONDS:
            return
        if not task.named:
            task.named = True
            _say(f"no sign of life from the worker {task.worker} for {still:.0f} s: {describe(task.entry)}; after as long again"
                 " it is tried elsewhere")
        elif still > 2 * STALL_SECONDS:
            self._crew.restart(task.worker)
            self._lost(task, f"the worker {task.worker} did not move")

    def _lost(self, task: _Task, what: str) -> None:
        self._tries[task.entry] += 1
        task.future.cancel()
        if self._tries[task.entry] < TRIES:
            _say(f"{what}: {describe(task.entry)}: it is tried again")
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


class _Crew:
    """The workers of a cluster as one run knows them. `shared`: those that were told all, and whether they see the store."""

    def __init__(self, client: Client, where: str, place: Place) -> None:
        self._client, self._where, self.place = client, where, place
        self.shared: dict[str, bool] = {}
        self._numbers: dict[str, int] = {}
        self._there = time.monotonic()

    def look(self) -> Collection[str]:
        """Who is gone; whoever is new is told. Raises Problem where nobody has been there for long, or cannot begin."""
        there = self._client.nthreads()
        gone = self.shared.keys() - there.keys()
        self.shared = {address: shared for address, shared in self.shared.items() if address in there}
        self._number(there)
        found = self._each(there.keys() - self.shared.keys(), worker.arrive, self.place, self._numbers)
        for address, one in found.items():
            _check(address, one)
        ready = {address for address, one in found.items() if one["data"]}
        ready |= self._send(found.keys() - ready)
        self.shared |= {address: found[address]["shared"] for address in ready}
        if there:
            self._there = time.monotonic()
        elif time.monotonic() - self._there > NO_WORKER_SECONDS:
            raise Problem(f"no worker has been at {self._where} for {NO_WORKER_SECONDS:.0f} s: start some; {GO_ON}")
        return gone

    def _number(self, there: Collection[str]) -> None:
        """Count the workers of each host; a newcomer has the lowest number that is free there."""
        self._numbers = {address: number for address, number in self._numbers.items() if address in there}
        for address in sorted(set(there) - self._numbers.keys()):
            host = address.rpartition(":")[0]
            taken = {number for other, number in self._numbers.items() if other.rpartition(":")[0] == host}
            self._numbers[address] = next(number for number in itertools.count() if number not in taken)

    def beats(self, wanted: Collection[str], stop: bool) -> list[tuple[str, Beat]]:
        found = self._each(self.shared, worker.beat, self.place.run, wanted, stop)
        return [(address, beat) for address, beat in found.items() if isinstance(beat, Beat)]

    def checkpoint(self, address: str, task: str) -> tuple[int, Arrays] | None:
        """What a worker last saved of `task`; None where it has ended meanwhile."""
        return self._each([address], worker.checkpoint, task, seconds=SEND_SECONDS).get(address)

    def restart(self, address: str) -> None:
        """By its nanny; where it has none, or that is out of reach too, the worker is left aside for good."""
        found = {}
        with contextlib.suppress(ValueError):
            found = self._client.restart_workers([address], timeout=ANSWER_SECONDS, raise_for_error=False)
        if found.get(address) != "OK":
            self._client.retire_workers([address], remove=True, close_workers=True)

    def _each(self, workers: Collection[str], function: Callable[..., Any], *args: Any, seconds: float | None = None,
              ) -> dict[str, Any]:
        """What every worker answers (or raises), each in its time: one that is lost or stuck is left out."""
        async def one(address: str) -> dict[str, Any]:
            with contextlib.suppress(OSError, TimeoutError):
                asked = self._client.run(function, *args, workers=[address], on_error="return")
                return await asyncio.wait_for(asked, seconds or ANSWER_SECONDS)
            return {}

        async def all_of_them() -> list[dict[str, Any]]:
            return await asyncio.gather(*map(one, workers))

        return {address: answer for found in self._client.sync(all_of_them) for address, answer in found.items()
                if not isinstance(answer, OSError | TimeoutError)}

    def _send(self, workers: Collection[str]) -> set[str]:
        """Data sets travel in pieces, once to each worker that has not had them, by whatever run. Returns who has them."""
        if not workers:
            return set()
        run, files = self.place.run, self.place.files
        digest = worker.digest({name: path for name, (path, *_) in files.items()})

        def have(some: Collection[str]) -> set[str]:
            return {address for address, here in self._each(some, worker.settle, run, digest).items() if here is True}

        async def to_all(*piece: Any) -> None:
            sent = self._client.run(worker.receive, run, *piece, workers=lacking, on_error="ignore")
            await asyncio.wait_for(sent, SEND_SECONDS)

        had = have(workers)
        lacking = [address for address in workers if address not in had]
        with contextlib.suppress(TimeoutError):  # the next look tries again
            for name, (path, *_) in files.items() if lacking else ():
                with path.open("rb") as stream:
                    while chunk := stream.read(CHUNK):
                        self._client.sync(to_all, name, stream.tell() - len(chunk), chunk)
        return had | have(lacking)


def _check(address: str, one: Any) -> None:
    """Raises Problem where a worker cannot do this client's work; a line is said where its results may differ."""
    if isinstance(one, Problem):
        raise Problem(f"the worker {address} cannot begin: {one}")
    if isinstance(one, BaseException):
        raise Problem(f"the worker {address} cannot begin ({type(one).__name__}: {one}): install synthprune"
                      f" {versions()['synthprune']} where it runs")
    if one["threads"] != 1:
        raise Problem(f"the worker {address} has {one['threads']} threads: start one worker for each core or GPU, with"
                      " 'dask worker --nthreads 1 --nworkers N ADDRESS'")
    other = {name: version for name, version in one["versions"].items() if version != versions()[name]}
    words = ", ".join(f"{name} {version} ({versions()[name]} here)" for name, version in other.items())
    if "synthprune" in other:
        raise Problem(f"the worker {address} has {words}: install the same version on both sides")
    if other:
        _say(f"the worker {address} has {words}: its results may differ in the last bits")
