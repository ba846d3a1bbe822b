"""Thousands of damaged files, the same in every run: each is read or refused in one line, and none fills the machine.

SYNTHPRUNE_FUZZ says how many of each form; the default takes seconds.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pictures import file_of, picture, tar_of, tiny
from safetensors.numpy import save_file
from scipy.io import savemat
from sweep import subnetwork

from synthprune.data.forms import read_set
from synthprune.data.labelled import Told, read_labelled
from synthprune.problems import Problem
from synthprune.results.store import Store

COUNT = int(os.environ.get("SYNTHPRUNE_FUZZ", "200"))
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.random((10, 3, 32, 32), np.float32), np.arange(10)


def zipped(path: Path, parts: tuple[str, ...] = ("",)) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts:
            for name, payload in tiny(1, part).items():
                archive.writestr(name, payload)


def jpeg(path: Path) -> None:
    tar_of({name.replace("png", "jpg"): file_of(picture(0), "JPEG") for name in tiny(1)}, path)


FORMS = {
    "set.tar": lambda path: tar_of(tiny(1), path), "set.tar.gz": lambda path: tar_of(tiny(1), path, "w:gz"),
    "set.tar.xz": lambda path: tar_of(tiny(1), path, "w:xz"), "jpeg.tar": jpeg, "set.zip": zipped,
    "set.pt": lambda path: torch.save([torch.from_numpy(IMAGES), torch.from_numpy(LABELS)], path),
    "legacy.pt": lambda path: torch.save([torch.from_numpy(IMAGES), torch.from_numpy(LABELS)], path,
                                         _use_new_zipfile_serialization=False),
    "set.npz": lambda path: np.savez(path, x=IMAGES, y=LABELS),
    "packed.npz": lambda path: np.savez_compressed(path, x=IMAGES, y=LABELS),
    "set.safetensors": lambda path: save_file({"x": IMAGES, "y": LABELS}, path)}

# Of real data, which are read by other code.
OWN = {
    "own.zip": lambda path: zipped(path, ("train/", "test/")),
    "own.tar": lambda path: tar_of(tiny(1, "train/") | tiny(1, "test/"), path),
    "own.npz": lambda path: np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS),
    "own_binary.tar": lambda path: tar_of(cifar("bin"), path), "own_matlab.tar": lambda path: tar_of(cifar("mat"), path),
    "own.parquet": lambda path: path.write_bytes(parquet())}


def cifar(kind: str) -> dict[str, bytes]:
    rows = np.column_stack([LABELS, (255 * IMAGES).reshape(10, -1)]).astype(np.uint8)
    buffer = io.BytesIO()
    savemat(buffer, {"data": rows[:, 1:], "labels": rows[:, :1]}, do_compression=True)
    return {f"{name}.{kind}": rows.tobytes() if kind == "bin" else buffer.getvalue() for name in ("data_batch_1", "test_batch")}


def parquet() -> bytes:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.table({"image": [{"bytes": file_of(picture(k)), "path": None} for k in range(10)],
                                  "label": (LABELS % 5).tolist()}), buffer)
    return buffer.getvalue()


MASK = subnetwork(1)
KEPT = {"mask": IMAGES > 0.5, "float32": IMAGES[0], "int64": LABELS}


def entry(path: Path) -> None:
    Store(path / "store").put(MASK, KEPT, {"loss": [0.5, None]}, {"seconds": 1})


def checkpoint(path: Path) -> None:
    Store(path).save_checkpoint(MASK, KEPT, 7)


def shelf(path: Path) -> None:
    entry(path)
    store = Store(path / "store")
    store.export([MASK], path / "shelves" / "demo" / "chapter")
    store.remove(store.path(MASK))


def got(path: Path) -> None:
    """What the store or its shelf holds, unchanged."""
    store = Store(path / "store", [path / "shelves"])
    damaged = store.damaged()
    store.stale()
    result = store.get(MASK)
    assert not damaged and result.metrics == {"loss": [0.5, None]}
    assert all(np.array_equal(result.arrays[name], KEPT[name]) for name in KEPT)


def resumed(path: Path) -> None:
    """The checkpoint, unchanged; as a Problem, that there is none."""
    if (found := Store(path).load_checkpoint(MASK)) is None:
        raise Problem(f"{path}: none")
    assert found[0] == 7 and all(np.array_equal(found[1][name], KEPT[name]) for name in KEPT)


Read = Callable[[Path], object]
READERS: dict[str, tuple[Read, Read]] = {
    **{form: (make, lambda path: read_set(path, "cifar10", 1)) for form, make in FORMS.items()},
    **{form: (make, lambda path: read_labelled(path, Told(test=0.5 if path.suffix == ".parquet" else 0)))
       for form, make in OWN.items()},
    "entry": (entry, got), "checkpoint": (checkpoint, resumed), "shelf": (shelf, got)}
"""How each form is made and read; those of the store are folders."""

PIECES = st.binary(max_size=64) | st.sampled_from([b"\xff" * 7 + b"\x7f", b"7", b"[]", b"{}", b"[" * 5000])
"""What may stand instead: a few bytes or none, the largest number, and JSON that is something else."""
PLACES = st.integers(0, 600) | st.integers(-600, -1) | st.integers(0, 2**20)
"""Mostly where headers are."""


def fuzzed(base: Path, read: Read) -> tuple[int, int]:
    """Read `base` with one piece of one of its files changed, again and again: how often it was refused, and read at all."""
    files = [base] if base.is_file() else sorted(path for path in base.rglob("*") if path.is_file())
    whole = {file: file.read_bytes() for file in files}
    tried: list[bool] = []

    @settings(derandomize=True, database=None, deadline=None, max_examples=COUNT, suppress_health_check=list(HealthCheck),
              phases=[Phase.generate])
    @given(st.sampled_from(files), PLACES, st.sampled_from([0, 1, 8, 64, 2**30]), PIECES | st.none())
    def one(file: Path, place: int, length: int, piece: bytes | None) -> None:
        data = whole[file]
        begin = place % max(1, len(data)) if length < 2**30 or piece is None else 0
        changed = data[begin:begin + length]
        file.write_bytes(data[:begin] + (2 * changed if piece is None else piece) + data[begin + length:])
        try:
            with warnings.catch_warnings(action="ignore"):
                read(base)
            tried.append(False)
        except Problem as problem:
            tried.append(True)
            assert "\n" not in str(problem) and str(base) in str(problem) and len(str(problem)) < 1000
        finally:
            file.write_bytes(data)

    one()
    return sum(tried), len(tried)


def most_memory(anew: bool = False) -> int:
    """Kilobytes that this process has held at most; `anew`: counted from now on, where the system can."""
    if anew:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("form", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(form: str, tmp_path: Path, home: Path) -> None:
    make, read = READERS[form]
    make(tmp_path / form)
    read(tmp_path / form)
    there, before = sorted(tmp_path.rglob("*")), most_memory(anew=True)
    refused, tried = fuzzed(tmp_path / form, read)
    assert refused > tried / 10 and tried >= COUNT
    assert sorted(tmp_path.rglob("*")) == there
    assert most_memory() - before < 2**20, "kilobytes: a gigabyte"


def test_any_other_exception_is_found(tmp_path: Path) -> None:
    file = tmp_path / "number"
    file.write_bytes(b"12345")
    with pytest.raises(ValueError, match="invalid literal"):
        fuzzed(file, lambda path: int(path.read_bytes()))
