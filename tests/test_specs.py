"""Names of results: what changes them, what must not. `python tests/test_specs.py` writes keys.json anew.

A moved key orphans every stored result of its kind: write the file anew only where that is meant (a raised `version`).
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from synthprune.results import specs

KEYS = Path(__file__).with_name("keys.json")

DIGITS = specs.Dataset(name="digits", pixels=16)
CIFAR = specs.Dataset(name="cifar10", pixels=16, train_per_class=1000)
NET = specs.Architecture(name="convnet3", width=8, norm="instance")
RECIPE = specs.Recipe(epochs=4)
DISTILLED = specs.Distilled(dataset=DIGITS, ipc=5, factor=2, steps=60)
CONDENSED = specs.Condensed(dataset=DIGITS, ipc=5, factor=2, steps=60)
DATA = {"real": specs.Real(), "published": specs.Published(name="mtt10@a1b2c3d4e5f6"),
        "coreset": specs.Coreset(ipc=10, factor=2, seed=0), "distilled": DISTILLED, "condensed": CONDENSED,
        "noise": specs.Noise(ipc=5, factor=2, seed=0), "shuffled": specs.Shuffled(of=specs.Real(), seed=0),
        "shuffled, distilled": specs.Shuffled(of=DISTILLED, seed=0), "awaited": specs.Awaited(name="idc10", ipc=10, factor=2)}


def search(data: specs.PruningData = DISTILLED, rewind: str | int = "full", **others: object) -> specs.Search:
    return specs.Search(**{"data": data, "recipe": RECIPE, "rewind": rewind, "seed": 0} | others)


def subnetwork(level: int = 2, searched: specs.Search | None = None, init_seed: int = 0) -> specs.Subnetwork:
    return specs.Subnetwork(dataset=DIGITS, architecture=NET, init_seed=init_seed, search=searched or search(), level=level)


def trained(of: specs.Subnetwork | None = None, order: int = 0, **others: object) -> specs.Trained:
    return specs.Trained(**{"subnetwork": of or subnetwork(), "data": specs.Real(), "recipe": RECIPE,
                            "order_seed": order} | others)


def path(of: specs.Subnetwork | None = None, **others: object) -> specs.Path:
    return specs.Path(ends=(trained(of, 0), trained(of, 1)), **others)


OTHER_WAYS = {
    "on a start": search(specs.Real(), start=specs.Start(search=search(), level=2)),
    "at initialisation": specs.AtInitialisation(criterion="synflow"), "snip": specs.AtInitialisation(criterion="snip", seed=1),
    "same densities": specs.SameDensities(of=search(), seed=4)}


def known() -> dict[str, specs.Entry]:
    """At least one of each kind, with every kind of pruning data and every rewind in one's ancestry."""
    found: dict[str, specs.Entry] = {
        "distilled": DISTILLED, "condensed": CONDENSED, "subnetwork, dense": subnetwork(0), "path": path(),
        "path, dense": path(subnetwork(0)), "path, recomputed": path(batch_norm="recomputed", points=31),
        "trained, stopped": trained(subnetwork(0), stop_epoch=2),
        "trained, cifar10": trained(specs.Subnetwork(dataset=CIFAR, architecture=NET, init_seed=1), 3)}
    of = trained()
    found |= {"evaluation": specs.Evaluation(of=of), "path, aligned": path(aligned=True),
              "diagonal": specs.Diagonal(of=of, batches=2),
              "plane": specs.Plane(models=tuple(trained(order=order) for order in range(4)), side=25, per_class=50),
              "trained, whitened": trained(specs.Subnetwork(dataset=CIFAR.model_copy(update={"whitened": True}), architecture=NET,
                                                            init_seed=1))}
    for name, searched in OTHER_WAYS.items():
        found[f"subnetwork, {name}"] = subnetwork(3, searched)
    for name, data in DATA.items():
        found |= {f"subnetwork, {name}": subnetwork(3, search(data)), f"trained, {name}": trained(data=data)}
    for rewind in ("weights", 3):
        of = subnetwork(2, search(rewind=rewind))
        found |= {f"subnetwork, rewind {rewind}": of, f"trained, rewind {rewind}": trained(of)}
    return found


def test_keys_are_those_pinned() -> None:
    pinned, now = json.loads(KEYS.read_text()), {name: entry.key for name, entry in known().items()}
    moved = sorted(name for name in pinned | now if pinned.get(name) != now.get(name))
    assert not moved, f"keys moved: {moved}; results under the old ones would be lost"
    assert {entry.kind for entry in known().values()} == set(specs.versions()), "a kind has no pinned key"
    assert len(set(now.values())) == len(now)


def test_keys_are_the_same_in_another_process() -> None:
    code = "import test_specs as t; print({n: e.key for n, e in t.known().items()})"
    for seed in ("1", "2"):
        printed = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, text=True,
                                 cwd=Path(__file__).parent, capture_output=True, check=True).stdout
        assert ast.literal_eval(printed) == {name: entry.key for name, entry in known().items()}


