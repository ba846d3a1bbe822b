"""A list of records as JSON, a line for each, in which what many have in common is said once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Record = dict[str, Any]
OF_ENTRY = frozenset({"kind", "version", "fields", "metrics", "digest", "seconds", "finished", "peak_memory_mb", "joules",
                      "parts"})
"""What a listing says of each entry; anything else is said once for all entries made alike."""


def listing(what: str, records: Mapping[str, Record]) -> bytes:
    """JSON, a line for each record: {"made": [...], what: {key: record}}, a record's "made" naming its place in the list."""
    def split(record: Record) -> tuple[Record, str]:
        return ({name: value for name, value in record.items() if name in OF_ENTRY},
                _line({name: value for name, value in record.items() if name not in OF_ENTRY}))

    parts = {key: split(record) for key, record in records.items()}
    made = sorted({alike for _, alike in parts.values()})
    lines = [f'"{key}": {_line(own | {"made": made.index(alike)})}' for key, (own, alike) in parts.items()]
    return ('{"made": [\n' + ",\n".join(made) + f'\n],\n"{what}": {{\n' + ",\n".join(lines) + "\n}}\n").encode()


def unlisted(what: str, content: Record) -> dict[str, Record]:
    """The records of a listing, each whole again; none where it lists something else."""
    return {key: {name: value for name, value in record.items() if name != "made"} | content["made"][record["made"]]
            for key, record in content.get(what, {}).items()}


def _line(value: Record) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
