"""One file per chapter: its parameters, and the results it asks for."""

from __future__ import annotations

import importlib
from types import ModuleType

from synthprune.problems import Problem, nearest

CHAPTERS = {
    "01_introduction": "introduction", "01_method": "method",
    "02_preliminaries": "preliminaries",
    "03_distilled_pruning": "distilled_pruning", "04_stability": "stability", "05_loss_landscape": "loss_landscape",
    "06_hessian": "hessian", "07_overview": "overview", "08_lottery_tickets": "lottery_tickets", "09_discussion": "discussion",
    "10_controls": "controls", "11_make_synthetic_data": "make_synthetic_data"}
"""Chapter (its notebook's name) to module."""


def experiment(chapter: str) -> ModuleType:
    """The module of a chapter: `Parameters` and `requests(parameters) -> {name: entry}`. Raises Problem if unknown."""
    if chapter not in CHAPTERS:
        raise Problem(f"unknown chapter '{chapter}': {nearest(chapter, CHAPTERS)}")
    return importlib.import_module(f"synthprune.chapters.{CHAPTERS[chapter]}")
