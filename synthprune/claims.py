"""The claim ledger: what the paper says, what was measured for it, and what follows.

`book/claims.yml` says of every claim which measures decide it and what counts for and against; chapters offer the measures;
nothing here looks at a number that no chapter shows, and nobody types a verdict.
"""

from __future__ import annotations

import functools
import html
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import groupby, pairwise, product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from synthprune.experiments import CHAPTERS
from synthprune.home import sources, write_whole
from synthprune.problems import Problem, nearest
from synthprune.stats import Interval, Measure, untold

State = Literal["holds", "fails", "open"]
PAPER: dict[State, str] = {"holds": "reproduced", "fails": "contradicted", "open": "cannot be told"}
SCALE: dict[State, str] = {"holds": "holds at this scale", "fails": "does not hold at this scale",
                           "open": "cannot be told at this scale"}
DEMO, NOT_RUN = "demo data decide nothing", "not run"

STAND_INS = {"resnet10-imagenette": "resnet10-imagenet10"}
"""Scenes that stand in for one of the paper's in every profile but `paper`, and are named wherever they do."""

SHOWN = 6
"""Intervals that the evidence lists; the chapter has them all."""

DIGITS = {"nats": 3}
"""Decimals of a unit whose effects are small; two for any other."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Declared(_Part):
    """A measure as the ledger asks for it; `range` is where its values can lie at all."""

    unit: str
    range: tuple[float, float]
    labels: str
    says: str


class Condition(_Part):
    """That `every` interval of a measure, or `any`, lies wholly on one side: "< x", "> x", "within a b" or "outside a b"."""

    measure: str
    every: str | None = None
    any: str | None = None

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if (self.every is None) == (self.any is None):
            raise ValueError("needs one of every and any")
        if not self.regions:
            raise ValueError(f"'{self.every or self.any}' is none of '< x', '> x', 'within a b' and 'outside a b' with a < b")
        return self

    @property
    def regions(self) -> list[tuple[float, float]]:
        """Open regions (low, high), in one of which a whole interval must lie; none where the text cannot be read."""
        try:
            match (self.every or self.any or "").split():
                case ["<", x]:
                    found = [(-math.inf, float(x))]
                case [">", x]:
                    found = [(float(x), math.inf)]
                case ["within", a, b]:
                    found = [(float(a), float(b))]
                case ["outside", a, b]:
                    found = [(-math.inf, float(a)), (float(b), math.inf)] if float(a) < float(b) else []
                case _:
                    return []
        except ValueError:
            return []
        return [(low, high) for low, high in found if low < high]

    def meeting(self, measure: Measure) -> list[str]:
        """Labels whose interval is of all initialisations and lies wholly in one of the regions."""
        return [label for label, of in measure.intervals.items() if not untold(of, measure.asked(label))
                and any(low < of.low and of.high < high for low, high in self.regions)]

    def met(self, measure: Measure) -> bool:
        """Whether every label meets it, or any; never where there is no label."""
        found = self.meeting(measure)
        return bool(found) and (self.any is not None or len(found) == len(measure.intervals))


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


Conditions = Annotated[tuple[Condition, ...], BeforeValidator(_listed)]


class Claim(_Part):
    """A statement of the paper (`quote`, verbatim), and the conditions under which it holds (all) or fails (any one)."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    section: str
    quote: str
    kind: Literal["number", "direction", "comparison"]
    chapter: str
    says: str
    scenes: tuple[str, ...] = Field(("*",), min_length=1)
    only_in: str | None = None
    given: Conditions = ()
    holds: Conditions = Field(min_length=1)
    fails: Conditions = Field(min_length=1)
    declared: dict[str, Declared] = {}
    """The measures of its chapter, from the ledger's own list."""

    @model_validator(mode="before")
    @classmethod
    def _default_measure(cls, raw: Any) -> Any:
        """A condition that names no measure is about the claim's."""
        if not (isinstance(raw, dict) and "measure" in raw):
            return raw
        parts = {part: [{"measure": raw["measure"]} | condition if isinstance(condition, dict) else condition
                        for condition in _listed(raw[part])] for part in ("given", "holds", "fails")
                 if isinstance(raw.get(part), dict | list)}
        return {key: value for key, value in raw.items() if key != "measure"} | parts

    @property
    def plain(self) -> str:
        """The quote without the marks of LaTeX, which the paper's text has around its formulas."""
        return self.quote.replace("$", "").replace("\\%", "%")

    @property
    def measures(self) -> list[str]:
        """The names of the measures that decide, each once, in the order of the conditions."""
        return list(dict.fromkeys(condition.measure for condition in (*self.given, *self.holds, *self.fails)))


