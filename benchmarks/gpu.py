"""The same comparisons on a GPU, dense and launch-bound training apart: `python -m benchmarks.gpu`. Prints; writes nothing.

It has not been run on a GPU yet.
"""

from __future__ import annotations

import time

import torch

from benchmarks.table import table
from benchmarks.training import Bench, evaluation_rows, step_rows

# Dense training in large numbers of images; distilled training, where a step is over before the next can be launched.
STEPS = [(128, 32, 64, 50), (128, 32, 256, 50), (32, 32, 256, 50), (128, 32, 100, 1), (32, 16, 100, 1)]


def clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured")
        return
    rows = [row for sizes in STEPS for row in step_rows(Bench(*sizes, "cuda", clock), ("", "", ""))]
    rows += evaluation_rows(Bench(128, 32, 500, 20, "cuda", clock), 11)
    print(table("python -m benchmarks.gpu", torch.cuda.get_device_name(), rows))


if __name__ == "__main__":
    main()
