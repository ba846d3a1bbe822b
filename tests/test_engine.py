"""The engine: decided from facts alone, the same mathematics either way, and eager where no compiler works."""

from __future__ import annotations

import contextvars
import copy
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from synthprune import block, engine
from synthprune.block import Block
from synthprune.chapters import CHAPTERS, experiment
from synthprune.chapters.settings import parameters
from synthprune.data.facts import facts
from synthprune.home import compiled_code
from synthprune.models import build, initial_state, network_with, prunable
from synthprune.problems import Problem
from synthprune.pruning import dense_masks, prune_by_magnitude
from synthprune.results import specs
from synthprune.results.plan import compiles
from synthprune.training import Evaluator, Recipe, Resident, evaluate, train


def trainings(profile: str) -> list[specs.Trained]:
    asked = [entry for chapter in CHAPTERS for entry in experiment(chapter).requests(
        parameters(experiment(chapter).Parameters, chapter, {"profile": profile})).values()]
    return [entry for entry in specs.closure(asked) if isinstance(entry, specs.Trained)]


def of_convolutions_on_real_images() -> list[specs.Trained]:
    """The paper's long trainings: not those on the digits, some of which are short, some of LeNet, which is never compiled."""
    return [entry for entry in trainings("paper") if isinstance(entry.data, specs.Real) and entry.dataset.name != "digits"]


def test_the_demo_never_compiles_and_the_paper_does_where_it_takes_long() -> None:
    assert not any(map(compiles, trainings("demo")))
    long = of_convolutions_on_real_images()
    assert long and all(map(compiles, long))


def test_a_training_that_stops_early_has_the_engine_of_the_whole() -> None:
    whole = next(entry for entry in trainings("paper") if not isinstance(entry.data, specs.Real) and compiles(entry))
    # One epoch of few images would not be worth compiling, were it a training of its own.
    assert not compiles(whole.model_copy(update={"recipe": whole.recipe.model_copy(update={"epochs": 1})}))
    assert compiles(whole.model_copy(update={"stop_epoch": 1}))


def test_only_facts_decide() -> None:
    assert engine.worth_compiling("convnet3", 32, 16, 64, 10_000) and not engine.worth_compiling("lenet300", 300, 28, 64, 10**6)
    assert not engine.worth_compiling("convnet3", 32, 16, 64, 100)


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Compilers are tried anew, here and afterwards."""
    for kept in (engine.works, block.library):
        kept.cache_clear()
    yield
    for kept in (engine.works, block.library):
        kept.cache_clear()


def test_where_no_compiler_works_everything_is_eager_and_one_line_says_so(
        forgetful: None, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    data = Resident.of(np.zeros((10, 1, 16, 16), np.uint8), np.arange(10), facts("digits"), "cpu")
    network = build("convnet3", channels=1, pixels=16, classes=10, width=4, norm="instance")
    start = initial_state(network, 0)
    (eager, _), (asked, _) = (train(network, start, {}, data, Recipe(epochs=1, batch=10), order_seed=0, compiled=choice)
                              for choice in (False, True))
    assert engine.used(True) == engine.used(False) == "eager" and all(torch.equal(asked[key], eager[key]) for key in eager)
    assert Evaluator(network, data, compiled=True).at(eager) == Evaluator(network, data).at(eager)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "computed eagerly: no-such-compiler cannot build block.c" in said


def test_where_torch_cannot_compile_the_reason_is_its_own(forgetful: None, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    for error, reason in ((RuntimeError("no C++ compiler\nand much more"), "no C++ compiler"), (KeyError(), "KeyError")):
        monkeypatch.setattr(engine, "_compile", Mock(side_effect=error))
        engine.works.cache_clear()
        assert not engine.works()
        assert capsys.readouterr().err == f"compiling does not work here, so everything is computed eagerly: {reason}\n"


def test_a_compiler_may_be_given_with_flags(forgetful: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here")
    monkeypatch.setenv("CC", f"{compiler} -DUNUSED")
    assert block.library().forward and len(list((home / "compiled").iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="users and modes are POSIX's")
def test_compiled_code_comes_from_a_folder_of_this_user_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "compiled").mkdir(parents=True)
    (home / "compiled").chmod(0o777)
    assert compiled_code().stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: -1)
    with pytest.raises(Problem, match="others can write to .*compiled, from which"):
        compiled_code()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_stays_so(bad: float) -> None:
    """A diverged training must not come out as a sound one."""
    if not engine.works():
        pytest.skip("no C compiler works here: there is nothing to rewrite with")
    plain = nn.Sequential(nn.GroupNorm(3, 3), nn.ReLU(), nn.AvgPool2d(2))
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype("float32"))
    images[1, 2, 3, 3] = bad
    wanted, images = plain(images), images.requires_grad_()
    found = engine.rewritten(plain)(images)
    assert torch.equal(found.isnan(), wanted.isnan()) and found[1, 2].isnan().all() and torch.allclose(found[0], wanted[0])
    found.sum().backward()
    assert images.grad[1, 2].isnan().all() and images.grad[0].isfinite().all()


class Skipping(nn.Sequential):
    """A chain of one's own, which does more than call one after the other."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) + images.mean((2, 3), keepdim=True)


