"""The chapter as it is run: three ways to the same numbers, and wrong input stopped in each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from synthprune.book.build import find_record, gate
from synthprune.chapter import assignments, parameters_cell
from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.profiles import read_profile
from synthprune.problems import Problem

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
NOTEBOOK = ROOT / "notebooks" / "04_stability.ipynb"


def run(home: Path, *words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / words[0]), *words[1:]], env=os.environ | {"SYNTHPRUNE_HOME": str(home)}, cwd=cwd,
                          check=False, capture_output=True, text=True)


def record(notebook: Path) -> dict:
    return find_record(json.loads(notebook.read_text()))


def test_three_ways_the_same_keys_and_digests(book: tuple[Path, Path], tmp_path: Path) -> None:
    root, home = book
    made = record(root / "book" / "04_stability.ipynb")
    command = run(home, "synthprune", "run", "04_stability", "--profile", "demo", "-p", "seeds=[0,1]", "--output",
                  str(tmp_path / "cli.ipynb"))
    assert command.returncode == 0, command.stderr
    plain = run(home, "papermill", str(NOTEBOOK), str(tmp_path / "plain.ipynb"), "-p", "profile", "demo")
    assert plain.returncode == 0, plain.stderr
    for other in ("cli", "plain"):
        assert record(tmp_path / f"{other}.ipynb")["results"] == made["results"]
        assert record(tmp_path / f"{other}.ipynb")["digest"] == made["digest"]
        gate(tmp_path / f"{other}.ipynb", "demo")


def test_plain_papermill_computes_what_is_missing_to_the_same_bits(tmp_path: Path) -> None:
    """Two empty stores, two ways, in process and by papermill: values arrive as text and as numbers."""
    small = {"epochs": "2", "synthetic_epochs": "2", "distillation_steps": "1", "levels": "[0, 1]", "train_per_class": "20",
             "synthetic_per_class": "2", "width": "4", "lr": "1e-2"}
    words = [word for name, value in small.items() for word in ("-p", name, value)]
    plain = run(tmp_path / "one", "papermill", str(NOTEBOOK), str(tmp_path / "plain.ipynb"), *words)
    assert plain.returncode == 0, plain.stderr
    pairs = [word for name, value in small.items() for word in ("-p", f"{name}={value}")]
    command = run(tmp_path / "two", "synthprune", "run", "04_stability", *pairs, "--output", str(tmp_path / "cli.ipynb"))
    assert command.returncode == 0, command.stderr
    first, second = record(tmp_path / "plain.ipynb"), record(tmp_path / "cli.ipynb")
    assert first["digest"] == second["digest"] and first["computed"] > 0 and second["computed"] == 0
    text = (tmp_path / "plain.ipynb").read_text()
    assert "results; last:" not in text, "the progress line must be cleared"
    assert "application/vnd.jupyter.widget" not in text


@pytest.mark.parametrize(("name", "value", "said"), [
    ("epoch", "5", "unknown parameter 'epoch' for 04_stability: did you mean 'epochs'?"),
    ("_epochs", "5", "unknown parameter '_epochs' for 04_stability: did you mean 'epochs'?"),
    ("begin", "5", "unknown parameter 'begin'"), ("list", "5", "unknown parameter 'list'"), ("In", "5", "unknown parameter 'In'"),
    ("epochs", "many", "epochs = 'many'"), ("levels", "[0, 99]", "levels go from 0 (dense) to 30")])
def test_wrong_parameters_stop_papermill_in_its_first_cell(home: Path, tmp_path: Path, name: str, value: str, said: str) -> None:
    out = tmp_path / "out.ipynb"
    done = run(home, "papermill", str(NOTEBOOK), str(out), "-p", name, value)
    assert done.returncode != 0 and said in done.stderr
    cells = [cell for cell in nbformat.read(out, 4).cells if cell.cell_type == "code" and cell.outputs]
    assert [output.output_type for output in cells[-1].outputs] == ["error"] and "begin(" in cells[-1].source
    assert not (home / "store").exists()


def test_wrong_parameters_stop_the_command_line_with_status_2(home: Path) -> None:
    done = run(home, "synthprune", "run", "04_stability", "-p", "epoch=5")
    assert done.returncode == 2
    assert done.stderr == "synthprune: unknown parameter 'epoch' for 04_stability: did you mean 'epochs'?\n"
    assert not (home / "store").exists()


def session(*cells: str, home: Path) -> list[str]:
    """Run cells in one kernel, as a person would; the text each printed or the error it ended in."""
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    os.environ["SYNTHPRUNE_HOME"] = str(home)
    NotebookClient(notebook, allow_errors=True, extra_arguments=["--log-level=40"]).execute()
    return ["".join(o.get("text", "") + o.get("evalue", "") for o in cell.outputs) for cell in notebook.cells]


def test_cells_run_twice_and_edited_by_hand(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHPRUNE_HOME", str(home))
    parameters, start = parameters_cell(experiment("04_stability").Parameters), "from synthprune.chapter import begin\n"
    ask = start + 'print(begin("04_stability").parameters.epochs)'
    said = session(parameters, "# Parameters\nepochs = 3", ask, ask, parameters, ask, "epochs = 7", ask,
                   "# Parameters\nepochs = '1e-3x'", ask, home=home)
    # The last parameters cell that was run counts; a variable of that name set elsewhere is no parameter.
    profile = str(read_profile("demo")["epochs"])
    assert [said[i].strip() for i in (2, 3, 5, 7)] == ["3", "3", profile, profile]
    assert said[9].startswith("04_stability: epochs = '1e-3x'")


def test_the_notebook_shows_what_the_chapter_takes() -> None:
    """Its parameters cell is the model's own; each value that can be passed is named, typed and explained."""
    for chapter in CHAPTERS:
        notebook = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", 4)
        tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        assert [cell.source for cell in tagged] == [parameters_cell(experiment(chapter).Parameters)]
        after = notebook.cells[notebook.cells.index(tagged[0]) + 1].source
        assert after == f'from synthprune.chapter import begin\nrun = begin("{chapter}")'
        assert len(notebook.cells) <= 25
        assert not any(cell.get("outputs") for cell in notebook.cells)


def test_papermill_can_read_the_parameters() -> None:
    from papermill import inspect_notebook

    found = inspect_notebook(NOTEBOOK)
    assert set(found) == set(experiment("04_stability").Parameters.model_fields)
    assert {p["inferred_type_name"] for p in found.values()} <= {"int", "float", "bool", "str", "list[int]", "list[str]"}
    assert all(p["help"] for p in found.values())


@pytest.mark.parametrize("line", ["epochs = 2 * 5", "import os", "epochs += 1", "a, b = 1, 2"])
def test_a_parameters_cell_holds_plain_values_only(line: str) -> None:
    with pytest.raises(Problem, match="is not 'name = plain value'"):
        assignments(f"# Parameters\n{line}")


def test_a_page_of_stored_results_never_imports_torch(book: tuple[Path, Path]) -> None:
    code = ("import sys; from synthprune.chapter import begin; from synthprune.chapters.figures import stability as s;"
            "run = begin('04_stability'); run.plan()._repr_html_(); r = run.solve(); p = run.parameters;"
            "s.surfaces(p, r)._repr_html_(); s.one_level(p, r, 9)._repr_html_(); s.barrier_table(p, r)._repr_html_();"
            "run.provenance()._repr_mimebundle_(); assert run.computed == 0; assert 'torch' not in sys.modules")
    done = run(book[1], "python", "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
