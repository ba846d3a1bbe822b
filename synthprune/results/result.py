"""A result, and the two forms it is kept in: a folder of the store, and a shelf, one file of light results that ship.

Either is safetensors and JSON, readable without this package; bool arrays are kept as bits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from synthprune.problems import Problem, line
from synthprune.results.listing import unlisted

Arrays = dict[str, np.ndarray]
Metrics = dict[str, Any]

FILES = {"spec.json", "arrays.safetensors", "metrics.json", "provenance.json"}
"""What an entry's folder holds, each with its checksum."""

DAMAGE = (OSError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError, SafetensorError)
"""What reading a damaged file raises; not MemoryError, of which the file is innocent."""


class Unreadable(Problem):
    """A file that is there cannot be read now, which says nothing about what it holds."""


def innocent(error: BaseException, file: Path) -> None:
    """Raises Unreadable where `error` is the disk's, or the system's, and not that of a damaged `file`."""
    absent = FileNotFoundError, NotADirectoryError, IsADirectoryError
    if isinstance(error, OSError) and not isinstance(error, absent) and error.errno is not None:
        raise Unreadable(f"{file} cannot be read now ({error.strerror}): see to its disk and try again; nothing is known to be"
                         " wrong with it") from None


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


def made_otherwise(then: Metrics, now: Metrics) -> list[str]:
    """In words, what of two provenances lets bits differ; a result that was made in parts may itself be of several."""
    found = {name: dict.fromkeys(str(part.get(name)) for part in (then, *then.get("parts", ())))
             for name in ("cpu", "device", "torch", "engine", "package")}
    return [f"{name} {', '.join(values)} then, {now.get(name)} now" for name, values in found.items()
            if [*values] != [str(now.get(name))]]


class Shelf:
    """One file of shipped results. Raises Problem where it is damaged."""

    def __init__(self, file: Path) -> None:
        self.file = file.with_suffix(".json")
        self._arrays: tuple[Any, dict[str, list[str]], dict[str, list[int]]] | None = None
        try:
            content = json.loads(self.file.read_bytes())
            self.records, self.behind = unlisted("results", content), unlisted("behind", content)
        except DAMAGE as error:
            raise Problem(f"{self.file}: the shipped results are damaged ({line(error)}): fetch the file again") from None

    def get(self, key: str) -> Result:
        record = self.records[key]
        try:
            if self._arrays is None:  # its list of names is long, and is read once
                stored = safe_open(self.file.with_suffix(".safetensors"), "numpy")
                names: dict[str, list[str]] = {}
                for name in stored.keys():  # noqa: SIM118 (safe_open is no mapping)
                    names.setdefault(name.partition("/")[0], []).append(name)
                self._arrays = stored, names, _bits(stored)
            stored, names, bits = self._arrays
            arrays = {name.removeprefix(f"{key}/"): _unpacked(stored, name, bits) for name in names.get(key, [])}
            result = Result(key, arrays, record["metrics"], self.provenance(key))
            if result.digest != record["digest"]:
                raise ValueError("its digest is another")
        except DAMAGE as error:
            raise Problem(f"{self.file}: the shipped result {key[:12]} is damaged ({line(error)}): fetch the file"
                          " again") from None
        return result

    def provenance(self, key: str) -> Metrics:
        return {name: value for name, value in self.records[key].items()
                if name not in ("kind", "version", "fields", "metrics")}


def read(path: Path) -> Result:
    """The entry in folder `path`, every file checked against its checksum. Raises Problem naming what is wrong."""
    try:
        sums = json.loads((path / "checksums.json").read_bytes())
        if sums.keys() != FILES:
            raise ValueError("checksums.json names other files")
        for name, expected in sums.items():
            if hashlib.sha256((path / name).read_bytes()).hexdigest() != expected:
                raise ValueError(f"{name} has changed")
        metrics, provenance = (json.loads((path / f"{name}.json").read_bytes()) for name in ("metrics", "provenance"))
        return Result(path.name, loaded(path / "arrays.safetensors"), {**metrics}, {**provenance})  # TypeError for others
    except DAMAGE as error:
        innocent(error, path)
        raise Problem(f"the stored result {path} is damaged ({line(error)}): 'synthprune store verify --remove' deletes it, and"
                      " the next run makes it again") from None


def packed(arrays: Arrays, digest: str = "") -> bytes:
    """safetensors bytes; bool arrays as bits, their shapes in the header, where a `digest` of all that is in it may stand."""
    shapes = {name: list(a.shape) for name, a in arrays.items() if a.dtype == bool}
    # Not ascontiguousarray: it would give an array without dimensions one.
    plain = {name: np.packbits(a) if name in shapes else np.asarray(a, order="C") for name, a in arrays.items()}
    return save(plain, metadata={"bits": json.dumps(shapes)} | ({"digest": digest} if digest else {}))


def loaded(file: Path) -> Arrays:
    """The arrays of a file. Raises one of DAMAGE where they are not whole, or not what a digest in its header says."""
    with safe_open(file, "numpy") as stored:
        bits = _bits(stored)
        arrays = {name: _unpacked(stored, name, bits) for name in stored.keys()}  # noqa: SIM118 (safe_open is no mapping)
        digest = (stored.metadata() or {}).get("digest")
    if digest and digest != digest_of(arrays, {}):
        raise ValueError("its digest is another")
    return arrays


def _bits(stored: Any) -> dict[str, list[int]]:
    """The shapes of the bool arrays of an open safetensors file."""
    return json.loads((stored.metadata() or {}).get("bits", "{}"))


def _unpacked(stored: Any, name: str, bits: Mapping[str, list[int]]) -> np.ndarray:
    array = stored.get_tensor(name)
    if name not in bits:
        return array
    count = math.prod(bits[name])
    if array.size != -(-count // 8):  # it would be filled up, whatever its shape claims
        raise ValueError(f"{name} has not the bits of its shape")
    return np.unpackbits(array, count=count).astype(bool).reshape(bits[name])
