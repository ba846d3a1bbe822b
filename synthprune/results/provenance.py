"""Where a result comes from: machine, versions, data and time; of one that was made in parts, those of each part."""

from __future__ import annotations

import functools
import json
import platform
from datetime import UTC, datetime

import numpy as np
import torch

import synthprune
from synthprune import own
from synthprune.data.datasets import load
from synthprune.data.images import fingerprint
from synthprune.engine import used
from synthprune.machine import cpu, device, peak_memory, revision
from synthprune.results import specs
from synthprune.results.plan import compiles
from synthprune.results.specs import Entry
from synthprune.results.store import Arrays, Metrics

EARLIER = "parts"
"""The array of a checkpoint that says, in JSON, when and on what each part of the work so far was done."""
OF_PART = ("seconds", "finished", "cpu", "device", "torch", "engine", "package", "revision")


def provenance(entry: Entry, seconds: float) -> Metrics:
    """What is recorded beside a result that took so long, here and now."""
    on, written = device(), own.sources(specs.own_names(entry))
    return ({"sources": written} if written else {}) | {
        "package": synthprune.__version__, "revision": revision(), "engine": used(compiles(entry)),
        "torch": torch.__version__, "numpy": np.__version__,
        "device": torch.cuda.get_device_name(on) if on.startswith("cuda") else on, "cpu": cpu(),
        "python": platform.python_version(), "seconds": round(seconds, 3), "data": _data_fingerprint(entry.dataset),
        "peak_memory_mb": peak_memory(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds")}


def of_part(entry: Entry, seconds: float) -> Metrics:
    """What is recorded of one part of the work."""
    made = provenance(entry, seconds)
    return {name: made[name] for name in OF_PART}


def earlier_parts(saved: tuple[int, Arrays] | None) -> list[Metrics]:
    """What a checkpoint says of its parts; nothing where there is none, or one that an older version saved."""
    return json.loads(saved[1][EARLIER].tobytes()) if saved and EARLIER in saved[1] else []


@functools.lru_cache(maxsize=4)
def _data_fingerprint(dataset: specs.Dataset) -> str:
    split = load(dataset.name, dataset.train_per_class, dataset.pixels, dataset.whitened, dataset.test_per_class)
    return "+".join(fingerprint(*part) for part in ((split.train_images, split.train_labels),
                                                    (split.test_images, split.test_labels)))
