"""What `plan` says of a store's entries against what they took: `python -m benchmarks.plan PROFILE [STORE]`, into RESULTS.md.

One row for each kind of entry, for each chapter (with all it rests on) and for all together. What entries took are wall
seconds, so the ratio is one of plans only where every worker had a core to itself; a training that was killed and resumed
recorded its last part alone. Takes seconds, and up to a minute more for each network that is compiled for the first time.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.table import Row, record
from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.settings import parameters
from synthprune.results import specs
from synthprune.results.plan import seconds
from synthprune.results.store import Store


def finished(profile: str, store: Store) -> dict[str, list[specs.Entry]]:
    """By chapter, the entries behind its results that the store holds."""
    found = {}
    for chapter in CHAPTERS:
        model = experiment(chapter).Parameters
        asked = experiment(chapter).requests(parameters(model, chapter, {"profile": profile}))
        found[chapter] = [entry for entry in specs.closure(list(asked.values())) if store.holds(entry)]
    return found


def row(what: str, entries: list[specs.Entry], store: Store) -> Row:
    took = sum(store.provenance(entry)["seconds"] for entry in entries)
    return Row(f"{what}, {len(entries)} entries", f"{took:.0f} s taken", ".7 to 1.3", [sum(map(seconds, entries)) / took])


def main() -> None:
    profile, store = sys.argv[1], Store(*map(Path, sys.argv[2:3]))
    chapters = finished(profile, store)
    everything = list(dict.fromkeys(entry for entries in chapters.values() for entry in entries))
    kinds = {kind: [entry for entry in everything if entry.kind == kind] for kind in specs.versions()}
    groups = kinds | chapters | {"everything": everything}
    record(f"python -m benchmarks.plan {profile}",
           [row(f"planned seconds, {what}", entries, store) for what, entries in groups.items() if entries])


if __name__ == "__main__":
    main()
