"""What a page is made from, as a fingerprint: while it is the same, the page need not be made again.

More than a page needs may be in it, never less: after any change of the code, of an installed version or of the data on this
machine every page is made again; after a change of some results, the pages that show them.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from synthprune.home import data_folder, sources
from synthprune.machine import cpu
from synthprune.results.chance import alone
from synthprune.results.specs import Entry, closure
from synthprune.results.store import Store

PACKAGE = Path(__file__).parent.parent


def surroundings() -> str:
    """SHA-256 of what every page depends on: this package, the ledger, versions, processor, and the data on this machine."""
    code = [file for file in PACKAGE.rglob("*") if not {"__pycache__", "_book"} & set(file.relative_to(PACKAGE).parts)]
    installed = sorted(f"{one.name} {one.version}" for one in distributions())
    sets = [*data_folder().rglob("*"), *sources().glob("results/*/synthetic/*")]  # large, so not by content
    return _sha([of_files([*code, sources() / "book" / "claims.yml"]), installed, sys.executable, platform.python_version(),
                 cpu(), sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sets)])


def of_page(chapter: str, given: Mapping[str, Any], requests: Mapping[str, Entry], said: Any, store: Store) -> str:
    """SHA-256 of what a chapter's page depends on beside its surroundings: notebook, parameters, and the results that are here.

    `said` is whatever else decides what it shows. Raises Problem where a result is damaged.
    """
    here = {name: entry for name, entry in requests.items() if store.has(entry)}
    shown = here | {entry.key: entry for entry in alone(here.values()) if store.has(entry)}
    return _sha([of_files([sources() / "notebooks" / f"{chapter}.ipynb"]), given, said,
                 [(name, entry.key) for name, entry in requests.items()],
                 [(name, store.get(entry).digest) for name, entry in shown.items()],
                 [store.whence(entry) for entry in closure(list(shown.values()))]])


def of_files(files: Iterable[Path]) -> str:
    """SHA-256 of the names and bytes of those of `files` that are files."""
    return _sha([(str(file), hashlib.sha256(file.read_bytes()).hexdigest()) for file in sorted(files) if file.is_file()])


def _sha(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
