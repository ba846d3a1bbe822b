"""While the reference run is under way nothing may change that its results or their verdicts rest on.

`reference.json` was written once, by `python tests/test_reference.py`, with the commit the run is made from.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from synthprune.book import claims
from synthprune.chapters.units import units
from synthprune.results.specs import closure, versions

FILE = Path(__file__).with_name("reference.json")
HELD = json.loads(FILE.read_text()) if FILE.exists() else {}


def digest(of: Any) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


def keys() -> dict[str, str]:
    """Every unit's results, by their keys: of profile, settings, specifications and versions at once."""
    return {unit.name: digest(sorted(entry.key for entry in closure(list(unit.requests.values())))) for unit in units("laptop")}


def criteria() -> dict[str, str]:
    """What every claim says, asks and compares."""
    return {claim.id: digest(claim.model_dump(mode="json", exclude={"elsewhere"})) for claim in claims.load()}


def test_units_ask_for_the_results_that_the_run_began_with() -> None:
    assert keys() == HELD["keys"]


def test_versions_of_kinds_are_those_of_the_run() -> None:
    now = versions()
    assert {kind: now[kind] for kind in HELD["versions"]} == HELD["versions"]


@pytest.mark.parametrize("name", HELD.get("criteria", {}))
def test_a_criterion_stays_as_it_was(name: str) -> None:
    assert criteria().get(name) == HELD["criteria"][name], f"{name}: leave it, and add one that amends it"


def test_what_is_new_in_the_ledger_amends_something() -> None:
    for claim in claims.load():
        assert claim.id in HELD["criteria"] or claim.amends, claim.id


if __name__ == "__main__":
    FILE.write_text(json.dumps({"versions": versions(), "keys": keys(), "criteria": criteria()}, indent=1) + "\n")
