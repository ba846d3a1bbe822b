"""Files in a folder, a tar or a zip: read one by one in memory, never unpacked, and refused before they are read."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from synthprune.data.bounds import Budget
from synthprune.problems import Problem

PACKED = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zip")
"""How the names of archives end."""

Wanted = Callable[[str], bool]


def files(path: Path, wanted: Wanted, budget: Budget) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted files under `path`, in no particular order; names in the manner of POSIX.

    An empty folder, and any that an archive lists, is shown to `wanted` too, with a slash behind its name.

    Raises Problem for a missing, truncated, foreign or malicious file, and where a member claims more than can be.
    """
    if not path.exists():
        raise Problem(f"no such file or folder: {path}")
    if path.is_dir():
        yield from _of_folder(path, wanted, budget)
        return
    if not path.is_file():
        raise Problem(f"{path} is neither a file nor a folder")
    kind = "zip" if _is_zip(path) else "tar"
    try:
        yield from (_of_zip if kind == "zip" else _of_tar)(path, wanted, budget)
    except Problem:
        raise
    except Exception as error:  # what a damaged archive makes these readers raise is not to be listed
        if not path.name.endswith(PACKED):
            raise Problem(f"{path} is in no form that is read: give a folder, tar or zip of class folders, arrays (.npz, .pt,"
                          " .safetensors) or parquet") from None
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise Problem(f"{path} is not a whole {kind} archive ({said}): fetch it again") from None


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".zip" or file.read(4) == b"PK\3\4"


def _of_folder(path: Path, wanted: Wanted, budget: Budget) -> Iterator[tuple[str, bytes]]:
    for file in _below(path, ()):
        name = file.relative_to(path).as_posix()
        if file.is_dir():
            wanted(f"{name}/")
        elif wanted(name):
            if not file.exists():
                raise Problem(f"{file} is a link to what is not here: fetch that, or take the link away")
            size = file.stat().st_size
            budget.grow(size)
            budget.spend(size, f"file '{name}'")
            yield name, file.read_bytes()


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Every file in a folder, below links to other folders too, but not below a link back to one it lies in; empty folders."""
    if (here := folder.resolve()) in above:
        return
    entries = list(folder.iterdir())
    if above and not entries:
        yield folder
    for entry in entries:
        if entry.is_dir():
            yield from _below(entry, (*above, here))
        elif entry.is_file() or entry.is_symlink():  # a link to nothing is not passed over, where it is called like an image
            yield entry


def _of_tar(path: Path, wanted: Wanted, budget: Budget) -> Iterator[tuple[str, bytes]]:
    class Header(tarfile.TarInfo):
        """Every header passes here, those of long names too, before what it announces is read."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
            found = super().frombuf(buf, encoding, errors)
            budget.spend(found.size, f"member '{found.name}'")
            return found

    with tarfile.open(path, tarinfo=Header) as archive:
        for member in archive:
            name = _inside(member.name, path)
            if member.isdir():
                wanted(f"{name}/")
                continue
            if not member.isfile() and (wanted(name) or wanted(f"{name}/_.png")):  # or a link to a class
                raise Problem(f"{path}: member '{name}' is a link or a device, not an image: pack what it points to")
            if wanted(name) and (stream := archive.extractfile(member)):
                budget.spend(member.size, f"member '{name}'")  # again: a later header may have changed it
                yield name, _whole(stream, member.size)


def _of_zip(path: Path, wanted: Wanted, budget: Budget) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _inside(member.filename.replace("\\", "/"), path)  # as some packers on Windows write it
            budget.spend(member.file_size, f"member '{name}'")
            if wanted(f"{name}/" if member.is_dir() else name) and not member.is_dir():
                yield name, zip_member(archive, member)


def zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The content of a member whose claimed size was found bearable. Raises Problem where it is packed in a rare way."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others cannot be unpacked in parts
        raise Problem(f"{archive.filename}: member '{member.filename}' is packed by method {member.compress_type}: pack it anew,"
                      " stored or deflated")
    with archive.open(member) as file:
        return _whole(file, member.file_size)


def _whole(file: IO[bytes], size: int) -> bytes:
    """No more than `size`, whatever a lying member unpacks to."""
    return file.read(size)


def _inside(name: str, path: Path) -> str:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise Problem(f"{path}: member '{name}' points outside the archive; it is not to be trusted")
    return parts.as_posix()
