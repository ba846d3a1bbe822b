"""DiffAug and CutMix against draws made by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from synthprune.data.augment import changed, cutmix, diffaug, drawn
from synthprune.seeds import generator

GEOMETRIES = ("crop", "scale", "rotate")
NEUTRAL_SCALE = (1 - 1 / 1.2) / (1.2 - 1 / 1.2)
NEUTRAL = {"crop": 0.5, "scale": NEUTRAL_SCALE, "rotate": 0.5}


class Draws:
    """A generator whose draws are given: neutral, but for those named."""

    def __init__(self, geometry: str, **named: float | list[float]) -> None:
        self.geometry = geometry
        self.values = {"flip": 0.5, "brightness": 0.5, "saturation": 0.5, "contrast": 0.5,
                       "u": NEUTRAL[geometry], "v": NEUTRAL[geometry]} | named

    def random(self, shape: tuple[int, int]) -> np.ndarray:
        return np.stack([np.broadcast_to(np.asarray(value, float), shape[1:]) for value in self.values.values()])

    def integers(self, high: int) -> int:
        assert high == len(GEOMETRIES)
        return GEOMETRIES.index(self.geometry)


def batch(count: int = 3, channels: int = 3, side: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, channels, side, side)).astype(np.float32))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("flip", [True, False])
def test_neutral_draws_change_nothing(geometry: str, flip: bool) -> None:
    images = batch()
    torch.testing.assert_close(diffaug(images, Draws(geometry), flip=flip), images, atol=1e-5, rtol=0)


def test_each_image_is_mirrored_by_its_own_draw_and_only_where_that_is_allowed() -> None:
    images = batch()
    mirrored = diffaug(images, Draws("crop", flip=[0.0, 0.499, 0.5]), flip=True)
    torch.testing.assert_close(mirrored, torch.cat([images[:2].flip(3), images[2:]]), atol=1e-5, rtol=0)
    left = diffaug(images, Draws("crop", flip=[0.0, 0.499, 0.5]), flip=False)
    torch.testing.assert_close(left, images, atol=1e-5, rtol=0)


def test_colour_reaches_the_ends_of_its_ranges() -> None:
    images = batch(2)
    grey, level = images.mean(1, keepdim=True), images.mean((1, 2, 3), keepdim=True)
    ends = {"brightness": (images - 0.5, images + 0.5), "saturation": (grey.expand_as(images), 2 * images - grey),
            "contrast": ((images + level) / 2, 1.5 * images - level / 2)}
    for name, (least, most) in ends.items():
        found = diffaug(images, Draws("crop", **{name: [0.0, 1.0]}), flip=False)
        torch.testing.assert_close(found, torch.stack([least[0], most[1]]), atol=1e-5, rtol=0)


def test_colours_are_changed_one_after_the_other() -> None:
    """Brightness, then saturation, then contrast, each about the means of what the one before it left."""
    images = batch(2)
    bright = images + torch.tensor([0.3, -0.4])[:, None, None, None]
    grey = bright.mean(1, keepdim=True)
    vivid = (bright - grey) * torch.tensor([0.4, 1.6])[:, None, None, None] + grey
    level = vivid.mean((1, 2, 3), keepdim=True)
    wanted = (vivid - level) * torch.tensor([1.4, 0.6])[:, None, None, None] + level
    draws = Draws("crop", brightness=[0.8, 0.1], saturation=[0.2, 0.8], contrast=[0.9, 0.1])
    torch.testing.assert_close(diffaug(images, draws, flip=False), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_what_is_mirrored_is_mirrored_before_it_is_moved(geometry: str) -> None:
    images, moved = batch(), {"u": [0.1, 0.6, 0.9], "v": [0.7, 0.2, 0.4]}
    found = diffaug(images, Draws(geometry, flip=[0.0, 0.9, 0.4], **moved), flip=True)
    before = torch.stack([images[0].flip(2), images[1], images[2].flip(2)])
    torch.testing.assert_close(found, diffaug(before, Draws(geometry, **moved), flip=False), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("side", "reach"), [(16, 2), (32, 4)])
def test_a_shift_is_by_whole_pixels_with_zeros_behind(side: int, reach: int) -> None:
    moves = range(-reach, reach + 1)
    draws = [(reach - move + 0.5) / (2 * reach + 1) for move in moves]
    images = batch(len(draws), 1, side)
    found = diffaug(images, Draws("crop", u=draws, v=draws[::-1]), flip=False)
    expected = [ndimage.shift(image[0], (down, -down), order=0)[None] for image, down in zip(images, moves, strict=True)]
    assert torch.equal(found, torch.from_numpy(np.stack(expected)))  # nothing is interpolated


def test_the_largest_draw_below_one_stays_inside() -> None:
    images = batch(1)
    last = float(np.nextafter(1, 0))  # times the number of moves it is not below that number in float32
    found = diffaug(images, Draws("crop", u=last, v=last), flip=False)
    torch.testing.assert_close(found[..., :14, :14], images[..., 2:, 2:], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("u", "v"), [(0.0, 1.0), (1.0, 0.0), (0.3, 0.8)])
@pytest.mark.parametrize("geometry", ["scale", "rotate"])
def test_scale_and_rotation_equal_scipys(geometry: str, u: float, v: float) -> None:
    if geometry == "scale":
        matrix = np.diag([1 / 1.2 + v * (1.2 - 1 / 1.2), 1 / 1.2 + u * (1.2 - 1 / 1.2)])  # rows, columns
    else:
        cosine, sine = np.cos(np.deg2rad(30 * u - 15)), np.sin(np.deg2rad(30 * u - 15))
        matrix = np.array([[cosine, sine], [-sine, cosine]])
    images, centre = batch(2, 1), np.full(2, 7.5)
    found = diffaug(images, Draws(geometry, u=u, v=v), flip=False)
    expected = [ndimage.affine_transform(image[0].numpy(), matrix, centre - matrix @ centre, order=1, mode="grid-constant")[None]
                for image in images]
    torch.testing.assert_close(found, torch.from_numpy(np.stack(expected)), atol=1e-4, rtol=0)


def test_images_of_a_batch_are_drawn_apart_unless_the_draw_is_shared() -> None:
    images = batch(1).expand(4, -1, -1, -1)
    for step in range(12):
        shared = diffaug(images, generator(0, "augment", step), flip=True, shared=True)
        assert torch.equal(shared, shared[:1].expand_as(shared))
        apart = diffaug(images, generator(0, "augment", step), flip=True)
        assert len({image.numpy().tobytes() for image in apart}) == 4


def test_batches_changed_together_are_changed_as_they_would_be_apart() -> None:
    """Each by its own draws and its own geometry."""
    images, sizes = batch(11), (4, 4, 3)
    rngs = [generator(0, "augment", step) for step in range(3)]
    draws = [drawn(rng, size, 16, flip=True) for rng, size in zip(rngs, sizes, strict=True)]
    together = changed(images, np.concatenate(draws, 1))
    apart = [diffaug(part, generator(0, "augment", step), flip=True) for step, part in enumerate(images.split(4))]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=0)


def test_the_generator_alone_decides() -> None:
    images = batch()
    torch.manual_seed(1)
    first = diffaug(images, generator(5, "augment", 7), flip=True)
    torch.manual_seed(2)
    assert torch.equal(first, diffaug(images, generator(5, "augment", 7), flip=True))
    assert not torch.allclose(first, diffaug(images, generator(5, "augment", 8), flip=True))


def test_every_geometry_is_drawn_about_equally_often() -> None:
    """On a constant image without colour changes, only a shift leaves whole zero rows and only a rotation a slope."""
    kinds = [kind_of(diffaug(torch.ones(1, 1, 16, 16), OnlyGeometry(step), flip=False)[0, 0]) for step in range(300)]
    counts = [kinds.count(name) for name in GEOMETRIES]
    assert sum(counts) == 300 and min(counts) > 60  # five deviations below 100


class OnlyGeometry(Draws):
    """Colours neutral, both geometric draws 0.99; the geometry itself from a real generator."""

    def __init__(self, step: int) -> None:
        super().__init__("crop", u=0.99, v=0.99)
        self.rng = generator(0, "augment", step)

    def integers(self, high: int) -> int:
        return int(self.rng.integers(high))


def kind_of(image: torch.Tensor) -> str:
    if torch.equal(image[-2:], torch.zeros(2, 16)):
        return "crop"
    return "scale" if torch.allclose(image, image.T) and torch.allclose(image, image.flip(0)) else "rotate"


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients_pass_through(geometry: str) -> None:
    images = batch(2, 2, 5).double().requires_grad_()
    draws = Draws(geometry, flip=0.1, brightness=0.3, saturation=0.8, contrast=0.9, u=0.31, v=0.77)
    assert torch.autograd.gradcheck(lambda x: diffaug(x, draws, flip=True), images)


def numbered(count: int = 7, side: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Images filled with their own number, which is their label too."""
    labels = torch.arange(count)
    return labels.float()[:, None, None, None].expand(count, 1, side, side).clone(), labels


