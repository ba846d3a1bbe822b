"""What a run will cost: exact counts of image visits, over rates measured on this machine or, for a GPU, by arithmetic."""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
from collections.abc import Iterable, Sequence

from synthprune.costs import SYNFLOW_ROUNDS
from synthprune.data.facts import facts
from synthprune.machine import tell
from synthprune.own import is_own, words
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.rates import Probe, built, known, rate, replace
from synthprune.results.specs import Entry

PROBABLE = {"imagenet10": {"train": 13_000, "test": 500}}
"""Training and test images where classes differ in size (ImageNet-10: about, as the authors' code has it)."""

FIXED = {specs.Distilled: 0.01, specs.Condensed: 0.05, specs.Subnetwork: 0.003, specs.Trained: 0.03, specs.Evaluation: 0.06,
         specs.Path: 0.04, specs.Plane: 0.05, specs.Diagonal: 0.5}
"""Seconds of an entry in which no image passes, whatever its size: reading its parents, building networks, calling what
computes, storing it. For each step of distillation, round of a criterion, batch of a Hessian diagonal; else for the whole."""
SORTING = 2e-8
"""Seconds for each weight and round to choose those that stay."""
STARTING = 8
"""Wall seconds until workers have started and imported what they compute with."""
WORKER_BYTES = 2**31
"""Of memory for a worker; the largest trainings of the reference run took 1.6e9."""
PROOF_SECONDS = 300
"""An entry that took less proves nothing about a rate: code is compiled in up to a minute of it."""


def seconds(entry: Entry) -> float:
    """Core-seconds to compute `entry` alone on this machine, from its image visits and the measured rate of its network."""
    visits, _ = visited(entry)
    return _apart(entry) + (visits / rate(probe(entry)) if visits else 0)


def learn(entry: Entry, spent: float) -> None:
    """Replace the rate that `entry` was planned with by the one it showed, where it took less than half as long or more than
    one and a half times. `spent`: core-seconds. Only what is counted exactly, and took PROOF_SECONDS, says anything."""
    if spent < PROOF_SECONDS or not isinstance(entry, specs.Trained | specs.Evaluation | specs.Path | specs.Plane):
        return
    visits, of = visited(entry)[0], probe(entry)
    believed = known(of)
    if believed and abs(spent - _apart(entry) - visits / believed) > visits / believed / 2:
        with contextlib.suppress(Problem):  # a rate that cannot be kept is no reason to fail
            replace(of, visits / (spent - _apart(entry)))


def _apart(entry: Entry) -> float:
    """Seconds of `entry` in which no image passes."""
    fixed = FIXED[type(entry)]
    match entry:
        case specs.Distilled() | specs.Condensed():
            return fixed * entry.steps
        case specs.Subnetwork():
            rounds = SYNFLOW_ROUNDS if getattr(entry.search, "criterion", "") == "synflow" else 1
            return rounds * (fixed + SORTING * _prunable(entry.architecture, entry.dataset))
        case specs.Diagonal():
            return fixed * entry.batches
    return fixed


