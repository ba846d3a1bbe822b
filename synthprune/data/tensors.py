"""Images and labels out of files of arrays (.pt, .npz, .npy, .safetensors), without executing anything a file may hold."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from synthprune.data.archives import zip_member
from synthprune.data.bounds import Budget
from synthprune.data.parts import part_of
from synthprune.problems import Problem

SUFFIXES = (".pt", ".pth", ".npz", ".npy", ".safetensors")
DEPTH = 3
"""Dictionaries in dictionaries are looked through so far."""

# What pickles of numpy's numbers and arrays call, under the old and the new name of its module.
_SCALAR, _ARRAY = np.float64().__reduce__()[0], np.empty(0).__reduce__()[0]
_DTYPES = {type(np.dtype(kind)) for kind in ("bool", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8")}
HARMLESS: list[Any] = [_SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"), _ARRAY,
                       (_ARRAY, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, *_DTYPES]


def read_pair(path: Path, images: str = "", labels: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one file, or of an images file and a labels file, as they are: of any shape and numeric type.

    A list [images, labels], or of one (image, label) after the other; a dictionary with one entry of images and one of
    labels (of several, that of training); a dictionary whose "data" is a list of [images, labels] (VICO's), the last one
    taken; one array of images. `images` and `labels` name the entries, or `labels` the file, where that is not plain; the
    labels of '...images...' are looked for in '...labels...'.
    Raises Problem for all else, for pickled code, and where more is claimed than the file can hold.
    """
    content = _loaded(path)
    beside = Path(labels) if labels and Path(labels).suffix.lower() in SUFFIXES else None
    if beside and not beside.exists() and (path.parent / beside).is_file():
        beside = path.parent / beside
    if isinstance(content, Mapping):
        data = content.get("data")
        if isinstance(data, list | tuple) and data and not images and not _are_images(data):
            content = data if _is_pair(data) or isinstance(data[-1], Tensor | np.ndarray) else data[-1]
        else:
            return _of_dictionary(content, path, images, "" if beside else labels, beside)
    if isinstance(content, Tensor | np.ndarray):
        return plain(content, path, "images"), _labels_of(path, beside)
    if isinstance(content, list | tuple) and content and all(map(_is_sample, content)):
        return _stacked(content, path)
    if not (isinstance(content, list | tuple) and len(content) == 2 and all(isinstance(c, Tensor | np.ndarray) for c in content)):
        raise Problem(f"{path} is not a list [images, labels] of two tensors, nor one of the other published forms")
    return plain(content[0], path, "images"), plain(content[1], path, "labels")


def entries(path: Path) -> dict[str, Tensor | np.ndarray] | None:
    """Every array of a dictionary by its name; None where the file is no dictionary of arrays. Raises Problem as above."""
    content = _loaded(path)
    if not isinstance(content, Mapping) or isinstance(content.get("data"), list | tuple):
        return None
    return _flat(content, Budget(path))


def by_class(path: Path) -> dict[str, np.ndarray] | None:
    """The images of each class by its name, where a file is a dictionary of nothing else; None where it is not."""
    found = entries(path) or {}
    if len(found) < 2 or any(array.ndim < 3 or part_of(name) or not _affix(name) for name, array in found.items()):
        return None
    words = [{word.rstrip("s") for word in _words(name)} for name in found]
    if any(said & {"image", "img", "data", "arr"} for said in words) or all("x" in said for said in words):
        return None  # called like several arrays of images, and not like classes
    if len({tuple(array.shape[1:]) for array in found.values()}) > 1:
        return None
    name, first = next(iter(found.items()))
    if first.ndim == 3 and len(first) in (1, 3) and len({len(array) for array in found.values()}) == 1:
        raise Problem(f"{path}: {name} of shape {tuple(first.shape)} may be one image or grey ones: give (images, channels, side,"
                      " side)")
    Budget(path).spend(sum(map(_bytes_of, found.values())), "what its classes hold together")
    return {name: plain(array, path, "images") for name, array in found.items()}


