"""Where things live: results and imported data of this user, and the sources of the book."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from platformdirs import user_data_path

from synthprune.problems import Problem


def home() -> Path:
    """`SYNTHPRUNE_HOME`, or this user's data folder: one place for every checkout, since results are named by content."""
    return Path(os.environ.get("SYNTHPRUNE_HOME") or user_data_path("synthprune")).expanduser()


def data_folder() -> Path:
    """The folder of imported data: `SYNTHPRUNE_DATA`, which a cluster sets for its workers, or that of the home."""
    return Path(os.environ.get("SYNTHPRUNE_DATA") or home() / "data")


def compiled_code() -> Path:
    """The folder from which compiled code is loaded, this user's alone. Raises Problem where somebody else could write there."""
    folder = home() / "compiled"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        with contextlib.suppress(OSError):  # an older one, or one from a copy, may be open to a group
            folder.chmod(0o700)
        found = folder.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise Problem(f"others can write to {folder}, from which compiled code would be loaded: set SYNTHPRUNE_HOME to a"
                          " folder of your own")
    return folder


def sources() -> Path:
    """The folder with notebooks/, book/, results/, _config.yml and _toc.yml: what was installed with it, or the checkout."""
    package = Path(__file__).parent
    return package / "_book" if (package / "_book").is_dir() else package.parent


def synthetic_sets() -> dict[str, Path]:
    """The file of every synthetic set that was filed under '<title>@<content>': those that ship, and over them this user's."""
    shipped, own = sources().glob("results/*/synthetic/*@*.safetensors"), (data_folder() / "synthetic").glob("*@*.safetensors")
    return {file.stem: file for file in sorted([*shipped]) + sorted([*own])}


def data_sets() -> dict[str, Path]:
    """The file of every real data set of this user's own, filed under '<title>@<content>'."""
    return {file.stem: file for file in sorted(data_folder().glob("*@*.safetensors"))}


def write_whole(path: Path, payload: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises Problem where the place cannot be written."""
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")  # containers may share a number and a disk
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise Problem(f"cannot write {path}: {error.strerror or error} (free some space, or set SYNTHPRUNE_HOME to a place"
                      " that can be written)") from None
