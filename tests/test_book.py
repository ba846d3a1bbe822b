"""The gate lets no broken notebook become a page; the built book says where it comes from."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from synthprune.book import claims
from synthprune.book.build import execute, find_record
from synthprune.book.pages import paper_page
from synthprune.chapters import CHAPTERS
from synthprune.problems import Problem

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture
def executed(book: tuple[Path, Path]) -> dict:
    return copy.deepcopy(json.loads((book[0] / "book" / "04_stability.ipynb").read_text()))


def test_a_chapter_that_fails_leaves_the_page_before_it(book: tuple[Path, Path], tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing cell, and a kernel that is killed: the earlier page stays, the failed notebook lies beside."""
    sources = tmp_path / "sources" / "notebooks"
    sources.mkdir(parents=True)
    monkeypatch.setattr("synthprune.book.build.sources", lambda: sources.parent)
    monkeypatch.setenv("SYNTHPRUNE_HOME", str(book[1]))
    page = tmp_path / "04_stability.ipynb"
    page.write_text("the page before")
    for last in ("1 / 0", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"):
        notebook = nbformat.read(ROOT / "notebooks" / "04_stability.ipynb", 4)
        notebook.cells.insert(-2, nbformat.v4.new_code_cell(last))
        nbformat.write(notebook, sources / "04_stability.ipynb")
        with pytest.raises(Problem, match="did not finish|never executed"):
            execute("04_stability", {"profile": "demo"}, page)
        assert page.read_text() == "the page before"


def test_two_runs_with_one_output_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes to a place of its own; what was checked is what arrives."""
    import papermill

    places = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda source, part, **_: (places.append(part), part.write_text("{}")))
    for chapter in ("04_stability", "04_stability"):
        with pytest.raises(KeyError, match="cells"):
            execute(chapter, {"profile": "demo"}, tmp_path / "out.ipynb")
    assert len({*places}) == 2 and not any(place.exists() for place in places) and [*tmp_path.iterdir()] == []


def test_a_warning_leaves_the_pages_before_it(tmp_path: Path) -> None:
    """In a book of one page, with this one's configuration."""
    from synthprune.book.build import _compile

    root = tmp_path / "root"
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("*.md", "*.ipynb", "workshop"))
    shutil.copy2(ROOT / "_config.yml", root)
    shutil.copy2(ROOT / "book" / "glossary.md", root / "book")
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (root / "_build" / "html").mkdir(parents=True)
    (root / "_build" / "html" / "index.html").write_text("the pages before")
    page = root / "book" / "index.md"
    page.write_text("# One page\n\n{cite}`nobody2099`\n\n```{bibliography}\n```\n")
    with pytest.raises(Problem, match="nobody2099"):
        _compile(root, "")
    assert (root / "_build" / "html" / "index.html").read_text() == "the pages before"
    page.write_text(page.read_text().replace("nobody2099", "frankle2020lmc"))
    assert "Frankle" in (_compile(root, "").parent / "book" / "index.html").read_text()


def test_the_status_page_is_of_the_executed_notebooks(book: tuple[Path, Path], executed: dict) -> None:
    text = (book[0] / "_build" / "html" / "book" / "status.html").read_text()
    record = find_record(executed)
    for word in ("04_stability", "demo", record["digest"][:12], "fresh", record["torch"][0], record["cpu"][0],
                 record["made_by"][0]):
        assert word in text
    assert record["profile"] == "demo" and record["core_seconds"] > 0


def test_the_way_from_the_paper_to_the_book_names_every_chapter_and_every_claim() -> None:
    ledger = claims.load()
    judged = {claim.id: claims.Judgement(claim=claim.id, state="open", words="not run", evidence="") for claim in ledger}
    page = paper_page(ledger, judged)
    rows = dict(re.findall(r'<tr><th scope=row class=key>([^<]*)</th><td class="text"><a href="([^"]+)"', page)[::-1])
    assert [f"{chapter}.html" in page for chapter in CHAPTERS] == [True] * len(CHAPTERS) == [True] * page.count("<th scope=row")
    assert rows["Ours"].startswith(("01_", "10_", "11_")) and "04_stability.html" in rows.values()
    assert [page.count(f'"scoreboard.html#claim-{claim.id}">{claim.title}</a>: not run') for claim in ledger] == [1] * len(ledger)


