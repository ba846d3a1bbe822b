"""Networks and criteria of your own: a function in one Python file, named by the file's content.

`mynets.py:make` becomes `make@1a2b3c4d5e6f`, whose second part is the SHA-256 of the file's text: an edited file is another
name, and what the old one made stays what it is. A function of an importable module, `package.module:make`, keeps its module.
The text itself is kept under `<home>/own/`, and goes to workers with what they compute.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from synthprune.home import home, write_whole
from synthprune.problems import Problem, cut

NAME = r"^(?:[\w.]+:)?\w+@[0-9a-f]{12}$"
"""How a function of your own is named in a specification."""

_READ: dict[str, str] = {}
"""{digest: text} of the files that this process has read."""
_CALLED: dict[str, str] = {}
"""{name: what it was called when it was read}."""


def is_own(name: str) -> bool:
    return re.match(NAME, name) is not None


def named(text: str) -> str:
    """The name of what `FILE.py:FUNCTION` or `package.module:FUNCTION` holds now; any other text as it is.

    Raises Problem where the file cannot be read.
    """
    place, colon, function = text.rpartition(":")
    if not (colon and function.isidentifier() and (place.endswith(".py") or re.fullmatch(r"[\w.]+", place))):
        return text
    module = "" if place.endswith(".py") else f"{place}:"
    try:
        source = (_file_of(place) if module else Path(place).expanduser()).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # no text, or no path
        raise Problem(f"{cut(text)} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    _READ[digest] = source
    name = f"{module}{function}@{digest}"
    _CALLED[name] = text
    return name


def _file_of(module: str) -> Path:
    try:
        found = importlib.util.find_spec(module)
    except Exception as error:  # noqa: BLE001  whatever its package does when it is imported
        raise Problem(f"module '{module}' cannot be imported: {type(error).__name__}: {error}") from None
    if found is None or not found.has_location:
        raise Problem(f"module '{module}' cannot be imported: it is not there (a file of your own is named FILE.py:FUNCTION)")
    return Path(str(found.origin))


def source(name: str) -> str:
    """The file that a name stands for. Raises Problem where it is not on this machine."""
    digest = name.rpartition("@")[2]
    if digest not in _READ:
        try:
            kept = _kept(digest).read_bytes()
        except OSError:
            raise Problem(f"the file of {name} is not on this machine: pass it again as FILE.py:FUNCTION") from None
        if hashlib.sha256(kept).hexdigest()[:12] != digest:
            raise Problem(f"{_kept(digest)} was changed and is not the file of {name}: delete it, and pass yours again as"
                          " FILE.py:FUNCTION")
        _READ[digest] = kept.decode()
    return _READ[digest]


def keep(sources: Mapping[str, str]) -> None:
    """File texts by name, so that `source` finds them from now on, in other processes too."""
    for name, text in sources.items():
        digest = name.rpartition("@")[2]
        _READ[digest] = text
        if not _kept(digest).exists():
            write_whole(_kept(digest), text.encode())


def sources(names: Iterable[str]) -> dict[str, str]:
    """{name: text} of those names that are functions of your own."""
    return {name: source(name) for name in names if is_own(name)}


def _kept(digest: str) -> Path:
    return home() / "own" / f"{digest}.py"


@functools.cache
def load(name: str) -> Callable[..., Any]:
    """The function of that name, from its file, which is run once in this process. Raises Problem where that fails."""
    place, _, digest = name.rpartition("@")
    inside, _, function = place.rpartition(":")
    module = ModuleType(f"synthprune_own_{digest}")
    module.__package__ = inside.rpartition(".")[0] or None  # for its relative imports
    sys.modules[module.__name__] = module
    try:
        exec(compile(source(name), _file_name(name), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        raise Problem(f"{words(name)} cannot be imported: {_fault(name, error)}") from None
    made = getattr(module, function, None)
    if not callable(made):
        raise Problem(f"{words(name)} cannot be imported: the file has no function '{function}'")
    return made


def call(name: str | Callable[..., Any], offered: Mapping[str, Any]) -> Any:
    """What the function, or that of this name, returns for those `offered` arguments that its signature names.

    Raises Problem where it asks for others, or fails.
    """
    function = load(name) if isinstance(name, str) else name
    asked = inspect.signature(function).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in asked.values())
    unknown = [one.name for one in asked.values() if one.name not in offered and one.default is one.empty
               and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    if unknown:
        raise Problem(f"{words(name)} asks for '{unknown[0]}', which nothing gives it: it may ask for {', '.join(offered)}; give"
                      " any other argument a default")
    try:
        return function(**{key: value for key, value in offered.items() if takes_any or key in asked})
    except Problem:
        raise
    except (Exception, SystemExit) as error:
        raise Problem(f"{words(name)} failed: {_fault(name, error)}") from None


def words(name: str | Callable[..., Any]) -> str:
    """A name with what the user called it; what a function is called."""
    if not isinstance(name, str):
        return getattr(name, "__name__", repr(name))
    return f"{_CALLED[name]} ({name})" if name in _CALLED else name


def _file_name(name: str | Callable[..., Any]) -> str:
    return f"<own {name}>" if isinstance(name, str) else getattr(getattr(name, "__code__", None), "co_filename", "")


def _fault(name: str | Callable[..., Any], error: BaseException) -> str:
    """An error in one line, with the line of the file where it arose."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _file_name(name)]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    where = f"line {lines[-1]}: " if lines else ""
    said = str(error.msg if isinstance(error, SyntaxError) else error).strip().splitlines()
    return f"{where}{type(error).__name__}{f': {said[0]}' if said else ''}"
