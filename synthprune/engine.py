"""How a training step or an evaluation is run: eagerly, or through torch.compile with a cache that outlives the process.

The decision is taken from a specification's facts alone (`worth_compiling`), because the two engines agree on the first
steps only and then part as two orders do. Where no C++ compiler works everything is run eagerly, and `used` says so.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from synthprune.block import Block, library
from synthprune.home import compiled_code
from synthprune.machine import tell

# Eager seconds that compiling saves per image and value of a full-size feature map, and the least worth having: twice what
# a cached step takes to start, about 3 s in each process (a new one: 20 to 50 s, once per machine). Both engines were
# timed on ConvNet-3 at width 32 and 128, 16 and 32 pixels; `python -m benchmarks.cpu` measures it again.
SAVED_SECONDS = 8e-9
LEAST_SECONDS = 6.5


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
    """Whether torch.compile and a C compiler work here, tried once per process; where not, one line on stderr says why."""
    try:
        library()
        return bool(_compile(_double)(torch.ones(())) == 2)
    except Exception as error:  # noqa: BLE001  whatever a broken tool chain raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        tell(f"compiling does not work here, so everything is computed eagerly: {reason}")
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
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(compiled_code())
    # One process per core: a pool of compiling processes for each of them would be too many.
    # On a GPU a small step is over before the next can be launched, so steps are replayed as CUDA graphs.
    options: dict[str, Any] = {"compile_threads": 1, "triton.cudagraphs": torch.cuda.is_available()}
    graph = torch.compile(function, dynamic=False, fullgraph=True, options=options)

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        _trace_whole_steps()
        return graph(*arguments, **named)

    return run


def _trace_whole_steps() -> None:
    """torch keeps these for one context alone, and every task of a Dask worker has its own: so they are said at every call."""
    if not torch._dynamo.config.trace_autograd_ops:
        torch._dynamo.config.trace_autograd_ops = True  # a step is one graph, its gradients and its update in it
        # One process meets many networks; with fullgraph, one too many would be an error and never silently eager.
        torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1024


def rewritten(network: nn.Module) -> nn.Module:
    """`network` itself; on a CPU, where compiling works, every instance norm, ReLU and 2 x 2 pooling in a row has become one
    operation (see block). Parameters, names and mathematics stay."""
    if not works() or any(parameter.device.type != "cpu" for parameter in network.parameters()):
        return network
    for module in network.modules():
        if type(module) is nn.Sequential:  # a class of one's own may do more than call one after the other
            for place in range(len(module) - 2):
                norm, relu, pool = module[place:place + 3]
                if (isinstance(norm, nn.GroupNorm) and norm.num_groups == norm.num_channels and norm.affine
                        and isinstance(relu, nn.ReLU) and isinstance(pool, nn.AvgPool2d) and pool.kernel_size == pool.stride == 2
                        and not (pool.padding or pool.ceil_mode or pool.divisor_override)):
                    module[place], module[place + 1], module[place + 2] = Block(norm), nn.Identity(), nn.Identity()
    return network
