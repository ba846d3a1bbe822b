"""Parameters: what is taken, however it arrives, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nets import SMALL

from synthprune.chapter import assignments, given_parameters, parameters_cell
from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.entries import synthetic_data
from synthprune.chapters.profiles import PARTS, profile_names, read_profile
from synthprune.chapters.settings import METHODS, decides, overrides, parameters, scenes
from synthprune.chapters.stability import Parameters, requests
from synthprune.problems import Problem
from synthprune.results import specs

CHAPTER = "04_stability"


def read(**given: Any) -> Parameters:
    return parameters(Parameters, CHAPTER, given)


def refusal(**given: Any) -> str:
    with pytest.raises(Problem) as problem:
        read(**given)
    assert "\n" not in str(problem.value)
    return str(problem.value)


@pytest.mark.parametrize(("name", "forms", "value"), [
    ("lr", [1e-3, "1e-3", "0.001", ".001"], 0.001), ("lr", [1, "1", 1.0], 1.0), ("epochs", [12, "12", 12.0], 12),
    ("seeds", [[0, 1], "[0,1]", "[0, 1]", "0,1", "0, 1", ["0", "1"], (0, 1)], [0, 1]), ("seeds", [3, "3", [3], "[3]"], [3]),
    ("levels", ["9,0,4", [9, 0, 4]], [0, 4, 9]), ("rewind", [2, "2"], "2"), ("rewind", ["full"], "full"),
    ("cutmix", [0, "0", "0.0"], 0.0)])
def test_a_value_is_the_same_however_it_arrives(name: str, forms: list[Any], value: Any) -> None:
    found = [getattr(read(**{name: form}), name) for form in forms]
    assert found == [value] * len(forms) and {type(each) for each in found} == {type(value)}
    keys = [[entry.key for entry in requests(read(**{name: form})).values()] for form in forms]
    assert all(each == keys[0] for each in keys)


@pytest.mark.parametrize(("name", "meant"), [
    ("epoch", "epochs"), ("sedes", "seeds"), ("syntetic", "synthetic"), ("_seeds", "seeds"), ("levels_", "levels"),
    ("Epochs", "epochs")])
def test_a_misspelt_name_is_answered_with_the_nearest(name: str, meant: str) -> None:
    assert refusal(**{name: 1}) == f"unknown parameter '{name}' for {CHAPTER}: did you mean '{meant}'?"


@pytest.mark.parametrize("name", ["begin", "list", "In", "Out", "run", "print", "_", "__name__", "model_config", "results"])
def test_a_name_that_means_something_else_to_python_is_still_unknown(name: str) -> None:
    said = refusal(**{name: None})  # even where nothing is asked of it
    assert said.startswith(f"unknown parameter '{name}' for {CHAPTER}: ")


@pytest.mark.parametrize(("given", "said"), [
    ({"lr": "fast"}, "lr = 'fast'"), ({"lr": True}, "lr=True is a truth value"),
    ({"epochs": False}, "epochs=False is a truth value"),
    ({"lr": "true"}, "lr = 'true'"), ({"seeds": True}, "seeds=[True] is a truth value"),
    ({"seeds": [0, True]}, "is a truth value"),
    ({"seeds": "true,false"}, "is a truth value"), ({"rewind": True}, "rewind=True is a truth value"),
    ({"lr": "nan"}, "lr = 'nan'"), ({"lr": float("inf")}, "lr = inf"), ({"lr": 0}, "lr = 0: Input should be greater than 0"),
    ({"lr": [0.1]}, "lr = [0.1]"), ({"epochs": 2.5}, "epochs = 2.5"),
    ({"epochs": "1e1x"}, "epochs = '1e1x'"), ({"epochs": 0}, "epochs = 0"),
    ({"seeds": "[0,1"}, "seeds=[0,1 is not a list: write it as [0,1] or 0,1"), ({"seeds": "a"}, "seeds.0 = 'a'"),
    ({"seeds": 0.5}, "seeds.0 = 0.5"), ({"seeds": {"a": 1}}, "seeds = {'a': 1}"), ({"seeds": []}, "seeds = []"),
    ({"seeds": [1, 1]}, "seeds = [1, 1]: must be distinct"), ({"orders": "2,0,2"}, "orders = [2, 0, 2]: must be distinct"),
    ({"levels": [4, 4]}, "levels = [4, 4]: must be distinct"),
    ({"seeds": [-1]}, "seeds = [-1]: must be distinct and not negative"),
    ({"orders": [0]}, "orders = [0]: List should have at least 2 items"), ({"cutmix": 1.5}, "cutmix = 1.5"),
    ({"levels": [0, 31]}, "levels = [0, 31]: levels go from 0 (dense) to 30"), ({"points": 10}, "points = 10: must be odd"),
    ({"architecture": "vgg"}, "architecture = 'vgg': known: convnet3, lenet300, resnet10, resnet10_imagenet, resnet18, or"),
    ({"dataset": 5}, "unknown data set '5': known: cifar10, cifar100, digits, imagenet10, imagenette ("),
    ({"rewind": "0"}, "rewind = '0': must be full, weights"),
    ({"rewind": "half"}, "rewind = 'half': must be full, weights"), ({"rewind": 12}, "rewind=12 is not before the last epoch"),
    ({"scene": "lenet"}, "profile demo has no scene 'lenet': did you mean 'lenet300-digits'?"),
    ({"scenes": "convnet3-digits,x"}, "profile demo has no scene 'x'"), ({"scenes": []}, "scenes = []"),
    ({"synthetic": "mtt@01"}, "synthetic = 'mtt@01': must be distilled, condensed, coreset, or an imported set's TITLE@CONTENT"),
    ({"synthetic": "../x@0123456789ab"}, "synthetic = '../x@0123456789ab': must be"),
    ({"synthetic": "json:loads"}, "synthetic = 'json:loads': is a function, and this is the name of a set"),
    ({"profile": "lapptop"}, "unknown profile 'lapptop': did you mean 'laptop'?"), ({"profile": True}, "unknown profile 'True'")])
def test_an_ill_typed_value_is_named_in_one_line(given: dict[str, Any], said: str) -> None:
    assert said in refusal(**given)


LAUGHS = "epochs: [&a0 [1], " + ", ".join(f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)) + "]"


@pytest.mark.parametrize(("text", "said"), [
    ("dataset: " + "[" * 3000, "cannot be read: nested more than 20 deep"), (LAUGHS, "more than 10000 values"),
    ("epochs: &a [*a]", "more than 10000 values"), (f"dataset: {'x' * 1001}", "more than 1000 characters"),
    ("epochs: 2024-13-45", "cannot be read: a value is not what it looks like"), ("epochs: !!bool x", "not what it looks like"),
    (f"{'x' * 999}: 3", "has an unknown key 'xxx"), (f"dataset: {'x' * 999}\nepochs: 3", "unknown data set 'xxx"),
    ("cells: [1]", "cells is not a list of 'name: {field: value}' lines"), ("scenes: {a: 1}", "scenes is not a list of"),
    ("chapters: {3: }", "has an unknown chapter '3'"), ("architecture: [1]", "to you"), ("scene: [1]", "to you")],
    ids=lambda text: text[:20])
def test_a_hostile_profile_is_refused_in_a_line_that_is_not_long(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    found = refusal(profile=str(tmp_path / "own.yaml"))
    assert said in found and len(found) < 1000


@pytest.mark.parametrize("name", ["seeds", "levels", "lr", "dataset", "architecture", "scene", "rewind", "other"])
def test_a_long_value_is_named_by_its_beginning(name: str) -> None:
    for value in ("[" * 3000, "x" * 10**5, "9" * 10**5):
        assert len(refusal(**{name: value})) < 700
    assert len(refusal(**{value: name})) < 700


# For every field a value that no profile has.
OTHER = {"scene": "lenet300-digits", "scenes": ["lenet300-digits"],
         "dataset": "cifar10", "pixels": 32, "train_per_class": 7, "test_per_class": 9,
         "architecture": "resnet10", "width": 5, "norm": "batch",
         "epochs": 77, "batch": 33, "lr": 0.123, "weight_decay": 0.01, "search_epochs": 66, "search_lr": 0.321,
         "search_weight_decay": 0.02, "cutmix": 0.25, "synthetic": "coreset", "synthetic_per_class": 3,
         "synthetic_factor": 4, "distillation_steps": 9, "synthetic_epochs": 88, "rewind": "weights", "search_seed": 11,
         "seeds": [5, 6], "levels": [3], "orders": [7, 8], "points": 7}


def test_every_field_of_a_profile_can_be_overridden() -> None:
    assert set(OTHER) == set(Parameters.model_fields) - {"profile"}
    for profile in profile_names():
        plain = read(profile=profile)
        for name in OTHER.keys() - {"scene", "scenes"}:
            changed = read(profile=profile, **{name: OTHER[name]})
            assert changed.model_dump() == plain.model_dump() | {name: OTHER[name]}


def test_a_scene_brings_its_values_and_what_is_set_by_hand_stays_set(home: Path) -> None:
    p = read(profile=SMALL, epochs=7)
    cifar, resnet, hundred, _ = scenes(p)
    assert (cifar, resnet.architecture, resnet.epochs, resnet.levels) == (p, "resnet10", 7, [0, 4, 9])
    assert (hundred.dataset, hundred.synthetic, hundred.scenes) == ("cifar100", "distilled", p.scenes)
    assert overrides(resnet) == {"scene": "resnet10-cifar10", "epochs": 7} and overrides(p) == {"epochs": 7}
    assert read(profile=SMALL, scene="resnet10-cifar10").scenes == ["resnet10-cifar10"]


def test_scenes_that_a_network_of_ones_own_makes_one_are_shown_once(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mynets.py").write_text("def make(): pass")
    both = {"architecture": f"{tmp_path}/mynets.py:make", "width": "4"}
    assert parameters(Parameters, "04_stability", both).scenes == ["convnet3-digits"]
    assert len(parameters(Parameters, "04_stability", {"width": "4"}).scenes) == 2
    assert len(parameters(Parameters, "04_stability", {"architecture": both["architecture"]}).scenes) == 2  # of other widths
    assert len(parameters(Parameters, "04_stability", both | {"scenes": "convnet3-digits,lenet300-digits"}).scenes) == 2


def test_a_title_is_the_imported_set_of_that_title(home: Path) -> None:
    p = read(profile="paper")
    assert p.synthetic == "idc10-cifar10" and synthetic_data(p) == specs.Awaited(name="idc10-cifar10", ipc=10, factor=2)
    folder = home / "data" / "synthetic"
    folder.mkdir(parents=True)
    (folder / "idc10-cifar10@0123456789ab.safetensors").touch()
    p = read(profile="paper")
    assert synthetic_data(p) == specs.Published(name="idc10-cifar10@0123456789ab") and overrides(p) == {}
    (folder / "idc10-cifar10@ba9876543210.safetensors").touch()
    assert "is the title of 2 imported sets" in refusal(profile="paper")


@pytest.mark.parametrize("name", OTHER)
def test_every_override_asks_for_other_results(name: str) -> None:
    """A parameter without effect on the results' names would be read and then ignored."""
    def keys(**given: Any) -> set[str]:
        return {entry.key for entry in requests(read(**given)).values()}

    assert keys(**{name: OTHER[name]}) != keys()


