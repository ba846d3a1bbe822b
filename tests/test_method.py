"""The method in forty lines: its cells give the masks and curves that the store holds, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synthprune.chapter import Run
from synthprune.chapters import experiment, introduction, method
from synthprune.chapters.profiles import profile_names
from synthprune.chapters.settings import parameters
from synthprune.problems import Problem
from synthprune.results.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
CHAPTER = "01_method"
SMALL = {"train_per_class": 20, "test_per_class": 5, "width": 4, "epochs": 2, "batch": 50, "level": 2, "points": 3,
         "synthetic_per_class": 1, "distillation_steps": 2, "synthetic_epochs": 2}


def written() -> list[str]:
    """The cells that write the method out, and the last, which compares."""
    cells = json.loads((ROOT / "notebooks" / f"{CHAPTER}.ipynb").read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code" and not cell["metadata"].get("tags")]


def told(run: Run, cells: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    names = {"run": run, "p": run.parameters}
    for cell in cells:
        exec(cell, names)
    return capsys.readouterr().out.splitlines()


def test_forty_lines_give_what_the_store_holds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(CHAPTER, parameters(method.Parameters, CHAPTER, SMALL), SMALL, Store())
    cells = written()
    said = told(run, cells, capsys)
    asked = list(run.requests)
    assert said[-6:] == [f"{name}: True" for name in asked] and len(asked) == 6
    other = [cell.replace("0.2 * len", "0.25 * len") for cell in cells]
    verdicts = [line.rsplit(" ", 1)[1] for line in told(run, other, capsys)[-6:]]
    assert verdicts == ["True", "False", "False", "True", "False", "False"], "set and dense path have no mask in them"


def test_they_are_forty() -> None:
    lines = [line for cell in written()[:-1] for line in cell.splitlines() if line.strip()]
    assert len(lines) <= 40 and all(len(line) <= 130 for line in lines)


@pytest.mark.parametrize("profile", profile_names())
def test_the_results_are_those_of_chapter_01(profile: str) -> None:
    own = method.requests(parameters(method.Parameters, CHAPTER, {"profile": profile}))
    shown = introduction.requests(parameters(introduction.Parameters, "01_introduction", {"profile": profile}))
    assert own == {name: shown[name] for name in own} and "imp, initialisation 0, orders 0-1" in own


@pytest.mark.parametrize(("name", "value"), [("rewind", "weights"), ("search_lr", 0.1), ("synthetic", "condensed")])
def test_what_the_lines_do_not_say_cannot_be_set(name: str, value: object) -> None:
    with pytest.raises(Problem, match=f"{name}={value} is not what this chapter writes out"):
        parameters(experiment(CHAPTER).Parameters, CHAPTER, {name: value})


def test_the_page_shows_equal_bits(book: tuple[Path, Path]) -> None:
    cells = json.loads((book[0] / "book" / f"{CHAPTER}.ipynb").read_text())["cells"]
    printed = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))
    assert printed.count(": True") == 6 and "False" not in printed