def test_a_number_is_one_number_however_it_is_written() -> None:
    for field, value in (("lr", 1), ("cutmix", 1), ("weight_decay", 0)):
        one, other = (trained(recipe=specs.Recipe(epochs=4, **{field: kind(value)})) for kind in (int, float))
        assert one.key == other.key and one == other
    assert trained(order=1.0).key == trained(order=1).key


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        specs.Recipe(epochs=1, lr=value)


def test_the_order_of_fields_means_nothing() -> None:
    fields = {"ipc": 5, "factor": 2, "steps": 60, "dataset": DIGITS}
    assert specs.Distilled(**fields).key == specs.Distilled(**dict(reversed(fields.items()))).key == DISTILLED.key


CHANGES = [
    (DISTILLED, {"dataset": CIFAR, "ipc": 6, "factor": 3, "steps": 61, "lr": 0.5, "real_batch": 33, "width": 17, "seed": 1}),
    (CONDENSED, {"dataset": CIFAR, "ipc": 6, "factor": 3, "steps": 61, "inner": 50, "lr": 0.5, "real_batch": 33,
                 "trained_images": 100, "width": 17, "seed": 1}),
    (subnetwork(), {"dataset": CIFAR, "architecture": NET.model_copy(update={"norm": "batch"}), "init_seed": 1, "level": 3,
                    "search": search(seed=1)}),
    (trained(), {"subnetwork": subnetwork(3), "data": DISTILLED, "recipe": RECIPE.model_copy(update={"decay": 0.1}),
                 "order_seed": 1, "stop_epoch": 1}),
    (path(), {"ends": (trained(order=0), trained(order=2)), "points": 31, "batch_norm": "recomputed", "aligned": True}),
    (specs.Evaluation(of=trained()), {"of": trained(order=1)}),
    (specs.Plane(models=tuple(trained(order=order) for order in range(3)), side=5, per_class=5),
     {"models": tuple(trained(order=order) for order in range(4)), "side": 6, "per_class": 6}),
    (specs.Diagonal(of=trained(), batches=2), {"of": trained(order=1), "batches": 3, "batch": 32, "seed": 1}),
]


def test_every_field_of_every_kind_is_in_the_key() -> None:
    for entry, changes in CHANGES:
        assert changes.keys() == type(entry).model_fields.keys()
        assert entry.key  # known before the copies are made: none may inherit it
        keys = {entry.model_copy(update={name: value}).key for name, value in changes.items()}
        assert len(keys | {entry.key}) == len(changes) + 1, entry.kind


def test_every_field_of_a_value_is_in_the_key() -> None:
    variants = [
        (RECIPE, {"epochs": 5, "batch": 65, "lr": 0.02, "momentum": 0.8, "weight_decay": 0, "milestones": (0.5,),
                  "decay": 0.1, "augment": False, "cutmix": 0}, lambda recipe: trained(recipe=recipe)),
        (NET, {"name": "resnet10", "width": 9, "norm": "batch"},
         lambda net: specs.Subnetwork(dataset=DIGITS, architecture=net, init_seed=0)),
        (CIFAR, {"name": "digits", "pixels": 32, "train_per_class": None, "whitened": True, "test_per_class": 9},
         lambda data: specs.Subnetwork(dataset=data, architecture=NET, init_seed=0)),
        (search(), {"data": specs.Real(), "recipe": RECIPE.model_copy(update={"lr": 0.3}), "fraction": 0.3,
                    "rewind": "weights", "seed": 1, "start": specs.Start(search=search(seed=2), level=1)},
         lambda search: subnetwork(2, search)),
        (OTHER_WAYS["at initialisation"], {"criterion": "random", "fraction": 0.3, "per_class": 9, "seed": 1},
         lambda search: subnetwork(1, search)),
        (OTHER_WAYS["same densities"], {"of": search(seed=2), "seed": 5}, lambda search: subnetwork(1, search)),
        (DATA["noise"], {"ipc": 6, "factor": 1, "seed": 1}, lambda data: trained(data=data)),
        (DATA["shuffled"], {"of": DISTILLED, "seed": 1}, lambda data: trained(data=data)),
        (DATA["awaited"], {"name": "idc11", "ipc": 11, "factor": 1}, lambda data: trained(data=data)),
        (DATA["coreset"], {"ipc": 11, "factor": 1, "seed": 1}, lambda data: trained(data=data)),
        (DATA["published"], {"name": "mtt10@a1b2c3d4e5f7"}, lambda data: trained(data=data)),
    ]
    for value, changes, within in variants:
        assert changes.keys() == type(value).model_fields.keys()
        keys = {within(value.model_copy(update={name: changed})).key for name, changed in changes.items()}
        assert len(keys | {within(value).key}) == len(changes) + 1, type(value).__name__


def test_a_parent_changes_its_children() -> None:
    other = subnetwork(2, search(DISTILLED.model_copy(update={"steps": 61})))
    assert other.key != subnetwork().key
    assert trained(other).key != trained().key
    assert path(other).key != path().key


