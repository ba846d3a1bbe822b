"""What several tests need: a home of their own, and one built book."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from synthprune.chapters import CHAPTERS
from synthprune.chapters.profiles import read_profile

ROOT = Path(__file__).parent.parent


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SYNTHPRUNE_HOME."""
    monkeypatch.setenv("SYNTHPRUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def profile(tmp_path: Path) -> str:
    """Two units of chapter 4 in the digits' smallest setting; the second asks for the first's results and more."""
    said = read_profile("demo") | {
        "train_per_class": 20, "width": 4, "epochs": 2, "batch": 50, "synthetic_per_class": 1, "distillation_steps": 2,
        "synthetic_epochs": 2, "seeds": [11, 10], "levels": [0, 1], "points": 3, "scenes": {"main": {}}, "scene": "main",
        "chapters": {"04_stability": {"scenes": ["main"]}},
        "units": {"first": {"says": "what\nthe paper says", "chapters": {"04_stability": None}},
                  "second": {"says": "more", "chapters": {"04_stability": {"levels": "0,1,2", "seeds": [10, 11, 12]}}}}}
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(said, sort_keys=False))
    return str(file)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A disk of one page under the folder `store`; it is called to be mounted again, larger ("size=8k") or read-only ("ro")."""
    at = tmp_path / "store"
    at.mkdir()

    def mounted(*words: str) -> None:
        subprocess.run(["mount", *words, at], check=True, capture_output=True)

    try:
        mounted("-t", "tmpfs", "-o", "size=4k", "none")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a disk of its own: Linux's mount, and the rights of root")
    yield lambda options: mounted("-o", f"remount,{options}")
    subprocess.run(["umount", "--lazy", at], check=True)


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo book, built once from an empty store as a user builds it: (its folder, its SYNTHPRUNE_HOME)."""
    base = tmp_path_factory.mktemp("book")
    env = os.environ | {"SYNTHPRUNE_HOME": str(base / "home")}
    done = subprocess.run([Path(sys.executable).parent / "synthprune", "book", "--profile", "demo", "--into", base / "root"],
                          env=env, check=False, capture_output=True, text=True, cwd=base)
    assert done.returncode == 0, done.stderr
    assert "The book is ready" in done.stdout
    assert {file.stem for file in (base / "root" / "book").glob("[01]*.ipynb")} == set(CHAPTERS)
    return base / "root", base / "home"


@pytest.fixture(scope="session")
def built_book(book: tuple[Path, Path]) -> Path:
    """The folder of the built pages."""
    return book[0] / "_build" / "html"