class Judgement(_Part):
    """What may be said of a claim: the verdict's `words`, its `state` for the eye, and the numbers or the reason."""

    claim: str
    state: State
    words: str
    evidence: str


class _Ledger(_Part):
    measures: dict[str, dict[str, Declared]]
    claims: list[Claim]


def load(file: Path | None = None) -> list[Claim]:
    """The claims of `book/claims.yml`, or of another file.

    Raises Problem naming file, claim and field where something cannot be read, is not declared or said twice; and where a
    claim cannot hold, or cannot fail, whatever values its measures take: such a claim asks nothing.
    """
    file = file or sources() / "book" / "claims.yml"
    try:
        return list(_read(file, file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Problem(f"{file} cannot be read: {' '.join(str(error).split())}") from None


@functools.lru_cache(maxsize=2)
def _read(file: Path, text: str) -> tuple[Claim, ...]:
    raw = yaml.safe_load(text)
    try:
        ledger = _Ledger.model_validate(raw)
    except ValidationError as error:
        raise Problem(f"{file}: {_first(error, raw)}") from None
    claims = [claim.model_copy(update={"declared": ledger.measures.get(claim.chapter, {})}) for claim in ledger.claims]
    faults = [f"claim {claim.id}: {fault}" for claim in claims for fault in _faults(claim)]
    faults += [f"claim {name}: id is used {times} times" for name, times in Counter(c.id for c in claims).items() if times > 1]
    if faults:
        raise Problem(f"{file}: {faults[0]}")
    return tuple(claims)


def _first(error: ValidationError, raw: Any) -> str:
    """The first thing that is wrong, under the name of its claim or measure and its field."""
    first = error.errors()[0]
    where = list(first["loc"])
    if where[:1] == ["claims"] and len(where) > 1:
        entry = raw["claims"][where[1]]
        where = [f"claim {entry.get('id', where[1] + 1) if isinstance(entry, dict) else where[1] + 1}", *where[2:]]
    at = [str(where[0]), ".".join(map(str, where[1:]))] if where else ["the ledger"]
    return ": ".join([*filter(None, at), first["msg"].removeprefix("Value error, ")])


def _faults(claim: Claim) -> Iterator[str]:
    """Why a claim that can be read may not stand in the ledger."""
    unknown = [name for name in claim.measures if name not in claim.declared]
    if unknown:
        yield f"measure '{unknown[0]}' is not declared for {claim.chapter}: {nearest(unknown[0], claim.declared)}"
        return
    for state in ("holds", "fails"):
        if not any(_judge(claim, measures)[0] == state for measures in _possible(claim)):
            yield f"{state} can never be reached within the ranges of its measures"


def _possible(claim: Claim) -> Iterator[dict[str, Measure]]:
    """Made-up measures: each one's interval in every gap between the thresholds it is compared with, in all combinations."""
    def gaps(name: str) -> list[Interval]:
        low, high = claim.declared[name].range
        cuts = [end for condition in (*claim.given, *claim.holds, *claim.fails) if condition.measure == name
                for region in condition.regions for end in region]
        ends = {min(max(x, low), high) for cut in cuts for x in (cut - 1, cut, cut + 1)} | {low + 1, high - 1}
        return [Interval((a + b) / 2, a + (b - a) / 4, b - (b - a) / 4, 2)
                for a, b in pairwise(sorted(filter(math.isfinite, ends)))]

    labels = [scene.replace("*", "any") for scene in claim.scenes]
    for chosen in product(*map(gaps, claim.measures)):
        yield {name: Measure(dict.fromkeys(labels, of), claim.declared[name].unit, of.n)
               for name, of in zip(claim.measures, chosen, strict=True)}


def evaluate(claim: Claim, measured: Mapping[str, Mapping[str, Measure] | str], profile: str, decides: bool) -> Judgement:
    """What `measured` allows to say of a claim: by chapter, its measures by name, or in words why there are none.

    Words: "reproduced" and "contradicted" for the profile `paper` alone, "holds" and "does not hold at this scale" for
    others, "cannot be told", "demo data decide nothing" where not `decides`, "not run" where something is missing.
    Raises Problem where a chapter offers a measure in another unit than the ledger's.
    """
    if not decides:
        return Judgement(claim=claim.id, state="open", words=DEMO,
                         evidence="The demonstration data show how the measurement works.")
    chosen = _chosen(claim, measured.get(claim.chapter, f"{claim.chapter} was not run"), profile)
    if isinstance(chosen, str):
        return Judgement(claim=claim.id, state="open", words=NOT_RUN, evidence=chosen)
    state, evidence = _judge(claim, chosen)
    standing = [f"{scene} stands in for {STAND_INS[scene]}." for scene in _scenes(chosen.values()) if scene in STAND_INS]
    return Judgement(claim=claim.id, state=state, words=(PAPER if profile == "paper" else SCALE)[state],
                     evidence=" ".join([evidence, *standing]))


def _chosen(claim: Claim, offered: Mapping[str, Measure] | str, profile: str) -> dict[str, Measure] | str:
    """The claim's measures, with the labels of its scenes alone; or why they are not all there."""
    if claim.only_in not in (None, profile):
        return f"its number belongs to the settings of profile {claim.only_in}"
    if isinstance(offered, str):
        return offered
    chosen = {}
    for name in claim.measures:
        if name not in offered:
            return f"{claim.chapter} does not measure {_spaced(name)} here"
        measure, asked = offered[name], claim.declared[name].unit
        if measure.unit != asked:
            raise Problem(f"{claim.chapter} offers {name} in {measure.unit}, the ledger asks for {asked}: change one of the two")
        lacking = [scene for scene in claim.scenes if not any(_speaks(label, scene, profile) for label in measure.intervals)]
        if lacking:
            return measure.note or f"{_spaced(name)}: no results for {lacking[0].replace('*', 'any network')}"
        chosen[name] = replace(measure, intervals={label: of for label, of in measure.intervals.items()
                                                   if any(_speaks(label, scene, profile) for scene in claim.scenes)})
    return chosen


def _scene(label: str) -> str:
    return label.partition(",")[0]


def _scenes(measures: Iterable[Measure]) -> list[str]:
    return list(dict.fromkeys(_scene(label) for measure in measures for label in measure.intervals))


def _speaks(label: str, pattern: str, profile: str) -> bool:
    """Whether a label is of a scene the pattern means; a stand-in goes by the name it stands for, but not in `paper`."""
    scene = _scene(label)
    return fnmatchcase(STAND_INS.get(scene, scene), pattern) and not (profile == "paper" and scene in STAND_INS)


def _judge(claim: Claim, measures: Mapping[str, Measure]) -> tuple[State, str]:
    """The verdict on measures that are all there, with the numbers behind it; what counts against is asked first."""
    def within(scenes: Sequence[str]) -> dict[str, Measure]:
        return {name: replace(measure, intervals={label: of for label, of in measure.intervals.items()
                                                  if _scene(label) in scenes}) for name, measure in measures.items()}

    def met(condition: Condition, among: Mapping[str, Measure]) -> bool:
        return condition.met(among[condition.measure])

    every = _scenes(measures.values())
    scenes = [scene for scene in every if all(met(condition, within([scene])) for condition in claim.given)]
    aside = "".join(f" The claim is not about {scene}: there, {_asked(claim.given)} is not shown." for scene in every
                    if scene not in scenes)
    chosen = within(scenes or every)
    against = [condition for condition in claim.fails if scenes and met(condition, chosen)]
    if against:
        return "fails", _shown([(c.measure, chosen[c.measure], c.meeting(chosen[c.measure])) for c in against]) + aside
    numbers = _shown([(name, measure, list(measure.intervals)) for name, measure in chosen.items()]) + aside
    return "holds" if scenes and all(met(condition, chosen) for condition in claim.holds) else "open", numbers


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _asked(conditions: Sequence[Condition]) -> str:
    return " and ".join(f"{_spaced(c.measure)} {c.every or c.any}" for c in conditions)


def _shown(parts: Sequence[tuple[str, Measure, Sequence[str]]]) -> str:
    """Intervals by measure and label, the first few of each, with the reason where one may decide nothing."""
    def one(measure: Measure, label: str) -> str:
        reason = untold(measure.intervals[label], measure.asked(label))
        return f"{label}: {measure.intervals[label].text(DIGITS.get(measure.unit, 2))}{f' ({reason})' if reason else ''}"

    return " ".join(f"{_spaced(name).capitalize()}, {measure.unit}: {'; '.join(one(measure, label) for label in labels[:SHOWN])}"
                    f"{f'; and {len(labels) - SHOWN} more' if len(labels) > SHOWN else ''}." for name, measure, labels in parts)


_RECORD = TypeAdapter(dict[str, Judgement])


def record(judgements: Mapping[str, Judgement], file: Path) -> None:
    """Write judgements by claim as JSON, as the reference run ships them. Raises Problem where it cannot."""
    write_whole(file, _RECORD.dump_json(dict(judgements), indent=1))


def recorded(profile: str) -> dict[str, Judgement]:
    """The judgements that ship with the book for a profile; none where it has none. Raises Problem if damaged."""
    file = sources() / "results" / profile / "claims.json"
    if not file.exists():
        return {}
    try:
        return _RECORD.validate_json(file.read_bytes())
    except ValidationError as error:
        raise Problem(f"{file} holds no judgements: {error.errors()[0]['msg']} (make it again)") from None


def scoreboard(claims: Sequence[Claim], judgements: Mapping[str, Judgement], reference: Mapping[str, Judgement]) -> str:
    """MyST Markdown: every claim by section, in the paper's words, with this run's verdict and the reference run's."""
    counts = Counter(judgements[claim.id].words for claim in claims)
    header = ("claim", "the paper, and what counts", "this run", "reference run")
    lines = ["# Scoreboard", "",
             f"{len(claims)} checkable statements of the paper, and what the measurements allow to say of each.",
             "The criteria were fixed before the numbers; verdicts follow from them and are typed by nobody.",
             "A claim's name leads to the chapter that decides it.",
             f"This run: {', '.join(f'{times} *{words}*' for words, times in counts.most_common())}.", "",
             '<div class="wide"><div class="table-scroll" tabindex="0" role="region" aria-label="Every claim with its verdict">',
             "<table>", f"<thead><tr>{''.join(f'<th scope=col>{name}</th>' for name in header)}</tr></thead>"]
    for section, group in groupby(claims, lambda claim: claim.section):
        title = section if section[0].isalpha() else f"Section {section}"
        lines.append(f'<tbody><tr><th scope=rowgroup colspan={len(header)}>{html.escape(title)}</th></tr>')
        for claim in group:
            lines.append(f'<tr id="claim-{claim.id}"><th scope=row class="key">{_linked(claim)}</th>'
                         f'<td class="text"><q>{html.escape(claim.plain)}</q><p>{html.escape(claim.says)}</p></td>'
                         f'<td class="text">{_cell(judgements[claim.id])}</td>'
                         f'<td class="text">{_cell(reference[claim.id]) if claim.id in reference else "none yet"}</td></tr>')
        lines.append("</tbody>")
    return "\n".join([*lines, "</table></div></div>", ""])


def _linked(claim: Claim) -> str:
    return f'<a href="{claim.chapter}.html">{claim.id}</a>' if claim.chapter in CHAPTERS else claim.id


def _cell(judgement: Judgement) -> str:
    return (f'<div class="verdict verdict--{judgement.state}"><p class="verdict__title">{judgement.words.capitalize()}</p>'
            f"<p>{html.escape(judgement.evidence)}</p></div>")


def _pattern(verdicts: Iterable[str]) -> str:
    """Any of these words, the longest first, however a paragraph breaks them."""
    return "|".join(re.sub(" ", r"\\s+", words) for words in sorted(verdicts, key=len, reverse=True))


_ANY = _pattern({*PAPER.values(), *SCALE.values(), DEMO, NOT_RUN})
_STATED = re.compile(rf"\bclaim\s+`([^`]+)`:\s*({_ANY}|)", re.IGNORECASE)
_MENTIONED = re.compile(rf"(?<![*\w])\*(?:{_ANY})\*(?!\*)", re.IGNORECASE)
_BARE = re.compile(rf"\b(?:{_pattern({PAPER['holds'], PAPER['fails'], *SCALE.values()})})\b", re.IGNORECASE)


def contradictions(prose: str, judgements: Mapping[str, Judgement]) -> list[str]:
    """What prose (Markdown) says of verdicts and may not, one message per place, with its line.

    Prose may state a verdict only as "claim `id`: words", and then as the ledger has it. A verdict's words on their own may
    be mentioned in emphasis, as in "*reproduced* is a word for the profile paper"; anywhere else they are an error, since
    nobody could tell whether they agree. ("Cannot be told", "not run" and "demo data decide nothing" may stand anywhere.)
    """
    found = []
    for stated in _STATED.finditer(prose):
        name, words = stated[1], " ".join(stated[2].lower().split())
        if name not in judgements:
            found.append((stated.start(), f"there is no claim '{name}': {nearest(name, judgements)}"))
        elif words != judgements[name].words:
            found.append((stated.start(), f"claim '{name}' is said to be '{words or 'of no verdict'}', the ledger says"
                                          f" '{judgements[name].words}'"))
    rest = _MENTIONED.sub(_blank, _STATED.sub(_blank, prose))
    found += [(bare.start(), f"'{' '.join(bare[0].split())}' stands alone: write claim `id`: {' '.join(bare[0].lower().split())}")
              for bare in _BARE.finditer(rest)]
    return [f"line {prose.count(chr(10), 0, at) + 1}: {message}" for at, message in sorted(found)]


def _blank(match: re.Match[str]) -> str:
    """As many characters and lines, with nothing in them."""
    return re.sub(r"\S", " ", match[0])