def worthwhile_workers(entries: Sequence[Entry]) -> int:
    """On how many workers `entries` are computed where nobody says: one, or, where they take more than about half a minute,
    one for each GPU, or else each core that has WORKER_BYTES (starting them takes STARTING); no more than there are entries. Only
    as many of these are looked at as decide it."""
    from synthprune.machine import cores, gpus, memory_limit

    most = min(len(entries), gpus() or cores())
    if most < 2 or not any(total > 30 for total in itertools.accumulate(map(seconds, entries))):
        return 1
    return most if gpus() else max(1, min(most, memory_limit() // WORKER_BYTES))


def compiles(entry: Entry) -> bool:
    """Whether `entry` is computed by the compiled engine: a function of its specification alone, whatever the machine.

    A training that stops early is the beginning of one that does not, so the whole recipe counts.
    """
    from synthprune.engine import worth_compiling

    if not isinstance(entry, specs.Trained | specs.Path | specs.Plane | specs.Condensed):
        return False
    architecture, batch = _architecture(entry), 500
    steps = visited(entry)[0] / 3 / batch  # an evaluation costs a third of a step on as many images
    if isinstance(entry, specs.Trained):
        batch = entry.recipe.batch
        steps = entry.recipe.epochs * -(-training_images(entry) // batch)
    return (worth_compiling(architecture.name, architecture.width, entry.dataset.pixels, batch, int(steps))
            and not (is_own(architecture.name) and _cannot_compile(architecture, entry.dataset)))


@functools.cache
def _cannot_compile(architecture: specs.Architecture, dataset: specs.Dataset) -> str:
    """Why a network of your own is computed eagerly, told once; empty where it is one graph, or nothing compiles here."""
    from synthprune.engine import works
    from synthprune.fitness import cannot_compile

    shape = facts(dataset.name).channels, dataset.pixels, dataset.pixels
    reason = cannot_compile(built(architecture, dataset), shape) if works() else ""
    if reason:
        tell(f"{words(architecture.name)} is computed eagerly: {reason}")
    return reason


def visited(entry: Entry) -> tuple[float, bool]:
    """How many images pass through the network for `entry`, and whether they train it (else they only pass forward)."""
    if isinstance(entry, specs.Trained):
        return ((entry.stop_epoch or entry.recipe.epochs) - entry.first_epoch) * training_images(entry), True
    return _passed(entry), False


def _passed(entry: Entry) -> float:
    (train, test), classes, count = images(entry.dataset), len(facts(entry.dataset.name).classes), 0.0
    match entry:
        case specs.Subnetwork(search=specs.AtInitialisation(criterion="synflow")):
            count = 3 * SYNFLOW_ROUNDS
        case specs.Subnetwork(search=specs.AtInitialisation(criterion=name, per_class=few)) if name == "snip" or is_own(name):
            count = 3 * few * classes
        case specs.Evaluation():
            count = train + test
        case specs.Path():
            count = entry.points * (train + test + train * (entry.batch_norm == "recomputed"))
        case specs.Plane():
            count = (entry.side**2 + 2 * len(entry.models)) * entry.per_class * classes
        case specs.Diagonal():
            count = entry.batches * entry.batch * (classes * CLASS_PASSES + _taylor(entry.subnetwork) + PRODUCT_PASSES)
        case specs.Distilled():
            # Forward only over the real images, forward and backward over the synthetic ones.
            count = entry.steps * classes * (entry.real_batch + 3 * entry.ipc * entry.factor**2)
        case specs.Condensed():
            matched = 3 * entry.real_batch + MATCHING_PASSES * entry.ipc * entry.factor**2
            count = entry.steps * (classes * matched + 3 * min(entry.trained_images, train))
    return count


MATCHING_PASSES = 8
"""What it takes to differentiate a gradient of the weights in the images, in forward passes per synthetic image."""

# Of a Hessian diagonal, in forward passes per image.
CLASS_PASSES = 5
"""What each class takes."""
TAYLOR_PASSES = 170
"""What instance norms take of a dense network, for each channel of the images and one more (see `_taylor`)."""
PRODUCT_PASSES = 500
"""What the leading eigenvalue and the trace take: about forty products with the Hessian."""


def _taylor(subnetwork: specs.Subnetwork) -> float:
    """Forward passes per image for the curvature of instance norms; batch norms have none.

    The first convolution's weights are the dear ones: channels * width of them, each a share 1 / width of a pass. Their
    survivors are about the root of all survivors' share (measured at widths 16, 32 and 64, levels 4 and 9).
    """
    if subnetwork.architecture.norm != "instance" or subnetwork.architecture.name != "convnet3":
        return 0
    search = subnetwork.search
    if isinstance(search, specs.SameDensities):  # random masks keep as many as those they are like
        search = search.of
    kept = (1 - search.fraction) ** subnetwork.level if search else 1
    return TAYLOR_PASSES * (facts(subnetwork.dataset.name).channels + 1) * kept**0.5


def images(dataset: specs.Dataset) -> tuple[int, int]:
    """Training and test images of a data set, whether or not it is on this machine."""
    known = facts(dataset.name)
    whole = known.images or PROBABLE.get(dataset.name) or {part: n * len(known.classes) for part, n in known.complete.items()}
    train, test = (count * len(known.classes) if count else whole[part] for part, count in
                   (("train", dataset.train_per_class), ("test", dataset.test_per_class)))
    return train, test


def training_images(entry: specs.Trained) -> int:
    """How many images an epoch of `entry` visits (decoded ones, for a synthetic set)."""
    match data := specs.origin(entry.data):
        case specs.Real():
            return images(entry.dataset)[0]
        case specs.Published():
            from synthprune.data.synthetic import published

            chosen = published(data.name, entry.dataset.name, entry.dataset.whitened, entry.dataset.pixels)
            return len(chosen.labels) * chosen.factor**2
    return len(facts(entry.dataset.name).classes) * data.ipc * data.factor**2


def flops(entry: Entry) -> float:
    """Floating-point operations of convolutions and linear layers, counted exactly for each visit (see `tracing`)."""
    visits, trains = visited(entry)
    return visits * _flops_per_visit(_architecture(entry), entry.dataset, trains) if visits else 0.0


def memory(entry: specs.Trained) -> int:
    """Bytes that a training holds at its peak, its data included (estimated, see `tracing.training_memory`)."""
    from synthprune.tracing import training_memory

    count, real = training_images(entry), isinstance(specs.origin(entry.data), specs.Real)
    channels, pixels = facts(entry.dataset.name).channels, entry.dataset.pixels
    data = count * (channels * pixels**2 * (1 if real else 4) + 8)
    return training_memory(built(_architecture(entry), entry.dataset), channels, pixels, entry.recipe.batch, data)


def makespan(entries: Iterable[Entry], workers: int) -> float:
    """Wall seconds for `entries` (parents first) on `workers` cores, each entry starting when parents and a core are free."""
    ordered = list(entries)
    place = {entry: n for n, entry in enumerate(ordered)}
    needs = [{place[parent] for parent in entry.parents if parent in place} for entry in ordered]
    feeds: list[list[int]] = [[] for _ in ordered]
    for child, parents in enumerate(needs):
        for parent in parents:
            feeds[parent].append(child)
    ready = [n for n, parents in enumerate(needs) if not parents]  # a heap already: what comes first begins first
    now, running = 0.0, list[tuple[float, int]]()
    while ready or running:
        while ready and len(running) < workers:
            n = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds(ordered[n]), n))
        now, finished = heapq.heappop(running)
        for child in feeds[finished]:
            needs[child].discard(finished)
            if not needs[child]:
                heapq.heappush(ready, child)
    return now


def _architecture(entry: Entry) -> specs.Architecture:
    if isinstance(entry, specs.Made):
        return specs.Architecture(name="convnet3", width=entry.width, norm="instance")
    if subnetwork := specs.subnetwork_of(entry):
        return subnetwork.architecture
    raise TypeError(f"a {entry.kind} has no network")


@functools.cache
def _prunable(architecture: specs.Architecture, dataset: specs.Dataset) -> int:
    from synthprune.models import prunable

    network = built(architecture, dataset)
    return sum(network.get_parameter(name).numel() for name in prunable(network))


@functools.cache
def _flops_per_visit(architecture: specs.Architecture, dataset: specs.Dataset, trains: bool) -> int:
    from synthprune.tracing import forward_flops, training_flops

    count = training_flops if trains else forward_flops
    return count(built(architecture, dataset), facts(dataset.name).channels, dataset.pixels)


def probe(entry: Entry) -> Probe:
    """What to measure for `entry`. An epoch of few batches is measured as it is, its last and smaller batch included."""
    from synthprune.engine import used

    if trains := isinstance(entry, specs.Trained):
        batch = entry.recipe.batch
        images = min(training_images(entry), 4 * batch)
    else:
        batch = images = 500
    return Probe(_architecture(entry), entry.dataset.name, entry.dataset.pixels, images, batch, trains, used(compiles(entry)))
