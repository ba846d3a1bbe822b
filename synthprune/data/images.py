"""Reading labelled images by class folder, and refusing everything else by name."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from synthprune.data.archives import PACKED, files
from synthprune.data.bounds import LARGEST_IMAGE, RATIO, Budget
from synthprune.problems import Problem

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".ppm", ".pgm", ".webp", ".gif", ".tif", ".tiff")


def read_classes(path: Path, pixels: int, channels: int, inside: str | None = "", resized: bool = False) -> dict[str, np.ndarray]:
    """Images by class folder: {class name: uint8 (n, channels, pixels, pixels)}, classes and files in name order.

    `path` is a folder, a zip or a tar (compressed or not) of `<inside>/<class>/<file>`; `inside` None: wherever class
    folders lie, if that is one place. Archives are read in memory and never unpacked. RGBA and palette images are
    converted; another size is refused, unless `resized`: see `squared`.
    Raises Problem for a missing, truncated, foreign or malicious file.
    """
    root, seen = None if inside is None else PurePosixPath(inside).parts, Seen()

    def wanted(name: str) -> bool:
        seen.add(name)
        parts = PurePosixPath(name).parts
        return len(parts) >= 2 and (root is None or parts[:-2] == root) and is_image(name)

    budget = Budget(path)
    found: dict[str, np.ndarray] = {}
    for name, payload in files(path, wanted, budget):
        size = channels * pixels**2  # what --pixels makes of small images is asked for, and claimed by no file
        budget.spend(min(size, RATIO * len(payload)) if resized else size, f"image '{name}'")
        found[name] = (_resized if resized else _pixels)(payload, f"{path}: {name}", pixels, channels)
    if not found:
        raise none_found(path, inside or "", seen)
    seen.require_images(set(found), path)
    if len(places := sorted({PurePosixPath(name).parent.parent.as_posix() for name in found})) > 1:
        raise Problem(f"{path} holds class folders in {len(places)} places ({', '.join(places[:4])}"
                      f"{', ...' if len(places) > 4 else ''}): say which with --inside")
    classes: dict[str, list[np.ndarray]] = {}
    for name in sorted(found):
        classes.setdefault(PurePosixPath(name).parts[-2], []).append(found[name])
    return {name: np.stack(images) for name, images in classes.items()}


class Seen(list[str]):
    """The first few files that were come by, and what lies in folders that may be classes."""

    def __init__(self) -> None:
        super().__init__()
        self._listed: set[PurePosixPath] = set()
        self._filled: set[PurePosixPath] = set()
        self._unread: dict[PurePosixPath, str] = {}

    def add(self, name: str) -> None:
        path = PurePosixPath(name)
        if name.endswith("/"):
            self._listed.add(path)
            return
        if len(self) < 4 and path.suffix:
            self.append(name)
        if path.parent not in self._filled:
            self._filled |= {*path.parents}
        if not (is_image(name) or _is_beside(path)):
            self._unread.setdefault(path.parent, path.name)

    def require_images(self, images: Iterable[str], path: Path, only: tuple[str, ...] = ()) -> None:
        """Raises Problem where a folder beside those of the classes that were read (of `only` these) holds no image to read."""
        classes = {PurePosixPath(name).parent for name in images}
        places = {folder.parent for folder in classes}
        for folder in sorted({*self._unread, *(self._listed - self._filled)} - classes):
            if not folder.name or _is_hidden(folder) or folder.parent not in places or (only and folder.name not in only):
                continue
            held = (f"holds {self._unread[folder]} and no image that is read ({', '.join(SUFFIXES)}): convert its images"
                    if folder in self._unread else "is empty: put its images there")
            raise Problem(f"{path}: class folder '{folder}' {held}, or take it away")


def none_found(path: Path, inside: str, seen: Seen) -> Problem:
    """That no image lies in a class folder, but what does; with what was meant, where a folder holds an archive or arrays."""
    meant = sorted(file.name for file in path.iterdir() if file.name.endswith((*PACKED, ".npz", ".pt", ".pth", ".safetensors"))) \
        if path.is_dir() else []
    other = f" but {', '.join(sorted(seen)[:3])}{', ...' if len(seen) > 3 else ''}" if seen else ""
    return Problem(f"{path} holds no images under '{inside or '.'}/<class>/'{other}: "
                   f"{f'give {path / meant[0]} itself' if meant else 'is it the right file?'}")


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image, and not of what an archiver or a system has put beside it."""
    return name.lower().endswith(SUFFIXES) and not _is_hidden(PurePosixPath(name))


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _is_beside(path: PurePosixPath) -> bool:
    """Whether a file says something about images, or comes from the system, and is none itself."""
    return (path.suffix.lower() in (".txt", ".csv", ".json", ".md") or path.name.lower() in ("thumbs.db", "desktop.ini")
            or _is_hidden(path))


