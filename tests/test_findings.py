"""The front page says what the results say: change one and its sentence changes, and nothing there is typed."""

from __future__ import annotations

import functools
import html
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from synthprune.book import arrange, claims, findings, pages, questions
from synthprune.book.findings import Chapter, find
from synthprune.book.questions import QUESTIONS, Ask, Question, answer
from synthprune.chapters import experiment, plain, stability
from synthprune.chapters.paths import QUANTITIES
from synthprune.chapters.settings import Settings, parameters
from synthprune.results.store import Result, Store
from synthprune.stats import Interval, Measure

ROOT = Path(__file__).parent.parent
SCENE, PLANNED = "convnet3-cifar10", 5
ASKS = [(question, ask) for question in QUESTIONS for ask in question.asks]
IDS = [ask.measure for _, ask in ASKS]
HYPOTHESES = [*questions.HYPOTHESES, "central"]


def label(ask: Ask, which: int = 0) -> str:
    """One that the chapter might give, for the first or the second level of the ask."""
    pattern = ask.labels[which].replace("*", "retraining of 60 epochs, ")
    return f"{SCENE}, {pattern}" if pattern else SCENE


def around(mean: float, n: int = PLANNED, half: float = 0.25) -> Interval:
    return Interval(mean, mean - half, mean + half, n)


def measure(intervals: Mapping[str, Interval]) -> Measure:
    return Measure(intervals, "percentage points", PLANNED)


def chapter(name: str, measures: Mapping[str, Measure], asked: int = 9, profile: str = "laptop") -> Chapter:
    """One result of as many as were `asked` for."""
    keys = {"one": f"{name}: one"} | {f"{n}": f"{name}: {n}" for n in range(1, asked)}
    return Chapter(_parameters(name, profile), {"one": None}, measures, keys)


@functools.cache
def _parameters(name: str, profile: str) -> Settings:
    return parameters(experiment(name).Parameters, name, {"profile": profile})


def chapters(means: Mapping[str, float], n: int = PLANNED, asked: int = 1, profile: str = "laptop") -> dict[str, Chapter]:
    """Every measure that has a mean here, at every label."""
    found: dict[str, dict[str, Measure]] = {name: {} for name in findings.CHAPTERS}
    for question, ask in ASKS:
        if ask.measure in means:
            found[question.chapter][ask.measure] = measure({label(ask, i): around(means[ask.measure] + 0.01 * i, n)
                                                            for i in range(len(ask.labels))})
    return {name: chapter(name, measures, asked, profile) for name, measures in found.items()}


