"""The workshop: every solution passes, usual mistakes fail with their reason, and learners get no solution."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from browser import find_browser
from nbformat import write
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from synthprune import prune_by_magnitude, rewound, workshop
from synthprune.chapters import experiment
from synthprune.chapters.settings import parameters
from synthprune.cli import app
from synthprune.problems import Problem
from synthprune.pruning import random_like
from synthprune.results.store import Store
from synthprune.stats import Interval, interval

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
LESSONS = sorted((ROOT / "workshop").glob("*.ipynb"))
CHECKED = re.compile(r"^check\((\d+), (\w+)\)$", re.MULTILINE)


def cells(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def exercises() -> dict[int, str]:
    """The source of the cell of each exercise, by its number."""
    code = ["".join(cell["source"]) for file in LESSONS for cell in cells(file) if cell["cell_type"] == "code"]
    return {int(found[1]): source for source in code if (found := CHECKED.search(source))}


def answered(source: str) -> Any:
    """What the cell hands to its checker."""
    names: dict[str, Any] = {"np": np, "torch": torch, "check": lambda *_: None}
    exec("from scipy.special import stdtrit\nfrom synthprune.workshop import reference, rewound_states", names)
    exec(source, names)
    return names[CHECKED.search(source)[2]]


def test_there_are_twelve_exercises_and_more() -> None:
    assert list(exercises()) == list(workshop.EXERCISES) and len(exercises()) >= 12


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("number", workshop.EXERCISES)
def test_the_solution_passes_and_the_gap_does_not(number: int) -> None:
    source = exercises()[number]
    assert workshop.why(number, answered(workshop.solved(source))) == ""
    assert workshop.why(number, answered(workshop.cleared(source))) == workshop.NOT_YET


def by_layer(weights: dict, masks: dict, fraction: float) -> dict:
    return {k: prune_by_magnitude({k: weights[k]}, {k: m}, fraction)[k] for k, m in masks.items()}


def signed(weights: dict, masks: dict, fraction: float) -> dict:
    return prune_by_magnitude({k: v.exp() for k, v in weights.items()}, masks, fraction)


def counted_again(weights: dict, masks: dict, fraction: float) -> dict:
    sizes = torch.cat(list(weights.values())).abs()
    limit = sizes.kthvalue(round(fraction * len(sizes))).values
    return {k: m & (weights[k].abs() > limit) for k, m in masks.items()}


def share_of_all(weights: dict, masks: dict, fraction: float) -> dict:
    every = torch.cat([mask.flatten() for mask in masks.values()])
    return prune_by_magnitude(weights, masks, fraction * len(every) / int(every.sum()))


def one_stays(weights: dict, masks: dict, fraction: float) -> dict:
    sizes = torch.cat([weights[k][m].abs() for k, m in masks.items()])
    return {k: m & (weights[k].abs() >= sizes.kthvalue(round(fraction * len(sizes))).values) for k, m in masks.items()}


def in_place(initial: dict, trained: dict, masks: dict) -> dict:
    for name, mask in masks.items():
        initial[name] *= mask
    return initial


def points(error: np.ndarray) -> float:
    """The highest error barrier, in percentage points."""
    return 100 * (error.max() - (error[0] + error[-1]) / 2)


def bernoulli(masks: dict, seed: int) -> dict:
    drawn = torch.Generator().manual_seed(seed)
    return {k: torch.rand(m.shape, generator=drawn) < m.float().mean() for k, m in masks.items()}


def all_layers_alike(masks: dict, seed: int) -> dict:
    """As many weights in all, wherever they lie."""
    sizes, drawn = [m.numel() for m in masks.values()], torch.Generator().manual_seed(seed)
    kept = torch.randperm(sum(sizes), generator=drawn) < sum(int(m.sum()) for m in masks.values())
    return {k: part.view_as(m) for (k, m), part in zip(masks.items(), kept.split(sizes), strict=True)}


def rolled(masks: dict, seed: int) -> dict:
    return {k: m.roll(seed + 1, 0) for k, m in masks.items()}


def seeded_again(masks: dict, seed: int) -> dict:
    """A fresh generator for each layer."""
    kept = {k: torch.randperm(m.numel(), generator=torch.Generator().manual_seed(seed)) < m.sum() for k, m in masks.items()}
    return {k: kept[k].view_as(m) for k, m in masks.items()}


def one_permutation(masks: dict, seed: int) -> dict:
    """The same for all layers of a shape."""
    made = {}
    for name, mask in masks.items():
        drawn = torch.Generator().manual_seed(seed)
        made[name] = mask.flatten()[torch.randperm(mask.numel(), generator=drawn)].view_as(mask)
    return made


def shuffled_in_place(masks: dict, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    for mask in masks.values():
        rng.shuffle(mask.numpy().reshape(-1))
    return masks


def signed_limit(weights: dict, masks: dict, fraction: float) -> dict:
    left = torch.cat([weights[name][mask] for name, mask in masks.items()])
    limit = left.kthvalue(round(fraction * len(left))).values
    return {name: mask & (weights[name].abs() > limit) for name, mask in masks.items()}


def signed_comparison(weights: dict, masks: dict, fraction: float) -> dict:
    left = torch.cat([weights[name][mask] for name, mask in masks.items()]).abs()
    limit = left.kthvalue(round(fraction * len(left))).values
    return {name: mask & (weights[name] > limit) for name, mask in masks.items()}


def moved(first: dict, second: dict, beta: float) -> dict:
    for name, value in first.items():
        first[name] = (1 - beta) * value + beta * second[name]
    return first


def unseeded(masks: dict, seed: int) -> dict:
    return random_like(masks, np.random.default_rng().integers(2**31))


def t_like(values: np.ndarray, times: float, ddof: int = 1, root: bool = True) -> tuple[float, float]:
    half = times * values.std(ddof=ddof) / (len(values) ** 0.5 if root else 1)
    return values.mean() - half, values.mean() + half


def t(values: np.ndarray) -> float:
    """Student's t at 0.975 for so many values."""
    return {2: 12.7062047, 5: 2.7764451}[len(values)]


