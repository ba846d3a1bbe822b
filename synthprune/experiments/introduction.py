"""Chapter 01: the idea end to end. Paper, abstract and section 1."""

from __future__ import annotations

from typing import ClassVar

from synthprune import specs
from synthprune.experiments.settings import Settings


class Parameters(Settings):
    chapter: ClassVar[str] = "01_introduction"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every result this chapter shows."""
    return {}
