"""What the front page says: findings, and one answer, each chosen by the measured intervals.

Its words are those of `questions`. Which words are used follows from the side of a line on which a whole interval lies;
nothing is concluded from fewer initialisations than were planned. Nothing is computed here: what is not stored is absent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Literal

from synthprune import stats
from synthprune.book import claims
from synthprune.book.questions import CENTRAL, HYPOTHESES, LONGEST, QUESTIONS, WAITS, Ask, Question, answer
from synthprune.chapters import controls, experiment, plain, stability
from synthprune.chapters.cells import paths_of
from synthprune.chapters.entries import real_images
from synthprune.chapters.figures import Figure
from synthprune.chapters.figures.words import listed
from synthprune.chapters.paths import Paths
from synthprune.chapters.settings import Settings, decides, parameters
from synthprune.problems import Problem
from synthprune.results.store import Result, Store
from synthprune.stats import Interval, Measure

Side = Literal["above", "below", "untold", "partial"]
"""Where a whole interval lies; "untold": on both sides of the line; "partial": not of all initialisations that were planned."""


@dataclass(frozen=True)
class Part:
    """One measured interval: where it was measured (the label without its scene), and on which side it lies."""

    ask: Ask
    place: str
    of: Interval
    unit: str
    planned: int
    settled: bool
    """Whether the chapter lacks no result: an initialisation that is not here is faulty then, and not yet to come."""

    @property
    def side(self) -> Side:
        if self.of.n < self.planned:
            return "partial"
        if stats.untold(self.of, self.planned):
            return "untold"
        if self.of.low > self.ask.line:
            return "above"
        return "below" if self.of.high < self.ask.line else "untold"

    @property
    def so_far(self) -> str:
        """'3 of 5 initialisations so far' where that is not all; else nothing."""
        if self.side != "partial":
            return ""
        return (f"{self.of.n} of {self.planned} initialisations"
                f"{', the others diverged or collapsed' if self.settled else ' so far'}")


@dataclass(frozen=True)
class Finding:
    """One line: its parts, in the order of its asks; none where nothing was measured. Words are plain, without markup."""

    question: Question
    parts: tuple[Part, ...]
    common: str = ""
    """From how many initialisations so far; the page says it once for all lines that do not. "" where some are from all."""
    beside_whole: bool = False
    """Whether some lines of the page are from all initialisations, so that this one says where it is not."""
    lacking: tuple[Ask, ...] = ()
    """The asks of which some setting has no number yet."""

    @property
    def chapter(self) -> str:
        return self.question.chapter

    @property
    def sentences(self) -> tuple[tuple[str, str], ...]:
        """(what follows, the numbers it follows from): one for the parts of one ask that lie on one side."""
        found = []
        for ask in self.question.asks:
            mine = [part for part in self.parts if part.ask == ask]
            sides = list(dict.fromkeys(part.side for part in mine))
            for side in sides:
                words = self._waiting(ask, mine[0].settled) if side == "partial" else getattr(ask, side)
                told = [one for one in sides if one in ("above", "below")]
                some = " in some settings" if side in told and len(sides) > 1 else \
                    " in others" if side == "untold" and told else ""
                some += ", as far as measured" if side in told and ask in self.lacking else ""
                found.append((words + some, self._numbers(ask, [part for part in mine if part.side == side])))
        return tuple(found)

    def _waiting(self, ask: Ask, settled: bool) -> str:
        """What is said of too few initialisations; `settled`: no more of them come."""
        why = "no verdict" if settled else "not settled yet"
        return plain.capital(f"{why}: {ask.about}" if self.beside_whole else ask.about)

    def _numbers(self, ask: Ask, parts: Sequence[Part]) -> str:
        """What the numbers are, where and from how many initialisations, each interval, and what it is compared with."""
        places = [part.place.split(", ") if part.place else [] for part in parts]
        common = [step for step in places[0] if all(step in place for place in places)]
        once = parts[0].so_far if len({part.so_far for part in parts}) == 1 else ""
        numbers, uneven = [], len({part.of.n for part in parts if not part.so_far}) > 1
        for part, place in zip(parts, places, strict=True):
            own = ", ".join(step for step in place if step not in common)
            few = f" from {part.so_far}" if part.so_far not in ("", self.common, once) else ""
            few = few or (f" from {part.of.n} initialisations" if uneven and not part.so_far else "")
            numbers.append(f"{f'{own}: ' if own else ''}{part.of.text()}{few}")
        head = ", ".join([f"{ask.quantity} in {parts[0].unit.removeprefix('percentage ')}", *common,
                          *([f"from {once}"] if once not in ("", self.common) else [])])
        return f"{head}: {'; '.join(numbers)}{_reading(ask, parts[0])}"


def _reading(ask: Ask, part: Part) -> str:
    """What a number is compared with; of a difference that nothing is concluded from, what its sign means."""
    if ask.line:
        return f"; stable would be below {ask.line:g}"
    if part.side not in ("partial", "untold") or math.isnan(part.of.mean):
        return ""
    side: Literal["above", "below"] = "below" if part.of.mean < 0 else "above"
    words = getattr(ask, side)
    return f"; {side} zero means: {words[0].lower()}{words[1:]}"


def place(label: str) -> str:
    """A label without its scene, in plain words: "c, level 4, training error" is "59.0 % pruned".

    Every barrier of the page is one of training error, so that this is said once for all.
    """
    return ", ".join(plain.part(part) for part in label.split(", ")[1:] if part != "training error")


# The whole page, from a store.


@dataclass(frozen=True)
class Page:
    """What the front page says of a profile's stored results, without markup."""

    answer: str
    findings: tuple[Finding, ...]
    """Those of which something was measured."""
    unmeasured: tuple[str, ...]
    untold: tuple[str, ...]
    """What was measured in full and cannot be told, as nouns."""
    scale: tuple[tuple[str, str, str], ...]
    """Rows (what, paper, ours)."""

    @property
    def found(self) -> bool:
        """Whether anything was measured on every initialisation that was planned."""
        return any(part.side != "partial" for finding in self.findings for part in finding.parts)

    @property
    def so_far(self) -> str:
        """From how many initialisations most of what was measured is, where nothing is from all."""
        return self.findings[0].common if self.findings else ""


