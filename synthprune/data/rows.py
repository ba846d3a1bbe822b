"""Labelled images that lie in rows of a file: parquet as the Hugging Face hub keeps them, and CIFAR's binary and MATLAB files."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from synthprune.data.bounds import RATIO, Budget
from synthprune.data.images import decoded, squared
from synthprune.data.parts import part_of
from synthprune.problems import Problem

Add = Callable[[str, np.ndarray, int], None]
"""Takes the part, an image (c, h, h) and its label."""

PIXELS = 3 * 32 * 32
"""Bytes of one image in CIFAR's files: red, green, blue, each row by row."""
CIFAR10_FILES, CIFAR100_FILES = re.compile(r"(data_batch_\d|test_batch)\.(bin|mat)"), re.compile(r"(train|test)\.(bin|mat)")
NAMES = ("batches.meta.txt", "fine_label_names.txt")
LABEL = re.compile("label|class|target|categor", re.IGNORECASE)
"""What a column of labels is called."""


def is_rows(name: str) -> bool:
    """Whether a file is one of those that are read here."""
    base = PurePosixPath(name).name
    if any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts):  # as of images
        return False
    return (base.lower().endswith(".parquet") or base in NAMES
            or bool(CIFAR10_FILES.fullmatch(base) or CIFAR100_FILES.fullmatch(base)))


def read_rows(payloads: Mapping[str, bytes], path: Path, images: str, labels: str, pixels: int, add: Add,
              budget: Budget) -> tuple[str, ...]:
    """Hand every image in the files to `add`; returns what the classes are called, where the files tell it.

    `images`, `labels`: the columns of a parquet file, where there are several. Raises Problem for a damaged file.
    """
    names: dict[str, bytes] = {}
    rest: dict[str, bytes] = {}
    for name, payload in payloads.items():
        (names if PurePosixPath(name).name in NAMES else rest)[name] = payload
    places = [PurePosixPath(name).parent for name in rest]
    if len({place.parent if part_of(place.name) else place for place in places}) > 1:  # train/0000.parquet, as the hub converts
        raise Problem(f"{path} holds such files in several folders ({', '.join(sorted(rest)[:3])}, ...): say which with --inside")
    told: tuple[str, ...] = ()
    for name in sorted(rest):
        where = f"{path}: {name}" if path.name != name else str(path)
        if name.lower().endswith(".parquet"):
            names_here = _parquet(rest[name], name, where, images, labels, pixels, add, budget)
            if told and names_here not in ((), told):
                raise Problem(f"{where} calls its classes {', '.join(names_here[:3])}, ..., another file {', '.join(told[:3])},"
                              " ...")
            told = told or names_here
        else:
            _cifar(rest[name], name, where, pixels, add)
    listed = [line.strip() for payload in names.values() for line in payload.decode("utf-8", "replace").splitlines()]
    return told or tuple(line for line in listed if line)


# CIFAR's binary and MATLAB versions.


def _cifar(payload: bytes, name: str, where: str, pixels: int, add: Add) -> None:
    base = PurePosixPath(name).name
    part = "test" if base.startswith("test") else "train"
    rows, labels = (_matlab if base.endswith(".mat") else _binary)(payload, where, bool(CIFAR10_FILES.fullmatch(base)))
    for row, label in zip(rows.reshape(-1, 3, 32, 32), labels.tolist(), strict=True):
        add(part, squared(Image.fromarray(row.transpose(1, 2, 0)), pixels, where) if pixels not in (0, 32) else row, label)


