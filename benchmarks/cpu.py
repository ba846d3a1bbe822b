"""Training steps and evaluations on one core, against what bounds them: `python -m benchmarks.cpu`, into RESULTS.md.

CPU seconds of one thread, each comparison taken in turns. About nine minutes on an idle machine, two more where nothing is
in the compiler's cache.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import torch

from benchmarks.table import Row, record
from benchmarks.training import Bench, evaluation_rows, step_rows
from synthprune.machine import keep_freed_memory

STEPS = [
    # width, pixels, batch, batches a turn; targets against convolutions, against the plain loop, of everything else
    ((128, 32, 64, 4), ("at most 1.25", "at least 1.6", "under 5 %")),
    ((128, 32, 256, 2), ("at most 1.25", "at least 1.6", "")),
    ((32, 32, 64, 40), ("at most 1.6", "at least 2", "")),
    ((32, 32, 256, 10), ("at most 1.6", "at least 2", "")),
    ((32, 16, 64, 80), ("", "", "")),
]
EVALUATIONS = [((32, 16, 500, 8), 11), ((128, 32, 500, 2), 3)]
"""Laptop and paper sizes; images in batches of 500, points."""


def apart(rows: Callable[..., list[Row]], sizes: tuple[int, ...], *more: object) -> list[Row]:
    """`rows` of one size in a process of its own, as it would be trained: what other sizes leave in memory slows it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_on_one_core, rows, sizes, *more).result()


def _on_one_core(rows: Callable[..., list[Row]], sizes: tuple[int, ...], *more: object) -> list[Row]:
    torch.set_num_threads(1)
    keep_freed_memory()
    return rows(Bench(*sizes, "cpu", time.process_time), *more)


def main() -> None:
    rows = [row for sizes, targets in STEPS for row in apart(step_rows, sizes, targets)]
    rows += [row for sizes, points in EVALUATIONS for row in apart(evaluation_rows, sizes, points)]
    record("python -m benchmarks.cpu", rows)


if __name__ == "__main__":
    main()
