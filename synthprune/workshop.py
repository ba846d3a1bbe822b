"""The workshop: learner notebooks and solutions from one source, slides, a check of the machine, and measured times.

The lessons lie in `workshop/` beside the book: notebooks whose solutions stand between the lines BEGIN and END, `checks.py`
that says what is wrong with an answer, and `slides.md`.
"""

from __future__ import annotations

import html
import importlib
import importlib.util
import pkgutil
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from synthprune import problems
from synthprune.home import sources
from synthprune.problems import Problem

if TYPE_CHECKING:
    from nbformat import NotebookNode

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
"""The convention of nbgrader, whose own preprocessor would bring a server with it."""
GAP = "...  # your lines here"
COURSES = {"90_minutes": ("1_prune", "2_barriers"), "half_day": ("1_prune", "2_barriers", "3_controls", "4_evidence")}
"""The lessons of each course, in their order."""
HALF_DAY = "<!-- half day -->"
"""A slide that begins with this is not shown in the 90 minutes."""
NOTE = "\nNote:"


def lessons() -> Path:
    """The folder of the lessons' sources."""
    return sources() / "workshop"


@cache
def _checks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthprune_workshop_checks", lessons() / "checks.py")
    if spec is None or spec.loader is None:
        raise Problem(f"{lessons() / 'checks.py'} cannot be read: install synthprune again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def __getattr__(name: str) -> Any:
    """What a lesson asks for ("check", and the material of some exercises) stands in `checks.py`."""
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(_checks(), name)


def cleared(source: str) -> str:
    """A cell with a gap, indented alike, in place of each solution. Raises Problem where BEGIN and END do not pair."""
    lines, inside = [], False
    for line in source.splitlines():
        mark = line.strip()
        if mark in (BEGIN, END):
            if (mark == BEGIN) == inside:
                raise Problem(f"'{mark}' where the other mark was due, in the cell that begins '{source.splitlines()[0]}'")
            inside = mark == BEGIN
            if inside:
                lines.append(line.replace(BEGIN, GAP))
        elif not inside:
            lines.append(line)
    if inside:
        raise Problem(f"'{END}' is missing in the cell that begins '{source.splitlines()[0]}'")
    return "\n".join(lines)


def solved(source: str) -> str:
    """The same cell with its solution and without the marks."""
    return "\n".join(line for line in source.splitlines() if line.strip() not in (BEGIN, END))


def lay_out(folder: Path, *, pdf: bool = False) -> None:
    """Write learner notebooks, solutions, slides and notes into `folder`, which must be new or empty.

    `pdf`: the slides as PDF too. Raises Problem where the folder holds something, or there is no Chromium to print with.
    """
    import nbformat

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Problem(f"{folder} is there already: name a new folder, or empty this one")
    for part in ("learner", "solutions", "slides", "notes"):
        (folder / part).mkdir(parents=True)
    for file in sorted(lessons().glob("*.ipynb")):
        for part, change in (("learner", cleared), ("solutions", solved)):
            notebook = nbformat.read(file, 4)
            for cell in notebook.cells:
                cell.source = change(cell.source)
            nbformat.write(notebook, folder / part / file.name)
    for file in (sources() / "book" / "workshop").glob("*.md"):
        shutil.copy2(file, folder / "notes")
    figures: dict[str, str] = {}
    pages = [folder / "slides" / f"{course}.html" for course in COURSES]
    for course, page in zip(COURSES, pages, strict=True):
        page.write_text(slides(course, figures), encoding="utf-8")
    for page in pages if pdf else ():
        print_pdf(page)


# Slides.


def slide_sources(course: str) -> list[str]:
    """The Markdown of every slide of a course."""
    every = (lessons() / "slides.md").read_text(encoding="utf-8").split("\n---\n")
    return [one.replace(HALF_DAY, "").strip() for one in every if course != "90_minutes" or not one.lstrip().startswith(HALF_DAY)]


def slides(course: str, figures: dict[str, str]) -> str:
    """One page of HTML with a course's slides, speaker notes folded under `n`; it needs nothing beside it.

    `figures`: those drawn already, by what asks for them; those drawn now are added.
    """
    from markdown_it import MarkdownIt

    def figure(found: re.Match[str]) -> str:
        asked = html.unescape(found[1])
        if asked not in figures:
            figures[asked] = _drawn(asked)
        return figures[asked]

    markdown, style = MarkdownIt("commonmark").enable("table"), (lessons() / "slides.css").read_text(encoding="utf-8")
    sections = []
    for one in slide_sources(course):
        text, _, note = one.partition(NOTE)
        shown = re.sub(r"<pre><code class=\"language-figure\">(.*?)</code></pre>", figure, markdown.render(text), flags=re.DOTALL)
        aside = f'<aside aria-label="Speaker note">{markdown.render(note)}</aside>' if note else ""
        sections.append(f'<section tabindex="-1">{shown}{aside}</section>')
    title = f"Pruning with synthetic data: {course.replace('_', ' ')}"
    script = (lessons() / "slides.js").read_text(encoding="utf-8")
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><meta name="viewport"'
            f' content="width=device-width"><style>{style}</style></head><body><main>{"".join(sections)}</main>'
            f'<p id="place" role="status"></p><script>{script}</script></body></html>')


