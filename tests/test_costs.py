"""Costs against counts by hand, and the energy meter against a powercap folder and a GPU made for it."""

from __future__ import annotations

import math
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from nets import convnet

from synthprune.costs import PEAK_TFLOPS, Cost, criterion_cost, gpu_assumption, gpu_hours, search_cost
from synthprune.machine import EnergyMeter
from synthprune.models import build, initial_state, network_with
from synthprune.problems import Problem
from synthprune.tracing import forward_flops, training_flops, training_memory


def paper_network(name: str = "convnet3", width: int = 128, channels: int = 3, pixels: int = 32) -> torch.nn.Module:
    norm = "batch" if name.startswith("resnet") else "instance"
    return build(name, channels=channels, pixels=pixels, classes=10, width=width, norm=norm)


def test_convnet_operations_are_those_counted_by_hand() -> None:
    first, second, third, last = 32**2 * 128 * 27, 16**2 * 128 * 1152, 8**2 * 128 * 1152, 2048 * 10
    network = paper_network()
    assert forward_flops(network, 3, 32) == 2 * (first + second + third + last)
    # The images need no gradient: the first convolution is passed twice, the others three times.
    assert training_flops(network, 3, 32) == 2 * (2 * first + 3 * (second + third + last))


def test_perceptron_operations_are_those_counted_by_hand() -> None:
    network = paper_network("lenet300", 300, channels=1, pixels=28)
    assert forward_flops(network, 1, 28) == 2 * (784 * 300 + 300 * 100 + 100 * 10)
    assert training_flops(network, 1, 28) == 2 * (2 * 784 * 300 + 3 * (300 * 100 + 100 * 10))


# Millions of multiplications with addition per image, counted on Kim et al.'s classes.
@pytest.mark.parametrize(("name", "width", "channels", "pixels", "millions"), [
    ("convnet3", 128, 3, 32, 50.7), ("convnet3", 64, 3, 32, 13.6), ("convnet3", 32, 3, 32, 3.8), ("convnet3", 16, 3, 32, 1.2),
    ("convnet3", 128, 1, 32, 48.4), ("resnet10", 32, 3, 32, 63.8), ("resnet18", 32, 3, 32, 139.3),
    ("resnet10_imagenet", 64, 3, 224, 889), ("resnet18_imagenet", 64, 3, 224, 1814)])
def test_operations_of_the_papers_networks(name: str, width: int, channels: int, pixels: int, millions: float) -> None:
    digits = 1 if pixels == 32 else 0
    assert round(forward_flops(paper_network(name, width, channels, pixels), channels, pixels) / 2e6, digits) == millions


def test_counting_leaves_the_network_as_it_was() -> None:
    network = convnet()
    training_flops(network, 1, 16)
    training_memory(network, 1, 16, 4, 0)
    assert all(parameter.is_meta and parameter.grad is None for parameter in network.parameters())


def test_the_papers_150_is_one_of_several_ratios() -> None:
    flops = training_flops(paper_network(), 3, 32)
    real = search_cost(stored=50_000, decoded=50_000, epochs=300, batch=64, levels=10, flops=flops)
    distilled = search_cost(stored=100, decoded=400, epochs=1000, batch=64, levels=10, flops=flops)
    assert (real.steps, distilled.steps) == (10 * 300 * 782, 10 * 1000 * 7)
    assert (real.visits, distilled.visits) == (150_000_000, 4_000_000)
    ratios = real.times(distilled)
    assert {name: round(ratio, 1) for name, ratio in ratios.items()} == {
        "stored_images": 500, "decoded_images": 125, "training_points": 150, "visits": 37.5, "steps": 33.5, "flops": 37.5}
    assert real.flops == 150_000_000 * flops


def test_rewinding_spares_the_first_epochs_of_every_round_but_the_first() -> None:
    cost = search_cost(stored=10, decoded=10, epochs=5, batch=4, levels=3, rewind=2, flops=1)
    assert (cost.visits, cost.steps) == (10 * (5 + 3 + 3), 3 * (5 + 3 + 3))
    assert search_cost(stored=10, decoded=10, epochs=5, batch=4, levels=0, rewind=2, flops=1).visits == 0


