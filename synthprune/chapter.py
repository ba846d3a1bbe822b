"""What a chapter's notebook calls: parameters in, results, provenance out."""

from __future__ import annotations

import ast
import functools
import hashlib
import html
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from synthprune import __version__
from synthprune.book import claims
from synthprune.chapters import experiment, plain
from synthprune.chapters.budget import lacking_words, plan_table, stored_table
from synthprune.chapters.figures import Stack, Table, Verdict
from synthprune.chapters.figures.words import count, listed
from synthprune.chapters.settings import Settings, decides, overrides, parameters
from synthprune.home import sources
from synthprune.machine import revision
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.chance import flags
from synthprune.results.solve import missing, solve, unobtainable
from synthprune.results.specs import Entry
from synthprune.results.store import Result, Store
from synthprune.stats import Measure

if TYPE_CHECKING:
    import pandas
    from IPython.display import HTML

MARK = "# Parameters"
"""The first line of a cell that sets parameters: papermill's own, and ours."""


def begin(chapter: str) -> Run:
    """Read the parameters this kernel was given and check them. Raises Problem naming whatever is wrong."""
    model = experiment(chapter).Parameters
    given = given_parameters()
    return Run(chapter, parameters(model, chapter, given), given, open_store())


def open_store() -> Store:
    """This user's store, with the results that ship with the book behind it."""
    return Store(shelves=[sources() / "results"])


