"""Four floors, and imports that point down only."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "synthprune"
FLOORS = ["library", "results", "chapters", "book", "cli"]
FACES = {"chapter", "workshop"}
"""What a notebook calls: rooms of the book that stand beside its folder, so that a reader types less."""


def floor(room: str) -> int:
    """The floor of a dotted name below `synthprune`, from the library up."""
    first = room.partition(".")[0]
    return FLOORS.index("book" if first in FACES else first if first in FLOORS else "library")


def imported(file: Path) -> set[str]:
    """The rooms of this package that a file imports, anywhere in it, as dotted names below `synthprune`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "synthprune":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("synthprune."):
            found.add(node.module.removeprefix("synthprune."))
        elif isinstance(node, ast.Import):
            found |= {name.name.removeprefix("synthprune.") for name in node.names if name.name.startswith("synthprune.")}
    return found


def test_imports_point_down_only() -> None:
    rooms = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in PACKAGE.rglob("*.py")}
    upward = [f"{room} imports {other}" for room, file in rooms.items() for other in imported(file) if floor(other) > floor(room)]
    assert upward == []
    assert {floor(room) for room in rooms} == set(range(len(FLOORS)))
