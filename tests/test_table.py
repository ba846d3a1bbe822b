"""Tidy results: one row per measurement, the stored numbers under the field's words."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from synthprune.chapter import Run
from synthprune.chapters import experiment
from synthprune.chapters.settings import parameters
from synthprune.chapters.table import UNITS, table
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result, Store
from synthprune.stats import Interval, Measure
from tests.test_own import evaluation

ROOT = Path(__file__).parents[1]
TRAINED = evaluation("convnet3").of
OTHER = TRAINED.model_copy(update={"order_seed": 3})
THIRD = TRAINED.model_copy(update={"order_seed": 5})
LOSSES = {name: np.arange(3.0) + n for n, name in enumerate(("train_loss", "train_error", "test_loss", "test_error"))}
METRICS = {"collapsed": ["features.0"], "diverged": False}


def of(entry: specs.Entry, arrays: dict[str, np.ndarray], **metrics: object) -> pd.DataFrame:
    return table({"main: it": entry}, {"main: it": Result(entry.key, arrays, METRICS | metrics, {})}, "first", ["first", "main"])


def test_a_path_has_a_row_for_each_point() -> None:
    path = specs.Path(ends=(TRAINED, OTHER), points=3, aligned=True)
    made = of(path, LOSSES, moved=0.5, union_density=0.7)
    assert made["beta"].tolist() == [0, 0.5, 1] and made["test_error"].tolist() == [3, 4, 5]
    row = made.iloc[0]
    assert (row.scene, row.kind, row.method, row.level, row.initialisation, row.orders, row.aligned, row.moved) == (
        "main", "path", "magnitude", 2, 0, "0-3", True, 0.5)
    assert row.sparsity == pytest.approx(1 - 0.64) and row.collapsed == "features.0" and row.data == "real data"
    assert made.attrs["units"]["train_loss"] == "nats" and made.attrs["units"].keys() <= UNITS.keys()


def test_an_evaluation_is_one_row_and_a_dense_network_is_called_so() -> None:
    dense = TRAINED.model_copy(update={"subnetwork": TRAINED.subnetwork.at(0)})
    made = of(specs.Evaluation(of=dense), {name: values[1] for name, values in LOSSES.items()})
    assert len(made) == 1 and made.loc[0, ["method", "level", "sparsity", "train_loss"]].tolist() == ["dense", 0, 0, 1]


def test_a_plane_has_a_row_for_each_point_of_its_grid() -> None:
    grid = np.array([[0.0, 1.0], [2.0, 3.0]])
    arrays = {name: np.array([4.0, 5.0]) for name in ("loss", "loss_deviation", "error", "error_deviation")}
    made = of(specs.Plane(models=(TRAINED, OTHER, THIRD), side=2, per_class=1), arrays | {"grid": grid})
    assert made[["x", "y", "loss"]].to_numpy().tolist() == [[0, 1, 4], [2, 3, 5]] and made["orders"][0] == "0-3-5"


def test_a_diagonal_has_a_row_for_each_batch_and_layer() -> None:
    columns = {f"{weights}/{layer}/{column}": np.array([n, n + 10.0]) for weights in ("survivors", "all")
               for layer in ("a.weight", "overall") for n, column in enumerate(("min", "max", "mean", "std", "magnitude"))}
    made = of(specs.Diagonal(of=TRAINED, batches=2), columns | {
        "eigenvalue": np.array([7.0, 8.0]), "trace": np.array([[1.0, 0.1], [2.0, 0.2]]), "edges": np.zeros(3)})
    assert len(made) == 2 * 2 * 2
    row = made.query("weights == 'survivors' and layer == 'overall' and batch == 1").iloc[0]
    assert (row["std"], row.eigenvalue, row.trace, row.trace_error) == (13, 8, 2, 0.2)
    assert set(made["layer"]) == {"a", "overall"}


def test_a_mask_has_a_row_for_each_layer() -> None:
    arrays = {"mask/a.weight": np.array([True, False, True]), "mask/b.weight": np.array([True])}
    made = of(TRAINED.subnetwork, arrays, survivors={"a.weight": 2, "b.weight": 1}, sparsity=0.25)
    assert made[["layer", "weights_left", "weights_in_layer", "sparsity"]].to_numpy().tolist() == [
        ["a", 2, 3, 0.25], ["b", 1, 1, 0.25]]


# The ledger's numbers, again from the table alone.

SHIPPED = Store(ROOT / "results" / "none", shelves=[ROOT / "results"])


def shipped(chapter: str) -> tuple[pd.DataFrame, dict[str, Measure]]:
    """The table of a chapter's results that ship, in its own scene, and what the chapter makes of them for the ledger."""
    room, given = experiment(chapter), {"profile": "laptop"}
    run = Run(chapter, parameters(room.Parameters, chapter, given), given, SHIPPED)
    run.results = {name: SHIPPED.get(entry) for name, entry in run.requests.items() if SHIPPED.has(entry)}
    made = run.table()
    assert not made.diverged.any() and not made.collapsed.any(), "what may enter no mean would have to be left out here"
    return made[made.scene == run.parameters.scene], room.measures(run.parameters, run.results)


def agree(of: Interval, values: pd.Series) -> None:
    """A measure beside the mean and Student's interval of as many values, one for each initialisation."""
    assert len(values) == of.n
    low, high = scipy.stats.t.interval(0.95, of.n - 1, values.mean(), scipy.stats.sem(values)) if of.n > 1 else (np.nan, np.nan)
    np.testing.assert_allclose((of.mean, of.low, of.high), (values.mean(), low, high), rtol=1e-9)