def test_images_tell_what_the_data_say(executed: dict) -> None:
    """Different results give different alternative texts, and both schemes of one picture the same."""
    import numpy as np

    from synthprune.chapters.figures.stability import surfaces
    from synthprune.chapters.settings import parameters
    from synthprune.chapters.stability import Parameters, requests
    from synthprune.results.store import Result

    p = parameters(Parameters, "04_stability", {"profile": "demo"})
    curve = np.linspace(1, 2, 11)
    def results(scale: float) -> dict[str, Result]:
        metrics = {"collapsed": [], "diverged": False}
        arrays = {name: curve * scale for name in ("train_loss", "train_error", "test_loss", "test_error")}
        return {name: Result(entry.key, arrays, metrics, {}) for name, entry in requests(p).items()}
    first, second = ([panel.alt for panel in surfaces(p, results(scale)).panels] for scale in (1.0, 1.5))
    assert all(a != b for a, b in zip(first[:2], second[:2], strict=True))
    assert "1.000 and 2.000 at the ends, 1.500 midway" in first[0]
    bent = results(1.0)
    for name, result in bent.items():
        bent[name] = Result(result.key, {k: curve + 0.3 * (abs(curve - 1.5) < 0.1) for k in result.arrays}, result.metrics, {})
    assert surfaces(p, bent).panels[2].alt != surfaces(p, results(1.0)).panels[2].alt
    assert "rises by 0.300 nats midway" in surfaces(p, bent).panels[2].alt
    assert "Midway the loss lies above the mean of the ends at " in surfaces(p, bent).panels[0].alt
    html = surfaces(p, bent)._repr_html_()
    assert html.count("<img") == 6 == html.count("alt=\"")


def test_collapsed_and_diverged_subnetworks_are_named_and_left_out() -> None:
    import numpy as np

    from synthprune.chapters.figures.stability import surfaces
    from synthprune.chapters.settings import parameters
    from synthprune.chapters.stability import Parameters, requests, table
    from synthprune.results.store import Result

    p = parameters(Parameters, "04_stability", {"profile": "demo", "scene": "convnet3-digits", "seeds": [0, 1]})
    names = ("train_loss", "train_error", "test_loss", "test_error")
    results = {name: Result(entry.key, {n: np.full(11, 0.5) for n in names}, {"collapsed": [], "diverged": False}, {})
               for name, entry in requests(p).items()}
    for name, result in list(results.items()):
        if "synthetic, level 9, initialisation 1" in name:
            results[name] = Result(result.key, {n: np.full(11, 2.3) for n in names},
                                   {"collapsed": ["classifier"], "diverged": False}, {})
        if "imp, level 4, initialisation 0" in name:
            results[name] = Result(result.key, {n: np.full(11, np.nan) for n in names},
                                   {"collapsed": [], "diverged": True}, {})
    rows = table(p, results)
    assert (rows["synthetic", 9].accuracy.n, rows["synthetic", 9].accuracy.mean, rows["imp", 4].accuracy.n) == (1, 50.0, 1)
    caption = surfaces(p, results).caption
    assert "layer classifier has no weight left" in caption and "the training diverged" in caption


def test_sphinx_sees_only_the_book() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    for folder in ("_build", "notebooks", "results", "tests"):
        assert folder in config["exclude_patterns"]
    assert config["execute"]["execute_notebooks"] == "off"


def test_the_lock_pins_every_version_and_the_conda_file_agrees() -> None:
    from importlib.metadata import distribution, version

    from packaging.requirements import Requirement

    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#")
    names = {name.lower().replace("_", "-"): pin for name, pin in locked.items()}
    for text in distribution("synthprune").requires:
        need = Requirement(text)
        assert need.specifier.contains(names[need.name.lower().replace("_", "-")]), text
    assert {name: version(name) for name in locked} == locked
    hashed = [line.split() for line in (ROOT / "requirements.hashes").read_text().splitlines() if line and line[0] != "#"]
    assert {name.replace("_", "-"): pin for name, pin in (words[0].split("==") for words in hashed)} == names
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word) for words in hashed for word in words[1:])
    assert min(map(len, hashed)) == 2
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert pip == ["-r requirements.lock", "-e .[test]"] and "python=3.11" in environment["dependencies"]


def test_an_installed_package_brings_the_book_with_it(tmp_path: Path) -> None:
    """The wheel holds notebooks, pages and configuration, so that `synthprune book` needs no checkout."""
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT],
                          capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    import zipfile

    held = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    assert {"synthprune/_book/notebooks/04_stability.ipynb", "synthprune/_book/_config.yml", "synthprune/_book/_toc.yml",
            "synthprune/_book/results/README.md", "synthprune/_book/workshop/checks.py", "synthprune/profiles/demo.yaml"} <= held
    made = {f"book/{page}" for page in (*CHAPTERS, "paper", "scoreboard", "status", "timings")}
    pages = set(re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))) - made
    assert {f"synthprune/_book/{page}.md" for page in pages} <= held
