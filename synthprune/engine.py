"""How a training step or an evaluation is run: eagerly, or through torch.compile with a cache that outlives the process.

The decision is taken from a specification's facts alone (`worth_compiling`), because the two engines agree on the first
steps only and then part as two orders do. Where no C++ compiler works everything is run eagerly, and `used` says so.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from synthprune.home import home

# Eager seconds that compiling saves per image and value of a full-size feature map, and the least worth having: below it
# start-up eats the gain (a cached step starts in about 3 s, a new one in 20 to 50 s, once per machine). Both engines were
# timed on ConvNet-3 at width 32 and 128, 16 and 32 pixels: 8 to 14 ns; `python -m benchmarks.cpu` measures it again.
SAVED_SECONDS = 12e-9
LEAST_SECONDS = 10.0


def worth_compiling(architecture: str, width: int, pixels: int, batch: int, steps: int) -> bool:
    """Whether `steps` training steps on `batch` images of side `pixels` save more by compiling than the start costs.

    From facts alone, so that the same specification is always computed by the same engine. An evaluation costs a third of
    a step on as many images. LeNet-300-100 is all matrix products, which compiling does not make faster.
    """
    return architecture != "lenet300" and steps * batch * width * pixels**2 * SAVED_SECONDS > LEAST_SECONDS


def used(compiled: bool) -> str:
    """The engine that really runs where `compiled` is asked for or not: "compiled" or "eager"."""
    return "compiled" if compiled and works() else "eager"


@functools.cache
def works() -> bool:
    """Whether torch.compile works here, tried once per process on one sum; one line on stderr says why it does not."""
    try:
        return bool(_compile(_double)(torch.ones(())) == 2)
    except Exception as error:  # noqa: BLE001  whatever a broken tool chain raises
        reason = str(error).strip().splitlines()[0]
        print(f"torch.compile does not work here, so everything is computed eagerly: {reason}", file=sys.stderr)
        return False


def _double(x: Tensor) -> Tensor:
    return x + x


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled as one graph for each shape it meets, or itself where no compiler works."""
    return _compile(function) if works() else function


@functools.cache
def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # not before: it takes a second

    if os.environ.get("TORCHINDUCTOR_CACHE_DIR", default_cache_dir()) == default_cache_dir():  # torch itself may have set it
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(home() / "compiled")
    # One process meets many networks; with fullgraph, one too many would be an error and never silently eager.
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1024
    # One process per core: a pool of compiling processes for each of them would be too many.
    return torch.compile(function, dynamic=False, fullgraph=True, options={"compile_threads": 1})


def rewritten(network: nn.Module) -> nn.Module:
    """`network` itself, its instance norms and 2 x 2 poolings replaced by ones that compile to fewer passes over memory.

    Parameters, names and mathematics stay. (Measured on the step of ConvNet-3: 6 to 15 % less time.)
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm) and child.num_groups == child.num_channels:
                setattr(module, name, _InstanceNorm(child))
            elif isinstance(child, nn.AvgPool2d) and child.kernel_size == child.stride == 2:
                setattr(module, name, _Halving())
    return network


class _InstanceNorm(nn.Module):
    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, images: Tensor) -> Tensor:
        return _Normalise.apply(images, self.weight, self.bias, self.eps)


class _Normalise(torch.autograd.Function):
    """y = gain * (x - mean) / sqrt(variance + eps) + shift per image and channel, with its backward pass in closed form.

    With r = 1 / sqrt(variance + eps) and d = dL/dy, sums over the N pixels of a channel: dL/dshift = sum d,
    dL/dgain = r * sum d (x - mean), dL/dx = gain * r * (d - sum d / N - (x - mean) * r * dL/dgain / N).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        r = torch.rsqrt((x - mean).square().mean((2, 3), keepdim=True) + eps)
        ctx.save_for_backward(x, gain, mean, r)
        scale = r * gain.view(1, -1, 1, 1)
        return x * scale + (shift.view(1, -1, 1, 1) - mean * scale)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gain, mean, r = ctx.saved_tensors
        pixels = x.shape[2] * x.shape[3]
        shift = d.sum((2, 3), keepdim=True)
        slope = ((d * x).sum((2, 3), keepdim=True) - shift * mean) * r
        scale = r * gain.view(1, -1, 1, 1)
        bend = scale * r * slope / pixels
        return d * scale - x * bend + (mean * bend - shift * scale / pixels), slope.sum((0, 2, 3)), shift.sum((0, 2, 3)), None


class _Halving(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return _Halve.apply(images)


class _Halve(torch.autograd.Function):
    """The mean of every 2 x 2 pixels; a last odd row or column is left out, as by AvgPool2d(2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        rows, columns = x.shape[2] // 2, x.shape[3] // 2
        return x[:, :, :2 * rows, :2 * columns].unflatten(3, (columns, 2)).unflatten(2, (rows, 2)).mean((3, 5))

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Tensor:
        # Of the input only the shape is looked at; saving the input itself would write it to memory once more.
        return torch.ops.aten.avg_pool2d_backward(d, d.new_empty(ctx.shape), [2, 2], [2, 2], [0, 0], False, True, None)
