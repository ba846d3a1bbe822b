"""Thousands of damaged files, whose seeds are fixed: each is read or refused in one line, and none fills the machine.

SYNTHPRUNE_FUZZ says how many files of each form; the default takes seconds.
"""

from __future__ import annotations

import io
import os
import resource
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import file_of, picture, tar_of, tiny
from safetensors.numpy import save_file
from scipy.io import savemat

from synthprune.data.forms import read_set
from synthprune.data.labelled import Told, read_labelled
from synthprune.problems import Problem

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


def mutated(whole: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, mostly where headers are; or a piece cut out, doubled, or overwritten by the largest number."""
    data = bytearray(whole)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 600)
    begin = int(rng.integers(reach)) if rng.random() < 0.7 else len(data) - 1 - int(rng.integers(reach))
    length = int(rng.integers(1, 64))
    match int(rng.integers(5)):
        case 0:
            data[begin:begin + length] = b""
        case 1:
            data[begin:begin] = data[begin:begin + length]
        case 2:
            data[begin:begin + 8] = b"\xff" * 7 + b"\x7f"
        case 3:
            del data[begin:]
        case _:
            for place in rng.integers(max(0, begin - 32), min(len(data), begin + 32), 3):
                data[place] = int(rng.integers(256))
    return bytes(data)


@pytest.mark.parametrize("form", [*FORMS, *OWN])
def test_a_damaged_file_is_read_or_refused_in_one_line(form: str, tmp_path: Path) -> None:
    file = tmp_path / form
    (FORMS | OWN)[form](file)
    whole, refused = file.read_bytes(), 0

    def read() -> None:
        if form in FORMS:
            read_set(file, "cifar10", 1)
        else:
            read_labelled(file, Told(test=0.5 if form == "own.parquet" else 0))

    read()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(COUNT):
        file.write_bytes(mutated(whole, np.random.default_rng(number)))
        try:
            with warnings.catch_warnings(action="ignore"):
                read()
        except Problem as problem:
            refused += 1
            assert "\n" not in str(problem) and str(file) in str(problem)
    assert refused > COUNT / 10
    assert {path.name for path in tmp_path.iterdir()} == {form}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "kilobytes: a gigabyte"
