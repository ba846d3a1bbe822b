"""The built book, page by page, in a browser; and proof that the looking finds what it should."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from browser import AXE, find_browser, look, pages_of
from matplotlib.figure import Figure as Canvas

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def chromium() -> str:
    program = find_browser()
    if program is None:
        reason = "no Chromium, Chrome or Edge found: the browser checks were not run"
        if os.environ.get("SYNTHPRUNE_BROWSER_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return program


# Each visit is a fresh profile that sets mathematics; on two cores a whole book takes longer than a test usually may.
@pytest.mark.timeout(1500)
def test_every_page_stands_in_a_browser_without_a_network(built_book: Path, chromium: str) -> None:
    pages = pages_of(built_book)
    assert {"index.html", "genindex.html", "search.html"} <= {page.name for page in pages}
    faults = look(built_book, pages, browser=chromium)
    assert not faults, "\n" + "\n".join(map(str, faults))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>page</title>{head}</head>
<body><main><article><h1>Title</h1>{body}</article></main></body></html>
"""
DOT = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/%3E"

# What is wrong, the head, the body, the kind of fault it must be called.
BROKEN = {
    "external script": ('<script src="https://cdn.example/x.js"></script>', "", "refused request"),
    "external font": ("<style>@import url('https://fonts.example/x.css');</style>", "", "refused request"),
    "file outside the book": ("", '<img src="../outside.svg" alt="outside">', "refused request"),
    "request by a script": ("<script>fetch('https://example.org/').catch(() => {})</script>", "", "refused request"),
    "missing file": ('<link rel="stylesheet" href="gone.css">', "", "missing file"),
    "broken image": ("", '<img src="data:image/png;base64,AAAA" alt="nothing">', "broken image"),
    "missing alt": ("", f'<img src="{DOT}">', "no alternative text"),
    "empty alt": ("", f'<img src="{DOT}" alt="">', "no alternative text"),
    "file name as alt": ("", f'<img src="{DOT}" alt="../_images/4f1c.png">', "no alternative text"),
    "silent drawing": ("", '<svg role="img" width="9" height="9"></svg>', "no alternative text"),
    "wide block": ("", '<div style="width: 2000px">wide</div>', "sideways scroll"),
    "clipped table": (
        "",
        '<div style="overflow: hidden"><table style="width: 2000px"><tr><td>a</table></div>',
        "cut off",
    ),
    "console error": ("<script>console.error('broken')</script>", "", "console error"),
    "console warning": ("<script>console.warn('careful')</script>", "", "console warning"),
    "theme log": (
        "<script>console.log('Got invalid theme mode: null. Resetting to auto.')</script>",
        "",
        "console log",
    ),
    "script error": ("<script>undefined_name()</script>", "", "script error"),
    "theme deaf to the system": ("<script>document.documentElement.dataset.theme = 'auto'</script>", "", "theme"),
    "two search boxes": ("", '<input type="search"><input type="search">', "search boxes"),
    "mathematics as source": ("", r'<span class="math">\(x^2\)</span>', "mathematics not set"),
    "skipped heading": ("", "<h3>Deep</h3>", "headings"),
    "search": ("", "", "search"),
    "a script before the first paint": ("<script src='data:text/javascript,0'></script>", "", "blocking script"),
    "too heavy": ("", f"<p hidden>{'x' * 1_600_000}</p>", "weight"),
    "two titles": ("", "<h1>Again</h1>", "headings"),
}
BARELY_LEGIBLE = '<p style="color: #bbb; background: #fff">pale</p>'
SOUND = (
    "",
    f'<h2>Section</h2><p>text</p><h3>Part</h3><img src="{DOT}" alt="a dot"><img src="{DOT}" alt="" aria-hidden="true">'
    '<svg role="img" width="9" height="9"><title>a square</title></svg>'
    '<input type="search" aria-label="Search"><input type="search" hidden>'
    '<div style="overflow-x: auto"><table style="width: 2000px"><tr><td>scrolls by itself</table></div>',
)