def test_cutmix_weighs_by_the_pixels_that_are_left_and_labels_by_where_the_box_came_from() -> None:
    weights = []
    for step in range(200):
        mixed, labels = numbered()
        pasted, weight = cutmix(mixed, labels, generator(0, "augment", step), 1.0)
        assert sorted(pasted.tolist()) == labels.tolist()
        moved = pasted != labels
        foreign = mixed[:, 0] == pasted[:, None, None]
        assert torch.equal(mixed[:, 0], torch.where(foreign, pasted[:, None, None], labels[:, None, None]).float())
        boxes = foreign[moved]
        assert all(box.sum() == box.any(0).sum() * box.any(1).sum() and torch.equal(box, boxes[0]) for box in boxes)
        assert all(int(box.sum()) == round(64 * (1 - weight)) and weight == 1 - int(box.sum()) / 64 for box in boxes)
        weights.append(weight)
    assert min(weights) < 0.5 and max(weights) > 0.9


def test_cutmix_box_sizes_follow_the_paper() -> None:
    """Sides are sqrt(1 - l) with l uniform; the clipped share's mean, by integrating it on a grid, is about 0.33."""
    side, share = 16, []
    for cut in (side * np.sqrt((np.arange(400) + 0.5) / 400)).astype(int):
        edge = np.minimum(np.arange(side) + cut // 2, side) - np.maximum(np.arange(side) - cut // 2, 0)
        share.append(np.mean(edge) ** 2 / side**2)
    images, labels = torch.zeros(2, 1, side, side), torch.arange(2)
    found = [1 - cutmix(images, labels, generator(1, "augment", step), 1.0)[1] for step in range(3000)]
    assert np.mean(found) == pytest.approx(np.mean(share), abs=5 * np.std(found) / np.sqrt(len(found)))


def test_cutmix_happens_with_its_probability() -> None:
    images, labels = numbered()
    pasted, weight = cutmix(images, labels, generator(0, "augment"), 0.0)
    assert torch.equal(images, numbered()[0]) and torch.equal(pasted, labels) and weight == 1.0
    happened = sum(not torch.equal(cutmix(images, labels, generator(0, "augment", step), 0.25)[0], labels) for step in range(800))
    assert 140 < happened < 260  # 200, five deviations of 12
