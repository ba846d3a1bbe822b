"""Timing in turns, and the table that comes of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from synthprune.machine import cores, cpu

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Timings

Each table was made by the command above it, on a machine with nothing else to do, unless it says otherwise.
Medians, and in brackets the least and the most.
Ratios are taken turn by turn, so that they say more than seconds, which are one machine's.
Nothing here was measured on a GPU; `python -m benchmarks.gpu` prints the same table there.
"""


@dataclass(frozen=True)
class Row:
    """One comparison: `values` in `unit`, one of each turn ("" for a plain ratio)."""

    what: str
    against: str
    target: str
    values: list[float]
    unit: str = ""

    def __str__(self) -> str:
        spread = f" ({min(self.values):.3g} to {max(self.values):.3g})" if len(self.values) > 1 else ""
        told = f"**{statistics.median(self.values):.3g}**{spread}"
        return f"| {self.what} | {self.against} | {self.target} | {told} {self.unit} | {len(self.values)} |"


def in_turns(works: Mapping[str, Callable[[], float]], turns: int = 5) -> dict[str, list[float]]:
    """What each of `works` says of itself (seconds), `turns` times in turn after one turn to warm up."""
    said = [{name: work() for name, work in works.items()} for _ in range(turns + 1)][1:]
    return {name: [turn[name] for turn in said] for name in works}


def ratios(upper: Iterable[float], lower: Iterable[float]) -> list[float]:
    """Turn by turn."""
    return [a / b for a, b in zip(upper, lower, strict=True)]


def table(command: str, machine: str, rows: Iterable[Row]) -> str:
    """A section of Markdown."""
    lines = [f"## `{command}`", "", f"{machine}; torch {torch.__version__}.", "",
             "| what | against | target | measured | turns |", "| --- | --- | --- | --- | --- |", *map(str, rows)]
    return "\n".join(lines) + "\n"


def record(command: str, rows: list[Row]) -> None:
    """Print the table, and put it into RESULTS.md in the place of the last one by the same command."""
    made = table(command, f"{cpu()}, {cores()} cores, no GPU used", rows)
    print(made)
    _, *sections = (RESULTS.read_text() if RESULTS.exists() else HEAD).split("\n## ")
    others = [f"## {section.rstrip()}\n" for section in sections if not section.startswith(f"`{command}`")]
    RESULTS.write_text("\n".join([HEAD, *sorted([*others, made])]))
