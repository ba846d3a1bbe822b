"""Words that captions, tables and alternative texts share, made from values."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from synthprune import stats
from synthprune.chapters.figures import LABELS
from synthprune.chapters.settings import ARCHITECTURES, Settings, decides, overrides
from synthprune.data.facts import facts


def sparsity(level: int) -> str:
    """What a level prunes, as '59.0 %'."""
    return f"{100 * (1 - 0.8**level):.1f}\N{NO-BREAK SPACE}%"


def level_words(levels: Sequence[int]) -> str:
    """'Level 4: 59.0 % pruned; level 9: 86.6 % pruned.'"""
    return "; ".join(f"{'level' if n else 'Level'} {level}: {sparsity(level)} pruned" for n, level in enumerate(levels)) + "."


def scene_title(p: Settings) -> str:
    """'ConvNet-3 on CIFAR-10', as plain text."""
    return f"{ARCHITECTURES[p.architecture]} on {facts(p.dataset).title}"


def scene_titles(scenes: Sequence[Settings]) -> dict[str, str]:
    """The title of each scene by its name, which stands beside it where two scenes have the same network and data set."""
    several = Counter({p.scene: scene_title(p) for p in scenes}.values())
    return {p.scene: f"{title} ({p.scene})" if several[title := scene_title(p)] > 1 else title for p in scenes}


def setting(p: Settings) -> str:
    """Network, data and profile in one or two sentences of HTML: how a caption begins."""
    changed = ", with other values than its own" if overrides(p).keys() - {"scene"} else ""
    profile = f"Profile {p.profile}{changed}{'' if decides(p) else ', on data that decide nothing'}."
    which = f"number{'' if len(p.seeds) == 1 else 's'} {listed(p.seeds)}"
    few = f" Incomplete: {initialisations(p)} ({which}); verdicts wait for all." if incomplete(p) else ""
    return html.escape(f"{ARCHITECTURES[p.architecture]}, width {p.width}, {facts(p.dataset).title} at {p.pixels} pixels."
                       f" {profile}{few}", quote=False)


def incomplete(p: Settings) -> str:
    """'3 of 5 initialisations' while some that were planned are missing; else nothing."""
    return f"{len(p.seeds)} of {count(len(p.planned), 'initialisation')}" if len(p.seeds) < len(p.planned) else ""


def initialisations(p: Settings) -> str:
    """'5 initialisations', or, while some are missing, '3 of 5 planned initialisations'."""
    if not incomplete(p):
        return count(len(p.seeds), "initialisation")
    return f"{len(p.seeds)} of {count(len(p.planned), 'planned initialisation')}"


def interval_words(*scenes: Settings) -> str:
    """What brackets in a table are, whose rows are of one scene or of several."""
    if len({(tuple(p.seeds), tuple(p.planned)) for p in scenes}) > 1:
        return "mean [95\N{NO-BREAK SPACE}% interval] over each row's initialisations (of one, no interval)"
    p = scenes[0]
    if len(p.seeds) < 2:
        return f"{initialisations(p) if incomplete(p) else 'one initialisation'}, so no interval"
    return f"mean [95\N{NO-BREAK SPACE}% interval] over {initialisations(p)}"


def band_words(seeds: Sequence[int]) -> str:
    """What the bars of `dots` are: ' Bars: ...', or nothing where there are none."""
    if len(seeds) < 2:
        return ""
    shade = "the range of the two initialisations" if len(seeds) == 2 else "the 95\N{NO-BREAK SPACE}% interval of the mean"
    return f" Bars: {shade}."


BARRIERS = ("test accuracy, %", "loss barrier midway (paper), nats", "highest loss barrier, nats",
            "training-error barrier, points", "test-error barrier, points", "stable to SGD noise?")
"""What heads the cells of `chapters.paths.Barriers`."""


def line_words(seeds: Sequence[int], *, thin: bool = False, cut: str = ", cut off at the frame") -> str:
    """What lines and their bands are; `thin`: whether each initialisation is drawn too; `cut`: whether bands are cut off."""
    lines = "Thick" if thin else "Lines"
    few = {1: "One initialisation: no band can be drawn.",
           2: f"{lines}: mean over 2 initialisations; shaded: their range (an interval of two says little: see the table)."}
    each, of = (" thin: each of them;", " for the mean") if thin else ("", "")
    return few.get(len(seeds), f"{lines}: mean over {count(len(seeds), 'initialisation')};{each} shaded: 95\N{NO-BREAK SPACE}%"
                               f" intervals{of}{cut}.")


def absences(**named: Iterable[str]) -> str:
    """HTML: ' Left out: a; b. Not run: c.' of `left_out` and `not_run`, each thing once; nothing for what is empty."""
    each = {name.replace("_", " ").capitalize(): dict.fromkeys(those) for name, those in named.items()}
    return "".join(f" {words}: {html.escape('; '.join(those))}." for words, those in each.items() if those)


def left_out_words(faults: Sequence[str]) -> str:
    """What may not enter a mean, the first few by name: a table counts them all."""
    more = [f"and {len(faults) - NAMED} more"] if len(faults) > NAMED else []
    return absences(left_out=[*faults[:NAMED], *more])


NAMED = 6


def titled(method: str, level: int, *, pruned: bool = True) -> str:
    """'IMP, level 4 (59.0 %)', or without what is `pruned`; 'dense' at level 0."""
    words = f"{LABELS[method]}, level {level}{f' ({sparsity(level)})' if pruned else ''}"
    return words if level else LABELS["dense"]


def extremes(values: Mapping[str, float], digits: int, lead: str = "") -> str:
    """'Highest: dense (9.74); lowest: IMP (2.81). ' after a `lead`: how an alternative text begins with what is seen.

    Nothing where fewer than two values are finite.
    """
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    if len(known) < 2:
        return ""
    top, bottom = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    high, low = minus(known[top], digits), minus(known[bottom], digits)
    return lead + (f"All alike ({high}). " if high == low else f"Highest: {top} ({high}); lowest: {bottom} ({low}). ")


def mean_text(values: np.ndarray, digits: int, nothing: str = "no value") -> str:
    """The mean of what is finite among `values`."""
    mean = stats.interval(values).mean
    return minus(mean, digits) if np.isfinite(mean) else nothing


def whole(number: float) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def minus(value: float, digits: int) -> str:
    """A number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def listed(items: Sequence[object]) -> str:
    """'0, 4 and 9'."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def count(n: int, noun: str) -> str:
    """'1 initialisation', '2 initialisations'."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