@dataclass(frozen=True)
class Chapter:
    """One chapter's parameters in a profile, and those of its results that are stored."""

    p: Settings
    results: Mapping[str, Result]
    measures: Mapping[str, Measure]
    asked: Mapping[str, str]
    """The key of each request, by its name; one result may be asked for by several names."""

    @property
    def settled(self) -> bool:
        return self.results.keys() >= self.asked.keys()


CHAPTERS = tuple(dict.fromkeys(question.chapter for question in QUESTIONS))


def stored(profile: str, store: Store) -> dict[str, Chapter]:
    """The chapters that the front page reads, with what is stored of them; nothing is computed."""
    found = {}
    for name in CHAPTERS:
        module = experiment(name)
        p = parameters(module.Parameters, name, {"profile": profile})
        asked = module.requests(p)
        results = {request: store.get(entry) for request, entry in asked.items() if store.has(entry)}
        found[name] = Chapter(p, results, module.measures(p, results),
                              {request: entry.key for request, entry in asked.items()})
    return found


def find(question: Question, chapter: Chapter) -> Finding:
    """What a chapter's measures say to a question, in its own scene."""
    parts, lacking = [], []
    for ask in question.asks:
        measure = chapter.measures.get(ask.measure)
        patterns = [f"{chapter.p.scene}, {pattern}" if pattern else chapter.p.scene for pattern in ask.labels]
        asked = {label: of for label, of in (measure.intervals if measure else {}).items()
                 if any(fnmatchcase(label, pattern) for pattern in patterns)}
        parts += [Part(ask, place(label), of, measure.unit, measure.asked(label), chapter.settled)
                  for label, of in asked.items() if of.n and measure]
        if not all(of.n for of in asked.values()):
            lacking.append(ask)
    return Finding(question, tuple(parts), lacking=tuple(lacking))


DIGITS = ("This copy was made from handwritten digits, which decide nothing about the paper. With the results of the"
          " reference run, the answer stands here, and below the figure what was found, each with its interval.")


