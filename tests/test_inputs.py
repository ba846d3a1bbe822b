"""A page is made again when something that it was made from has changed, and only then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthprune.book import inputs
from synthprune.book.build import find_record
from synthprune.results.store import Shelf, digest_of

ROOT = Path(__file__).parent.parent
BUILD = """
import contextlib
from pathlib import Path
from synthprune.book import build
build.CHAPTERS = {"04_stability": "stability"}
build._sphinx = lambda root, builder: (root / "compiled").touch() or (root / "_build" / "next" / builder)
Path("_build/next/html").mkdir(parents=True)
Path("_build/next/html/index.html").touch()
build.build("laptop", Path.cwd(), lambda *_: contextlib.nullcontext(print))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout."""
    folder = tmp_path_factory.mktemp("copy")
    for part in ("synthprune", "notebooks", "book", "results", "benchmarks"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb_checkpoints"))
    for part in ("_config.yml", "_toc.yml"):
        shutil.copy2(ROOT / part, folder / part)
    for made in (folder / "book").glob("*.ipynb"):
        made.unlink()
    return folder


def built(copy: Path) -> tuple[str, bool]:
    """The executed chapter in the book of the copy, and whether the book was compiled."""
    shutil.rmtree(copy / "_build" / "next", ignore_errors=True)
    (copy / "compiled").unlink(missing_ok=True)
    env = os.environ | {"PYTHONPATH": str(copy), "SYNTHPRUNE_HOME": str(copy / "home")}
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=copy, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (copy / "book" / "04_stability.ipynb").read_text(), (copy / "compiled").exists()


def test_a_page_follows_what_it_was_made_from_and_else_stays(copy: Path) -> None:
    """papermill writes the time into what it executes: the same bytes were not executed again."""
    first, compiled = built(copy)
    assert compiled
    assert built(copy) == (first, False)

    (copy / "book" / "04_stability.ipynb").write_text(first.replace("training error", "what somebody typed"))
    assert built(copy) == (first, False)

    shelf = Shelf(copy / "results" / "laptop" / "04_stability.json")
    content = json.loads(shelf.file.read_bytes())
    key = next(key for key in content["results"] if key in find_record(json.loads(first))["results"])
    changed = content["results"][key]
    changed["metrics"]["diverged"] = True
    changed["digest"] = digest_of(shelf.get(key).arrays, changed["metrics"])
    shelf.file.write_text(json.dumps(content))
    second, compiled = built(copy)
    assert compiled and find_record(json.loads(second))["results"][key] == changed["digest"]

    source = copy / "synthprune" / "chapters" / "budget.py"
    source.write_text(source.read_text().replace("What this chapter shows", "What is shown here"))
    third, compiled = built(copy)
    assert compiled and "What is shown here" in third and "What is shown here" not in second
    assert built(copy) == (third, False)


def test_a_changed_result_changes_what_a_page_is_made_from(tmp_path: Path) -> None:
    """Notebook, parameters, results and their origin each count, and the order of looking does not."""
    from synthprune.book.inputs import of_page
    from synthprune.chapters import experiment
    from synthprune.chapters.settings import parameters
    from synthprune.results.store import Store

    room = experiment("04_stability")
    asked = dict(list(room.requests(parameters(room.Parameters, "04_stability", {"profile": "demo"})).items())[:2])
    store, other = Store(tmp_path / "a"), Store(tmp_path / "b")
    seen = [of_page("04_stability", {"profile": "demo"}, asked, "", store)]
    for place, value, seconds in ((store, 1.0, 2), (other, 1.5, 2)):
        for entry in asked.values():
            with place.lock(entry):
                place.put(entry, {"train_loss": np.full(3, value)}, {}, {"seconds": seconds})
        seen.append(of_page("04_stability", {"profile": "demo"}, asked, "", place))
    seen.append(of_page("04_stability", {"profile": "demo"}, asked, "other", store))
    seen.append(of_page("04_stability", {"profile": "demo", "epochs": 1}, asked, "", store))
    seen.append(of_page("05_loss_landscape", {"profile": "demo"}, asked, "", store))
    assert len(set(seen)) == len(seen)
    assert of_page("04_stability", {"profile": "demo"}, asked, "", store) == seen[1]


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
