"""What training steps and evaluations are compared with, on any device: their convolutions alone, a plain loop, a bare pass."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.table import Row, in_turns, ratios
from synthprune import engine
from synthprune.analysis.connectivity import path_losses
from synthprune.analysis.landscape import Mixtures
from synthprune.data.facts import facts
from synthprune.machine import peak_memory
from synthprune.models import Masks, State, build, initial_state, network_with, prunable
from synthprune.pruning import dense_masks, prune_by_magnitude
from synthprune.training import Recipe, Resident, _step, train

Clock = Callable[[], float]
"""Seconds, after everything that was begun is done."""
Measured = dict[str, list[float]]


@dataclass(frozen=True)
class Bench:
    """ConvNet-3 at 87 % sparsity and `batches` batches of random images, on one device."""

    width: int
    pixels: int
    batch: int
    batches: int
    device: str
    clock: Clock

    @property
    def name(self) -> str:
        return f"width {self.width}, {self.pixels} px, batch {self.batch}"

    @property
    def network(self) -> nn.Module:
        return build("convnet3", channels=3, pixels=self.pixels, classes=10, width=self.width, norm="instance")

    @property
    def state(self) -> State:
        return initial_state(self.network, 0)

    @property
    def masks(self) -> Masks:
        return prune_by_magnitude(self.state, dense_masks(self.state, prunable(self.network)), 0.87)

    @property
    def data(self) -> Resident:
        n = self.batch * self.batches
        images = np.random.default_rng(0).integers(0, 256, (n, 3, self.pixels, self.pixels), dtype=np.uint8)
        return Resident.of(images, np.arange(n) % 10, facts("cifar10"), self.device)

    def per_batch(self, work: Callable[[], object]) -> float:
        begun = self.clock()
        work()
        return (self.clock() - begun) / self.batches

    def step(self, *, compiled: bool = True) -> Callable[[], float]:
        """A step of `train`: an epoch of it less a training of no epoch."""
        network, state, masks, data = self.network, self.state, self.masks, self.data

        def epochs(count: int) -> float:
            recipe = Recipe(epochs=1, batch=self.batch)
            return self.per_batch(lambda: train(network, state, masks, data, recipe, order_seed=0, stop_epoch=count,
                                                compiled=compiled))

        return lambda: epochs(1) - epochs(0)

    def bare(self) -> Callable[[], float]:
        """Forward, backward and update, compiled as in `train`, on one batch that is ready."""
        model = engine.rewritten(network_with(self.network, self.state, self.device).train())
        take_step = engine.compiled(_step)
        momentum = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
        masks = {name: mask.to(self.device) for name, mask in self.masks.items()}
        images, labels = self.data.batch(slice(0, self.batch)), self.data.labels[:self.batch]
        weight, rate = torch.tensor(1.0, device=self.device), torch.tensor(0.01, device=self.device)

        def work() -> None:
            for _ in range(self.batches):
                take_step(model, momentum, masks, (images, labels, labels.clone(), weight), rate, 0.9, 5e-4)

        return lambda: self.per_batch(work)

    def convolutions(self) -> Callable[[], float]:
        """The three convolutions alone, forward and backward, channels last as compiled; the first needs no image gradient."""
        layers = []
        for place, inputs in enumerate((3, self.width, self.width)):
            side = self.pixels // 2**place
            images, kernel, gradient = (
                torch.randn(shape, device=self.device).contiguous(memory_format=torch.channels_last)
                for shape in ((self.batch, inputs, side, side), (self.width, inputs, 3, 3), (self.batch, self.width, side, side)))
            layers.append((images, kernel, torch.randn(self.width, device=self.device), gradient, place > 0))

        @torch.no_grad()
        def work() -> None:
            for _ in range(self.batches):
                for images, kernel, bias, _, _ in layers:
                    F.conv2d(images, kernel, bias, padding=1)
                for images, kernel, bias, gradient, wanted in reversed(layers):
                    torch.ops.aten.convolution_backward(gradient, images, kernel, bias.shape, [1, 1], [1, 1], [1, 1], False,
                                                        [0, 0], 1, [wanted, True, True])

        return lambda: self.per_batch(work)

    def plain(self) -> Callable[[], float]:
        """The loop as most would write it: DataLoader, torchvision's transforms image by image, torch's own pruning, .item()."""
        model = network_with(self.network, self.state, self.device).train()
        for name, mask in self.masks.items():
            prune.custom_from_mask(model.get_submodule(name.removesuffix(".weight")), "weight", mask.to(self.device))
        optimiser = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=5e-4)
        loader = DataLoader(Pictures(self.data, self.pixels), self.batch, shuffle=True)
        mix = v2.RandomApply([v2.CutMix(num_classes=10)], p=0.5)

        def work() -> float:
            total = 0.0
            for images, labels in loader:
                images, labels = mix(images.to(self.device), labels.to(self.device))
                loss = F.cross_entropy(model(images), labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item()
            return total

        return lambda: self.per_batch(work)


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """The images of `data` as PIL images, through DiffAug's operations as torchvision has them."""

    def __init__(self, data: Resident, pixels: int) -> None:
        self.images = [v2.functional.to_pil_image(image) for image in data.images.cpu()]
        self.labels = data.labels.cpu()
        geometry = v2.RandomChoice([v2.RandomCrop(pixels, padding=pixels // 8), v2.RandomAffine(0, scale=(1 / 1.2, 1.2)),
                                    v2.RandomRotation(15)])
        self.transform = v2.Compose([
            v2.RandomHorizontalFlip(), v2.ColorJitter(0.5, 0.5, 1.0), geometry, v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean.flatten().tolist(), data.std.flatten().tolist())])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[place]), self.labels[place]


