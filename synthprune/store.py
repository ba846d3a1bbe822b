"""The store: every result under the name of its specification, whole or not at all, readable without this package.

`<root>/<kind>/<key>/` holds spec.json, arrays.safetensors, metrics.json, provenance.json and checksums.json. An entry
is built in `<root>/tmp/` and renamed into place while its lock is held, so a kill leaves either nothing or everything.
Shelves are read-only files of light results that ship with the book: `results/<profile>/<chapter>.{json,safetensors}`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from synthprune.home import home, write_whole
from synthprune.problems import Problem
from synthprune.specs import Entry, stale

Arrays = dict[str, np.ndarray]
Metrics = dict[str, Any]


class StoreProblem(Problem):
    """The store cannot be written: whatever is computed from now on would be lost."""


class Busy(Exception):
    """Another process is computing this entry."""


@dataclass(frozen=True)
class Result:
    """What an entry holds: arrays, metrics (a JSON object without timings), and where it came from."""

    key: str
    arrays: Arrays
    metrics: Metrics
    provenance: Metrics = field(compare=False)

    @property
    def digest(self) -> str:
        """SHA-256 over arrays and metrics: equal digests, equal results."""
        return digest_of(self.arrays, self.metrics)


def digest_of(arrays: Mapping[str, np.ndarray], metrics: Metrics) -> str:
    total = hashlib.sha256(json.dumps(metrics, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        total.update(f"{name}{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


class Store:
    """Results on this machine, and, behind them, the shelves that ship with the book."""

    def __init__(self, root: Path | None = None, shelves: Iterable[Path] = ()) -> None:
        self.root = (root or home() / "store").absolute()
        self.shelves = tuple(shelves)
        self._shelved: dict[str, tuple[Path, dict[str, Any]]] | None = None

    def path(self, entry: Entry) -> Path:
        return self.root / entry.kind / entry.key

    def holds(self, entry: Entry) -> bool:
        """Whether the result is in the store itself (weights are never elsewhere)."""
        return self.path(entry).is_dir()

    def has(self, entry: Entry) -> bool:
        """Whether the result can be read, from the store or from a shelf."""
        return self.holds(entry) or entry.key in self._shelf()

    def get(self, entry: Entry) -> Result:
        """The stored result. Raises Problem where it is absent or damaged."""
        if self.holds(entry):
            return read(self.path(entry))
        if entry.key not in self._shelf():
            raise Problem(f"{entry.kind} {entry.key[:12]} is not in the store {self.root}")
        file, record = self._shelf()[entry.key]
        try:
            arrays = _load(file.with_suffix(".safetensors"), prefix=f"{entry.key}/")
            result = Result(entry.key, arrays, record["metrics"], record["provenance"])
            if result.digest != record["digest"]:
                raise ValueError("its digest is another")
        except (OSError, ValueError, SafetensorError) as error:
            raise Problem(f"{file}: the shipped result {entry.key[:12]} is damaged ({error}): fetch the file again") from None
        return result

    def provenance(self, entry: Entry) -> Metrics:
        """Where a result came from, without reading its arrays. Raises Problem as `get` does."""
        if not self.holds(entry):
            return self.get(entry).provenance
        try:
            return json.loads((self.path(entry) / "provenance.json").read_bytes())
        except (OSError, ValueError):
            return read(self.path(entry)).provenance

    def put(self, entry: Entry, arrays: Arrays, metrics: Metrics, provenance: Metrics) -> None:
        """Add a result; if another process was first, its result stays. Call with the entry's lock held.

        Raises Problem where the disk is full or read-only; nothing is left behind then.
        """
        part = self.root / "tmp" / entry.key
        with self._writing(part):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            files = {"spec.json": _json(entry.identity()), "arrays.safetensors": _packed(arrays),
                     "metrics.json": _json(metrics),
                     "provenance.json": _json(provenance | {"digest": digest_of(arrays, metrics)})}
            files["checksums.json"] = _json({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
            for name, data in files.items():
                _write(part / name, data)
            self.path(entry).parent.mkdir(parents=True, exist_ok=True)
            try:
                part.rename(self.path(entry))
            except OSError:  # "directory not empty" on some systems, "file exists" on others
                if not self.holds(entry):
                    raise
                shutil.rmtree(part)
        self.forget_checkpoint(entry)

    @contextlib.contextmanager
    def lock(self, entry: Entry) -> Iterator[None]:
        """Hold the right to compute `entry`. Raises Busy where another process holds it; a killed holder's is free."""
        file = self.root / "locks" / f"{entry.key}.lock"
        with self._writing():
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                raise Busy(entry.key) from None
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _writing(self, part: Path | None = None) -> Iterator[None]:
        """Turn what a disk can say into a line for people, and leave no `part` (file or folder) behind."""
        try:
            yield
        except OSError as error:
            if part is not None:
                with contextlib.suppress(OSError):
                    shutil.rmtree(part) if part.is_dir() else part.unlink()
            raise StoreProblem(f"cannot write to the store {self.root}: {error.strerror or error} (free some space, or set"
                          " SYNTHPRUNE_HOME to a place that can be written)") from None

    # Checkpoints of long trainings: one file per entry, replaced in one move.

    def _checkpoint(self, entry: Entry) -> Path:
        return self.root / "checkpoints" / f"{entry.key}.safetensors"

    def save_checkpoint(self, entry: Entry, arrays: Arrays, step: int) -> None:
        file = self._checkpoint(entry)
        part = file.with_suffix(".part")
        with self._writing(part):
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(part, _packed(arrays | {"step": np.array(step)}))
            part.replace(file)

    def load_checkpoint(self, entry: Entry) -> tuple[int, Arrays] | None:
        """The step and arrays last saved, or None. A damaged checkpoint counts as none: the training starts again."""
        with contextlib.suppress(OSError, SafetensorError, Problem):
            arrays = _load(self._checkpoint(entry))
            return int(arrays.pop("step")), arrays
        return None

    def forget_checkpoint(self, entry: Entry) -> None:
        self._checkpoint(entry).unlink(missing_ok=True)

    # The whole store.

    def entries(self) -> list[Path]:
        """The folders of all entries, in name order."""
        aside = ("tmp", "locks", "checkpoints")
        return sorted(p for kind in self.root.glob("*") if kind.is_dir() and kind.name not in aside
                      for p in kind.iterdir() if p.is_dir())

    def damaged(self) -> list[tuple[Path, str]]:
        """Every entry that cannot be read whole, with the reason."""
        found = []
        for path in self.entries():
            try:
                read(path)
            except Problem as problem:
                found.append((path, str(problem)))
        return found

    def unasked(self, asked: Iterable[Entry]) -> list[Path]:
        """The entries that none of the `asked` is."""
        keys = {entry.key for entry in asked}
        return [path for path in self.entries() if path.name not in keys]

    def stale(self) -> list[Path]:
        """The entries made by a version of their kind that is below today's (damaged ones are for `damaged` to name)."""
        found = []
        for path in self.entries():
            with contextlib.suppress(OSError, ValueError):
                spec = json.loads((path / "spec.json").read_bytes())
                if stale(spec["kind"], spec["version"]):
                    found.append(path)
        return found

    @staticmethod
    def remove(path: Path) -> None:
        shutil.rmtree(path)

    def export(self, entries: Iterable[Entry], file: Path) -> int:
        """Write the light ones of `entries` to the shelf `file` (.json and .safetensors beside it); returns how many."""
        records, arrays = {}, {}
        for entry in entries:
            if entry.light:
                result = self.get(entry)
                arrays |= {f"{entry.key}/{name}": array for name, array in result.arrays.items()}
                records[entry.key] = entry.identity() | {"metrics": result.metrics, "provenance": result.provenance,
                                                         "digest": result.digest}
        write_whole(file.with_suffix(".safetensors"), _packed(arrays))
        write_whole(file.with_suffix(".json"), _json(records))
        return len(records)

    def _shelf(self) -> dict[str, tuple[Path, dict[str, Any]]]:
        if self._shelved is None:
            files = sorted(file for shelf in self.shelves for file in shelf.glob("*/*.json"))
            try:
                self._shelved = {key: (file, record) for file in files
                                 for key, record in json.loads(file.read_bytes()).items()}
            except ValueError as error:
                raise Problem(f"the shipped results in {', '.join(map(str, self.shelves))} are damaged ({error}): fetch them"
                              " again") from None
        return self._shelved


