"""What the front page asks of the chapters, and every word that an answer may have. Templates hold no number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synthprune import stats
from synthprune.chapters import plain


@dataclass(frozen=True)
class Ask:
    """One measure that a finding rests on, and what may be said of it."""

    measure: str
    labels: tuple[str, ...]
    """Patterns of what follows the scene in a label; "" for nothing."""
    about: str
    """What is measured, as a noun; said where nothing may be concluded."""
    quantity: str
    """What the number is."""
    above: str
    below: str
    untold: str
    line: float = 0.0
    """In the measure's unit; an interval wholly above or below it is a finding."""


@dataclass(frozen=True)
class Question:
    """What one line of the front page asks of one chapter."""

    chapter: str
    asks: tuple[Ask, ...]


LONGEST = "barrier_longest_minus_shortest_search"
BOTH = ("level 4", "level 9")
TRAINING = tuple(f"{level}, *training error" for level in BOTH)
"""Where chapter 10 measures both errors, the line shows the one that the paper measures; verdicts look at both."""

QUESTIONS = (
    Question("04_stability", (Ask(
        "error_barrier_dense", ("",), "the whole network", "barrier",
        above="The whole network is not stable", below="The whole network is stable",
        untold="Whether the whole network is stable cannot be told", line=stats.STABLE_BELOW),
        Ask("error_barrier_synthetic", BOTH, "subnetworks after pruning on synthetic images", "barrier",
            above="Subnetworks pruned on synthetic images are not stable",
            below="Subnetworks pruned on synthetic images are stable",
            untold="Whether subnetworks pruned on synthetic images are stable cannot be told", line=stats.STABLE_BELOW))),
    Question("04_stability", (Ask(
        "error_barrier_imp_minus_synthetic", BOTH, "the barrier after pruning on real and on synthetic images",
        "real less synthetic",
        above="Pruning on real images leaves the higher barrier", below="Pruning on synthetic images leaves the higher barrier",
        untold="The barriers after pruning on real and on synthetic images are not told apart"),)),
    Question("03_distilled_pruning", (Ask(
        "accuracy_synthetic_minus_imp", BOTH, "accuracy after pruning on synthetic and on real images",
        "synthetic less real",
        above="Pruning on synthetic images gives the more accurate network",
        below="Pruning on real images gives the more accurate network",
        untold="Accuracy after pruning on synthetic and on real images is not told apart"),)),
    Question("10_controls", (Ask(
        LONGEST, TRAINING, "the effect of the length of the search on real images", "longest less shortest",
        above="The longest search on real images leaves a higher barrier than the shortest",
        below="The longest search on real images leaves a lower barrier than the shortest",
        untold="Whether the length of the search moves the barrier cannot be told"),)),
    Question("10_controls", (Ask(
        "barrier_real_minus_synthetic", TRAINING,
        "the barrier with real and with synthetic images after equally long searches", "real less synthetic",
        above="After equally long searches, real images leave the higher barrier",
        below="After equally long searches, real images leave the lower barrier",
        untold="After equally long searches, the barriers of real and of synthetic images are not told apart"),)),
    Question("10_controls", (Ask(
        "barrier_decay_minus_without_decay", TRAINING, "the effect of weight decay in a long search", "with decay less without",
        above="Weight decay in a long search raises the barrier", below="Weight decay in a long search lowers the barrier",
        untold="Whether weight decay in a long search moves the barrier cannot be told"),)),
    Question("10_controls", (
        Ask("barrier_synthetic_minus_random_real", TRAINING,
            "the barrier with distilled images and with as many random real ones", "distilled less random",
            above="Distilled images leave a higher barrier than as many random real ones",
            below="Distilled images leave a lower barrier than as many random real ones",
            untold="The barriers of distilled and of as many random real images are not told apart"),
        Ask("accuracy_synthetic_minus_random_real", BOTH, "accuracy with distilled images and with as many random real ones",
            "distilled less random",
            above="Distilled images give the more accurate network", below="Random real images give the more accurate network",
            untold="Accuracy with distilled and with random real images is not told apart"))),
)
"""The lines of the front page, in their order; at most seven."""


# The answer in one sentence.

CENTRAL = "stable-where-others-are-not"
"""The paper's central claim in the ledger; asked here of the setting in which the run measures it, by the ledger's criterion."""

HYPOTHESES = {"longer": "barrier-rises-with-search", "real": "real-as-stable-at-equal-steps",
              "forgetting": "stable-without-decay", "distilled": "distillation-adds-stability"}
"""The book's own hypotheses in the ledger: H1 to H4."""

WAITS = {"central": "the barriers after pruning on real and on synthetic images",
         "longer": "the effect of the length of the search",
         "real": "the barriers of real and of synthetic images after equally long searches"}
"""What the answer always speaks of, and cannot be given without."""

# What holds or fails has a margin in the ledger, so that the words have one too: "clearly", "hardly".
ORDER: dict[plain.State, str] = {
    "holds": "the paper's order appears, with a barrier after pruning on real images and none after pruning on synthetic ones",
    "fails": "the paper's order (a barrier after pruning on real images, none after pruning on synthetic ones) does not appear",
    "open": "whether the paper's order appears cannot be told"}

LENGTH: dict[plain.State, str] = {
    "holds": "over the lengths that were tried, the barrier rises with the length of the search on real images",
    "fails": "a longer search on real images hardly raises the barrier, if at all",
    "open": "whether the barrier clearly rises with the length of the search on real images cannot be told"}

IMAGES: dict[plain.State, str] = {
    "holds": "with equally long searches real images leave no clearly higher barrier than synthetic ones",
    "fails": "with equally long searches real images can leave a clearly higher barrier than synthetic ones",
    "open": "whether real images leave a clearly higher barrier than synthetic ones after equally long searches cannot be told"}

WHY: dict[tuple[str, plain.State], str] = {
    ("forgetting", "holds"): "; without weight decay even a long search leaves a low barrier",
    ("forgetting", "fails"): "; weight decay alone does not account for it",
    ("distilled", "holds"): "; distilled images leave a clearly lower barrier than as many random real images",
    ("distilled", "fails"): "; distilled images leave no clearly lower barrier than as many random real images"}
"""How the sentence ends: why the length matters, where it does; else what distillation adds. Nothing where that is open."""


def answer(states: Mapping[str, plain.State | None], where: str) -> str:
    """One sentence from five verdicts: "central", and those of HYPOTHESES; `where` is the scale that they speak of.

    The three that it always speaks of must be there; of the others, None is as silent as "open".
    """
    reason = "forgetting" if states["longer"] == "holds" else "distilled"
    return (f"{where}, {ORDER[states['central']]}; {LENGTH[states['longer']]}, and {IMAGES[states['real']]}"
            f"{WHY.get((reason, states[reason]), '')}.")