def step_rows(bench: Bench, targets: tuple[str, str, str]) -> list[Row]:
    """The step against its convolutions, and how much of it is what; against the plain loop, and against eager.

    In turns of their own: what allocates as the plain loop and the eager step do leaves memory that slows the others.
    """
    parts = in_turns({"step": bench.step(), "convolutions": bench.convolutions(), "bare": bench.bare()}, 9)
    wholes = in_turns({"step": bench.step(), "plain": bench.plain(), "eager": bench.step(compiled=False)})
    values = bench.batch * bench.width * bench.pixels**2
    rest, saved = ([a - b for a, b in zip(longer, shorter, strict=True)]
                   for longer, shorter in ((parts["step"], parts["bare"]), (wholes["eager"], wholes["step"])))
    return [
        Row(f"step, {bench.name}", "its convolutions alone", targets[0], ratios(parts["step"], parts["convolutions"])),
        Row(f"forward, backward and update, {bench.name}", "its convolutions alone", "",
            ratios(parts["bare"], parts["convolutions"])),
        Row(f"everything else in the step, {bench.name}", "the step", targets[2],
            [100 * share for share in ratios(rest, parts["step"])], "%"),
        Row(f"images per second, {bench.name}", "a plain loop", targets[1], ratios(wholes["plain"], wholes["step"])),
        Row(f"eager step, {bench.name}", "the step", "", ratios(wholes["eager"], wholes["step"])),
        Row(f"saved by compiling, {bench.name}", "image and feature value", "", [1e9 * s / values for s in saved], "ns"),
    ]


def held(bench: Bench, points: int) -> int:
    """The most memory, in MB, of a process of its own that walks a path of so many points."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_walk, bench, points).result()


def _walk(bench: Bench, points: int) -> int:
    states = [initial_state(bench.network, seed) for seed in range(2)]
    path_losses(bench.network, *states, bench.masks, bench.data, bench.data, points=points, compiled=True)
    return peak_memory()


def evaluation_rows(bench: Bench, points: int) -> list[Row]:
    """A path on train and test images, and a plane, against as many compiled forward passes alone; cost and memory by points.

    `points` are those of the path, odd. The plane has as many.
    """
    network, data, masks = bench.network, bench.data, bench.masks
    states = [initial_state(network, seed) for seed in range(3)]
    weights = np.random.default_rng(0).dirichlet(np.ones(3), points)
    plane = Mixtures(network, states, masks, data, compiled=True)
    model = torch.compile(network_with(network, states[0], bench.device).eval(), dynamic=False)
    size = 500
    ready = data.batch(slice(0, size))

    @torch.inference_mode()
    def forward() -> None:
        for _ in range(points * len(data) // size):
            model(ready)

    def path(count: int) -> Callable[[], object]:
        return lambda: path_losses(network, states[0], states[1], masks, data, data, points=count, compiled=True)

    long = 4 * (points - 1) + 1
    times = in_turns({"forward": lambda: bench.per_batch(forward), "path": lambda: bench.per_batch(path(points)) / 2,
                      "plane": lambda: bench.per_batch(lambda: plane.losses(weights))})
    longer = in_turns({"path": lambda: bench.per_batch(path(points)), "long": lambda: bench.per_batch(path(long))}, 5)
    alone = "compiled forward passes alone (throughput)"
    name = f"ConvNet-3 width {bench.width}, {bench.pixels} px, {len(data):,} images"
    return [
        Row(f"path, train and test, {name}", alone, "at least .9", ratios(times["forward"], times["path"])),
        Row(f"plane, {name}", alone, "at least .9", ratios(times["forward"], times["plane"])),
        Row(f"cost of a point, path of {long} points, {name}", f"path of {points}", "1",
            [ratio * points / long for ratio in ratios(longer["long"], longer["path"])]),
        Row(f"peak memory of a path of {long} points, {name}", f"path of {points}", "1",
            [held(bench, long) / held(bench, points)]),
    ]