def read(path: Path) -> Result:
    """The entry in folder `path`, every file checked against its checksum. Raises Problem naming what is wrong."""
    try:
        sums = json.loads((path / "checksums.json").read_bytes())
        for name, expected in sums.items():
            if hashlib.sha256((path / name).read_bytes()).hexdigest() != expected:
                raise ValueError(f"{name} has changed")
        metrics, provenance = (json.loads((path / f"{name}.json").read_bytes()) for name in ("metrics", "provenance"))
        return Result(path.name, _load(path / "arrays.safetensors"), metrics, provenance)
    except (OSError, ValueError, SafetensorError) as error:
        raise Problem(f"the stored result {path} is damaged ({error}): 'synthprune store verify --remove' deletes it, and"
                      " the next run makes it again") from None


def _packed(arrays: Arrays) -> bytes:
    """safetensors bytes; bool arrays as bits, their shapes in the header."""
    shapes = {name: list(a.shape) for name, a in arrays.items() if a.dtype == bool}
    # Not ascontiguousarray: it would give an array without dimensions one.
    plain = {name: np.packbits(a) if name in shapes else np.asarray(a, order="C") for name, a in arrays.items()}
    return save(plain, metadata={"bits": json.dumps(shapes)})


def _load(file: Path, prefix: str = "") -> Arrays:
    arrays: Arrays = {}
    with safe_open(file, "numpy") as stored:
        shapes = json.loads((stored.metadata() or {}).get("bits", "{}"))
        for name in stored.keys():  # noqa: SIM118 (safe_open is no mapping)
            if not name.startswith(prefix):
                continue
            array = stored.get_tensor(name)
            if name in shapes:
                array = np.unpackbits(array, count=int(np.prod(shapes[name]))).astype(bool).reshape(shapes[name])
            arrays[name.removeprefix(prefix)] = array
    return arrays


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _write(file: Path, data: bytes) -> None:
    with open(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
