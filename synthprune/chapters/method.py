"""The method written out: it asks for what chapter 01 asks of its first initialisation, and computes the same by hand."""

from __future__ import annotations

from typing import ClassVar

from pydantic import model_validator

from synthprune.chapters import introduction
from synthprune.chapters.settings import narrowed
from synthprune.results import specs


class Parameters(introduction.Parameters):
    chapter: ClassVar[str] = "01_method"

    @model_validator(mode="after")
    def _as_written(self) -> Parameters:
        """What the forty lines do not say cannot be set."""
        for name, written in (("rewind", "full"), ("synthetic", "distilled"), ("search_epochs", 0), ("search_lr", 0),
                              ("search_weight_decay", -1)):
            if getattr(self, name) != written:
                raise ValueError(f"{name}={getattr(self, name)} is not what this chapter writes out: leave it at {written}")
        return self


def setting(p: Parameters) -> str:
    """What a run of this chapter is, in a paragraph of HTML."""
    return introduction.setting(_first(p))


def requests(p: Parameters) -> dict[str, specs.Entry]:
    """The set, masks and paths of chapter 01, of the first initialisation and the first two orders: by the same keys."""
    return introduction.requests(_first(p))


def _first(p: Parameters) -> Parameters:
    return narrowed(p, p.seeds[:1]).model_copy(update={"orders": p.orders[:2]})
