"""One tiny result per kind, its parents made by hand, against numbers written down: has the arithmetic moved?

Where a canary moves, results of that kind made before and after are not the same thing under one name: raise the kind's
`version` in synthprune/results/specs.py, then write the numbers anew with `python tests/test_canaries.py`. Only few steps are
taken, so that another processor or engine stays within the tolerance.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from sweep import recipe

from synthprune.results import compute, specs
from synthprune.results.store import Arrays, Metrics, Store

NUMBERS = Path(__file__).with_name("canaries.json")
TOLERANCE = 1e-5

DIGITS = specs.Dataset(name="digits", pixels=16, train_per_class=10)
SEARCH = specs.Search(data=specs.Coreset(ipc=1, factor=2, seed=0), recipe=recipe(), rewind="weights", seed=0)
# Two epochs of two steps: momentum, the lowered learning rate, augmentation, CutMix and the order all take part.
TRAINED = {"data": specs.Real(), "recipe": recipe().model_copy(update={"weight_decay": 0.01})}


def _subnetwork(level: int, norm: str = "batch", searched: object = SEARCH) -> specs.Subnetwork:
    net = specs.Architecture(name="convnet3", width=4, norm=norm)
    return specs.Subnetwork(dataset=DIGITS, architecture=net, init_seed=3, search=searched, level=level)


def _ends(norm: str, count: int = 2) -> tuple[specs.Trained, ...]:
    return tuple(specs.Trained(subnetwork=_subnetwork(1, norm), order_seed=order, **TRAINED) for order in range(count))


def _path(batch_norm: str) -> specs.Path:
    return specs.Path(ends=_ends("batch"), points=3, batch_norm=batch_norm)


CANARIES: dict[str, specs.Entry] = {
    "distilled": specs.Distilled(dataset=DIGITS, ipc=1, factor=2, steps=2, real_batch=4, width=4),
    # Two networks, the first of which is matched on again after it was trained.
    "condensed": specs.Condensed(dataset=DIGITS, ipc=1, factor=2, steps=3, inner=2, lr=0.5, real_batch=4, trained_images=20,
                                 width=4),
    "subnetwork": _subnetwork(2),
    "trained, dense": specs.Trained(subnetwork=_subnetwork(0, "instance"), order_seed=1, **TRAINED),
    "trained, sparse": specs.Trained(subnetwork=_subnetwork(1), order_seed=2, **TRAINED),
    "trained, on a coreset": specs.Trained(subnetwork=_subnetwork(0), order_seed=1,
                                           **TRAINED | {"data": specs.Coreset(ipc=2, factor=2, seed=1)}),
    "subnetwork, snip": _subnetwork(2, searched=specs.AtInitialisation(criterion="snip", per_class=2)),
    "subnetwork, synflow": _subnetwork(2, searched=specs.AtInitialisation(criterion="synflow")),
    "subnetwork, same densities": _subnetwork(2, searched=specs.SameDensities(of=SEARCH, seed=1)),
    "trained, on noise": specs.Trained(subnetwork=_subnetwork(0), order_seed=1,
                                       **TRAINED | {"data": specs.Noise(ipc=2, factor=2, seed=1)}),
    "trained, on shuffled labels": specs.Trained(subnetwork=_subnetwork(0), order_seed=1,
                                                 **TRAINED | {"data": specs.Shuffled(of=specs.Real(), seed=1)}),
    "evaluation": specs.Evaluation(of=_ends("batch")[0]),
    "plane": specs.Plane(models=_ends("instance", 4), side=3, per_class=2),
    "diagonal": specs.Diagonal(of=_ends("instance")[0], batches=1, batch=4),
    "path, aligned": specs.Path(ends=_ends("batch"), points=3, aligned=True),
    "path, interpolated": _path("interpolated"),
    "path, recomputed": _path("recomputed"),
}


def _by_hand(entry: specs.Entry, seed: int) -> tuple[Arrays, Metrics]:
    """A made-up parent, so that a canary hangs on the code of its own kind alone (and on no key: versions are in it)."""
    rng = np.random.default_rng(seed)
    subnetwork = entry if isinstance(entry, specs.Subnetwork) else entry.subnetwork
    network = compute.network_of(subnetwork)
    state = {}
    for name, tensor in network.state_dict().items():
        floating = tensor.dtype.is_floating_point
        state[name] = rng.uniform(0.05, 0.3, tensor.shape).astype(np.float32) if floating else np.array(5)
        if floating and "running" not in name:
            state[name] *= rng.choice(np.array([-1, 1], np.float32), tensor.shape)
    if entry is not subnetwork:
        return state, {"diverged": False}
    masked = {f"mask/{name}": rng.random(value.shape) < 0.8 for name, value in state.items()
              if name.endswith("weight") and value.ndim > 1}
    kept = {f"kept/{name}": value for name, value in state.items() if f"mask/{name}" not in masked}
    return masked | kept, {"collapsed": []}


def numbers(entry: specs.Entry) -> dict[str, list[float]]:
    """Of each array: size, root mean square, mean, a mean that feels the order, and three entries. And the metrics."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Store(Path(folder))
        for seed, parent in enumerate(entry.parents):
            kept.put(parent, *_by_hand(parent, seed), {})
        arrays, metrics = compute._made(entry, kept)
    found = {}
    for name, array in arrays.items():
        flat = array.astype(np.float64).ravel()
        ordered = flat * np.cos(np.arange(flat.size))
        found[name] = [flat.size, float(np.sqrt(np.mean(flat**2))), flat.mean(), ordered.mean(), *flat[:3]]
    for name, value in metrics.items():
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        found[f"metrics/{name}"] = [float(v) for v in values if isinstance(v, float | int)]
    return found