def _binary(payload: bytes, where: str, ten: bool) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 has its label before each image, CIFAR-100 the coarse one and the fine one."""
    before = 1 if ten else 2
    if not payload or len(payload) % (before + PIXELS):
        raise Problem(f"{where} has {len(payload)} bytes, not a multiple of {before + PIXELS}: it is damaged, or not CIFAR's")
    rows = np.frombuffer(payload, np.uint8).reshape(-1, before + PIXELS)
    return rows[:, before:], rows[:, before - 1]


def _matlab(payload: bytes, where: str, ten: bool) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat, whosmat

    try:
        shapes = {name: shape for name, shape, _ in whosmat(io.BytesIO(payload))}
        labels = "labels" if ten else "fine_labels"
        if shapes.get("data", (0, 0))[1:] != (PIXELS,) or shapes.get(labels) != (shapes["data"][0], 1):
            raise ValueError("it holds no data and labels of CIFAR's shape")
        if shapes["data"][0] > 100_000:
            raise ValueError(f"it claims {shapes['data'][0]} images")
        found = loadmat(io.BytesIO(payload), variable_names=["data", labels])
        return found["data"].astype(np.uint8), found[labels][:, 0]
    except Exception as error:  # the reader raises whatever a damaged file leads it to
        raise Problem(f"{where} cannot be read as CIFAR's MATLAB file ({' '.join(str(error).split())})") from None


# Parquet.


def _parquet(payload: bytes, name: str, where: str, images: str, labels: str, pixels: int, add: Add,
             budget: Budget) -> tuple[str, ...]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise Problem(f"{where}: reading parquet takes pyarrow: pip install 'synthprune[parquet]'") from None
    try:
        file = parquet.ParquetFile(io.BytesIO(payload))
        features = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        image, label = _columns(file.schema_arrow, features, where, images, labels)
        for group in range(file.num_row_groups):
            budget.spend(file.metadata.row_group(group).total_byte_size, f"row group {group} of {name}")
            # A few rows at a time: one image may stand in many of them, and takes its room in the file once.
            batches = file.iter_batches(batch_size=16, row_groups=[group], columns=[image, label])
            for number, row in enumerate(row for batch in batches for row in batch.to_pylist()):
                at = f"{where}: row {number} of group {group}"
                held = row[image].get("bytes") if isinstance(row[image], dict) else row[image]
                if held is None or row[label] is None:
                    raise Problem(f"{at} holds no {'image' if held is None else 'label'}")
                if row[label] != int(row[label]):
                    raise Problem(f"{at}: its label {row[label]} is no whole number")
                array = decoded(held, at, pixels)
                budget.spend(min(array.nbytes, RATIO * len(held)) if pixels else array.nbytes, f"row {number} of group {group}")
                add(part_of(PurePosixPath(name).name) or part_of(PurePosixPath(name).parent.name), array, int(row[label]))
    except Problem:
        raise
    except Exception as error:  # as above
        raise Problem(f"{where} cannot be read as parquet ({' '.join(str(error).split())[:200]}): fetch it again") from None
    return tuple(map(str, features.get(label, {}).get("names", ())))


def _columns(schema: Any, features: Mapping[str, Any], where: str, images: str, labels: str) -> tuple[str, str]:
    """The column of images and that of labels; said, or the only one of its type."""
    from pyarrow import types

    def of(test: Callable[[Any], bool]) -> list[str]:
        return [field.name for field in schema if test(field.type)]

    for what, said in (("images", images), ("labels", labels)):
        if said and said not in schema.names:
            raise Problem(f"{where} has columns {', '.join(schema.names[:8])}; none is called '{said}': say which with --{what}")
    pictures = of(lambda kind: types.is_binary(kind) or types.is_large_binary(kind)
                  or (types.is_struct(kind) and "bytes" in [f.name for f in kind]))
    numbers = of(types.is_integer)
    texts = of(lambda kind: types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind))
    called = [name for name in texts if LABEL.search(name)]
    if texts and not labels and not any(map(LABEL.search, numbers)) and (called or not numbers):
        _refuse_text(where, called or texts)  # numbers that are called otherwise count rows, or folds
    named = [name for name in numbers if features.get(name, {}).get("_type") == "ClassLabel"] or numbers
    chosen = []
    for what, said, fitting in (("images", images, pictures), ("labels", labels, named)):
        if said:
            if what == "labels" and said in texts:
                _refuse_text(where, [said])
            fitting = [said]
        if len(fitting) != 1:
            raise Problem(f"{where} has columns {', '.join(schema.names[:8])}; {' or '.join(fitting[:4]) or 'none of them'} may"
                          f" hold the {what}: say which with --{what} NAME")
        chosen.append(fitting[0])
    return chosen[0], chosen[1]


def _refuse_text(where: str, names: list[str]) -> NoReturn:
    raise Problem(f"{where}: labels in {' or '.join(names[:3])} are text, not numbers: give the number of each class, from 0")
