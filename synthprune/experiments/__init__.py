"""One file per chapter: its parameters, and the results it asks for."""

from __future__ import annotations

import importlib
from types import ModuleType

from synthprune.problems import Problem, nearest

CHAPTERS = {"04_stability": "stability"}
"""Chapter (its notebook's name) to module."""


def experiment(chapter: str) -> ModuleType:
    """The module of a chapter: `Parameters` and `requests(parameters) -> {name: entry}`. Raises Problem if unknown."""
    if chapter not in CHAPTERS:
        raise Problem(f"unknown chapter '{chapter}': {nearest(chapter, CHAPTERS)}")
    return importlib.import_module(f"synthprune.experiments.{CHAPTERS[chapter]}")
