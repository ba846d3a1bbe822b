"""A notebook runs from top to bottom; a page leads with what was found. This puts the one into the order of the other.

It is a Sphinx extension. The executed notebook stays as it is, on disk and behind the page's download button; only what
Sphinx reads of it is rearranged: the claim, our verdict, the figure (the cell with the tag "lead"), what it means, how it is
measured, something to try, and last, in one fold, the machinery (parameters, and the cells with the tag "machinery").
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

Cell = dict[str, Any]

MEANING, METHOD, TRYING = ("What may be concluded", "How to read it"), "What is measured", ("Try it yourself", "Exercise")
HOW = "How it is measured"
MACHINERY = ("Parameters", "Plan", "Where the numbers come from")
"""The notebooks' headings by which a section finds its place; sections under any other stand between method and trying."""


@dataclass
class Section:
    """A heading of the second level ("" for what stands before the first) and the cells below it."""

    heading: str
    cells: list[Cell] = field(default_factory=list)

    @property
    def page(self) -> list[Cell]:
        return [_markdown(f"## {self.heading}"), *self.cells] if self.cells else []


def setup(app: Any) -> dict[str, bool]:
    """Rearrange every executed chapter as Sphinx reads it; of MathJax, load the parts that _config.yml names."""
    app.config.mathjax_path = "mathjax/startup.js"  # sphinx-mathjax-offline, which brings it, names the whole
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}


def _read(app: Any, name: str, source: list[str]) -> None:
    glossary = Path(app.srcdir, "book", "glossary.md").read_text(encoding="utf-8")
    if app.env.doc2path(name).endswith(".ipynb"):
        page = arranged(json.loads(source[0]))
        link = Linker(glossary)
        source[0] = json.dumps(page | {"cells": [cell | {"source": link(_source(cell))} if cell["cell_type"] == "markdown"
                                                 else cell for cell in page["cells"]]})
    elif not name.endswith("glossary"):
        source[0] = Linker(glossary)(source[0])


NO_WORDS = re.compile("|".join((
    r"^(`{3,}|~{3,}).*?^\1", r"^\$\$.*?\$\$", r"^---\n.*?^---$", r"^<.*?(?:\n\s*\n|\Z)", r"^#.*?$", r"^:::.*?$", r"^\([\w-]+\)=$",
    r"\{[\w:]+\}`[^`]*`", r"`[^`]*`", r"\$[^$\n]*\$", r"!?\[[^]]*\](?:\([^)]*\))?", r"<[^>\n]*>", r"https?:\S+")),
    re.DOTALL | re.MULTILINE)
"""What of Markdown is no running text: code, formulas, raw HTML up to an empty line, headings, roles, links, addresses."""

USUAL = ("cell", "order")
"""Terms that are usual words too: they lead to the glossary where they stand in italics."""