def joined(images: Mapping[str, np.ndarray], order: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images by class as one array, class by class in `order`, and their labels."""
    return (np.concatenate([images[name] for name in order]),
            np.repeat(np.arange(len(order)), [len(images[name]) for name in order]))


def fitting_labels(entries: Mapping[str, Tensor | np.ndarray], images: str) -> list[str]:
    """Entries that may be the labels of `images`: of numbers, or else of text, which `plain` refuses by name."""
    found = [name for name, array in entries.items()
             if array.ndim in (1, 2) and len(array) == len(entries[images]) and name != images]
    numbers = [name for name in found if isinstance(array := entries[name], Tensor) or array.dtype.kind not in "US"]
    return numbers or found


def _labels_of(path: Path, beside: Path | None) -> np.ndarray:
    if beside is None:
        if "images" not in path.name:
            raise Problem(f"{path} is one tensor: its labels are missing; name it ...images... and put its labels beside it as"
                          " ...labels..., or say where they are with --labels FILE")
        beside = path.with_name(path.name.replace("images", "labels"))
        if not beside.is_file():
            raise Problem(f"{path} is one tensor, and its labels are not beside it as {beside.name}: say where they are with"
                          " --labels FILE")
    content = _loaded(beside)
    if not isinstance(content, Tensor | np.ndarray):
        raise Problem(f"{beside} is not one tensor of labels")
    return plain(content, beside, "labels")


def _of_dictionary(content: Mapping[Any, Any], path: Path, images: str, labels: str,
                   beside: Path | None) -> tuple[np.ndarray, np.ndarray]:
    entries = _flat(content, Budget(path))
    if not entries:
        raise Problem(f"{path} is not a list [images, labels] of two tensors, nor one of the other published forms")
    chosen = _entry(entries, images, "images", path, [name for name, array in entries.items() if array.ndim >= 3])
    if beside is not None:
        return plain(entries[chosen], path, "images"), _labels_of(path, beside)
    fitting = fitting_labels(entries, chosen)
    if len(fitting) > 1 and len(named := [name for name in fitting if _affix(name) == _affix(chosen) != name]) == 1:
        # Hard labels beside soft ones of the same images: which of them a network should learn is not for us to say.
        soft = [name for name in fitting if entries[name].ndim != entries[named[0]].ndim
                and any(word in name.lower() for word in ("label", "target", "soft", "logit", "prob"))]
        fitting = named + soft
    of = _entry(entries, labels, "labels", path, fitting)
    return plain(entries[chosen], path, "images"), plain(entries[of], path, "labels")


def _bytes_of(array: Tensor | np.ndarray) -> int:
    """Bytes of an array as float32, which it may become, or as it is where that is more."""
    return math.prod(array.shape) * max(4, array.dtype.itemsize)


def _flat(content: Mapping[Any, Any], budget: Budget, depth: int = DEPTH, under: str = "") -> dict[str, Tensor | np.ndarray]:
    """Every array in dictionaries of dictionaries, by its path; also lists of numbers, text or images, and [images, labels]."""
    found: dict[str, Tensor | np.ndarray] = {}
    for key, value in content.items():
        if isinstance(value, Tensor | np.ndarray):
            found[f"{under}{key}"] = value
        elif isinstance(value, list | tuple) and value and all(type(one) in (int, float, str) for one in value):  # no accuracies
            found[f"{under}{key}"] = np.array(value)
        elif _are_images(value):
            budget.spend(sum(map(_bytes_of, value)), f"'{under}{key}'")
            found[f"{under}{key}"] = torch.stack([torch.as_tensor(one) for one in value])
        elif isinstance(value, list | tuple) and _is_pair(value):
            found |= {f"{under}{key}/images": value[0], f"{under}{key}/labels": value[1]}
        elif isinstance(value, Mapping) and depth:
            found |= _flat(value, budget, depth - 1, f"{under}{key}/")
    return found


def _are_images(value: object) -> bool:
    """Whether it is a list of single images of one shape, three at least: two may be [images, labels]."""
    return (isinstance(value, list | tuple) and len(value) > 2 and all(isinstance(one, Tensor | np.ndarray) for one in value)
            and len({tuple(one.shape) for one in value}) == 1 and value[0].ndim in (2, 3))


def _is_pair(value: Sequence[object]) -> bool:
    """Whether it is images and labels, and not two images."""
    arrays = [one for one in value if isinstance(one, Tensor | np.ndarray)]
    return len(arrays) == len(value) == 2 and arrays[0].ndim >= 3 and arrays[1].ndim in (1, 2)


def _is_sample(value: object) -> bool:
    """Whether it is one image with its label, a number or one number per class."""
    if not (isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], Tensor | np.ndarray)):
        return False
    label = value[1]
    return value[0].ndim in (2, 3) and (type(label) in (int, float) or
                                        (isinstance(label, Tensor | np.ndarray | np.generic) and label.ndim < 2))


def _stacked(samples: Sequence[Any], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a list that has one image with its label after the other."""
    Budget(path).spend(sum(_bytes_of(image) for image, _ in samples), "what its images hold together")
    pairs = [(plain(image, path, "images"), plain(torch.as_tensor(label), path, "labels")) for image, label in samples]
    for what, arrays in zip(("images", "labels"), zip(*pairs, strict=True), strict=True):
        if len(shapes := list(dict.fromkeys(array.shape for array in arrays))) > 1:
            raise Problem(f"{path} holds {what} of shapes {shapes[0]} and {shapes[1]}: give them one")
    images, labels = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    return images, labels.reshape(len(labels), -1).squeeze(1) if labels[0].size == 1 else labels


def _entry(entries: Mapping[str, Tensor | np.ndarray], said: str, what: str, path: Path, fitting: list[str]) -> str:
    """The entry that was named, or the only one that fits; of several, the only one for training."""
    holds = f"{path} holds {', '.join(list(entries)[:8])}"
    if said:
        if said not in entries:
            raise Problem(f"{holds}; no entry is called '{said}'")
        return said
    if len(fitting) > 1 and len(training := [name for name in fitting if "train" in name.lower() or "syn" in name.lower()]) == 1:
        fitting = training
    if not fitting:
        shapes = ", ".join(f"{name} of shape {tuple(array.shape)}" for name, array in list(entries.items())[:4])
        raise Problem(f"{path} holds {shapes}; none of them can be the {what}: say which with --{what} NAME")
    if len(fitting) > 1:
        raise Problem(f"{holds}; {' or '.join(fitting[:4])} may be the {what}: say which with --{what} NAME")
    return fitting[0]


def _affix(name: str) -> str:
    """What is left of an entry's name without the words for images and labels: 'train' of images_train and y_train."""
    said = ("image", "label", "x", "y", "img", "target", "data")
    return "_".join(word for word in _words(name) if word.rstrip("s") not in said)


def _words(name: str) -> list[str]:
    return name.lower().replace("/", "_").replace("-", "_").split("_")


def plain(value: Tensor | np.ndarray, path: Path, what: str) -> np.ndarray:
    """As numpy has it, once it is known to be dense, numeric and no larger than the file allows."""
    Budget(path).spend(_bytes_of(value), f"the tensor of {what}, of shape {tuple(value.shape)},")
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta or value.is_complex() or value.is_quantized or value.is_nested:
            raise Problem(f"{path}: {what} must be a dense tensor of floats or bytes, not {value.dtype}, {value.layout}"
                          f"{' without data' if value.is_meta else ''}")
        value = _as_numpy(value, f"{path}: {what}")
    if value.dtype.kind in "USO":
        raise Problem(f"{path}: {what} are text, not numbers: give the number of each class, from 0")
    if value.dtype.kind not in "biuf":
        raise Problem(f"{path}: {what} are of type {value.dtype}, which is no number that can be used")
    return value


def _as_numpy(value: Tensor, where: str) -> np.ndarray:
    """Types of float that numpy lacks become float32, and what is stored as the negative of another is written out."""
    try:
        value = value.detach().resolve_conj().resolve_neg()
        short = value.is_floating_point() and value.dtype not in (torch.float32, torch.float64)
        return (value.float() if short else value).numpy()
    except (TypeError, RuntimeError):
        raise Problem(f"{where} are of type {value.dtype}, which is no number that can be used: give float32 or uint8") from None


# Reading each form of file.


def _loaded(path: Path) -> object:
    """What the file holds: arrays, in lists or dictionaries."""
    if not path.is_file():
        raise Problem(f"no such file: {path}")
    budget = Budget(path)
    try:
        if path.suffix.lower() == ".npy":
            budget.spend(path.stat().st_size, "it")
            return npy(path.read_bytes(), str(path))
        if path.suffix.lower() == ".safetensors":
            return load_file(path)  # which checks every size against the file's before it reads
        return _npz(path, budget) if path.suffix.lower() == ".npz" else _torch(path, budget)
    except Problem:
        raise
    except Exception as error:  # refused code, damage and foreign formats are reported by all sorts of exceptions
        reason = "holds pickled code, which is never executed" if "Weights only" in str(error) else "is damaged or foreign"
        raise Problem(f"{path} {reason}: only a list [images, labels] of tensors is read, or one of the other published"
                      " forms") from None


def _torch(path: Path, budget: Budget) -> object:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                budget.spend(member.file_size, f"member '{member.filename}'")
    with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(HARMLESS):  # what is wrong is said here
        return torch.load(path, map_location="cpu", weights_only=True)


def _npz(path: Path, budget: Budget) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        found = {}
        for member in archive.infolist():
            budget.spend(member.file_size, f"member '{member.filename}'")
            if member.filename.endswith(".npy"):
                found[member.filename.removesuffix(".npy")] = npy(zip_member(archive, member), f"{path}: {member.filename}")
        return found


def npy(payload: bytes, where: str) -> np.ndarray:
    """The array of a .npy file, once its header is found to claim just what follows it; no objects."""
    file = io.BytesIO(payload)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise Problem(f"{where} is a .npy file of version {version}, which is not read: save it anew")
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise Problem(f"{where} holds pickled objects, which are never read: save plain arrays")
    begin = file.tell()
    if math.prod(shape) * dtype.itemsize != len(payload) - begin:
        raise Problem(f"{where} claims an array of shape {shape}, which is not what follows: it is damaged")
    return np.frombuffer(payload, dtype, offset=begin).reshape(shape, order="F" if fortran else "C")
