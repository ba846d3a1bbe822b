"""What a chapter's notebook calls: parameters in, results, provenance out."""

from __future__ import annotations

import ast
import hashlib
import html
import time
from dataclasses import dataclass, field
from typing import Any

from synthprune import __version__, specs
from synthprune.experiments import experiment
from synthprune.experiments.settings import Settings, parameters
from synthprune.figures import Table
from synthprune.home import sources
from synthprune.machine import cores, cpu, revision
from synthprune.problems import Problem
from synthprune.solve import missing, solve
from synthprune.specs import Entry
from synthprune.store import Result, Store

MARK = "# Parameters"
"""The first line of a cell that sets parameters: papermill's own, and ours."""


def begin(chapter: str) -> Run:
    """Read the parameters this kernel was given and check them. Raises Problem naming whatever is wrong."""
    model = experiment(chapter).Parameters
    return Run(chapter, parameters(model, chapter, given_parameters()), open_store())


def open_store() -> Store:
    """This user's store, with the results that ship with the book behind it."""
    return Store(shelves=[sources() / "results"])


def given_parameters() -> dict[str, Any]:
    """The names assigned in this kernel's parameter cells, each as last run; None means 'as the profile says'.

    Read from the cells' text and not from variables: a parameter that is misspelt, private, or named like a builtin or
    an import is still seen, and nothing else is mistaken for one.
    """
    from IPython import get_ipython

    shell, cells = get_ipython(), {}
    for source in shell.history_manager.input_hist_raw if shell else []:
        if source.lstrip().startswith(MARK):
            # The first line tells our cell from papermill's: a cell that was mended and run again replaces what it said.
            heading = source.lstrip().splitlines()[0]
            cells.pop(heading, None)
            cells[heading] = source
    return {name: value for source in cells.values() for name, value in assignments(source).items()}


def assignments(source: str) -> dict[str, Any]:
    """{name: value} of the plain assignments in a cell. Raises Problem for anything that is not a literal value."""
    values: dict[str, Any] = {}
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise Problem(f"the parameters cell is not Python: {error.msg}, line {error.lineno}") from None
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        annotated = [node.target] if isinstance(node, ast.AnnAssign) else [None]
        targets = node.targets if isinstance(node, ast.Assign) else annotated
        try:
            values |= {target.id: ast.literal_eval(node.value) for target in targets}
        except (AttributeError, TypeError, ValueError):
            raise Problem(f"'{ast.unparse(node).splitlines()[0]}' in the parameters cell is not 'name = plain value'") from None
    return values


def parameters_cell(model: type[Settings]) -> str:
    """The source of a chapter's parameters cell, generated from its model: what a reader may set, and what it means."""
    lines = [f"{MARK} of this chapter. None: what the profile says.", 'profile: str = "demo"  # '
             + str(model.model_fields["profile"].description)]
    for name, info in model.model_fields.items():
        if name != "profile":
            lines.append(f"{name}: {_type_name(info.annotation)} = None  # {info.description}")
    return "\n".join(lines)


def _type_name(annotation: Any) -> str:
    if annotation in (int, float, bool, str):
        return annotation.__name__
    return str(annotation) if str(annotation).startswith("list[") else "str"