def _drawn(asked: str) -> str:
    """The first figure or table that an expression gives: from what there is of the reference run, which its caption says,
    else from stored demo results.

    `asked`: the chapter's name, and on the next line a Python expression of `p`, `results` and the rooms of
    `synthprune.chapters.figures`.
    """
    from synthprune.book.findings import REFERENCE
    from synthprune.chapter import open_store
    from synthprune.chapters import experiment, figures
    from synthprune.chapters.settings import parameters

    chapter, expression = asked.strip().split("\n", 1)
    rooms = {room.name: importlib.import_module(f"synthprune.chapters.figures.{room.name}")
             for room in pkgutil.iter_modules(figures.__path__)}
    store = open_store()
    for profile in (REFERENCE, "demo"):
        p = parameters(experiment(chapter).Parameters, chapter, {"profile": profile})
        wanted = experiment(chapter).requests(p)
        results = {name: store.get(entry) for name, entry in wanted.items() if store.has(entry)}
        if results and (profile == REFERENCE or results.keys() == wanted.keys()):
            drawn = eval(expression, rooms | {"p": p, "results": results})._repr_html_()
            figure = re.search(r'<figure class="(synthprune|numbers)\b.*?</figure>', drawn, re.DOTALL)
            if figure and "not measured" not in figure[0]:  # such a table is no slide
                moving = r'(?s)<style>.*?</style>|<img class=.only-dark[^>]*>|<a download.*?</a>| data-play="[^"]*"'
                return f'{re.sub(moving, "", figure[0])}<p class="from">From {chapter}, profile {profile}.</p>'
    return f'<p class="from">The figure stands here once its results are on this machine: synthprune run {chapter}.</p>'


def print_pdf(page: Path) -> None:
    """Print an HTML page beside itself. Raises Problem where no Chromium is found or it prints nothing."""
    from synthprune.book.printing import find_browser

    if (found := find_browser()) is None:
        raise Problem(f"no Chromium, Chrome or Edge here: open {page} in a browser and print it to a PDF")
    target = page.with_suffix(".pdf")
    done = subprocess.run([found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                           f"--user-data-dir={page.parent / '.browser'}", "--no-pdf-header-footer",
                           f"--print-to-pdf={target}", page.absolute().as_uri()], check=False, capture_output=True, text=True)
    shutil.rmtree(page.parent / ".browser", ignore_errors=True)
    if not target.exists():
        raise Problem(f"{found} did not print {page}: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")


# Times, and whether this machine is ready.


def yardstick() -> float:
    """Core-seconds of one small training, the second of two, as the first also loads what it needs."""
    import torch

    import synthprune as sp

    torch.set_num_threads(1)
    train, _ = sp.load("digits", 20, 16, test_per_class=5).resident("cpu")
    network = sp.build("convnet3", channels=1, pixels=16, classes=10, width=8, norm="instance")
    initial = sp.initial_state(network, 0)
    for _ in range(2):
        begun = time.process_time()
        sp.train(network, initial, {}, train, sp.Recipe(epochs=5, batch=32, lr=0.05), order_seed=0)
    return time.process_time() - begun