def test_costs_of_searches_that_follow_each_other_add() -> None:
    synthetic = search_cost(stored=1, decoded=4, epochs=5, batch=2, levels=2, flops=7)
    real = search_cost(stored=8, decoded=8, epochs=3, batch=4, levels=1, flops=7)
    assert synthetic + real == Cost(9, 12, 10 + 24, 40 + 24, 20 + 6, 7 * 64)


def test_criteria_at_initialisation_take_no_steps() -> None:
    assert criterion_cost("snip", 100, 7) == Cost(100, 100, 100, 100, 0, 700)
    assert criterion_cost("synflow", 100, 7) == Cost(flops=700)
    assert criterion_cost("magnitude", 100, 7) == criterion_cost("random", 100, 7) == Cost()
    assert all(math.isnan(ratio) for ratio in Cost(1, 1, 1, 1, 1, 1).times(Cost()).values())


def test_memory_is_that_counted_by_hand() -> None:
    values = 3 * 32**2 + 10  # an image and its log-probabilities
    for side in (32, 16, 8):
        # Convolved and rectified; two statistics of a channel; pooled.
        values += 2 * 128 * side**2 + 2 * 128 + 128 * (side // 2)**2
    largest, labels, weight = 128 * 32**2, 64 * 8, 4
    activations = 4 * 64 * (values + largest) + labels + weight
    assert training_memory(paper_network(), 3, 32, 64, data=123) == 3 * 4 * 320_010 + activations + 123


@pytest.mark.parametrize(("name", "width"), [("convnet3", 32), ("resnet10", 16)])
def test_memory_is_near_what_a_step_allocates(name: str, width: int) -> None:
    network = paper_network(name, width)
    model = network_with(network, initial_state(network, 0))
    memory = training_memory(network, 3, 32, 32, 0)
    with torch.profiler.profile(profile_memory=True) as profile:
        F.cross_entropy(model(torch.zeros(32, 3, 32, 32)), torch.zeros(32, dtype=torch.int64)).backward()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    kept = 2 * sum(p.nbytes for p in model.parameters()) + sum(b.nbytes for b in model.buffers())  # no step holds these
    assert memory - kept == pytest.approx(peak, rel=0.1)


def test_accounting_needs_no_torch() -> None:
    """A page of stored results imports none; figures of costs stand on such pages."""
    asked = "import sys, synthprune.costs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


def test_hours_on_a_gpu_say_what_they_assume() -> None:
    assert gpu_hours(int(19.5e12 * 0.3 * 7200), "A100") == pytest.approx(2)
    assert gpu_assumption("A100") == "arithmetic, not measured: 30% of the 19.5 TFLOP/s (float32, no tensor cores) of A100"
    assert all(gpu_hours(10**18, gpu) > 0 for gpu in PEAK_TFLOPS)
    with pytest.raises(Problem, match="unknown GPU 'A1000': did you mean 'A100'"):
        gpu_hours(1, "A1000")


class Powercap:
    """A folder like /sys/class/powercap, whose counters the test sets."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def set(self, domain: str, name: str, joules: float, wraps: float = 1000) -> None:
        folder = self.root / domain
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in (("name", name), ("energy_uj", round(joules * 1e6)), ("max_energy_range_uj", round(wraps * 1e6))):
            (folder / file).write_text(f"{content}\n")


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Powercap:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    return Powercap(tmp_path / "powercap")


def test_counters_that_a_container_hides_are_none(powercap: Powercap) -> None:
    powercap.root.mkdir(parents=True, exist_ok=True)
    (powercap.root / "intel-rapl:0").symlink_to("nowhere")
    (powercap.root / "intel-rapl:1").mkdir()
    (powercap.root / "intel-rapl:1" / "name").write_text("package-1")
    with EnergyMeter(powercap.root) as meter:
        pass
    assert meter.joules is None and meter.counters == ()


def test_energy_counts_each_joule_once(powercap: Powercap) -> None:
    domains = (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "dram"),
               ("intel-rapl:1", "package-1"), ("intel-rapl:2", "psys"), ("intel-rapl-mmio:0", "package-0"))
    for domain, name in domains:
        powercap.set(domain, name, 10)
    with EnergyMeter(powercap.root) as meter:
        for (domain, name), used in zip(domains, (100, 50, 7, 30, 400, 100), strict=True):
            powercap.set(domain, name, 10 + used)
    assert meter.joules == pytest.approx(137) and meter.counters == ("package-0", "dram", "package-1")


def test_energy_survives_a_counter_that_wraps_more_than_once(powercap: Powercap) -> None:
    powercap.set("intel-rapl:0", "package-0", 990)
    with EnergyMeter(powercap.root, every_seconds=0.01) as meter:
        expected = 0
        for now, used in ((5, 15), (600, 595), (100, 500)):
            expected += used
            counted(meter, powercap, now, expected)
    assert meter.joules == pytest.approx(1110)


def counted(meter: EnergyMeter, powercap: Powercap, now: float, expected: float) -> None:
    """Set the counter in one write, and wait until the meter has seen it."""
    staged = powercap.root / "staged"
    staged.write_text(str(round(now * 1e6)))
    staged.replace(powercap.root / "intel-rapl:0" / "energy_uj")
    deadline = time.monotonic() + 20
    while meter.joules != pytest.approx(expected):
        assert time.monotonic() < deadline, meter.joules
        time.sleep(0.005)


def test_energy_is_not_measured_where_no_counter_can_be_read(powercap: Powercap) -> None:
    with EnergyMeter(powercap.root) as meter:
        pass
    assert meter.joules is None and meter.counters == ()
    powercap.set("intel-rapl:0", "package-0", 1)
    (powercap.root / "intel-rapl:0" / "energy_uj").unlink()
    (powercap.root / "intel-rapl:0" / "energy_uj").mkdir()  # unreadable, to root too
    with EnergyMeter(powercap.root) as meter:
        pass
    assert meter.joules is None and meter.counters == ()


def test_energy_of_a_counter_that_goes_away_is_not_measured_and_stops_nothing(powercap: Powercap) -> None:
    powercap.set("intel-rapl:0", "package-0", 1)
    with EnergyMeter(powercap.root) as meter:
        (powercap.root / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.joules is None


def test_energy_of_gpus_is_added(powercap: Powercap, monkeypatch: pytest.MonkeyPatch) -> None:
    millijoules = {0: 5_000_000_000, 1: 1_000, 2: None}

    class NVMLError(Exception):
        pass

    def energy(index: int) -> int:
        if millijoules[index] is None:
            raise NVMLError("Not Supported")
        return millijoules[index]

    monkeypatch.setitem(sys.modules, "pynvml", types.SimpleNamespace(
        NVMLError=NVMLError, nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 3, nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=energy))
    powercap.set("intel-rapl:0", "package-0", 1)
    with EnergyMeter(powercap.root) as meter:
        millijoules.update({0: 5_000_002_000, 1: 1_500})
        powercap.set("intel-rapl:0", "package-0", 2)
    assert meter.joules == pytest.approx(1 + 2 + 0.5) and meter.counters == ("package-0", "GPU 0", "GPU 1")


def test_energy_without_a_driver_is_that_of_the_processors(powercap: Powercap, monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def init() -> None:
        raise NVMLError("Driver Not Loaded")

    monkeypatch.setitem(sys.modules, "pynvml", types.SimpleNamespace(NVMLError=NVMLError, nvmlInit=init))
    powercap.set("intel-rapl:0", "package-0", 1)
    with EnergyMeter(powercap.root) as meter:
        powercap.set("intel-rapl:0", "package-0", 4)
    assert meter.joules == pytest.approx(3)
