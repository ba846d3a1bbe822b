"""A Dask cluster of processes of its own, whose workers share nothing with the client, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
NOT_SHARED = Path("/proc/self/cwd/store")
"""A path that is another folder for every process."""
CLIENT = """
import sys
import standin
from sweep import *
from synthprune.results import cluster, crew
from synthprune.problems import Problem
cluster.BEAT_SECONDS = 0.3
crew.ANSWER_SECONDS, crew.NO_WORKER_SECONDS, cluster.STALL_SECONDS = map(int, sys.argv[2:])
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
    standin: bool = True
    host: str = "127.0.0.1"
    env: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trouble.mkdir(parents=True)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):  # a nanny that is told ends its worker
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    @property
    def trouble(self) -> Path:
        return self.folder / "trouble"

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    def environment(self, home: Path) -> dict[str, str]:
        path = map(str, (self.folder / "modules", HERE.parent, HERE))
        return os.environ | {"SYNTHPRUNE_HOME": str(home), "SYNTHPRUNE_TROUBLE": str(self.trouble), "OMP_NUM_THREADS": "1",
                             "PYTHONPATH": os.pathsep.join(path)} | self.env

    def _start(self, name: str, *words: str, within: tuple[str, ...] = ()) -> subprocess.Popen:
        """Of another user on another machine, as far as folders go."""
        own = self.folder / name
        own.mkdir()
        env = self.environment(own / "home") | {"HOME": str(own), "TMPDIR": str(own)}
        with (own / "log").open("w") as log:
            process = subprocess.Popen([*within, sys.executable, "-m", "distributed.cli." + words[0], *words[1:]], cwd=own,
                                       env=env, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def scheduler(self, *words: str) -> subprocess.Popen:
        process = self._start(f"scheduler{len(self.processes)}", "dask_scheduler", "--host", self.host, "--port", "0",
                              "--scheduler-file", str(self.file), "--no-dashboard", "--no-show", *words)
        until(self.file.exists)
        return process

    def worker(self, *, nanny: bool = True, host: str = "", within: tuple[str, ...] = ()) -> subprocess.Popen:
        preload = ("--preload", str(HERE / "standin.py")) if self.standin else ()
        return self._start(f"worker{len(self.processes)}", "dask_worker", "--scheduler-file", str(self.file), "--nthreads", "1",
                           "--host", host or self.host, "--no-dashboard", *preload, *(() if nanny else ("--no-nanny",)),
                           within=within)

    def client(self, folder: Path, root: Path | None = None, patience: int = 60, stall: int = 60) -> subprocess.Popen:
        """A client at work for WANTED in `folder`, whose store no worker sees, or that at `root`, which all see."""
        folder.mkdir(exist_ok=True)
        env = {"SYNTHPRUNE_SCHEDULER": str(self.file)} | self.environment(self.folder / "home")
        return subprocess.Popen([sys.executable, "-c", CLIENT, root or NOT_SHARED, "3", str(patience), str(stall)], env=env,
                                text=True, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ends(self, client: subprocess.Popen) -> tuple[int, str]:
        """The exit status and what was said on stderr, in lines."""
        _, said = client.communicate(timeout=300)
        assert "Traceback" not in said, said
        return client.returncode, said


def until(true: object, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
