"""Chapter 08: IMP from initialisation, from epoch 3, and on a synthetic start. Paper section 5, figure 7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import field_validator, model_validator

from synthprune import stats
from synthprune.chapters.answers import judged
from synthprune.chapters.described import described, joined
from synthprune.chapters.entries import architecture, dataset, recipe, search
from synthprune.chapters.paths import in_parts, mean_accuracy
from synthprune.chapters.settings import Settings, field
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result
from synthprune.stats import Measure


class Parameters(Settings):
    chapter: ClassVar[str] = "08_lottery_tickets"

    last_level: int = field("level to prune to, those of the synthetic start counted in (the paper: 25 or 33)", ge=2, le=40)
    start_level: int = field("level of the synthetic subnetwork that IMP starts from (the paper: 8)", ge=1)
    rewind_epoch: int = field("epoch that IMP with k > 0 returns to (the paper: 3)", ge=1)

    @field_validator("rewind")
    @classmethod
    def _to_initialisation(cls, rewind: str) -> str:
        if rewind not in ("full", "weights"):
            raise ValueError("must be full or weights here: the chapter compares them with rewind_epoch")
        return rewind

    @model_validator(mode="after")
    def _in_time(self) -> Parameters:
        if self.rewind_epoch >= min(self.epochs, self.round_epochs):
            raise ValueError(f"rewind_epoch={self.rewind_epoch} is not before the last of"
                             f" {min(self.epochs, self.round_epochs)} epochs")
        if self.start_level >= self.last_level:
            raise ValueError(f"start_level={self.start_level} leaves IMP no level before last_level={self.last_level}")
        return self

    @property
    def levels(self) -> range:
        """Every level but 0, the dense network."""
        return range(1, self.last_level + 1)


TRIALS = ("k0", "late", "start")
"""IMP rewound to initialisation; IMP rewound to a later epoch; IMP on a synthetic start, rewound to initialisation."""

MARGIN = 0.5
"""Points of test accuracy that a ticket may lie below the dense network: about what 10,000 test images can resolve (one
standard error of an accuracy of 60 to 90 % is 0.5 to 0.3 points)."""


def title(p: Parameters, trial: str) -> str:
    """What a trial is called."""
    return {"k0": "IMP, k = 0", "late": f"IMP, k = {p.rewind_epoch}", "start": "IMP on a synthetic start"}[trial]


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    return described(p, f" Initialisations {joined(p.seeds)}; levels 1 to {p.last_level} beside the dense network. The synthetic"
                        f" start is the synthetic subnetwork of level {p.start_level}; k &gt; 0 is k = {p.rewind_epoch}. All"
                        f" trainings are in order {p.search_seed}.", "they show how the comparison works")


def trial_search(p: Parameters, trial: str) -> specs.Search:
    """How the masks of a trial are found."""
    imp = search(p, "imp")
    if trial == "late":
        return imp.model_copy(update={"rewind": p.rewind_epoch})
    if trial == "start":
        return imp.model_copy(update={"start": specs.Start(search=search(p, "synthetic"), level=p.start_level)})
    return imp


def name(p: Parameters, trial: str, level: int, seed: int) -> str:
    """What an evaluation is called; level 0 is the dense network, whatever the trial."""
    return f"{p.scene}: {f'{title(p, trial)}, level {level}' if level else 'dense'}, initialisation {seed}"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """The evaluation of every subnetwork, trained as the search itself trains it: in the search's own order, on real data.

    So a point costs no training beyond its search's, but for the last level and those below the synthetic start.
    """
    return {name(p, trial, level, seed): specs.Evaluation(of=specs.Trained(
        subnetwork=specs.Subnetwork(dataset=dataset(p), architecture=architecture(p), init_seed=seed,
                                    search=trial_search(p, trial), level=level),
        data=specs.Real(), recipe=recipe(p, p.epochs), order_seed=p.search_seed))
        for trial in TRIALS for level in (0, *p.levels) for seed in p.seeds}


def measured(p: Parameters, results: Mapping[str, Result]) -> tuple[Parameters, list[str]]:
    """The initialisations that are here, and the trials that could be measured: those whose data are here."""
    return in_parts(p, TRIALS, lambda p, trial: [name(p, trial, level, seed) for level in (0, *p.levels) for seed in p.seeds],
                    results)


def accuracies(p: Parameters, results: Mapping[str, Result], trial: str, level: int) -> np.ndarray:
    """(initialisations,): test accuracy after training, percent; NaN where a subnetwork collapsed or its training diverged.

    Raises Problem for a level that was not measured.
    """
    if not 0 <= level <= p.last_level:
        raise Problem(f"level {level} was not measured: they go from 0 (dense) to {p.last_level}")
    return np.array([mean_accuracy([results[name(p, trial, level, seed)]]) for seed in p.seeds])


def beside_dense(p: Parameters, results: Mapping[str, Result], trial: str, level: int) -> np.ndarray:
    """(initialisations,): test accuracy less that of the dense network from the same initialisation, points."""
    return accuracies(p, results, trial, level) - accuracies(p, results, trial, 0)


def ticket_levels(p: Parameters, results: Mapping[str, Result], trial: str, margin: float = MARGIN) -> np.ndarray:
    """(initialisations,): the highest level that reaches the dense network's accuracy less `margin` points; 0 where none does.

    A collapsed or diverged subnetwork reaches nothing; NaN where the dense network itself diverged.
    """
    highest = np.zeros(len(p.seeds))
    for level in p.levels:
        # Differences are of whole images: one that meets the line must not miss it by rounding.
        highest[beside_dense(p, results, trial, level) > -margin - 1e-4] = level
    return np.where(np.isfinite(accuracies(p, results, trial, 0)), highest, np.nan)


def later_than_imp(p: Parameters, results: Mapping[str, Result], trial: str) -> np.ndarray:
    """(initialisations,): by how many levels the sparsest ticket of `trial` comes after IMP's.

    NaN where both stand at the last level run: either may have sparser ones. Where only one does, it comes later by so much at
    least, which this then is.
    """
    imp, other = ticket_levels(p, results, "k0"), ticket_levels(p, results, trial)
    return np.where((imp == p.last_level) & (other == p.last_level), np.nan, other - imp)


def surest_ticket(p: Parameters, results: Mapping[str, Result], trial: str) -> int | None:
    """The highest level whose whole interval of accuracy beside dense lies above minus MARGIN; None where no level's does.

    An interval of fewer initialisations than were planned speaks for none.
    """
    of = {level: stats.interval(beside_dense(p, results, trial, level)) for level in p.levels}
    return max((level for level, difference in of.items() if not stats.untold(difference, len(p.planned))
                and difference.low > -MARGIN), default=None)


def measures(p: Parameters, results: Mapping[str, Result]) -> dict[str, Measure]:
    """What the claim ledger asks of this chapter, where its trials were measured; see book/claims.yml."""
    (p, trials), found = measured(p, results), {}
    if {"k0", "start"} <= set(trials):
        later = later_than_imp(p, results, "start")
        found["ticket_level_synthetic_start_minus_k0"] = Measure({p.scene: stats.interval(later)}, "levels", len(p.planned))
    if {"late", "start"} <= set(trials):
        found["accuracy_k3_minus_synthetic_start"] = Measure(
            {f"{p.scene}, level {level}": stats.interval(accuracies(p, results, "late", level)
                                                         - accuracies(p, results, "start", level))
             for level in p.levels if level > p.start_level}, "percentage points", len(p.planned),
            "" if p.rewind_epoch == 3 else f"k = {p.rewind_epoch}, not 3")
    return found


def check_margin(answer: Any, p: Parameters, results: Mapping[str, Result]) -> str:
    """What to say to the smallest margin, in points, with which every initialisation has a ticket at the highest level, on a
    synthetic start."""
    level, (p, trials) = p.last_level, measured(p, results)
    if "start" not in trials or not np.isfinite(beside_dense(p, results, "start", level)).all():
        return "This run has no accuracy on every initialisation there, so the question has no answer: try other levels."
    short = -beside_dense(p, results, "start", level)
    right = max(0.0, float(short.max()))
    less = "That is enough on average, or for one of them: every initialisation must reach its own dense network."
    return judged(answer, (
        (right, f"Right: with a margin of {right:.2f} points level {level} is a ticket on all of {len(p.seeds)} initialisations,"
                f" with {max(0.0, float(short.min())):.2f} on at least one. A sparsest ticket is a statement about a margin."),
        (float(short.mean()), less), (float(short.min()), less)),
        lambda value: 0.05, "Give one number, in points of test accuracy.",
        f"Not yet. On each initialisation, take the dense network's accuracy less that of level {level}; keep the largest.")