@dataclass
class Run:
    """One execution of a chapter."""

    chapter: str
    parameters: Settings
    store: Store
    begun: float = field(default_factory=time.monotonic)
    results: dict[str, Result] = field(default_factory=dict)
    computed: int = 0

    @property
    def requests(self) -> dict[str, Entry]:
        return experiment(self.chapter).requests(self.parameters)

    def vary(self, **changes: Any) -> Run:
        """The same chapter with some parameters changed. Raises Problem as `begin` does."""
        model = experiment(self.chapter).Parameters
        return Run(self.chapter, parameters(model, self.chapter, self.parameters.model_dump() | changes), self.store)

    def plan(self) -> Table:
        """What is stored, what must be computed, and how long that takes here."""
        return plan_table(self.requests, self.store)

    def solve(self) -> dict[str, Result]:
        """The chapter's results, computed where they are missing; progress is one line, gone when it is done."""
        from IPython.display import clear_output, display

        self.computed = len(missing(self.requests, self.store))
        if not self.computed:
            self.results = solve(self.requests, self.store)
            return self.results
        line = display(_Line(f"0 of {self.computed} results"), display_id=True)

        def report(done: int, total: int, text: str) -> None:
            if line is not None:
                line.update(_Line(f"{done} of {total} results; last: {text}"))

        try:
            self.results = solve(self.requests, self.store, report=report)
        finally:
            clear_output()
        return self.results

    def provenance(self) -> Provenance:
        """Where this page's numbers come from, as a line for readers and a record for the book."""
        return Provenance(self.record())

    def record(self) -> dict[str, Any]:
        """What the gate and the status page read: parameters, keys and digests, versions, machine, time."""
        if not self.results:
            raise Problem(f"{self.chapter}: nothing has been solved yet: run the cells above first")
        digests = {self.requests[name].key: result.digest for name, result in self.results.items()}
        made = [result.provenance for result in self.results.values()]
        whole = specs.closure(list(self.requests.values()))
        stored = [self.store.get(entry) for entry in whole if self.store.holds(entry)]
        core_seconds = sum(result.provenance["seconds"] for result in stored)
        return {
            "chapter": self.chapter, "profile": self.parameters.profile, "parameters": self.parameters.model_dump(),
            "results": digests, "digest": combined_digest(digests), "computed": self.computed,
            "versions": {entry.kind: entry.version for entry in whole},
            "core_seconds": round(core_seconds, 1), "page_seconds": round(time.monotonic() - self.begun, 1),
            "device": sorted({m["device"] for m in made}), "cpu": sorted({m["cpu"] for m in made}), "here": cpu(),
            "torch": sorted({m["torch"] for m in made}), "package": __version__, "revision": revision(),
            "finished": max(m["finished"] for m in made)}


def combined_digest(digests: dict[str, str]) -> str:
    """One SHA-256 over a chapter's results: equal only if every key and every digest is."""
    return hashlib.sha256("".join(f"{k} {d}\n" for k, d in sorted(digests.items())).encode()).hexdigest()


def plan_table(requests: dict[str, Entry], store: Store) -> Table:
    """One row per kind of entry: stored, to compute, minutes on this machine's cores."""
    from synthprune.plan import makespan, seconds

    todo = missing(requests, store)
    whole = specs.closure(list(requests.values()))
    rows = []
    for kind in dict.fromkeys(entry.kind for entry in whole):
        absent = [entry for entry in todo if entry.kind == kind]
        total = sum(entry.kind == kind for entry in whole)
        held = sum(store.has(entry) for entry in whole if entry.kind == kind)
        minutes = sum(seconds(entry, store) for entry in absent) / 60
        rows.append((kind, str(total), str(held), str(len(absent)), f"{minutes:.1f}"))
    wall = makespan(todo, store, cores()) / 60 if todo else 0.0
    rows.append(("together", str(len(whole)), "", str(len(todo)), f"{wall:.1f} on {cores()} cores"))
    return Table("What this chapter needs (minutes from rates measured on this machine)",
                 ("kind", "needed", "stored", "to compute", "core-minutes"), rows)


@dataclass(frozen=True)
class Provenance:
    """The provenance line; its record travels in the output's metadata."""

    record: dict[str, Any]

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        r = self.record
        parts = [f"profile {r['profile']}", f"{len(r['results'])} results, digest {r['digest'][:12]}",
                 f"{r['core_seconds']:.0f} core-seconds to make", f"finished {r['finished']}",
                 f"{', '.join(r['device'])} ({', '.join(r['cpu'])})", f"torch {', '.join(r['torch'])}",
                 f"synthprune {r['package']} at {r['revision']}"]
        text = " · ".join(parts)
        return {"text/plain": text, "text/html": f'<p class="provenance">{html.escape(text)}</p>'}, {"synthprune": r}


@dataclass(frozen=True)
class _Line:
    text: str

    def __repr__(self) -> str:
        return self.text
