"""A cluster of processes of its own, whose workers share nothing with the client, and what may happen to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sweep import digests, requests, trained

from synthprune import cluster, solve, specs
from synthprune.problems import Problem
from synthprune.store import Store, StoreProblem

HERE = Path(__file__).parent
WANTED = requests()
ALL = specs.closure(list(WANTED.values()))
CLIENT = """
import sys
import standin
from sweep import *
from synthprune import cluster
from synthprune.problems import Problem
cluster.BEAT_SECONDS, cluster.NO_WORKER_SECONDS, cluster.STALL_SECONDS, cluster.CONNECT_SECONDS = 0.3, 3, 1.5, 3
done = []
try:
    solve(requests(), Store(Path(sys.argv[1])), report=lambda n, of, line: print(n, of, line, flush=True))
except Problem as problem:
    sys.exit(f"synthprune: {problem}")
except KeyboardInterrupt:
    sys.exit(130)
"""


@dataclass
class Cluster:
    """A scheduler and workers as processes; `trouble` is the folder of what shall go wrong (see standin.py)."""

    folder: Path
    shared: bool = False
    standin: bool = True
    processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def trouble(self) -> Path:
        return self.folder / "trouble"

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    def _start(self, name: str, *words: str) -> subprocess.Popen:
        """Of another user on another machine, as far as folders go."""
        own = self.folder / name
        own.mkdir()
        env = os.environ | {"SYNTHPRUNE_HOME": str(own / "home"), "HOME": str(own), "TMPDIR": str(own),
                            "SYNTHPRUNE_TROUBLE": str(self.trouble), "PYTHONPATH": os.pathsep.join(map(str, (HERE.parent, HERE))),
                            "DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON__MALLOC_TRIM_THRESHOLD_": "1",
                            "OMP_NUM_THREADS": "1"}
        with (own / "log").open("w") as log:
            process = subprocess.Popen([sys.executable, "-m", "distributed.cli." + words[0], *words[1:]], cwd=own, env=env,
                                       stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def scheduler(self) -> subprocess.Popen:
        process = self._start(f"scheduler{len(self.processes)}", "dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                              "--scheduler-file", str(self.file), "--no-dashboard", "--no-show")
        _until(self.file.exists)
        return process

    def worker(self, *, nanny: bool = True) -> subprocess.Popen:
        preload = ("--preload", str(HERE / "standin.py")) if self.standin else ()
        return self._start(f"worker{len(self.processes)}", "dask_worker", "--scheduler-file", str(self.file), "--nthreads", "1",
                           "--host", "127.0.0.1", "--no-dashboard", *preload, *(() if nanny else ("--no-nanny",)))

    def client(self, root: Path) -> subprocess.Popen:
        env = os.environ | {"SYNTHPRUNE_SCHEDULER": str(self.file), "SYNTHPRUNE_HOME": str(self.folder / "home"),
                            "SYNTHPRUNE_TROUBLE": str(self.trouble), "PYTHONPATH": os.pathsep.join(map(str, (HERE.parent, HERE)))}
        return subprocess.Popen([sys.executable, "-c", CLIENT, root], env=env, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def ends(self, client: subprocess.Popen) -> tuple[int, str]:
        """The exit status and what was said on stderr, in lines."""
        _, said = client.communicate(timeout=300)
        assert "Traceback" not in said, said
        return client.returncode, said

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _until(true: object, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers, which the tests of this file share until they kill one."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.trouble.mkdir()
    made.scheduler()
    made.worker()
    made.worker()
    yield made
    made.end()