def timed(notebook: NotebookNode) -> Iterator[tuple[str, float, float]]:
    """Execute a notebook in a kernel of its own: the first line of each code cell, its seconds and its core-seconds."""
    import psutil
    from nbclient import NotebookClient

    stamps: list[tuple[float, float]] = []

    def stamp(**_: Any) -> None:
        kernel: Any = client.km
        spent = psutil.Process(kernel.provisioner.pid).cpu_times()
        stamps.append((time.perf_counter(), spent.user + spent.system))

    client = NotebookClient(notebook, kernel_name="python3", timeout=600, extra_arguments=["--log-level=50"],
                            on_cell_execute=stamp, on_cell_executed=stamp)
    client.execute()
    code = [cell.source.splitlines()[0].lstrip("# ") for cell in notebook.cells if cell.cell_type == "code"]
    for what, before, after in zip(code, stamps[::2], stamps[1::2], strict=True):
        yield what, after[0] - before[0], after[1] - before[1]


def time_page(folder: Path, shortest: float = 0.5) -> str:
    """MyST Markdown: the measured times of the cells in `folder`'s solutions that take at least `shortest` core-seconds."""
    import nbformat

    from synthprune.machine import cores, cpu

    unit, rows, busy = yardstick(), list[str](), False
    for file in sorted((folder / "solutions").glob("*.ipynb")):
        cells = list(timed(nbformat.read(file, 4)))
        total = ("all cells", sum(seconds for _, seconds, _ in cells), sum(spent for *_, spent in cells))
        busy |= total[1] > 1.2 * total[2]
        rows += [f"| {file.stem} | {what} | {seconds:.1f} | {spent:.1f} | {spent / unit:.0f} |"
                 for what, seconds, spent in [*(cell for cell in cells if cell[2] >= shortest), total]]
    lines = ["# Measured times", "", "`synthprune workshop FOLDER --time FILE` writes this page; nothing on it is typed.", "",
             f"Measured on {datetime.now(UTC):%d %B %Y}: {cpu()}, {cores()} cores.",
             "A lesson computes on one core, so that a second one changes nothing; the core-seconds are about what it takes where"
             " nothing else runs.", *["Other work was running, which the seconds show."] * busy,
             f"Yardstick: {unit:.2f} core-seconds for one small training; `synthprune doctor --workshop` measures yours.", "",
             "| Lesson | Cell | Seconds | Core-seconds | Yardsticks |", "| --- | --- | ---: | ---: | ---: |", *rows]
    return "\n".join([*lines, ""])


def readiness() -> dict[str, tuple[bool, str]]:
    """What a learner's machine needs: whether it is ready, and what was found or what to do. Nothing is fetched."""
    def needs(ready: bool, cure: str) -> tuple[bool, str]:
        return ready, "ready" if ready else f"MISSING: {cure}"

    def present(*names: str) -> bool:
        return any(importlib.util.find_spec(name) for name in names)

    checked = {"python": needs(sys.version_info >= (3, 11), "install Python 3.11 or 3.12"),
               "kernel": needs(present("ipykernel"), "pip install ipykernel"),
               "notebooks": needs(present("jupyterlab", "notebook"), "pip install jupyterlab, or open the folder in VS Code"),
               "lessons": needs(lessons().is_dir(), "install synthprune again"),
               "data": needs(present("sklearn"), "pip install scikit-learn"),
               "torch": needs(present("torch"),
                              "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu")}
    if checked["torch"][0]:
        try:
            importlib.import_module("torch")
        except (ImportError, OSError) as error:
            checked["torch"] = needs(False, f"it does not load ({problems.line(error)}); on Windows install the Microsoft"
                                            " Visual C++ Redistributable")
    if all(checked[name][0] for name in ("data", "torch")):
        unit, written = yardstick(), sources() / "book" / "workshop" / "timings.md"
        stated = re.search(r"Yardstick: ([\d.]+) core-sec", written.read_text(encoding="utf-8"))
        ratio = f", {unit / float(stated[1]):.1f} times what the page of times says" if stated else ""
        checked["training"] = (True, f"ready: one small training takes {unit:.2f} core-seconds{ratio}")
    return checked
