"""The augmentation of photographs, image by image against torchvision, and its draws against what they should be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as vision
from scipy.stats import kstest

from synthprune.data import photo as room
from synthprune.data.photo import crops, jittered, photo, resized


def images(count: int, side: int = 32, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.uniform(low, high, (count, 3, side, side)).astype(np.float32))


@pytest.mark.parametrize("side", [33, 64])
def test_crops_are_torchvisions(side: int) -> None:
    batch, boxes = images(40, side), crops(40, side, np.random.default_rng(1))
    boxes[0] = 0, 0, side, side
    mirrored = np.arange(40) % 3 == 0
    found = resized(batch, boxes, mirrored)
    for image, box, mirror, got in zip(batch, boxes.tolist(), mirrored, found, strict=True):
        expected = vision.resized_crop(image, *box, [side, side], antialias=True)
        torch.testing.assert_close(got, vision.hflip(expected) if mirror else expected, atol=2e-5, rtol=0)
    assert torch.allclose(found[0], batch[0].flip(2), atol=2e-5)


@pytest.mark.parametrize("order", [*itertools.permutations(("brightness", "contrast", "saturation"))])
def test_jitter_is_torchvisions_in_any_order(order: tuple[str, ...]) -> None:
    """In a range where torchvision, which clips, has nothing to clip. Its grey weighs red .2989, ours .299."""
    batch = images(20, 8, 0.35, 0.5)
    factors = {name: np.random.default_rng(seed).uniform(0.6, 1.4, 20) for seed, name in enumerate(sorted(order))}
    found = jittered(batch, **factors)
    for i, image in enumerate(batch):
        for name in order:
            image = getattr(vision, f"adjust_{name}")(image, float(factors[name][i]))
        torch.testing.assert_close(found[i], image, atol=2e-4, rtol=0)
    assert (found - batch).abs().max() > 0.1


def test_crops_have_torchvisions_areas_ratios_and_places() -> None:
    side = 1000
    top, left, height, width = crops(4000, side, np.random.default_rng(3)).T
    assert min(top.min(), left.min()) == 0 or min(top.min(), left.min()) < 5
    assert (top + height <= side).all() and (left + width <= side).all()
    area, ratio = height * width / side**2, width / height
    assert 0.499 < area.min() < 0.51 and area.max() > 0.97
    assert 0.749 < ratio.min() < 0.76 and 1.32 < ratio.max() < 1.335
    assert abs(np.log(ratio).mean()) < 0.01
    # Among crops of a given size every place is as likely; sizes that do not fit were drawn again, small ones never.
    for place, size in ((top, height), (left, width)):
        loose = size < side
        assert kstest((place[loose] + 0.5) / (side - size[loose] + 1), "uniform").pvalue > 1e-3
    # Of the draws that fit (|log ratio| <= -log area), by a sum over a fine grid of area and ratio.
    areas, ratios = np.meshgrid(np.linspace(0.5, 1, 1001), np.linspace(0, np.log(4 / 3), 1001))
    assert area.mean() == pytest.approx(areas[ratios <= -np.log(areas)].mean(), abs=0.006)


def test_what_cannot_be_cropped_in_ten_draws_stays_whole() -> None:
    class Wide:
        """Draws the widest ratio and the whole area, always."""

        def uniform(self, low: float, high: float, size: tuple[int, int]) -> np.ndarray:
            return np.full(size, high)

        def integers(self, high: np.ndarray) -> np.ndarray:
            return high - 1

    assert crops(3, 20, Wide()).tolist() == [[0, 0, 20, 20]] * 3


def test_every_image_has_draws_of_its_own_in_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    n, seen = 4000, {}
    monkeypatch.setattr(room, "jittered", lambda x, *factors: seen.update(factors=factors) or x * 0)
    monkeypatch.setattr(room, "resized", lambda x, boxes, mirrored: seen.update(mirrored=mirrored) or x)
    light = photo(torch.zeros(n, 3, 2, 2), np.random.default_rng(4)).double().numpy()
    assert seen["mirrored"].mean() == pytest.approx(0.5, abs=0.03)
    for factor in seen["factors"]:
        assert kstest(factor, "uniform", (0.6, 0.8)).pvalue > 1e-3
    assert np.abs(np.corrcoef([*seen["factors"], light[:, 0, 0, 0]]) - np.eye(4)).max() < 0.06
    # Lighting is normal along each principal colour, by .1 times its deviation, and the same for every pixel.
    assert np.array_equal(light, np.broadcast_to(light[..., :1, :1], light.shape))
    colours = np.array(room.COLOURS)
    for k, deviation in enumerate((0.2175, 0.0188, 0.0045)):
        along = light[:, :, 0, 0] @ np.linalg.inv(colours).T[:, k]
        assert kstest(along / (0.1 * deviation), "norm").pvalue > 1e-3


def test_the_colours_are_directions() -> None:
    """Orthonormal, to the four digits they are published with."""
    colours = np.array(room.COLOURS)
    np.testing.assert_allclose(colours.T @ colours, np.eye(3), atol=2e-4)


def test_photo_is_its_parts_and_depends_on_the_generator_alone() -> None:
    batch = images(6)
    found = photo(batch, np.random.default_rng(5))
    torch.manual_seed(1)
    assert torch.equal(found, photo(batch, np.random.default_rng(5))) and found.dtype == torch.float32
    assert not torch.equal(found, photo(batch, np.random.default_rng(6)))
    rng = np.random.default_rng(5)
    boxes, mirrored = crops(6, 32, rng), rng.random(6) < 0.5
    brightness, contrast, saturation = rng.uniform(0.6, 1.4, (3, 6))
    alpha = rng.normal(0, 0.1, (6, 3))
    expected = jittered(resized(batch, boxes, mirrored), brightness, contrast, saturation).numpy()
    for i in range(6):
        shift = sum(alpha[i, k] * room.COLOUR_DEVIATIONS[k] * np.array(room.COLOURS)[:, k] for k in range(3))
        np.testing.assert_allclose(found[i], expected[i] + shift[:, None, None], atol=1e-6)
