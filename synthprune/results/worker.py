"""A worker of a Dask cluster: what it is told, computes and gives back. `cluster` is the other side, the client.

A worker that sees the store's folder reads and writes there. Any other gets the parents' arrays with an entry and gives
back its own; checkpoints go with the signs of life, for which it is asked now and then.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from distributed import Worker, get_worker

from synthprune import home, own
from synthprune.machine import gpus, interrupted, keep_freed_memory, require_device
from synthprune.problems import Problem
from synthprune.results.specs import Entry, Published, Trained, origin
from synthprune.results.specs import versions as kinds
from synthprune.results.store import Arrays, Metrics, Result, Store

ARRIVE_SECONDS = 600
OWN_DEVICE = os.environ.get("SYNTHPRUNE_DEVICE", "")
"""Where this worker was told to compute, whatever a run says that wants no device in particular."""


class NotShared(Exception):
    """An entry came without what it rests on to a worker that does not see the store: it joined after the others."""


class Carried(Store):
    """A store in memory: the parents that came with an entry, and what becomes of it."""

    def __init__(self, held: Mapping[str, Result], checkpoint: tuple[int, Arrays] | None = None) -> None:
        super().__init__()
        self.held, self.checkpoint = dict(held), checkpoint
        self.told: tuple[int, int, str] | None = None

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

    def tell(self, entry: Entry, done: int, of: int, unit: str) -> None:
        self.told = done, of, unit

    def save_checkpoint(self, entry: Entry, arrays: Arrays, step: int) -> None:
        self.checkpoint = step, {name: array.copy() for name, array in arrays.items()}

    def checkpoint_of(self, key: str) -> float | None:
        return 0.0 if self.checkpoint else None

    def load_checkpoint(self, entry: Entry) -> tuple[int, Arrays] | None:
        return self.checkpoint and (self.checkpoint[0], dict(self.checkpoint[1]))


@dataclass(frozen=True)
class Place:
    """Where a run's things are, as its client sees them. `files`: {path below the data folder: (path, bytes, mtime in ns)}.

    `device`: which its client wants; "" for none in particular. Paths are words: another system could not read its Paths.
    """

    run: str
    root: str
    shelves: tuple[str, ...]
    mark: str
    data: str
    files: Mapping[str, tuple[str, int, int]]
    device: str


def files(todo: Sequence[Entry]) -> dict[str, tuple[str, int, int]]:
    """The files of all imported data sets and published sets that `todo` needs, by their names below the data folder."""
    names = {entry.dataset.name for entry in todo} - {"digits"}
    found = {f"{name}.safetensors": home.data_folder() / f"{name}.safetensors" for name in names}
    published = {data.name for entry in todo if isinstance(entry, Trained)
                 and isinstance(data := origin(entry.data), Published)}
    filed = home.synthetic_sets()
    found |= {f"synthetic/{name}.safetensors": filed[name] for name in published if name in filed}
    return {name: (str(path), told[0], told[1]) for name, path in found.items() if (told := stat(path))}


@dataclass
class _Known:
    """What this worker knows of a run: its number, whether it sees the store, the folder of its data sets once they are here."""

    place: Place
    number: int
    shared: bool
    data: Path | None


@dataclass
class _Work:
    """What this worker is at."""

    run: str = ""
    task: str = ""
    thread: int = 0
    store: Store | None = None


_runs: dict[str, _Known] = {}
_work = _Work()


def versions() -> dict[str, str]:
    """What must not differ between a client and its workers, or their results may. "kinds": the versions of all kinds of entry,
    which tell two states of one version of synthprune apart."""
    return {**{name: metadata.version(name) for name in ("synthprune", "torch", "numpy")}, "Python": platform.python_version(),
            "kinds": " ".join(f"{kind}:{version}" for kind, version in sorted(kinds().items()))}


def arrive(place: Place, numbers: Mapping[str, int], dask_worker: Worker) -> dict[str, Any]:
    """Told to every worker before it computes: what it is, and which of the run's folders it sees.

    `numbers`: by address, those of the workers of each host, which share out its GPUs by them. Raises Problem where there is
    no such device as the run wants.
    """
    if isinstance(dask_worker.name, int):  # a process of the client's: Ctrl-C in its terminal is for the client alone
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A folder that may not be looked into, or not be written to, is as good as none.
    shared = os.access(place.root, os.W_OK) and os.path.exists(place.mark) and all(map(os.path.isdir, place.shelves))
    sees = all(stat(Path(path)) == rest for path, *rest in place.files.values())
    if place.device:
        require_device(place.device)
    _runs[place.run] = _Known(place, numbers[dask_worker.address], shared, Path(place.data) if sees else None)
    return {"versions": versions(), "threads": dask_worker.state.nthreads, "shared": shared, "data": sees}


def _wanted(task: str, worker: Worker) -> bool:
    """Whether a task that runs here is still asked for: a thread cannot be ended from outside."""
    state = worker.state.tasks.get(task)
    return state is not None and state.state != "cancelled"


def stat(path: Path) -> list[int]:
    """Size and time of a file; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def receive(run: str, name: str, start: int, chunk: bytes, dask_worker: Worker) -> None:
    """A piece of a data set. Each run's are apart until they are whole: another client may send the same."""
    file = Path(dask_worker.local_directory) / f"synthprune-{run}" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT), "wb") as stream:
        stream.seek(start)
        stream.write(chunk)


