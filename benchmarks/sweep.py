"""Trainings on two workers that are up already: `python -m benchmarks.sweep`, into RESULTS.md. Forty minutes of both cores.

Eight equal trainings of half a minute and more on one worker and on two, in turns; then 64 short ones against 8, both on
two workers.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
from pathlib import Path

from distributed import LocalCluster

from benchmarks.table import Row, record
from synthprune.results.solve import solve
from synthprune.results.specs import Architecture, Dataset, Real, Recipe, Search, Subnetwork, Trained
from synthprune.results.store import Store

TURNS = 5
LONG, SHORT = 260, 15
"""Epochs of a training: more than half a minute, about two seconds."""


def trainings(count: int, epochs: int, first: int = 0) -> dict[str, Trained]:
    """Equal trainings of a dense ConvNet-3 on the digits, each in an order of its own."""
    recipe = Recipe(epochs=epochs, batch=64, lr=0.05)
    subnetwork = Subnetwork(dataset=Dataset(name="digits", pixels=16), architecture=Architecture(
        name="convnet3", width=32, norm="instance"), init_seed=0, level=0, search=Search(data=Real(), recipe=recipe, seed=0))
    return {str(order): Trained(subnetwork=subnetwork, data=Real(), recipe=recipe, order_seed=order)
            for order in range(first, first + count)}


def seconds(requests: dict[str, Trained], folder: Path, workers: int) -> float:
    """Wall seconds to compute `requests` on workers that are up and have computed the like before."""
    with LocalCluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0",
                      silence_logs=logging.ERROR) as cluster:
        os.environ["SYNTHPRUNE_SCHEDULER"] = cluster.scheduler_address
        # A training that stops early has the engine of the whole: what it compiles is there afterwards.
        warm = {name: entry.model_copy(update={"stop_epoch": 1, "order_seed": 1000 + entry.order_seed})
                for name, entry in requests.items()}
        solve(warm, Store(folder / f"warm{workers}"))
        begun = time.perf_counter()
        solve(requests, Store(folder / f"store{workers}-{len(requests)}"))
        return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        turns = [Path(name) / str(turn) for turn in range(TURNS)]
        long = [[seconds(trainings(8, LONG), folder, workers) for workers in (1, 2)] for folder in turns]
        short = [[seconds(trainings(count, SHORT, first), folder, 2) for count, first in ((8, 100), (64, 200))]
                 for folder in turns]
    one, few = (statistics.median(first for first, _ in pairs) / 8 for pairs in (long, short))
    record("python -m benchmarks.sweep", [
        Row(f"8 equal trainings of {one:.0f} s on two workers", "one after the other", "at least 1.85",
            [alone / both for alone, both in long]),
        Row(f"64 trainings of {2 * few:.1f} s on two workers", "8 of them", "8", [many / eight for eight, many in short])])


if __name__ == "__main__":
    main()
