"""How much may come of a file: what claims more is refused before it is read, since a small file is not to fill a machine."""

from __future__ import annotations

from pathlib import Path

from synthprune.problems import Problem

FLOOR = 2**28
"""Bytes that may come of any file, however small."""
RATIO = 100
"""Bytes that may come of each byte of a larger one; images that are no trap hardly shrink to a hundredth."""
LARGEST_IMAGE = 2**25
"""Pixels of one image file, before it is decoded: a photograph of 33 megapixels."""


class Budget:
    """Bytes that may still come of `path`: members of an archive, arrays and decoded images all draw on it."""

    def __init__(self, path: Path) -> None:
        self.path, self._size = path, path.stat().st_size if path.is_file() else 0
        self._left = max(FLOOR, RATIO * self._size)

    def grow(self, size: int) -> None:
        """Another file of `size` bytes was found in the folder `path`."""
        self._size += size
        self._left += RATIO * size

    def spend(self, count: int, what: str) -> None:
        """Raises Problem where `what` claims so many bytes as cannot honestly come of the file."""
        self._left -= count
        if count < 0 or self._left < 0:
            raise Problem(f"{self.path}: {what} claims {in_words(count)}, too much for a file of {in_words(self._size)}:"
                          " it is damaged, or not to be trusted")


def in_words(count: int) -> str:
    """Bytes for people, in powers of 1024."""
    size, units = float(count), ["bytes", "KB", "MB", "GB", "TB", "PB", "EB"]
    while abs(size) >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}"
