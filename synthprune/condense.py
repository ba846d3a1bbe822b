"""Dataset condensation by gradient matching on the multi-formation parameterisation: IDC, Kim et al. (2022).

The network that gradients are taken of is trained on real images between the matchings, as there.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad

from synthprune import engine
from synthprune.data.augment import cutmix
from synthprune.data.datasets import Split
from synthprune.data.synthetic import SyntheticSet, decode, random_real
from synthprune.distill import Look
from synthprune.machine import interrupted
from synthprune.models import State, build, initial_state, network_with, state_of
from synthprune.seeds import generator
from synthprune.training import Resident

BATCH = 64
"""Real images in a step that trains the network."""
LR, MOMENTUM, WEIGHT_DECAY, CUTMIX = 0.01, 0.9, 5e-4, 0.5
"""How the network is trained between matchings."""
PIXEL_MOMENTUM = 0.5


@dataclass
class Progress:
    """Everything a condensation needs to go on. The network and its momentum are those of the outer iteration under way."""

    step: int
    images: Tensor
    pixel_momentum: Tensor
    state: State
    momentum: State


Checkpoint = Callable[[Progress], None]


def gradient_matching(split: Split, *, ipc: int, factor: int, steps: int, inner: int, lr: float, real_batch: int,
                      trained_images: int, width: int, seed: int, device: str = "cpu", compiled: bool = False,
                      resume: Progress | None = None, checkpoint: Checkpoint | None = None, every_seconds: float = 300,
                      look: Look | None = None) -> SyntheticSet:
    """Condense `split`'s training images to `ipc` stored ones per class, in [0, 1], seen at decode `factor`.

    At each of `steps`, class by class, the gradients that `real_batch` real images and the class's synthetic ones give the
    convolutions of a ConvNet-3 of `width`, both under one shared augmentation, are brought nearer by one step of SGD on the
    pixels (momentum .5); then the network is trained on `trained_images` real ones. The rate falls from `lr` to 0 in a line,
    for want of the authors' 200,000 steps at one small rate. Every `inner` steps a fresh network is drawn and the pixels are
    clamped, as they are at the end. Starts from random real images pasted at the same factor.

    A condensation resumed from a checkpoint is the same, bit for bit, as one that never stopped. `compiled` is the engine
    (see `engine.used` for the one that really runs); `look` is told each step that is done.
    """
    classes = len(split.facts.classes)
    start = random_real(split, ipc, factor, seed)
    images = torch.from_numpy(start.images).to(device)
    pixel_momentum, first = torch.zeros_like(images), 0
    data = Resident.of(split.train_images, split.train_labels, split.facts, device)
    rows = [np.flatnonzero(split.train_labels == label) for label in range(classes)]
    shape = build("convnet3", channels=split.facts.channels, pixels=split.pixels, classes=classes, width=width,
                  norm="instance")
    pull = _pull(shape, compiled)
    if resume is not None:
        first = resume.step
        images.copy_(resume.images)
        pixel_momentum.copy_(resume.pixel_momentum)
    saved = time.monotonic()
    for step in range(first, steps):
        iteration, place = divmod(step, inner)
        if place == 0 or step == first:
            under_way, drawn = resume if place else None, int(generator(seed, "condense/network", iteration).integers(2**31))
            network = Trainee(shape, under_way.state if under_way else initial_state(shape, drawn),
                              under_way.momentum if under_way else None, device, compiled)
        if place == 0:
            images.clamp_(0, 1)
        draw = generator(seed, "condense/real", step)
        for label in range(classes):
            own = slice(label * ipc, (label + 1) * ipc)
            chosen = draw.choice(rows[label], min(real_batch, len(rows[label])), replace=False)
            real = data.batch(torch.from_numpy(chosen).to(device))
            augment = functools.partial(siamese, draws=generator(seed, "condense/augment", step * classes + label).random(7))
            pixel_momentum.mul_(PIXEL_MOMENTUM)
            pixel_momentum[own] += _pixel_gradient(images[own], factor, augment, data, network, augment(real), label, pull)
            images.sub_(pixel_momentum, alpha=lr * (1 - step / steps))
        network.train(data, trained_images, seed, step)
        if look is not None:
            look(step + 1)
        if checkpoint is not None and (time.monotonic() - saved > every_seconds or interrupted.is_set()):
            checkpoint(Progress(step + 1, images.cpu().clone(), pixel_momentum.cpu().clone(), *network.kept()))
            saved = time.monotonic()
    return SyntheticSet(images.clamp_(0, 1).cpu().numpy(), start.labels, factor)


class Trainee:
    """A network and the momentum it is trained with."""

    def __init__(self, shape: nn.Module, state: State, momentum: State | None, device: str, compiled: bool) -> None:
        self.model = network_with(shape, state, device).train()
        if compiled:
            engine.rewritten(self.model)
        self.parameters: State = dict(self.model.named_parameters())
        self.momentum = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
        for name, buffer in (momentum or {}).items():
            self.momentum[name].copy_(buffer)

    def train(self, data: Resident, count: int, seed: int, step: int) -> None:
        """One pass of SGD over `count` random images of `data`, augmented and mixed as in every training on real data."""
        rng = generator(seed, "condense/train", step)
        order = torch.from_numpy(rng.choice(len(data), min(count, len(data)), replace=False)).to(data.labels.device)
        values, momentum = list(self.parameters.values()), list(self.momentum.values())
        for index in order.split(BATCH):
            labels = data.labels[index]
            images = data.augmented([index], [rng])
            pasted, weight = cutmix(images, labels, rng, CUTMIX)
            logits = self.model(images)
            loss = weight * F.cross_entropy(logits, labels) + (1 - weight) * F.cross_entropy(logits, pasted)
            gradients = torch.autograd.grad(loss, values)
            with torch.no_grad():
                torch._foreach_mul_(momentum, MOMENTUM)
                torch._foreach_add_(momentum, torch._foreach_add(list(gradients), values, alpha=WEIGHT_DECAY))
                torch._foreach_add_(values, momentum, alpha=-LR)

    def kept(self) -> tuple[State, State]:
        """Copies of its state and momentum on the CPU."""
        return state_of(self.model), {name: buffer.to("cpu", copy=True) for name, buffer in self.momentum.items()}


def _pixel_gradient(stored: Tensor, factor: int, augment: Callable[[Tensor], Tensor], data: Resident, network: Trainee,
                    real: Tensor, label: int, pull: Callable[..., Tensor]) -> Tensor:
    """Of the matching loss, in one class's `stored` images: decode, normalisation and augmentation are taken back outside."""
    leaf = stored.clone().requires_grad_()
    seen = augment((decode(leaf, factor, 1) - data.mean) / data.std)
    convolutions = {name: value for name, value in network.parameters.items() if value.ndim == 4}
    labels = torch.full((len(real),), label, device=real.device)
    wanted = torch.autograd.grad(F.cross_entropy(network.model(real), labels), list(convolutions.values()))
    fixed = {name: value.detach() for name, value in network.parameters.items()}
    seen_labels = torch.full((len(seen),), label, device=real.device)
    pulled = pull(seen.detach(), seen_labels, fixed, dict(zip(convolutions, wanted, strict=True)))
    return torch.autograd.grad(seen, leaf, pulled)[0]


