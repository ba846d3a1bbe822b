"""Twenty SIGKILLs, a worker's sudden death and a disk that is full at every write leave the results of a quiet run."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from sweep import digests, every_kind, requests

from synthprune.results import compute, specs
from synthprune.results.solve import solve
from synthprune.results.store import Store, StoreProblem

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_leave_the_store_of_a_quiet_run(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, Path(__file__).with_name("sweep.py"), tmp_path, "20", "5"], text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(told)
    assert told["kills"] == 20, told
    assert told["stored"] >= 3, f"the kills came before there was anything to harm: {told}"
    quiet, killed = Store(tmp_path / "quiet"), Store(tmp_path / "killed")
    there = digests(quiet)
    assert len(there) == len(specs.closure(list(every_kind().values())))
    assert {name.partition("/")[0] for name in there} == specs.versions().keys()
    assert digests(killed) == there
    assert killed.damaged() == [] and killed.stale() == []
    for name, entry in every_kind().items():
        assert killed.get(entry).arrays.keys() == quiet.get(entry).arrays.keys(), name


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    wanted, quiet, store = requests(epochs=10), Store(tmp_path / "quiet"), Store(tmp_path / "killed")
    solve(wanted, quiet, workers=1)
    killed: list[int] = []

    def kill_one(done: int, total: int, line: str) -> None:
        if killed:  # whose process may linger as a zombie, which cannot be asked
            return
        workers = [child for child in psutil.Process().children(recursive=True)
                   if any("spawn_main" in word for word in child.cmdline())]
        if done < total // 2:
            assert len(workers) == 2
            os.kill(workers[0].pid, signal.SIGKILL)
            killed.append(workers[0].pid)

    solve(wanted, store, workers=2, report=kill_one)
    assert killed
    assert digests(store) == digests(quiet)
    assert store.damaged() == []


def test_a_disk_that_is_full_at_every_write(disk: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's disk grows page by page, and between two pages a run is begun, which goes on as far as there is room."""
    monkeypatch.setattr(compute, "CHECKPOINT_SECONDS", -1)  # after every epoch
    wanted, quiet, store = requests(), Store(tmp_path / "quiet"), Store(tmp_path / "store")
    solve(wanted, quiet, workers=1)
    whole, kept = digests(quiet), dict[str, str]()
    for size in itertools.count(4, 4):
        disk(f"size={size}k")
        try:
            solve(wanted, store, workers=1)
        except StoreProblem as problem:
            assert str(problem).startswith(f"cannot write to the store {store.root}: No space left on device (free some space")
            assert "\n" not in str(problem)
        else:
            break
        there = digests(store)
        assert kept.items() <= there.items() <= whole.items() and not list(store.root.glob("tmp/*"))
        kept = there
    assert digests(store) == whole and size / 4 > 5 * len(whole)


def test_a_disk_that_is_read_only(disk: Callable[[str], None], tmp_path: Path) -> None:
    wanted, quiet, store = requests(), Store(tmp_path / "quiet"), Store(tmp_path / "store")
    solve(wanted, quiet, workers=1)
    disk("size=4m")
    first = dict(itertools.islice(wanted.items(), 1))
    solve(first, store, workers=1)
    kept = digests(store)
    disk("ro")
    with pytest.raises(StoreProblem, match="cannot write to the store .*: Read-only file system"):
        solve(wanted, store, workers=1)
    assert solve(first, store)  # what is there can be read
    assert digests(store) == kept
    disk("rw")
    solve(wanted, store, workers=1)
    assert digests(store) == digests(quiet)
