"""Look at built pages as a reader does, in a real browser without a network, and name what is wrong.

The HTML alone cannot tell whether mathematics is set, a drawing has arrived, or a phone must scroll sideways; a browser can.
It needs Chromium, Chrome or Edge, already installed; nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from synthprune.book import printing

WIDTHS = {"desktop": 1280, "phone": 390}
SCHEMES = ("light", "dark")
AXE = Path(__file__).parent.parent / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
"""Where `tests/run` puts axe-core, the common checker of accessibility; without npm there is none, and it is not asked."""
WORD = "barrier"
HEAVIEST = 1_500_000
"""Bytes of a page with all that it loads, before its figures' data."""


@dataclass(frozen=True, order=True)
class Fault:
    """One thing wrong with one page, as seen at one width under one colour scheme."""

    page: str
    width: int
    scheme: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.page} [{self.width} px, {self.scheme}] {self.kind}: {self.detail}"


def find_browser() -> str | None:
    """The path of an installed browser of the Chromium family, or None.

    SYNTHPRUNE_BROWSER is a decision: if it names nothing that can be run, that is an error, not a reason to take another.
    """
    chosen = os.environ.get("SYNTHPRUNE_BROWSER")
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise FileNotFoundError(f"SYNTHPRUNE_BROWSER={chosen!r} is not a program that can be run")
        return found
    return printing.find_browser()


def pages_of(html: Path) -> list[Path]:
    """Every page of a built book, genindex and search included.

    Left out are two kinds of .html that nobody reads as a page: what themes keep in _static (templates), and the bare redirect
    that Jupyter Book writes at the root. The redirect's target must exist, and `look` visits it as a page of its own.
    """
    found = []
    for path in sorted(html.rglob("*.html")):
        if {"_static", "_sources"} & set(path.relative_to(html).parts):
            continue
        target = _redirect(path)
        if target is None:
            found.append(path)
        elif not target.is_file():
            raise FileNotFoundError(f"{path.relative_to(html)} redirects to {target}, which does not exist")
    return found


def look(
    html: Path,
    pages: Iterable[Path] | None = None,
    *,
    widths: Iterable[int] = tuple(WIDTHS.values()),
    schemes: Iterable[str] = SCHEMES,
    browser: str | None = None,
) -> list[Fault]:
    """Open each page by its file:// address at each width, in light and in dark, and return all faults.

    Every visit is a first visit: a fresh profile, so that faults which a stored preference would hide are seen.
    Requests for anything but a file below `html` are refused, and each refusal is a fault.
    """
    from playwright.sync_api import sync_playwright

    html = html.resolve()
    pages = [path.resolve() for path in pages] if pages is not None else pages_of(html)
    if not pages:
        raise ValueError(f"no page to look at below {html}")
    program = browser or find_browser()
    if program is None:
        raise FileNotFoundError("no Chromium, Chrome or Edge found")

    faults: set[Fault] = set()
    with sync_playwright() as playwright:
        # --disable-gpu and the background switch: the same picture everywhere, and no traffic of the browser's own.
        chromium = playwright.chromium.launch(
            executable_path=program,
            args=["--disable-gpu", "--disable-background-networking", "--no-first-run"],
        )
        try:
            for width in widths:
                for scheme in schemes:
                    for path in pages:
                        for kind, detail in _visit(chromium, html, path, width, scheme):
                            faults.add(Fault(path.relative_to(html).as_posix(), width, scheme, kind, detail))
        finally:
            chromium.close()
    return sorted(faults)


