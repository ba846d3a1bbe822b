"""The claim ledger: what the paper says and what this book supposes, what was measured for it, and what follows.

`book/claims.yml` says of every claim which measures decide it and what counts for and against; chapters offer the measures;
nothing here looks at a number that no chapter shows, and nobody types a verdict.

Several comparisons: a condition that all of its labels must meet is met by chance no more often than one of them is, so it
needs no correction (an intersection-union test; Berger 1982). One that any may meet is a search for an extreme: Holm's
correction goes over everything that could count against a claim, over each such condition that counts for it, and over the
book's own hypotheses together.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from synthprune.book.statements import Claim, Declared, Part, scene_of
from synthprune.chapters import plain
from synthprune.chapters.figures.words import listed
from synthprune.chapters.plain import DEMO, NOT_RUN, PAPER, SCALE, UNFINISHED, State
from synthprune.home import sources, write_whole
from synthprune.problems import Problem, line, nearest
from synthprune.stats import LEVEL, Interval, Measure, holm

STAND_INS = {"resnet10-imagenette": "resnet10-imagenet10"}
"""Scenes that stand in for one of the paper's in every profile but `paper`, and are named wherever they do: these are ten
other classes of ImageNet, and smaller images."""

SHOWN = 8
"""Intervals that the evidence lists; the chapter has them all."""

DIGITS = {"nats": 3}
"""Decimals of a unit whose effects are small; two for any other."""


class Judgement(Part):
    """What may be said of a claim: the verdict's `words`, its `state` for the eye, and the numbers or the reason."""

    claim: str
    state: State
    words: str
    evidence: str


class _Ledger(Part):
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
        raise Problem(f"{file} cannot be read: {line(error)}") from None


@functools.lru_cache(maxsize=2)
def _read(file: Path, text: str) -> tuple[Claim, ...]:
    raw = yaml.safe_load(text)
    try:
        ledger = _Ledger.model_validate(raw)
    except ValidationError as error:
        raise Problem(f"{file}: {_first(error, raw)}") from None
    claims = [claim.model_copy(update={"declared": ledger.measures.get(claim.chapter, {})}) for claim in ledger.claims]
    faults = [f"claim {claim.id}: {fault}" for claim in claims for fault in (*_misplaced(claim, claims), *_faults(claim))]
    faults += [f"claim {name}: id is used {times} times" for name, times in Counter(c.id for c in claims).items() if times > 1]
    if faults:
        raise Problem(f"{file}: {faults[0]}")
    return tuple(claim.model_copy(update={"family": _family(claim, claims)}) for claim in claims)


