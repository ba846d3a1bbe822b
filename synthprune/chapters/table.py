"""Results as one tidy table: a row for each measurement, columns in the field's words.

It works from requests and stored results alone, whatever the chapter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthprune.chapters.paths import QUANTITIES as LOSSES
from synthprune.results import specs
from synthprune.results.store import Result
from synthprune.results.values import Entry

UNITS = {
    "level": "times that a fifth (or the search's fraction) of the surviving weights was pruned",
    "sparsity": "fraction of prunable weights that is pruned, 0 to 1", "search_epochs": "epochs of every round of the search",
    "per_class": "real training images of each class that are used; none: all of them",
    "epochs": "epochs of the retraining", "beta": "position on the path, 0 to 1", "x": "position in the plane, L2 distance",
    "y": "position in the plane, L2 distance", "loss": "nats", "loss_deviation": "nats", "error": "fraction, 0 to 1",
    "error_deviation": "fraction, 0 to 1", "train_loss": "nats", "train_error": "fraction, 0 to 1", "test_loss": "nats",
    "test_error": "fraction, 0 to 1", "union_density": "fraction of prunable weights, 0 to 1",
    "moved": "fraction of hidden channels, 0 to 1", "weights_left": "weights", "weights_in_layer": "weights",
    **dict.fromkeys(("min", "max", "mean", "std", "magnitude", "eigenvalue", "trace", "trace_error"), "nats per weight squared")}
"""Units of the columns that have one."""

COLUMNS = ("min", "max", "mean", "std", "magnitude")
Row = dict[str, Any]


def table(requests: Mapping[str, Entry], results: Mapping[str, Result], scene: str, scenes: Collection[str] = (),
          ) -> pd.DataFrame:
    """One row per measurement of those `requests` that have a result; `attrs["units"]` holds the units of its columns.

    `scene`: that of requests whose name does not begin with one of `scenes`. Columns, empty where a kind has none: result
    (its name in the chapter), scene, kind; dataset, per_class, architecture, width, norm, method, level, sparsity, rewind,
    search_data, search_epochs, search_lr, search_weight_decay, initialisation, data (trained on), epochs, orders (as "0-1");
    and

    - path (a row per point): beta, train_loss and test_loss (nats), train_error and test_error (0 to 1), batch_norm, aligned,
      union_density, moved;
    - evaluation (one row): the same four numbers;
    - plane (a row per point of the grid): x, y (L2 distance), loss, error and their standard errors;
    - Hessian diagonal (a row per batch and layer, and "overall"): batch, layer, weights ("survivors" or "all"), min, max, mean,
      std, magnitude, and for overall eigenvalue, trace, trace_error;
    - mask (a row per layer): layer, weights_left, weights_in_layer.

    `collapsed` (layers without a weight) and `diverged` say what may enter no mean; its numbers are told as they are.
    """
    rows = []
    for name, entry in requests.items():
        if name in results:
            title = name.partition(": ")[0]
            of = {"result": name, "scene": title if title in scenes else scene, "kind": entry.kind} | _facts(entry)
            rows += [of | row for row in _rows(entry, results[name])]
    made = pd.DataFrame(rows)
    made.attrs["units"] = {column: UNITS[column] for column in made.columns if column in UNITS}
    return made


def _facts(entry: Entry) -> Row:
    """What an entry is of: its network, mask and training."""
    found: Row = {"dataset": entry.dataset.name, "per_class": entry.dataset.train_per_class or np.nan}
    subnetwork = entry if isinstance(entry, specs.Subnetwork) else getattr(entry, "subnetwork", None)
    if subnetwork is None:
        return found
    network, search = subnetwork.architecture, subnetwork.search
    found |= {"architecture": network.name, "width": network.width, "norm": network.norm,
              "method": specs.method(search) if search else "dense", "level": subnetwork.level}
    if search:
        found |= {"rewind": str(search.rewind)}
        found |= ({"search_data": specs.data_in_words(search.data), "search_epochs": search.recipe.epochs,
                   "search_lr": search.recipe.lr, "search_weight_decay": search.recipe.weight_decay}
                  if isinstance(search, specs.Search) else {})
    found["initialisation"] = subnetwork.init_seed
    trained = [getattr(entry, "of", None)] if isinstance(entry, specs.Evaluation | specs.Diagonal) else (
        getattr(entry, "ends", None) or getattr(entry, "models", ()))
    if trained:
        found |= {"data": specs.data_in_words(trained[0].data), "epochs": trained[0].recipe.epochs,
                  "orders": "-".join(str(one.order_seed) for one in trained)}
    return found


def _rows(entry: Entry, result: Result) -> Iterator[Row]:
    arrays, metrics = result.arrays, result.metrics
    fixed: Row = {"collapsed": "; ".join(metrics.get("collapsed", [])), "diverged": bool(metrics.get("diverged", False))}
    match entry:
        case specs.Subnetwork():
            fixed["sparsity"] = metrics["sparsity"]
            yield from (fixed | {"layer": name.removesuffix(".weight"), "weights_left": left,
                                 "weights_in_layer": arrays[f"mask/{name}"].size} for name, left in metrics["survivors"].items())
            return
        case specs.Distilled() | specs.Condensed():
            yield {"images": len(arrays["labels"])}
            return
    fixed["sparsity"] = pruned(entry.subnetwork)
    match entry:
        case specs.Evaluation():
            yield fixed | {name: float(arrays[name]) for name in LOSSES}
        case specs.Path():
            fixed |= {"batch_norm": entry.batch_norm, "aligned": entry.aligned}
            fixed |= {name: metrics[name] for name in ("union_density", "moved") if name in metrics}
            yield from (fixed | {"beta": float(beta)} | {name: float(arrays[name][n]) for name in LOSSES}
                        for n, beta in enumerate(np.linspace(0, 1, entry.points)))
        case specs.Plane():
            numbers = ("loss", "loss_deviation", "error", "error_deviation")
            yield from (fixed | {"x": float(x), "y": float(y)} | {name: float(arrays[name][n]) for name in numbers}
                        for n, (x, y) in enumerate(arrays.get("grid", ())))
        case specs.Diagonal():
            yield from (fixed | row for row in _of_layers(entry, arrays))


def _of_layers(entry: specs.Diagonal, arrays: Mapping[str, np.ndarray]) -> Iterator[Row]:
    names = dict.fromkeys(tuple(name.split("/")[:2]) for name in arrays if name.startswith(("survivors/", "all/")))
    for weights, layer in names:
        for batch in range(entry.batches):
            row: Row = {"batch": batch, "weights": weights, "layer": layer.removesuffix(".weight")}
            row |= {column: float(arrays[f"{weights}/{layer}/{column}"][batch]) for column in COLUMNS}
            if (weights, layer) == ("survivors", "overall"):
                row |= {"eigenvalue": float(arrays["eigenvalue"][batch]), "trace": float(arrays["trace"][batch][0]),
                        "trace_error": float(arrays["trace"][batch][1])}
            yield row


def pruned(subnetwork: specs.Subnetwork) -> float:
    """The fraction of weights that `subnetwork`'s level stands for, up to the rounding of single weights."""
    search = getattr(subnetwork.search, "of", subnetwork.search)
    return 1 - (1 - search.fraction) ** subnetwork.level if search else 0.0