@pytest.fixture
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up measures have no paths to draw."""
    monkeypatch.setattr(findings, "figure", lambda chapters: None)


EVERYTHING = {ask.measure: 3.0 + 0.1 * i for i, (_, ask) in enumerate(ASKS)}


def texts(of: Mapping[str, Chapter]) -> list[str]:
    return [" ".join(f"{words} ({numbers})." for words, numbers in one.sentences) for one in findings.page(of).findings]


@pytest.mark.parametrize(("question", "ask"), ASKS, ids=IDS)
def test_the_words_follow_the_interval(question: Question, ask: Ask) -> None:
    def said(of: Interval) -> tuple[str, str]:
        (sentence,) = find(question, chapter(question.chapter, {ask.measure: measure({label(ask): of})})).sentences
        return sentence

    for mean, words in ((ask.line + 1.5, ask.above), (ask.line - 1.5, ask.below), (ask.line + 0.1, ask.untold)):
        assert said(around(mean))[0] == words
        assert around(mean).text() in said(around(mean))[1]
    # An interval that only touches the line, or that there is none of, tells nothing.
    assert said(Interval(ask.line + 0.25, ask.line, ask.line + 0.5, PLANNED))[0] == ask.untold
    assert said(Interval(ask.line - 0.25, ask.line - 0.5, ask.line, PLANNED))[0] == ask.untold
    assert said(Interval(float("nan"), float("nan"), float("nan"), PLANNED))[0] == ask.untold
    assert len({ask.above, ask.below, ask.untold}) == 3


@pytest.mark.parametrize(("question", "ask"), ASKS, ids=IDS)
def test_fewer_initialisations_conclude_nothing(question: Question, ask: Ask) -> None:
    of = chapter(question.chapter, {ask.measure: measure({label(ask): around(ask.line + 1.5, n=3)})})
    ((words, numbers),) = find(question, of).sentences
    assert words.lower() == ask.about.lower() and "from 3 of 5 initialisations so far" in numbers
    # Where the chapter lacks no result, the others are not to come.
    ((words, numbers),) = find(question, replace(of, asked={"one": "one"})).sentences
    assert words.lower() == ask.about.lower() and "from 3 of 5 initialisations, the others diverged or collapsed" in numbers


def test_a_difference_that_tells_nothing_says_what_its_sign_means() -> None:
    question = next(question for question, ask in ASKS if ask.measure == "error_barrier_imp_minus_synthetic")
    ask, = question.asks
    for mean, side, words in ((2, "above", ask.above), (-2, "below", ask.below)):
        for n, half in ((3, 0.25), (PLANNED, 9)):
            ((_, numbers),) = find(question, chapter(question.chapter, {ask.measure: measure({label(ask): around(mean, n, half)})}
                                                     )).sentences
            assert numbers.endswith(f"; {side} zero means: {words[0].lower()}{words[1:]}")
        ((_, told),) = find(question, chapter(question.chapter, {ask.measure: measure({label(ask): around(mean)})})).sentences
        assert "zero means" not in told


def test_levels_that_differ_are_not_put_into_one_sentence() -> None:
    question = next(question for question, ask in ASKS if ask.measure == "error_barrier_imp_minus_synthetic")
    ask, = question.asks
    of = chapter(question.chapter, {ask.measure: measure({label(ask): around(2), label(ask, 1): around(-2)})})
    assert find(question, of).sentences == (
        (f"{ask.above} in some settings",
         "real less synthetic in points, 59.0\N{NO-BREAK SPACE}% pruned: 2.00 [1.75,\N{NO-BREAK SPACE}2.25]"),
        (f"{ask.below} in some settings",
         "real less synthetic in points, 86.6\N{NO-BREAK SPACE}% pruned: \N{MINUS SIGN}2.00"
         " [\N{MINUS SIGN}2.25,\N{NO-BREAK SPACE}\N{MINUS SIGN}1.75]"))
    of = chapter(question.chapter, {ask.measure: measure({label(ask): around(2), label(ask, 1): around(3, n=2)})})
    assert [words for words, _ in find(question, of).sentences] == [f"{ask.above} in some settings",
                                                                   ask.about[0].upper() + ask.about[1:]]


def test_another_scene_or_the_test_error_is_not_taken_for_the_one_that_is_shown() -> None:
    question = next(question for question, ask in ASKS if ask.measure == questions.LONGEST)
    others = {"resnet10-cifar10, level 4, retraining of 60 epochs, training error": around(9),
              f"{SCENE}, level 4, retraining of 60 epochs, test error": around(9)}
    assert find(question, chapter(question.chapter, {questions.LONGEST: measure(others)})).parts == ()


def test_at_most_seven_lines_each_with_its_chapter(no_figure: None) -> None:
    said = findings.page(chapters(EVERYTHING))
    assert 1 < len(said.findings) == len(QUESTIONS) <= 7
    shown = pages.front(chapters(EVERYTHING), {})
    for question in QUESTIONS:
        assert f'<a href="{question.chapter}.html">' in shown
    assert shown.count("<li>") == len(QUESTIONS) and "Not measured yet" not in shown


def test_no_number_is_typed_in_a_template() -> None:
    templates = [text for _, ask in ASKS for text in (ask.about, ask.quantity, ask.above, ask.below, ask.untold)]
    templates += [*questions.ORDER.values(), *questions.LENGTH.values(), *questions.IMAGES.values(), *questions.WHY.values()]
    assert len(templates) > 40 and not [text for text in templates if re.search(r"\d", text)]


def test_every_number_of_the_findings_is_a_measured_one() -> None:
    """Each stands in an interval, a label, or is the line of stability; and every interval is there."""
    of = chapters(EVERYTHING)
    intervals = [i for one in of.values() for m in one.measures.values() for i in m.intervals.values()]
    known = {f"{value:.2f}" for i in intervals for value in (i.mean, i.low, i.high)} | {"59.0", "86.6", "60", "2"}
    shown = " ".join(texts(of))
    assert {number for number in re.findall(r"\d+(?:\.\d+)?", shown)} <= known
    for i in intervals:
        assert i.text() in shown


@pytest.mark.parametrize("name", IDS)
def test_a_changed_measure_changes_its_line_and_no_other(name: str) -> None:
    before, after = texts(chapters(EVERYTHING)), texts(chapters(EVERYTHING | {name: EVERYTHING[name] + 5}))
    flipped = texts(chapters(EVERYTHING | {name: -EVERYTHING[name]}))
    ask = next(ask for _, ask in ASKS if ask.measure == name)
    for other in (after, flipped):
        assert [a != b for a, b in zip(before, other, strict=True)].count(True) == 1
    assert ask.above in " ".join(before) and ask.above not in " ".join(flipped) and ask.below in " ".join(flipped)


def test_what_is_not_measured_is_said_in_one_line(no_figure: None) -> None:
    assert pages.front(chapters({}), {}).count("Nothing is measured yet.") == 1
    some = pages.front(chapters({name: EVERYTHING[name] for name in (IDS[0], IDS[2])}), {})
    assert some.count("<li>") == 2 and some.count("Not measured yet") == 1
    for _, ask in ASKS:
        assert ask.about in some or ask.measure in (IDS[0], IDS[2])


def test_a_line_says_where_settings_lack_and_where_they_differ() -> None:
    """H2's longest searches come in a later unit: until then its line speaks of what was measured."""
    question, ask = next((question, ask) for question, ask in ASKS if ask.measure == "barrier_real_minus_synthetic")
    first, second = label(ask), label(ask, 1)

    def said(**of: Interval) -> list[str]:
        names = {"first": first, "second": second}
        found = find(question, chapter(question.chapter, {ask.measure: measure({names[name]: one for name, one in of.items()})}))
        return [" ".join(sentence) for sentence in found.sentences]

    none = Interval(float("nan"), float("nan"), float("nan"), 0)
    assert said(first=around(-2), second=around(-2))[0].startswith(f"{ask.below} real less")
    assert said(first=around(-2), second=none)[0].startswith(f"{ask.below}, as far as measured real less")
    both = said(first=around(-2), second=around(0.1))
    assert both[0].startswith(f"{ask.below} in some settings ") and both[1].startswith(f"{ask.untold} in others ")
    few = replace(around(-2), n=3, planned=3)
    assert "from 3 initialisations" in said(first=around(-2), second=few)[0] and "initialisations" not in said(first=few)[0]


