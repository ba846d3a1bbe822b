"""Networks and criteria of the user's own: names, results, workers, and one line for whatever is wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from synthprune import fitness, own
from synthprune.chapters import controls, distilled_pruning
from synthprune.chapters.budget import plan_table
from synthprune.chapters.settings import parameters
from synthprune.criteria import prune_at_initialisation
from synthprune.models import build, first_state, initial_state
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.obstacles import require_networks, unable
from synthprune.results.solve import solve
from synthprune.results.store import Store
from synthprune.training import Recipe, train
from tests.nets import convnet, equal, noise

pytestmark = pytest.mark.slow

NET = """
from torch import nn

def make(channels, classes, width=4):
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AvgPool2d(8),
                         nn.Flatten(), nn.Linear(4 * width, classes))
"""
SCORE = """
def score(network):
    return {name: weight.detach().abs() for name, weight in network.named_parameters()}
"""
SHAPE = {"channels": 1, "pixels": 16, "classes": 10, "width": 4, "norm": "instance"}
IMAGE = (1, 16, 16)


def written(folder: Path, text: str, what: str) -> str:
    """The name of function `what` of a file with this text."""
    (folder / "mine.py").write_text(text)
    return own.named(f"{folder}/mine.py:{what}")


def evaluation(name: str, criterion: str = "magnitude") -> specs.Evaluation:
    dataset = specs.Dataset(name="digits", pixels=16, train_per_class=8, test_per_class=4)
    network = specs.Architecture(name=name, width=4, norm="batch")
    return specs.Evaluation(of=specs.Trained(
        subnetwork=specs.Subnetwork(dataset=dataset, architecture=network, init_seed=0,
                                    search=specs.AtInitialisation(criterion=criterion, per_class=2), level=2),
        data=specs.Real(), recipe=specs.Recipe(epochs=1), order_seed=0))


def test_a_name_follows_the_files_text_alone(home: Path, tmp_path: Path) -> None:
    first = written(tmp_path, NET, "make")
    assert own.is_own(first) and first.startswith("make@") and own.source(first) == NET
    edited = written(tmp_path, NET + "# edited\n", "make")
    assert edited != first and own.source(first) == NET
    assert written(tmp_path, NET, "make") == first
    assert [own.named(text) for text in ("convnet3", "distilled:1 2", "imp, steps of synthetic")] == [
        "convnet3", "distilled:1 2", "imp, steps of synthetic"]


def test_a_function_of_a_module_is_found_with_its_relative_imports(home: Path, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("from torch import nn\n")
    (package / "nets.py").write_text(NET.replace("from torch import nn", "from .parts import nn"))
    monkeypatch.syspath_prepend(str(tmp_path))
    name = own.named("mypackage.nets:make")
    assert name.startswith("mypackage.nets:make@")
    assert build(name, **SHAPE)(torch.zeros(2, *IMAGE)).shape == (2, 10)


def test_its_initial_weights_follow_the_seed_and_leave_torchs_own_draws_alone(home: Path, tmp_path: Path) -> None:
    name = written(tmp_path, NET, "make")
    before = torch.get_rng_state()
    first, again, other = (first_state(seed, name, **SHAPE) for seed in (0, 0, 1))
    assert equal(first, again) and not equal(first, other) and torch.equal(before, torch.get_rng_state())
    known = {"name": "convnet3", **SHAPE}
    assert equal(first_state(3, **known), initial_state(build(**known), 3))


def test_results_of_a_network_and_a_criterion_keep_their_sources_also_from_workers(home: Path, tmp_path: Path) -> None:
    name, criterion = written(tmp_path, NET, "make"), written(tmp_path, SCORE, "score")
    store, entry = Store(), evaluation(name, criterion)
    result = solve({"one": entry}, store, workers=1)["one"]
    assert result.provenance["sources"] == {name: NET, criterion: SCORE}
    assert (home / "own" / f"{name[-12:]}.py").read_text() == NET
    elsewhere = Store(tmp_path / "other")
    assert solve({"one": entry}, elsewhere, workers=2)["one"].digest == result.digest


def test_a_kept_file_that_was_changed_is_not_run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = written(tmp_path, NET, "make")
    own.keep({name: NET})
    monkeypatch.setattr(own, "_READ", {})
    assert own.source(name) == NET
    monkeypatch.setattr(own, "_READ", {})
    (kept,) = (home / "own").iterdir()
    kept.write_text(NET + "# more\n")
    with pytest.raises(Problem, match="was changed and is not the file of"):
        own.source(name)


def test_what_cannot_be_followed_from_image_to_logit_is_told_before_hours_of_work() -> None:
    class Picky(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if images.dtype != torch.float32:
                raise TypeError("float32 alone")
            return super().forward(images)

    def made() -> nn.Module:
        torch.manual_seed(0)
        return Picky(nn.Flatten(), nn.Linear(256, 10))

    with pytest.raises(Problem, match="its paths cannot be followed in float64: float32 alone"):
        fitness.check(made, IMAGE, 10)


def test_known_networks_have_no_sources(home: Path) -> None:
    assert own.sources(specs.own_names(evaluation("convnet3"))) == {}


@pytest.mark.parametrize(("text", "said"), [
    ("def make(:", "cannot be imported: line 1: SyntaxError"),
    ("import nosuch", "cannot be imported: line 1: ModuleNotFoundError"),
    ("made = 1", "cannot be imported: the file has no function 'make'"),
    ("def make(classes, depth): pass", "asks for 'depth', which nothing gives it"),
    ("def make(): return 3", "returns a int, not a torch.nn.Module"),
    ("def make():\n    return 1 / 0", "failed: line 2: ZeroDivisionError"),
    (NET.replace("width, classes)", "width, classes - 3)"), "it gives 7 logits per image, not one for each of 10 classes"),
    (NET.replace("nn.Flatten(),", "nn.Flatten(), nn.Unflatten(1, (2, 2 * width)), nn.Flatten(0, 1),").replace("4 * w", "2 * w"),
     "it gives logits of the shape (8, 10) for 4 images"),
    (NET.replace("4 * width", "5 * width"), "images of 16 pixels do not pass it"),
    ("def make():\n    raise SystemExit(0)", "failed: line 2: SystemExit: 0"),
    (NET.replace("return ", "net = ") + "    net[0].weight.requires_grad_(False)\n    return net", "'0.weight' is frozen"),
    (NET + "class Cut(nn.Linear):\n    def forward(self, x):\n        return super().forward(x).detach()\n\n"
     "def make(pixels, classes):\n    return nn.Sequential(nn.Flatten(), Cut(pixels**2, classes))",
     "its logits are cut off from its weights"),
    ("from torch import nn\ndef make(): return nn.Flatten()", "nothing to prune"),
    ("from torch import nn\ndef make(): return nn.LazyLinear(10)", "has a lazy layer"),
    ("import random\n" + NET.replace("return ", "net = ") + "    net[0].weight.data += random.random()\n    return net",
     "two networks of one seed differ")])
def test_a_network_that_cannot_be_is_named_in_one_line_and_nothing_is_stored(home: Path, tmp_path: Path, text: str,
                                                                             said: str) -> None:
    name, store = written(tmp_path, text, "make"), Store()
    with pytest.raises(Problem) as problem:
        solve({"one": evaluation(name)}, store, workers=1)
    assert said in str(problem.value) and name in str(problem.value) and "\n" not in str(problem.value)
    assert store.entries() == [] and not (home / "own").exists()


@pytest.mark.parametrize(("text", "said"), [
    ("def score(): return {}", "gives no tensor for '0.weight', whose shape is (4, 1, 3, 3)"),
    (SCORE.replace(".abs()", ".abs().flatten()"), "gives shape (36,) for '0.weight'"),
    (SCORE.replace(".abs()", " > 0"), "gives scores of torch.bool, torch.strided on cpu for '0.weight': give a dense"),
    (SCORE.replace(".abs()", ".to_sparse()"), "gives scores of torch.float32, torch.sparse_coo on cpu for '0.weight'"),
    ("def score(): raise SystemExit(3)", "failed: line 1: SystemExit: 3"),
    (SCORE.replace(".abs()", " / 0"), "gives a score for '0.weight' that is not finite"),
    ("def score(net): pass", "asks for 'net', which nothing gives it: it may ask for network, images, labels, seed")])
def test_a_criterion_that_gives_no_scores_is_named_in_one_line(home: Path, tmp_path: Path, text: str, said: str) -> None:
    name, store = written(tmp_path, NET, "make"), Store()
    criterion = written(tmp_path, text, "score")
    with pytest.raises(Problem) as problem:
        solve({"one": evaluation(name, criterion)}, store, workers=1)
    assert said in str(problem.value) and criterion in str(problem.value) and store.entries() == []
    with pytest.raises(Problem, match=re.escape(said)):
        plan_table({"one": evaluation(name, criterion)}, store)


def test_a_file_that_is_not_there(home: Path) -> None:
    with pytest.raises(Problem, match="nosuch.py:make cannot be read: No such file"):
        parameters(controls.Parameters, "10_controls", {"architecture": "nosuch.py:make"})
    with pytest.raises(Problem, match="module 'nosuch.nets' cannot be imported"):
        own.named("nosuch.nets:make")
    with pytest.raises(Problem, match="the file of make@0123456789ab is not on this machine: pass it again"):
        own.source("make@0123456789ab")


def test_a_criterion_of_ones_own_keeps_what_the_same_criterion_of_ours_keeps(home: Path, tmp_path: Path) -> None:
    network, criterion = convnet(), written(tmp_path, SCORE, "score")
    images = noise(4)
    of = {one: prune_at_initialisation(network, initial_state(network, 0), one, level=3, fraction=0.2,
                                       images=images.batch(slice(0, 4)), labels=images.labels[:4], seed=0)
          for one in ("magnitude", criterion)}
    assert equal(of["magnitude"], of[criterion])


def test_chapters_3_and_10_take_a_criterion_as_a_method(home: Path, tmp_path: Path) -> None:
    criterion = written(tmp_path, SCORE, "score")
    p = parameters(controls.Parameters, "10_controls", {"cells": f"dense,{tmp_path}/mine.py:score"})
    assert p.cells == ["dense", criterion]
    searches = {entry.subnetwork.search for entry in controls.requests(p).values() if isinstance(entry, specs.Path)}
    assert specs.AtInitialisation(criterion=criterion, seed=p.search_seed) in searches
    q = parameters(distilled_pruning.Parameters, "03_distilled_pruning", {"methods": f"[snip,{tmp_path}/mine.py:score]"})
    assert q.methods == ["imp", "synthetic", "snip", criterion]


class Grouped(nn.Module):
    """A convolution in groups, whose Hessian diagonal the fast way would get wrong, and a sigmoid in `forward`."""

    def __init__(self, groups: int = 1, bend: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=groups)
        self.last, self.bend = nn.Linear(4, 10), bend

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.second(torch.relu(self.first(images))).mean((2, 3))
        return self.last(x.sigmoid() if self.bend else torch.relu(x))


def test_what_a_network_cannot_do_is_said_by_layer() -> None:
    plain, grouped, bent = Grouped(), Grouped(groups=2), Grouped(bend=True)
    assert fitness.cannot_align(plain, IMAGE) == fitness.cannot_differentiate(plain, IMAGE, 10) == ""
    assert "step 'second'" in fitness.cannot_align(grouped, IMAGE)
    assert "no exact Hessian diagonal for Grouped" in fitness.cannot_differentiate(grouped, IMAGE, 10)
    assert "at layer 'first'" in fitness.cannot_differentiate(bent, IMAGE, 10)


class Choosing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_a_layer_that_is_no_graph_is_named() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 10), Choosing())
    assert fitness.cannot_compile(network, IMAGE).startswith("layer '2' cannot be compiled")
    assert fitness.cannot_compile(network[:2], IMAGE) == ""


def test_what_cannot_be_measured_is_left_out_before_anything_is_computed_and_the_rest_runs(home: Path, tmp_path: Path) -> None:
    name = written(tmp_path, NET.replace("nn.ReLU()", "nn.Softmax(1)"), "make")
    trained = evaluation(name).of
    other = trained.model_copy(update={"order_seed": 1})
    asked = {"aligned": specs.Path(ends=(trained, other), points=3, aligned=True), "plain": evaluation(name),
             "diagonal": specs.Diagonal(of=trained, batches=1)}
    assert "step '_2'" in unable(asked["aligned"]) and "Softmax" in unable(asked["diagonal"]) and not unable(asked["plain"])
    assert list(solve(asked, Store(), workers=1)) == ["plain"]


def test_dropout_draws_anew_each_step_and_a_stopped_training_goes_on_alike() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))
    start = {name: value.clone() for name, value in network.state_dict().items()}
    whole, kept = [], []
    for _ in range(2):
        whole.append(train(network, start, {}, noise(40), Recipe(epochs=3, batch=10), order_seed=1, every_seconds=0,
                           checkpoint=kept.append)[0])
        torch.rand(3)  # whatever else draws
    resumed, _ = train(network, start, {}, noise(40), Recipe(epochs=3, batch=10), order_seed=1, resume=kept[4])
    assert equal(*whole) and equal(whole[0], resumed)
    functional = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    functional.register_forward_hook(lambda module, args, out: out + 0 * torch.rand(1))
    with pytest.raises(Problem, match="draws random numbers outside of nn.Dropout"):
        fitness.check(lambda: functional, IMAGE, 10)


def test_requirements_are_checked_once_for_each_network(home: Path, tmp_path: Path) -> None:
    name = written(tmp_path, NET, "make")
    require_networks(specs.closure([evaluation(name)]))
    assert os.listdir(home / "own") == [f"{name[-12:]}.py"]