def _family(claim: Claim, claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """The other hypotheses; one that was amended and its amendment each stand among the others without the other."""
    return tuple(other for other in claims if claim.statement and other.statement and other.amends is None
                 and other.id not in (claim.id, claim.amends))


def _misplaced(claim: Claim, claims: Sequence[Claim]) -> Iterator[str]:
    """Why a claim may not stand where it does."""
    if claim.amends and not any(other.id == claim.amends and other.amends is None and other.plain == claim.plain
                                and other.section == claim.section for other in claims):
        yield f"amends '{claim.amends}', which is no first claim of the same words and section"
    if any(other.chapter != claim.chapter for other in claims if claim.statement and other.statement):
        yield "hypotheses are corrected together, so one chapter decides them all"


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
        if not any(_judge(claim, measures).state(told=True) == state for measures in _possible(claim)):
            yield f"{state} can never be reached within the ranges of its measures"


def _possible(claim: Claim) -> Iterator[dict[str, Measure]]:
    """Made-up measures: one value without spread in every gap between the thresholds it is compared with, in all combinations."""
    def gaps(name: str) -> list[Interval]:
        low, high = claim.declared[name].range
        cuts = [end for condition in (*claim.given, *claim.holds, *claim.fails) if condition.measure == name
                for region in condition.regions for end in region]
        ends = {min(max(x, low), high) for cut in cuts for x in (cut - 1, cut, cut + 1)} | {low + 1, high - 1}
        return [Interval((a + b) / 2, (a + b) / 2, (a + b) / 2, 2) for a, b in pairwise(sorted(filter(math.isfinite, ends)))]

    labels = [scene.replace("*", "any") for scene in claim.scenes]
    for chosen in product(*map(gaps, claim.measures)):
        yield {name: Measure(dict.fromkeys(labels, of), claim.declared[name].unit, of.n)
               for name, of in zip(claim.measures, chosen, strict=True)}


def evaluate(claim: Claim, measured: Mapping[str, Mapping[str, Measure] | str], profile: str, decides: bool,
             settled: bool = True, scenes: Sequence[str] = ()) -> Judgement:
    """What `measured` allows to say of a claim: by chapter, its measures by name, or in words why there are none.

    Words: "reproduced" and "contradicted" for the profile `paper` alone, "holds" and "does not hold at this scale" for
    others, "cannot be told", "demo data decide nothing" where not `decides`, "not run" where something is missing; "cannot
    be told at this scale" where the claim says why no other profile than `paper` could have it; "not complete yet" where
    something is measured and initialisations, levels, any of the `scenes` that its chapter asks for, or another hypothesis
    that it is corrected for are still to come: the chapter is not `settled`.
    Raises Problem where a chapter offers a measure in another unit than the ledger's.
    """
    if not decides:
        return Judgement(claim=claim.id, state="open", words=DEMO,
                         evidence="The demonstration data show how the measurement works.")
    chosen = _chosen(claim, measured, profile)
    if isinstance(chosen, str):
        if claim.elsewhere and profile != "paper":
            return Judgement(claim=claim.id, state="open", words=SCALE["open"],
                             evidence=f"This scale cannot decide it. {claim.elsewhere}")
        so_far = "" if settled else _so_far(claim, measured, profile)
        return Judgement(claim=claim.id, state="open", words=UNFINISHED if so_far else NOT_RUN,
                         evidence=f"{plain.capital(chosen)}{f' So far: {so_far}' if so_far else ''}")
    finding = _judge(claim, chosen)
    # With which p each other hypothesis is decided, whichever way; 1 where it was not measured.
    others = [1.0 if isinstance(its := _chosen(other, measured, profile), str) else _judge(other, its).least
              for other in claim.family]
    state = finding.state(holm([finding.least, *others])[0] <= LEVEL)
    evidence = finding.evidence[state]
    if state != finding.state(told=True):
        evidence += f" On its own it would be told; corrected for {len(others) + 1} hypotheses (Holm) it is not."
    if coming := "" if settled else _coming(claim, chosen, state, scenes, profile):
        evidence, state = f"{evidence} Still to come: {coming}.", "open"
    few = any(of.n < one.asked(label) for one in chosen.values() for label, of in one.intervals.items())
    # A hypothesis that is not measured keeps its place in the correction: what it leaves open it may still decide.
    corrected = state != finding.state(told=True) and 1.0 in others
    waits = coming or (not settled and state == "open" and (few or corrected))
    words = UNFINISHED if waits else (PAPER if profile == "paper" else SCALE)[state]
    return Judgement(claim=claim.id, state=state, words=words,
                     evidence=" ".join([evidence, *_standing(_scenes(chosen.values()))]))


def about_another(claim: Claim, changed: Mapping[str, Any]) -> Judgement:
    """That results of other networks or data than a claim names say nothing about it."""
    other = listed([f"{name}={value}" for name, value in changed.items()])
    return Judgement(claim=claim.id, state="open", words=SCALE["open"],
                     evidence=f"With {other} this run is not about what the sentence names.")


def _coming(claim: Claim, chosen: Mapping[str, Measure], state: State, scenes: Sequence[str], profile: str) -> str:
    """Those of its chapter's `scenes` that a claim speaks of and that were not measured, in words; "" where there are none,
    and where they cannot change that it fails: then one scene is enough."""
    if state == "fails" and not any(condition.every for condition in claim.fails):
        return ""
    there = _scenes(chosen.values())
    coming = [plain.scene(scene) for scene in scenes if scene not in there
              and any(_speaks(scene, pattern, profile) for pattern in claim.scenes)]
    return listed(coming) if coming else ""


def _chosen(claim: Claim, measured: Mapping[str, Mapping[str, Measure] | str], profile: str) -> dict[str, Measure] | str:
    """The claim's measures, with the labels of its scenes and levels alone; or why they are not all there."""
    if claim.only_in not in (None, profile):
        return claim.elsewhere
    offered = measured.get(claim.chapter, "Its chapter was not run.")
    if isinstance(offered, str):
        return offered
    chosen = {}
    for name in claim.measures:
        if name not in offered:
            return f"This run has not measured {plain.measure(name)}."
        measure, asked = offered[name], claim.declared[name].unit
        if measure.unit != asked:
            raise Problem(f"{claim.chapter} offers {name} in {measure.unit}, the ledger asks for {asked}: change one of the two")
        heard = [label for label in measure.intervals if any(_speaks(label, scene, profile) for scene in claim.scenes)]
        lacking = [scene for scene in claim.scenes if not any(_speaks(label, scene, profile) for label in heard)]
        # A measure that has levels has all that the claim names, in every scene: what holds at one need not at another.
        lacking += [f"{scene}, {level}" for scene in dict.fromkeys(map(scene_of, heard)) for level in _levels(claim)
                    if any(map(_level, heard)) and level not in [_level(label) for label in heard if scene_of(label) == scene]]
        if lacking:
            return measure.note or f"This run has not measured {plain.measure(name)}, for {plain.label(lacking[0])}."
        chosen[name] = replace(measure, intervals={label: measure.intervals[label] for label in heard
                                                   if _at_level(claim, label)})
    return chosen


def _so_far(claim: Claim, measured: Mapping[str, Mapping[str, Measure] | str], profile: str) -> str:
    """What was measured of what the claim asks for, while some is missing; "" where nothing was."""
    offered = measured.get(claim.chapter, "")
    found = [] if isinstance(offered, str) else [
        (name, offered[name], [label for label, of in offered[name].intervals.items() if of.n and _at_level(claim, label)
                               and any(_speaks(label, scene, profile) for scene in claim.scenes)])
        for name in claim.measures if name in offered]
    scenes = [scene_of(label) for _, _, labels in found for label in labels]
    return " ".join([_shown([part for part in found if part[2]]), *_standing(scenes)]).strip()


def _standing(scenes: Iterable[str]) -> list[str]:
    """A sentence for each scene that stands in for another."""
    return [f"{plain.scene(scene)} stands in for {plain.scene(STAND_INS[scene])}: other classes, smaller images."
            for scene in dict.fromkeys(scenes) if scene in STAND_INS]


def _at_level(claim: Claim, label: str) -> bool:
    """Whether a label is of a level that the claim names, of any where it names none, or of no level."""
    return not claim.levels or _level(label) in ("", *_levels(claim))


def _level(label: str) -> str:
    """The part of a label that names a level, as "level 4"; "" where none does."""
    return next((part for part in label.split(", ") if part.startswith("level ")), "")


def _levels(claim: Claim) -> list[str]:
    return [f"level {level}" for level in claim.levels]


def _scenes(measures: Iterable[Measure]) -> list[str]:
    return list(dict.fromkeys(scene_of(label) for measure in measures for label in measure.intervals))


def _speaks(label: str, pattern: str, profile: str) -> bool:
    """Whether a label is of a scene the pattern means; a stand-in goes by the name it stands for, but not in `paper`.

    Part by part: "*-cifar10" means any network on CIFAR-10, and not "convnet3-cifar10-curves".
    """
    scene = scene_of(label)
    parts, asked = STAND_INS.get(scene, scene).split("-"), pattern.split("-")
    return (len(parts) == len(asked) and all(map(fnmatchcase, parts, asked))
            and not (profile == "paper" and scene in STAND_INS))


@dataclass(frozen=True)
class _Finding:
    """With which p a claim holds and fails, and the evidence by what is said of it."""

    p: Mapping[State, float]
    evidence: Mapping[State, str]

    @property
    def least(self) -> float:
        return min(self.p.values())

    def state(self, told: bool) -> State:
        """What is said where the p suffices; what counts against is asked first."""
        return next((state for state in ("fails", "holds") if told and self.p[state] <= LEVEL), "open")


def _judge(claim: Claim, measures: Mapping[str, Measure]) -> _Finding:
    """What follows from measures that are all there, for one claim on its own."""
    def within(scenes: Sequence[str]) -> dict[str, Measure]:
        return {name: replace(measure, intervals={label: of for label, of in measure.intervals.items()
                                                  if scene_of(label) in scenes}) for name, measure in measures.items()}

    every = _scenes(measures.values())
    scenes = [scene for scene in every if all(condition.met(within([scene])[condition.measure]) for condition in claim.given)]
    asked = " and ".join(f"{plain.measure(one.measure)} is {plain.condition(one.text)}" for one in claim.given)
    aside = "".join(f" Left aside: {plain.scene(scene)}, where it is not shown that {asked}." for scene in every
                    if scene not in scenes)
    chosen = within(scenes or every)
    against = [(condition.measure, *test) for condition in claim.fails for test in condition.tests(chosen[condition.measure])]
    corrected = holm([p for *_, p in against])
    found: dict[str, list[str]] = {}
    for (name, labels, _), p in zip(against, corrected, strict=True):
        if p <= LEVEL:
            found.setdefault(name, []).extend(label for label in labels if label not in found.get(name, []))
    p: dict[State, float] = {"holds": max(condition.p(chosen[condition.measure]) for condition in claim.holds),
                             "fails": min(corrected, default=1.0)} if scenes else {"holds": 1.0, "fails": 1.0}
    whole = [(name, measure, list(measure.intervals)) for name, measure in chosen.items()]
    return _Finding(p, {"holds": _shown(whole) + aside, "open": _shown(whole, claim) + aside,
                        "fails": _shown([(name, chosen[name], labels) for name, labels in found.items()]) + aside})


def _shown(parts: Sequence[tuple[str, Measure, Sequence[str]]], claim: Claim | None = None) -> str:
    """Intervals by measure and label, the first few of each, with the reason where one may decide nothing.

    What all labels of a measure say is said once, as is why none may, and of those not measured only how many they are.
    With a claim, what each label says on its own: where they differ, the claim cannot be told, and they can.
    """
    def one(name: str, measure: Measure, label: str, own: str, once: str) -> str:
        sides = {side for side, conditions in (("against", claim.fails), ("for", claim.holds)) for condition in conditions
                 if condition.measure == name and condition.alone(measure, label) <= LEVEL} if claim else set()
        remark = "" if once else measure.untold(label) or " and ".join(sorted(sides))
        return (f"{f'{own}: ' if own else ''}{measure.intervals[label].text(DIGITS.get(measure.unit, 2))}"
                f"{f' ({remark})' if remark else ''}")

    def each(name: str, measure: Measure, labels: Sequence[str]) -> str:
        known = [label for label in labels if measure.intervals[label].n]
        common, own = plain.shared(known)
        reasons = {measure.untold(label) for label in known}
        once = reasons.pop() if len(known) > 1 and len(reasons) == 1 else ""
        numbers = [one(name, measure, label, words, once) for label, words in zip(known[:SHOWN], own, strict=False)]
        numbers += [f"and {len(known) - SHOWN} more"] if len(known) > SHOWN else []
        numbers += [f"{len(labels) - len(known)} not measured"] if len(labels) > len(known) else []
        head = ", ".join(filter(None, (f"{plain.capital(plain.measure(name))}{_in(measure.unit)}", common, once)))
        return f"{head}: {'; '.join(numbers)}."

    return " ".join(each(*part) for part in parts)


LINE = 240
"""Characters that the numbers of a verdict's line may take, the first of them whatever it takes."""


def in_short(claims: Iterable[Claim], measures: Mapping[str, Measure], so_far: bool) -> str:
    """The claims' first numbers: of each measure the first label's interval, as many as make a line; "" where there is none.

    Where they were measured, and why they may decide nothing, is said once if it is the same for all. `so_far`: whether more
    is to come.
    """
    names = dict.fromkeys(name for claim in claims for name in claim.measures if name in measures)
    found = [(name, measures[name], label) for name in names
             for label in [label for label, of in measures[name].intervals.items() if of.n][:1]]
    common, own = plain.shared([label for *_, label in found])
    remarks = [measure.untold(label) for _, measure, label in found]
    once = remarks[0] if len(set(remarks)) == 1 else ""

    def one(name: str, measure: Measure, label: str, words: str, remark: str) -> str:
        aside = ", ".join(filter(None, (words, remark if not once else "")))
        unit = "" if measure.unit == "ratio" else f" {measure.unit.removeprefix('percentage ')}"
        return (f"{plain.measure(name)}{f' ({aside})' if aside else ''}"
                f" {measure.intervals[label].text(DIGITS.get(measure.unit, 2))}{unit}")

    parts = [one(*each, words, remark) for each, words, remark in zip(found, own, remarks, strict=True)]
    parts = [part for n, part in enumerate(parts) if not n or len("".join(parts[:n + 1])) < LINE]
    where = "; ".join(filter(None, (common, once)))
    return f"Measured{' so far' if so_far else ''} ({where}): {'; '.join(parts)}." if parts else ""


def _in(unit: str) -> str:
    """A ratio has no unit."""
    return "" if unit == "ratio" else f", in {unit}"


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
