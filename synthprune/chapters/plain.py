"""What the ledger's names are called in a sentence: measures, scenes, labels, conditions, and what was found of a claim."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Literal

import yaml

from synthprune.chapters.settings import ARCHITECTURES
from synthprune.data.facts import FACTS

State = Literal["holds", "fails", "open"]
PAPER: dict[State, str] = {"holds": "reproduced", "fails": "contradicted", "open": "cannot be told"}
SCALE: dict[State, str] = {"holds": "holds at this scale", "fails": "does not hold at this scale",
                           "open": "cannot be told at this scale"}
DEMO, NOT_RUN, UNFINISHED = "demo data decide nothing", "not run", "not complete yet"

PARTS = {"imp": "IMP", "std": "standard deviation"}
"""Parts of a label that are no words."""


@functools.cache
def measures() -> Mapping[str, str]:
    """Noun phrases with their article, by the names of the measures that book/claims.yml declares."""
    return yaml.safe_load((files("synthprune.chapters") / "measures.yaml").read_text(encoding="utf-8"))


def measure(name: str) -> str:
    """'the error barrier of the dense network'; a measure without a phrase keeps its name."""
    return measures().get(name) or name.replace("_", " ")


def scene(name: str) -> str:
    """'ConvNet-3 on CIFAR-10' for 'convnet3-cifar10', 'any network on CIFAR-10' for '*-cifar10'; others as they are called."""
    network, _, rest = name.partition("-")
    data, _, variant = rest.partition("-")
    if network not in ARCHITECTURES and network != "*":
        return name
    title = FACTS[data].title.partition(",")[0] if data in FACTS else data
    over = "any network" if network == "*" else ARCHITECTURES[network]
    return f"{over}{f' on {title}' if data != '*' else ''}{f' ({variant})' if variant else ''}"


def label(text: str) -> str:
    """'ConvNet-3 on CIFAR-10, 59.0 % pruned' for 'convnet3-cifar10, level 4'."""
    first, *rest = text.split(", ")
    return ", ".join([scene(first), *map(part, rest)])


def shared(labels: Sequence[str]) -> tuple[str, list[str]]:
    """What all labels say, so that it need not be said with each; and what each says beyond it, "" where that is nothing."""
    said = [[scene(first), *map(part, rest)] for first, *rest in (each.split(", ") for each in labels)]
    common = [words for words in said[0] if all(words in each for each in said)] if said else []
    return ", ".join(common), [", ".join(words for words in each if words not in common) for each in said]


def part(text: str) -> str:
    """A later part of a label: '59.0 % pruned' for 'level 4'."""
    from synthprune.chapters.figures.words import sparsity

    return f"{sparsity(int(text.removeprefix('level ')))} pruned" if text.startswith("level ") else PARTS.get(text, text)


def condition(text: str) -> str:
    """'below 2' for '< 2'."""
    match text.split():
        case ["<", x]:
            return f"below {x}"
        case [">", x]:
            return f"above {x}"
        case ["within", a, b]:
            return f"between {a} and {b}"
        case _:
            return text


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
