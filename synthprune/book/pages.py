"""The pages that no notebook makes: status, scoreboard, the front page's figure, and what stands for an absent chapter."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthprune.book import arrange, claims, findings, scoreboard
from synthprune.book.findings import REFERENCE
from synthprune.chapter import STALE, made_words, open_store, profile_words
from synthprune.chapters import CHAPTERS
from synthprune.chapters.figures import DARK, LIGHT, Verdict
from synthprune.chapters.figures.words import listed
from synthprune.home import sources, write_whole
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Store

UNWRITTEN = "its chapter is not written yet"


def write_pages(root: Path, profile: str, records: Mapping[str, dict[str, Any]], absent: Mapping[str, str]) -> None:
    """Write every page that is made from the executed chapters' `records`, and one for each `absent` chapter.

    Raises Problem where prose states a verdict that the ledger does not.
    """
    ledger = claims.load()
    judged = {claim.id: claims.Judgement(**records[claim.chapter]["claims"][claim.id]) if claim.chapter in records
              else claims.evaluate(claim, {claim.chapter: absent.get(claim.chapter, UNWRITTEN)}, profile, decides=True)
              for claim in ledger}
    _check_prose(root, judged)
    others = None if profile == REFERENCE else claims.recorded(REFERENCE)
    pages = {"scoreboard": scoreboard.scoreboard(ledger, judged, others), "status": status_page(records),
             "paper": paper_page(ledger, judged),
             "hero": front(findings.stored(profile, open_store()), judged),
             "timings": (sources() / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")}
    for chapter, reason in absent.items():
        (root / "book" / f"{chapter}.ipynb").unlink(missing_ok=True)
        pages[chapter] = absent_page(chapter, profile, reason)
    for chapter in records:
        (root / "book" / f"{chapter}.md").unlink(missing_ok=True)
    for name, text in pages.items():
        (root / "book" / f"{name}.md").write_text(text, encoding="utf-8")
    if profile == REFERENCE and (root / "README.md").exists():
        write_readme(root, shipped())


def paper_page(ledger: Sequence[claims.Claim], judged: Mapping[str, claims.Judgement]) -> str:
    """MyST Markdown: each part of the paper that a chapter names in its first words, the chapter, and what it decides."""
    rows = []
    for chapter in CHAPTERS:
        cells = json.loads((sources() / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
        title, words = "".join(cells[0]["source"]).split("\n\n")[:2]
        part = re.match(r"The paper's ((?:abstract|section)[^{:.]*(?:\.\d[^{:.]*)?)", words)
        decided = "<br>".join(f'<a href="scoreboard.html#claim-{claim.id}">{claim.title}</a>: {judged[claim.id].words}'
                              for claim in ledger if claim.chapter == chapter)
        rows.append(f"<tr><th scope=row class=key>{part[1].strip().capitalize() if part else 'Ours'}</th>"
                    f'<td class="text"><a href="{chapter}.html">{html.escape(title.removeprefix("# "))}</a></td>'
                    f'<td class="text">{decided or "none"}</td></tr>')
    head = "".join(f"<th scope=col>{name}</th>" for name in ("in the paper", "our page", "statements, this run"))
    return "\n".join(["# From the paper to this book", "",
                      "Where each section, figure and table of the paper is run again, and how its statements fare there.", "",
                      '<div class="wide"><div class="table-scroll" tabindex="0" role="region"'
                      ' aria-label="Parts of the paper and our pages">',
                      f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></div>", ""])


def _check_prose(root: Path, judged: Mapping[str, claims.Judgement]) -> None:
    """Raises Problem where a page's prose states a verdict that the ledger does not."""
    pages = {file.name: file.read_text(encoding="utf-8") for file in (root / "book").glob("index*.md")}
    for file in sorted((root / "notebooks").glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        pages[file.name] = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    faults = [f"{page}, {fault}" for page, prose in pages.items() for fault in scoreboard.contradictions(prose, judged)]
    if faults:
        raise Problem(f"prose states verdicts that the ledger does not: {'; '.join(faults)}")


def absent_page(chapter: str, profile: str, reason: str) -> str:
    """What stands for a chapter without results: its own first words, and why (which data to get and how, what to compute)."""
    cells = json.loads((sources() / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    text = {section.heading: "\n\n".join("".join(cell["source"]) for cell in section.cells if cell["cell_type"] == "markdown")
            for section in arrange.sections(cells)}
    top, rest = arrange.split_opening(text[""])
    method = "\n\n".join(filter(None, [rest, text.get(arrange.METHOD, "")]))
    box = Verdict("open", "Not run", f"On the machine that built this book there are no results of profile {profile} for this"
                  f" chapter: {reason}. Nothing is shown in their place.")
    return f"{top}\n\n{box._repr_html_()}\n" + (f"\n## {arrange.HOW}\n\n{method}\n" if method else "")


def status_page(records: Mapping[str, dict[str, Any]]) -> str:
    """MyST Markdown: one row per chapter, from the executed notebooks' own records."""
    header = ("chapter", "profile", "fresh?", "result", "core-seconds", "page seconds", "made with")
    lines = ["# Status", "", "What this book was made from, read from the executed notebooks themselves.",
             "*Fresh* means that every kind of result on the page is of the version that today's code would make.",
             "*Core-seconds* is what the results took to make, *page seconds* what the page took from them.", "",
             '<div class="wide"><div class="table-scroll" tabindex="0" role="region" aria-label="Status of the chapters">',
             "<table>",
             f"<thead><tr>{''.join(f'<th scope=col>{name}</th>' for name in header)}</tr></thead><tbody>"]
    for chapter, r in records.items():
        old = [kind for kind, version in r["versions"].items() if specs.stale(kind, version)]
        old += sorted({reason.partition(";")[0] for reason in r["absent"].values() if reason.startswith(STALE)})
        cells = [profile_words(r), f"stale ({', '.join(old)})" if old else "fresh",
                 f"{len(r['results'])} of {len(r['results']) + len(r['absent'])} results, digest {r['digest'][:12]}",
                 f"{r['core_seconds']:.0f}", f"{r['page_seconds']:.1f}"]
        lines.append(f'<tr><th scope=row><a href="{chapter}.html">{chapter}</a></th>'
                     + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
                     + f'<td class="text">{html.escape(made_words(r))}</td></tr>')
    return "\n".join([*lines, "</tbody></table></div></div>", ""])


def front(chapters: Mapping[str, findings.Chapter], judged: Mapping[str, claims.Judgement]) -> str:
    """MyST Markdown that follows the paper's claim: answer, one figure, what was found, what cannot be told, the scale."""
    said = findings.page(chapters)
    heading = "What we found" if said.found else "What is measured so far"
    found = f'<div class="found"><h2 id="what-we-found">{heading}</h2>{_found(said)}</div>' if said.scale else ""
    hero = _hero(chapters)
    top = (f'<div class="front"><p class="answer"><strong>Our answer.</strong> {html.escape(said.answer)}</p>'
           f'<div class="front__body{" full-width" if found and "<figure" in hero else ""}">{hero}{found}</div></div>')
    return "\n".join([top, "", *(_limits(said, judged) if said.scale else [])])


def _found(said: findings.Page) -> str:
    """HTML: a line for each finding; what they lead to is the chapter that measures them."""
    # Until something is found, the numbers are what a line has to say.
    form = '<a href="{}.html">{}</a> <span>({}).</span>' if said.found else '<a href="{}.html">{}</a>, {}.'
    lines = [" ".join(form.format(one.chapter, html.escape(words), html.escape(numbers)) for words, numbers in one.sentences)
             for one in said.findings]
    items = "".join(f"<li>{line}</li>" for line in lines)
    return (f"<ul>{items}</ul>" if items else "") + f'<p class="note">{html.escape(" ".join(_notes(said)))}</p>'


def _notes(said: findings.Page) -> list[str]:
    """What the lines leave unsaid: from how many initialisations they are, what is not measured, and what brackets are."""
    if not said.findings:
        return ["Nothing is measured yet."]
    partial = any(part.side == "partial" for one in said.findings for part in one.parts)
    few = said.so_far or "all planned initialisations"
    missing = [f"Not measured yet: {listed(said.unmeasured)}."] if said.unmeasured else []
    return [f"From {few}, unless a line says otherwise."] * partial + missing + [BRACKETS]


BRACKETS = ("Means over initialisations, in brackets the 95\N{NO-BREAK SPACE}% interval where there is more than one; barriers"
            " of the training error. A line is about its own intervals; the answer asks more of its statements: the criteria of"
            " the scoreboard, with both errors, margins and a correction for several comparisons.")


def _hero(chapters: Mapping[str, findings.Chapter]) -> str:
    """The one figure, as HTML."""
    figure = findings.figure(chapters)
    if figure is None:
        return "<p>No result behind the figure is here yet; the chapters show what is.</p>"
    still = dataclasses.replace(figure, play=None)  # one look is enough here; the chapter has what moves
    shown = still._repr_html_().replace('"synthprune">', '"synthprune hero">', 1)
    return arrange.led(shown, "10_controls.html#code-1") if figure.name == "10_controls_question" else shown


def _limits(said: findings.Page, judged: Mapping[str, claims.Judgement]) -> list[str]:
    """MyST Markdown: what the measurements leave open, every verdict counted, and how far their scale is from the paper's."""
    amendments = {claim.id for claim in claims.load() if claim.amends}
    counted = scoreboard.tally(judgement for name, judgement in judged.items() if name not in amendments)
    untold = f"These intervals do not tell: {'; '.join(said.untold)}." if said.untold else ""
    rows = "".join(f"<tr><th scope=row>{what}</th><td>{paper}</td><td>{ours}</td></tr>" for what, paper, ours in said.scale)
    return ["## What cannot be told", "", untold,
            f"All statements of the [scoreboard](scoreboard.md): {counted}." if counted else "",
            "What does not hold at one scale is not refuted at another, and one network on one data set speaks for itself alone.",
            "", "## How far this is from the paper", "",
            '<div class="numbers"><div class="table-scroll" tabindex="0" role="region" aria-label="The paper\'s scale and ours">',
            "<table><thead><tr><td></td><th scope=col>paper and its code</th><th scope=col>ours</th></tr></thead>",
            f"<tbody>{rows}</tbody></table></div></div>", ""]


FIGURE = f"results/{REFERENCE}/findings-{{}}.svg"
MARKS = ("<!-- findings -->", "<!-- /findings -->")


def shipped() -> dict[str, findings.Chapter]:
    """What the README's findings are made from: the results that ship, and no others that may be in this user's store."""
    results = sources() / "results"
    return findings.stored(REFERENCE, Store(results / "none", shelves=[results]))


def write_readme(root: Path, chapters: Mapping[str, findings.Chapter]) -> None:
    """Write the README's findings between their marks, and the figure that they stand under, from these chapters."""
    figure, file = findings.figure(chapters), root / "README.md"
    for style in (LIGHT, DARK) if figure else ():
        write_whole(root / FIGURE.format(style.scheme), figure.panels[0].svg(style))
    before, _, rest = file.read_text(encoding="utf-8").partition(MARKS[0])
    text = f"{before}{MARKS[0]}\n{readme_block(chapters)}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"
    write_whole(file, text.encode())


def readme_block(chapters: Mapping[str, findings.Chapter]) -> str:
    """Markdown: figure, answer and findings, a line each."""
    said, figure = findings.page(chapters), findings.figure(chapters)
    picture = [f'<picture><source media="(prefers-color-scheme: dark)" srcset="{FIGURE.format("dark")}"><img'
               f' src="{FIGURE.format("light")}" alt="{html.escape(figure.panels[0].alt)}"></picture>', ""] if figure else []
    lines = ["- " + " ".join(f"[{words}](notebooks/{one.chapter}.ipynb) ({numbers})." for words, numbers in one.sentences)
             for one in said.findings]
    return "\n".join([*picture, f"**Our answer.** {said.answer}", *lines, " ".join(_notes(said))])
