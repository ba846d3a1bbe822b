"""Instance norm, ReLU and 2 x 2 average pooling as one operation on a CPU, written in C (block.c) and built on first use.

Beside its convolutions a step of ConvNet-3 does little else, and what it costs is passes over memory: torch.compile makes
about ten of them over the convolution's output and its gradient, this makes three.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from synthprune.home import compiled_code
from synthprune.machine import cpu
from synthprune.problems import Problem

# No -ffast-math: sums keep their order. Without errno and traps, comparisons and roots become vector instructions.
FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
if platform.machine() in {"x86_64", "AMD64"}:
    FLAGS.append("-mprefer-vector-width=512")  # compilers take half of what such a processor has: a seventh slower


@functools.cache
def library() -> ctypes.CDLL:
    """The built C functions; built once for each processor, compiler and source. Raises Problem where no compiler works."""
    source = (files("synthprune") / "block.c").read_bytes()
    compiler = shlex.split(os.environ.get("CC") or next(filter(shutil.which, ("gcc", "clang", "cc")), "cc"))
    told = "\n".join([cpu(), _instructions(), *compiler, *FLAGS])
    name = hashlib.sha256(source + told.encode()).hexdigest()[:16]
    built = compiled_code() / f"block-{name}.so"
    if not built.exists():
        _build(compiler, source, built)
    loaded, (pointer, count) = ctypes.CDLL(str(built)), (ctypes.c_void_p, ctypes.c_int64)
    loaded.forward.argtypes = [pointer] * 3 + [ctypes.c_float] + [count] * 4 + [pointer] * 3
    loaded.backward.argtypes = [pointer] * 6 + [count] * 4 + [pointer] * 4
    loaded.forward.restype = loaded.backward.restype = None
    return loaded


def _instructions() -> str:
    """What the processor can do, where the system says so: processors of one name may differ, in a virtual machine above all."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return ""


def _build(compiler: list[str], source: bytes, built: Path) -> None:
    part = built.with_name(f"{built.stem}.{platform.node()}.{os.getpid()}.part")
    try:
        subprocess.run([*compiler, *FLAGS, "-x", "c", "-", "-o", part, "-lm"], input=source, check=True, capture_output=True)
        part.replace(built)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise Problem(f"{compiler[0]} cannot build block.c: {(said or [f'exit status {error.returncode}'])[0]}") from None
    except OSError as error:
        raise Problem(f"{compiler[0]} cannot build block.c: {error.strerror or error}") from None


_OPERATIONS = torch.library.Library("synthprune", "DEF")
# Any layout may come in: what is channels last already, as convolutions give it, is taken as it is.
_OPERATIONS.define("block(Tensor x, Tensor gain, Tensor shift, float eps) -> (Tensor, Tensor, Tensor)",
                   tags=torch.Tag.flexible_layout)
_OPERATIONS.define("block_backward(Tensor g, Tensor x, Tensor gain, Tensor shift, Tensor mean, Tensor r)"
                   " -> (Tensor, Tensor, Tensor)", tags=torch.Tag.flexible_layout)


def _room(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, c, rows, columns = x.shape
    pooled = torch.empty((n, c, rows // 2, columns // 2), device=x.device, memory_format=torch.channels_last)
    return pooled, torch.empty((n, c), device=x.device), torch.empty((n, c), device=x.device)


def _room_backward(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    changes = torch.empty(x.shape, device=x.device, memory_format=torch.channels_last)
    return changes, torch.zeros(x.shape[1], device=x.device), torch.zeros(x.shape[1], device=x.device)


def _forward(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    n, c, rows, columns = x.shape
    if x.dtype != torch.float32 or min(rows, columns) < 2:
        raise Problem(f"{rows} x {columns} pixels in {x.dtype} cannot be pooled here: they must be float32, 2 x 2 at least")
    made, given = _room(x), (x.contiguous(memory_format=torch.channels_last), gain.contiguous(), shift.contiguous())
    library().forward(*(t.data_ptr() for t in given), eps, n, rows, columns, c, *(t.data_ptr() for t in made))
    return made


def _backward(g: Tensor, x: Tensor, gain: Tensor, shift: Tensor, mean: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, c, rows, columns = x.shape
    made, sums = _room_backward(x), torch.empty(2 * c)
    given = *(t.contiguous(memory_format=torch.channels_last) for t in (g, x)), *(t.contiguous() for t in (gain, shift, mean, r))
    library().backward(*(t.data_ptr() for t in given), n, rows, columns, c, *(t.data_ptr() for t in (*made, sums)))
    return made


_OPERATIONS.impl("block", _forward, "CPU")
_OPERATIONS.impl("block_backward", _backward, "CPU")
_OPERATIONS.impl("block", lambda x, gain, shift, eps: _room(x), "Meta")
_OPERATIONS.impl("block_backward", lambda g, x, gain, shift, mean, r: _room_backward(x), "Meta")


class Block(nn.Module):
    """In the place of a GroupNorm with a group for each channel, a ReLU and an AvgPool2d(2), with the norm's parameters.

    (n, c, rows, columns) float32 on a CPU to (n, c, rows // 2, columns // 2), channels last.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return _Block.apply(x, self.weight, self.bias, self.eps)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        pooled, mean, r = torch.ops.synthprune.block(x, gain, shift, eps)
        ctx.save_for_backward(x, gain, shift, mean, r)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        return *torch.ops.synthprune.block_backward(g, *ctx.saved_tensors), None
