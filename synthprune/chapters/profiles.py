"""Profiles: the values that chapters run with, read from YAML and checked."""

from __future__ import annotations

import functools
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from synthprune.own import is_own, named
from synthprune.problems import Problem, cut, line, nearest

PARTS = ("scenes", "chapters", "cells")
"""The parts of a profile that are mappings: values of one scene, of one chapter, and of one cell of chapter 10."""

CELL_PARTS = ("sources", "rewind", "question", "why", "scale")
"""What a cell of chapter 10 is for: where masks come from; another rewind; the length of the search, crossed with that of the
retraining; why it matters; and steps towards the paper's scale."""

DEEPEST, MOST, LONGEST = 20, 10_000, 1_000
"""How deep YAML may be nested, how many values it may hold with what its aliases repeat, and the characters of one."""


class _Loader(yaml.SafeLoader):
    """The safe one, without what a small text could fill the machine with."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0
        self._sizes: dict[str | None, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event, before = self.peek_event(), self._values
        alias = isinstance(event, yaml.AliasEvent)
        unfinished = MOST if event.anchor in self.anchors else 0  # an alias within what it repeats would never end
        self._values += self._sizes.get(event.anchor, unfinished) if alias else 1
        self._depth += 1
        if self._depth > DEEPEST or self._values > MOST or len(getattr(event, "value", "")) > LONGEST:
            raise yaml.MarkedYAMLError(problem_mark=event.start_mark, problem=(
                f"nested more than {DEEPEST} deep, more than {MOST} values with those that aliases repeat, or one of more than"
                f" {LONGEST} characters"))
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not alias:
            self._sizes[event.anchor] = self._values - before
        return node


def parsed(text: str) -> Any:
    """What a text in YAML says. Raises yaml.YAMLError where it says nothing, or too much."""
    try:
        return yaml.load(text, _Loader)
    except (ValueError, LookupError, AttributeError) as error:  # what PyYAML makes of '2024-13-45' or '!!int x'
        raise yaml.YAMLError(f"a value is not what it looks like: {error}") from None


def read_profile(name: str) -> dict[str, Any]:
    """The fields of a profile, with its scenes and chapters: one that comes with the package, or a YAML file by its path.

    Raises Problem for an unknown name or key, or a file that is no mapping.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else _shipped().get(name)
    if file is None:
        raise Problem(f"unknown profile '{name}': {nearest(name, _shipped())}")
    try:
        return _read(name, file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Problem(f"profile {name} cannot be read: {line(error)}") from None


@functools.lru_cache(maxsize=8)
def _read(name: str, text: str) -> dict[str, Any]:
    from synthprune.chapters import CHAPTERS, experiment
    from synthprune.chapters.settings import CELL_METHODS

    values = parsed(text)
    if not isinstance(values, dict):
        raise Problem(f"profile {name} is not a list of 'field: value' lines")
    values |= {"scenes": values.get("scenes") or {str(values.get("scene", "main")): {}}}
    values |= {part: _part(name, part, values.get(part) or {}) for part in PARTS}
    values.setdefault("scene", next(iter(values["scenes"])))
    known = {field for chapter in CHAPTERS for field in experiment(chapter).Parameters.model_fields} - {"profile"}
    of_cells = set(experiment("10_controls").Cell.model_fields) - {"profile", "scene", "name"}
    for where, keys, allowed in [("", values.keys() - {*PARTS, "units"}, known),
                                 *((f" in {part} {cut(title)}", inner, of_cells if part == "cells" else known)
                                   for part in PARTS for title, inner in values[part].items())]:
        for key in sorted(keys, key=str):
            if key not in allowed:
                raise Problem(f"profile {name} has an unknown key '{cut(str(key))}'{where}: {nearest(str(key), allowed)}")
    for title, cell in values["cells"].items():
        for key, allowed in (("part", CELL_PARTS), ("method", CELL_METHODS)):
            said = str(cell.get(key, ""))
            if said not in allowed and not (key == "method" and is_own(named(said))):
                raise Problem(f"profile {name} has {key}: '{cut(said)}' in cells {cut(title)}: {nearest(said, allowed)}")
    for chapter in values["chapters"]:
        if chapter not in CHAPTERS:
            raise Problem(f"profile {name} has an unknown chapter '{cut(chapter)}': {nearest(chapter, CHAPTERS)}")
    return values


def _part(name: str, part: str, raw: Any) -> dict[str, dict[str, Any]]:
    """The scenes, chapters or cells of a profile, by name."""
    if not isinstance(raw, dict) or not all(isinstance(inner or {}, dict) for inner in raw.values()):
        raise Problem(f"profile {name}: {part} is not a list of 'name: {{field: value}}' lines")
    return {str(title): inner or {} for title, inner in raw.items()}


def said_by(profile: str, model: type[BaseModel], chapter: str, scene: str | None) -> dict[str, Any]:
    """What a profile says of a chapter in a scene: its own values, then the chapter's, then the scene's."""
    said = read_profile(profile)
    plain = {name: value for name, value in said.items() if name not in PARTS}
    of_chapter = said["chapters"].get(chapter, {})
    scene = str(scene or of_chapter.get("scene") or said.get("scene"))
    if scene not in said["scenes"]:
        raise Problem(f"profile {profile} has no scene '{cut(scene)}': {nearest(scene, said['scenes'])}")
    values = plain | {"cells": list(said["cells"])} | of_chapter | said["scenes"][scene] | {"scene": scene}
    return {name: named(value) if name == "architecture" and isinstance(value, str) else value for name, value in values.items()
            if name in model.model_fields}


def profile_names() -> list[str]:
    return sorted(_shipped())


def _shipped() -> dict[str, Traversable]:
    """The file of every profile that comes with the package."""
    return {file.name.removesuffix(".yaml"): file for file in (files("synthprune") / "profiles").iterdir()
            if file.name.endswith(".yaml")}