def page(chapters: Mapping[str, Chapter]) -> Page:
    """What may be said of these chapters."""
    ours = chapters["04_stability"]
    if not decides(ours.p):
        return Page(DIGITS, (), (), (), ())
    findings = [find(question, chapters[question.chapter]) for question in QUESTIONS]
    few = Counter(part.so_far for finding in findings for part in finding.parts)
    common = few.most_common(1)[0][0] if few and "" not in few else ""
    findings = [replace(finding, common=common, beside_whole="" in few) for finding in findings]
    unmeasured = [ask.about for finding in findings for ask in finding.question.asks
                  if ask not in {part.ask for part in finding.parts}]
    places: dict[str, list[str]] = {}
    for part in (part for finding in findings for part in finding.parts if part.side == "untold"):
        places.setdefault(part.ask.about, []).extend([part.place] if part.place else [])
    untold = [f"{about} ({listed(where)})" if where else about for about, where in places.items()]
    return Page(_answer(chapters, findings), tuple(finding for finding in findings if finding.parts), tuple(unmeasured),
                tuple(untold), tuple(_scale(ours, chapters["10_controls"])))


SHORT = "imp, steps of synthetic"
"""Beside the paper's two methods in the front page's picture: the same images as IMP, for as long as the synthetic search."""


LEAD = ("How high a barrier lies between two trainings of one subnetwork, by how long each round of the search for its mask"
        " trained.")


def figure(chapters: Mapping[str, Chapter]) -> Figure | None:
    """The one picture: barriers against the length of the search where they are measured, else the lines of chapter 04."""
    asked, ours = chapters["10_controls"], chapters["04_stability"]
    if LONGEST in asked.measures:
        from synthprune.chapters.figures.search_length import question

        drawn = question(asked.p, asked.results)
        paper = _paper(ours)
        rounds = f"In the settings of the authors' code a round on real images takes {steps(paper, paper.round_epochs):,} steps."
        return replace(drawn, panels=drawn.panels[:1], caption=f"{LEAD} {rounds} {drawn.caption}")
    from synthprune.chapters.figures.stability import combined_levels, hero

    scene = next((one for one in stability.measured_scenes(ours.p, ours.results) if one.scene == ours.p.scene), None)
    if scene is None:
        return None
    level = combined_levels(scene)[:2][-1]
    short = (paths_of(one, level, asked.results, scene.seeds) for one in controls.cells(asked.p, "sources")
             if one.method == SHORT and level in one.levels)
    return hero(scene, ours.results, dict([(SHORT, of) for of in short if all(of.of.values())][:1]))


def _answer(chapters: Mapping[str, Chapter], findings: Sequence[Finding]) -> str:
    """The sentence, or how far the run has come where something that it always speaks of is not there in full."""
    # What chapters share, or ask for by several names, counts once.
    asked = {key for one in chapters.values() for key in one.asked.values()}
    have = {key for one in chapters.values() for name, key in one.asked.items() if name in one.results}
    profile, states = chapters["04_stability"].p.profile, verdicts(chapters)
    run = "the reference run" if profile == REFERENCE else "this run"
    if not have:
        return f"No result of {run} is here yet."
    if waits := [words for name, words in WAITS.items() if states[name] is None]:
        return (f"Not yet. {plain.capital(run)} is under way, with {len(have):,} of {len(asked):,} results. The answer waits for"
                f" {listed(waits)}; nothing is concluded from a comparison before all its initialisations are in."
                f"{_so_far(chapters['04_stability'])}{_of_length(findings)}")
    return answer(states, "In the paper's own settings" if profile == "paper" else "At this scale")


def _of_length(findings: Sequence[Finding]) -> str:
    """What the length of the search does, where that is told in every setting while the answer waits for other things."""
    told = [words for finding in findings for ask in finding.question.asks if ask.measure == LONGEST
            for words, _ in finding.sentences if words in (ask.above, ask.below)]
    return "".join(f" {words}." for words in told)


def _so_far(ours: Chapter) -> str:
    """The barriers of the paper's comparison as they stand, at the lowest level that all its kinds have; "" where one lacks."""
    if not any(ours.p.levels):
        return ""
    where = f"{ours.p.scene}, level {min(level for level in ours.p.levels if level)}"
    asked = (("error_barrier_dense", ours.p.scene), ("error_barrier_synthetic", where), ("error_barrier_imp", where))
    found = [ours.measures[name].intervals.get(label) for name, label in asked if name in ours.measures]
    there = [of for of in found if of is not None and of.n]
    if len(there) < len(asked):
        return ""
    dense, synthetic, imp = [f"{of.mean:.2f}" for of in there]
    few, planned = min(of.n for of in there), len(ours.p.planned)
    told = f"Measured (all {planned}" if few == planned else f"{'Measured' if ours.settled else 'So far'} ({few} of {planned}"
    return (f" {told} initialisations, {images(ours.p):,} images, {ours.p.epochs} epochs): the mean barrier is {dense} points in"
            f" the whole network and, {place(where)}, {synthetic} after pruning on synthetic images and {imp} after pruning on"
            " real ones.")


