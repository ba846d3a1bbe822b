"""A page leads with what was found, and loses nothing of the notebook on the way."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from synthprune.book.arrange import Linker, arranged, sections
from synthprune.chapters import CHAPTERS

ROOT = Path(__file__).parent.parent


def executed(chapter: str) -> dict:
    """A chapter's notebook with an output that names each cell, and a record with a verdict in the last."""
    notebook = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code):
        cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": {"text/html": f"<p>output {number}</p>"}}]
    code[-1]["outputs"][0]["metadata"]["synthprune"] = {"verdict": "1 holds at this scale. Measured: x < 2."}
    return notebook


def text(page: dict) -> str:
    return "\n".join("".join(cell["source"]) for cell in page["cells"])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_keeps_its_words_its_code_and_its_outputs(chapter: str) -> None:
    notebook = executed(chapter)
    before = copy.deepcopy(notebook)
    page = arranged(notebook)
    assert notebook == before, "the notebook itself stays as it is"
    assert all("".join(cell["source"]).strip() for cell in page["cells"]), "Sphinx leaves out empty cells"
    shown = json.dumps([cell.get("outputs", []) for cell in page["cells"]])
    for cell in before["cells"]:
        if cell["cell_type"] == "code":
            assert "".join(cell["source"]) in text(page)
            assert cell["outputs"][0]["data"]["text/html"] in shown
    for section in sections(before["cells"]):
        for cell in section.cells:
            if cell["cell_type"] == "markdown":
                for line in cell["source"].splitlines():
                    assert line in text(page)


@pytest.mark.parametrize("chapter", [name for name in CHAPTERS if name not in ("01_method",)])
def test_claim_verdict_figure_meaning_method_machinery(chapter: str) -> None:
    notebook = executed(chapter)
    lead = next(cell for cell in notebook["cells"] if "lead" in cell["metadata"].get("tags", []))
    said = text(arranged(notebook))
    places = [said.index("# "), said.index("Our verdict."), said.index("".join(lead["source"])), said.index("## Run it yourself"),
              said.index("# Parameters of this chapter"), said.index("run.provenance()")]
    assert places == sorted(places)
    assert "x &lt; 2" in said and said.count('<details class="machinery">') == 1
    if "## What may be concluded" in said:
        assert places[2] < said.index("## What may be concluded") < said.index("## How it is measured")


def test_neighbours_share_one_fold_and_missing_results_are_told_in_the_open() -> None:
    def code(source: str, *tags: str, output: str = "") -> dict:
        return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)},
                "outputs": [{"data": {"text/html": output}}] if output else []}

    cells = [{"cell_type": "markdown", "source": "# T\n\n## Plan", "metadata": {}},
             code("run.solve()", "machinery", output='<div class="verdict">Not run</div>'),
             {"cell_type": "markdown", "source": "## A", "metadata": {}}, 
             code("one()", "hide-input"), code("two()", "hide-input")]
    page = arranged({"cells": cells})["cells"]
    folds = ["".join(cell["source"]) for cell in page if 'class="code"' in "".join(cell["source"])]
    assert len(folds) == 1 and "one()\n\ntwo()" in folds[0]
    assert [cell for cell in page if cell["cell_type"] == "code"][0]["outputs"][0]["data"]["text/html"].endswith("Not run</div>")


def test_a_figure_leads_to_the_code_that_draws_it() -> None:
    def cell(source: str, html: object) -> dict:
        return {"cell_type": "code", "source": source, "metadata": {"tags": ["hide-input"]},
                "outputs": [{"data": {"text/html": html}}]}

    figure = "<figure><figcaption>One.</figcaption></figure>"
    cells = [{"cell_type": "markdown", "source": "# T\n\n## A", "metadata": {}}, cell("one()", figure),
             {"cell_type": "markdown", "source": "## B", "metadata": {}}, cell("two()", [figure[:9], figure[9:]])]
    page = arranged({"cells": cells})["cells"]
    shown = [cell["outputs"][0]["data"]["text/html"] for cell in page if cell["cell_type"] == "code"]
    links = [re.search(r'One. <a class="code" href="#([^"]+)">Code</a></figcaption></figure>$', html)[1] for html in shown]
    folds = [cell["source"] for cell in page if 'class="code"' in cell["source"]]
    assert len(set(links)) == len(folds) == 2
    for link, fold, code in zip(links, folds, ("one()", "two()"), strict=True):
        assert f'id="{link}"' in fold.partition("</summary>")[2] and code in fold


@pytest.mark.parametrize(("said", "linked"), [
    ("A Mask, a mask", "A {term}`Mask <mask>`, a mask"), ("a *mask*, a *mask*", "a *{term}`mask`*, a *mask*"),
    ("# A mask\n\nthe mask", "# A mask\n\nthe {term}`mask`"), ("`mask` $a*mask*b$ mask", "`mask` $a*mask*b$ {term}`mask`"),
    ("<p>mask</p>\nmask\n\nmask", "<p>mask</p>\nmask\n\n{term}`mask`"), ("unmask masks mask-like", "unmask masks mask-like"),
    ("```py\nmask\n```\nmask", "```py\nmask\n```\n{term}`mask`"), ("[a mask](m.md) {doc}`mask`", "[a mask](m.md) {doc}`mask`"),
    ("in order, *order*", "in order, *{term}`order`*"), ("the soft mask, a mask", "the {term}`soft mask`, a {term}`mask`")])
def test_a_term_leads_to_the_glossary_once_in_running_text(said: str, linked: str) -> None:
    link = Linker("# G\n\n:::{glossary}\nmask\n  Which stay.\norder\n  Of data.\nsoft mask\n  Not here.\n:::\n")
    assert link(said) == linked
    assert link("mask") == ("mask" if "{term}`mask" in linked or "Mask <mask>" in linked else "{term}`mask`")