def _pixels(payload: bytes, where: str, pixels: int, channels: int) -> np.ndarray:
    with _opened(payload, where) as image:
        if image.size != (pixels, pixels):
            raise Problem(f"{where} has {image.size[0]} x {image.size[1]} pixels, not {pixels} x {pixels}")
        if image.mode not in ("RGB", "RGBA", "L", "P") or _is_deep(image):
            raise Problem(f"{where} has mode {image.mode}{' with 16 bits' if _is_deep(image) else ''}: convert it to 8-bit RGB")
        return _channels_first(image, channels)


def _resized(payload: bytes, where: str, pixels: int, channels: int) -> np.ndarray:
    with _opened(payload, where) as image:
        _refuse_deep(image, where)
        return _channels_first(_middle(image, pixels, where), channels)


def decoded(payload: bytes, where: str, pixels: int = 0) -> np.ndarray:
    """An image file as `squared` has it. Raises Problem where it cannot be."""
    with _opened(payload, where) as image:
        return squared(image, pixels, where)


def squared(image: Image.Image, pixels: int, where: str) -> np.ndarray:
    """uint8 (1, h, h) of a grey image, (3, h, h) of any other, as it is; or brought to `pixels`: the shorter side, and of the
    longer one the middle kept, as torchvision's Resize and CenterCrop do. Raises Problem for 16 bits, or another shape."""
    _refuse_deep(image, where)
    channels = 1 if image.mode in ("1", "L", "LA") else 3
    if not pixels and image.width != image.height:
        raise Problem(f"{where} has {image.width} x {image.height} pixels: say which square images are brought to, as with"
                      f" --pixels {min(image.size)}")
    return _channels_first(_middle(image, pixels, where) if pixels and image.size != (pixels, pixels) else image, channels)


def _is_deep(image: Image.Image) -> bool:
    """Such a PNG may say RGB, and would lose half its bits without a word."""
    return image.mode in ("I", "F") or ";16" in image.mode or ";16" in str(getattr(image, "tile", ""))


def _refuse_deep(image: Image.Image, where: str) -> None:
    if _is_deep(image):
        raise Problem(f"{where} has mode {image.mode}, of more than 8 bits: convert it to 8-bit RGB or grey")


def _middle(image: Image.Image, pixels: int, where: str) -> Image.Image:
    """ImageNet holds some grey and some CMYK photographs, and one PNG; all become colour, as in torchvision's loader."""
    from torchvision.transforms.functional import center_crop, resize

    if max(image.size) > 100 * min(image.size):
        raise Problem(f"{where} has {image.width} x {image.height} pixels, which have no middle to keep")
    return center_crop(resize(image.convert("RGB"), pixels), pixels)


@contextlib.contextmanager
def _opened(payload: bytes, where: str) -> Iterator[Image.Image]:
    """Raises Problem where it cannot be opened, or not decoded within, or is too large to be."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(payload)) as image:
            if image.width * image.height > LARGEST_IMAGE:
                raise ValueError(f"Image size {image.width} x {image.height} is more than it could be")
            # A camera's JPEG may carry a small preview behind the photograph (MPO).
            if (frames := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
                raise Problem(f"{where} has {frames} frames: keep the one that is meant")
            yield image
    except Problem:
        raise
    except UnidentifiedImageError:
        raise Problem(f"{where} cannot be read as an image: it is damaged, or something else") from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise Problem(f"{where} cannot be read as an image ({' '.join(str(error).split()) or type(error).__name__})") from None


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
