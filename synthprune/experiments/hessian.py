"""Chapter 06: the Hessian diagonal. Paper section 4.2 and appendix."""

from __future__ import annotations

from typing import ClassVar

from synthprune import specs
from synthprune.experiments.settings import Settings


class Parameters(Settings):
    chapter: ClassVar[str] = "06_hessian"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every result this chapter shows."""
    return {}