# The answer.


def test_the_answer_follows_from_the_verdicts() -> None:
    """Every verdict that has a say changes the sentence, in every combination of the others."""
    said = {states: answer(dict(zip(HYPOTHESES, states, strict=True)), "Here") for states in product(plain.SCALE, repeat=5)}
    for states, sentence in said.items():
        of = dict(zip(HYPOTHESES, states, strict=True))
        reason, silent = ("forgetting", "distilled") if of["longer"] == "holds" else ("distilled", "forgetting")
        for name in HYPOTHESES:
            others = {answer(of | {name: state}, "Here") for state in plain.SCALE}
            assert len(others) == (1 if name == silent else 3), (name, of)
        assert questions.ORDER[of["central"]] in sentence and sentence.count(".") == 1
        assert (of[reason] == "open") == ((reason, of[reason]) not in questions.WHY)


@pytest.mark.parametrize("missing", HYPOTHESES)
def test_no_answer_before_what_it_speaks_of_is_complete(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    every = dict.fromkeys(HYPOTHESES, "holds")
    monkeypatch.setattr(findings, "verdicts", lambda chapters: every)
    assert findings.page(chapters(EVERYTHING)).answer == answer(every, "At this scale")
    monkeypatch.setattr(findings, "verdicts", lambda chapters: every | {missing: None})
    said = findings.page(chapters(EVERYTHING, asked=4)).answer
    if missing in questions.WAITS:
        assert said.startswith("Not yet. The reference run is under way, with 3 of 12 results. The answer waits for"
                               f" {questions.WAITS[missing]}; nothing is concluded")
    else:
        assert said == answer(every | {missing: "open"}, "At this scale")


def test_what_waits_says_what_the_length_of_the_search_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told in every setting, from all initialisations: else nothing."""
    question, ask = next((question, ask) for question, ask in ASKS if ask.measure == questions.LONGEST)
    monkeypatch.setattr(findings, "verdicts", lambda chapters: dict.fromkeys(HYPOTHESES))

    def said(*means: float, n: int = PLANNED) -> str:
        of = {ask.measure: measure({label(ask, i): around(mean, n) for i, mean in enumerate(means)})}
        return findings.page(chapters({}) | {question.chapter: chapter(question.chapter, of)}).answer

    assert said(3, 3).endswith(f" {ask.above}.") and said(-3, -3).endswith(f" {ask.below}.")
    for other in (said(3, 0.1), said(3, -3), said(3, 3, n=3)):
        assert other.startswith("Not yet.") and ask.above not in other and ask.below not in other


def test_what_waits_says_the_means_so_far() -> None:
    means = {"error_barrier_dense": ("", 9.7), "error_barrier_synthetic": ("level 4", 4.8), "error_barrier_imp": ("level 4", 2.8)}
    said = {name: measure({", ".join(filter(None, ("convnet3-cifar10", level))): around(mean, n=3)})
            for name, (level, mean) in means.items()}
    of = chapters({}, asked=4)
    of["04_stability"] = replace(of["04_stability"], measures=said)
    answer = findings.page(of).answer
    assert "So far (3 of 5 initialisations, 50,000 images, 60 epochs): the mean barrier is 9.70 points in the whole" in answer
    assert answer.endswith("% pruned, 4.80 after pruning on synthetic images and 2.80 after pruning on real ones.")
    whole = {name: measure({label: around(means[name][1]) for label in one.intervals}) for name, one in said.items()}
    every = findings.page(of | {"04_stability": replace(of["04_stability"], measures=whole)}).answer
    assert "Measured (all 5 initialisations, 50,000 images" in every and "So far" not in every
    for name in said:
        of["04_stability"] = replace(of["04_stability"], measures={other: said[other] for other in said if other != name})
        assert "So far" not in findings.page(of).answer


def test_what_chapters_share_counts_once() -> None:
    shared = {name: replace(one, asked=one.asked | {"one": "shared"}) for name, one in chapters({}, asked=4).items()}
    assert "with 1 of 10 results" in findings.page(shared).answer


def test_what_is_not_complete_is_not_called_found(no_figure: None) -> None:
    assert ">What we found</h2>" in pages.front(chapters(EVERYTHING), {})
    few = pages.front(chapters(EVERYTHING, n=4, asked=4), {})
    assert ">What is measured so far</h2>" in few and few.count("4 of 5 initialisations") == 1
    assert "From 4 of 5 initialisations so far, unless a line says otherwise." in few
    other = chapters(EVERYTHING, n=3, asked=4)["03_distilled_pruning"]
    shown = pages.front(chapters(EVERYTHING, n=4, asked=4) | {"03_distilled_pruning": other}, {})
    assert shown.count("4 of 5 initialisations") == 1 and shown.count("from 3 of 5 initialisations so far") > 0
    # Where something is found, what is not says so, and from how many it is.
    mixed = pages.front(chapters(EVERYTHING, n=3, asked=4) | {"04_stability": chapters(EVERYTHING)["04_stability"]}, {})
    assert "What we found" in mixed and "From all planned initialisations, unless a line says otherwise." in mixed
    open_lines = [line for line in re.findall("<li>.*?</li>", mixed) if "Not settled yet: " in line]
    assert len(open_lines) == len(QUESTIONS) - 2 and all("from 3 of 5 initialisations so far" in line for line in open_lines)
    assert "Not settled yet" not in few


def test_an_empty_store_has_no_answer() -> None:
    empty = {name: replace(one, results={}) for name, one in chapters({}).items()}
    assert findings.page(empty).answer == "No result of the reference run is here yet."


def stability_measures(dense: float, synthetic: float, imp: float, n: int = PLANNED) -> dict[str, Measure]:
    levels = [f"{SCENE}, level {level}" for level in (4, 9)]
    return {"error_barrier_dense": measure({SCENE: around(dense, n)}),
            "error_barrier_synthetic": measure({level: around(synthetic, n) for level in levels}),
            "error_barrier_imp": measure({level: around(imp, n) for level in levels}),
            "error_barrier_imp_minus_synthetic": measure({level: around(imp - synthetic, n) for level in levels})}


@pytest.mark.parametrize(("heights", "state"), [
    ((9, 1, 5), "holds"), ((9, 5, 1), "fails"), ((9, 1, 1.5), "fails"), ((9, 1, 2), "open"), ((1, 1, 5), "open")])
def test_the_central_claim_is_judged_by_the_ledger_in_the_runs_own_setting(heights: tuple[float, float, float], state: str,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "HYPOTHESES", {})
    of = chapters({}) | {"04_stability": chapter("04_stability", stability_measures(*heights))}
    assert findings.verdicts(of) == {"central": state}
    # Of four of five initialisations nothing is said, unless the fifth will never come.
    fewer = chapter("04_stability", stability_measures(*heights, n=4))
    assert findings.verdicts(of | {"04_stability": fewer}) == {"central": None}
    assert findings.verdicts(of | {"04_stability": replace(fewer, asked={"one": "one"})}) == {"central": "open"}
    assert findings.verdicts(chapters({})) == {"central": None}


LEDGER = {claim.id: claim for claim in claims.load()}
MEANS = {"barrier_per_doubling_of_search": (3, -3), questions.LONGEST: (5, -5), "barrier_real_minus_synthetic": (-3, 3),
         "barrier_without_decay": (1, 5), "barrier_decay_minus_without_decay": (3, -3),
         "barrier_synthetic_minus_random_real": (-3, 3)}
"""What makes a hypothesis hold, and what makes it fail."""


def hypotheses(**of: str) -> dict[str, Chapter]:
    """Measures with which every hypothesis holds, but for those named: one "fails", "straddles" its lines, or is "incomplete"."""
    found = {}
    for name, claim in questions.HYPOTHESES.items():
        how = of.get(name)
        for asked in LEDGER[claim].measures:
            mean = MEANS[asked][how == "fails"]
            value = around(mean, 4 if how == "incomplete" else PLANNED, half=9 if how == "straddles" else 0.25)
            labels = [f"{SCENE}, level {level}, {error} error" for level in (4, 9) for error in ("training", "test")]
            found[asked] = Measure(dict.fromkeys(labels, value), LEDGER[claim].declared[asked].unit, PLANNED)
    return chapters({}) | {"04_stability": chapter("04_stability", stability_measures(9, 1, 5)),
                           "10_controls": chapter("10_controls", found)}


@pytest.mark.parametrize("name", questions.HYPOTHESES)
def test_the_answer_turns_with_the_measures(name: str) -> None:
    """From intervals through the ledger's criteria to the sentence; and nothing is said of fewer initialisations."""
    every = dict.fromkeys(HYPOTHESES, "holds")
    assert findings.verdicts(hypotheses()) == every
    for how, state in (("fails", "fails"), ("straddles", "open"), ("incomplete", None)):
        assert findings.verdicts(hypotheses(**{name: how})) == every | {name: state}


# The rest of the page.


def dense_results(errors: list[float]) -> dict[str, Result]:
    """Paths of the dense network, all of one height, of as many initialisations as there are errors."""
    p = parameters(stability.Parameters, "04_stability", {"profile": "laptop"})
    return {stability.name(p, "synthetic", 0, seed, tuple(p.orders)): Result(
        "x", {name: np.full(p.points, error) for name in QUANTITIES}, {"collapsed": [], "diverged": False}, {})
        for seed, error in zip(p.seeds, errors, strict=False)}


def test_the_scale_is_arithmetic_from_the_profiles_and_accuracy_from_the_results() -> None:
    p = parameters(stability.Parameters, "04_stability", {"profile": "laptop"})
    of = chapters(EVERYTHING)
    errors = [0.30, 0.32, 0.31, 0.30, 0.30][:len(p.seeds)]
    of["04_stability"] = replace(of["04_stability"], results=dense_results(errors))
    rows = {what: (paper, ours) for what, paper, ours in findings.page(of).scale}
    assert rows["training images"] == ("50,000", f"{findings.images(p):,} (in the figure above 10,000)")
    elsewhere = of | {"10_controls": replace(of["10_controls"], measures={})}
    assert ("training images", "50,000", f"{findings.images(p):,}") in findings.page(elsewhere).scale
    assert rows["steps of a training"] == ("234,600", f"{p.epochs * -(-findings.images(p) // p.batch):,}")
    assert rows["pixels, side of an image"] == ("32", str(p.pixels))
    assert rows["width of the network (first layer)"] == ("128", str(p.width))
    assert rows["epochs of a training"] == ("300", str(p.epochs))
    assert rows["learning rate"] == ("0.01", str(p.lr)) and rows["weight decay"] == ("0.0005", str(p.weight_decay))
    assert rows["initialisations of the whole network"][1] == str(len(p.seeds))
    paper, ours = rows["test accuracy of the whole network, %"]
    assert paper == "not printed" and ours.startswith(f"{100 - 100 * np.mean(errors):.1f} [")
    of["04_stability"] = replace(of["04_stability"], results=dense_results([0.30, 0.32]))
    rows = {what: ours for what, _, ours in findings.page(of).scale}
    assert rows["initialisations of the whole network"] == f"2 of {len(p.seeds)}"
    assert rows["test accuracy of the whole network, %"].startswith("69.0 [")


def test_what_cannot_be_told_is_named(no_figure: None) -> None:
    """What lies across its line, and how many statements of the ledger are open."""
    ask = ASKS[2][1]
    judged = {str(n): claims.Judgement(claim=str(n), state=state, words=words, evidence="")
              for n, (state, words) in enumerate([("open", plain.NOT_RUN), ("open", plain.SCALE["open"]),
                                                  ("holds", plain.SCALE["holds"]), ("open", plain.NOT_RUN)])}
    told, untold = (pages.front(chapters(EVERYTHING | {ask.measure: mean}), judged).partition("## What cannot be told")[2]
                    for mean in (3.0, 0.1))
    assert ask.about in untold and ask.about not in told
    assert "2 *not run*, 1 *cannot be told at this scale*, 1 *holds at this scale*" in told
    assert "% pruned" not in ask.labels[0] and (f"{ask.about} (" in untold) == bool(ask.labels[0])


def test_the_digits_say_that_they_decide_nothing(no_figure: None) -> None:
    shown = pages.front(chapters(EVERYTHING, profile="demo"), {})
    assert html.escape(findings.DIGITS) in shown and "decide nothing" in shown
    assert not any(ask.above in shown for _, ask in ASKS) and "<li>" not in shown and "How far" not in shown


def test_the_figure_is_the_question_where_it_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from synthprune.chapters.figures import Figure, Panel
    from synthprune.chapters.figures.stability import hero

    panels = [Panel(lambda style: None, alt) for alt in ("barrier", "accuracy")]
    room = SimpleNamespace(question=lambda p, results: Figure(panels, p.chapter, [], ""))
    monkeypatch.setitem(sys.modules, "synthprune.chapters.figures.search_length", room)
    of = chapters(EVERYTHING)
    asked = "In the settings of the authors' code a round on real images takes 234,600 steps."
    assert findings.figure(of) == Figure(panels[:1], f"{findings.LEAD} {asked} 10_controls", [], "")
    assert findings.figure(chapters({})) is None
    p = of["04_stability"].p
    results = {name: Result("x", {n: np.full(p.points, 0.5) for n in QUANTITIES},
                            {"collapsed": [], "diverged": False}, {}) for name in stability.paths(p)}
    drawn = findings.figure(chapters({}) | {"04_stability": replace(of["04_stability"], results=results, measures={})})
    assert drawn.caption == hero(p, results, {}).caption


def test_the_front_figure_leads_to_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the first code of chapter 10, which draws it; the lines that stand in for it are drawn by no cell."""
    from synthprune.chapters.figures import Figure

    def front(name: str) -> str:
        monkeypatch.setattr(findings, "figure", lambda of: Figure([], "Words.", [("x",), (1,)], name))
        return pages.front(chapters(EVERYTHING), {})

    assert '<a class="code" href="10_controls.html#code-1">Code</a></figcaption>' in front("10_controls_question")
    assert 'class="code"' not in front("04_stability_lines")
    notebook = json.loads((ROOT / "notebooks" / "10_controls.ipynb").read_text(encoding="utf-8"))
    ours = [cell for cell in arrange.arranged(notebook)["cells"] if '"code-1"' in "".join(cell["source"])]
    assert len(ours) == 1 and "search_length.question(" in "".join(ours[0]["source"])


def test_what_is_not_stored_is_absent_and_nothing_is_computed(home: Path) -> None:
    """A page of nothing: no result, no torch, and no file in the store."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from synthprune.book import findings, pages\n"
         "from synthprune.chapter import open_store\n"
         "found = findings.stored('demo', open_store()); pages.front(found, {})\n"
         "print(sum(len(one.results) for one in found.values()), 'torch' in sys.modules)"],
        check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["0", "False"] and not home.exists()