def test_none_means_what_the_profile_says() -> None:
    for profile in ("demo", "laptop"):
        assert read(profile=profile, **dict.fromkeys(OTHER)) == read(profile=profile)
        said = read_profile(profile)
        plain = {name: value for name, value in said.items() if name not in (*PARTS, "units")}
        assert read(profile=profile).model_dump() == plain | said["chapters"][CHAPTER] | {"profile": profile}
    assert read(profile=None).profile == "demo" and read().profile == "demo"


def test_what_a_profile_leaves_open_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("dataset: digits\n")
    assert refusal(profile=str(tmp_path / "own.yaml")).startswith(f"profile {tmp_path / 'own.yaml'} leaves 'pixels' to you")


def test_a_chapter_asks_for_every_pair_at_every_level() -> None:
    asked = requests(read(scene="convnet3-digits", seeds="0,1", orders="0,1,2", levels="0,4"))
    # The dense network is the same for both methods.
    assert len(asked) == 2 * 3 * (1 + len(METHODS)) and len({entry.key for entry in asked.values()}) == len(asked)


# The parameters cell.


def cells(monkeypatch: pytest.MonkeyPatch, *sources: str) -> dict[str, Any]:
    """What a kernel that has run these cells was given."""
    import IPython

    shell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_raw=["", *sources]))
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    return given_parameters()


