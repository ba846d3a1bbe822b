"""Chapter 09: where the masks lie, and what they cost. Paper section 6."""

from __future__ import annotations

from typing import ClassVar

from synthprune import specs
from synthprune.experiments.settings import Settings


class Parameters(Settings):
    chapter: ClassVar[str] = "09_discussion"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every result this chapter shows."""
    return {}
