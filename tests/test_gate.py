"""The gate: no broken, foreign or outdated notebook becomes a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from synthprune.book import claims
from synthprune.book.build import find_record, gate
from synthprune.book.pages import absent_page, status_page
from synthprune.chapter import combined_digest
from synthprune.chapters.settings import parameters
from synthprune.chapters.stability import Parameters, requests
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Store

CLAIMS = claims.load()


@pytest.fixture
def executed() -> dict:
    """An executed notebook as papermill leaves it, with a record that its parameters stand for."""
    p = parameters(Parameters, "04_stability", {"profile": "demo"})
    digests = {entry.key: "d" * 64 for entry in requests(p).values()}
    record = {"chapter": "04_stability", "profile": "demo", "parameters": p.model_dump(), "results": digests,
              "absent": {}, "claims": {},
              "digest": combined_digest(digests), "computed": 0, "versions": specs.versions(), "core_seconds": 9.0,
              "page_seconds": 1.0, "changed": {}, "device": ["cpu"], "cpu": ["one"], "torch": ["2"],
              "made_by": ["0 at r"], "page_by": "0 at s", "finished": "2026-01-02T03:04:05+00:00"}
    cells = [{"cell_type": "markdown", "source": "# Title", "metadata": {}}]
    cells += [{"cell_type": "code", "source": f"step({n})", "metadata": {}, "execution_count": n, "outputs": []}
              for n in range(1, 7)]
    cells[-1]["outputs"] = [{"output_type": "display_data", "data": {}, "metadata": {"synthprune": record}}]
    return {"cells": cells, "metadata": {"papermill": {"parameters": {"profile": "demo"}, "exception": None}}}


def codes(content: dict) -> list[dict]:
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def fail(content: dict) -> None:
    codes(content)[3]["outputs"] = [{"output_type": "error", "ename": "ValueError", "evalue": "oh", "traceback": []}]


def dead_kernel(content: dict) -> None:
    for cell in codes(content)[4:]:
        cell["execution_count"], cell["outputs"] = None, []


def other_profile(content: dict) -> None:
    find_record(content)["profile"] = "laptop"


def other_parameters(content: dict) -> None:
    content["metadata"]["papermill"]["parameters"] = {"profile": "demo", "epochs": 50}


def misspelt_parameter(content: dict) -> None:
    content["metadata"]["papermill"]["parameters"] = {"profile": "demo", "epoch": 50}


def other_results(content: dict) -> None:
    record = find_record(content)
    record["results"] = {key[::-1]: digest for key, digest in record["results"].items()}


def other_digest(content: dict) -> None:
    find_record(content)["digest"] = "0" * 64


def no_record(content: dict) -> None:
    codes(content)[-1]["outputs"] = []


def widget(content: dict) -> None:
    codes(content)[4]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": {
        "application/vnd.jupyter.widget-view+json": {}}}]


@pytest.mark.parametrize(("harm", "said"), [
    (fail, "cell .* failed: ValueError: oh"), (dead_kernel, "never executed"), (other_profile, "profile laptop, not of demo"),
    (other_parameters, "but its results were not"), (misspelt_parameter, "unknown parameter 'epoch'"),
    (other_results, "other results than its parameters ask for"), (other_digest, "digest"), (no_record, "no provenance"),
    (widget, "shows a widget")])
def test_the_gate_refuses(executed: dict, tmp_path: Path, harm: Callable[[dict], None], said: str) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(executed))
    gate(path, "demo")
    harm(executed)
    path.write_text(json.dumps(executed))
    with pytest.raises(Problem, match=said):
        gate(path, "demo")


def test_a_version_raised_makes_an_executed_notebook_old(executed: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(executed))
    monkeypatch.setattr(specs.Path, "version", 2)
    with pytest.raises(Problem, match="run it again"):
        gate(path, "demo")
    assert "stale (path)" in status_page({"04_stability": find_record(executed)})


def test_a_chapter_without_its_data_says_which_and_how_and_shows_nothing_else() -> None:
    page = absent_page("04_stability", "laptop", "the data set 'cifar10' is not on this machine: import it with 'x'")
    assert page.startswith("# 4 Stability of subnetworks") and "cifar10&#x27; is not on this machine" in page
    assert "<img" not in page and "## Parameters" not in page and page.count("verdict--open") == 1


def test_where_nothing_can_be_had_every_chapter_has_a_page_and_no_claim_a_verdict(
        home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laptop book on a machine without a result of its chapter."""
    from synthprune.book import build, pages

    for room in (build, pages):  # nothing ships either
        monkeypatch.setattr(room, "open_store", Store)
    monkeypatch.setattr(build, "CHAPTERS", {"04_stability": "stability"})
    monkeypatch.setattr(build, "_compile", lambda root, around: root / "index.html")
    monkeypatch.setattr(pages.claims, "load", lambda: [c for c in CLAIMS if c.chapter == "04_stability"])
    _, absent = build.build("laptop", tmp_path, lambda *_: nullcontext(print))
    assert "not computed yet; 'synthprune compute --profile laptop' computes them" in absent["04_stability"]
    assert "Not run" in (tmp_path / "book" / "04_stability.md").read_text()
    board = (tmp_path / "book" / "scoreboard.md").read_text()
    assert "*not run*" in board and "verdict--holds" not in board and "verdict--fails" not in board
