"""Entries computed on Dask workers, which need not share a disk with the client.

The client submits an entry once its parents are stored, a few more than there are workers to compute them. A worker that
sees the store's folder reads and writes there. Any other gets the parents' arrays with the entry and gives back its own,
which the client stores, whole or not at all; checkpoints come with the signs of life, for which every worker is asked
now and then.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import logging
import os
import platform
import queue
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, Worker, get_worker
from distributed.scheduler import KilledWorker

from synthprune import home, own
from synthprune.machine import gpus, interrupted, keep_freed_memory, tell
from synthprune.problems import Problem
from synthprune.specs import Entry, Published, Trained, describe, origin, own_names
from synthprune.store import Arrays, Busy, Metrics, Result, Store, StoreProblem

CONNECT_SECONDS = 10
BEAT_SECONDS = 5.0
"""Between two rounds of asking the workers for a sign of life."""
NO_WORKER_SECONDS = 120.0
"""How long a run waits where no worker is left."""
ARRIVE_SECONDS = 600
STALL_SECONDS = 300.0
"""Without a sign of life (processor time, a checkpoint) a worker is named; after twice that its entry is tried elsewhere."""
TRIES = 3
"""How many workers an entry may take with it."""
CHUNK = 2**26
"""Bytes of a data set that travel at once."""
GO_ON = "what was finished is stored, and the same command goes on from there"


class Gone(Problem):
    """The cluster does not answer any more."""


# On a worker.


class Carried(Store):
    """A store in memory, for a worker that shares no disk: the parents that came with an entry, and what becomes of it."""

    def __init__(self, held: Mapping[str, Result], checkpoint: tuple[int, Arrays] | None = None) -> None:
        super().__init__()
        self.held, self.checkpoint = dict(held), checkpoint

    def holds(self, entry: Entry) -> bool:
        return entry.key in self.held

    def get(self, entry: Entry) -> Result:
        return self.held[entry.key]

    def put(self, entry: Entry, arrays: Arrays, metrics: Metrics, provenance: Metrics) -> None:
        self.held[entry.key] = Result(entry.key, arrays, metrics, provenance)

    @contextlib.contextmanager
    def lock(self, entry: Entry) -> Iterator[None]:
        """The client holds the lock."""
        yield

    def save_checkpoint(self, entry: Entry, arrays: Arrays, step: int) -> None:
        self.checkpoint = step, {name: array.copy() for name, array in arrays.items()}

    def load_checkpoint(self, entry: Entry) -> tuple[int, Arrays] | None:
        return self.checkpoint and (self.checkpoint[0], dict(self.checkpoint[1]))


@dataclass(frozen=True)
class Place:
    """Where a run's things are, as its client sees them. `files`: {path below the data folder: (path, bytes, mtime in ns)}."""

    run: str
    root: Path
    shelves: tuple[Path, ...]
    data: Path
    files: Mapping[str, tuple[Path, int, int]]

    @property
    def token(self) -> Path:
        return self.root / "tmp" / f"{self.run}.run"


@dataclass
class _Work:
    """What this worker is at."""

    run: str = ""
    task: str = ""
    thread: int = 0
    store: Store | None = None


_work = _Work()
_places: dict[str, tuple[Place, bool]] = {}
"""By run: its place, and whether this worker shares its store."""
_data: dict[str, Path] = {}
"""By run: the folder with its data sets."""


def versions() -> dict[str, str]:
    """What must not differ between a client and its workers, or their results may."""
    return {"synthprune": metadata.version("synthprune"), "torch": metadata.version("torch"),
            "Python": platform.python_version()}


