"""How results are shown: one style in two colour schemes, alternative text from the data, nothing fetched."""

from __future__ import annotations

import base64
import functools
import html
import io
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

import matplotlib
import yaml
from cycler import cycler
from matplotlib.figure import Figure as Canvas

from synthprune import stats
from synthprune.chapters.settings import Titles


@dataclass(frozen=True)
class Style:
    """Colours for one scheme; a method keeps its hue in both (Okabe and Ito's colour-blind palette)."""

    scheme: str
    text: str
    grid: str
    synthetic: str
    imp: str
    dense: str
    others: tuple[str, ...]

    def colour(self, method: str) -> str:
        """The hue of a method: its own for the three the paper compares, one of `others` for a further one."""
        own = {"synthetic": self.synthetic, "imp": self.imp, "dense": self.dense}
        place = list(LABELS).index(method) if method in LABELS else zlib.crc32(method.encode())
        return own.get(method) or self.others[place % len(self.others)]

    def rc(self) -> dict[str, Any]:
        return {
            "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
            "text.color": self.text, "axes.labelcolor": self.text, "axes.edgecolor": self.grid, "axes.titlecolor": self.text,
            "xtick.color": self.text, "ytick.color": self.text, "grid.color": self.grid, "grid.linewidth": 0.6,
            "axes.grid": True, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
            "axes.prop_cycle": cycler(color=[self.synthetic, self.imp, self.dense, *self.others]),
            "axes3d.grid": True, "axes3d.xaxis.panecolor": "none", "axes3d.yaxis.panecolor": "none",
            "axes3d.zaxis.panecolor": "none",
            "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold", "legend.frameon": False, "legend.fontsize": 9,
            "lines.linewidth": 1.8, "lines.markersize": 5, "legend.handlelength": 2.8,
            "svg.fonttype": "path", "svg.hashsalt": "synthprune",
        }


LIGHT = Style("light", "#222222", "#c4c4c4", "#0072B2", "#D55E00", "#555555", ("#009E73", "#A6478A", "#8A6D00", "#1B1B1B"))
DARK = Style("dark", "#e8e8e8", "#5a5a5a", "#56B4E9", "#E69F00", "#bbbbbb", ("#2CC79A", "#E29BCB", "#E3D34B", "#f4f4f4"))

LABELS = Titles({"synthetic": "synthetic", "imp": "IMP", "dense": "dense", "magnitude": "magnitude at init", "snip": "SNIP",
          "synflow": "SynFlow", "random": "random", "coreset": "random real images", "noise": "noise images",
          "shuffled": "shuffled labels", "like synthetic": "random, densities of synthetic",
          "like imp": "random, densities of IMP", "synthetic, steps of imp": "synthetic, as many steps as IMP",
          "imp, steps of synthetic": "IMP, as many steps as synthetic"})
"""What a method is called in figures and tables."""

MARKERS = defaultdict(lambda: "*", {"dense": "s", "synthetic": "o", "imp": "^", "magnitude": "v", "snip": "D", "synflow": "P",
                                    "random": "X"})

# Book pages bring the same rules; a notebook opened elsewhere needs them too, or it would show both schemes.
_CSS = """<style>
.only-dark{display:none} html[data-theme="dark"] .only-light{display:none} html[data-theme="dark"] .only-dark{display:inline}
.panels{display:flex;flex-wrap:wrap;gap:.75rem;justify-content:center} .panels>div{flex:1 1 16rem;max-width:26rem;min-width:0}
.panels img{width:100%;height:auto} .panels>.apart{flex-basis:100%;max-width:none} .apart img{max-width:26rem}
</style>"""


@dataclass(frozen=True)
class Panel:
    """One picture: `draw` makes it in a style, `alt` says what it shows, from the same data.

    `apart`: it stands in a row of its own, as what the others share does.
    """

    draw: Callable[[Style], Canvas]
    alt: str
    apart: bool = False

    def html(self) -> str:
        images = (f'<img class="only-{style.scheme}" alt="{html.escape(self.alt)}" src="data:image/svg+xml;base64,'
                  f'{base64.b64encode(self.svg(style)).decode()}">' for style in (LIGHT, DARK))
        return f"<div{' class=apart' if self.apart else ''}>{''.join(images)}</div>"

    def svg(self, style: Style) -> bytes:
        """The picture on a transparent ground; the same data give the same bytes."""
        with matplotlib.rc_context(style.rc()):
            buffer = io.BytesIO()
            self.draw(style).savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.05)
        return buffer.getvalue()


