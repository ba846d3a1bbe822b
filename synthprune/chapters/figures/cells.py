"""Words about the cells of chapter 10 that its figures and tables share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synthprune.chapters.cells import Cell, Measured
from synthprune.chapters.controls import Parameters, cells, measured, not_run
from synthprune.chapters.entries import search_recipe
from synthprune.chapters.figures import LABELS
from synthprune.chapters.figures.words import absences
from synthprune.results.store import Result

BARS = (" Bars: 95\N{NO-BREAK SPACE}% intervals of the mean over initialisations; of two, only their range; without a bar, a"
        " single one.")


def set_words(one: Cell) -> str:
    """Which synthetic set: 'mtt10', 'distilled 10 per class'."""
    made = one.synthetic in ("distilled", "coreset")
    return f"{one.synthetic} {one.synthetic_per_class} per class" if made else one.synthetic.partition("@")[0]


def title(p: Parameters, one: Cell) -> str:
    """A cell's masks, with what of the network, the set or the rewind is not the scene's: 'IMP, width 16'."""
    other = [set_words(one)] if one.method.startswith("synthetic") and set_words(one) != set_words(p) else []
    other += [f"width {one.width}"] if one.width != p.width else []
    rewind = {"weights": "weights alone rewound", "full": "all rewound"}
    other += [rewind.get(one.rewind, f"rewound to epoch {one.rewind}")] if one.rewind != p.rewind and one.searched else []
    return ", ".join([LABELS[one.method], *other])


def differing(one: Cell) -> list[str]:
    """What of a search's recipe is not the retraining's, its length apart: ['decay 0', 'rate 0.05']."""
    own = search_recipe(one, one.epochs)
    return [f"{words} {getattr(own, name):g}" for name, words in (("lr", "rate"), ("weight_decay", "decay"))
            if getattr(own, name) != getattr(one, name)]


def images_words(one: Cell) -> str:
    return f"{one.train_per_class}" if one.train_per_class else "all"


def done_words(one: Measured) -> str:
    """'3 of 5': the initialisations that are measured; with those that collapsed or diverged and are in no mean."""
    lost = len(one.done) - int(np.isfinite(one.error).sum())
    return f"{len(one.done)} of {len(one.cell.seeds)}{f', {lost} left out' if lost else ''}"


def progress(p: Parameters, results: Mapping[str, Result], *parts: str) -> str:
    """How much is not complete, what was not run, and what was left out, in HTML; nothing where that is none.

    What was not run is counted where titles, which leave out the length of a search, do not tell it apart.
    """
    of, every = measured(p, results, *parts), {one.name: title(p, one) for one in cells(p, *parts)}
    whole = sum(len(one.done) == len(one.cell.seeds) for one in of.values())
    waiting = not_run(p, results, *parts)
    apart = len(set(every.values())) == len(every) or not waiting
    some = [f"{whole} of {len(of)} rows; the tables of chapter 10 count their initialisations"] if whole < len(of) else []
    none = [every[name] for name in waiting] if apart else [f"{len(waiting)} of {len(every)}; the tables of chapter 10 list them"]
    return absences(complete_so_far=some, not_run_yet=none, left_out=[line for one in of.values() for line in one.left_out])
