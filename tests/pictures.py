"""Small images and archives that the tests of reading and refusing use, and where the real ones are."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthprune.data.facts import CIFAR10

SHARED = Path(os.environ.get("SYNTHPRUNE_SHARED_DATA", "../shared/data"))


def real(name: str) -> Path:
    """A file of real data; the test is skipped where it is not on this machine."""
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not in {SHARED} (SYNTHPRUNE_SHARED_DATA): the real data were not read")
    return SHARED / name


def picture(seed: int, pixels: int = 32) -> np.ndarray:
    """A random RGB image (h, w, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)


def file_of(image: np.ndarray | Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind)
    return buffer.getvalue()


def tiny(per_class: int = 2, under: str = "", classes: tuple[str, ...] = CIFAR10) -> dict[str, bytes]:
    """Files of a data set by name, `<under>/<class>/<number>.png`."""
    return {f"{under}{name}/{i}.png": file_of(picture(100 * c + i)) for c, name in enumerate(classes) for i in range(per_class)}


def tar_of(files: Mapping[str, bytes], path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, payload in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    return path


def folder_of(files: Mapping[str, bytes], path: Path) -> Path:
    for name, payload in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(payload)
    return path


class Toucher:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)