def test_stored_results_are_read_from_the_shelf_or_the_store(home: Path) -> None:
    p = parameters(stability.Parameters, "04_stability", {"profile": "demo"})
    store, (name, entry) = Store(), next(iter(stability.requests(p).items()))
    with store.lock(entry):
        store.put(entry, dict.fromkeys(QUANTITIES, np.zeros(p.points)),
                  {"diverged": False, "collapsed": [], "train_images": 9}, {})
    found = findings.stored("demo", Store())["04_stability"]
    assert found.results.keys() == {name} and len(found.asked) > 1 and not found.settled


# The README.


def test_the_readme_says_what_the_shipped_results_say() -> None:
    """`make book` writes the block; a result that changes without it would leave the README behind."""
    whole = (ROOT / "README.md").read_text(encoding="utf-8")
    block = whole.partition(f"{pages.MARKS[0]}\n")[2].partition(f"\n{pages.MARKS[1]}")[0]
    assert block == pages.readme_block(pages.shipped()), "README.md is behind the shipped results: run make book"
    assert 1 < len(block.splitlines()) <= 12
    for drawing in re.findall(r'(?:src|srcset)="([^"]+)"', block):
        assert (ROOT / drawing).is_file()


def test_writing_the_readme_changes_nothing_outside_the_marks(no_figure: None, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{pages.MARKS[0]}\nwas here\n{pages.MARKS[1]}\nafter\n", encoding="utf-8")
    pages.write_readme(tmp_path, chapters(EVERYTHING))
    once = readme.read_text(encoding="utf-8")
    pages.write_readme(tmp_path, chapters(EVERYTHING))
    assert readme.read_text(encoding="utf-8") == once
    assert once.startswith(f"before\n{pages.MARKS[0]}\n**Our answer.**") and once.endswith(f"\n{pages.MARKS[1]}\nafter\n")
    assert all(ask.above in once for _, ask in ASKS) and "was here" not in once and once.count("\n- ") == len(QUESTIONS)


def test_images_that_nobody_counted_are_not_known() -> None:
    p = _parameters("04_stability", "laptop")
    assert findings.images(p) == 50_000
    photographs = p.model_copy(update={"dataset": "imagenet10", "train_per_class": 0})
    assert findings.images(photographs) == 0
    dense = Chapter(photographs.model_copy(update={"levels": [0]}), {}, {}, set())
    assert findings._so_far(dense) == ""
    controls = Chapter(_parameters("10_controls", "laptop"), {}, {}, set())
    assert ("training images", "not known") in {row[::2] for row in findings._scale(dense, controls)}