def given_parameters() -> dict[str, Any]:
    """The names assigned in this kernel's parameter cells, each as last run; None means 'as the profile says'.

    Read from the cells' text and not from variables: a parameter that is misspelt, private, or named like a builtin or
    an import is still seen, and nothing else is mistaken for one.
    """
    from IPython import get_ipython

    shell, cells = get_ipython(), dict[str, str]()
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
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        try:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not node.value or len(names) < len(targets):
                raise ValueError
            values |= dict.fromkeys(names, ast.literal_eval(node.value))
        except (TypeError, ValueError):
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
    given: dict[str, Any]
    store: Store
    begun: float = field(default_factory=time.monotonic)
    results: dict[str, Result] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    computed: int = 0

    @functools.cached_property
    def requests(self) -> dict[str, Entry]:
        """What the chapter asks for, by name."""
        return experiment(self.chapter).requests(self.parameters)

    def vary(self, **changes: Any) -> Run:
        """The same chapter with some parameters changed. Raises Problem as `begin` does."""
        model, given = experiment(self.chapter).Parameters, self.given | changes
        return Run(self.chapter, parameters(model, self.chapter, given), given, self.store)

    def setting(self) -> HTML:
        """What this run is, in a paragraph of words."""
        from IPython.display import HTML

        return HTML(f"<p>{experiment(self.chapter).setting(self.parameters)}</p>")

    @property
    def stored_only(self) -> bool:
        """Whether this kernel makes a page of stored results, and computes nothing."""
        return self.chapter in os.environ.get(STORED_ONLY, "").split(",")

    def plan(self) -> Table:
        """What is stored, what must be computed, and how long that takes here."""
        return stored_table(self.requests, self.store) if self.stored_only else plan_table(self.requests, self.store)

    def solve(self) -> dict[str, Result]:
        """The chapter's results, computed where they are missing; progress is one line, gone when it is done.

        What needs data that are not on this machine is left out, and `absent` says why. In a book of shipped results
        nothing is computed, and what is not there is left out likewise.
        """
        from IPython.display import Pretty, clear_output, display

        self.absent = (uncomputed(self.requests, self.store, self.parameters.profile) if self.stored_only
                       else unobtainable(self.requests, self.store))
        if len(self.absent) == len(self.requests):
            self._say_absent()
            raise Problem(next(iter(self.absent.values())))
        obtainable = {name: entry for name, entry in self.requests.items() if name not in self.absent}
        self.computed = len(missing(obtainable, self.store))
        line = display(Pretty(f"0 of {self.computed} results"), display_id=True) if self.computed else None

        def report(done: int, total: int, text: str) -> None:
            if line is not None:
                line.update(Pretty(f"{done} of {total} results; last: {text}"))

        try:
            self.results = solve(obtainable, self.store, report=report)
        finally:
            if self.computed:
                clear_output()
        self._say_absent()
        self._warn(not self.stored_only)
        return self.results

    def _say_absent(self) -> None:
        """A box that counts the results that are missing, and says why; none where none is."""
        from IPython.display import display

        if self.absent:
            # A result may be asked for by several names, as that of the dense network by each method: it counts once.
            once = {self.requests[name].key: reason for name, reason in self.absent.items()}
            title = f"{len(once)} of {len(set(self.requests.values()))} results are missing"
            display(Verdict("open", title, lacking_words(once)))

    def table(self) -> pandas.DataFrame:
        """The results as a tidy table, one row per measurement; columns and units: see `table.table`.

        Losses are in nats, errors and sparsity from 0 to 1. Raises Problem before anything is solved.
        """
        from synthprune.chapters.table import table

        if not self.results:
            raise Problem(f"{self.chapter}: nothing has been solved yet: run the cells above first")
        return table(self.requests, self.results, self.parameters.scene, getattr(self.parameters, "scenes", ()))

    def _warn(self, computing: bool) -> None:
        """A box for each imported synthetic set from which a network learns nothing."""
        from IPython.display import display

        for line in flags(self.requests.values(), self.store, computing=computing):
            display(Verdict("open", "A synthetic set that teaches nothing", line))

    def verdicts(self) -> Stack:
        """A box for each claim of the ledger that this chapter decides."""
        judged = judgements(self.chapter, self.parameters, self.results)
        ledger = {claim.id: claim for claim in claims.load()}

        def box(name: str, found: claims.Judgement) -> Verdict:
            claim = ledger[name]
            title = f"{found.words.capitalize()}: {claim.title}"
            return Verdict(found.state, title, f"{claim.said} {found.evidence}", claim.says)

        return Stack([("", box(name, found)) for name, found in judged.items()])

    def provenance(self) -> Provenance:
        """Where this page's numbers come from, as a line for readers and a record for the book."""
        return Provenance(self.record())

    def record(self) -> dict[str, Any]:
        """What the gate and the status page read: parameters, keys and digests, versions, machine, time."""
        if not self.results:
            raise Problem(f"{self.chapter}: nothing has been solved yet: run the cells above first")
        digests = {self.requests[name].key: result.digest for name, result in self.results.items()}
        whole = specs.closure([self.requests[name] for name in self.results])
        made = [one for entry in whole if (one := self.store.whence(entry))]

        def each(*names: str) -> list[str]:
            return sorted({" at ".join(one[name] for name in names) for one in made})

        return {
            "chapter": self.chapter, "profile": self.parameters.profile, "parameters": self.parameters.model_dump(),
            "changed": overrides(self.parameters), "results": digests, "digest": combined_digest(digests),
            "absent": {self.requests[name].key: reason for name, reason in self.absent.items()},
            "computed": self.computed,
            "claims": {name: judgement.model_dump() for name, judgement
                       in judgements(self.chapter, self.parameters, self.results).items()},
            "verdict": verdict_line(self.chapter, self.parameters, self.results),
            "versions": {entry.kind: entry.version for entry in whole},
            "core_seconds": round(sum(one["seconds"] for one in made), 1),
            "page_seconds": round(time.monotonic() - self.begun, 1),
            "device": each("device"), "cpu": each("cpu"), "torch": each("torch"),
            "made_by": each("package", "revision"),
            "finished": max(one["finished"] for one in made), "page_by": f"{__version__} at {revision()}"}


def combined_digest(digests: dict[str, str]) -> str:
    """One SHA-256 over a chapter's results: equal only if every key and every digest is."""
    return hashlib.sha256("".join(f"{k} {d}\n" for k, d in sorted(digests.items())).encode()).hexdigest()


def measured(chapter: str, p: Settings, results: dict[str, Result]) -> dict[str, Measure]:
    """What a chapter offers the ledger; nothing where it decides no claim."""
    return getattr(experiment(chapter), "measures", lambda p, results: {})(p, results)


