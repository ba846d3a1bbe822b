"""The pages that no notebook makes: status, scoreboard, the front page's figure, and what stands for an absent chapter."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from synthprune import claims, scoreboard, specs
from synthprune.chapter import made_words, open_store, profile_words
from synthprune.experiments.settings import parameters
from synthprune.figures import Verdict
from synthprune.home import sources
from synthprune.problems import Problem
from synthprune.solve import solve, unobtainable

UNWRITTEN = "its chapter is not written yet"

REFERENCE = "laptop"
"""The profile whose shipped verdicts the scoreboard shows beside this run's."""


def write_pages(root: Path, profile: str, records: Mapping[str, dict[str, Any]], absent: Mapping[str, str]) -> None:
    """Write every page that is made from the executed chapters' `records`, and one for each `absent` chapter.

    Raises Problem where prose states a verdict that the ledger does not.
    """
    ledger = claims.load()
    judged = {claim.id: claims.Judgement(**records[claim.chapter]["claims"][claim.id]) if claim.chapter in records
              else claims.evaluate(claim, {claim.chapter: absent.get(claim.chapter, UNWRITTEN)}, profile, decides=True)
              for claim in ledger}
    _check_prose(root, judged)
    pages = {"scoreboard": scoreboard.scoreboard(ledger, judged, claims.recorded(REFERENCE)), "status": status_page(records),
             "hero": _hero(profile), "timings": (sources() / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")}
    for chapter, reason in absent.items():
        (root / "book" / f"{chapter}.ipynb").unlink(missing_ok=True)
        pages[chapter] = absent_page(chapter, profile, reason)
    for chapter in records:
        (root / "book" / f"{chapter}.md").unlink(missing_ok=True)
    for name, text in pages.items():
        (root / "book" / f"{name}.md").write_text(text, encoding="utf-8")


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
    """What stands for a chapter whose data are not here: its own first words, and which data to get and how."""
    cells = json.loads((sources() / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    before = list(takewhile(lambda cell: cell["cell_type"] == "markdown", cells))[:-1]  # the last introduces the parameters
    opening = "\n\n".join("".join(cell["source"]) for cell in before)
    box = Verdict("open", "Not run", f"Profile {profile} needs data for this chapter that are not on the machine that built this"
                  f" book: {reason}. Nothing else stands in their place.")
    return f"{opening}\n\n{box._repr_html_()}\n"


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
        cells = [profile_words(r), f"stale ({', '.join(old)})" if old else "fresh",
                 f"{len(r['results'])} results, digest {r['digest'][:12]}", f"{r['core_seconds']:.0f}",
                 f"{r['page_seconds']:.1f}"]
        lines.append(f'<tr><th scope=row><a href="{chapter}.html">{chapter}</a></th>'
                     + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
                     + f'<td class="text">{html.escape(made_words(r))}</td></tr>')
    return "\n".join([*lines, "</tbody></table></div></div>", ""])


def _hero(profile: str) -> str:
    """The front page's figure, from this build's results."""
    from synthprune.experiments.stability import Parameters, paths
    from synthprune.figures.stability import hero

    p = parameters(Parameters, "04_stability", {"profile": profile})
    if unobtainable(paths(p), open_store()):
        return "*The data of this profile are not on the machine that built this book.*\n"
    shown = hero(p, solve(paths(p), open_store()))._repr_html_()
    return shown.replace('"synthprune">', '"synthprune hero">', 1) + "\n"
