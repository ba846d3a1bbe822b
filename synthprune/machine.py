"""The machine a result is made on: cores, devices, memory, versions."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
from pathlib import Path

from synthprune.home import sources


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """The CUDA devices torch sees."""
    import torch

    return torch.cuda.device_count()


def device() -> str:
    """SYNTHPRUNE_DEVICE, or the first GPU there is, or the CPU."""
    import torch

    return os.environ.get("SYNTHPRUNE_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees: giving every activation back to the system (Dask's default) doubles its cost."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the most it takes


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
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