@dataclass(frozen=True)
class Play:
    """How the reader of a page moves through a figure's rows; `book/_static/play.js` draws it from the data link.

    Columns: `x`, the quantities `y` and the sliders `slide` with their words, `lines` (a line per value, as methods) and
    `each` (one thin line each, averaged into a thick one). Lines named in `always` are drawn wherever the sliders are.
    `scale` of x: "linear", "log" or "symlog:C", which is linear within C of zero; `logy`: y is logarithmic. `instead`: a page
    shows this in place of the panels, which stay for print and for readers without scripts. `start`: where a slider begins, by
    column. `line`: of a quantity, the value below which a network is called stable.
    """

    x: str
    words: str
    y: Mapping[str, str]
    lines: str
    slide: Mapping[str, str]
    each: str = ""
    always: tuple[str, ...] = ()
    scale: str = "linear"
    logy: bool = False
    instead: bool = False
    start: Mapping[str, str] = field(default_factory=dict)
    line: Mapping[str, float] = field(default_factory=dict)

    def attribute(self, rows: Sequence[Sequence[Any]]) -> str:
        """HTML: the attribute `data-play`, with the look of every line."""
        column = list(rows[0]).index(self.lines)
        look = {name: {"label": LABELS.get(name, name), "light": LIGHT.colour(_method(name)), "dark": DARK.colour(_method(name))}
                for name in dict.fromkeys(str(row[column]).strip('"') for row in rows[1:])}
        t = [stats.quantile(n) for n in range(2, 21)]
        return f' data-play="{html.escape(json.dumps(asdict(self) | {"look": look, "t": t}))}"'


def _method(name: str) -> str:
    """The method that a line's name, which may be a label with more words, is of."""
    return name if name in LABELS else max((method for method, label in LABELS.items() if name.startswith(label)),
                                           key=lambda method: len(LABELS[method]), default=name)


@dataclass(frozen=True)
class Figure:
    """Panels with one caption (HTML) and the numbers behind them, as rows whose first is the header.

    What the paper prints under the figure's `name` in printed.yaml follows the caption.
    """

    panels: Sequence[Panel]
    caption: str
    rows: Sequence[Sequence[Any]]
    name: str
    play: Play | None = None

    def _repr_html_(self) -> str:
        text = "\n".join(",".join(str(cell) for cell in row) for row in self.rows)
        link = (f'<a download="{self.name}.csv" href="data:text/csv;base64,{base64.b64encode(text.encode()).decode()}">'
                "Data (CSV)</a>")
        moved = self.play.attribute(self.rows) if self.play and len(self.rows) > 1 else ""
        said = printed().get(self.name)
        paper = f' <span class="printed">In the paper: {html.escape(said["says"])} ({said["where"]}).</span>' if said else ""
        kind = "synthprune still" if moved and self.play.instead else "synthprune"
        return (f'<figure class="{kind}"{moved}>{_CSS}<div class="panels">{"".join(p.html() for p in self.panels)}</div>'
                f"<figcaption>{self.caption}{paper} {link}</figcaption></figure>")


@functools.cache
def printed() -> Mapping[str, Mapping[str, Any]]:
    """What the paper prints, by the name of the figure that shows ours: `says`, `where` it stands, and the `quotes` for it."""
    return yaml.safe_load((files("synthprune.chapters.figures") / "printed.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Table:
    """A table that scrolls in its own frame; cells are text, the first of each row is its header; a note stands below."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def _repr_html_(self) -> str:
        def cells(kind: str, texts: Iterable[str], scope: str = "") -> str:
            return "".join(f"<{kind}{scope}>{html.escape(text)}</{kind}>" for text in texts)

        if not self.rows:
            return f'<p class="note">{html.escape(self.caption)}: nothing was run yet.</p>'
        body = "".join(f"<tr>{cells('th', row[:1], ' scope=row')}{cells('td', row[1:])}</tr>" for row in self.rows)
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        return (f'<figure class="numbers"><figcaption>{html.escape(self.caption)}</figcaption>'
                f'<div class="table-scroll" tabindex="0" role="region" aria-label="{html.escape(self.caption)}"><table>'
                f"<thead><tr>{cells('th', self.header, ' scope=col')}</tr></thead><tbody>{body}</tbody></table></div>"
                f"{note}</figure>")


@dataclass(frozen=True)
class Verdict:
    """What may be concluded, in a box: `state` is "holds", "fails" or "open"; the rest is plain text.

    `criterion`: what counts for and against, shown when asked for.
    """

    state: str
    title: str
    text: str
    criterion: str = ""

    def _repr_html_(self) -> str:
        title, text, criterion = map(html.escape, (self.title, self.text, self.criterion))
        counts = f"<details><summary>What counts</summary><p>{criterion}</p></details>" if criterion else ""
        return (f'<div class="verdict verdict--{self.state}" role="note"><p class="verdict__title">{title}</p>'
                f"<p>{text}</p>{counts}</div>")


@dataclass(frozen=True)
class Stack:
    """Several things shown one below the other, each under its title (plain text; "" for none)."""

    items: Sequence[tuple[str, Any]]

    def _repr_html_(self) -> str:
        if not self.items:
            return '<p class="note">Nothing was run yet.</p>'
        titles = (f'<p class="stack-title">{html.escape(title)}</p>' if title else "" for title, _ in self.items)
        return "".join(title + item._repr_html_() for title, (_, item) in zip(titles, self.items, strict=True))


def live() -> bool:
    """Whether somebody sits at this kernel: papermill and nbclient run without anyone to answer."""
    from IPython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))


def slider(label: str, values: Sequence[int], show: Callable[[int], Any], still: int) -> Any:
    """`show(value)` under a slider in a live kernel; where nobody can move it, the plain `show(still)`."""
    if not live():
        return show(still)
    import ipywidgets
    from IPython.display import display

    choice = ipywidgets.SelectionSlider(options=list(values), value=still, description=label)
    return ipywidgets.interactive(lambda value: display(show(value)), value=choice)
