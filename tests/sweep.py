"""A demo sweep of seconds, through the whole house: distil, search masks, retrain in two orders, walk the paths.

With `every_kind`, it has an entry of every kind that there is.

`python tests/sweep.py FOLDER KILLS SEED` computes it undisturbed into FOLDER/quiet, and into FOLDER/killed with that many
SIGKILLs at random moments, as often as it takes; each time it must end with the same results. It prints, as JSON, how many
kills found a sweep still at work, how many sweeps ended, and the most entries that were stored when one was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from synthprune.results import specs
from synthprune.results.solve import solve
from synthprune.results.store import Store, read

DIGITS = specs.Dataset(name="digits", pixels=16, train_per_class=20)
MADE = specs.Distilled(dataset=DIGITS, ipc=1, factor=2, steps=2, real_batch=4, width=4)

CONDENSED = specs.Condensed(dataset=DIGITS, ipc=1, factor=2, steps=3, inner=2, real_batch=4, trained_images=20, width=4)


def recipe(epochs: int = 2) -> specs.Recipe:
    return specs.Recipe(epochs=epochs, batch=50, lr=0.05)


def subnetwork(level: int, *, data: specs.PruningData = MADE, rewind: str | int = "full", epochs: int = 2,
               norm: str = "instance") -> specs.Subnetwork:
    return specs.Subnetwork(
        dataset=DIGITS, architecture=specs.Architecture(name="convnet3", width=4, norm=norm), init_seed=0, level=level,
        search=specs.Search(data=data, recipe=recipe(epochs), rewind=rewind, seed=0))


def trained(level: int, order: int = 0, *, epochs: int = 2, **searched: object) -> specs.Trained:
    return specs.Trained(subnetwork=subnetwork(level, epochs=epochs, **searched), data=specs.Real(), recipe=recipe(epochs),
                         order_seed=order)


def requests(epochs: int = 2, levels: tuple[int, ...] = (0, 1, 2)) -> dict[str, specs.Path]:
    """Paths between two orders: masks found on the distilled set and on real data, at every level."""
    return {f"{type(data).__name__} {level}": specs.Path(
                ends=(trained(level, 0, epochs=epochs, data=data), trained(level, 1, epochs=epochs, data=data)), points=3)
            for data in (MADE, specs.Real()) for level in levels}


def every_kind() -> dict[str, specs.Entry]:
    """The sweep, longer, and every kind of entry that it lacks, with each sort of data and of masks that profiles ask for."""
    coreset = specs.Coreset(ipc=1, factor=2, seed=0)
    sparse = {name: trained(1, 0).model_copy(update={"subnetwork": specs.Subnetwork(**{**dict(subnetwork(1)), "search": search})})
              for name, search in (("snip", specs.AtInitialisation(criterion="snip")),
                                   ("random", specs.SameDensities(of=subnetwork(1).search, seed=0)))}
    three = tuple(trained(1, order, epochs=25) for order in range(3))
    return requests(epochs=25) | sparse | {
        "condensed": trained(1, data=CONDENSED), "shuffled": trained(1, data=specs.Shuffled(of=coreset, seed=0)),
        "rewound": trained(1, data=specs.Real(), rewind=1), "evaluation": specs.Evaluation(of=three[0]),
        "aligned": specs.Path(ends=three[:2], points=3, batch_norm="recomputed", aligned=True),
        "plane": specs.Plane(models=three, side=8, per_class=2),
        "diagonal": specs.Diagonal(of=trained(1), batches=1, batch=4)}


def digests(store: Store) -> dict[str, str]:
    """What a store holds: the digest of every entry, by kind and key."""
    return {f"{path.parent.name}/{path.name}": read(path).digest for path in store.entries()}


@contextlib.contextmanager
def held(entry: specs.Entry, store: Store) -> Iterator[subprocess.Popen]:
    """Another process that holds the lock of `entry` until it is killed."""
    code = ("import sys, time; from sweep import *\n"
            "entry = next(e for e in specs.closure([*requests().values()]) if e.key == sys.argv[1])\n"
            "with Store(Path(sys.argv[2])).lock(entry): print('held', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code, entry.key, store.root], cwd=Path(__file__).parent, text=True,
                          stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def _forked(root: Path, wanted: dict[str, specs.Entry]) -> int:
    """Begin the sweep in a child of this process, which has imported and loaded everything already."""
    child = os.fork()
    if child:
        return child
    status = 1
    with contextlib.suppress(BaseException):
        solve(wanted, Store(root), workers=1)
        status = 0
    os._exit(status)


def main(folder: Path, kills: int, seed: int) -> None:
    import torch
    import torch._dynamo  # seconds, which every optimiser's first step would take

    from synthprune.results import compute as room  # once here, or most children die while importing
    from synthprune.results import provenance, store

    provenance.provenance(MADE, 0)
    torch.set_num_threads(1)
    wanted, moments = every_kind(), random.Random(seed)
    begun = time.monotonic()
    assert os.waitpid(_forked(folder / "quiet", wanted), 0)[1] == 0
    took = time.monotonic() - begun

    def slowly(file: Path, data: bytes) -> None:
        with open(file, "wb") as stream:
            stream.write(data[:len(data) // 2])
            stream.flush()
            time.sleep(took / 300 if file.suffix != ".part" else 0)  # of an entry, five times; of a checkpoint, not
            stream.write(data[len(data) // 2:])

    # Half of the time goes into writing entries and checkpoints are frequent: kills fall into both.
    store._write, room.CHECKPOINT_SECONDS = slowly, took / 100
    at_work = stored = rounds = 0
    whole = digests(Store(folder / "quiet"))
    for _ in range(10 * kills):
        child = _forked(folder / "killed", wanted)
        time.sleep(moments.uniform(0, took / 10) if at_work < kills else 0)
        ended = os.waitpid(child, os.WNOHANG if at_work < kills else 0)
        if ended == (0, 0):
            os.kill(child, signal.SIGKILL)
            at_work += os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
            stored = max(stored, len(Store(folder / "killed").entries()))
            continue
        assert ended[1] == 0 and digests(Store(folder / "killed")) == whole
        rounds += 1
        if at_work == kills:
            break
        shutil.rmtree(folder / "killed")  # nothing is left to kill, so begin again
    print(json.dumps({"kills": at_work, "sweeps": rounds, "stored": stored, "entries": len(whole), "seconds": round(took, 1),
                      "all": round(time.monotonic() - begun, 1)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
