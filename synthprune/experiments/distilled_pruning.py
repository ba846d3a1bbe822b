"""Chapter 03: accuracy against sparsity, and what a mask costs. Paper section 3, figures 1 and 2."""

from __future__ import annotations

from typing import ClassVar

from synthprune import specs
from synthprune.experiments.settings import Settings


class Parameters(Settings):
    chapter: ClassVar[str] = "03_distilled_pruning"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every result this chapter shows."""
    return {}
