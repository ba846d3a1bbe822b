"""What a run of a chapter is, in words made from its values: the paragraph under a chapter's parameters."""

from __future__ import annotations

import html
from collections.abc import Sequence

from synthprune.chapters.entries import recipe, search_recipe
from synthprune.chapters.settings import ARCHITECTURES, Settings, decides, overrides
from synthprune.data.facts import FACTS, facts


def described(p: Settings, said: str, instead: str) -> str:
    """HTML: the setting, what a chapter has `said` of its own, and of data that decide nothing what they show `instead`."""
    whose = "Demonstration data" if p.profile == "demo" or p.dataset in FACTS else "Data of your own"
    demo = "" if decides(p) else f" <strong>{whose} decide nothing about the paper:</strong> {instead}."
    return f"{_in_words(p)}{said}{demo}"


def more_scenes(p: Settings) -> str:
    """Whose the values are where there are several scenes; else nothing."""
    return f" Scenes: {', '.join(p.scenes)}; the values above are those of {p.scene}." if len(p.scenes) > 1 else ""


def joined(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _in_words(p: Settings) -> str:
    """Profile, data, network, training, synthetic set and rewind, as HTML sentences made from the values."""
    changed = ", ".join(f"{name}={value}" for name, value in overrides(p).items())
    count = f"{p.train_per_class} training images per class of " if p.train_per_class else "all training images of "
    stored = f"{p.synthetic_per_class} stored images per class, decoded by factor {p.synthetic_factor}, made here by"
    made = {"distilled": f"{stored} distribution matching in {p.distillation_steps} steps",
            "condensed": f"{stored} gradient matching in {p.distillation_steps} steps",
            "coreset": f"{p.synthetic_per_class} random real images per class, decoded by factor {p.synthetic_factor}"}
    rewind = {"full": "every parameter returns to initialisation",
              "weights": "only the prunable weights return to initialisation"}
    profile = html.escape(f"Profile {p.profile}, with {changed}" if changed else f"Profile {p.profile}")
    return (f"<strong>{profile}.</strong> Data: {count}{facts(p.dataset).title} at {p.pixels} pixels. Network:"
            f" {ARCHITECTURES[p.architecture]} of width {p.width}, {p.epochs} epochs in batches of {p.batch},"
            f" learning rate {p.lr:g}, weight decay {p.weight_decay:g}.{_search_in_words(p)} Synthetic set:"
            f" {made.get(p.synthetic, f'the imported set {html.escape(p.synthetic)}')}, {p.synthetic_epochs} epochs per round."
            f" Rewind: {rewind.get(p.rewind, f'to epoch {p.rewind} of each search')}.")


def _search_in_words(p: Settings) -> str:
    """How a search is trained where that is not how a subnetwork is retrained; else nothing."""
    usual, own = recipe(p, p.epochs), search_recipe(p, p.round_epochs)
    said = [f"{own.epochs} epochs a round on real data"] if own.epochs != usual.epochs else []
    said += [f"{words} {getattr(own, name):g}" for name, words in (("lr", "learning rate"), ("weight_decay", "weight decay"))
             if getattr(own, name) != getattr(usual, name)]
    return f" Mask searches: {', '.join(said)}." if said else ""


