"""Training a masked network with SGD, as the authors do, on data that stays on the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthprune.data.augment import cutmix, diffaug
from synthprune.data.datasets import Facts
from synthprune.models import Masks, State, network_with, state_of
from synthprune.seeds import generator


@dataclass(frozen=True)
class Resident:
    """A whole data set on a device: images as given (uint8, or float in [0, 1]), normalised batch by batch."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    flip: bool

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, facts: Facts, device: str) -> Resident:
        mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (facts.mean, facts.std))
        return cls(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device), mean, std, facts.flip)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | slice) -> Tensor:
        """Normalised float32 images (n, c, h, h) of the rows in `index`."""
        images = self.images[index]
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        return (images.float() / scale - self.mean) / self.std


@dataclass(frozen=True)
class Recipe:
    """How to train. Defaults are the authors' (momentum .9, weight decay on everything, x 0.2 at 2/3 and 5/6)."""

    epochs: int
    batch: int = 64
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (2 / 3, 5 / 6)
    decay: float = 0.2
    augment: bool = True
    cutmix: float = 0.5

    def lr_at(self, epoch: int) -> float:
        """The learning rate of `epoch` (from 0): stepped at floor(fraction * epochs), as MultiStepLR does."""
        passed = sum(0 < int(fraction * self.epochs) <= epoch for fraction in self.milestones)
        return self.lr * self.decay**passed


@dataclass
class Progress:
    """Everything a training needs to go on: saved now and then, so that a kill loses minutes at most."""

    step: int
    state: State
    momentum: State
    losses: Tensor


Checkpoint = Callable[[Progress], None]


def train(network: nn.Module, start: State, masks: Masks, data: Resident, recipe: Recipe, *, order_seed: int,
          first_epoch: int = 0, stop_epoch: int | None = None, resume: Progress | None = None,
          checkpoint: Checkpoint | None = None, every_seconds: float = 300) -> tuple[State, np.ndarray]:
    """Train `network` (on the meta device) from `start` and return its last state and each epoch's mean training loss.

    `masks` hold for every step: pruned weights start at zero, get no gradient and are never updated. Epochs run from
    `first_epoch` to `stop_epoch` (None: recipe.epochs), with the order, augmentation and learning rate that belong to
    each epoch: a training stopped and continued is the same as one that never stopped, bit for bit. `order_seed` is
    the paper's SGD noise: order of images, DiffAug and CutMix. Losses (epochs run,) are those of the augmented batches,
    NaN or infinite if the training diverged.
    """
    device = data.labels.device
    model = network_with(network, start, str(device)).train()
    hidden = {name: mask.to(device) for name, mask in masks.items()}
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in hidden.items():
            parameters[name].mul_(mask)
    optimiser = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay,
                                foreach=True)
    last_epoch = recipe.epochs if stop_epoch is None else stop_epoch
    losses = torch.zeros(last_epoch - first_epoch, dtype=torch.float64, device=device)
    per_epoch = -(-len(data) // recipe.batch)
    first_step = first_epoch * per_epoch
    if resume is not None:
        first_step, losses = resume.step, resume.losses.to(device)
        model.load_state_dict(resume.state)
        for name, buffer in resume.momentum.items():
            optimiser.state[parameters[name]]["momentum_buffer"] = buffer.to(device)
    saved = time.monotonic()
    for step in range(first_step, last_epoch * per_epoch):
        epoch, place = divmod(step, per_epoch)
        if place == 0 or step == first_step:
            order = torch.from_numpy(generator(order_seed, "order", epoch).permutation(len(data))).to(device)
            optimiser.param_groups[0]["lr"] = recipe.lr_at(epoch)
        index = order[place * recipe.batch:(place + 1) * recipe.batch]
        loss = _loss(model, data, index, recipe, generator(order_seed, "augment", step))
        optimiser.zero_grad()
        loss.backward()
        for name, mask in hidden.items():
            parameters[name].grad.mul_(mask)
        optimiser.step()
        losses[epoch - first_epoch] += loss.detach() * len(index) / len(data)
        if checkpoint is not None and time.monotonic() - saved > every_seconds:
            momentum = {n: optimiser.state[p]["momentum_buffer"].to("cpu", copy=True) for n, p in parameters.items()
                        if recipe.momentum}
            checkpoint(Progress(step + 1, state_of(model), momentum, losses.to("cpu", copy=True)))
            saved = time.monotonic()
    return state_of(model), losses.cpu().numpy()


def _loss(model: nn.Module, data: Resident, index: Tensor, recipe: Recipe, rng: np.random.Generator) -> Tensor:
    images, labels = data.batch(index), data.labels[index]
    if recipe.augment:
        images = diffaug(images, rng, flip=data.flip)
    images, pasted, weight = cutmix(images, labels, rng, recipe.cutmix)
    logits = model(images)
    loss = weight * F.cross_entropy(logits, labels)
    return loss if weight == 1 else loss + (1 - weight) * F.cross_entropy(logits, pasted)


@torch.inference_mode()
def evaluate(model: nn.Module, data: Resident, batch: int = 500) -> tuple[float, float]:
    """Mean cross-entropy (nats) and error (fraction wrong, 0 to 1) over `data`, not augmented, running statistics fixed."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=data.labels.device)
    wrong = torch.zeros((), dtype=torch.int64, device=data.labels.device)
    for begin in range(0, len(data), batch):
        index = slice(begin, begin + batch)
        logits, labels = model(data.batch(index)), data.labels[index]
        loss += F.cross_entropy(logits, labels, reduction="sum").double()
        wrong += (logits.argmax(1) != labels).sum()
    return float(loss) / len(data), int(wrong) / len(data)