def _arrive(place: Place, dask_worker: Worker) -> dict[str, Any]:
    """Told to every worker before it computes: what it is, and which of the run's folders it sees."""
    if isinstance(dask_worker.name, int):  # a process of the client's: Ctrl-C in its terminal is for the client alone
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _work.task and not _wanted(_work.task, dask_worker):  # of a client that was killed
        interrupted.set()
    shared = place.token.exists() and all(shelf.is_dir() for shelf in place.shelves)
    _places[place.run] = place, shared
    if all(_stat(path) == rest for path, *rest in place.files.values()):
        _data[place.run] = place.data
    return {"versions": versions(), "threads": dask_worker.state.nthreads, "shared": shared, "data": place.run in _data}


def _wanted(task: str, worker: Worker) -> bool:
    """Whether a task that runs here is still asked for: a thread cannot be ended from outside."""
    state = worker.state.tasks.get(task)
    return state is not None and state.state != "cancelled"


def _stat(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _has(run: str, digest: str, dask_worker: Worker) -> bool:
    """Whether the data sets of this digest came to this worker before, for this run or another."""
    folder = Path(dask_worker.local_directory) / f"synthprune-{digest}"
    if folder.is_dir():
        _data[run] = folder
    return folder.is_dir()


def _receive(digest: str, name: str, chunk: bytes, dask_worker: Worker) -> None:
    """A piece of a data set, in the order of the file."""
    file = Path(dask_worker.local_directory) / f"synthprune-{digest}.part" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        stream.write(chunk)


def _received(run: str, digest: str, dask_worker: Worker) -> None:
    folder = Path(dask_worker.local_directory) / f"synthprune-{digest}"
    folder.with_name(f"{folder.name}.part").rename(folder)
    _data[run] = folder


def _on_worker(run: str, task: str, entry: Entry, parents: Mapping[str, Result],
               checkpoint: tuple[int, Arrays] | None, written: Mapping[str, str]) -> Result | None:
    """Compute one entry; its result, or None where it went to a store that is shared. `written`: own files that it needs."""
    from synthprune.data.datasets import load
    from synthprune.solve import compute_in_turn

    end = time.monotonic() + ARRIVE_SECONDS
    while run not in _data:  # this worker came after the others, and the client has yet to see it
        if time.monotonic() > end or not _wanted(task, get_worker()):
            raise Problem(f"a worker waited {ARRIVE_SECONDS} s in vain to be told where its data are")
        time.sleep(0.1)
    if os.environ.get("SYNTHPRUNE_DATA") != str(_data[run]):
        os.environ["SYNTHPRUNE_DATA"] = str(_data[run])
        load.cache_clear()
    name = get_worker().name
    if isinstance(name, int) and gpus():
        os.environ.setdefault("SYNTHPRUNE_DEVICE", f"cuda:{name % gpus()}")
    keep_freed_memory()
    own.keep(written)
    place, shared = _places[run]
    store = Store(place.root, place.shelves) if shared else Carried(parents, checkpoint)
    _work.run, _work.task, _work.thread, _work.store = run, task, threading.get_ident(), store
    interrupted.clear()
    try:
        compute_in_turn(entry, store, alone=False)
    except KeyboardInterrupt:  # would close the worker; what was saved is still to be asked for
        raise Problem("stopped") from None
    _work.task = ""
    return None if shared else store.get(entry)


@dataclass(frozen=True)
class Beat:
    """A worker's sign of life: the task it is at, the seconds its thread has computed, and a checkpoint that is news."""

    task: str
    seconds: float
    checkpoint: tuple[int, Arrays] | None


def _beat(run: str, known: Mapping[str, int], stop: bool) -> Beat | None:
    """What this worker is at for `run`. `known`: the tasks wanted, and of which steps the client has checkpoints.

    A task that is not wanted any more, or any if `stop`, is told to end.
    """
    if _work.run != run or not _work.task:
        return None
    if stop or _work.task not in known:
        interrupted.set()
    task, saved = _work.task, getattr(_work.store, "checkpoint", None)
    seconds = round(time.process_time(), 1)  # of all its threads, where a system does not tell them apart
    with contextlib.suppress(OSError, AttributeError):  # another system, or the thread has just ended
        seconds = round(time.clock_gettime(time.pthread_getcpuclockid(_work.thread)), 1)
    return Beat(task, seconds, saved if saved and saved[0] > known.get(task, 0) else None)


# On the client.


@dataclass
class _Task:
    """An entry on its way, under the lock that this client holds where workers share no store."""

    entry: Entry
    future: Future
    locked: contextlib.ExitStack
    worker: str = ""
    moved: float = field(default_factory=time.monotonic)
    seen: tuple[float, int] = (0.0, 0)
    named: bool = False


def on_cluster(todo: list[Entry], store: Store, address: str | None, count: int, report: Any) -> None:
    """Compute `todo`, parents first, on the cluster at `address`, or on one of `count` local processes. As `solve.fill`."""
    for name in ["asyncio", *logging.root.manager.loggerDict]:  # what Dask has to say in many lines is said in one
        if name.startswith(("asyncio", "distributed", "tornado")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"})
    with _place(address, count) as client:
        run = _Run(client, address or "this machine", todo, store, report)
        try:
            run.all()
        except (OSError, RuntimeError, TimeoutError):  # of Dask's comms: what entries raise is kept for the end
            raise run.gone() from None
        finally:
            run.close()
    if run.problems:
        raise next((problem for problem in run.problems if isinstance(problem, Problem)), run.problems[0])


@contextlib.contextmanager
def _place(address: str | None, count: int) -> Iterator[Client]:
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


class _Run:
    """One client's work on a cluster."""

    def __init__(self, client: Client, where: str, todo: list[Entry], store: Store, report: Any) -> None:
        self._client, self._where, self._store, self._report = client, where, store, report
        # Two clients may share a cluster, and a key once failed must not be remembered: the run is part of the name.
        self._name = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._rank = {entry: rank for rank, entry in enumerate(todo)}
        self._todo, self._done = todo, 0
        self._wait = {entry: sum(parent in self._rank for parent in entry.parents) for entry in todo}
        self._children: dict[Entry, list[Entry]] = {entry: [] for entry in todo}
        for entry in todo:
            for parent in entry.parents:
                if parent in self._rank:
                    self._children[parent].append(entry)
        self._ready = [rank for rank, entry in enumerate(todo) if not self._wait[entry]]
        self._elsewhere: list[int] = []
        self._tasks: dict[str, _Task] = {}
        self._ended: queue.Queue[Future] = queue.Queue()
        self._workers: dict[str, bool] = {}
        self._there, self._looked = time.monotonic(), 0.0
        self._tries: Counter[Entry] = Counter()
        self._steps: dict[str, int] = {}
        self.problems: list[BaseException] = []

    def all(self) -> None:
        self._look_round()
        while self._ready or self._elsewhere or self._tasks:
            while self._ready and len(self._tasks) < len(self._workers):
                self._submit(heapq.heappop(self._ready))
            with contextlib.suppress(queue.Empty):
                self._end(self._ended.get(timeout=min(BEAT_SECONDS, 0.5)))
            if interrupted.is_set():
                self._stop()
            if time.monotonic() - self._looked > BEAT_SECONDS:
                self._look_round()

    def close(self) -> None:
        """Let go of everything: locks, futures, the token."""
        for task in self._tasks.values():
            task.locked.close()
            with contextlib.suppress(Exception):
                task.future.cancel()
        self._tasks.clear()
        with contextlib.suppress(OSError):
            (self._store.root / "tmp" / f"{self._name}.run").unlink(missing_ok=True)

    def gone(self) -> Gone:
        return Gone(f"the cluster at {self._where} does not answer any more: start it again; {GO_ON}")

    # An entry's way.

    def _submit(self, rank: int) -> None:
        entry, locked = self._todo[rank], contextlib.ExitStack()
        shared = all(self._workers.values())
        if not shared:
            try:
                locked.enter_context(self._store.lock(entry))
            except Busy:
                self._elsewhere.append(rank)
                return
            if self._store.holds(entry):  # another process was at it, and is done
                locked.close()
                self._finish(entry)
                return
        try:
            parents = {} if shared else {parent.key: self._store.get(parent) for parent in entry.parents}
        except Problem as problem:  # one is damaged
            locked.close()
            self._fail(problem)
            return
        checkpoint = None if shared else self._store.load_checkpoint(entry)
        key = f"{entry.kind}-{entry.key}-{self._name}-{secrets.token_hex(4)}"
        future = self._client.submit(_on_worker, self._name, key, entry, parents, checkpoint,
                                     own.sources(own_names(entry)), key=key, pure=False, priority=-rank, retries=0)
        self._tasks[key] = _Task(entry, future, locked)
        future.add_done_callback(self._ended.put)

    def _end(self, future: Future) -> None:
        task = self._tasks.get(future.key)
        if task is None:  # given up before
            return
        if future.status == "finished":
            self._keep(task)
        elif future.status == "error":
            self._fault(task, future.exception())
        elif self._client.status != "running":
            raise self.gone()
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
        if isinstance(error, KilledWorker):
            error = self._deadly(task.entry)
        self._let_go(task)
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """What rests on a failed entry is never begun; the rest is."""
        self._done += 1
        self.problems.append(error)
        self._report(self._done, len(self._todo), f"failed: {error or type(error).__name__}")

    @staticmethod
    def _deadly(entry: Entry) -> Problem:
        return Problem(f"{describe(entry)}: each of {TRIES} or more workers that began it was killed, most often for want of"
                       " memory: try fewer workers (--workers 1), or some with more memory; all else is done")

    def _again(self, task: _Task) -> None:
        self._let_go(task)
        heapq.heappush(self._ready, self._rank[task.entry])

    def _let_go(self, task: _Task) -> None:
        del self._tasks[task.future.key]
        task.locked.close()
        task.future.release()

    # The workers.

    def _look_round(self) -> None:
        """Who is there, what they are at, and what has become of those who are not."""
        there = self._client.nthreads()
        new = [address for address in there if address not in self._workers]
        if new:
            self._prepare(new)
        lost = [task for task in self._tasks.values() if task.worker and task.worker not in there]
        self._workers = {address: shared for address, shared in self._workers.items() if address in there}
        for task in lost:
            self._lost(task, f"the worker {task.worker} was lost")
        self._ask(stop=False)
        now = self._looked = time.monotonic()
        if there:
            self._there = now
        elif now - self._there > NO_WORKER_SECONDS:
            raise Problem(f"no worker has been at {self._where} for {NO_WORKER_SECONDS:.0f} s: start some; {GO_ON}")
        self._ready += self._elsewhere
        self._elsewhere = []
        heapq.heapify(self._ready)

    def _ask(self, stop: bool) -> None:
        """Every worker for a sign of life, with its checkpoint if that is news; one that is stuck is left aside."""
        known = {key: self._steps.get(task.entry.key, 0) for key, task in self._tasks.items()}
        beats = self._client.sync(_beats, self._client, list(self._workers), self._name, known, stop)
        for address, beat in beats.items():
            if beat is None or beat.task not in self._tasks:
                continue
            task = self._tasks[beat.task]
            task.worker = address
            if beat.checkpoint is not None:
                self._store.save_checkpoint(task.entry, beat.checkpoint[1], beat.checkpoint[0])
                self._steps[task.entry.key] = beat.checkpoint[0]
            sign = beat.seconds, self._steps.get(task.entry.key, 0)
            if sign != task.seen:
                task.seen, task.moved, task.named = sign, time.monotonic(), False
        for task in list(self._tasks.values()):
            self._stalled(task)

    def _stalled(self, task: _Task) -> None:
        still = time.monotonic() - task.moved
        if not task.worker or still < STALL_SECONDS:
            return
        if not task.named:
            task.named = True
            self._say(f"no sign of life from the worker {task.worker} for {still:.0f} s: {describe(task.entry)}; after as long"
                      " again it is tried elsewhere")
        elif still > 2 * STALL_SECONDS:
            try:
                self._client.restart_workers([task.worker], timeout=CONNECT_SECONDS, raise_for_error=False)
            except ValueError:  # without a nanny it cannot be started again
                self._client.retire_workers([task.worker], remove=True, close_workers=True)
            self._lost(task, f"the worker {task.worker} did not move")

    def _lost(self, task: _Task, what: str) -> None:
        self._tries[task.entry] += 1
        if self._tries[task.entry] < TRIES:
            self._say(f"{what}: {describe(task.entry)}: it is tried again")
            task.future.cancel()
            self._again(task)
        else:
            task.future.cancel()
            self._let_go(task)
            self._fail(self._deadly(task.entry))

    def _say(self, line: str) -> None:
        tell(f"{datetime.now():%d %b %H:%M}  {line}")

    def _stop(self) -> None:
        """Trainings save where they are, and what they saved comes here."""
        self._ask(stop=True)
        time.sleep(1)
        self._ask(stop=True)
        raise KeyboardInterrupt

    # What a worker must have first.

    def _prepare(self, new: list[str]) -> None:
        place = self._token()
        found = self._client.run(_arrive, place, workers=new, on_error="return")
        for address, one in found.items():
            self._check(address, one)
        bare = [address for address, one in found.items() if not one["data"]]
        if bare:
            self._send(place.files, bare)
        self._workers |= {address: one["shared"] for address, one in found.items()}

    def _token(self) -> Place:
        """The run's place, marked by a file that only those see who share the store."""
        place = Place(self._name, self._store.root, self._store.shelves, home.data_folder(), _files(self._todo))
        with self._store.writing():
            place.token.parent.mkdir(parents=True, exist_ok=True)
            place.token.touch()
        return place

    def _check(self, address: str, one: Any) -> None:
        """Raises Problem where a worker cannot do this client's work; a line is said where its results may differ."""
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
            self._say(f"the worker {address} has {words}: its results may differ in the last bits")

    def _send(self, files: Mapping[str, tuple[Path, int, int]], workers: list[str]) -> None:
        """Data sets travel in pieces, once to each worker that has not had them, by whatever run."""
        digest = hashlib.sha256()
        for name, (path, *_) in sorted(files.items()):
            with path.open("rb") as stream:
                digest.update(name.encode() + hashlib.file_digest(stream, "sha256").digest())
        known = digest.hexdigest()[:16]
        had = self._client.run(_has, self._name, known, workers=workers)
        lacking = [address for address, here in had.items() if not here]
        if not lacking:
            return
        for name, (path, *_) in files.items():
            with path.open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    self._client.run(_receive, known, name, chunk, workers=lacking)
        self._client.run(_received, self._name, known, workers=lacking)


async def _beats(client: Client, workers: Sequence[str], *asked: Any) -> dict[str, Beat | None]:
    import asyncio

    async def one(address: str) -> Beat | None:
        with contextlib.suppress(Exception):  # lost, or stuck: that is seen by its silence
            found = await asyncio.wait_for(client.run(_beat, *asked, workers=[address]), CONNECT_SECONDS)
            return found[address]
        return None

    return dict(zip(workers, await asyncio.gather(*map(one, workers)), strict=True))


def _files(todo: Sequence[Entry]) -> dict[str, tuple[Path, int, int]]:
    """The files of all imported data sets and published sets that `todo` needs, by their names below the data folder."""
    names = {entry.dataset.name for entry in todo} - {"digits"}
    files = {f"{name}.safetensors": home.data_folder() / f"{name}.safetensors" for name in names}
    published = {origin(entry.data).name for entry in todo if isinstance(entry, Trained)
                 and isinstance(origin(entry.data), Published)}
    filed = home.synthetic_sets()
    files |= {f"synthetic/{name}.safetensors": filed[name] for name in published if name in filed}
    return {name: (path, *found) for name, path in files.items() if (found := _stat(path))}
