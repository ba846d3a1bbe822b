"""Training a masked network with SGD, as the authors do, on data that stays on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthprune import engine
from synthprune.data.arrays import facts_of
from synthprune.data.augment import changed, cutmix, drawn
from synthprune.data.facts import Facts
from synthprune.data.photo import photo
from synthprune.machine import interrupted
from synthprune.models import Masks, State, check_classes, copy_on, draws, network_with, state_of
from synthprune.seeds import generator


@dataclass(frozen=True)
class Resident:
    """A whole data set on a device: images as given (uint8, or float in [0, 1]), normalised batch by batch."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    flip: bool
    augmentation: str = "diffaug"

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, facts: Facts | None = None, device: str = "cpu") -> Resident:
        """Images (n, c, h, h), uint8 or float, and labels as they are: integers (n,), or probabilities (n, classes).

        `facts` hold their mean and deviation and say how they are augmented (None: see `data.arrays.facts_of`).
        """
        facts = facts or facts_of(images, labels)
        pixels = np.ascontiguousarray(images, np.uint8 if images.dtype == np.uint8 else np.float32)
        mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (facts.mean, facts.std))
        kept = np.ascontiguousarray(labels, np.int64 if labels.ndim == 1 else np.float32)
        return cls(torch.from_numpy(pixels).to(device), torch.from_numpy(kept).to(device), mean, std, facts.flip,
                   facts.augmentation)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | slice) -> Tensor:
        """Normalised float32 images (n, c, h, h) of the rows in `index`."""
        return _normalised(self._rows(index), self.mean, self.std)

    def augmented(self, batches: Sequence[Tensor], rngs: Sequence[np.random.Generator]) -> Tensor:
        """The same of the rows in all of `batches`, augmented as is usual for this data set, each batch by its own draws."""
        if self.augmentation == "photo":
            seen = [photo(_floats(self._rows(index)), rng) for index, rng in zip(batches, rngs, strict=True)]
            return _normalised(torch.cat(seen), self.mean, self.std)
        side = self.images.shape[-1]
        draws = [drawn(rng, len(index), side, flip=self.flip) for index, rng in zip(batches, rngs, strict=True)]
        return changed(self.batch(torch.cat(list(batches))), np.concatenate(draws, axis=1))

    def _rows(self, index: Tensor | slice) -> Tensor:
        # Of whole images, index_select is an order of magnitude faster than an index in brackets.
        return self.images[index] if isinstance(index, slice) else self.images.index_select(0, index)


def _floats(images: Tensor) -> Tensor:
    return images.float() / 255.0 if images.dtype == torch.uint8 else images.float()


