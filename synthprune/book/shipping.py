"""What ships with the book: results, the verdicts on them, and where they came from; and how a reader checks them."""

from __future__ import annotations

import math
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from synthprune.book import claims
from synthprune.chapter import judgements
from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.profiles import read_profile
from synthprune.chapters.settings import parameters
from synthprune.chapters.units import Unit, planned_seconds, units
from synthprune.home import write_whole
from synthprune.problems import Problem
from synthprune.results.result import made_otherwise
from synthprune.results.solve import Report, solve
from synthprune.results.specs import Entry, Subnetwork, Trained, closure, describe
from synthprune.results.store import Metrics, Result, Store

LIVE = ("01_introduction", "01_method")
"""Chapters that are computed while the book is built, whatever ships: they show how it is done."""

BY_HAND = ("<!-- by hand -->", "<!-- /by hand -->")
"""What stands between these lines of PROVENANCE.md is kept as it is."""


def asked(profile: str) -> dict[str, list[Entry]]:
    """Everything that ships of a profile, by chapter: what its pages show, and what its units ask of it."""
    found = {chapter: list(_requests(profile, chapter).values()) for chapter in CHAPTERS if chapter not in LIVE}
    for unit in _units(profile):
        for name, entry in unit.requests.items():
            found.setdefault(name.partition(": ")[0], []).append(entry)
    return {chapter: list(dict.fromkeys(entries)) for chapter, entries in found.items()}


def _requests(profile: str, chapter: str) -> dict[str, Entry]:
    room = experiment(chapter)
    return room.requests(parameters(room.Parameters, chapter, {"profile": profile}))


def _units(profile: str) -> list[Unit]:
    """The units of a profile; where it has none, one of all that its pages show."""
    if read_profile(profile).get("units"):
        return units(profile)
    return [Unit("everything", "what the pages show", {f"{chapter}: {name}": entry for chapter in CHAPTERS if chapter not in LIVE
                                                       for name, entry in _requests(profile, chapter).items()})]


def export(profile: str, store: Store, folder: Path) -> dict[str, tuple[int, int]]:
    """Add this store's light results of a profile to `folder`, the part of the results that is the profile's.

    Nothing that ships already is lost; what several chapters ask for is written once. Returns, by chapter, how many of the
    results that it asks for ship now, and how many it asks for. The same results give the same bytes.
    """
    everything, written, counts = asked(profile), set[str](), {}
    for chapter, entries in everything.items():
        light = {entry.key for entry in entries if entry.light}
        # With the masks on the way to them: whoever goes on elsewhere need not search again for what was found.
        written |= store.export((entry for entry in closure(entries) if entry.key not in written), folder / chapter,
                                frozenset(written))
        counts[chapter] = len(light & written), len(light)
    store.export_provenance((entry for entry in closure([entry for entries in everything.values() for entry in entries])
                             if entry.key not in written), folder / "provenance.json")
    shipped = Store(folder / "none", shelves=[folder.parent])
    claims.record(verdicts(profile, shipped), folder / "claims.json")
    write_whole(folder / "PROVENANCE.md", _provenance(profile, shipped, folder / "PROVENANCE.md").encode())
    return counts


def verdicts(profile: str, store: Store) -> dict[str, claims.Judgement]:
    """What this store's results of a profile allow to say of every claim, without computing any."""
    found: dict[str, claims.Judgement] = {}
    for chapter in dict.fromkeys(claim.chapter for claim in claims.load() if claim.chapter in CHAPTERS):
        room = experiment(chapter)
        p = parameters(room.Parameters, chapter, {"profile": profile})
        here = {name: store.get(entry) for name, entry in room.requests(p).items() if store.has(entry)}
        found |= judgements(chapter, p, here)
    return {claim.id: found[claim.id] for claim in claims.load() if claim.id in found}


# PROVENANCE.md.


def _provenance(profile: str, store: Store, file: Path) -> str:
    """Markdown from the records of everything that ships and of what it rests on."""
    seen: set[Entry] = set()
    parts = []
    for unit in _units(profile):
        whole = [entry for entry in closure(list(unit.requests.values())) if entry not in seen]
        seen |= set(whole)
        parts.append((unit, {entry: made for entry in whole if (made := store.whence(entry))}))
    lines = [f"# Where the results of profile {profile} come from", "",
             "Written by `synthprune store export` from what was recorded when each of them was made; what units share is counted"
             " in the first of them. Wall time is time in which something of the unit was being computed.", "",
             "| unit | what | results | entries made | core-hours | wall hours | energy | initialisations | orders |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |", *(_row(*part, store) for part in parts), ""]
    every = [(entry, made) for _, records in parts for entry, made in records.items()]
    for title, names in {"Machines": ("cpu", "device"), "Versions": ("package", "torch", "numpy", "python", "engine"),
                         "Revisions": ("revision",)}.items():
        counts = Counter(", ".join(f"{name} {made.get(name)}" for name in names) for _, made in every)
        lines += [f"## {title}", "", *(f"- {words}: {count} entries" for words, count in sorted(counts.items())), ""]
    data = sorted({f"{_data(entry)}: {made['data']}" for entry, made in every if made.get("data")})
    lines += ["## Data", "", "Fingerprints of training and test images.", "", *(f"- {line}" for line in data), ""]
    return "\n".join([*lines, BY_HAND[0], *_by_hand(file), BY_HAND[1], ""])


