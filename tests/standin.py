"""Stands in for `synthprune.results.compute` in the processes of a test's cluster: entries of no content, made without torch.

A worker takes it as `--preload`; a client imports it. The folder SYNTHPRUNE_TROUBLE holds what shall go wrong: a file
`<key>.<trouble>`, where the trouble is `kill` (once, the worker kills itself), `poison` (always), `hang`, `slow`: fifty
steps of a tenth of a second, each with a checkpoint and a line in the file, or `heavy`: with as many weights as it says.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import synthprune
from synthprune import machine
from synthprune.machine import interrupted
from synthprune.results.specs import Entry
from synthprune.results.store import Store

STEPS = 50


def compute(entry: Entry, store: Store, *, alone: bool) -> None:
    with store.lock(entry):
        if store.holds(entry):
            return
        rests_on = [store.get(parent).digest for parent in entry.parents]
        _trouble(entry, store)
        made = hashlib.sha256("".join([entry.key, *rests_on]).encode()).digest()
        arrays = {"made": np.frombuffer(made, np.uint8)}
        with contextlib.suppress(FileNotFoundError):
            heavy = (Path(os.environ["SYNTHPRUNE_TROUBLE"]) / f"{entry.key}.heavy").read_text()
            arrays["weights"] = np.random.default_rng([*made]).random(int(heavy), np.float32)
        store.put(entry, arrays, {"of": rests_on}, {"seconds": 0.0})


def require_networks(entries: Iterable[Entry]) -> None:
    """All can be built."""


def lacking(dataset: object, data: object) -> str:
    return ""


def unable(entry: Entry) -> str:
    return ""


def _trouble(entry: Entry, store: Store) -> None:
    for file in Path(os.environ["SYNTHPRUNE_TROUBLE"]).glob(f"{entry.key}.*"):
        match file.suffix:
            case ".kill":
                file.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            case ".poison":
                os.kill(os.getpid(), signal.SIGKILL)
            case ".hang":
                file.unlink()
                time.sleep(1000)
            case ".slow":
                _slowly(entry, store, file)


def _slowly(entry: Entry, store: Store, file: Path) -> None:
    saved = store.load_checkpoint(entry)
    file.with_name(f"{entry.key}.pid").write_text(str(os.getpid()))
    for step in range(saved[0] if saved else 0, STEPS):
        with file.open("a") as lines:
            lines.write(f"{step}\n")
        time.sleep(0.1)
        store.save_checkpoint(entry, {"at": np.array(step)}, step + 1)
        if interrupted.is_set():
            raise KeyboardInterrupt


machine.gpus = lambda: 0  # which would load torch to count them
stand_in = sys.modules["synthprune.results.compute"] = sys.modules["synthprune.results.obstacles"] = sys.modules[__name__]
synthprune.results.compute = stand_in
