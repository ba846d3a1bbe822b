"""A page is made again when anything that it is made from has changed, and only then."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sweep import requests

from synthprune import book, inputs
from synthprune.specs import Entry
from synthprune.store import Store

CHAPTER = "04_stability"


@pytest.fixture
def store(home: Path) -> Store:
    """Two of three results are here, with made-up numbers."""
    store = Store(home / "store")
    for number, entry in enumerate(list(requests().values())[:2]):
        _put(store, entry, number)
    return store


def _put(store: Store, entry: Entry, number: float) -> None:
    store.put(entry, {"train_loss": np.array([number], np.float32)}, {}, {"seconds": 1.0})


def test_a_page_depends_on_what_it_shows(store: Store) -> None:
    def page(asked: dict[str, Entry] | None = None, given: object = "demo", said: object = "") -> str:
        return inputs.of_page(CHAPTER, {"profile": given}, asked or requests(), said, store)

    before = page()
    assert page() == before
    assert len({before, page(given="laptop"), page(said="another reason"), page(requests(levels=(0, 1)))}) == 4
    _put(store, list(requests().values())[2], 2)
    more = page()
    assert more != before, "a result more"
    first = next(iter(requests().values()))
    shutil.rmtree(store.path(first))
    _put(store, first, 7)
    assert page() not in (before, more), "a result of the same name that holds another number"


@pytest.mark.parametrize("change", [
    lambda root: (root / "code.py").write_text("b = 2"), lambda root: (root / "new.py").write_text(""),
    lambda root: (root / "code.py").rename(root / "other.py"), lambda root: (root / "data" / "cifar10").write_text("more")])
def test_code_and_data_are_part_of_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              change: Callable[[Path], object]) -> None:
    (tmp_path / "code.py").write_text("a = 1")
    (tmp_path / "data").mkdir()
    (tmp_path / "__pycache__").mkdir()
    monkeypatch.setattr(inputs, "PACKAGE", tmp_path)
    monkeypatch.setattr(inputs, "data_folder", lambda: tmp_path / "data")
    before = inputs.surroundings()
    (tmp_path / "__pycache__" / "code.pyc").write_text("")
    assert inputs.surroundings() == before
    change(tmp_path)
    assert inputs.surroundings() != before


def test_versions_are_part_of_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    before = inputs.surroundings()
    monkeypatch.setattr(inputs, "cpu", lambda: "another processor")
    assert inputs.surroundings() != before


def test_a_page_is_executed_once_for_its_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def execute(chapter: str, given: dict[str, str], output: Path) -> dict[str, str]:
        made.append(chapter)
        output.parent.mkdir(exist_ok=True)
        output.write_text(f"{chapter}, time {len(made)}")
        return {}

    monkeypatch.setattr(book, "execute", execute)
    monkeypatch.setattr(book, "gate", lambda path, profile: {})
    page = tmp_path / "book" / f"{CHAPTER}.ipynb"
    for given in ("a", "a", "b", "b", "a"):  # what was kept for "a" goes when "b" comes: a folder does not fill up
        page.unlink(missing_ok=True)
        book._page(tmp_path, CHAPTER, "demo", given)
        assert page.read_text() == f"{CHAPTER}, time {len(made)}"
    assert len(made) == 3 and len(list((tmp_path / "_build" / "executed").iterdir())) == 1


def test_a_book_of_the_same_files_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def sphinx(root: Path, builder: str) -> Path:
        pages = root / "_build" / "next" / builder
        pages.mkdir(parents=True)
        (pages / "index.html").write_text(f"time {len(built)}")
        built.append(builder)
        return pages

    monkeypatch.setattr(book, "_sphinx", sphinx)
    (tmp_path / "book").mkdir()
    for name in ("_config.yml", "_toc.yml", "book/index.md"):
        (tmp_path / name).write_text("before")
    for file, text, around, times in (("book/index.md", "before", "", 1), ("book/index.md", "before", "", 1),
                                      ("book/index.md", "after", "", 2), ("_toc.yml", "after", "", 3),
                                      ("_toc.yml", "after", "another version", 4)):
        (tmp_path / file).write_text(text)
        assert book._compile(tmp_path, around).read_text() == f"time {times - 1}" and len(built) == times