def _normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    white = 255.0 if images.dtype == torch.uint8 else 1.0
    return (images.float() - white * mean).div_(white * std)


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
Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Images, their labels, the labels pasted in, and the weight of their own, as one training step sees them."""

# So many values of images are made in one go: a call then costs little beside what it does, which still fits in a cache.
AT_ONCE = 2**18


def train(network: nn.Module, start: State, masks: Masks, data: Resident, recipe: Recipe, *, order_seed: int,
          first_epoch: int = 0, stop_epoch: int | None = None, resume: Progress | None = None,
          checkpoint: Checkpoint | None = None, every_seconds: float = 300, compiled: bool = False) -> tuple[State, np.ndarray]:
    """Train `network` from `start` and return its last state and each epoch's mean training loss.

    `network` gives the shapes alone (on the meta device, or any module of yours: it is copied) and its values are `start`'s.
    `masks` hold for every step: pruned weights start at zero, get no gradient and are never updated. Epochs run from
    `first_epoch` to `stop_epoch` (None: recipe.epochs), with the order, augmentation and learning rate that belong to
    each epoch: a training stopped and continued is the same as one that never stopped, bit for bit. `order_seed` is
    the paper's SGD noise: order of images, augmentation and CutMix. Losses (epochs run,) are those of the augmented batches,
    NaN or infinite if the training diverged. `compiled` is the engine (see `engine.used` for the one that really runs).
    Raises Problem where `start` is no state of this network, or the labels are of more classes than it has logits.
    """
    device = data.labels.device
    model = network_with(network, start, str(device))
    _check_classes(model, data)
    model.train()
    take_step = engine.compiled(_step) if compiled else _step
    if compiled:
        engine.rewritten(model)
    parameters = dict(model.named_parameters())
    momentum = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    hidden = {name: mask.to(device) for name, mask in masks.items()}
    if device.type == "cuda":
        for buffer in (*momentum.values(), *hidden.values()):  # else a graph that changes them could not be replayed
            torch._dynamo.mark_static_address(buffer, guard=False)
    with torch.no_grad():
        for name, mask in hidden.items():
            parameters[name].mul_(mask)
    last_epoch = recipe.epochs if stop_epoch is None else stop_epoch
    losses = torch.zeros(last_epoch - first_epoch, dtype=torch.float64, device=device)
    per_epoch = -(-len(data) // recipe.batch)
    first_step = first_epoch * per_epoch
    if resume is not None:
        first_step, losses = resume.step, resume.losses.to(device, copy=True)  # the caller keeps its own
        model.load_state_dict(resume.state)
        for name, buffer in resume.momentum.items():
            momentum[name].copy_(buffer)
    saved = time.monotonic()
    steps = range(first_step, last_epoch * per_epoch)
    drops = any(map(draws, model.modules()))
    for step, batch in zip(steps, _batches(data, recipe, order_seed, steps), strict=True):
        if drops:  # every step has draws of its own, wherever a training begins
            torch.manual_seed(int(generator(order_seed, "dropout", step).integers(2**63)))
        epoch, place = divmod(step, per_epoch)
        if place == 0 or step == first_step:
            rate = torch.tensor(recipe.lr_at(epoch), device=device)
        if device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        size = len(batch[1])
        # The last, smaller batch is a graph of its own: not worth compiling where it is one of many.
        run = take_step if size == recipe.batch or per_epoch < 10 else _step
        loss = run(model, momentum, hidden, batch, rate, recipe.momentum, recipe.weight_decay)
        losses[epoch - first_epoch] += loss * size / len(data)
        if checkpoint is not None and (time.monotonic() - saved > every_seconds or interrupted.is_set()):
            kept = {name: buffer.to("cpu", copy=True) for name, buffer in momentum.items()}
            checkpoint(Progress(step + 1, state_of(model), kept, losses.to("cpu", copy=True)))
            saved = time.monotonic()
    return state_of(model), losses.cpu().numpy()


@torch.no_grad()
def _check_classes(model: nn.Module, data: Resident) -> None:
    """Raises Problem where `model` has too few logits; it is left in evaluation mode, in which one image draws nothing."""
    check_classes(model.eval()(data.batch(slice(0, 1))), data.labels)


def _batches(data: Resident, recipe: Recipe, order_seed: int, steps: range) -> Iterator[Batch]:
    """The batches of `steps`. Some of an epoch are made together, wherever `steps` begin: a batch is the same, bit for bit."""
    per_epoch = -(-len(data) // recipe.batch)
    together = max(1, AT_ONCE // (recipe.batch * data.images[0].numel()))
    for step in steps:
        epoch, place = divmod(step, per_epoch)
        if place == 0 or step == steps.start:
            order = torch.from_numpy(generator(order_seed, "order", epoch).permutation(len(data))).to(data.labels.device)
            batches = order.split(recipe.batch)
        if place % together == 0 or step == steps.start:
            first = place - place % together
            chosen = batches[first:first + together]
            begin = step - place + first
            rngs = [generator(order_seed, "augment", step) for step in range(begin, begin + len(chosen))]
            made = _made(data, chosen, recipe, rngs)
        yield made[place - first]


def _made(data: Resident, batches: Sequence[Tensor], recipe: Recipe, rngs: Sequence[np.random.Generator]) -> list[Batch]:
    """The training batches of the rows in `batches`."""
    index = torch.cat(list(batches))
    images = data.augmented(batches, rngs) if recipe.augment else data.batch(index)
    images, labels = images.split(recipe.batch), data.labels[index].split(recipe.batch)
    pasted, weights = zip(*(cutmix(*batch, recipe.cutmix) for batch in zip(images, labels, rngs, strict=True)), strict=True)
    return list(zip(images, labels, pasted, torch.tensor(weights, device=index.device), strict=True))


def _step(model: nn.Module, momentum: State, masks: Masks, batch: Batch, rate: Tensor, keep: float, decay: float) -> Tensor:
    """One step of training; the loss before it."""
    loss, parameters = _loss(model, *batch), dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    _update(parameters, dict(zip(parameters, gradients, strict=True)), momentum, masks, rate, keep, decay)
    return loss.detach()


def _loss(model: nn.Module, images: Tensor, labels: Tensor, pasted: Tensor, weight: Tensor) -> Tensor:
    logits = model(images)
    return weight * F.cross_entropy(logits, labels) + (1 - weight) * F.cross_entropy(logits, pasted)


@torch.no_grad()
def _update(parameters: Mapping[str, Tensor], gradients: State, momentum: State, masks: Masks, rate: Tensor, keep: float,
            decay: float) -> None:
    """One step of SGD as torch.optim does it, for surviving weights only; `keep` of the momentum is carried over."""
    for name, parameter in parameters.items():
        gradient = gradients[name] + decay * parameter
        if name in masks:
            gradient = gradient * masks[name]
        parameter.sub_(rate * momentum[name].mul_(keep).add_(gradient))


class Evaluator:
    """Evaluates one network at many states on fixed images: one set of buffers and, if `compiled`, one compiled pass.

    Memory does not depend on the number of states. Running statistics are the state's.
    """

    def __init__(self, network: nn.Module, data: Resident, *, compiled: bool = False, batch: int = 500) -> None:
        self.model = copy_on(network, data.labels.device)
        _check_classes(self.model, data)
        if compiled:
            engine.rewritten(self.model)
        self._tensors, self._data, self._batch = self.model.state_dict(), data, batch
        self._pass = engine.compiled(_pass) if compiled else _pass

    def write(self, state: State) -> None:
        """Copy `state` into the network."""
        for name, tensor in self._tensors.items():
            tensor.copy_(state[name])

    def each(self, state: State) -> tuple[Tensor, Tensor]:
        """Of each image (n,), on the data's device: its cross-entropy in nats, float32, and whether it is mistaken, bool."""
        self.write(state)
        return _each(self.model, self._data, self._batch, self._pass)

    def at(self, state: State) -> tuple[float, float]:
        """Mean cross-entropy (nats) and error (fraction wrong, 0 to 1), images not augmented."""
        return _means(*self.each(state))


def evaluate(model: nn.Module, data: Resident, batch: int = 500) -> tuple[float, float]:
    """Mean cross-entropy (nats) and error (fraction wrong, 0 to 1) over `data`, not augmented, running statistics fixed."""
    return _means(*_each(model, data, batch, _pass))


@torch.inference_mode()
def _each(model: nn.Module, data: Resident, batch: int, run: Callable[..., tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    model.eval()
    size = min(batch, len(data))
    losses = torch.empty(len(data), device=data.labels.device)
    mistaken = torch.empty(len(data), dtype=torch.bool, device=data.labels.device)
    for begin in range(0, len(data), size):
        # The last batch reaches back, so that all have one shape; images seen twice come out the same.
        rows = slice(min(begin, len(data) - size), begin + size)
        losses[rows], mistaken[rows] = run(model, data.images[rows], data.labels[rows], data.mean, data.std)
    return losses, mistaken


def _pass(model: nn.Module, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    logits = model(_normalised(images, mean, std))
    return F.cross_entropy(logits, labels, reduction="none"), logits.argmax(1) != labels


def _means(losses: Tensor, mistaken: Tensor) -> tuple[float, float]:
    return float(losses.double().mean()), int(mistaken.sum()) / len(mistaken)
