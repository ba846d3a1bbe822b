"""Reading labelled images from a folder, a tar or an official archive, and refusing everything else by name."""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from synthprune.problems import Problem

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm")
DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)
"""What reading a truncated, foreign or malicious tar may raise."""


def read_classes(path: Path, pixels: int, channels: int, inside: str = "",
                 photos_of: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Images by class folder: {class name: uint8 (n, channels, pixels, pixels)}, classes and files in name order.

    `path` is a folder or a tar (compressed or not) of `<inside>/<class>/<file>`; a tar is read in memory and never
    unpacked. RGBA and palette images are converted; another size is refused, never resampled.
    `photos_of`: read these classes only, of photographs of any size: the shorter side is resized to `pixels`, the middle
    kept, as torchvision's Resize and CenterCrop do.
    Raises Problem for a missing, truncated, foreign or malicious file.
    """
    root = PurePosixPath(inside).parts

    def wanted(name: str) -> bool:
        parts = PurePosixPath(name).parts
        return (len(parts) == len(root) + 2 and parts[: len(root)] == root and name.lower().endswith(SUFFIXES)
                and (photos_of is None or parts[-2] in photos_of))

    read = _pixels if photos_of is None else _middle
    found = {name: read(payload, f"{path}: {name}", pixels, channels) for name, payload in _files(path, wanted)}
    if not found:
        raise Problem(f"{path} holds no images under '{inside or '.'}/<class>/': is it the right file?")
    classes: dict[str, list[np.ndarray]] = {}
    for name in sorted(found):
        classes.setdefault(PurePosixPath(name).parts[-2], []).append(found[name])
    return {name: np.stack(images) for name, images in classes.items()}


def _files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted files, in no particular order."""
    if not path.exists():
        raise Problem(f"no such file or folder: {path}")
    if path.is_dir():
        for file in path.rglob("*"):
            name = file.relative_to(path).as_posix()
            if wanted(name) and file.is_file():
                yield name, file.read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if PurePosixPath(member.name).is_absolute() or ".." in PurePosixPath(member.name).parts:
                    raise Problem(f"{path}: member '{member.name}' points outside the archive; it is not to be trusted")
                name = PurePosixPath(member.name).as_posix()
                if wanted(name) and member.isfile():
                    yield name, archive.extractfile(member).read()
    except DAMAGED as error:
        raise Problem(f"{path} is not a whole tar archive ({str(error).splitlines()[0].rstrip(':')}): fetch it again") from None


def _pixels(payload: bytes, where: str, pixels: int, channels: int) -> np.ndarray:
    with _opened(payload, where) as image:
        if image.size != (pixels, pixels):
            raise Problem(f"{where} has {image.size[0]} x {image.size[1]} pixels, not {pixels} x {pixels}")
        deep = ";16" in str(image.tile)  # such a PNG says RGB, and would lose half its bits without a word
        if image.mode not in ("RGB", "RGBA", "L", "P") or deep:
            raise Problem(f"{where} has mode {image.mode}{' with 16 bits' if deep else ''}: convert it to 8-bit RGB")
        return _channels_first(image, channels)


def _middle(payload: bytes, where: str, pixels: int, channels: int) -> np.ndarray:
    """ImageNet holds some grey and some CMYK photographs, and one PNG; all become colour, as in torchvision's loader."""
    from torchvision.transforms.functional import center_crop, resize

    with _opened(payload, where) as image:
        return _channels_first(center_crop(resize(image.convert("RGB"), pixels), pixels), channels)


@contextlib.contextmanager
def _opened(payload: bytes, where: str) -> Iterator[Image.Image]:
    """Raises Problem where it cannot be opened, or not decoded within."""
    try:
        with Image.open(io.BytesIO(payload)) as image:
            yield image
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise Problem(f"{where} cannot be read as an image ({error})") from None


def _channels_first(image: Image.Image, channels: int) -> np.ndarray:
    array = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return np.ascontiguousarray(array.reshape(*array.shape[:2], channels).transpose(2, 0, 1))


def content_hash(image: np.ndarray) -> str:
    """SHA-256 of one image's raw bytes, row-major HWC uint8, as hex: the same from binaries and from PNG files."""
    return hashlib.sha256(np.ascontiguousarray(image.transpose(1, 2, 0)).tobytes()).hexdigest()


def by_content(images: np.ndarray) -> np.ndarray:
    """The images (n, c, h, w) in the order of their content hashes: subsets are 'the first n' of this order."""
    return images[sorted(range(len(images)), key=lambda i: content_hash(images[i]))]


def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """Twelve hex digits of the SHA-256 over dtype, shape and bytes of images and labels."""
    digest = hashlib.sha256()
    for array in (images, labels):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]
