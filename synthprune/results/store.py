"""The store: every result under the name of its specification, whole or not at all, readable without this package.

`<root>/<kind>/<key>/` holds spec.json, arrays.safetensors, metrics.json, provenance.json and checksums.json. An entry
is built in `<root>/tmp/` and renamed into place while its lock is held, so a kill leaves either nothing or everything.
Shelves are folders of light results that ship with the book: `<profile>/<chapter>.{json,safetensors}`, read-only but for
`export`. What the results rest on does not ship, but where it came from does: `<profile>/provenance.json`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from synthprune.home import home, write_whole
from synthprune.problems import Problem
from synthprune.results import result
from synthprune.results.listing import listing, unlisted
from synthprune.results.result import DAMAGE, Arrays, Metrics, Result, Shelf, digest_of, loaded, packed, read
from synthprune.results.specs import describe, stale
from synthprune.results.values import Entry


class StoreProblem(Problem):
    """The store cannot be written: whatever is computed from now on would be lost."""


class Busy(Exception):
    """Another process is computing this entry."""


class Store:
    """Results on this machine, and, behind them, the shelves that ship with the book."""

    def __init__(self, root: Path | None = None, shelves: Iterable[Path] = ()) -> None:
        self.root = (root or home() / "store").absolute()
        self.shelves = tuple(shelves)
        self._shelved: dict[str, Shelf] | None = None
        self._behind: dict[str, tuple[str, Metrics]] = {}
        self.mark: Path | None = None

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
        return self._shelf()[entry.key].get(entry.key)

    def shipped(self, entry: Entry) -> Result:
        """The result that ships, whatever is in the store. Raises Problem where it is damaged, KeyError where none does."""
        return self._shelf()[entry.key].get(entry.key)

    def provenance(self, entry: Entry) -> Metrics:
        """Where a result came from, without reading its arrays. Raises Problem as `get` does."""
        if not self.holds(entry):
            return self.whence(entry) or self.get(entry).provenance
        try:
            return {**json.loads((self.path(entry) / "provenance.json").read_bytes())}
        except DAMAGE:
            return read(self.path(entry)).provenance

    def whence(self, entry: Entry) -> Metrics | None:
        """Where an entry came from, also one that does not ship but that shipped results rest on; None if nobody knows."""
        if self.holds(entry):
            return self.provenance(entry)
        shelf = self._shelf().get(entry.key)
        return shelf.provenance(entry.key) if shelf else self._behind.get(entry.key, ("", None))[1]

    def put(self, entry: Entry, arrays: Arrays, metrics: Metrics, provenance: Metrics) -> None:
        """Add a result; if another process was first, its result stays. Call with the entry's lock held.

        Raises Problem where the disk is full or read-only; nothing is left behind then.
        """
        part = self.root / "tmp" / entry.key
        with self.writing(part):
            self._folder("tmp")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            files = {"spec.json": _json(entry.identity()), "arrays.safetensors": packed(arrays),
                     "metrics.json": _json(metrics),
                     "provenance.json": _json(provenance | {"digest": digest_of(arrays, metrics)})}
            files["checksums.json"] = _json({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
            for name, data in files.items():
                _write(part / name, data)
            self._folder(entry.kind)
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
        with self.writing():
            self._folder("locks")
            lock = FileLock(file)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                raise Busy(entry.key) from None
        told = self._told(entry)
        try:
            with self.writing():
                told.write_bytes(_json({"what": describe(entry), "since": time.time(),
                                        "process": f"{os.getpid()} on {platform.node()}"}))
            yield
        finally:
            with contextlib.suppress(OSError):
                told.unlink()
            lock.release()

    def _told(self, entry: Entry) -> Path:
        return self.root / "locks" / f"{entry.key}.json"

    def tell(self, entry: Entry, done: int, of: int, unit: str) -> None:
        """Let `running` say how far an entry is whose lock is held in this folder; elsewhere nothing is said."""
        self._add(entry, {"done": done, "of": of, "unit": unit})

    def tell_worker(self, entry: Entry, address: str) -> None:
        """Likewise, at which worker of a cluster it is: the process that holds the lock is then another."""
        self._add(entry, {"worker": address})

    def _add(self, entry: Entry, said: Metrics) -> None:
        told = self._told(entry)
        part = told.with_suffix(".part")
        with contextlib.suppress(*DAMAGE):
            part.write_bytes(_json(_work(told.read_bytes()) | said))
            part.replace(told)

    def running(self) -> dict[str, Metrics]:
        """What any process is computing now, by key: {"what", "since" (seconds of the clock), "process"}, of what takes
        longer how far it is: {"done", "of", "unit" ("epochs")}, and on a cluster that shares no folder its {"worker"}."""
        found = {}
        for told in sorted((self.root / "locks").glob("*.json")):
            lock = FileLock(told.with_suffix(".lock"))
            with contextlib.suppress(*DAMAGE):  # it may end just now
                work = _work(told.read_bytes())
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    found[told.stem] = work
                else:  # its process was killed
                    told.unlink()
                    lock.release()
        return found

    @contextlib.contextmanager
    def marked(self) -> Iterator[Path]:
        """While a run lasts, a file in the store: who sees it shares the store, and where it is gone, so is the store."""
        with self.writing():
            mark = self._folder("tmp") / f"{os.getpid()}-{secrets.token_hex(6)}.run"
            mark.touch()
        self.mark = mark
        try:
            yield mark
        finally:
            self.mark = None
            with contextlib.suppress(OSError):
                mark.unlink()

    @contextlib.contextmanager
    def writing(self, part: Path | None = None) -> Iterator[None]:
        """Turn what a disk can say into a line for people, and leave no `part` (file or folder) behind."""
        try:
            if self._gone():
                raise FileNotFoundError
            yield
        except OSError as error:
            if self._gone():
                raise StoreProblem(f"the store {self.root} is gone: bring its folder or its disk back; what was finished is in"
                                   " it, and the same command goes on from there") from None
            if part is not None:
                with contextlib.suppress(OSError):
                    shutil.rmtree(part) if part.is_dir() else part.unlink()
            raise StoreProblem(f"cannot write to the store {self.root}: {error.strerror or error} (free some space, or set"
                          " SYNTHPRUNE_HOME to a place that can be written)") from None

    def _gone(self) -> bool:
        try:
            return self.mark is not None and not self.mark.exists()
        except OSError:  # of a network's disk
            return True

    def _folder(self, name: str) -> Path:
        """A folder of the store, made where it is not there; the root is not while a run lasts: it was there before."""
        folder = self.root / name
        folder.mkdir(parents=self.mark is None, exist_ok=True)
        return folder

    # Checkpoints of long trainings: one file per entry, replaced in one move.

    def _checkpoint(self, entry: Entry) -> Path:
        return self.root / "checkpoints" / f"{entry.key}.safetensors"

    def save_checkpoint(self, entry: Entry, arrays: Arrays, step: int) -> None:
        file = self._checkpoint(entry)
        part = file.with_suffix(".part")
        with self.writing(part):
            self._folder("checkpoints")
            held = arrays | {"step": np.array(step)}
            _write(part, packed(held, digest_of(held, {})))
            part.replace(file)

    def load_checkpoint(self, entry: Entry) -> tuple[int, Arrays] | None:
        """The step and arrays last saved, or None. A damaged checkpoint counts as none: the training starts again.

        Raises Problem where it cannot be read now.
        """
        try:
            arrays = loaded(file := self._checkpoint(entry))
            return int(arrays.pop("step")), arrays
        except DAMAGE as error:
            result.innocent(error, file)
            return None

    def checkpoint_of(self, key: str) -> float | None:
        """When an entry's checkpoint was saved (seconds of the clock); None where it has none."""
        with contextlib.suppress(OSError):
            return (self.root / "checkpoints" / f"{key}.safetensors").stat().st_mtime
        return None

    def forget_checkpoint(self, entry: Entry) -> None:
        with contextlib.suppress(OSError):  # what is left of it harms nobody
            self._checkpoint(entry).unlink()

    # The whole store.

    def entries(self) -> list[Path]:
        """The folders of all entries, in name order."""
        aside = ("tmp", "locks", "checkpoints")
        return sorted(p for kind in self.root.glob("*") if kind.is_dir() and kind.name not in aside
                      for p in kind.iterdir() if p.is_dir())

    def damaged(self) -> list[tuple[Path, str]]:
        """Every entry that is damaged, with the reason. Raises Problem where one cannot be read now."""
        found = []
        for path in self.entries():
            try:
                read(path)
            except result.Unreadable:
                raise
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
            with contextlib.suppress(*DAMAGE):
                spec = json.loads((path / "spec.json").read_bytes())
                if stale(spec["kind"], spec["version"]):
                    found.append(path)
        return found

    def remove(self, path: Path) -> None:
        """Delete an entry's folder: broken off, it is gone or all there."""
        with self.writing():
            gone = self._folder("tmp") / f"{path.name}.gone"
            shutil.rmtree(gone, ignore_errors=True)
            path.rename(gone)
            shutil.rmtree(gone)

    def export(self, entries: Iterable[Entry], file: Path, elsewhere: Collection[str] = ()) -> set[str]:
        """Add those of `entries` that are light and here to the shelf file `file` (.json and .safetensors beside it).

        What the file holds already stays, but for keys that are `elsewhere`. Returns the keys that it holds now. The same
        results give the same bytes; without any there is no file.
        """
        there = file.with_suffix(".json").exists()
        old = Shelf(file) if there else None
        held = {key: (old.records[key], old.get(key)) for key in old.records} if old else {}
        held |= {entry.key: (entry.identity(), self.get(entry)) for entry in entries if entry.light and self.has(entry)}
        held = {key: held[key] for key in sorted(held) if key not in elsewhere}
        old = self._shelved = None  # Windows replaces no file that is open
        if held or there:
            write_whole(file.with_suffix(".safetensors"), packed(
                {f"{key}/{name}": array for key, (_, result) in held.items() for name, array in result.arrays.items()}))
            write_whole(file.with_suffix(".json"), listing("results", {
                key: {"kind": spec["kind"], "version": spec["version"], "fields": spec["fields"], "metrics": result.metrics,
                      "digest": result.digest} | result.provenance for key, (spec, result) in held.items()}))
        return set(held)

    def export_provenance(self, entries: Iterable[Entry], file: Path) -> None:
        """Add to `file` where each of `entries` came from; what it says of others stays."""
        known = unlisted("behind", json.loads(file.read_bytes())) if file.exists() else {}
        known |= {entry.key: {"kind": entry.kind, "version": entry.version} | made for entry in entries
                  if (made := self.whence(entry))}
        write_whole(file, listing("behind", {key: {name: value for name, value in known[key].items() if name != "digest"}
                                             for key in sorted(known)}))

    def shelved(self, profile: str) -> dict[str, tuple[str, int]]:
        """{key: (kind, version)} of all that ships of a profile (a name, or a file of that name), with what it rests on."""
        profile = Path(profile).stem
        records = {key: record for key, shelf in self._shelf().items() if shelf.file.parent.name == profile
                   for record in [shelf.records[key]]} | {key: record for key, (of, record) in self._behind.items()
                                                          if of == profile}
        return {key: (record["kind"], record["version"]) for key, record in records.items()}

    def _shelf(self) -> dict[str, Shelf]:
        if self._shelved is None:
            self._shelved = {}
            for file in sorted(file for folder in self.shelves for file in folder.glob("*/*.json")):
                shelf = Shelf(file)
                self._shelved |= dict.fromkeys(shelf.records, shelf)
                self._behind |= {key: (file.parent.name, record) for key, record in shelf.behind.items()}
        return self._shelved


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _work(data: bytes) -> Metrics:
    """What `running` says of an entry, as its lock's file has it. Raises one of DAMAGE for a file that is damaged."""
    work = json.loads(data)
    far = {name: work[name] for name in ("done", "of", "unit") if name in work}
    if not (isinstance(work["what"], str) and "process" in work and 0 <= work["since"] < LATEST
            and (not far or (isinstance(far["done"], int) and isinstance(far["of"], int) and "unit" in far))):
        raise ValueError(f"no work: {data[:80]!r}")
    return work


LATEST = 1e11
"""Seconds of the clock that a date can be made of."""


def _write(file: Path, data: bytes) -> None:
    with open(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
