"""Chapter 08: IMP from initialisation, from epoch 3, and on a synthetic start. Paper section 5, figure 7."""

from __future__ import annotations

from typing import ClassVar

from synthprune import specs
from synthprune.experiments.settings import Settings


class Parameters(Settings):
    chapter: ClassVar[str] = "08_lottery_tickets"


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """Every result this chapter shows."""
    return {}