def verdicts(chapters: Mapping[str, Chapter]) -> dict[str, plain.State | None]:
    """The ledger's verdicts that the answer needs; None where something is missing without which it cannot be told."""
    ledger, ours = {claim.id: claim for claim in claims.load()}, chapters["04_stability"].p
    asked = {name: ledger[claim] for name, claim in HYPOTHESES.items() if claim in ledger}
    asked["central"] = ledger[CENTRAL].model_copy(update={"scenes": (ours.scene,)})
    return dict.fromkeys(HYPOTHESES) | {name: _state(claim, chapters[claim.chapter]) for name, claim in asked.items()}


def _state(claim: claims.Claim, chapter: Chapter) -> plain.State | None:
    judged = claims.evaluate(claim, {claim.chapter: chapter.measures}, chapter.p.profile, decides(chapter.p), chapter.settled,
                             getattr(chapter.p, "scenes", ()))
    return None if judged.words in (plain.NOT_RUN, plain.UNFINISHED) else judged.state


def _scale(ours: Chapter, asked: Chapter) -> Iterator[tuple[str, str, str]]:
    """How far this is from the paper: settings by arithmetic from the profiles, our accuracy from the results.

    Beside the images of `ours` stand those of the cells in which chapter 10 `asked` for the length of the search.
    """
    dense, paper = dense_accuracy(ours.p, ours.results), _paper(ours)
    counted: tuple[tuple[str, Callable[[Settings], float]], ...] = (
        ("training images", images), ("pixels, side of an image", lambda p: p.pixels),
        ("width of the network (first layer)", lambda p: p.width), ("steps of a training", steps),
        ("epochs of a training", lambda p: p.epochs), ("learning rate", lambda p: p.lr),
        ("weight decay", lambda p: p.weight_decay))
    fewer = {images(one) for one in controls.cells(asked.p, "question")} - {images(ours.p)} if LONGEST in asked.measures else ()
    for what, of in counted:
        beside = f" (in the figure above {' or '.join(f'{count:,}' for count in fewer)})" if of is images and fewer else ""
        theirs, here = (f"{of(p):,}" if of(p) else "not known" for p in (paper, ours.p))
        yield what, theirs, f"{here}{beside}"
    done = str(dense.n) if dense.n == len(ours.p.seeds) else f"{dense.n} of {len(ours.p.seeds)}"
    yield "initialisations of the whole network", PAPER_SEEDS, done
    yield "test accuracy of the whole network, %", PAPER_ACCURACY, dense.text(1) if dense.n else "not measured yet"


PAPER_SEEDS = "not said (4 in figure 2, 5 in figure 7)"
PAPER_ACCURACY = "not printed"
"""The text gives accuracies after training on distilled data alone; those of the dense network can only be read off figures."""


def images(p: Settings) -> int:
    """Training images of a setting; 0 where nobody knows how many there are."""
    try:
        return real_images(p)
    except Problem:
        return 0


def steps(p: Settings, epochs: int = 0) -> int:
    """Steps of a training on real data, of as many epochs as the setting has unless said."""
    return (epochs or p.epochs) * -(-images(p) // p.batch)


def _paper(ours: Chapter) -> Settings:
    """A chapter's parameters in the paper's settings."""
    return parameters(type(ours.p), ours.p.chapter, {"profile": "paper"})


def dense_accuracy(p: stability.Parameters, results: Mapping[str, Result]) -> Interval:
    """Test accuracy of the dense network in percent, over the initialisations of which every path is here."""
    names = {str(seed): [stability.name(p, "synthetic", 0, seed, pair) for pair in combinations(p.orders, 2)] for seed in p.seeds}
    return stats.interval(Paths({seed: [results[name] for name in each] if results.keys() >= set(each) else []
                                 for seed, each in names.items()}).accuracy)


REFERENCE = "laptop"
"""The profile whose results ship with the book."""
