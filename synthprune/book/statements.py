"""Statements that can be checked, each with its criteria: what `book/claims.yml` is made of."""

from __future__ import annotations

import math
from datetime import date
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from synthprune.chapters.plain import capital
from synthprune.stats import LEVEL, Measure, holm, p_between


def scene_of(label: str) -> str:
    """The scene that a measure's label begins with."""
    return label.partition(",")[0]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Declared(Part):
    """A measure as the ledger asks for it; `range` is where its values can lie at all."""

    unit: str
    range: tuple[float, float]
    labels: str
    says: str


_QUANTIFIERS = ("every", "any", "some_scene", "some_case")


class Condition(Part):
    """That intervals of a measure lie wholly on one side: "< x", "> x", "within a b" or "outside a b".

    Of `every` label; of `any` one; of every label of `some_scene`; or of every label of `some_case`: labels alike but for
    their last part, as training and test error are.
    """

    measure: str
    every: str | None = None
    any: str | None = None
    some_scene: str | None = None
    some_case: str | None = None

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if len(self._said) != 1:
            raise ValueError("needs one of every, any, some_scene and some_case")
        if not self.regions:
            raise ValueError(f"'{self.text}' is none of '< x', '> x', 'within a b' and 'outside a b' with a < b")
        return self

    @property
    def _said(self) -> dict[str, str]:
        return {name: text for name in _QUANTIFIERS if (text := getattr(self, name)) is not None}

    @property
    def text(self) -> str:
        return next(iter(self._said.values()))

    @cached_property
    def regions(self) -> list[tuple[float, float]]:
        """Open regions (low, high), in one of which a whole interval must lie; none where the text cannot be read."""
        try:
            match self.text.split():
                case ["<", x]:
                    found = [(-math.inf, float(x))]
                case [">", x]:
                    found = [(float(x), math.inf)]
                case ["within", a, b]:
                    found = [(float(a), float(b))]
                case ["outside", a, b]:
                    found = [(-math.inf, float(a)), (float(b), math.inf)] if float(a) < float(b) else []
                case _:
                    return []
        except ValueError:
            return []
        return [(low, high) for low, high in found if low < high]

    def alone(self, measure: Measure, label: str) -> float:
        """The p of one label on its own; 1 where its interval may decide nothing."""
        return 1.0 if measure.untold(label) else min(p_between(measure.intervals[label], *region) for region in self.regions)

    def tests(self, measure: Measure) -> list[tuple[list[str], float]]:
        """Every group of labels that is enough to meet the condition, with the p of its weakest label."""
        groups: dict[str, list[str]] = {}
        for label in measure.intervals:
            groups.setdefault(self._group(label), []).append(label)
        return [(group, max(self.alone(measure, label) for label in group)) for group in groups.values()]

    def _group(self, label: str) -> str:
        if self.every:
            return ""
        return label if self.any else scene_of(label) if self.some_scene else label.rpartition(",")[0]

    def p(self, measure: Measure) -> float:
        """Corrected for the groups of which one is enough; 1 where there is no label."""
        return min(holm([p for _, p in self.tests(measure)]), default=1.0)

    def met(self, measure: Measure) -> bool:
        return self.p(measure) <= LEVEL


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


_NAMES = {"imp": "IMP", "resnet18": "ResNet-18", "cifar100": "CIFAR-100"}

Conditions = Annotated[tuple[Condition, ...], BeforeValidator(_listed)]


class Claim(Part):
    """A statement and the conditions under which it holds (all) or fails (any one).

    It is the paper's (`quote`, verbatim) or a hypothesis of this book (`statement`). One that was found to be badly chosen
    stays; the claim that `amends` it says `since` when and why (`because`).
    """

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    section: str
    quote: str = ""
    statement: str = ""
    kind: Literal["number", "direction", "comparison"]
    chapter: str
    says: str
    scenes: tuple[str, ...] = Field(("*-*",), min_length=1)
    levels: tuple[int, ...] = ()
    only_in: str | None = None
    elsewhere: str = ""
    given: Conditions = ()
    holds: Conditions = Field(min_length=1)
    fails: Conditions = Field(min_length=1)
    amends: str | None = None
    since: date | None = None
    because: str | None = None
    declared: dict[str, Declared] = {}
    """The measures of its chapter, from the ledger's own list."""
    family: tuple[Claim, ...] = ()
    """The other hypotheses that its verdict is corrected for, from the ledger."""

    @model_validator(mode="before")
    @classmethod
    def _default_measure(cls, raw: Any) -> Any:
        """A condition that names no measure is about the claim's."""
        if not (isinstance(raw, dict) and "measure" in raw):
            return raw
        parts = {part: [{"measure": raw["measure"]} | condition if isinstance(condition, dict) else condition
                        for condition in _listed(raw[part])] for part in ("given", "holds", "fails")
                 if isinstance(raw.get(part), dict | list)}
        return {key: value for key, value in raw.items() if key != "measure"} | parts

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.quote) == bool(self.statement):
            raise ValueError("needs one of quote (the paper's words) and statement (a hypothesis of this book)")
        if len({self.amends is None, self.since is None, self.because is None}) > 1:
            raise ValueError("amends, since and because go together: which claim, from when, and why")
        if self.only_in and not self.elsewhere:
            raise ValueError("only_in needs elsewhere: why another profile cannot speak")
        return self

    @property
    def title(self) -> str:
        """The id as words: 'Matches IMP on ResNet-18'."""
        words = [_NAMES.get(word, word) for word in self.id.split("-")]
        return capital(" ".join(words))

    @property
    def plain(self) -> str:
        """The quote or statement without the marks of LaTeX, which the paper's text has around its formulas."""
        return (self.quote or self.statement).replace("$", "").replace("\\%", "%")

    @property
    def said(self) -> str:
        """The same, in quotation marks where the words are the paper's."""
        return self.plain if self.statement else f"\N{LEFT DOUBLE QUOTATION MARK}{self.plain}\N{RIGHT DOUBLE QUOTATION MARK}"

    @property
    def measures(self) -> list[str]:
        """The names of the measures that decide, each once, in the order of the conditions."""
        return list(dict.fromkeys(condition.measure for condition in (*self.given, *self.holds, *self.fails)))