def _visit(chromium: Any, html: Path, path: Path, width: int, scheme: str) -> Iterator[tuple[str, str]]:
    heard: list[tuple[str, str]] = []
    weight: list[int] = []
    context = chromium.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
        service_workers="block",
    )
    try:

        def gate(route: Any) -> None:
            if _inside(route.request.url, html):
                weight.append(_weight(route.request.url))
                route.continue_()
            else:
                heard.append(("refused request", route.request.url))
                route.abort()

        def said(message: Any) -> None:
            if message.type in {"error", "warning"} or "invalid theme mode" in message.text.lower():
                heard.append((f"console {message.type}", message.text))

        context.route("**/*", gate)
        page = context.new_page()
        page.on("console", said)
        page.on("pageerror", lambda error: heard.append(("script error", str(error))))
        page.on("websocket", lambda socket: heard.append(("refused request", socket.url)))
        page.on(
            "requestfailed",
            lambda request: heard.append(("missing file", request.url)) if _inside(request.url, html) else None,
        )
        # An empty search page proves nothing: ask it for a word that the book must have.
        question = f"?q={WORD}" if path.name == "search.html" else ""
        page.goto(path.as_uri() + question, wait_until="load")
        page.evaluate(SETTLE)
        if question and not page.evaluate(ANSWERED):
            heard.append(("search", f"no answer to {WORD!r}"))

        theme = page.evaluate("document.documentElement.dataset.theme ?? null")
        if theme is not None and theme != scheme:
            heard.append(("theme", f"the system asks for {scheme}, the page shows {theme!r}"))
        heard += map(tuple, page.evaluate(INSPECT))
        heard += _axe(page, width)
        if sum(weight) > HEAVIEST:
            heard.append(("weight", f"{sum(weight):,} bytes before the figures' data"))
        if not question:  # what the search page loads is needed for it, and in its order
            heard += [("blocking script", source)
                      for source in BLOCKING.findall(path.read_text(encoding="utf-8").partition("</head>")[0])]

        # The reader may choose against the system: the same page must stand in the theme's other dress.
        if theme is not None:
            other = "light" if scheme == "dark" else "dark"
            page.evaluate("theme => { document.documentElement.dataset.theme = theme }", other)
            page.evaluate(SETTLE)
            # One way round is enough for axe: the rules that see colours see the same two dresses the other way.
            found = [*page.evaluate(INSPECT), *(_axe(page, width) if scheme == "light" else [])]
            heard += [(kind, f"{detail} (theme set to {other})") for kind, detail in found]
            heard = _once(heard, f" (theme set to {other})")
        # Copied, because closing the context may still report aborted requests.
        yield from list(heard)
    finally:
        context.close()


def _axe(page: Any, width: int) -> list[tuple[str, str]]:
    """What axe-core calls serious or critical; asked at one width, since its rules hardly depend on it and it takes a second."""
    if width != WIDTHS["desktop"] or not AXE.exists():
        return []
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    return [("accessibility", detail) for detail in page.evaluate(SERIOUS)]


def _once(heard: list[tuple[str, str]], suffix: str) -> list[tuple[str, str]]:
    """Without what the second look only repeats."""
    known = set(heard)
    return [
        (kind, detail)
        for kind, detail in heard
        if not (detail.endswith(suffix) and (kind, detail.removesuffix(suffix)) in known)
    ]


def _inside(url: str, html: Path) -> bool:
    parts = urlsplit(url)
    if parts.scheme in {"data", "blob", "about"}:
        return True
    # A host in a file address is another machine (a share), hence a network request as well.
    if parts.scheme != "file" or parts.netloc:
        return False
    # url2pathname would also do on Windows, but there "/C:/x" needs only its first slash cut.
    name = re.sub(r"^/(?=[A-Za-z]:)", "", unquote(parts.path))
    return Path(name).resolve().is_relative_to(html)


def _weight(url: str) -> int:
    """Bytes of a file below the book, less the data that it carries; 0 for what is no file."""
    file = Path(unquote(urlsplit(url).path))
    if urlsplit(url).scheme != "file" or not file.is_file():
        return 0
    return len(DATA.sub(b"", file.read_bytes())) if file.suffix == ".html" else file.stat().st_size


def _redirect(path: Path) -> Path | None:
    # Only the beginning: a redirect is a few lines, a chapter may hold megabytes of drawings.
    with path.open(encoding="utf-8") as file:
        head = file.read(2000)
    found = re.search(r"""<meta\s+http-equiv=["']refresh["']\s+content=["'][^"']*url=([^"'#?]+)""", head, re.IGNORECASE)
    return (path.parent / found.group(1)).resolve() if found else None


DATA = re.compile(rb"data:[^\"']+;base64,[A-Za-z0-9+/=]+")
# In the page as it is written: a script that another one adds holds nothing up.
BLOCKING = re.compile(r"""<script(?![^>]*\s(?:defer|async)\b)[^>]*\ssrc=["']([^"']*)""")

# Wait for what arrives after "load": lazy images, fonts, mathematics, and one frame in which the layout settles.
SETTLE = """
async () => {
  const patience = new Promise(done => setTimeout(done, 20000));
  const images = [...document.images];
  for (const image of images) image.loading = "eager";
  const settled = images.map(image => image.decode().catch(() => {}));
  const mathematics = window.MathJax?.startup?.promise?.catch?.(() => {});
  await Promise.race([Promise.all([...settled, document.fonts.ready, mathematics]), patience]);
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}
"""

# Sphinx lists its answers one by one; that there is one is enough.
ANSWERED = """
async () => {
  for (let tries = 0; tries < 100; tries++) {
    if (document.querySelector("#search-results li")) return true;
    await new Promise(done => setTimeout(done, 50));
  }
  return false;
}
"""