def digest(files: Mapping[str, Path]) -> str:
    """Sixteen hex digits over the names and contents of `files`."""
    found = hashlib.sha256()
    for name, path in sorted(files.items()):
        with path.open("rb") as stream:
            found.update(name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return found.hexdigest()[:16]


def settle(run: str, wanted: str, dask_worker: Worker) -> bool:
    """Whether the data sets of the digest `wanted` are here, whole: they came for this run or for another."""
    part, folder = (Path(dask_worker.local_directory) / f"synthprune-{name}" for name in (run, wanted))
    files = {name: part / name for name in _runs[run].place.files}
    if not folder.is_dir() and all(map(Path.is_file, files.values())) and digest(files) == wanted:
        part.rename(folder)
    if folder.is_dir():
        _runs[run].data = folder
    return folder.is_dir()


def compute_here(run: str, task: str, entry: Entry, parents: Mapping[str, Result] | None,
                 checkpoint: tuple[int, Arrays] | None, written: Mapping[str, str]) -> Result | None:
    """Compute one entry; its result, or None where it went to the shared store, from which it then has what it rests on too:
    `parents` is None. `written`: own files that it needs. Raises NotShared where that store is not seen here.
    """
    from synthprune.results.solve import compute_in_turn

    known = _told(run, task)
    if parents is None and not known.shared:
        raise NotShared
    _prepare(known)
    with contextlib.suppress(Problem):  # where this home cannot be written, they are known to this process all the same
        own.keep(written)
    store = _shared(known.place) if parents is None else Carried(parents, checkpoint)
    _work.run, _work.task, _work.thread, _work.store = run, task, threading.get_ident(), store
    interrupted.clear()
    try:
        compute_in_turn(entry, store, alone=False)
    except KeyboardInterrupt:  # would close the worker; what was saved is still to be asked for
        raise Problem("stopped") from None
    _work.task = ""
    return None if parents is None else store.get(entry)


def _shared(place: Place) -> Store:
    store = Store(Path(place.root), map(Path, place.shelves))
    store.mark = Path(place.mark)
    return store


def _told(run: str, task: str) -> _Known:
    """What this worker knows of a run: where it came after the others, the client has yet to see it."""
    end = time.monotonic() + ARRIVE_SECONDS
    while (known := _runs.get(run)) is None or known.data is None:
        if time.monotonic() > end or not _wanted(task, get_worker()):
            raise Problem(f"a worker waited {ARRIVE_SECONDS} s in vain to be told where its data are")
        time.sleep(0.1)
    return known


def _prepare(known: _Known) -> None:
    from synthprune.data.datasets import load

    if os.environ.get("SYNTHPRUNE_DATA") != str(known.data):
        os.environ["SYNTHPRUNE_DATA"] = str(known.data)
        load.cache_clear()
    os.environ["SYNTHPRUNE_DEVICE"] = known.place.device or OWN_DEVICE
    if gpus() > 1:
        os.environ["SYNTHPRUNE_DEVICE"] = f"cuda:{known.number % gpus()}"
    keep_freed_memory()


@dataclass(frozen=True)
class Beat:
    """A worker's sign of life: the task it is at, the seconds its thread has computed, and the step of its checkpoint.

    `told`: how far it says it is, where the client cannot see it (as `Store.tell`).
    """

    task: str
    seconds: float
    saved: int
    told: tuple[int, int, str] | None = None


def beat(run: str, wanted: Collection[str], stop: bool, dask_worker: Worker) -> Beat | None:
    """What this worker is at for `run`, of whose tasks some are still `wanted`.

    A task that is not wanted any more, or any of the run if `stop`, is told to end; so is that of a client that was killed.
    """
    task, ours = _work.task, _work.run == run
    if task and (not _wanted(task, dask_worker) or (ours and (stop or task not in wanted))):
        interrupted.set()
        if _work.task != task:  # it has just ended by itself, and this would be for the next
            interrupted.clear()
    if not task or not ours:
        return None
    seconds = round(time.process_time(), 1)  # of all its threads, where a system does not tell them apart
    with contextlib.suppress(OSError, AttributeError):  # another system, or the thread has just ended
        seconds = round(time.clock_gettime(time.pthread_getcpuclockid(_work.thread)), 1)
    saved = getattr(_work.store, "checkpoint", None)
    return Beat(task, seconds, saved[0] if saved else 0, getattr(_work.store, "told", None))


def checkpoint(task: str) -> tuple[int, Arrays] | None:
    """The step and arrays last saved of `task`, where this worker is at it."""
    return getattr(_work.store, "checkpoint", None) if _work.task == task else None