def barriers(made: pd.DataFrame, error: str = "train_error") -> pd.Series:
    """Highest barrier of every path, percentage points, pairs of orders averaged: by initialisation."""
    def rise(path: pd.Series) -> float:
        return 100 * (path.max() - (path.iloc[0] + path.iloc[-1]) / 2)

    paths = made.sort_values("beta").groupby(["initialisation", "result"])[error]
    return paths.apply(rise).groupby("initialisation").mean()


def test_accuracies_and_barriers_follow_from_the_table() -> None:
    made, of = shipped("03_distilled_pruning")
    accuracy = 100 * (1 - made[made.data == "real data"].groupby(["method", "level", "initialisation"]).test_error.mean())
    for level in (4, 9):
        agree(of["accuracy_synthetic_minus_imp"].intervals[f"convnet3-cifar10, level {level}"],
              accuracy["synthetic", level] - accuracy["imp", level])
    agree(of["accuracy_imp_minus_dense_high"].intervals["convnet3-cifar10, level 9"], accuracy["imp", 9] - accuracy["dense", 0])
    made, of = shipped("04_stability")
    high = {key: barriers(paths) for key, paths in made.groupby(["method", "level"])}
    agree(of["error_barrier_dense"].intervals["convnet3-cifar10"], high["dense", 0])
    for method in ("imp", "synthetic"):
        agree(of[f"error_barrier_{method}"].intervals["convnet3-cifar10, level 4"], high[method, 4])
    agree(of["error_barrier_imp_minus_synthetic"].intervals["convnet3-cifar10, level 9"], high["imp", 9] - high["synthetic", 9])


def test_the_books_own_question_follows_from_the_table() -> None:
    made, of = shipped("10_controls")
    paths = made[(made.kind == "path") & made.per_class.isna() & (made.epochs == 60) & (made.level == 4) & ~made.aligned.eq(True)]
    short, synthetic = (paths[(paths.search_epochs == epochs) & (paths.method == method)]
                        for method, epochs in (("imp", 9), ("synthetic", 1000)))
    label = "convnet3-cifar10, level 4, steps of the synthetic search, all images, retraining of 60 epochs"
    for error, words in (("train_error", "training error"), ("test_error", "test error")):
        agree(of["barrier_real_minus_synthetic"].intervals[f"{label}, {words}"],
              (barriers(short, error) - barriers(synthetic, error)).dropna())
    lengths = made[(made.kind == "path") & (made.per_class == 1000) & (made.epochs == 60) & (made.method == "imp")
                   & (made.search_lr == 0.01) & (made.search_weight_decay == 0.0005) & (made.rewind == "full")]
    heights = pd.DataFrame({epochs: barriers(paths) for epochs, paths in lengths.groupby("search_epochs")})
    heights = heights[[20, 60, 180, 300]].dropna()
    label = "convnet3-cifar10, level 4, 1000 images per class, retraining of 60 epochs, training error"
    agree(of["barrier_longest_minus_shortest_search"].intervals[label], heights[300] - heights[20])
    slopes = heights.apply(lambda row: np.polyfit(np.log2(row.index.to_numpy(float)), row, 1)[0], axis=1)
    agree(of["barrier_per_doubling_of_search"].intervals[label], slopes)


def test_ratios_of_hessians_follow_from_the_table() -> None:
    made, of = shipped("06_hessian")
    whole = made[(made.layer == "overall") & (made.weights == "survivors")]
    spread = whole.groupby(["method", "level", "initialisation"])["std"].mean()
    agree(of["diagonal_synthetic_over_imp"].intervals["convnet3-cifar10, level 9, std"],
          spread["synthetic", 9] / spread["imp", 9])
    agree(of["diagonal_high_over_low"].intervals["convnet3-cifar10, imp, std"], spread["imp", 9] / spread["imp", 4])


def synthprune(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-c", "from synthprune.cli import main; main()", *arguments]
    return subprocess.run(call, env=os.environ | {"SYNTHPRUNE_HOME": str(home)}, check=False, capture_output=True, text=True)


def test_the_command_gives_the_same_as_csv_and_computes_nothing(home: Path) -> None:
    given = {"profile": "demo"}
    run = Run("04_stability", parameters(experiment("04_stability").Parameters, "04_stability", given), given, Store())
    with pytest.raises(Problem, match="nothing has been solved yet"):
        run.table()
    nothing = synthprune("table", "04_stability", home=home)
    assert nothing.returncode == 2 and "none of the" in nothing.stderr and not (home / "store").exists()
    name, entry = next(iter(run.requests.items()))
    with run.store.lock(entry):
        run.store.put(entry, {quantity: np.resize(values, entry.points) for quantity, values in LOSSES.items()},
                      METRICS, {"seconds": 1})
    run.results = {name: run.store.get(entry)}
    shown = synthprune("table", "04_stability", home=home)
    assert shown.returncode == 0 and f"1 of {len(run.requests)} results are stored" in shown.stderr
    again = pd.read_csv(io.StringIO(shown.stdout))
    pd.testing.assert_frame_equal(again[["beta", "train_loss", "level"]], run.table()[["beta", "train_loss", "level"]])
