"""From notebooks to a book: a strict runner, a gate, a status page, and one build with warnings as errors."""

from __future__ import annotations

import html
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import Any

from synthprune import claims, specs
from synthprune.chapter import combined_digest, made_words, open_store, profile_words
from synthprune.experiments import CHAPTERS, experiment
from synthprune.experiments.settings import parameters
from synthprune.figures import Verdict
from synthprune.home import sources
from synthprune.machine import cores
from synthprune.problems import Problem
from synthprune.solve import Report, solve, unobtainable

WIDGETS = "application/vnd.jupyter.widget"
REFERENCE = "laptop"
"""The profile whose shipped verdicts the scoreboard shows beside this run's."""

PARTS = ("notebooks", "book", "results", "_config.yml", "_toc.yml")


def execute(chapter: str, given: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Run a chapter's notebook with the parameters `given`, check it, and only then put it at `output`.

    Returns the notebook's record. Raises Problem where a parameter is wrong (before anything starts), a cell fails or
    the notebook does not pass the gate; the failed notebook then lies beside, named '<output>.failed.ipynb'.
    """
    import logging

    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillException

    checked = parameters(experiment(chapter).Parameters, chapter, given)
    part = output.with_suffix(".failed.ipynb")
    part.parent.mkdir(parents=True, exist_ok=True)
    for noisy in ("papermill", "traitlets"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(sources() / "notebooks" / f"{chapter}.ipynb", part, parameters=dict(given),
                                   progress_bar=False, kernel_name="python3",
                                   extra_arguments=["--log-level=40"])  # else each kernel warns of its own transport
    except (PapermillException, DeadKernelError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise Problem(f"{chapter} did not finish: {reason} (what there is of it: {part})") from None
    record = gate(part, checked.profile)
    if json.loads(json.dumps(checked.model_dump())) != record["parameters"]:
        raise Problem(f"{part} was run with other parameters than it was given")
    part.replace(output)
    return record


def gate(notebook: Path, profile: str) -> dict[str, Any]:
    """The record of an executed notebook that may become a page. Raises Problem for any other, with the reason.

    Refused: a cell that failed or was never executed (a dead kernel leaves those), a widget, another profile than
    `profile`, a parameter that the chapter does not have, and results that are not those its parameters stand for.
    """
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for number, cell in enumerate(content["cells"], 1):
        if cell["cell_type"] != "code":
            continue
        if cell["source"] and cell.get("execution_count") is None:
            raise Problem(f"{notebook}: cell {number} was never executed (did the kernel die?)")
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                raise Problem(f"{notebook}: cell {number} failed: {output['ename']}: {output['evalue']}")
            if any(mime.startswith(WIDGETS) for mime in output.get("data", {})):
                raise Problem(f"{notebook}: cell {number} shows a widget, which a page cannot")
    if content["metadata"].get("papermill", {}).get("exception"):
        raise Problem(f"{notebook}: papermill says a cell failed")
    record = find_record(content)
    if record is None:
        raise Problem(f"{notebook} holds no provenance: its last cell must be run.provenance()")
    _injected_match(notebook, content, record)
    if record["profile"] != profile:
        raise Problem(f"{notebook} holds results of profile {record['profile']}, not of {profile}")
    model = experiment(record["chapter"]).Parameters
    asked = experiment(record["chapter"]).requests(parameters(model, record["chapter"], record["parameters"]))
    if {entry.key for entry in asked.values()} != record["results"].keys() | record["absent"].keys():
        raise Problem(f"{notebook} holds other results than its parameters ask for today: run it again")
    if combined_digest(record["results"]) != record["digest"]:
        raise Problem(f"{notebook}: its digest is not that of its results")
    return record


def find_record(content: dict[str, Any]) -> dict[str, Any] | None:
    """The provenance record in a notebook's outputs, the last one."""
    found = [output["metadata"]["synthprune"] for cell in content["cells"] for output in cell.get("outputs", [])
             if "synthprune" in output.get("metadata", {})]
    return found[-1] if found else None


def _injected_match(notebook: Path, content: dict[str, Any], record: dict[str, Any]) -> None:
    """What papermill says it passed must be what the results were made with."""
    passed = content["metadata"].get("papermill", {}).get("parameters", {})
    model = experiment(record["chapter"]).Parameters
    try:
        stated = parameters(model, record["chapter"], record["parameters"] | passed).model_dump()
    except Problem as problem:
        raise Problem(f"{notebook} states parameters it cannot have had: {problem}") from None
    if json.loads(json.dumps(stated)) != record["parameters"]:
        raise Problem(f"{notebook} says it was run with {passed}, but its results were not")


def build(profile: str, root: Path, report: Report, workers: int | None = None) -> Path:
    """Solve every chapter's requests, execute the chapters, and build the book in `root`; returns its first page.

    `root` holds the sources already (the checkout), or is made from them. Raises Problem where anything fails; pages of
    an earlier build are then left as they were.
    """
    _materialise(root)
    asked = {chapter: experiment(chapter).requests(parameters(experiment(chapter).Parameters, chapter, {"profile": profile}))
             for chapter in CHAPTERS}
    together = {f"{chapter}: {name}": entry for chapter, entries in asked.items() for name, entry in entries.items()}
    solve(together, open_store(), workers=workers, report=report)
    lacking = {chapter: unobtainable(entries, open_store()) for chapter, entries in asked.items()}
    shown = [chapter for chapter in CHAPTERS if not asked[chapter] or len(lacking[chapter]) < len(asked[chapter])]
    for chapter in CHAPTERS:
        for old in (root / "book").glob(f"{chapter}.*"):
            old.unlink()
        if chapter not in shown:
            page = absent_page(chapter, profile, next(iter(lacking[chapter].values())))
            (root / "book" / f"{chapter}.md").write_text(page, encoding="utf-8")
    with ThreadPoolExecutor(cores()) as side_by_side:  # each in a kernel of its own
        made = side_by_side.map(lambda chapter: execute(chapter, {"profile": profile}, root / "book" / f"{chapter}.ipynb"), shown)
        records = dict(zip(shown, made, strict=True))
    judged = {claim.id: claims.Judgement(**records[claim.chapter]["claims"][claim.id]) if claim.chapter in records
              else claims.evaluate(claim, {claim.chapter: next(iter(lacking[claim.chapter].values()))}, profile, decides=True)
              for claim in claims.load()}
    _check_prose(root, judged)
    board = claims.scoreboard(claims.load(), judged, claims.recorded(REFERENCE))
    (root / "book" / "scoreboard.md").write_text(board, encoding="utf-8")
    (root / "book" / "status.md").write_text(status_page(records), encoding="utf-8")
    (root / "book" / "hero.md").write_text(_hero(profile), encoding="utf-8")
    return _compile(root)


def _check_prose(root: Path, judged: Mapping[str, claims.Judgement]) -> None:
    """Raises Problem where a page's prose states a verdict that the ledger does not."""
    pages = {file.name: file.read_text(encoding="utf-8") for file in (root / "book").glob("index*.md")}
    for file in sorted((root / "notebooks").glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        pages[file.name] = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    faults = [f"{page}, {fault}" for page, prose in pages.items() for fault in claims.contradictions(prose, judged)]
    if faults:
        raise Problem(f"prose states verdicts that the ledger does not: {'; '.join(faults)}")


def _compile(root: Path) -> Path:
    """Build the pages beside those of an earlier build, and put them in their place only if there was no warning."""
    part, pages = root / "_build" / "next", root / "_build" / "html"
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "--all", "-W", "-n",
               "--keep-going", "-q", "--path-output", str(part), str(root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    built = part / "_build" / "html"
    if done.returncode or not (built / "index.html").exists():
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "WARNING" in line or "ERROR" in line]
        raise Problem("jupyter-book failed:\n" + "\n".join(lines[:20] or (done.stderr + done.stdout).splitlines()[-20:]))
    shutil.rmtree(pages, ignore_errors=True)
    built.rename(pages)
    shutil.rmtree(part)
    return pages / "index.html"


def _materialise(root: Path) -> None:
    if root.resolve() == sources().resolve():
        return
    for part in PARTS:
        origin, copy = sources() / part, root / part
        if origin.is_dir():
            shutil.copytree(origin, copy, dirs_exist_ok=True)
        elif origin.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, copy)


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
    shown = hero(p, solve(paths(p), open_store()))._repr_html_()
    return shown.replace('"synthprune">', '"synthprune hero">', 1) + "\n"
