"""What a network of your own can do, told from the network itself in seconds: before hours of work, not after.

Each check is a measurement and no list of known layers alone: a wrong answer would otherwise be stored as a right one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthprune.analysis.alignment import permuted, symmetries
from synthprune.analysis.hessian import hessian_diagonal, route
from synthprune.models import State, draws, network_with, prunable, state_of
from synthprune.problems import Problem
from synthprune.pruning import dense_masks, path_sum

IMAGES = 2
Shape = tuple[int, ...]
"""Of an image: (channels, side, side)."""


def check(made: Callable[[], nn.Module], shape: Shape, classes: int) -> None:
    """Raises Problem where networks as `made`, always from one seed, cannot be trained and pruned on images of `shape`."""
    network, names = made(), [name for name, _ in made().named_parameters()]
    again, state = state_of(made()), state_of(network)
    if state.keys() != again.keys() or not all(torch.equal(value, again[name]) for name, value in state.items()):
        raise Problem("two networks of one seed differ: draw initial weights by torch alone, on the CPU")
    weights = prunable(network)
    if not weights:
        raise Problem("there is nothing to prune: it has no nn.Conv2d and no nn.Linear")
    for name in set(weights) - set(names):
        raise Problem(f"layer '{name.removesuffix('.weight')}' shares its weight with another: a mask has one layer")
    images = _images(shape)
    for mode, several in ((network.eval(), torch.cat([images, images])), (network.train(), images)):
        logits = _run(mode, several)
        if not isinstance(logits, Tensor) or logits.shape != (len(several), classes):
            if isinstance(logits, Tensor) and logits.shape[:1] != (len(several),):
                raise Problem(f"it gives logits of the shape {tuple(logits.shape)} for {len(several)} images")
            given = tuple(logits.shape[1:]) if isinstance(logits, Tensor) else type(logits).__name__
            raise Problem(f"it gives {given[0] if len(given) == 1 else given} logits per image, not one for each of {classes}"
                          " classes")
        if not torch.isfinite(logits).all():
            raise Problem("its logits at initialisation are not finite")
    _check_gradients(network, logits)
    for module in network.modules():
        if draws(module):
            module.eval()
    try:
        path_sum(network, {name: torch.ones_like(network.get_parameter(name), dtype=torch.float64) for name in weights}, shape)
    except Exception as error:
        raise Problem(f"its paths cannot be followed in float64: {_first_line(error)}") from None
    before = torch.get_rng_state()
    _run(network, images)
    if not torch.equal(before, torch.get_rng_state()):
        raise Problem("it draws random numbers outside of nn.Dropout layers, whose draws alone can be repeated")


def _check_gradients(network: nn.Module, logits: Tensor) -> None:
    """Raises Problem where a weight would not be trained."""
    weights = dict(network.named_parameters())
    if frozen := [name for name, weight in weights.items() if not weight.requires_grad]:
        raise Problem(f"'{frozen[0]}' is frozen (requires_grad is False): all that it has is trained here")
    if not logits.requires_grad:
        raise Problem("its logits are cut off from its weights, as by detach() or torch.no_grad()")
    for name, gradient in zip(weights, torch.autograd.grad(logits.sum(), list(weights.values()), allow_unused=True), strict=True):
        if gradient is None:
            raise Problem(f"'{name}' has no part in its logits: leave it away")


def _run(network: nn.Module, images: Tensor) -> Tensor:
    try:
        return network(images)
    except (Exception, SystemExit) as error:
        raise Problem(f"images of {images.shape[-1]} pixels do not pass it: {_first_line(error)}") from None


def _images(shape: Shape, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn((IMAGES, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def cannot_align(network: nn.Module, shape: Shape) -> str:
    """Why hidden channels cannot be relabelled, and at which layer; empty where they can: its function then stays."""
    try:
        groups = symmetries(network)
    except Problem as problem:
        return str(problem)
    except Exception as error:  # noqa: BLE001  whatever stops torch.fx from reading a graph
        return f"cannot align a {type(network).__name__}: its graph cannot be read ({_first_line(error)})"
    stirred = {name: value + torch.rand(value.shape, generator=torch.Generator().manual_seed(0)) if value.is_floating_point()
               else value for name, value in state_of(network).items()}

    def logits(state: State) -> Tensor:
        with torch.no_grad():
            return network_with(network, state).double().eval()(_images(shape, torch.float64))

    before = logits(stirred)
    for name, axes in groups.items():
        channels = dict(network.named_parameters())[axes[0].tensor].shape[0]
        moved = logits(permuted(network, stirred, {name: torch.arange(channels).roll(1).numpy()}))
        if not torch.allclose(before, moved, rtol=1e-8, atol=1e-8 * float(before.abs().max())):
            return f"cannot align a {type(network).__name__}: other labels for the channels of layer '{name}' change its function"
    return ""


def cannot_differentiate(network: nn.Module, shape: Shape, classes: int) -> str:
    """Why there is no exact Hessian diagonal, and at which layer; empty where there is, as differentiating twice confirms."""
    try:
        route(network)
    except Problem as problem:
        return str(problem)
    state, images, labels = state_of(network), _images(shape, torch.float64), torch.arange(IMAGES) % classes
    masks = dense_masks(state, prunable(network))
    model = network_with(network, state).double().eval()
    weights = {name: model.get_parameter(name) for name in masks}
    slopes = torch.autograd.grad(F.cross_entropy(model(images), labels), list(weights.values()), create_graph=True)
    try:
        found = hessian_diagonal(network, state, masks, images, labels)
    except Exception as error:  # noqa: BLE001  a layer that the fast way was not made for
        return f"no exact Hessian diagonal for {type(network).__name__}: {_first_line(error)}"
    for (name, weight), slope in zip(weights.items(), slopes, strict=True):
        for place in {int(found[name].abs().argmax()), weight.numel() // 2}:
            exact = torch.autograd.grad(slope.flatten()[place], weight, retain_graph=True)[0].flatten()[place]
            if not torch.isclose(found[name].flatten()[place], exact, rtol=1e-6, atol=1e-12):
                return (f"no exact Hessian diagonal for {type(network).__name__}: at layer '{name.removesuffix('.weight')}' it"
                        " is not what differentiating twice gives (known: ReLU, poolings, batch norm)")
    return ""


def cannot_compile(network: nn.Module, shape: Shape) -> str:
    """Why the network is no single graph, and at which layer; empty where it is one."""
    seen: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen[name] = module, args
        return module.register_forward_pre_hook(keep)

    hooks = [watch(name, module) for name, module in network.named_modules()]
    network.train()(_images(shape))
    for hook in hooks:
        hook.remove()
    whole = _graph_fault(network, (_images(shape),))
    if not whole:
        return ""
    inner = sorted((name for name in seen if name), key=lambda name: -name.count("."))
    for name in inner:
        fault = _graph_fault(*seen[name])
        if fault:
            return f"layer '{name}' cannot be compiled: {fault}"
    return f"its forward pass cannot be compiled: {whole}"


def _graph_fault(module: nn.Module, arguments: tuple[Tensor, ...]) -> str:
    try:
        torch.compile(module, backend="eager", fullgraph=True, dynamic=False)(*arguments)
    except Exception as error:  # noqa: BLE001  whatever dynamo cannot read
        return _first_line(error)
    return ""
