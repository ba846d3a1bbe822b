"""The networks of the paper, at any width, with initialisations that depend on a seed alone.

Sources: ConvNet-3 and the ResNets (of half width for CIFAR) are those of Kim et al. (2022), which the paper uses;
LeNet-300-100 is that of Frankle and Carbin (2019). Paper widths: ConvNet-3 128, ResNets 32 (first stage), with ImageNet's
stem 64.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synthprune import own
from synthprune.problems import Problem, nearest
from synthprune.seeds import generator

State = dict[str, Tensor]
Masks = dict[str, Tensor]


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "instance":
        # One group per channel: instance norm with gain and shift, and no running statistics.
        return nn.GroupNorm(channels, channels)
    return nn.BatchNorm2d(channels)


class ConvNet3(nn.Module):
    """Three blocks of 3x3 convolution, norm, ReLU and 2x2 average pooling, then a linear classifier."""

    def __init__(self, channels: int, pixels: int, classes: int, width: int, norm: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (channels, width, width):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), _norm(norm, width), nn.ReLU(), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.classifier = nn.Linear(width * (pixels // 8) ** 2, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))


class _Block(nn.Module):
    """Post-activation residual block with a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = _norm(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = _norm(norm, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential() if same else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """Kim et al.'s ResNet: stem, four stages of widths w, 2w, 4w, 8w, global pooling.

    The stem is CIFAR's 3x3 convolution, or ImageNet's: 7x7 with stride 2 and a 3x3 max-pooling, a quarter of the side.
    """

    def __init__(self, channels: int, classes: int, width: int, norm: str, blocks: int, imagenet: bool) -> None:
        super().__init__()
        size, stride = (7, 2) if imagenet else (3, 1)
        self.stem = nn.Sequential(nn.Conv2d(channels, width, size, stride, size // 2, bias=False), _norm(norm, width), nn.ReLU(),
                                  *([nn.MaxPool2d(3, 2, 1)] if imagenet else []))
        stages, inputs = [], width
        for stage in range(4):
            outputs = width * 2**stage
            for block in range(blocks):
                stages.append(_Block(inputs, outputs, 2 if stage > 0 and block == 0 else 1, norm))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(images)).mean((2, 3)))


class LeNet(nn.Module):
    """LeNet-300-100; `width` is the first hidden layer's, the second has a third of it."""

    def __init__(self, channels: int, pixels: int, classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * pixels**2, width), nn.ReLU(), nn.Linear(width, width // 3), nn.ReLU(),
            nn.Linear(width // 3, classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


ARCHITECTURES = ("convnet3", "resnet10", "resnet18", "lenet300", "resnet10_imagenet", "resnet18_imagenet")


def build(name: str, *, channels: int, pixels: int, classes: int, width: int, norm: str) -> nn.Module:
    """An uninitialised network on the meta device: shapes without memory or random draws.

    Args: `name` one of ARCHITECTURES, or that of a function of your own (see `own`), whose network has values; `channels`,
    `pixels` (side), `classes` of the data; `norm` "instance" or "batch".
    Raises Problem for an unknown name, or images too small for the network's poolings.
    """
    if own.is_own(name):
        return _own(0, name, channels=channels, pixels=pixels, classes=classes, width=width, norm=norm)
    if name not in ARCHITECTURES:
        raise Problem(f"unknown architecture '{name}': {nearest(name, ARCHITECTURES)}")
    if name == "convnet3" and pixels < 16:
        # At 8 pixels the third pooling leaves one pixel, and a norm over one pixel erases it.
        raise Problem(f"convnet3 needs images of at least 16 pixels, not {pixels}")
    if name == "lenet300" and width < 3:
        raise Problem(f"lenet300 needs a width of at least 3, not {width}: its second layer has a third of it")
    imagenet = name.endswith("_imagenet")
    if imagenet and pixels < 64:
        # Its sides shrink by 32 in all; the same stem serves 64 pixels, so that the stand-in differs in size alone.
        raise Problem(f"{name} needs images of at least 64 pixels, not {pixels}")
    with torch.device("meta"):
        if name == "convnet3":
            return ConvNet3(channels, pixels, classes, width, norm)
        if name == "lenet300":
            return LeNet(channels, pixels, classes, width)
        return ResNet(channels, classes, width, norm, blocks=1 if name.startswith("resnet10") else 2, imagenet=imagenet)


def _own(seed: int, name: str, **shape: Any) -> nn.Module:
    with seeded(seed, "init"):
        network = own.call(name, shape)
    if not isinstance(network, nn.Module):
        raise Problem(f"{own.words(name)} returns a {type(network).__name__}, not a torch.nn.Module")
    if any(isinstance(value, nn.parameter.UninitializedParameter) for value in network.parameters()):
        raise Problem(f"{own.words(name)} has a lazy layer: give every layer its sizes")
    return network


@contextlib.contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Torch's own random draws on the CPU as a function of (seed, purpose); afterwards they are as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, purpose).integers(2**63)))
        yield


def first_state(seed: int, name: str, **shape: Any) -> State:
    """The state at initialisation `seed` of the network that `build` makes of a name and a shape.

    `initial_state`, and for a network of your own what its function draws by torch.
    """
    return state_of(_own(seed, name, **shape)) if own.is_own(name) else initial_state(build(name, **shape), seed)


def draws(module: nn.Module) -> bool:
    """Whether a layer draws random numbers while it is trained: dropout."""
    return isinstance(module, nn.modules.dropout._DropoutNd)


def initial_state(network: nn.Module, seed: int) -> State:
    """The network's state at initialisation: float32 CPU tensors, a function of the architecture and `seed` alone.

    PyTorch's default for layers with bias (uniform within 1/sqrt(fan-in)); He normal by fan-out for the ResNets'
    convolutions, which have none; norms start at gain 1, shift 0, and empty running statistics. Each tensor has a
    random stream of its own, named after it, so that no tensor depends on the order in which others are drawn.
    Raises Problem for a layer of another kind: take `state_of` your network as its initialisation.
    """
    state: State = {}
    for prefix, module in network.named_modules():
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            full = f"{prefix}.{name}" if prefix else name
            if not isinstance(module, (nn.Conv2d, nn.Linear, *_NORMS)):
                raise Problem(f"no initialisation is known of '{full}' ({type(module).__name__}): start from state_of(network)")
            state[full] = _initial_tensor(module, name, value, generator(seed, f"init/{full}"))
    return {name: state[name] for name in network.state_dict()}


# What starts at gain 1 and shift 0.
_NORMS = (nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)


def _initial_tensor(module: nn.Module, name: str, value: Tensor, rng: np.random.Generator) -> Tensor:
    shape = tuple(value.shape)
    if isinstance(module, nn.Conv2d) and module.bias is None:
        fan_out = module.out_channels * math.prod(module.kernel_size)
        return torch.from_numpy(rng.standard_normal(shape, np.float32)) * math.sqrt(2 / fan_out)
    if isinstance(module, nn.Conv2d | nn.Linear):
        bound = 1 / math.sqrt(module.weight[0].numel())
        return torch.from_numpy(rng.random(shape, np.float32) * 2 - 1) * bound
    ones = name in ("weight", "running_var")
    return (torch.ones if ones else torch.zeros)(shape, dtype=value.dtype)


def network_with(network: nn.Module, state: State, device: str = "cpu") -> nn.Module:
    """A fresh copy of `network` on `device`, holding a copy of `state`. Raises Problem where it is another network's."""
    check_state(network, state)
    real = copy_on(network, device)
    real.load_state_dict(state)
    return real


def check_state(network: nn.Module, *states: State) -> None:
    """Raises Problem where a state lacks a tensor of the network's, has one more, or one of another shape."""
    asked = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for state in states:
        given = {name: tuple(value.shape) for name, value in state.items()}
        for name in asked | given:
            if given.get(name) != asked.get(name):
                raise Problem(f"'{name}' is {given.get(name, 'absent')} in the state and {asked.get(name, 'absent')} in the"
                              f" {type(network).__name__}: give a state of this network, as initial_state(network, seed) does")


def check_classes(logits: Tensor, labels: Tensor) -> None:
    """Raises Problem where the labels, integers (n,) or a number for each class, are of more classes than there are logits."""
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    if classes > logits.shape[1]:
        raise Problem(f"the labels are of {classes} classes and the network gives {logits.shape[1]} logits: build it with"
                      f" classes={classes}")


def copy_on(network: nn.Module, device: torch.device | str) -> nn.Module:
    """A copy of `network` on `device`: without values if it is on the meta device, as `build` makes it."""
    made = copy.deepcopy(network)
    # What is no part of the state, as a buffer that is not persistent, has its value from the network alone.
    return made.to_empty(device=device) if any(value.is_meta for value in made.parameters()) else made.to(device)


def state_of(network: nn.Module) -> State:
    """A copy of the network's state as contiguous CPU tensors."""
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in network.state_dict().items()}


def prunable(network: nn.Module) -> list[str]:
    """The names of the tensors that pruning may touch: every convolution's and linear layer's weight, no exemptions."""
    return [f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
