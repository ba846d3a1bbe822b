"""The page of the package's names: every name is on it, and every example on it is right."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import synthprune

PAGE = Path(__file__).parent.parent / "book" / "api.md"


def test_every_example_on_the_page_is_right() -> None:
    text = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    examples = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    assert len(examples.examples) > 20
    said: list[str] = []
    done = doctest.DocTestRunner().run(examples, out=said.append)
    assert not done.failed, "".join(said)


def test_the_page_documents_every_name_and_shows_each_at_work() -> None:
    text = PAGE.read_text()
    assert sorted(re.findall(r"auto(?:function|class):: synthprune\.(\w+)", text)) == sorted(synthprune.__all__)
    used = set(re.findall(r"\bsp\.(\w+)\(", text)) | {"load"}  # examples make their own images
    assert used == set(synthprune.__all__)
