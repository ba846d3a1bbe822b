"""Overlap of masks by hand, and its null against every pair of masks there is."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import hypergeom

from synthprune.analysis.masks import Overlap, by_chance, densities, overlaps, total
from synthprune.problems import Problem


def random_masks(sizes: list[tuple[int, int]], seed: int) -> dict[str, np.ndarray]:
    """Masks of (size, survivors) per layer."""
    rng = np.random.default_rng(seed)
    return {f"layer{i}": rng.permutation(size) < alive for i, (size, alive) in enumerate(sizes)}


def test_overlap_by_hand() -> None:
    first = {"a": np.array([[True, True], [False, False]]), "b": np.array([True, False, False])}
    second = {"a": np.array([[True, False], [True, False]]), "b": np.array([True, False, False])}
    layers = overlaps(first, second)
    assert layers == {"a": Overlap(4, 2, 2, 1), "b": Overlap(3, 1, 1, 1)}
    assert layers["a"].jaccard == 1 / 3 and layers["a"].hamming == 2 / 4
    assert layers["b"].jaccard == 1 and layers["b"].hamming == 0
    assert total(layers.values()) == Overlap(7, 3, 3, 2)
    assert densities(first) == {"a": 0.5, "b": 1 / 3}


def measured(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> tuple[float, float, float]:
    """Common survivors, Jaccard and Hamming of two masks, counted position by position."""
    a, b = np.concatenate(first), np.concatenate(second)
    both = sum(x and y for x, y in zip(a, b, strict=True))
    either = sum(x or y for x, y in zip(a, b, strict=True))
    return both, both / either, sum(x != y for x, y in zip(a, b, strict=True)) / len(a)


def every_mask(size: int, alive: int) -> list[np.ndarray]:
    return [np.isin(np.arange(size), chosen) for chosen in itertools.combinations(range(size), alive)]


# (size, survivors of the first, of the second) per layer: the last two must share weights, or are full.
@pytest.mark.parametrize("layers", [[(5, 2, 3)], [(4, 1, 2), (4, 3, 3)], [(4, 3, 2), (3, 3, 1), (3, 2, 2)]])
def test_the_null_is_that_of_every_pair_of_masks(layers: list[tuple[int, int, int]]) -> None:
    firsts = list(itertools.product(*(every_mask(size, a) for size, a, _ in layers)))
    seconds = list(itertools.product(*(every_mask(size, b) for size, _, b in layers)))
    values = np.array([measured(first, second) for first in firsts for second in seconds])
    chance = by_chance([Overlap(size, a, b, 0) for size, a, b in layers])
    for column, name in enumerate(("both", "jaccard", "hamming")):
        assert chance[name].mean == pytest.approx(values[:, column].mean(), rel=1e-12)
        assert chance[name].deviation == pytest.approx(values[:, column].std(), rel=1e-12)


def test_the_null_of_large_layers_is_scipys_hypergeometric() -> None:
    """The sizes of the paper's ConvNet-3 at level 9; their sum by its closed moments."""
    counts = [(3456, 2900, 2700), (147456, 22000, 15000), (147456, 11000, 20000), (20480, 2000, 5000)]
    laws = [hypergeom(size, a, b) for size, a, b in counts]
    one = by_chance([Overlap(*counts[1], 0)])
    assert one["both"].mean == pytest.approx(laws[1].mean(), rel=1e-12)
    assert one["both"].deviation == pytest.approx(laws[1].std(), rel=1e-10)
    k = np.arange(15001)
    assert one["jaccard"].mean == pytest.approx(np.sum(laws[1].pmf(k) * k / (37000 - k)), rel=1e-8)
    together = by_chance([Overlap(*count, 0) for count in counts])
    assert together["both"].mean == pytest.approx(sum(law.mean() for law in laws), rel=1e-12)
    assert together["both"].deviation == pytest.approx(math.sqrt(sum(law.var() for law in laws)), rel=1e-10)


def test_scores_of_random_masks_are_standard_and_of_equal_ones_enormous() -> None:
    sizes = [(300, 200), (2000, 300), (500, 20)]
    scores = []
    for seed in range(400):
        layers = overlaps(random_masks(sizes, seed), random_masks(sizes, 1000 + seed))
        scores.append(by_chance(layers.values())["jaccard"].z(total(layers.values()).jaccard))
    assert abs(np.mean(scores)) < 0.2 and 0.9 < np.std(scores) < 1.1
    same = overlaps(random_masks(sizes, 0), random_masks(sizes, 0))
    assert by_chance(same.values())["jaccard"].z(total(same.values()).jaccard) > 20


def test_what_cannot_vary_has_no_score() -> None:
    full, empty = Overlap(6, 6, 6, 6), Overlap(6, 0, 0, 0)
    assert by_chance([full])["jaccard"].mean == 1 and math.isnan(by_chance([full])["jaccard"].z(full.jaccard))
    assert math.isnan(empty.jaccard) and empty.hamming == 0
    assert math.isnan(by_chance([empty])["jaccard"].mean)
    assert by_chance([empty, Overlap(4, 2, 2, 2)])["both"].mean == 1


def test_masks_of_different_networks_are_refused() -> None:
    with pytest.raises(Problem, match=r"layer 'a' is \(4,\) in one mask and \(5,\) in the other"):
        overlaps({"a": np.ones(4, bool)}, {"a": np.ones(5, bool)})
    with pytest.raises(Problem, match="layer 'a' is .* absent"):
        overlaps({"a": np.ones(4, bool)}, {"b": np.ones(4, bool)})


def test_a_stored_page_needs_no_torch() -> None:
    code = "import sys, synthprune.analysis.masks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