SERIOUS = """
async () => {
  const { violations } = await axe.run(document, {resultTypes: ["violations"], preload: false});
  return violations.filter(rule => ["serious", "critical"].includes(rule.impact))
    .flatMap(rule => rule.nodes.slice(0, 3).map(node => `${rule.id}: ${node.html.replace(/\\s+/g, " ").slice(0, 160)}`));
}
"""

INSPECT = r"""
() => {
  const faults = [];
  const blame = (kind, detail) => faults.push([kind, detail]);
  const brief = text => text.replace(/\s+/g, " ").trim().slice(0, 120);
  const name = node => brief(node.cloneNode(false).outerHTML);
  const shown = node => node.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const visible = node => {
    const box = node.getBoundingClientRect();
    return shown(node) && box.width > 1 && box.height > 1 && box.right > 0 && box.left < innerWidth;
  };

  // Drawings: there, and told in words. A file's name is not a description, though notebooks tools put it there.
  const decorative = node => node.closest("[aria-hidden=true]") || ["presentation", "none"].includes(node.getAttribute("role"));
  for (const image of document.images) {
    const alt = (image.getAttribute("alt") ?? "").trim();
    if (image.complete && image.naturalWidth === 0) blame("broken image", name(image));
    if (decorative(image)) continue;
    if (!alt) {
      // Inside a link or figure that says the same in text an empty alt is right, since it would be read out twice.
      const spoken = image.closest("a")?.textContent.trim();
      if (!(image.hasAttribute("alt") && spoken)) blame("no alternative text", name(image));
    } else if (/^\S+\.(png|svg|jpe?g|gif|webp)$/i.test(alt)) blame("no alternative text", `only a file name: ${name(image)}`);
  }
  for (const drawing of document.querySelectorAll("svg[role=img]")) {
    if (decorative(drawing)) continue;
    const labels = (drawing.getAttribute("aria-labelledby") ?? "").split(/\s+/).filter(Boolean);
    const text = drawing.getAttribute("aria-label")
      ?? labels.map(id => document.getElementById(id)?.textContent ?? "").join(" ");
    const title = drawing.querySelector(":scope > title")?.textContent ?? "";
    if (!(text + title).trim()) blame("no alternative text", name(drawing));
  }

  // Width: the page must not scroll sideways, and nothing may be cut off where no box scrolls for it.
  const wide = Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
  if (wide > innerWidth) blame("sideways scroll", `${wide} px on a screen of ${innerWidth} px`);
  for (const node of document.querySelectorAll("main :is(img, table, pre, figure, mjx-container)")) {
    if (!visible(node) || node.getBoundingClientRect().right <= innerWidth + 1) continue;
    let box = node;
    while (box && !["auto", "scroll"].includes(getComputedStyle(box).overflowX)) box = box.parentElement;
    if (!box || box.getBoundingClientRect().right > innerWidth + 1) blame("cut off", name(node));
  }

  // One place to search. The theme's button that is drawn as a field counts as one, because readers see a field.
  const boxes = [...document.querySelectorAll("input[type=search], input[name=q], .search-button-field")].filter(visible);
  if (boxes.length > 1) blame("search boxes", `${boxes.length}: ${boxes.map(name).join(" ")}`);

  // Mathematics: Sphinx marks each formula with the class "math"; each must have been set, and without an error box.
  for (const formula of document.querySelectorAll("span.math, div.math")) {
    if (!formula.querySelector("mjx-container")) blame("mathematics not set", brief(formula.textContent));
  }
  for (const error of document.querySelectorAll("mjx-merror, [data-mml-node=merror]")) {
    blame("mathematics not set", `MathJax error in ${brief(error.closest(".math")?.textContent ?? error.outerHTML)}`);
  }

  // Headings: an outline without holes. Hidden ones do not count: the theme keeps a second title for print.
  const headings = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(shown);
  const titles = headings.filter(heading => heading.matches("h1"));
  if (titles.length !== 1) blame("headings", `${titles.length} h1: ${titles.map(h => brief(h.textContent)).join(" | ")}`);
  let before = 0;
  const inside = heading => heading.closest("article") || !document.querySelector("article");
  for (const heading of headings.filter(inside)) {
    const level = Number(heading.tagName[1]);
    const after = before ? "h" + before : "nothing";
    if (level > before + 1) blame("headings", `h${level} after ${after}: ${brief(heading.textContent)}`);
    before = level;
  }
  return faults;
}
"""