@pytest.mark.parametrize("made", [
    lambda: nn.Sequential(nn.GroupNorm(3, 3), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True)),
    lambda: nn.Sequential(nn.GroupNorm(3, 3), nn.ReLU(), nn.AvgPool2d(2, padding=1)),
    lambda: nn.Sequential(nn.GroupNorm(3, 3), nn.ReLU(), nn.AvgPool2d(2, divisor_override=3)),
    lambda: nn.Sequential(nn.GroupNorm(3, 3, affine=False), nn.ReLU(), nn.AvgPool2d(2)),
    lambda: Skipping(nn.GroupNorm(3, 3), nn.ReLU(), nn.AvgPool2d(2))])
def test_what_the_one_operation_does_not_do_is_left_as_it_is(made: Callable[[], nn.Sequential]) -> None:
    if not engine.works():
        pytest.skip("no C compiler works here: there is nothing to rewrite with")
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 7, 7)).astype("float32"))
    plain = made()
    assert torch.equal(engine.rewritten(made())(images), plain(images))
    assert [type(module) for module in engine.rewritten(plain)] == [type(module) for module in made()]


@pytest.mark.parametrize("size", [(6, 6), (7, 5), (2, 2), (16, 18)])
@pytest.mark.parametrize("channels", [3, 32])
def test_what_is_rewritten_is_the_same_function_with_the_same_gradients(size: tuple[int, int], channels: int) -> None:
    """Against float64, far from zero mean, in either layout, with odd sides."""
    if not engine.works():
        pytest.skip("no C compiler works here: there is nothing to rewrite with")
    rng = np.random.default_rng(0)
    plain = nn.Sequential(nn.GroupNorm(channels, channels), nn.ReLU(), nn.AvgPool2d(2))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(channels)))
    images = torch.from_numpy(rng.standard_normal((2, channels, *size)).astype("float32") + 10)
    exact, wide = copy.deepcopy(plain).double(), images.double().requires_grad_()
    out = exact(wide)
    seed = torch.from_numpy(rng.standard_normal(out.shape))
    wanted = torch.autograd.grad(out, [wide, *exact.parameters()], seed)
    again = engine.rewritten(plain)
    assert [type(module) for module in again] == [Block, nn.Identity, nn.Identity]
    for layout in (torch.contiguous_format, torch.channels_last):
        inputs = images.contiguous(memory_format=layout).requires_grad_()
        found = torch.autograd.grad(again(inputs), [inputs, *again.parameters()], seed.float())
        assert torch.allclose(again(inputs).double(), out, rtol=0, atol=1e-4)
        for one, other in zip(found, wanted, strict=True):
            assert torch.allclose(one.double(), other, rtol=0, atol=1e-4 * float(other.abs().max()))


def test_a_step_of_a_new_shape_compiles_in_a_context_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the second task of a Dask worker: torch forgets its settings there, and the first task's batches had other sizes."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    if not engine.works():
        pytest.skip("no C++ compiler works here: the compiled engine was not tried")
    slope = engine.compiled(lambda weights: torch.autograd.grad((weights**2).sum(), weights)[0])
    for size in (3, 5):
        weights = torch.ones(size, requires_grad=True)
        assert torch.equal(contextvars.Context().run(slope, weights), torch.full((size,), 2.0))


def test_compiled_and_eager_agree_over_ten_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    if not engine.works():
        pytest.skip("no C++ compiler works here: the compiled engine was not tried")
    known, rng = facts("digits"), np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 1, 16, 16), dtype=np.uint8)
    data = Resident.of(images, np.arange(80) % 10, known, "cpu")
    network = build("convnet3", channels=1, pixels=16, classes=10, width=4, norm="instance")
    start = initial_state(network, 0)
    masks = prune_by_magnitude(start, dense_masks(start, prunable(network)), 0.5)
    recipe = Recipe(epochs=5, batch=40, lr=0.01)
    # In this order no value lies so near a ReLU's zero that its rounding decides about a weight's gradient.
    (eager, losses), (compiled, same) = (
        train(network, start, masks, data, recipe, order_seed=2, compiled=choice) for choice in (False, True))
    assert np.allclose(losses, same, rtol=1e-5)
    for key, value in eager.items():
        scale = float(value.double().abs().max()) or 1
        assert torch.allclose(value.double(), compiled[key].double(), rtol=0, atol=1e-5 * scale), key
    assert all((compiled[key][~mask] == 0).all() for key, mask in masks.items())
    loss, error = Evaluator(network, data, compiled=True).at(eager)
    assert (loss, error) == pytest.approx(evaluate(network_with(network, eager), data), rel=1e-5)
