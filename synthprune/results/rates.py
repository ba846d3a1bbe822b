"""How fast this machine trains and evaluates a network: measured once, kept, and replaced where it proves wrong."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from synthprune import __version__
from synthprune.data.facts import facts
from synthprune.home import home, write_whole
from synthprune.machine import computing_seconds, keep_freed_memory, tell
from synthprune.own import is_own
from synthprune.problems import Problem
from synthprune.results import specs

if TYPE_CHECKING:
    from torch import nn

TURN_SECONDS = 0.05
"""How long each of the ten turns lasts, at least, by which a rate is measured."""


def shape_of(architecture: specs.Architecture, dataset: specs.Dataset) -> dict[str, Any]:
    """What a network for these images is built of."""
    of = facts(dataset.name)
    return {"name": architecture.name, "channels": of.channels, "pixels": dataset.pixels, "classes": len(of.classes),
            "width": architecture.width, "norm": architecture.norm}


def built(architecture: specs.Architecture, dataset: specs.Dataset) -> nn.Module:
    from synthprune.models import build

    return build(**shape_of(architecture, dataset))


@dataclass(frozen=True)
class Probe:
    """What a rate depends on: a network, the shape of its data, and how it is run.

    `images`: how many are trained on in an epoch, or evaluated, to measure it, in batches of `batch`.
    """

    architecture: specs.Architecture
    dataset: str
    pixels: int
    images: int
    batch: int
    trains: bool
    engine: str

    def __str__(self) -> str:
        a, does = self.architecture, "trained" if self.trains else "evaluated"
        return (f"{a.name} of width {a.width} with {a.norm} norm, {does} on {self.images} images of {self.dataset} at"
                f" {self.pixels} pixels in batches of {self.batch}, {self.engine}")


@functools.cache
def rate(of: Probe) -> float:
    """Images per second on one core. Measured once, then kept for this processor and these versions.

    One line on stderr says that something is being measured, except in a notebook, where it would be part of the page.
    """
    believed = known(of)
    if believed is None:
        _announce()
        believed = round(_measured(of), 1)
        with contextlib.suppress(Problem):  # a home that cannot be written is no reason not to plan
            replace(of, believed)
    return believed


def known(of: Probe) -> float | None:
    """The rate that was measured before, if any was."""
    kept = _rates().get(_name(of))
    found = kept.get("images_per_second") if isinstance(kept, dict) else None
    return found if isinstance(found, int | float) and found > 0 else None


def replace(of: Probe, images_per_second: float) -> None:
    """Keep this rate from now on. Raises Problem where it cannot be written."""
    measured = {"images_per_second": round(images_per_second, 1), "measured": datetime.now(UTC).isoformat(timespec="seconds")}
    write_whole(home() / "rates.json", (json.dumps(_rates() | {_name(of): measured}, indent=1) + "\n").encode())
    rate.cache_clear()


def _rates() -> dict[str, dict[str, Any]]:
    try:
        return {**json.loads((home() / "rates.json").read_text())}
    except (OSError, ValueError, TypeError):  # none yet, or damaged: a rate is soon measured again
        return {}


def _name(of: Probe) -> str:
    import torch

    from synthprune.machine import cpu, device

    on = torch.cuda.get_device_name(device()) if device().startswith("cuda") else cpu()
    return f"{on}, torch {torch.__version__}, synthprune {__version__}: {of}"


@functools.cache
def _announce() -> None:
    tell("measuring how fast this machine computes: about ten seconds, and up to a minute for each network that is compiled for"
         " the first time; kept for the next time")


Look = Callable[[float], None]
"""Told now and then how many images have passed."""


class _Enough(Exception):
    """Enough was seen."""


def _measured(of: Probe) -> float:
    import torch

    threads = torch.get_num_threads()
    keep_freed_memory()
    torch.set_num_threads(1)
    try:
        return _timed(_work(of), of.images, computing_seconds)
    finally:
        torch.set_num_threads(threads)


def _timed(work: Callable[[Look], None], warm: int, clock: Callable[[], float]) -> float:
    """Images per second of `work`, which goes on until it is stopped: the median of ten turns, once `warm` images have passed.

    A compiled step is several graphs (with images pasted in or without, of a whole batch or the last of an epoch), of which
    some are met, and compiled, late; a mean would count that.
    """
    seen: list[tuple[float, float]] = []

    def look(passed: float) -> None:
        now = clock()
        if passed >= warm and (not seen or now - seen[-1][1] >= TURN_SECONDS):
            seen.append((passed, now))
        if len(seen) > 10:
            raise _Enough

    with contextlib.suppress(_Enough):
        work(look)
    return statistics.median((b - a) / (now - then) for (a, then), (b, now) in itertools.pairwise(seen))


def _work(of: Probe) -> Callable[[Look], None]:
    """Trains, or evaluates, until it is stopped: on random images, as black ones may lead to numbers too small to be fast."""
    import numpy as np

    from synthprune.machine import device
    from synthprune.models import initial_state, prunable, state_of
    from synthprune.pruning import dense_masks
    from synthprune.training import Evaluator, Recipe, Resident, train

    known, compiled = facts(of.dataset), of.engine == "compiled"
    images = np.random.default_rng(0).integers(0, 256, (of.images, known.channels, of.pixels, of.pixels), np.uint8)
    data = Resident.of(images, np.arange(of.images) % len(known.classes), known, device())
    network = built(of.architecture, specs.Dataset(name=of.dataset, pixels=of.pixels))
    state = state_of(network) if is_own(of.architecture.name) else initial_state(network, 0)

    def trains(look: Look) -> None:
        per_step = of.images / -(-of.images // of.batch)
        train(network, state, dense_masks(state, prunable(network)), data, Recipe(epochs=10_000, batch=of.batch), order_seed=0,
              checkpoint=lambda progress: look(progress.step * per_step), every_seconds=TURN_SECONDS, compiled=compiled)

    def evaluates(look: Look) -> None:
        evaluator = Evaluator(network, data, compiled=compiled, batch=of.batch)
        for count in itertools.count(1):
            evaluator.at(state)
            look(count * of.images)

    return trains if of.trains else evaluates
