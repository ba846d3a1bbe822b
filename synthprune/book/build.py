"""From notebooks to a book: a strict runner, a gate, a status page, and one build with warnings as errors."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from synthprune.book.inputs import of_files, of_page, surroundings
from synthprune.book.pages import REFERENCE, write_pages
from synthprune.book.shipping import LIVE
from synthprune.chapter import STALE, STORED_ONLY, combined_digest, open_store, uncomputed
from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.profiles import read_profile
from synthprune.chapters.settings import parameters
from synthprune.home import sources, write_whole
from synthprune.machine import cores
from synthprune.problems import Problem
from synthprune.results.solve import Report, missing, solve, unobtainable

WIDGETS = "application/vnd.jupyter.widget"
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
    # As they were understood: a file of the user's own by its name, wherever the kernel runs.
    understood = {name: getattr(checked, name) if value is not None else None for name, value in given.items()}
    failed = output.with_suffix(".failed.ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    for noisy in ("papermill", "traitlets"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".run-") as own:  # two runs may have one output
        part = Path(own) / output.name
        try:
            papermill.execute_notebook(sources() / "notebooks" / f"{chapter}.ipynb", part, parameters=understood,
                                       progress_bar=False, kernel_name="python3",
                                       extra_arguments=["--log-level=50"])  # else each kernel tells of its own transport and end
            record = gate(part, checked.profile)
            if json.loads(json.dumps(checked.model_dump())) != record["parameters"]:
                raise Problem(f"{part} was run with other parameters than it was given")
        except (PapermillException, DeadKernelError, Problem) as error:
            if part.exists():
                part.replace(failed)
            if isinstance(error, Problem):
                raise Problem(str(error).replace(str(part), str(failed))) from None
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise Problem(f"{chapter} did not finish: {reason} (what there is of it: {failed})") from None
        part.replace(output)
    failed.unlink(missing_ok=True)
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


def build(profile: str, root: Path, progress: Callable[..., AbstractContextManager[Report]], workers: int | None = None,
          ) -> tuple[Path, dict[str, str]]:
    """Solve every chapter's requests, execute the chapters whose inputs changed, and build the book in `root`.

    Of the profile whose results ship nothing is computed but the LIVE chapters. `root` holds the sources already (the
    checkout), or is made from them. Returns the book's first page, and what is to be said of chapters: why one was not run
    (it has a page that says so), or that what ships of it is stale. Raises Problem where anything fails; pages of an
    earlier build are then left as they were.
    """
    _materialise(root)
    stored_only = [chapter for chapter in CHAPTERS if chapter not in LIVE] if profile == REFERENCE else []
    asked = {chapter: experiment(chapter).requests(parameters(experiment(chapter).Parameters, chapter, {"profile": profile}))
             for chapter in CHAPTERS}
    store = open_store()
    lacking = {chapter: uncomputed(entries, store, profile) if chapter in stored_only else unobtainable(entries, store)
               for chapter, entries in asked.items()}
    absent = {chapter: next(iter(reasons.values())) for chapter, reasons in lacking.items()
              if reasons and len(reasons) == len(asked[chapter])}
    around = surroundings()

    def page(chapter: str) -> dict[str, Any]:
        said = [around, read_profile(profile), lacking[chapter], chapter in stored_only]
        return _page(root, chapter, profile, of_page(chapter, {"profile": profile}, asked[chapter], said, store))

    with _computing_nothing(stored_only), _kernels() as kernels:
        # Pages of stored results wait for nothing; beside them the little that is live needs no cluster.
        pages = {chapter: kernels.submit(page, chapter) for chapter in stored_only if chapter not in absent}
        wanted = {f"{chapter}: {name}": entry for chapter, entries in asked.items() if chapter not in stored_only
                  for name, entry in entries.items() if name not in lacking[chapter]}
        with progress({"the book": missing(wanted, store)}, workers) as report:
            solve(wanted, store, workers=workers or (1 if stored_only else None), report=report)
        pages |= {chapter: kernels.submit(page, chapter) for chapter in CHAPTERS if chapter not in {*absent, *pages}}
        records = {chapter: pages[chapter].result() for chapter in CHAPTERS if chapter in pages}
    write_pages(root, profile, records, absent)
    stale = {chapter: reason for chapter, reasons in lacking.items() for reason in reasons.values() if reason.startswith(STALE)}
    return _compile(root, around), absent | stale


@contextlib.contextmanager
def _computing_nothing(chapters: Iterable[str]) -> Iterator[None]:
    """Kernels that are started meanwhile compute nothing for these chapters."""
    os.environ[STORED_ONLY] = ",".join(chapters)
    try:
        yield
    finally:
        del os.environ[STORED_ONLY]


@contextlib.contextmanager
def _kernels() -> Iterator[ThreadPoolExecutor]:
    """Threads that each wait for one kernel, as many as there are cores; after a failure no other kernel is started."""
    with ThreadPoolExecutor(cores()) as kernels:
        try:
            yield kernels
        except BaseException:
            kernels.shutdown(wait=False, cancel_futures=True)
            raise


def _page(root: Path, chapter: str, profile: str, inputs: str) -> dict[str, Any]:
    """Put the executed chapter in its place: the one that was kept, if it was made from these `inputs`; its record."""
    output, folder = root / "book" / f"{chapter}.ipynb", root / "_build" / "executed"
    kept = folder / f"{chapter}.{inputs}.ipynb"
    if kept.exists():
        record = gate(kept, profile)
        write_whole(output, kept.read_bytes())
        return record
    record = execute(chapter, {"profile": profile}, output)
    for older in folder.glob(f"{chapter}.*.ipynb"):
        older.unlink()
    write_whole(kept, output.read_bytes())
    return record


def _compile(root: Path, around: str) -> Path:
    """Build the pages beside those of an earlier build, and put them in their place only if there was no warning.

    What was built from the same files, in the same surroundings (`around`), stays as it is.
    """
    pages, mark = root / "_build" / "html", root / "_build" / "html.sha256"
    inputs = f"{around} {of_files([*(root / 'book').rglob('*'), root / '_config.yml', root / '_toc.yml'])}"
    if (pages / "index.html").exists() and mark.exists() and mark.read_text() == inputs:
        return pages / "index.html"
    built = _sphinx(root, "html")
    mark.unlink(missing_ok=True)
    shutil.rmtree(pages, ignore_errors=True)
    built.rename(pages)
    shutil.rmtree(root / "_build" / "next")
    write_whole(mark, inputs.encode())
    return pages / "index.html"


def single_page(root: Path) -> Path:
    """The built book as one page, to be printed. Raises Problem where Sphinx warns."""
    built = _sphinx(root, "singlehtml")
    # The builder writes every address, the stylesheet's too, as seen from the folder above.
    return (built / "book" / "index.html").rename(built / "book.html")


def _sphinx(root: Path, builder: str) -> Path:
    """What a builder of Sphinx makes of the book, in a folder that the next call empties."""
    part = root / "_build" / "next"
    shutil.rmtree(part, ignore_errors=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "--all", "-W", "-n",
               "--keep-going", "-q", "--builder", builder, "--path-output", str(part), str(root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    built = part / "_build" / builder
    if done.returncode or not built.exists():
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "WARNING" in line or "ERROR" in line]
        raise Problem("jupyter-book failed:\n" + "\n".join(lines[:20] or (done.stderr + done.stdout).splitlines()[-20:]))
    return built


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
