"""Drawings that several chapters share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from synthprune import stats
from synthprune.chapters.figures import MARKERS, Stack, Style
from synthprune.chapters.figures.words import incomplete, scene_titles
from synthprune.chapters.settings import Settings
from synthprune.results.store import Result

Results = Mapping[str, Result]
ON_A_SHEET = 10
"""Classes that a contact sheet shows."""


def in_each(measured: Callable[[Any, Results], Sequence[Settings]]) -> Callable[..., Stack]:
    """A chapter's `in_scenes(show, parameters, results, ...)`: `show` for each scene that was `measured`, one below the other.

    Each stands under its title, where there are several, and says how many of its initialisations it has while some are missing.
    """

    def in_scenes(show: Callable[..., Any], p: Settings, results: Results, *more: Any) -> Stack:
        shown = measured(p, results)
        titles = scene_titles(shown) if len(shown) > 1 else {scene.scene: "" for scene in shown}
        return Stack([(": ".join(filter(None, (titles[scene.scene], incomplete(scene)))), show(scene, results, *more))
                      for scene in shown])

    return in_scenes


@dataclass(frozen=True)
class Line:
    """A mean over `x` with its band: `values` (initialisations, points), NaN where one collapsed or diverged."""

    label: str
    colour: Callable[[Style], str]
    x: Sequence[float]
    values: np.ndarray
    marker: str = ""
    dash: Any = "-"

    @property
    def mean(self) -> np.ndarray:
        return stats.band(self.values)[0]

    @property
    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """What is shaded: the interval, point by point; of two initialisations, whose interval says nothing, the range."""
        if len(self.values) < 3:
            return self.values.min(0), self.values.max(0)
        return stats.band(self.values)[1:]

    def draw(self, axes: Axes, style: Style, *, every: int | None = None, thin: bool = False) -> None:
        """With a marker at `every` so many points; `thin`: each initialisation too, where there are more than two."""
        colour = self.colour(style)
        axes.fill_between(self.x, *self.band, color=colour, alpha=0.15, linewidth=0)
        for values in self.values if thin and len(self.values) > 2 else ():
            axes.plot(self.x, values, color=colour, linestyle=self.dash, linewidth=0.7, alpha=0.5)
        axes.plot(self.x, self.mean, color=colour, linestyle=self.dash, marker=self.marker, markevery=every, label=self.label)


def limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """From what was measured, not from the bands: of few initialisations a band may be many times as wide."""
    finite = np.concatenate([value[np.isfinite(value)] for value in values])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    pad = 0.08 * (high - low) or 0.5
    return low - pad, high + pad


def line_of_stability(axes: Axes, style: Style, words: str = "") -> None:
    """Zero, and the two points of error below which a network is called stable."""
    axes.axhline(0, color=style.text, linewidth=0.8, zorder=1)
    axes.axhline(stats.STABLE_BELOW, color=style.text, linewidth=1.2, linestyle=":", zorder=1)
    axes.text(0, stats.STABLE_BELOW, words, va="bottom", fontsize=9)


def along_path(style: Style, lines: Sequence[Line], size: tuple[float, float], place: tuple[float, ...], title: str, what: str,
               frame: tuple[float, float], columns: int = 2) -> Axes:
    """Lines over the position on the path, with a legend below; the picture is the `figure` of what is returned."""
    axes = Canvas(figsize=size).add_axes(place)
    for line in lines:
        line.draw(axes, style, every=2, thin=True)
    axes.set(xlabel=r"position on the path $\beta$", xticks=(0, 0.25, 0.5, 0.75, 1), title=title, ylabel=what, ylim=frame)
    if lines:
        axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.22), ncols=columns, columnspacing=1)
    return axes


def in_rows(seeds: Sequence[int], *values: np.ndarray, digits: int = 6) -> list[tuple[Any, ...]]:
    """Rows for a figure's data: each initialisation with its number in each of `values` (initialisations,)."""
    return [(seed, *(f"{value:.{digits}f}" for value in row)) for seed, *row in zip(seeds, *values, strict=True)]


@dataclass(frozen=True)
class Dot:
    """One mean with its bar in a row of `dots`: `values` (initialisations,), NaN left out; hue and marker of the method."""

    values: np.ndarray
    method: str
    filled: bool = True


def dots(style: Style, rows: Sequence[tuple[str, Sequence[Dot]]], title: str, *, zero: bool = False,
         line: float | None = None) -> Canvas:
    """A row for each label with its dots. Bars as `band_words` says. `zero`: a line there; `line`: a dotted one."""
    height = 0.36 * len(rows) + 1.0
    longest = max((len(part) for label, _ in rows for part in label.split("\n")), default=0)
    left = min(0.5, 0.08 + 0.021 * longest)
    axes = Canvas(figsize=(4.2, height)).add_axes((left, 0.8 / height, 0.96 - left, 1 - 0.95 / height))
    for place, (_, row) in enumerate(rows):
        for n, dot in enumerate(row):
            finite, at = dot.values[np.isfinite(dot.values)], place + 0.24 * (n - (len(row) - 1) / 2)
            if not len(finite):
                continue
            colour = style.colour(dot.method)
            axes.plot(stats.bounds(dot.values), (at, at), color=colour, linewidth=1.4)
            axes.plot(finite.mean(), at, marker=MARKERS.get(dot.method, "o"), color=colour, linestyle="none",
                      markerfacecolor=colour if dot.filled else "none")
    axes.set(yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.6), xlabel=title)
    axes.set_yticklabels([label for label, _ in rows], fontsize=9)
    if zero:
        axes.axvline(0, color=style.text, linewidth=0.8, zorder=1)
    if line is not None:
        axes.axvline(line, color=style.text, linewidth=1.2, linestyle=":", zorder=1)
    return axes.figure


def sheet(style: Style, images: Sequence[np.ndarray], classes: Sequence[str], title: str) -> Canvas:
    """The first image (1 or 3, h, h) in [0, 1] of each of the first ten classes."""
    canvas = Canvas(figsize=(3.6, 2.1))
    canvas.suptitle(title, color=style.text, fontsize=11, fontweight="bold", y=1.04)
    for axes, image, name in zip(canvas.subplots(2, ON_A_SHEET // 2).flat, images, classes, strict=False):
        axes.imshow(np.clip(image, 0, 1).transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(name, fontsize=7, fontweight="normal", pad=2)
        axes.set_axis_off()
    return canvas
