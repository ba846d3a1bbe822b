"""Units of a long run: what a profile asks of which chapters, in which order, and how far it has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.profiles import read_profile
from synthprune.chapters.settings import parameters
from synthprune.machine import stamped
from synthprune.problems import Problem, nearest
from synthprune.results.solve import FAILED, Report, missing, unobtainable
from synthprune.results.specs import Entry, describe, subnetwork_of
from synthprune.results.store import Store


class _Said(BaseModel):
    """A unit as a profile writes it."""

    model_config = ConfigDict(extra="forbid")
    says: str
    chapters: dict[str, dict[str, Any] | None]


@dataclass(frozen=True)
class Unit:
    """A part of a run: what it is for (`says`), and every result it asks for, by "chapter: name"."""

    name: str
    says: str
    requests: dict[str, Entry]


def units(profile: str, names: Sequence[str] = ()) -> list[Unit]:
    """The units of a profile in its order, all or those of `names`.

    Raises Problem for a profile without units, an unknown name, and whatever a chapter does not take as a parameter.
    """
    raw = read_profile(profile).get("units") or {}
    if not raw:
        raise Problem(f"profile {profile} has no units: 'synthprune run CHAPTER --profile {profile}' computes a chapter")
    if not isinstance(raw, dict):
        raise Problem(f"profile {profile}: units is {raw!r}, and should give each unit's name what it says and its chapters")
    raw = {str(name): said for name, said in raw.items()}
    for name in names:
        if name not in raw:
            raise Problem(f"profile {profile} has no unit '{name}': {nearest(name, raw)}")
    return [_unit(profile, name, said) for name, said in raw.items() if not names or name in names]


def _unit(profile: str, name: str, raw: Any) -> Unit:
    try:
        said = _Said.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Problem(f"profile {profile}, unit {name}: {f'{where}: ' if where else ''}{first['msg']}") from None
    requests: dict[str, Entry] = {}
    for chapter, given in said.chapters.items():
        room = experiment(chapter)
        asked = room.requests(parameters(room.Parameters, chapter, {"profile": profile} | (given or {})))
        requests |= {f"{chapter}: {request}": entry for request, entry in asked.items()}
    return Unit(name, " ".join(said.says.split()), requests)


def everything(profile: str) -> list[Unit]:
    """The units of a profile; its chapters, where it has none."""
    if read_profile(profile).get("units"):
        return units(profile)
    return [_unit(profile, chapter, {"says": chapter, "chapters": {chapter: None}}) for chapter in CHAPTERS]


def running(store: Store) -> Iterator[str]:
    """A line for each entry that some process is computing: what, since when, how far, and how old its checkpoint is."""
    for key, work in store.running().items():
        line = stamped(f"{work['what']} ({(time.time() - work['since']) / 60:.0f} min,", work["since"])
        line += f" process {work['process']}{f', worker {at}' if (at := work.get('worker')) else ''})"
        line += how_far(work, "; ")
        if saved := store.checkpoint_of(key):
            line += f"; checkpoint of {datetime.fromtimestamp(saved):%H:%M}"
        yield line


def how_far(work: Mapping[str, Any], before: str) -> str:
    """Of what `Store.running` says of an entry, the epochs or steps that are done, `before` them; "" where none were told."""
    return f"{before}{work['done']} of {work['of']} {work['unit']}" if "of" in work else ""


def initialisation(entry: Entry) -> int:
    """The seed of the initialisation that `entry` belongs to; -1 where it belongs to none, as a synthetic set."""
    of = subnetwork_of(entry)
    return of.init_seed if of else -1


def to_compute(chosen: Iterable[Unit], store: Store) -> tuple[dict[str, list[Entry]], dict[str, str]]:
    """What each unit still needs, and, by "unit: request", which data some of it lacks.

    Within a unit the first initialisation comes first, parents before children: what rests on no initialisation is
    before all, and nothing rests on another one. What units share stands in the first of them alone.
    """
    seen: set[Entry] = set()
    todo: dict[str, list[Entry]] = {}
    lacking: dict[str, str] = {}
    for unit in chosen:
        reasons = unobtainable(unit.requests, store)
        lacking |= {f"{unit.name}: {name}": reason for name, reason in reasons.items()}
        needed = missing({name: entry for name, entry in unit.requests.items() if name not in reasons}, store)
        todo[unit.name] = sorted((entry for entry in needed if entry not in seen), key=initialisation)
        seen |= set(needed)
    return todo, lacking


def table(chosen: Sequence[Unit], store: Store) -> Iterator[tuple[str, ...]]:
    """Per unit: its name, what it is, results there / asked, initialisations complete / planned, core-hours left here."""
    todo, lacking = to_compute(chosen, store)
    for unit in chosen:
        there = {entry: store.has(entry) for entry in unit.requests.values()}
        planned = {initialisation(entry) for entry in there} - {-1}
        complete = planned - {initialisation(entry) for entry, held in there.items() if not held}
        absent = sum(name.startswith(f"{unit.name}: ") for name in lacking)
        yield (unit.name, unit.says, f"{sum(there.values())} of {len(there)}", f"{len(complete)} of {len(planned)}",
               f"{sum(planned_seconds(todo[unit.name]).values()) / 3600:.1f}"
               + f" ({absent} results of data not here)" * bool(absent))


def planned_seconds(todo: Iterable[Entry]) -> dict[Entry, float]:
    """Core-seconds of each entry here; torch is loaded only where there is one."""
    todo = list(todo)
    if not todo:
        return {}
    from synthprune.results.plan import seconds

    return {entry: seconds(entry) for entry in todo}


LONG_SECONDS = 10
"""What took longer has a line of its own."""


class Log:
    """Tells a run's progress line by line, for a file: what took long when it ends, and a sign of life every minute.

    `todo` is what each unit computes. `with Log(...) as report` gives what `solve` tells; signs of life come until it ends.
    `planned`: whether they say how much time is left, for which a new machine is measured first: a minute or more.
    """

    def __init__(self, todo: Mapping[str, Sequence[Entry]], store: Store, workers: int,
                 write: Callable[[str], None] = lambda line: print(line, flush=True), every_seconds: float = 60, *,
                 planned: bool = True) -> None:
        self._unit = {entry: unit for unit, entries in todo.items() for entry in entries}
        self._left = planned_seconds(self._unit) if planned else dict.fromkeys(self._unit, 0.0)
        self._all, self._whole = {unit: len(entries) for unit, entries in todo.items()}, sum(self._left.values())
        self._store, self._workers, self._write, self._every = store, workers, write, every_seconds
        self._failures: set[str] = set()
        self._begun = self._said = time.monotonic()
        self._lock, self._over = threading.RLock(), threading.Event()

    def __enter__(self) -> Report:
        self._pulse = threading.Thread(target=self._beat, daemon=True)
        self._pulse.start()
        return self._report

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pulse.join()

    def _report(self, done: int, total: int, line: str) -> None:
        with self._lock:
            if line.startswith(FAILED) and line not in self._failures:  # once, not for all that rests on it
                self._failures.add(line)
                self._write(stamped(line))
            for entry in [entry for entry in self._left if self._store.holds(entry)]:
                del self._left[entry]
                took = self._store.provenance(entry)["seconds"]
                if took > LONG_SECONDS:
                    self._say(f"{describe(entry)}, {took / 60:.1f} min")
                if self._unit[entry] not in {self._unit[other] for other in self._left}:
                    self._say(f"{self._unit[entry]} is complete, all {self._all[self._unit[entry]]}")

    def _beat(self) -> None:
        while not self._over.wait(self._every / 10):
            with self._lock:
                if self._left and time.monotonic() - self._said >= self._every:
                    at = self._store.running()
                    here = [at[entry.key] | {"unit of": self._unit[entry]} for entry in self._left if entry.key in at]
                    self._say("; ".join(f"{work['unit of']}: {work['what']}{how_far(work, ', ')}" for work in here) or "waiting")

    def _say(self, text: str) -> None:
        minutes, count = self._minutes(), len(self._unit)
        left = f", about {minutes:.0f} min left" if minutes < 100 else f", about {minutes / 60:.1f} h left"
        self._write(stamped(f"{count - len(self._left)} of {count}{left if self._whole else ''}; {text}"))
        self._said = time.monotonic()

    def _minutes(self) -> float:
        """Until everything is there: as planned, at the pace of this run once it has one."""
        left = sum(self._left.values())
        done, elapsed = self._whole - left, time.monotonic() - self._begun
        return (left * elapsed / done if done > self._every else left / self._workers) / 60
