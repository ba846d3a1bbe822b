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
from synthprune.problems import Problem, nearest

PARTS = ("scenes", "chapters", "cells")
"""The parts of a profile that are mappings: values of one scene, of one chapter, and of one cell of chapter 10."""

CELL_PARTS = ("sources", "rewind", "question", "why", "scale")
"""What a cell of chapter 10 is for: where masks come from; another rewind; the length of the search, crossed with that of the
retraining; why it matters; and steps towards the paper's scale."""


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
        raise Problem(f"profile {name} cannot be read: {' '.join(str(error).split())}") from None


@functools.lru_cache(maxsize=8)
def _read(name: str, text: str) -> dict[str, Any]:
    from synthprune.chapters import CHAPTERS, experiment
    from synthprune.chapters.settings import CELL_METHODS

    values = yaml.safe_load(text)
    if not isinstance(values, dict):
        raise Problem(f"profile {name} is not a list of 'field: value' lines")
    values |= {"scenes": values.get("scenes") or {str(values.get("scene", "main")): {}}}
    values |= {part: values.get(part) or {} for part in PARTS}
    values.setdefault("scene", next(iter(values["scenes"])))
    known = {field for chapter in CHAPTERS for field in experiment(chapter).Parameters.model_fields} - {"profile"}
    of_cells = set(experiment("10_controls").Cell.model_fields) - {"profile", "scene", "name"}
    for where, keys, allowed in [("", values.keys() - {*PARTS, "units"}, known),
                                 *((f" in {part} {title}", inner or {}, of_cells if part == "cells" else known)
                                   for part in PARTS for title, inner in values[part].items())]:
        for key in sorted(keys, key=str):
            if key not in allowed:
                raise Problem(f"profile {name} has an unknown key '{key}'{where}: {nearest(str(key), allowed)}")
    for title, cell in values["cells"].items():
        for key, allowed in (("part", CELL_PARTS), ("method", CELL_METHODS)):
            said = str((cell or {}).get(key, ""))
            if said not in allowed and not (key == "method" and is_own(named(said))):
                raise Problem(f"profile {name} has {key}: '{said}' in cells {title}: {nearest(said, allowed)}")
    for chapter in values["chapters"]:
        if chapter not in CHAPTERS:
            raise Problem(f"profile {name} has an unknown chapter '{chapter}': {nearest(chapter, CHAPTERS)}")
    return values


def said_by(profile: str, model: type[BaseModel], chapter: str, scene: str | None) -> dict[str, Any]:
    """What a profile says of a chapter in a scene: its own values, then the chapter's, then the scene's."""
    said = read_profile(profile)
    plain = {name: value for name, value in said.items() if name not in PARTS}
    of_chapter = said["chapters"].get(chapter, {})
    scene = scene or of_chapter.get("scene") or said.get("scene")
    if scene not in said["scenes"]:
        raise Problem(f"profile {profile} has no scene '{scene}': {nearest(str(scene), said['scenes'])}")
    values = plain | {"cells": list(said["cells"])} | of_chapter | said["scenes"][scene] | {"scene": scene}
    return {name: named(value) if name == "architecture" else value for name, value in values.items()
            if name in model.model_fields}


def profile_names() -> list[str]:
    return sorted(_shipped())


def _shipped() -> dict[str, Traversable]:
    """The file of every profile that comes with the package."""
    return {file.name.removesuffix(".yaml"): file for file in (files("synthprune") / "profiles").iterdir()
            if file.name.endswith(".yaml")}
