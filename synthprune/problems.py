"""Errors a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Problem(Exception):
    """Something the user can mend: one line that names the thing, its value, and what to do.

    The command line prints it and exits with status 2; a notebook shows it without a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """IPython asks for this instead of a traceback."""
        return [f"synthprune: {self}"]


class Unreachable(Problem):
    """A cluster that does not answer, so that nothing was begun."""


def cut(text: str, most: int = 100) -> str:
    """What a user gave, as a message shows it: no more than its beginning where it is long."""
    return text if len(text) <= most else f"{text[:most]}..."


def line(error: BaseException) -> str:
    """What an error says, in one line of no great length."""
    return cut(" ".join(str(error).split()), 300)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt `name`: the closest of the `known` names, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