class Linker:
    """Markdown in which the first mention of each of the glossary's terms leads there; to be called part by part of a page."""

    def __init__(self, glossary: str) -> None:
        self.terms = sorted(re.findall(r"^(\w.*)\n  \w", glossary, flags=re.MULTILINE), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        at, parts = 0, []
        for found in NO_WORDS.finditer(text):
            parts += [self._linked(text[at:found.start()]), found[0]]
            at = found.end()
        return "".join([*parts, self._linked(text[at:])])

    def _linked(self, words: str) -> str:
        def link(found: re.Match[str]) -> str:
            term = next((term for term in self.terms if found[1].lower() == term.lower()), None)
            if term is None or (term in USUAL and words[found.start() - 1:found.start()] != "*"):
                return found[0]
            self.terms.remove(term)
            return f"{{term}}`{found[1]}`" if found[1] == term else f"{{term}}`{found[1]} <{term}>`"

        every = "|".join(map(re.escape, self.terms))
        return re.sub(rf"(?<![\w-])({every})(?![\w-])", link, words, flags=re.IGNORECASE) if every else words


def arranged(notebook: dict[str, Any]) -> dict[str, Any]:
    """An executed chapter as a page: the same cells in the order of reading, code folded away below what it shows."""
    found = sections(notebook["cells"])
    machinery = _take(found, "machinery", "parameters", "injected-parameters")
    setting, lead = _take(found, "setting"), _take_lead(found)
    known = {section.heading: section for section in found}

    def pick(*headings: str) -> list[Section]:
        return [known.pop(heading) for heading in headings if heading in known]

    opening, run = pick(""), pick(*MACHINERY)
    meaning, method, trying = pick(*MEANING), pick(METHOD), pick(*TRYING)
    top, rest = split_opening("\n\n".join(map(_source, opening[0].cells)))
    how = Section(HOW, [*map(_markdown, filter(None, [rest])), *setting,
                                         *(cell for section in method for cell in section.cells)])
    page = [_markdown(top), *_verdict(notebook["cells"]), *lead, *_absent(machinery),
            *(cell for section in [*meaning, how, *known.values(), *trying] for cell in section.page)]
    return notebook | {"cells": [*_folded(page), *_run_it_yourself(run, machinery)]}


def sections(cells: Iterable[Cell]) -> list[Section]:
    """The notebook's cells under its headings of the second level; a markdown cell with several is cut at each."""
    found = [Section("")]
    for cell in cells:
        parts = re.split(r"^## (.+)$", _source(cell), flags=re.MULTILINE) if cell["cell_type"] == "markdown" else []
        if not parts:
            found[-1].cells.append(cell)
        for heading, text in zip(["", *parts[1::2]], parts[::2], strict=False):
            if heading:
                found.append(Section(heading.strip()))
            if text.strip():
                found[-1].cells.append(_markdown(text.strip()))
    return found


def split_opening(text: str) -> tuple[str, str]:
    """A chapter's title and claims, and what its first words say beyond them; all of it, where nothing is claimed."""
    top, quoted, rest = text.rpartition("</blockquote>")
    return (top + quoted, rest.strip()) if quoted else (text, "")


def _take(found: Sequence[Section], *tags: str) -> list[Cell]:
    """Remove the cells with one of these tags from the sections, and return them."""
    taken = [cell for section in found for cell in section.cells if _tags(cell) & set(tags)]
    for section in found:
        section.cells = [cell for cell in section.cells if not _tags(cell) & set(tags)]
    return taken


def _take_lead(found: Sequence[Section]) -> list[Cell]:
    """Remove the leading figure, and the words that introduce it, from its section, and return them."""
    for section in found:
        for place, cell in enumerate(section.cells):
            if "lead" in _tags(cell):
                start = place - (place > 0 and section.cells[place - 1]["cell_type"] == "markdown")
                taken, section.cells[start:place + 1] = section.cells[start:place + 1], []
                return taken
    return []


def _verdict(cells: Sequence[Cell]) -> list[Cell]:
    """The line that the chapter's record has for its first claim."""
    records = [output["metadata"]["synthprune"] for cell in cells for output in cell.get("outputs", [])
               if "synthprune" in output.get("metadata", {})]
    line = records[-1].get("verdict") if records else None
    return [_markdown(f'<p class="answer"><strong>Our verdict.</strong> {html.escape(line)}</p>')] if line else []


def _absent(machinery: Iterable[Cell]) -> list[Cell]:
    """What the machinery must say in the open: the boxes that name results which are not there."""
    kept = [(cell, [output for output in cell["outputs"] if 'class="verdict' in str(output.get("data", {}).get("text/html", ""))])
            for cell in machinery]
    return [_shown(cell, outputs) for cell, outputs in kept if outputs]


def _folded(cells: Iterable[Cell]) -> list[Cell]:
    """Neighbours whose code only draws become one: first all that they show, then all their code in one fold.

    A figure's caption leads to the fold, which a browser opens for whoever follows.
    """
    page: list[Cell] = []
    for number, (hidden, group) in enumerate(groupby(cells, lambda cell: cell["cell_type"] == "code"
                                                     and "hide-input" in _tags(cell))):
        run = list(group)
        place = f"code-{number}"
        page += [_shown(cell, [_linked(output, f"#{place}") for output in cell["outputs"]]) for cell in run] if hidden else run
        code = "\n\n".join(_source(cell) for cell in run if _source(cell)) if hidden else ""
        page += [_markdown(_fold("code", "Code", f'<div id="{place}"></div>\n\n```python\n{code}\n```'))] if code else []
    return page


def _linked(output: dict[str, Any], place: str) -> dict[str, Any]:
    shown = "".join(output.get("data", {}).get("text/html", ""))
    return output | {"data": output["data"] | {"text/html": led(shown, place)}} if shown else output


def led(shown: str, place: str) -> str:
    """HTML whose figures lead to their code."""
    return shown.replace("</figcaption></figure>", f' <a class="code" href="{place}">Code</a></figcaption></figure>')


def _run_it_yourself(run: Sequence[Section], machinery: Sequence[Cell]) -> list[Cell]:
    """The last section: a sentence, and the machinery whole in one fold."""
    if not machinery:
        return []
    words = {section.heading: [cell for cell in section.cells if cell["cell_type"] == "markdown"] for section in run}
    parts: list[Cell] = []
    for cell in machinery:
        heading = next((name for name, call in zip(MACHINERY[1:], ("run.plan()", "run.provenance()"), strict=True)
                        if call in _source(cell)), None)
        if heading:
            parts += [_markdown(f"**{heading}**"), *words.get(heading, [])]
        parts.append(cell | {"metadata": {"tags": []}})
    return [_markdown("## Run it yourself"), *words.get("Parameters", []),
            _markdown('<details class="machinery">\n<summary>Parameters, plan, and where the numbers come from</summary>'),
            *parts, _markdown("</details>")]


def _fold(kind: str, title: str, body: str) -> str:
    return f'<details class="{kind}">\n<summary>{title}</summary>\n\n{body}\n\n</details>'


def _shown(cell: Cell, outputs: Sequence[Any]) -> Cell:
    """A cell whose code is not shown; it stays in it, since MyST-NB leaves out cells without any, outputs and all."""
    tags = [*(_tags(cell) - {"hide-input", "parameters"}), "remove-input"]
    return cell | {"outputs": list(outputs), "metadata": {"tags": sorted(tags)}}


def _markdown(source: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _source(cell: Cell) -> str:
    return "".join(cell["source"])


def _tags(cell: Cell) -> set[str]:
    return set(cell.get("metadata", {}).get("tags", []))