def _row(unit: Unit, made_of: dict[Entry, Metrics], store: Store) -> str:
    """A line of the table: the entries of a unit that were made, by the records of how."""
    records = made_of.values()
    requests = set(unit.requests.values())
    joules = [made.get("joules") for made in records]
    counted = [value for value in joules if value is not None]
    energy = f"{sum(counted) / 3.6e6:.2f} kWh ({len(counted)} of {len(joules)} entries)" if counted else "not counted"
    starts = sorted({entry.init_seed for entry in made_of if isinstance(entry, Subnetwork)}
                    | {entry.subnetwork.init_seed for entry in made_of if hasattr(entry, "subnetwork")})
    orders = sorted({entry.order_seed for entry in made_of if isinstance(entry, Trained)})
    cells = (unit.name, unit.says, f"{sum(map(store.has, requests))} of {len(requests)}", str(len(made_of)),
             f"{sum(made['seconds'] for made in records) / 3600:.2f}", f"{wall_seconds(records) / 3600:.2f}", energy,
             ", ".join(map(str, starts)), ", ".join(map(str, orders)))
    return f"| {' | '.join(cells)} |"


def wall_seconds(records: Iterable[Mapping[str, Any]]) -> float:
    """Seconds in which at least one of the recorded entries, or of the parts that one was made in, was being computed."""
    parts = [part for made in records for part in made.get("parts", [made]) if "finished" in part]
    ends = [(datetime.fromisoformat(part["finished"]).timestamp(), part["seconds"]) for part in parts]
    total, until = 0.0, -math.inf
    for begun, end in sorted((end - took, end) for end, took in ends):
        total += max(0.0, end - max(begun, until))
        until = max(until, end)
    return total


def _data(entry: Entry) -> str:
    of = entry.dataset
    count = f"{of.train_per_class} per class" if of.train_per_class else "all"
    return f"{of.name}, {of.pixels} pixels, {count}{', whitened' * of.whitened}"


def _by_hand(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    before, mark, rest = text.partition(f"{BY_HAND[0]}\n")
    return rest.partition(f"\n{BY_HAND[1]}")[0].splitlines() if mark else ["## Started and not used, and why", "", "Nothing yet."]


# Recomputing.


def draw(profile: str, store: Store, count: int, seed: int, minutes: float = math.inf) -> list[Entry]:
    """`count` random results that ship, drawn by `seed`; with all that they need they take `minutes` at most, as planned.

    Raises Problem where nothing ships, or nothing that short.
    """
    shipped = store.shelved(profile)
    known = {entry.key: entry for entries in asked(profile).values() for entry in entries
             if entry.light and entry.key in shipped}
    keys, chosen = sorted(known), list[Entry]()
    random.Random(seed).shuffle(keys)
    for key in keys:
        wanted = [*chosen, known[key]]
        if len(chosen) < count and (minutes == math.inf or sum(planned_seconds(closure(wanted)).values()) <= 60 * minutes):
            chosen = wanted
    if not chosen:
        raise Problem(f"nothing of profile {profile} ships" if not known else
                      f"no result of profile {profile} can be computed within {minutes:g} minutes: give it more time")
    return chosen


@dataclass(frozen=True)
class Checked:
    """How a result computed again compares with the one that ships; `sound` where it may stand."""

    words: str
    sound: bool


def recheck(entries: Sequence[Entry], store: Store, tolerance: float, report: Report,
            workers: int | None = None) -> list[Checked]:
    """Compute `entries` again, with all they need, in a store of their own, and compare them with what ships.

    Same versions and processor promise the same bits. Elsewhere numbers may differ by `tolerance`, times the largest number
    of their array where that is above 1; of a mask, that share of its weights.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = solve({entry.key: entry for entry in entries}, Store(Path(folder)), workers=workers, report=report)
    return [compared(describe(entry), store.shipped(entry), made[entry.key], tolerance) if entry.key in made
            else Checked(f"{describe(entry)}: its data are not on this machine", sound=False) for entry in entries]


def compared(name: str, kept: Result, new: Result, tolerance: float) -> Checked:
    if new.digest == kept.digest:
        return Checked(f"{name}: same bits", sound=True)
    other = made_otherwise(kept.provenance, new.provenance)
    array, largest, scaled = _largest_difference(kept, new)
    sound = bool(other) and scaled <= tolerance
    return Checked(f"{name}: differs by {largest:.3g} at most{f' (in {array})' * bool(array)},"
                   f" {'within' if scaled <= tolerance else 'beyond'} {tolerance:g};"
                   f" {'; '.join(other) or 'same versions and processor, which promise the same bits'}", sound)


def _largest_difference(kept: Result, new: Result) -> tuple[str, float, float]:
    """(array, largest absolute difference, that over the array's scale); infinite where shapes or missing numbers differ."""
    alike = kept.metrics.keys() == new.metrics.keys() and kept.arrays.keys() == new.arrays.keys()
    found = [("", 0.0, 0.0 if alike else math.inf)]
    for name in kept.arrays.keys() & new.arrays.keys():
        first, second = kept.arrays[name], new.arrays[name]
        if first.shape != second.shape or not np.array_equal(np.isnan(first), np.isnan(second)):
            found.append((name, math.inf, math.inf))
        elif first.dtype == bool:
            found.append((name, float(np.mean(first != second)), float(np.mean(first != second))))
        elif first.size:
            difference = float(np.nanmax(np.abs(first.astype(float) - second), initial=0))
            found.append((name, difference, difference / max(1.0, float(np.nanmax(np.abs(first), initial=0)))))
    return max(found, key=lambda one: one[2])
