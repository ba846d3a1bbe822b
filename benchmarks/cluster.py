"""What it costs to compute on other machines: `python -m benchmarks.cluster`, into RESULTS.md. A quarter of an hour, and 9 GB.

A scheduler, two workers and a client, each a process of its own; no worker sees the store. Entries have no content, or are
arrays of random numbers as large as a ResNet-18, so that what is measured is the way and not the work. With the word
`trainings` eight real ones are computed, on one worker and on two: two minutes a turn, of both cores.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from synthprune.results import specs
from tests.external import NOT_SHARED, Cluster

TURNS, FEW, MANY, LARGE = 5, 200, 2000, 200
RESNET18 = 11_173_962
"""Its parameters for 10 classes: 44.7 MB."""
EPOCHS, TRAININGS, TRAINING_TURNS = 30, 8, 3


def tiny(count: int) -> dict[str, specs.Entry]:
    return {str(seed): _dense(seed) for seed in range(count)}


def large(count: int) -> dict[str, specs.Entry]:
    """Paths, each between two trainings: `count` trainings in all."""
    ends = list(trainings(count, 1).values())
    return {str(n): specs.Path(ends=(ends[n], ends[n + 1])) for n in range(0, count, 2)}


def trainings(count: int, epochs: int = EPOCHS) -> dict[str, specs.Entry]:
    """Equal trainings of a dense ConvNet-3 on the digits, each in an order of its own."""
    return {str(order): specs.Trained(subnetwork=_dense(0), data=specs.Real(), recipe=specs.Recipe(epochs=epochs, lr=0.05),
                                      order_seed=order) for order in range(count)}


def _dense(seed: int) -> specs.Subnetwork:
    return specs.Subnetwork(dataset=specs.Dataset(name="digits", pixels=16), init_seed=seed,
                            architecture=specs.Architecture(name="convnet3", width=32, norm="instance"))


def client(what: str, count: int, standin: bool) -> None:
    """Compute `count` of them where SYNTHPRUNE_SCHEDULER says, or here; print as JSON what it took."""
    if standin:
        import tests.standin  # noqa: F401
    from synthprune.results.solve import fill, missing
    from synthprune.results.store import Store

    ends, store = [], Store(NOT_SHARED)
    todo = missing(globals()[what](count), store)
    begun = time.perf_counter()
    fill(todo, store, workers=1, report=lambda *_: ends.append(time.perf_counter()))
    gaps = [1000 * (after - before) for before, after in zip(ends, ends[1:], strict=False)]
    print(json.dumps({"seconds": time.perf_counter() - begun, "from_first": ends[-1] - ends[0],
                      "gap": statistics.median(gaps), "peak": _peak("self")}))


def run(place: Cluster, what: str, count: int, *, far: bool = True, standin: bool = True) -> dict[str, Any]:
    """A client's run, into a store of its own that goes when it is done: on `place`'s cluster if `far`, else in one process."""
    folder = Path(tempfile.mkdtemp(dir=place.folder))
    env = place.environment(folder) | {"SYNTHPRUNE_SCHEDULER": str(place.file) if far else ""}
    words = [sys.executable, "-m", "benchmarks.cluster", "client", what, str(count), *["standin"] * standin]
    done = subprocess.run(words, env=env, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(folder)
    return json.loads(done.stdout.splitlines()[-1])


def peak(process: subprocess.Popen) -> float:
    """Most resident memory so far, MB, of a process or of the largest that it started."""
    return max(_peak(one.pid) for one in [process, *psutil.Process(process.pid).children(recursive=True)])


def _peak(process: int | str) -> float:
    return int(Path(f"/proc/{process}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def way() -> None:
    from benchmarks.table import Row, record

    with tempfile.TemporaryDirectory() as name:
        with Cluster(Path(name) / "tiny") as place:
            scheduler, _, _ = place.scheduler(), place.worker(), place.worker()
            few = [[run(place, "tiny", FEW, far=far)["gap"] for far in (True, False)] for _ in range(TURNS + 1)][1:]
            many = run(place, "tiny", MANY)
            rows = [Row("one more entry through the scheduler, of no content", "", "", [far for far, _ in few], "ms"),
                    Row("the same in one process", "", "", [near for _, near in few], "ms"),
                    Row(f"{MANY:,} entries of no content through the scheduler", "", "", [many["seconds"]], "s"),
                    Row("peak memory of the client then", "", "", [many["peak"]], "MB"),
                    Row("peak memory of the scheduler then", "", "", [peak(scheduler)], "MB")]
        with Cluster(Path(name) / "large") as place:
            scheduler, *workers = place.scheduler(), place.worker(), place.worker()
            before = run(place, "large", 2)["peak"], peak(scheduler), max(map(peak, workers))
            for entry in specs.closure(list(large(LARGE).values())):
                if isinstance(entry, specs.Trained):
                    (place.trouble / f"{entry.key}.heavy").write_text(str(RESNET18))
            after = run(place, "large", LARGE)
            what = f"{LARGE} results of a ResNet-18's size there, {LARGE // 2} times two of them back"
            rows += [Row(what, "", "", [after["seconds"]], "s")]
            rows += [Row(f"peak memory of the {who} then", f"{least:.0f} MB with nothing to carry", "", [most], "MB")
                     for who, least, most in zip(("client", "scheduler", "larger worker"), before,
                                                 (after["peak"], peak(scheduler), max(map(peak, workers))), strict=True)]
    record("python -m benchmarks.cluster", rows)


def speed() -> None:
    from benchmarks.table import Row, in_turns, ratios, record

    with (tempfile.TemporaryDirectory() as name, Cluster(Path(name) / "one", standin=False) as one,
          Cluster(Path(name) / "two", standin=False) as two):
        for place, workers in ((one, 1), (two, 2)):
            place.scheduler()
            for _ in range(workers):
                place.worker()
        took = in_turns({place.folder.name: lambda place=place: run(place, "trainings", TRAININGS, standin=False)["seconds"]
                         for place in (one, two)}, TRAINING_TURNS)
    alone, both = took.values()
    each = statistics.median(alone) / TRAININGS
    record("python -m benchmarks.cluster trainings", [
        Row(f"{TRAININGS} equal trainings of {each:.1f} s on two workers without a shared disk", "on one of them", "",
            ratios(alone, both))])


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        client(sys.argv[2], int(sys.argv[3]), "standin" in sys.argv)
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        (speed if "trainings" in sys.argv else way)()
