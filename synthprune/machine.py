"""The machine a result is made on: cores, devices, memory, versions."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from synthprune.home import sources
from synthprune.problems import Problem

POWERCAP = Path("/sys/class/powercap")
interrupted = threading.Event()
"""Set where what runs shall stop soon: a training then saves where it is."""


def cores() -> int:
    """The cores this process may use, by its affinity and its container's share."""
    from dask.system import CPU_COUNT

    return CPU_COUNT


def memory_limit() -> int:
    """Bytes of memory this process may use, all its children together."""
    from distributed.system import MEMORY_LIMIT  # which knows of containers

    return MEMORY_LIMIT


def gpus() -> int:
    """The CUDA devices to compute on: all that torch sees (CUDA_VISIBLE_DEVICES), or what SYNTHPRUNE_DEVICE names."""
    if chosen := os.environ.get("SYNTHPRUNE_DEVICE"):
        return int(chosen.startswith("cuda"))
    import torch

    return torch.cuda.device_count()


def device() -> str:
    """SYNTHPRUNE_DEVICE, or the first GPU there is, or the CPU."""
    import torch

    return os.environ.get("SYNTHPRUNE_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


def require_device(name: str) -> None:
    """Raises Problem where this machine has no device of this name."""
    import torch

    count = torch.cuda.device_count()
    here = ["cpu", *["cuda"][:count], *(f"cuda:{n}" for n in range(count))]
    if name not in here:
        raise Problem(f"device '{name}': this machine has {', '.join(here)}")


def computing_seconds() -> float:
    """Seconds of this process's processor time, as others may compute here too; where a GPU computes, those of the clock."""
    return time.perf_counter() if device().startswith("cuda") else time.process_time()


def tell(line: str) -> None:
    """Print a line to stderr, except in a notebook's kernel, where it would become part of a page."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        print(line, file=sys.stderr)


def stamped(line: str, at: float | None = None) -> str:
    """`line` behind the day and the local time: now, or `at` so many seconds of the clock."""
    return f"{datetime.now() if at is None else datetime.fromtimestamp(at):%d %b %H:%M}  {line}"


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees: giving every activation back to the system (Dask's default) doubles its cost."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
        libc.mallopt(-4, 0)  # M_MMAP_MAX: a mapped block, which no threshold keeps above 32 MiB, is given back each time


def peak_memory() -> int:
    """The most memory this process has held, in MB."""
    import psutil

    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if platform.system() == "Darwin" else 2**10)


@functools.cache
def revision() -> str:
    """The git revision of this checkout, marked if it has uncommitted changes; 'installed' outside one."""
    root = sources()
    if not (root / ".git").exists():
        return "installed"

    def git(*words: str) -> str:
        # Without optional locks: a run killed here must not leave the checkout locked.
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@functools.cache
def cpu() -> str:
    """The processor's model name: results are the same bits only on the same."""
    try:
        if platform.system() == "Darwin":
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, subprocess.SubprocessError):
        return platform.processor() or platform.machine()


@dataclass(frozen=True)
class Counter:
    """A counter of energy, in joules since some time past; at `wraps` joules it begins again at 0."""

    name: str
    read: Callable[[], float]
    wraps: float


def energy_counters(powercap: Path = POWERCAP) -> list[Counter]:
    """Every counter of energy this process may read: RAPL's of processors and memory, NVML's of GPUs; mostly none."""
    return [counter for counter in (*_rapl(powercap), *_nvml()) if _readable(counter)]


def _rapl(powercap: Path) -> list[Counter]:
    def joules(file: Path) -> float:
        return int(file.read_text()) / 1e6

    def counters() -> Iterator[Counter]:
        for folder in sorted(powercap.glob("intel-rapl:*")):
            with contextlib.suppress(OSError, ValueError):  # a container shows the link and hides what it points to
                yield Counter((folder / "name").read_text().strip(), functools.partial(joules, folder / "energy_uj"),
                              joules(folder / "max_energy_range_uj"))

    # Cores and graphics are part of the package, and the package of psys: each joule once.
    return [counter for counter in counters() if counter.name.startswith(("package", "dram"))]


def _nvml() -> list[Counter]:
    try:
        import pynvml
    except ImportError:
        return []

    def counter(index: int) -> Counter:
        def read() -> float:
            try:
                return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(index)) / 1e3
            except pynvml.NVMLError as error:
                raise OSError(str(error)) from error

        return Counter(f"GPU {index}", read, float("inf"))

    try:
        pynvml.nvmlInit()
        return [counter(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:  # no driver
        return []


def _readable(counter: Counter) -> bool:
    try:
        counter.read()
    except (OSError, ValueError):  # most systems show RAPL's to root alone
        return False
    return True


class EnergyMeter:
    """`with EnergyMeter() as meter:` counts the joules that the machine used while the block ran; then `meter.joules`.

    The counters are those of whole processors, their memory and all GPUs: what other processes, and other workers of
    this program, used meanwhile is included. `counters` names them; what none of them covers (disks, fans, the power
    supply's loss) is left out. `joules` is None ("not measured") where no counter can be read, or one no longer can.
    The counters are read every `every_seconds`, as one may wrap within minutes (65 kJ on some processors).
    """

    def __init__(self, powercap: Path = POWERCAP, every_seconds: float = 60) -> None:
        self._counters = energy_counters(powercap)
        self._every = every_seconds
        self.counters = tuple(counter.name for counter in self._counters)
        self.joules: float | None = None

    def __enter__(self) -> EnergyMeter:
        self.joules = 0.0 if self._counters else None
        self._last = self._read()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._count()

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self._count()

    def _read(self) -> list[float]:
        try:
            return [counter.read() for counter in self._counters]
        except (OSError, ValueError):
            self.joules = None
            return []

    def _count(self) -> None:
        now = self._read()
        if self.joules is not None:
            used = zip(self._last, now, self._counters, strict=True)
            self.joules += sum((new - old) % counter.wraps for old, new, counter in used)
            self._last = now
