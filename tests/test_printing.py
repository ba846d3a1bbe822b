"""On paper text stays text and drawings stay vectors, what is folded stays folded; the archive holds the book and no more."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from pathlib import Path

import pytest
from browser import find_browser
from matplotlib.figure import Figure as Canvas
from pypdf import PdfReader

from synthprune.book import printing
from synthprune.book.build import single_page
from synthprune.book.printing import write_archive, write_pdf
from synthprune.chapters.figures import Figure, Panel, Style
from synthprune.problems import Problem

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module", autouse=True)
def chromium() -> None:
    if find_browser() is None:
        reason = "no Chromium, Chrome or Edge found: nothing was printed"
        if os.environ.get("SYNTHPRUNE_BROWSER_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def words(pdf: PdfReader) -> str:
    return " ".join(" ".join(page.extract_text() for page in pdf.pages).split())


def curves(pdf: PdfReader) -> int:
    """How many lines and curves are drawn on the pages, in drawings placed on them too."""
    def streams(holder: object) -> list[bytes]:
        forms = [form.get_object() for form in holder.get("/Resources", {}).get("/XObject", {}).values()]
        own = holder.get_contents() if hasattr(holder, "get_contents") else holder
        return [own.get_data(), *(data for form in forms if form["/Subtype"] == "/Form" for data in streams(form))]

    return sum(len(re.findall(rb"\s[lc]\s", data)) for page in pdf.pages for data in streams(page))


def line(style: Style) -> Canvas:
    canvas = Canvas(figsize=(3, 2))
    canvas.add_subplot().plot(range(50), [x * x for x in range(50)], color=style.synthetic)
    return canvas


def page(folder: Path, body: str) -> Path:
    css = (ROOT / "book" / "_static" / "synthprune.css").read_text(encoding="utf-8")
    made = folder / "page.html"
    made.write_text(f'<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8"><title>page</title>'
                    f'<style>{css}</style><div class="bd-content"><article class="bd-article">{body}</article></div>', "utf-8")
    return made


def test_letters_stay_letters_drawings_stay_vectors_and_folds_stay_shut(tmp_path: Path) -> None:
    folds = "".join(f'<details class="{kind}"><summary>Code</summary><p>hidden</p></details>' for kind in ("code", "machinery"))
    figure = Figure([Panel(line, "a line")], "A caption that is read.", [("x",), (1,)], "numbers")._repr_html_()
    write_pdf(page(tmp_path, f"<h1>Words to select</h1>{folds}"), tmp_path / "bare.pdf")
    write_pdf(page(tmp_path, f"<h1>Words to select</h1>{figure}{folds}"), tmp_path / "drawn.pdf")
    bare, drawn = PdfReader(tmp_path / "bare.pdf"), PdfReader(tmp_path / "drawn.pdf")
    assert "Words to select" in words(bare) and "A caption that is read." in words(drawn)
    assert not any(hidden in words(drawn) for hidden in ("hidden", "Code", "Data (CSV)"))
    assert not any(page.images for page in drawn.pages), "the drawing was made of dots"
    assert curves(drawn) - curves(bare) > 40


def test_no_browser_and_one_that_prints_nothing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printing.shutil, "which", lambda name: None)
    with pytest.raises(Problem, match="a PDF needs one of chromium"):
        write_pdf(tmp_path / "page.html", tmp_path / "page.pdf")
    mute = tmp_path / "chromium"
    mute.write_text("#!/bin/sh\necho out of ink >&2\n", encoding="utf-8")
    mute.chmod(mute.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(printing.shutil, "which", lambda name: str(mute))
    (tmp_path / "page.pdf").write_text("of an earlier print", encoding="utf-8")
    with pytest.raises(Problem, match="printed nothing: out of ink"):
        write_pdf(tmp_path / "page.html", tmp_path / "page.pdf")


def test_the_archive_holds_pages_notebooks_and_results_and_no_more(tmp_path: Path) -> None:
    for name in ("_build/html/index.html", "_build/html/_static/a.css", "notebooks/01.ipynb", "results/laptop/claims.json",
                 "_build/next/x.html", "book/x.md", "synthprune.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    write_archive(tmp_path, tmp_path / "book.zip")
    held = zipfile.ZipFile(tmp_path / "book.zip")
    assert set(held.namelist()) == {f"synthprune-book/{name}" for name in (
        "html/index.html", "html/_static/a.css", "notebooks/01.ipynb", "results/laptop/claims.json")}
    assert held.read("synthprune-book/html/index.html") == b"_build/html/index.html"


def test_the_whole_book_is_printed(book: tuple[Path, Path], tmp_path: Path) -> None:
    write_pdf(single_page(book[0]), tmp_path / "book.pdf")
    pdf = PdfReader(tmp_path / "book.pdf")
    said = words(pdf)
    for chapter in sorted((book[0] / "book").glob("[01]*.ipynb")):
        title = re.search(r"# ([^\\\"]+)", chapter.read_text(encoding="utf-8"))[1]
        assert title.split(":")[0] in said, f"{chapter.stem} is not in the PDF"
    assert "What may be concluded" in said and "Parameters of this chapter" not in said and "run.provenance()" not in said
    assert "Parameters, plan, and where the numbers come from" not in said, "the page was printed without its style"
    assert curves(pdf) > 10_000, "figures are drawn as vectors"