def test_only_parameter_cells_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cells(monkeypatch, "lr = 5", "from x import begin\nlist = 3", "# Parameters\nlist = [1]\n_x = 2\nIn = 'a'") == {
        "list": [1], "_x": 2, "In": "a"}
    assert cells(monkeypatch, "x = 1") == {}


def test_papermills_cell_overrides_ours_and_none_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    given = cells(monkeypatch, parameters_cell(Parameters), '# Parameters\nlr = "1e-3"\nseeds = "[0,1]"\n')
    assert read(**given) == read(lr=0.001, seeds=[0, 1])
    given = cells(monkeypatch, "# Parameters\nlr = 0.5\n", parameters_cell(Parameters))
    assert read(**given) == read()


@pytest.mark.parametrize("wrong", ["# Parameters\nlearning = 3", "# Parameters\nlr = 1 / 3", "# Parameters\nlr = = 3"])
def test_a_cell_that_was_mended_and_run_again_counts_alone(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    with pytest.raises(Problem):
        read(**cells(monkeypatch, wrong))
    assert cells(monkeypatch, wrong, "begin()", "# Parameters\nepochs = 3") == {"epochs": 3}


def test_assignments_are_plain_values() -> None:
    source = '# Parameters\n"""words"""\nlr: float = 1e-3  # why\nseeds = [0, -1]\na = b = None\nlr = "2"'
    assert assignments(source) == {"lr": "2", "seeds": [0, -1], "a": None, "b": None}


@pytest.mark.parametrize("line", ["lr = 1 / 3", "lr += 1", "lr: float", "a, b = 1, 2", "x[0] = 1", "import os", "print(1)",
                                  "for lr in [1]:\n    pass", "lr = {[1]: 2}", "lr = other", "lr = = 2", "lr = 'x"])
def test_anything_else_in_a_parameters_cell_is_refused_in_one_line(line: str) -> None:
    with pytest.raises(Problem, match="the parameters cell") as problem:
        assignments(f"# Parameters\n{line}")
    assert "\n" not in str(problem.value)


def test_the_generated_cell_names_types_and_explains_every_field() -> None:
    for chapter in CHAPTERS:
        model = experiment(chapter).Parameters
        source = parameters_cell(model)
        assert assignments(source) == dict.fromkeys(model.model_fields) | {"profile": "demo"}
        lines = source.splitlines()[1:]
        assert len(lines) == len(model.model_fields)
        for line, (name, info) in zip(lines, model.model_fields.items(), strict=True):
            assert line.startswith(f"{name}: ") and line.endswith(f"  # {info.description}")


def test_papermill_tells_each_type() -> None:
    import nbformat
    from papermill.inspection import _infer_parameters

    cell = nbformat.v4.new_code_cell(parameters_cell(Parameters), metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    found = {p.name: (p.inferred_type_name, p.help) for p in
             _infer_parameters(nbformat.v4.new_notebook(cells=[cell], metadata=kernel))}
    assert set(found) == set(Parameters.model_fields)
    for name, info in Parameters.model_fields.items():
        plain = info.annotation in (int, float, str)
        expected = info.annotation.__name__ if plain else str(info.annotation) if "list" in str(info.annotation) else "str"
        assert found[name] == (expected, info.description)


def test_no_claim_is_judged_on_data_of_ones_own() -> None:
    p = read(profile="laptop")
    mine = p.model_copy(update={"dataset": "birds@0123456789ab"})
    assert decides(p) and not decides(mine) and not decides(p.model_copy(update={"profile": "demo"}))