def _pull(shape: nn.Module, compiled: bool) -> Callable[..., Tensor]:
    """The gradient of `matching_loss` in the images, compiled where that is asked for and works."""
    def pull(images: Tensor, labels: Tensor, parameters: State, wanted: State) -> Tensor:
        return grad(lambda seen: matching_loss(shape, seen, labels, parameters, wanted))(images)

    return engine.compiled(pull) if compiled else pull


def matching_loss(shape: nn.Module, images: Tensor, labels: Tensor, parameters: State, wanted: State) -> Tensor:
    """Sum of squares, over the tensors in `wanted`, of what the gradients of the mean cross-entropy lack to those wanted.

    `images` (n, c, h, h) normalised; `parameters` all those of the network, `wanted` the gradients real images give some.
    """
    def cross_entropy(matched: State) -> Tensor:
        return F.cross_entropy(functional_call(shape, {**parameters, **matched}, (images,)), labels)

    given = grad(cross_entropy)({name: parameters[name] for name in wanted})
    return sum((given[name] - wanted[name]).square().sum() for name in wanted)


def siamese(images: Tensor, draws: np.ndarray) -> Tensor:
    """Colour, crop and cutout of Kim et al., one draw for the whole batch (n, c, h, h); no flip. `draws`: seven in [0, 1)."""
    brightness, saturation, contrast, down, right, top, left = map(float, draws)
    side = images.shape[-1]
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    level = images.mean((1, 2, 3), keepdim=True)
    images = (images - level) * (contrast + 0.5) + level
    reach, cut = int(side / 8 + 0.5), int(side / 2 + 0.5)
    y, x = (int(u * (2 * reach + 1)) for u in (down, right))
    images = F.pad(images, (reach,) * 4)[..., y:y + side, x:x + side]
    kept = images.new_ones(side, side)
    (y0, y1), (x0, x1) = ((max(c - cut // 2, 0), c - cut // 2 + cut) for c in (int(u * (side + 1)) for u in (top, left)))
    kept[y0:y1, x0:x1] = 0
    return images * kept