def moved(now: dict[str, list[float]], then: dict[str, list[float]]) -> list[str]:
    """What is not the same within the tolerance, relative to an array's own size."""
    lines = [f"{name} is new or gone" for name in sorted(now.keys() ^ then.keys())]
    for name in sorted(now.keys() & then.keys()):
        one, other = np.array(now[name]), np.array(then[name])
        size = abs(other[1]) if name[:8] != "metrics/" else 0
        if one.shape != other.shape or not np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * size):
            lines.append(f"{name}: {one.tolist()} was {other.tolist()}")
    return lines


@pytest.mark.parametrize("name", CANARIES)
def test_canary(name: str) -> None:
    entry = CANARIES[name]
    lines = moved(numbers(entry), json.loads(NUMBERS.read_text())[name])
    assert not lines, (f"raise the version of {type(entry).__name__} (now {entry.version}) in synthprune/results/specs.py, then"
                       f" run 'python tests/test_canaries.py':\n" + "\n".join(lines))


def test_every_kind_has_a_canary_and_a_way_to_be_computed() -> None:
    assert {type(entry) for entry in CANARIES.values()} == set(specs.ENTRIES) == compute.COMPUTE.keys()
    assert json.loads(NUMBERS.read_text()).keys() == CANARIES.keys()


def test_a_canary_feels_a_change_and_forgives_a_rounding() -> None:
    then = {"weight": [8.0, 0.5, 0.001, 0.01, 0.3, -0.4, 0.0], "metrics/loss": [2.3]}
    rounding = {"weight": [8.0, 0.5 + 1e-6, 0.001 + 1e-6, 0.01, 0.3, -0.4, 1e-7], "metrics/loss": [2.3 + 1e-6]}
    assert moved(rounding, then) == []
    assert moved(then | {"weight": [8.0, 0.5, 0.001, 0.01, 0.3, -0.4 + 1e-4, 0.0]}, then)
    assert moved(then | {"metrics/loss": [2.301]}, then) and moved(then | {"metrics/loss": []}, then)
    assert moved({"weight": then["weight"]}, then)


if __name__ == "__main__":
    NUMBERS.write_text(json.dumps({name: numbers(entry) for name, entry in CANARIES.items()}, indent=1) + "\n")
