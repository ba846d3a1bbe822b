"""What the exercises say to a reader's number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def judged(answer: Any, says: Sequence[tuple[float, str]], near: Callable[[float], float], ask: str, otherwise: str) -> str:
    """The words of the first value that `answer` is `near` to, the right one and what is easily taken for it.

    `near(value)`: how far off still counts. `ask`: what to say where the answer is no number; `otherwise`: to any other.
    """
    try:
        given = float(answer)
    except (TypeError, ValueError):
        return ask
    return next((words for value, words in says if abs(given - value) <= near(value)), otherwise)
