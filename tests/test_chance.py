"""A synthetic set from which a network learns nothing is flagged, with the likely reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthprune.data.datasets import load
from synthprune.data.synthetic import SyntheticSet, keep, random_real
from synthprune.results import chance, specs
from synthprune.results.chance import alone, flags
from synthprune.results.solve import fill
from synthprune.results.store import Store

DIGITS = specs.Dataset(name="digits", pixels=16)
NETWORK = specs.Architecture(name="convnet3", width=8, norm="instance")


def mask_from(full: str, dataset: specs.Dataset = DIGITS, epochs: int = 60) -> specs.Subnetwork:
    """A mask found on the set: what chapters rest on."""
    recipe = specs.Recipe(epochs=epochs, lr=0.05, augment=False, cutmix=0)
    return specs.Subnetwork(dataset=dataset, architecture=NETWORK, init_seed=0, level=1,
                            search=specs.Search(data=specs.Published(name=full), recipe=recipe, seed=0))


def good() -> SyntheticSet:
    return random_real(load("digits"), 10, 1, seed=0)


HARM: dict[str, tuple[Callable[[SyntheticSet], SyntheticSet], str]] = {
    "good": (lambda of: of, ""),
    "labels turned": (lambda of: dataclasses.replace(of, labels=(of.labels + 3) % 10),
                      "its labels are in another order (answers are right"),
    "noise": (lambda of: dataclasses.replace(of, images=np.random.default_rng(0).random(of.images.shape, np.float32)),
              "its images seem to be whitened, or noise (neighbouring pixels correlate by"),
    "scale": (lambda of: dataclasses.replace(of, images=of.images[np.random.default_rng(0).permutation(100)] * 50),
              "its values seem to be on another scale (they deviate"),
    "labels shuffled": (lambda of: dataclasses.replace(of, labels=np.random.default_rng(1).permutation(of.labels)),
                        "neither another order of labels nor whitening nor scale shows"),
}


@pytest.mark.parametrize("case", HARM)
def test_a_set_that_teaches_nothing_is_flagged_with_the_likely_reason(case: str, home: Path) -> None:
    harm, expected = HARM[case]
    full, store = keep(harm(good()), "mine"), Store()
    mask = mask_from(full)
    assert flags([mask], store) == [], "nothing is known yet, and nothing is trained for it"
    fill([mask.round, mask], store, workers=1)
    assert flags([mask], store, computing=False) == []
    found = flags([mask], store)
    if not expected:
        assert found == []
        return
    (line,) = found
    assert line.startswith(f"a network trained on {full} alone gets ") and expected in line and "\n" not in line
    assert flags([mask], store, computing=False) == found, "what is stored is told without computing"
    if case == "labels turned":
        assert "digits right, as a guess may" in line and "0 for 7" in line


def test_what_cannot_be_told_from_what_is_here_is_passed_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, store = keep(HARM["noise"][0](good()), "mine"), Store()
    mask = mask_from(full)
    fill([mask.round, mask], store, workers=1)
    with monkeypatch.context() as away:
        away.setattr(chance, "is_here", lambda name: False)
        assert flags([mask], store) == []
    assert len(flags([mask], store)) == 1
    for file in (home / "data" / "synthetic").iterdir():
        file.unlink()
    (line,) = flags([mask], store)
    assert full in line


def test_only_imported_sets_are_looked_at() -> None:
    mask = mask_from("mine@0123456789ab")
    (evaluation,) = alone([mask, mask.at(2)])
    assert evaluation.of == mask.round
    own = mask.search.model_copy(update={"data": specs.Coreset(ipc=1, factor=1, seed=0)})
    assert alone([mask.model_copy(update={"search": own})]) == []
