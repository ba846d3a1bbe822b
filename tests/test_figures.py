"""Figures are self-contained and say in words what they show; widgets are for live kernels alone."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from synthprune.chapters import figures
from synthprune.chapters.figures import DARK, LIGHT, Figure, Panel, Style, Table, Verdict
from synthprune.chapters.figures.words import extremes

ROOT = Path(__file__).parent.parent
PAPER = ROOT.parent / "shared" / "paper" / "paper.txt"


def draw(style: Style) -> Canvas:
    canvas = Canvas(figsize=(2, 2))
    canvas.add_subplot().plot([0, 1], [0, 1], color=style.synthetic)
    return canvas


def test_a_figure_carries_both_schemes_its_words_and_its_numbers() -> None:
    shown = Figure([Panel(draw, 'a line from 0 to 1 & "up"')], "Caption.", [("x", "y"), (0, 1)], "numbers")._repr_html_()
    images = re.findall(r'<img class="only-(\w+)" alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]+)">', shown)
    assert [scheme for scheme, *_ in images] == ["light", "dark"]
    assert {alt for _, alt, _ in images} == {"a line from 0 to 1 &amp; &quot;up&quot;"}
    light, dark = (base64.b64decode(data).decode().lower() for *_, data in images)
    assert LIGHT.synthetic.lower() in light and DARK.synthetic.lower() in dark and DARK.synthetic.lower() not in light
    data = re.search(r'href="data:text/csv;base64,([^"]+)"', shown)[1]
    assert base64.b64decode(data).decode() == "x,y\n0,1"
    assert not re.search(r'(src|href)="https?:', shown)


@pytest.mark.parametrize(("values", "said"), [
    ({"a": 1.0, "b": -2.34, "c": np.nan}, "Lead. Highest: a (1.0); lowest: b (\N{MINUS SIGN}2.3). "),
    ({"a": 1.01, "b": 1.04}, "Lead. All alike (1.0). "), ({"a": 1.0, "b": np.nan}, ""), ({}, "")])
def test_an_alternative_text_begins_with_the_highest_and_the_lowest(values: dict[str, float], said: str) -> None:
    assert extremes(values, 1, "Lead. ") == said


def test_the_same_data_give_the_same_bytes() -> None:
    assert Panel(draw, "").svg(LIGHT) == Panel(draw, "").svg(LIGHT)


def test_a_table_escapes_and_heads_its_rows() -> None:
    shown = Table("a < b", ("name", "value"), [("x", "1 > 0")])._repr_html_()
    assert "<th scope=row>x</th><td>1 &gt; 0</td>" in shown and "a &lt; b" in shown
    assert Table("a < b", ("name",), [])._repr_html_() == '<p class="note">a &lt; b: nothing was run yet.</p>'


def test_a_verdict_box_says_what_counts_where_it_is_told() -> None:
    box = Verdict("holds", "Holds: a", "x < y", "at most 1 & no more")._repr_html_()
    assert "x &lt; y" in box and "<details><summary>What counts</summary><p>at most 1 &amp; no more</p></details>" in box
    assert "details" not in Verdict("holds", "Holds: a", "x")._repr_html_()


def test_a_slider_is_for_live_kernels_and_a_still_figure_for_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures.slider("level", [0, 4, 9], lambda level: f"level {level}", still=9) == "level 9"
    monkeypatch.setattr(figures, "live", lambda: True)
    seen = []
    moving = figures.slider("level", [0, 4, 9], seen.append, still=4)
    moving.children[0].value = 0
    moving.update()
    assert moving.children[0].description == "level" and seen[-1] == 0


def test_a_caption_says_what_the_paper_prints_and_nothing_where_it_prints_nothing() -> None:
    said = Figure([], "Ours: 60.", [("x",)], "08_lottery_tickets")._repr_html_()
    assert "Ours: 60." in said and "In the paper: a synthetic start at 83 % sparsity, 25 iterations, 5 seeds (figure 7)." in said
    assert "In the paper" not in Figure([], "Ours: 60.", [("x",)], "04_stability_lines")._repr_html_()


def test_every_number_of_the_papers_is_in_its_own_words_and_belongs_to_a_figure() -> None:
    drawn = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "synthprune" / "chapters" / "figures").glob("*.py"))
    number = re.compile(r"(?<![\w-])(?:\d[\d.,]*)?\d")
    for name, of in figures.printed().items():
        assert re.sub(r"_nearest$|\d+$", "", name) in drawn, f"no figure is called {name}"
        assert {*number.findall(of["says"])} <= {*number.findall(" ".join(of["quotes"]).replace(" .", " 0."))}, name


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text is not beside this checkout: quotes were not compared")
def test_what_the_paper_prints_is_quoted_from_it() -> None:
    text = " ".join(PAPER.read_text(encoding="utf-8").split())
    assert [quote for of in figures.printed().values() for quote in of["quotes"] if quote not in text] == []