@pytest.mark.parametrize("kind", specs.ENTRIES)
def test_a_raised_version_renames_the_kind_and_what_rests_on_it(kind: type[specs.Entry],
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: entry.key for name, entry in known().items()}
    monkeypatch.setattr(kind, "version", kind.version + 1)
    for made in (DISTILLED, CONDENSED):  # the only entries here that outlive a call, with the names they know
        monkeypatch.delitem(vars(made), "key")
    for name, entry in known().items():
        rests_on_it = any(isinstance(e, kind) for e in specs.closure([entry])) or (
            # The dense subnetwork is no parent, for it has nothing to compute; it is part of the name all the same.
            kind is specs.Subnetwork and not isinstance(entry, specs.Made))
        assert (entry.key != before[name]) == rests_on_it, name


def test_a_later_field_at_its_default_leaves_old_names_alone() -> None:
    class Thing(specs.Entry):
        size: int

    first = Thing(size=1).key

    class Thing(specs.Entry):  # the same kind, a year on
        later: ClassVar[frozenset[str]] = frozenset({"mood"})
        size: int
        mood: str = "as before"

    assert Thing(size=1).key == Thing(size=1, mood="as before").key == first
    assert Thing(size=1, mood="new").key != first

    class Thing(specs.Entry):  # what happens where `later` is forgotten
        size: int
        mood: str = "as before"

    assert Thing(size=1).key != first


def test_the_dense_network_is_one_whatever_the_search() -> None:
    dense = specs.Subnetwork(dataset=DIGITS, architecture=NET, init_seed=0)
    for data in DATA.values():
        for rewind in ("full", "weights", 2):
            assert subnetwork(0, search(data, rewind)) == dense
            assert subnetwork(4, search(data, rewind)).at(0).key == dense.key
    assert dense.parents == ()


def test_a_round_of_imp_is_the_retraining_of_the_level_below() -> None:
    imp = search(specs.Real())
    assert subnetwork(3, imp).round.key == trained(subnetwork(2, imp), imp.seed).key


def test_up_to_its_level_a_start_is_the_search_it_comes_from() -> None:
    synthetic, imp = search(), OTHER_WAYS["on a start"]
    assert [subnetwork(level, imp) == subnetwork(level, synthetic) for level in range(5)] == [True, True, True, False, False]
    assert subnetwork(3, imp).round == trained(subnetwork(2, synthetic), imp.seed)  # on real data, from the synthetic mask
    assert subnetwork(5, imp).at(2) == subnetwork(2, synthetic)


def test_masks_at_initialisation_rest_on_nothing_and_random_ones_on_those_they_copy() -> None:
    assert subnetwork(3, OTHER_WAYS["snip"]).parents == () and subnetwork(3, OTHER_WAYS["snip"]).round is None
    assert subnetwork(3, OTHER_WAYS["same densities"]).parents == (subnetwork(3),)


def test_shuffled_labels_rest_on_the_set_they_shuffle() -> None:
    assert DISTILLED in trained(data=DATA["shuffled, distilled"]).parents
    assert trained(data=DATA["shuffled"]).parents == (subnetwork(),)


def test_a_plane_goes_through_different_trainings_of_one_subnetwork() -> None:
    for models in ((trained(order=0),) * 3, (trained(), trained(order=1), trained(subnetwork(1)))):
        with pytest.raises(ValidationError, match="different trainings of one subnetwork"):
            specs.Plane(models=models, side=5, per_class=5)


def test_an_epoch_rewind_rests_on_the_first_round() -> None:
    of = subnetwork(2, search(rewind=3))
    assert of.rewind_point == trained(subnetwork(0), data=DISTILLED, stop_epoch=3)
    assert of.rewind_point in trained(of).parents
    assert trained(of).first_epoch == 3
    assert subnetwork(2).rewind_point is None and trained().first_epoch == 0


@pytest.mark.parametrize("points", [1, 4, 10])
def test_a_path_without_a_midpoint_is_refused(points: int) -> None:
    with pytest.raises(ValidationError, match="odd|greater"):
        path(points=points)


def test_a_path_between_two_subnetworks_is_refused() -> None:
    with pytest.raises(ValidationError, match="one subnetwork"):
        specs.Path(ends=(trained(subnetwork(1)), trained(subnetwork(2))))


def test_a_sparse_subnetwork_needs_a_search_and_a_field_must_exist() -> None:
    with pytest.raises(ValidationError, match="needs a search"):
        specs.Subnetwork(dataset=DIGITS, architecture=NET, init_seed=0, level=1)
    with pytest.raises(ValidationError, match="Extra inputs"):
        specs.Recipe(epochs=1, epoch=2)


def test_closure_lists_parents_first_and_each_once() -> None:
    whole = specs.closure(list(known().values()))
    assert len(set(whole)) == len(whole)
    for place, entry in enumerate(whole):
        assert all(parent in whole[:place] for parent in entry.parents)


if __name__ == "__main__":
    KEYS.write_text(json.dumps({name: entry.key for name, entry in known().items()}, indent=1) + "\n")
