"""What a chapter, or the whole book, needs: tables of what is stored, what is to be computed, and how long that takes."""

from __future__ import annotations

from collections import Counter

from synthprune.chapters.figures import Table
from synthprune.chapters.plain import capital
from synthprune.results import specs
from synthprune.results.solve import missing, unobtainable
from synthprune.results.specs import Entry
from synthprune.results.store import Store

KINDS = {"distilled": "synthetic sets by distribution matching", "condensed": "synthetic sets by gradient matching",
         "subnetwork": "masks", "trained": "trainings", "evaluation": "evaluations", "path": "paths", "plane": "planes",
         "diagonal": "Hessian diagonals"}


PAGE_SECONDS, BOOK_SECONDS = 4, 60
"""Wall seconds to make a chapter's page of stored results, and to make and compile those of the whole book."""


def plan_table(requests: dict[str, Entry], store: Store) -> Table:
    """One row per kind of entry: stored, to compute, minutes on what this machine computes with."""
    lacking = unobtainable(requests, store)
    requests = {name: entry for name, entry in requests.items() if name not in lacking}
    todo, whole = missing(requests, store), specs.closure(list(requests.values()))
    costs = _costs(todo)
    rows = []
    for kind in dict.fromkeys(entry.kind for entry in whole):
        of = [entry for entry in whole if entry.kind == kind]
        absent = [costs[entry] for entry in todo if entry.kind == kind]
        rows.append((KINDS[kind], str(len(of)), str(sum(map(store.has, of))), str(len(absent)), f"{sum(absent):.1f}"))
    rows.append(("together", str(len(whole)), str(sum(map(store.has, whole))), str(len(todo)), _wall(todo)))
    return Table("What this chapter needs (minutes from rates measured on this machine)",
                 ("kind", "needed", "stored", "to compute", "core-minutes"), rows,
                 lacking_words(lacking) if lacking else "")


def stored_table(requests: dict[str, Entry], store: Store) -> Table:
    """One row per kind of result that a page of stored results asks for. Nothing that computes is loaded."""
    entries = dict.fromkeys(requests.values())  # each once, by however many names it is asked for
    asked = Counter(entry.kind for entry in entries)
    here = Counter(entry.kind for entry in entries if store.has(entry))
    return Table("What this chapter shows (its page is made of stored results, and computes nothing)",
                 ("kind", "asked for", "stored"), [(KINDS[kind], str(count), str(here[kind])) for kind, count in asked.items()])


def book_plan(asked: dict[str, dict[str, Entry]], store: Store) -> Table:
    """One row per chapter and one for all, in which what chapters share is counted once; minutes on this machine."""
    rows, everything = [], {}
    for chapter, requests in [*asked.items(), ("the whole book", everything)]:
        lacking = unobtainable(requests, store)
        can = {name: entry for name, entry in requests.items() if name not in lacking}
        todo = missing(can, store)
        everything |= {f"{chapter}: {name}": entry for name, entry in requests.items()}
        minutes = f"{sum(_costs(todo).values()):.1f}"
        pages = PAGE_SECONDS if chapter in asked else BOOK_SECONDS
        rows.append((chapter, str(len(requests)), str(len(lacking)), str(len(todo)), minutes, _wall(todo, pages)))
    return Table("What each chapter needs (minutes from rates measured on this machine; what it rests on is included, and its"
                 " page)",
                 ("chapter", "results", "of data not here", "to compute", "core-minutes", "minutes"), rows)


def _costs(todo: list[Entry]) -> dict[Entry, float]:
    """Core-minutes of each entry."""
    if not todo:
        return {}
    from synthprune.results.plan import seconds

    return {entry: seconds(entry) / 60 for entry in todo}


def _wall(todo: list[Entry], pages: float = 0) -> str:
    """Minutes until `todo` is computed, and `pages` seconds more."""
    if not todo:
        return f"{pages / 60:.1f}"
    from synthprune.machine import gpus
    from synthprune.results.plan import STARTING, makespan, worthwhile_workers

    workers = worthwhile_workers(todo)
    minutes = (makespan(todo, workers) + STARTING * (workers > 1) + pages) / 60
    return f"{minutes:.1f} on {workers} {'GPU' if gpus() else 'core'}{'s' * (workers > 1)}"


def gpu_plan(asked: dict[str, dict[str, Entry]], gpu: str) -> Table:
    """Operations, hours on a named GPU and memory of each chapter and of all, by arithmetic: nothing is measured.

    Raises Problem for a GPU of unknown peak rate.
    """
    from synthprune.costs import gpu_assumption, gpu_hours
    from synthprune.results.plan import flops, memory

    title, rows, everything = f"What each chapter costs: {gpu_assumption(gpu)}", [], {}
    for chapter, requests in [*asked.items(), ("the whole book", everything)]:
        everything |= {f"{chapter}: {name}": entry for name, entry in requests.items()}
        whole = specs.closure(list(requests.values()))
        operations, trainings = sum(map(flops, whole)), [entry for entry in whole if isinstance(entry, specs.Trained)]
        of_each_shape = {(one.subnetwork.architecture, one.dataset, one.recipe.batch, one.data): one for one in trainings}
        most = max(map(memory, of_each_shape.values()), default=0)
        rows.append((chapter, str(len(requests)), str(len(trainings)), f"{operations / 1e15:,.1f}",
                     f"{gpu_hours(operations, gpu):,.1f}", f"{most / 2**30:.1f}"))
    return Table(title, ("chapter", "results", "trainings", "PFLOP", "GPU-hours", "GiB of the largest training"), rows,
                 "Operations are counted exactly, but for Hessian diagonals, which are taken for as many passes as last as long.")


def lacking_words(absent: dict[str, str]) -> str:
    """Why results cannot be had here, {name: why}, and how to get the data."""
    reasons = Counter(absent.values())
    parts = [f"{f'{times} of them: ' if len(reasons) > 1 else ''}{reason}." for reason, times in reasons.items()]
    return f"{' '.join(map(capital, parts))} Nothing is shown in their place."
