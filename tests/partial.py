"""Made-up results of any chapter, some initialisations of which can be taken away, and a notebook's cells run on them."""

from __future__ import annotations

import ast
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from conftest import ROOT
from test_discussion import LAYERS, stored
from test_hessian_chapter import Network, diagonal
from test_loss_landscape import TETRAHEDRON, bowl, plane

from synthprune.chapter import Run
from synthprune.chapters import experiment
from synthprune.chapters.settings import Settings, parameters
from synthprune.data.facts import FACTS
from synthprune.results import specs
from synthprune.results.store import Result, Store

PROFILE = """
{dataset: cifar10, pixels: 16, train_per_class: 100, test_per_class: 0, architecture: convnet3, width: 8, norm: instance,
 epochs: 10, batch: 64, lr: 0.01, cutmix: 0.5, synthetic: distilled, synthetic_per_class: 2, synthetic_factor: 2,
 distillation_steps: 3, synthetic_epochs: 10, weight_decay: 0.0005, search_epochs: 0, search_lr: 0, search_weight_decay: -1,
 rewind: full, search_seed: 3, seeds: [10, 11, 12], levels: [0, 4, 9],
 orders: [0, 1], points: 11, other_sets: [],
 scenes: {convnet3-cifar10: {other_sets: ["distilled:1:1"]}, convnet3-cifar10-curves: {levels: [0, 2, 4, 11], seeds: [10, 11]},
          convnet3-cifar100: {dataset: cifar100}, resnet10-imagenette: {}},
 chapters: {02_preliminaries: {scenes: [convnet3-cifar10, convnet3-cifar10-curves]},
            03_distilled_pruning: {methods: [imp, synthetic, random], scenes: [convnet3-cifar10, convnet3-cifar10-curves]},
            04_stability: {scenes: [convnet3-cifar10, convnet3-cifar10-curves]},
            05_loss_landscape: {level: 4, orders: [0, 1, 2, 4], three: [0, 1, 2], side: 5, map_per_class: 5},
            06_hessian: {levels: [4, 9], order: 0, hessian_batches: 2, hessian_batch: 64},
            07_overview: {scenes: [convnet3-cifar10, convnet3-cifar100], low_level: 4, high_level: 9},
            08_lottery_tickets: {scene: resnet10-imagenette, last_level: 6, start_level: 4, rewind_epoch: 3},
            09_discussion: {scenes: [convnet3-cifar10, convnet3-cifar10-curves], second_seed: 4, second_level: 4},
            11_make_synthetic_data: {level: 4, order: 0}}}
"""
"""Three initialisations, a second scene with other levels and two of its own, a third of another data set."""


def planned(chapter: str, folder: Path) -> Settings:
    """A chapter's parameters under PROFILE, whose file is written into `folder`."""
    file = folder / "partial.yaml"
    file.write_text(PROFILE, encoding="utf-8")
    return parameters(experiment(chapter).Parameters, chapter, {"profile": str(file)})


def everything(p: Settings) -> dict[str, Result]:
    """A made-up result for all that a chapter asks for: synthetic subnetworks rise by half a point, others by five."""
    return {name: _made(name, entry) for name, entry in experiment(p.chapter).requests(p).items()}


def without(results: dict[str, Result], seed: int) -> dict[str, Result]:
    """What is there while one initialisation has not been run."""
    return {name: result for name, result in results.items() if _seed(name) != seed}


def only(results: dict[str, Result], seed: int) -> dict[str, Result]:
    """What is there once one initialisation has been run, of the first scene alone; no set is made yet."""
    return {name: result for name, result in results.items() if _seed(name) == seed and "curves: " not in name
            and "cifar100: " not in name}


def page(p: Settings, results: dict[str, Result]) -> str:
    """What the code cells of a chapter's notebook show when its results are these, as HTML and text."""
    run = Run(p.chapter, p, {"profile": p.profile}, Store(), results=results)
    shown, names = [], {"run": run, "results": results}
    for cell in json.loads((ROOT / "notebooks" / f"{p.chapter}.ipynb").read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not re.search(r"^# Parameters|begin\(|run\.(plan|solve|provenance)\(", source):
            shown.append(_shown(source, names))
    return "\n".join(shown)


def _shown(source: str, names: dict[str, Any]) -> str:
    """A cell's last expression, as a notebook displays it."""
    body = ast.parse(source).body
    last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else ast.parse('""', mode="eval")
    exec(compile(ast.Module(body, []), "cell", "exec"), names)  # the book's own cells
    value = eval(compile(last, "cell", "eval"), names)
    return value._repr_html_() if hasattr(value, "_repr_html_") else str(value)


def _seed(name: str) -> int | None:
    found = re.search(r"initialisation (\d+)", name)
    return int(found[1]) if found else None


def _made(name: str, entry: specs.Entry) -> Result:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    sound = {"collapsed": [], "diverged": False, "train_images": 1000, "test_images": 1000, "flops": 7}
    match entry:
        case specs.Path():
            synthetic = not re.search("imp|IMP|dense", name)
            curve = np.full(entry.points, 0.2)
            curve[entry.points // 2] += (0.005 if synthetic else 0.05) + 1e-4 * rng.random()
            return Result(name, {f"{part}_{what}": curve for part in ("train", "test") for what in ("loss", "error")}, sound, {})
        case specs.Evaluation():
            return Result(name, {"test_error": np.array(0.3 + 0.01 * entry.subnetwork.level + 0.001 * rng.random())}, sound, {})
        case specs.Plane():
            return plane(TETRAHEDRON[: len(entry.models)], entry.side, bowl)
        case specs.Diagonal():
            method = "synthetic" if "synthetic" in name else "imp" if "imp" in name else "dense"
            return diagonal(Network(method, entry.of.subnetwork.level), _seed(name), entry.batches)
        case specs.Subnetwork():
            return stored({layer: rng.random(shape) < 0.8**entry.level for layer, shape in LAYERS.items()})
        case specs.Distilled():
            labels = np.repeat(np.arange(len(FACTS[entry.dataset.name].classes)), entry.ipc)
            images = rng.random((len(labels), 3, 16, 16), dtype=np.float32)
            return Result(name, {"images": images, "labels": labels}, {}, {"seconds": 1.0})
    raise TypeError(f"nothing is made up for {type(entry).__name__}")