def verdict_line(chapter: str, p: Settings, results: dict[str, Result]) -> str:
    """How the chapter's claims were judged, and the first numbers behind them; "" where it decides none.

    While nothing is decided the numbers come first: there is no verdict to lead with.
    """
    judged, ledger = judgements(chapter, p, results), {claim.id: claim for claim in claims.load()}
    measures = measured(chapter, p, results)
    words = Counter(judgement.words for judgement in judged.values())
    if not words:
        return ""
    tally = listed([f"{times} {word}" for word, times in words.items()])
    said = f"{plain.DEMO.capitalize()}." if list(words) == [plain.DEMO] else f"{count(len(judged), 'statement')}: {tally}."
    numbers = claims.in_short([ledger[name] for name in judged], measures, plain.UNFINISHED in words)
    if plain.UNFINISHED in words and words.keys() <= {plain.UNFINISHED, plain.NOT_RUN}:
        return f"None yet. {numbers} {said}"
    return f"{said} {numbers}".strip()


SUBJECT = ("architecture", "dataset")
"""Parameters that make a scene another one, whatever its name says."""


def judgements(chapter: str, p: Settings, results: dict[str, Result]) -> dict[str, claims.Judgement]:
    """What a chapter's results allow to say of each claim that it decides."""
    measures, settled = measured(chapter, p, results), results.keys() >= experiment(chapter).requests(p).keys()
    # The paper's own words are for its own settings: with other values it is a scale like any other.
    changed = overrides(p)
    profile = p.profile if not changed else f"{p.profile}, changed"
    if other := {name: value for name, value in changed.items() if name in SUBJECT and decides(p)}:
        return {claim.id: claims.about_another(claim, other) for claim in claims.load() if claim.chapter == chapter}
    return {claim.id: claims.evaluate(claim, {chapter: measures}, profile, decides(p), settled, getattr(p, "scenes", ()))
            for claim in claims.load() if claim.chapter == chapter}


STORED_ONLY = "SYNTHPRUNE_STORED_ONLY"
"""Environment variable: the chapters, with commas between, that show what is stored and compute nothing."""
STALE = "stale: "


def uncomputed(requests: dict[str, Entry], store: Store, profile: str) -> dict[str, str]:
    """The requests that neither the store nor a shelf holds: {name: why, and which command computes it}; STALE begins what an
    older version made. Nothing that computes is loaded."""
    absent = [name for name, entry in requests.items() if not store.has(entry)]
    if not absent:
        return {}
    kinds = {entry.kind for entry in specs.closure([requests[name] for name in absent])}
    old = sorted({kind for kind, version in store.shelved(profile).values() if kind in kinds and specs.stale(kind, version)})
    reason = f"{STALE}what ships was made by an older version of {', '.join(old)}" if old else "not computed yet"
    return dict.fromkeys(absent, f"{reason}; 'synthprune compute --profile {profile}' computes them")


def profile_words(record: dict[str, Any]) -> str:
    """The profile, and what of it was changed."""
    changed = ", ".join(f"{name}={value}" for name, value in record["changed"].items())
    return f"profile {record['profile']}" + (f" with {changed}" if changed else "")


def made_words(record: dict[str, Any]) -> str:
    """On what, with what and when the results were made."""
    when = datetime.fromisoformat(record["finished"])
    return (f"made on {', '.join(record['device'])} ({', '.join(record['cpu'])}) with torch {', '.join(record['torch'])} by"
            f" synthprune {', '.join(record['made_by'])}, finished {when.day} {when:%B %Y, %H:%M} UTC")


@dataclass(frozen=True)
class Provenance:
    """The provenance line; its record travels in the output's metadata."""

    record: dict[str, Any]

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        r = self.record
        parts = [profile_words(r), f"{len(r['results'])} results, digest {r['digest'][:12]}",
                 f"{r['core_seconds']:.0f} core-seconds to make", made_words(r),
                 f"page by synthprune {r['page_by']}"]
        text = " · ".join(parts)
        return {"text/plain": text, "text/html": f'<p class="provenance">{html.escape(text)}</p>'}, {"synthprune": r}