def test_each_fault_is_found_and_a_sound_page_has_none(tmp_path: Path, chromium: str) -> None:
    # One browser for all pages: starting it is what costs.
    book = tmp_path / "book"
    book.mkdir()
    (tmp_path / "outside.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "utf-8")
    wrong = {what.replace(" ", "-") + ".html": (head, body) for what, (head, body, _) in BROKEN.items()}
    for name, (head, body) in {**wrong, "sound.html": SOUND}.items():
        (book / name).write_text(PAGE.format(head=head, body=body), "utf-8")

    faults = look(book, browser=chromium)

    assert [str(fault) for fault in faults if fault.page == "sound.html"] == []
    for what, (_, _, kind) in BROKEN.items():
        page = what.replace(" ", "-") + ".html"
        assert kind in {fault.kind for fault in faults if fault.page == page}, f"{what} was not found"
        # At both widths and in both schemes, unless one of them happens to be right.
        seen = {(fault.width, fault.scheme) for fault in faults if fault.page == page and fault.kind == kind}
        assert len(seen) == 4, f"{what} was found only at {sorted(seen)}"


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed (tests/run does, where there is npm)")
def test_what_axe_calls_serious_is_a_fault(tmp_path: Path, chromium: str) -> None:
    (tmp_path / "page.html").write_text(PAGE.format(head="", body=BARELY_LEGIBLE), "utf-8")
    faults = look(tmp_path, widths=[1280], schemes=["light"], browser=chromium)
    assert [fault.kind for fault in faults] == ["accessibility"] and "color-contrast" in faults[0].detail


def test_a_fault_of_one_theme_alone_is_found(tmp_path: Path, chromium: str) -> None:
    # The system's scheme and the reader's choice are two switches; this page breaks only under the second.
    head = """<style>html[data-theme=dark] div { width: 2000px }</style>
    <script>const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light"</script>"""
    (tmp_path / "page.html").write_text(PAGE.format(head=head, body="<div>wide in the dark</div>"), "utf-8")
    faults = look(tmp_path, widths=[1280], schemes=["light"], browser=chromium)
    assert [fault.kind for fault in faults] == ["sideways scroll"]
    assert "theme set to dark" in faults[0].detail


def test_a_redirect_is_followed_to_a_page_that_exists(tmp_path: Path) -> None:
    redirect = '<meta http-equiv="Refresh" content="0; url=book/index.html" />'
    (tmp_path / "index.html").write_text(redirect, "utf-8")
    with pytest.raises(FileNotFoundError, match="redirects to"):
        pages_of(tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "index.html").write_text(PAGE.format(head="", body=""), "utf-8")
    assert pages_of(tmp_path) == [tmp_path / "book" / "index.html"]


def test_a_named_browser_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHPRUNE_BROWSER", "no-such-browser")
    with pytest.raises(FileNotFoundError, match="no-such-browser"):
        find_browser()


def test_a_figure_plays_by_keyboard_and_prints_its_still(tmp_path: Path, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    from synthprune.chapters.figures import Figure, Panel, Play

    rows = [("method", "level", "seed", "beta", "loss", "error"), ("dense", 0, 0, 0, 1, 5), ("dense", 0, 0, 1, 3, 7)]
    rows += [("synthetic", level, seed, beta, level + seed + beta, 2 * level)
             for level in (4, 9) for seed in (0, 1, 2) for beta in (0, 1)]
    still = Panel(lambda style: Canvas(figsize=(2, 2)), "a still")
    figure = Figure([still], "Caption.", rows, "numbers", Play("beta", "position", {"loss": "loss (nats)", "error": "error (%)"},
                    "method", {"level": "level"}, "seed", always=("dense",), instead=True, line={"error": 2}))
    static = ROOT / "book" / "_static"
    head = f"<style>{(static / 'synthprune.css').read_text()}</style><script>{(static / 'play.js').read_text()}</script>"
    (tmp_path / "page.html").write_text(PAGE.format(head=head, body=figure._repr_html_()), "utf-8")
    assert [str(fault) for fault in look(tmp_path, browser=chromium)] == []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--disable-gpu"])
        page = browser.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        told = page.locator("output")
        assert told.inner_text() == "loss (nats), level 9, position 1: dense 3; synthetic 11 [8.52, 13.5]."
        assert not page.locator(".panels").is_visible()
        assert page.get_by_text("stable below").count() == 0 and page.locator(".band").count() == 1
        page.locator("input").nth(0).press("ArrowLeft")
        assert told.inner_text() == "loss (nats), level 4, position 1: dense 3; synthetic 6 [3.52, 8.48]."
        page.locator("input").nth(1).press("ArrowRight")
        page.locator("input").nth(2).press("ArrowLeft")
        assert told.inner_text() == "error (%), level 4, position 0: dense 5; synthetic 8."
        assert page.get_by_text("stable below").count() == 1
        page.locator("button").nth(0).press("Enter")
        assert told.inner_text() == "error (%), level 4, position 0: synthetic 8."
        assert page.locator("button").nth(0).get_attribute("aria-pressed") == "false"
        assert page.get_by_text("SVG", exact=True).get_attribute("href").startswith("data:image/svg+xml")
        begun = replace(figure, play=replace(figure.play, start={"level": "4"}))
        (tmp_path / "page.html").write_text(PAGE.format(head=head, body=begun._repr_html_()), "utf-8")
        page.goto((tmp_path / "page.html").as_uri())
        assert told.inner_text() == "loss (nats), level 4, position 1: dense 3; synthetic 6 [3.52, 8.48]."
        page.emulate_media(media="print")
        assert page.locator(".panels").is_visible() and not page.locator(".play").is_visible()
        browser.close()
