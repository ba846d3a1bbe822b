"""Chapter 11's pictures: a set before and after distillation, what it is worth, and what it cost."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from synthprune import stats
from synthprune.chapters.entries import decoded_images
from synthprune.chapters.figures import LABELS, Figure, Panel, Table, Verdict
from synthprune.chapters.figures.drawings import ON_A_SHEET, Dot, dots, in_rows, sheet
from synthprune.chapters.figures.words import (
    absences,
    band_words,
    extremes,
    initialisations,
    interval_words,
    level_words,
    minus,
    setting,
    whole,
)
from synthprune.chapters.make_synthetic_data import (
    END,
    SOURCES,
    START,
    Parameters,
    accuracies,
    making_visits,
    mask_cost,
    measured,
    moved,
    seconds,
)
from synthprune.chapters.paths import left_out
from synthprune.chapters.plain import capital
from synthprune.data.facts import facts
from synthprune.results.store import Result, Store

WHAT = {"alone": "trained on the set alone", "pruned": "mask from the set, trained on real data"}

PASSED = {"distilled": "real ones go forward only",
          "condensed": "the decoded ones take about eight forward passes each and the real ones three"}
"""What is not alike, by method."""


def contact_sheet(p: Parameters, results: Mapping[str, Result]) -> Figure | Verdict:
    """The first stored image of each class, before and after distillation."""
    change, classes = moved(p, results), facts(p.dataset).classes
    by = minus(np.mean(list(change.values())), 1) if change else ""
    panels = [Panel(lambda style, name=name, title=title: sheet(style, first_of_each(results[name]), classes, title),
                    f"Contact sheet, {title}: one stored image each of {', '.join(classes[:ON_A_SHEET])}."
                    + f" Distillation changes pixels by {by} percent of their range on average." * bool(change))
              for name, title in ((START, "random real images"), (END, f"after {p.distillation_steps} steps"))
              if name in results]
    if not panels:
        return Verdict("open", "Not run: the set", f"{setting(p)} The set of this chapter was not made in this run, so what is"
                       " shown below are the networks that it would be compared with.")
    cut = f"{p.synthetic_factor} x {p.synthetic_factor}"
    tiles = f", each cut into {cut} tiles before a network sees it" if p.synthetic_factor > 1 else ""
    some = f" The first {ON_A_SHEET} of {len(classes)} classes." if len(classes) > ON_A_SHEET else ""
    caption = (f"{setting(p)} The first stored image of each class (of {p.synthetic_per_class}){tiles}:"
               f" where distillation begins, and where it ends. Images: {facts(p.dataset).title}.{some}")
    rows = [("class", "mean_change_percent"), *((name, f"{value:.6f}") for name, value in change.items())]
    return Figure(panels, caption, rows, "11_contact_sheet")


def first_of_each(result: Result) -> list[np.ndarray]:
    """The first stored image of each class, in class order."""
    _, first = np.unique(result.arrays["labels"], return_index=True)
    return list(result.arrays["images"][first])


def worth(p: Parameters, results: Mapping[str, Result]) -> Figure:
    """Test accuracy after training on the set alone, and after training on real data with the mask found on it."""
    p, _ = measured(p, results)
    found = accuracies(p, results)
    panels = []
    for what, of in found.items():
        if not of:
            continue
        rows = [(LABELS[method], [Dot(values, method)]) for method, values in of.items()]
        drawing = functools.partial(dots, rows=rows, title=f"test accuracy, %\n{WHAT[what]}")
        panels.append(Panel(drawing, _worth_alt(of, WHAT[what])))
    said = {"alone": f"the dense network, on {decoded_images(p)} decoded images and nothing else.",
            "pruned": "masks found on the set, or on all real images (IMP), then trained on all real ones."}
    shown = " ".join(f"{capital(WHAT[what])}: {said[what]}" for what, of in found.items() if of)
    caption = (f"{setting(p)} {shown} {level_words([p.level])}{band_words(p.seeds)}"
               f"{absences(not_run=[WHAT[what] for what, of in found.items() if not of], left_out=left_out(results))}")
    rows = [("what", "method", "initialisation", "test_accuracy_percent")]
    rows += [(what, method, *row) for what, of in found.items() for method, values in of.items()
             for row in in_rows(p.seeds, values)]
    return Figure(panels, caption, rows, "11_worth")


def _worth_alt(of: Mapping[str, np.ndarray], title: str) -> str:
    means = {LABELS[method]: stats.interval(values).mean for method, values in of.items()}
    said = [f"{label} {minus(mean, 1)}" for label, mean in means.items() if np.isfinite(mean)]
    return f"Dots: mean test accuracy in percent, {title}. {extremes(means, 1)}{'; '.join(said)}."


def worth_table(p: Parameters, results: Mapping[str, Result]) -> Table:
    """The same accuracies, with their paired differences to the random real images."""
    p, _ = measured(p, results)
    rows = []
    for what, of in accuracies(p, results).items():
        for method, values in of.items():
            of_set = "trained on this set alone" if what == "alone" else "mask, trained on real data"
            name = f"{LABELS[method]}: {of_set}" if method != "dense" else "dense: trained on real data"
            less = stats.interval(values - of["coreset"]).text(1) if "coreset" in of and method != "coreset" else ""
            rows.append((name, stats.interval(values).text(1), less))
    return Table(f"What the set is worth: {interval_words(p)}",
                 ("network", "test accuracy, %", "less that with random real images, points"), rows,
                 "Differences are taken on the same initialisations. Training on a set alone is the first round of the search"
                 " on it: the same steps for both sets.")


def cost_table(p: Parameters, results: Mapping[str, Result], store: Store) -> Table:
    """What making the set took, and what one mask took on it, on random real images, and on all real images."""
    rows = []
    if END in results:
        made = results[END].provenance["seconds"]
        rows.append(("making the set", "", f"{p.distillation_steps}", whole(making_visits(p)), f"{made:.1f}"))
    p, networks = measured(p, results)
    for method in SOURCES if ("pruned", "dense") in networks else ():
        cost, took = mask_cost(p, results, method), seconds(p, store, method)
        rows.append((f"one mask, {LABELS[method]}", whole(cost.stored_images), whole(cost.steps), whole(cost.visits),
                     "not measured" if np.isnan(took).any() else f"{took.mean():.1f}"))
    return Table(f"What it cost, to level {p.level}", ("what", "stored images", "steps", "images passed", "core-seconds"), rows,
                 f"Images passed are not all alike: while the set is made, {PASSED[p.synthetic]}, through another network."
                 " Seconds are of the machine that made the results, with whatever else it did meanwhile; masks: mean over"
                 f" {initialisations(p)}. Not measured: the trainings are not on this machine.")