def unpaired(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    a, b = interval(first), interval(second)
    return b.low - a.high, b.high - a.low


def draw(labels: np.ndarray, per_class: int, seed: int, *, again: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), per_class, replace=again) for c in np.unique(labels)])


def at_place(plane: dict, one: int, two: int, *, swap: bool) -> float:
    x, y = plane["coordinates"][[one, two]].mean(0)
    column, row = np.abs(plane["x"] - x).argmin(), np.abs(plane["y"] - y).argmin()
    return plane["loss"][column, row] if swap else plane["loss"][row, column]


WAYS = {"A": "weights", "B": "none", "C": "full"}
WRONG: list[tuple[int, Any, str]] = [
    (1, by_layer, "each layer loses a share of its own"),
    (1, signed, "compare absolute values"),
    (1, counted_again, "do not count the weights that were pruned before"),
    (1, one_stays, "one too many stays: the k-th smallest goes too, so keep what is larger than it"),
    (1, lambda w, m, f: m, "none is gone; if your limit is negative"),
    (1, signed_limit, "none is gone; if your limit is negative, smallest means nearest to zero"),
    (1, signed_comparison, "the weight -3.0 is gone: smallest means nearest to zero"),
    (1, share_of_all, "too many are gone"),
    (1, lambda w, m, f: prune_by_magnitude(w, m, 2 * f), "too many are gone"),
    (1, lambda w, m, f: {k: ~v for k, v in m.items()}, "has come back"),
    (1, lambda w, m, f: {k: v.float() for k, v in m.items()}, "must be a bool tensor"),
    (1, lambda w, m, f: m["large"], "return a dictionary"),
    (1, lambda w, m, f: 1 / 0, "your lines stop with ZeroDivisionError"),
    (2, lambda n, f: (1 - f) ** n, "share that is left"),
    (2, lambda n, f: f * n, "a fraction of what is left"),
    (2, lambda n, f: 100 * (1 - (1 - f) ** n), "in percent"),
    (2, lambda n, f: f**n, "not the share"),
    (3, lambda i, t, m: rewound(i, t, m, "weights"), "biases and norms keep"),
    (3, lambda i, t, m: rewound(t, t, m, "full"), "these are the trained values"),
    (3, lambda i, t, m: dict(i), "apply the masks"),
    (3, lambda i, t, m: dict(t), "these are the trained values, and pruned weights are not zero"),
    (3, in_place, "change the initial values themselves"),
    (3, lambda i, t, m: {k: torch.zeros_like(v) for k, v in i.items()}, "neither the initial nor the trained"),
    (4, WAYS | {"A": "full"}, "A was rewound in another way: compare its biases"),
    (4, WAYS | {"B": "weights"}, "compare its surviving weights"),
    (4, WAYS | {"C": "wights"}, "'wights' is none of the words"),
    (4, {"A": "full"}, "each of A, B and C"),
    (4, ["weights", "none", "full"], "return a dictionary of letter and word"),
    (5, lambda a, b, beta: {k: beta * v + (1 - beta) * b[k] for k, v in a.items()}, "beta = 0 is the first network"),
    (5, lambda a, b, beta: {k: (v + b[k]) / 2 for k, v in a.items()}, "beta says where"),
    (5, lambda a, b, beta: {"weight": a["weight"]}, "the biases are parameters too"),
    (5, lambda a, b, beta: {k: v + beta * b[k] for k, v in a.items()}, "(1 - beta) of the first"),
    (5, moved, "change the two networks themselves"),
    (6, lambda c: (c[len(c) // 2], c.max()), "a height above the ends"),
    (6, lambda c: (c[len(c) // 2] - c[0], c.max() - c[0]), "not the first end"),
    (6, lambda c: (c[len(c) // 2] - c.min(), c.max() - c.min()), "not above the lowest point"),
    (6, lambda c: (max(0, c[2] - (c[0] + c[-1]) / 2), c.max() - (c[0] + c[-1]) / 2), "leave a negative barrier negative"),
    (6, lambda c: (c.max() - (c[0] + c[-1]) / 2, c[2] - (c[0] + c[-1]) / 2), "the midpoint first"),
    (6, lambda c: c.max() - (c[0] + c[-1]) / 2, "return two values"),
    (7, lambda e: (e.max() - (e[0] + e[-1]) / 2, True), "is a fraction"),
    (7, lambda e: (points(e), False), "below the line"),
    (7, lambda e: (points(e), True), "above the line"),
    (7, lambda e: (100 * e.max(), False), "the highest error less the mean"),
    (7, lambda e: (100 * (e[len(e) // 2] - (e[0] + e[-1]) / 2), False), "the highest error less the mean"),
    (7, lambda e: (100 * (e.max() - e[0]), e.max() - e[0] < 0.02), "the highest error less the mean"),
    (7, lambda e: (points(e), points(e) <= 2), "on, and not below, the line of 2 points"),
    (7, points, "return two values"),
    (7, lambda e: (points(e), "stable" if points(e) < 2 else "unstable"), "must be True or False, and you give 'unstable'"),
    (8, "ABD", "B does not follow: a curved path"),
    (8, "ACD", "C does not follow: two bad networks"),
    (8, "A", "1 more may be said"),
    (8, "AX", "none of the letters"),
    (8, "a, x", "'X' is none of the letters"),
    (9, bernoulli, "draw exactly that many"),
    (9, all_layers_alike, "the total is right and the layers are not"),
    (9, lambda m, s: m, "this is the mask itself"),
    (9, rolled, "whole rows or columns are moved"),
    (9, lambda m, s: random_like(m, 0), "another seed gives the same masks"),
    (9, seeded_again, "two layers of one shape get the same mask"),
    (9, one_permutation, "two layers of one shape get the same mask"),
    (9, shuffled_in_place, "change the masks that they were given"),
    (9, unseeded, "the same seed gives other masks"),
    (10, lambda labels, n, s: np.random.default_rng(s).choice(len(labels), 10 * n, replace=False), "images per class"),
    (10, lambda labels, n, s: draw(labels, n, s, again=True), "chosen twice"),
    (10, lambda labels, n, s: draw(labels, n, 0), "another seed gives the same images"),
    (10, lambda labels, n, s: draw(labels, n, np.random.default_rng().integers(2**31)), "the same seed gives other images"),
    (10, lambda labels, n, s: draw(labels, 1, s), "are 50 row numbers"),
    (11, lambda real, few, e, b: round(e * real / few), "as many images, not as many steps"),
    (11, lambda real, few, e, b: e, "the epochs of the long training"),
    (11, lambda real, few, e, b: e * -(-real // b) // -(-few // b), "round up"),
    (11, lambda real, few, e, b: 1 + -(-e * -(-real // b) // -(-few // b)), "are enough"),
    (12, "ABC", "B does not follow"),
    (12, "ACD", "chosen by the answer"),
    (13, lambda v: t_like(v, 1.96), "1.96 is for hundreds"),
    (13, lambda v: t_like(v, t(v), ddof=0), "ddof=1"),
    (13, lambda v: t_like(v, t(v), root=False), "root of n"),
    (13, lambda v: (v.min() - 1, v.max()), "not centred"),
    (14, lambda low, high: "stable" if (low + high) / 2 < 2 else "unstable", "the middle of an interval decides nothing"),
    (14, lambda low, high: "unstable" if high > 2 else "stable", "the middle of an interval decides nothing"),
    (14, lambda low, high: "stable" if high < 2 else "cannot be told" if low < 2 < high else "unstable", "one initialisation"),
    (14, lambda low, high: "maybe", "none of the three words"),
    (15, unpaired, "the difference within each initialisation first"),
    (15, lambda a, b: (interval(a - b).low, interval(a - b).high), "the first less the second"),
    (15, lambda a, b: (interval(b).low, interval(b).high), "centred on"),
    (16, lambda plane, one, two: at_place(plane, one, two, swap=True), "x and y are exchanged"),
    (16, lambda plane, one, two: plane["loss"].min(), "the lowest point"),
    (16, lambda plane, one, two: plane["loss"][4, 4], "the loss at (0, 0)"),
    (17, "ABD", "two directions of many thousands"),
    (17, "BCD", "need not lie in one plane"),
    (18, "BCDE", "the task stays as easy"),
    (18, "BE", "1 more may be said")]


@pytest.mark.parametrize(("number", "answer", "said"), WRONG)
def test_a_usual_mistake_fails_with_its_reason(number: int, answer: Callable | Any, said: str) -> None:
    assert said in workshop.why(number, answer)


@pytest.mark.parametrize("answer", ["A, D", "ad", "D a", ["A", "D"], {"d", "a"}])
def test_letters_are_read_as_people_write_them(answer: Any) -> None:
    assert workshop.why(8, answer) == ""


def test_every_exercise_has_wrong_answers() -> None:
    assert {number for number, *_ in WRONG} == set(workshop.EXERCISES) - {19}, "19 has a test of its own"


@pytest.mark.parametrize(("change", "said"), [
    ({"dense network": "stable"}, "wholly above the line"), ({"IMP, level 9": "stable"}, "holds the line of 2"),
    ({"synthetic, level 4": "stable"}, "2 of 5 planned initialisations"), ({"IMP, level 4": "holds"}, "none of the three words"),
    ({"IMP, level 4": "cannot be told"}, "wholly below the line")])
def test_the_reference_run_is_read_by_its_intervals(change: dict[str, str], said: str) -> None:
    rows = workshop.MADE_UP
    right = {"dense network": "unstable", "IMP, level 4": "stable", "IMP, level 9": "cannot be told",
             "synthetic, level 4": "cannot be told", "synthetic, level 9": "stable"}
    right, change = ({f"made up: {name}": word for name, word in words.items()} for words in (right, change))
    assert workshop.read_critically(right, rows) == "" and said in workshop.read_critically(right | change, rows)
    assert "give a word for" in workshop.read_critically({}, rows)
    assert workshop.read_critically({"a": "stable"}, {"a": Interval(1, 0.5, 1.5, 3, 3)}) == ""


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("ships", [True, False])
def test_intervals_must_be_read_whatever_ships(ships: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ships:
        monkeypatch.setattr("synthprune.chapter.open_store", lambda: Mock(has=lambda entry: False))
    origin, rows = workshop.reference()
    assert origin.startswith("error barriers of the reference run" if ships else "made up")
    assert [name for name in rows if name.startswith("made up: ")] == list(rows)[-5:] and (len(rows) > 5) == ships
    assert "you say cannot be told" in workshop.why(19, dict.fromkeys(rows, "cannot be told"))


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    workshop.check(2, lambda level, fraction: 1 - (1 - fraction) ** level)
    workshop.check(8, None)
    assert capsys.readouterr().out == "Exercise 2: right.\nExercise 8: not answered yet\n"
    workshop.check(8, "AD")
    first, *reasons = capsys.readouterr().out.splitlines()
    assert first == "Exercise 8: right."
    assert [line.partition(":")[0].strip() for line in reasons] == ["A, yes", "B, no", "C, no", "D, yes"]


@pytest.mark.parametrize("source", ["### BEGIN SOLUTION\na", "### END SOLUTION", "### BEGIN SOLUTION\n### BEGIN SOLUTION"])
def test_marks_that_do_not_pair_are_refused(source: str) -> None:
    with pytest.raises(Problem, match="SOLUTION"):
        workshop.cleared(source)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workshop laid out as a teacher does, without any stored result."""
    base = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHPRUNE_HOME", str(base / "home"))
        said = CliRunner().invoke(app, ["workshop", str(base / "given")])
    assert said.exit_code == 0 and "hand round" in said.stdout, said.output
    return base / "given"


def test_what_is_handed_round_holds_no_solution(folder: Path) -> None:
    solutions = [line.strip() for file in LESSONS for cell in cells(file) for line in solution_lines("".join(cell["source"]))]
    given = [file.read_text(encoding="utf-8") for file in (folder / "learner").iterdir()]
    assert len(given) == len(LESSONS) == 4 and len(solutions) > 25
    for line in solutions:
        assert not any(json.dumps(line)[1:-1] in text for text in given), line
    assert not any("SOLUTION" in text for text in given) and sum(text.count("your lines here\\") for text in given) == 19


def solution_lines(source: str) -> list[str]:
    inside = re.findall(f"{workshop.BEGIN}\n(.*?){workshop.END}", source, re.DOTALL)
    return [line for part in inside for line in part.splitlines() if line.strip()]


def test_solutions_are_the_learners_cells_with_the_gaps_filled(folder: Path) -> None:
    for file in LESSONS:
        ours, theirs = cells(folder / "solutions" / file.name), cells(folder / "learner" / file.name)
        for one, other in zip(ours, theirs, strict=True):
            common = [line for line in "".join(other["source"]).splitlines() if "your lines here" not in line]
            assert set(common) <= set("".join(one["source"]).splitlines())


def test_each_exercise_has_two_folded_hints() -> None:
    texts = ["".join(cell["source"]) for file in LESSONS for cell in cells(file) if "## Exercise" in "".join(cell["source"])]
    assert len(texts) == 19 and all(text.count("<details>") == text.count("</details>") == 2 for text in texts)


def test_sources_are_stripped() -> None:
    for file in LESSONS:
        code = [cell for cell in cells(file) if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("lesson", [file.name for file in LESSONS])
@pytest.mark.parametrize("part", ["learner", "solutions"])
def test_every_cell_runs_from_start_to_end(folder: Path, part: str, lesson: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With trainings of one epoch; a learner's notebook runs before anything is filled in."""
    names: dict[str, Any] = {}
    threads = torch.get_num_threads()
    for cell in cells(folder / part / lesson):
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]).replace("epochs=10", "epochs=1"), names)
    torch.set_num_threads(threads)
    verdicts = re.findall(r"^Exercise \d+: (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert set(verdicts) == {"right." if part == "solutions" else workshop.NOT_YET}


def test_a_folder_in_use_is_left_alone(folder: Path) -> None:
    with pytest.raises(Problem, match="there already"):
        workshop.lay_out(folder)


@pytest.mark.parametrize("course", workshop.COURSES)
def test_slides_need_nothing_and_are_few(folder: Path, course: str) -> None:
    page = (folder / "slides" / f"{course}.html").read_text(encoding="utf-8")
    assert 15 < page.count("<section") < 40 and page.count("<section") == page.count("<aside")
    assert not re.search(r'(?:src|href)="(?!data:)', page) and "http" not in page.replace("http://www.w3.org", "")
    shipped, waiting = page.count(", profile laptop.</p>"), page.count("stands here once")
    assert shipped > waiting and shipped + waiting == page.count('class="from"'), "what neither ships nor is stored says so"
    assert workshop.HALF_DAY not in page and workshop.NOTE not in page


def test_a_figure_is_the_books_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn in one scheme and still, and its profile is named; the demo's is drawn from whole results."""
    asked = "03_distilled_pruning\ndistilled_pruning.algorithm(p)"
    p = parameters(experiment("03_distilled_pruning").Parameters, "03_distilled_pruning", {})
    demo = set(experiment("03_distilled_pruning").requests(p).values())
    store, there = Store(), set(list(demo)[1:])
    monkeypatch.setattr(store, "has", lambda entry: entry in there)
    monkeypatch.setattr(store, "get", lambda entry: None)
    monkeypatch.setattr("synthprune.chapter.open_store", lambda: store)
    assert "synthprune run 03_distilled_pruning" in workshop._drawn(asked)
    there |= demo
    shown = workshop._drawn(asked)
    assert "<figcaption>" in shown and "only-dark" not in shown and "From 03_distilled_pruning, profile demo." in shown
    moving = '<figure class="synthprune still" data-play="{}"><p>here</p></figure>'
    monkeypatch.setattr("synthprune.chapters.figures.distilled_pruning.algorithm", lambda p: Mock(_repr_html_=lambda: moving))
    assert '<figure class="synthprune still"><p>here</p></figure>' in workshop._drawn(asked)


FIGURES = list(dict.fromkeys(re.findall(r"```figure\n(.*?)```", (ROOT / "workshop" / "slides.md").read_text(encoding="utf-8"),
                                        re.DOTALL)))


def test_every_figure_is_drawn_of_the_digits(book: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has computed the demo's book, and holds no result that ships."""
    monkeypatch.setenv("SYNTHPRUNE_HOME", str(book[1]))
    monkeypatch.setattr("synthprune.chapter.open_store", Store)
    assert len(FIGURES) > 10
    for asked in FIGURES:
        assert ", profile demo.</p>" in workshop._drawn(asked), asked


def test_a_figure_is_drawn_once_for_both_courses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(workshop, "_drawn", lambda one: asked.append(one) or "here")
    workshop.lay_out(tmp_path)
    assert sorted(asked) == sorted(FIGURES)


def test_a_table_with_gaps_is_no_slide(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = Mock(_repr_html_=lambda: '<figure class="numbers"><td>not measured</td></figure>')
    monkeypatch.setattr("synthprune.chapters.figures.distilled_pruning.algorithm", lambda p: gaps)
    assert "synthprune run 03_distilled_pruning" in workshop._drawn(FIGURES[0])


def test_timetables_name_slides_that_exist() -> None:
    for course in workshop.COURSES:
        text = (ROOT / "book" / "workshop" / f"course_{course}.md").read_text(encoding="utf-8")
        named = [int(number) for found in re.findall(r"\(slides? ([\d and to]+)\)", text) for number in re.findall(r"\d+", found)]
        minutes = [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
        shown = workshop.slide_sources(course)
        assert named == sorted(named) and named[-1] == len(shown)
        assert minutes == sorted(minutes) and minutes[-1] <= {"90_minutes": 90, "half_day": 240}[course]
        taught = "\n".join(shown)
        assert all(f"`{lesson}.ipynb`" in taught for lesson in workshop.COURSES[course])
        assert ("make random masks" in shown[2]) == (course == "half_day"), "the aims, of which the last slide asks"


@pytest.mark.usefixtures("home")
def test_doctor_says_what_a_learner_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "yardstick", lambda: 0.5)
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "jupyterlab" or found(name))
    said = CliRunner().invoke(app, ["doctor", "--workshop"])
    assert said.exit_code == 0 and "one small training takes 0.50 core-seconds" in said.stdout and "MISSING" not in said.stdout
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "ipykernel")
    said = CliRunner().invoke(app, ["doctor", "--workshop"])
    assert said.exit_code == 1 and re.search("kernel +MISSING: pip install ipykernel", said.stdout)
    monkeypatch.setattr("importlib.util.find_spec", found)
    loaded = importlib.import_module

    def broken(name: str) -> ModuleType:
        if name == "torch":
            raise OSError("[WinError 126] The specified module could not be found")
        return loaded(name)

    monkeypatch.setattr("importlib.import_module", broken)
    said = CliRunner().invoke(app, ["doctor", "--workshop"])
    assert said.exit_code == 1 and re.search(r"torch +MISSING: it does not load \(\[WinError 126\]", said.stdout)


@pytest.mark.usefixtures("home")
def test_times_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "yardstick", lambda: 0.25)
    (tmp_path / "solutions").mkdir()
    code = [new_code_cell("# Naps\nimport time\ntime.sleep(1)"), new_code_cell("# Works\nfor _ in range(2 * 10**7): pass")]
    write(new_notebook(cells=code), tmp_path / "solutions" / "9_nap.ipynb")
    page = workshop.time_page(tmp_path, shortest=0.2)
    seconds, spent, ratio = map(float, re.search(r"\| 9_nap \| Works \| ([\d.]+) \| ([\d.]+) \| (\d+) \|", page).groups())
    assert 0.2 <= spent <= seconds + 0.1 and abs(ratio - spent / 0.25) < 1
    total = float(re.search(r"\| 9_nap \| all cells \| ([\d.]+) \|", page)[1])
    assert total > 1 + seconds - 0.2 and "| Naps |" not in page, "asleep it takes no core"
    assert "Yardstick: 0.25 core-seconds" in page
    assert "Other work was running" in page, "the nap is time in which others may have computed"


def test_the_page_of_times_is_of_todays_lessons() -> None:
    text = (ROOT / "book" / "workshop" / "timings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d_\w+) \| (.*?) \|", text, re.MULTILINE)
    firsts = {(file.stem, "".join(cell["source"]).splitlines()[0].lstrip("# ")) for file in LESSONS for cell in cells(file)
              if cell["cell_type"] == "code"} | {(file.stem, "all cells") for file in LESSONS}
    assert {lesson for lesson, _ in rows} == {file.stem for file in LESSONS} and set(rows) <= firsts


def test_the_pages_example_says_what_it_shows() -> None:
    text = (ROOT / "book" / "workshop" / "index.md").read_text(encoding="utf-8")
    done = doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(text, {}, "index", "index.md", 0))
    assert done.attempted == 2 and done.failed == 0


def script(name: str) -> ModuleType:
    """A script of the workshop's folder, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "workshop" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_kit_holds_every_wheel_but_torch() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    names = {line.partition("==")[0] for line in script("kit").wanted(lock)}
    assert {"numpy", "nbclient", "ipykernel", "curvlinops-for-pytorch", "sympy"} <= names
    assert not any(name.startswith(("torch", "nvidia", "cuda", "ruff", "#")) for name in names)


def test_learners_get_no_solution_and_the_teacher_gets_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "_drawn", lambda asked: "here")
    learners, teacher = tmp_path / "kit", tmp_path / "kit-teacher"
    script("kit").hand_out(learners, teacher)
    held = {folder: sorted(file.name for file in folder.iterdir()) for folder in (learners, teacher)}
    assert held == {learners: ["learner", "slides"], teacher: ["notes", "slides", "solutions"]}
    for course in workshop.COURSES:
        ours, theirs = ((folder / "slides" / f"{course}.html").read_text(encoding="utf-8") for folder in (teacher, learners))
        assert ours.count("<section") == theirs.count("<section") == ours.count("<aside") and "<aside" not in theirs
    shutil.rmtree(learners)
    with pytest.raises(Problem, match="there already: remove it"):
        script("kit").hand_out(learners, teacher)
    assert not learners.exists()


def test_the_kit_says_how_to_add_torch(tmp_path: Path) -> None:
    shutil.copy2(ROOT / "workshop" / "install.py", tmp_path)
    done = subprocess.run([sys.executable, tmp_path / "install.py"], check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "--index-url https://download.pytorch.org/whl/cpu" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["install.py"]


def test_the_kit_is_for_one_python(tmp_path: Path) -> None:
    shutil.copy2(ROOT / "workshop" / "install.py", tmp_path)
    (tmp_path / "wheels").mkdir()
    for name in ("torch-2.14.1-cp39-cp39-any.whl", "torchvision-0.29.1-cp39-cp39-any.whl"):
        (tmp_path / "wheels" / name).touch()
    done = subprocess.run([sys.executable, tmp_path / "install.py"], check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "These wheels are for Python 3.9, and this is 3." in done.stderr
    assert not (tmp_path / ".venv").exists()
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert [line.partition("==")[0] for line in script("kit").of_torch(lock)] == ["torch", "torchvision"]


@pytest.mark.skipif(not find_browser(), reason="no browser of the Chromium family")
def test_slides_turn_by_keyboard_and_ask_for_nothing(folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    page_file = folder / "slides" / "90_minutes.html"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page, asked = browser.new_page(viewport={"width": 1280, "height": 720}), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        places = []
        for key in ("ArrowRight", " ", "ArrowLeft", "End", "ArrowRight", "n"):
            page.keyboard.press(key)
            places.append((page.inner_text("#place"), page.is_visible("section.now aside")))
        seen = page.locator("section:visible").count()
        browser.close()
    assert places == [*((f"{n} / 22", False) for n in (2, 3, 2, 22, 22)), ("22 / 22", True)] and seen == 1
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
