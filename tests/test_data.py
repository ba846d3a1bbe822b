"""Decode, coresets, noise, subsets by content, whitening, and the ways in which data sets come in."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import random
import tarfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from pictures import Toucher, file_of, folder_of, picture, real, tar_of
from PIL import Image

from synthprune.data import imports
from synthprune.data.datasets import average, load
from synthprune.data.facts import CIFAR10, CIFAR100, FACTS, IMAGENET10
from synthprune.data.forms import read_images
from synthprune.data.images import by_content, content_hash, fingerprint
from synthprune.data.imports import import_dataset
from synthprune.data.synthetic import SyntheticSet, decode, keep, mix, noise, published, random_real, shuffled_labels
from synthprune.data.whitening import zca
from synthprune.problems import Problem

# Decode.


def test_decode_of_a_hand_built_image() -> None:
    # A tile [[0, 4], [8, 12]] is 4 x + 8 y, and twice as large x and y take the values 0, 1/4, 3/4, 1.
    tile = torch.tensor([[0.0, 4], [8, 12]])
    image = torch.cat([torch.cat([tile, tile + 100], 1), torch.cat([tile + 200, tile + 300], 1)])
    large = torch.tensor([[0.0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]])
    found = decode(image[None, None], 2, 1)
    assert torch.equal(found, torch.stack([large, large + 100, large + 200, large + 300])[:, None])


def test_decode_order_is_crop_by_crop_within_a_class() -> None:
    numbers = np.zeros((4, 1, 16, 16), np.float32)  # two classes, two images each; a quadrant holds 10 * image + its number
    for i in range(4):
        for k in range(4):
            numbers[i, 0, 8 * (k // 2): 8 * (k // 2) + 8, 8 * (k % 2): 8 * (k % 2) + 8] = 10 * i + k
    images, labels = SyntheticSet(numbers, np.array([0, 0, 1, 1]), 2).decoded(16)
    order = [0, 10, 1, 11, 2, 12, 3, 13, 20, 30, 21, 31, 22, 32, 23, 33]
    assert images[:, 0, 0, 0].tolist() == order and np.ptp(images, axis=(1, 2, 3)).max() == 0
    assert labels.tolist() == [0] * 8 + [1] * 8


def test_a_side_that_three_does_not_divide_is_padded_with_grey() -> None:
    """224 becomes 225 = 3 x 75: tiles begin at 0, 75 and 150, and the last ones end in a line of 0.5."""
    image = torch.arange(224.0)[:, None] + torch.arange(224.0) / 1000 + 1
    found = decode(image[None, None], 3, 1)[:, 0]
    assert found.shape == (9, 224, 224)
    assert [float(tile[0, 0]) for tile in found] == [float(image[75 * r, 75 * c]) for r in range(3) for c in range(3)]
    corners = [(74, 74), (74, 149), None, (149, 74), (149, 149), None, None, None, None]
    assert [float(tile[-1, -1]) for tile in found] == [0.5 if at is None else float(image[at]) for at in corners]
    assert (found[2][:, -1] == 0.5).all() and (found[6][-1] == 0.5).all() and (found[0][:, -1] > 1).all()


@pytest.mark.parametrize(("side", "factor"), [(8, 2), (9, 3), (8, 1)])
def test_decode_is_linear_and_its_gradient_is_its_adjoint(side: int, factor: int) -> None:
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=(4, 2, side, side))) for _ in range(2))
    torch.testing.assert_close(decode(2 * x - 3 * y, factor, 2), 2 * decode(x, factor, 2) - 3 * decode(y, factor, 2))
    x.requires_grad_()
    seen = decode(x, factor, 2)
    weight = torch.from_numpy(rng.normal(size=seen.shape))
    (gradient,) = torch.autograd.grad((seen * weight).sum(), x)
    torch.testing.assert_close((gradient * y).sum(), (decode(y, factor, 2) * weight).sum())


def test_mixing_takes_every_second_pixel_and_decoding_gives_the_order_back() -> None:
    images = torch.arange(8 * 16.0).reshape(8, 1, 4, 4)
    stored = mix(images, 2)
    assert torch.equal(stored[1, 0], torch.cat([torch.cat([images[1, 0, ::2, ::2], images[3, 0, ::2, ::2]], 1),
                                                torch.cat([images[5, 0, ::2, ::2], images[7, 0, ::2, ::2]], 1)]))
    flat = torch.arange(8.0)[:, None, None, None].expand(8, 1, 4, 4)
    assert torch.equal(decode(mix(flat, 2), 2, 1), flat)


def test_mixing_where_the_factor_does_not_divide_fills_the_image() -> None:
    stored = mix(torch.arange(1.0, 10)[:, None, None, None].expand(9, 1, 16, 16), 3)[0, 0]
    expected = torch.arange(1.0, 10).reshape(3, 3).repeat_interleave(torch.tensor([6, 6, 4]), 0)
    assert torch.equal(stored, expected.repeat_interleave(torch.tensor([6, 6, 4]), 1))


@pytest.mark.parametrize("factor", [5, 7, 17])
def test_a_factor_that_leaves_an_empty_tile_is_refused(factor: int) -> None:
    for call in (lambda: decode(torch.zeros(1, 1, 16, 16), factor, 1), lambda: mix(torch.zeros(factor**2, 1, 16, 16), factor)):
        with pytest.raises(Problem, match=f"images of 16 pixels cannot be cut by decode factor {factor}"):
            call()


# Random real coresets.


def test_a_coreset_is_balanced_and_made_of_training_images_of_its_class() -> None:
    split = load("digits")
    chosen = random_real(split, 3, 2, seed=0)
    assert chosen.labels.tolist() == np.repeat(np.arange(10), 3).tolist()
    used = set()
    for image, label in zip(chosen.images, chosen.labels, strict=True):
        own = {small.tobytes() for small in split.train_images[split.train_labels == label, :, ::2, ::2]}
        tiles = [np.rint(255 * image[:, r: r + 8, c: c + 8]).astype(np.uint8).tobytes() for r in (0, 8) for c in (0, 8)]
        assert own.issuperset(tiles)
        used.update(tiles)
    assert len(used) > 115, "120 tiles of different images (a few of them equal when shrunk, at most)"
    images, labels = chosen.decoded(16)
    assert images.shape == (120, 1, 16, 16) and labels.tolist() == np.repeat(np.arange(10), 12).tolist()
    assert np.array_equal(images, decode(torch.from_numpy(chosen.images), 2, 10).numpy())


def test_a_coreset_is_keyed_by_its_seed_alone() -> None:
    split = load("digits")
    first = random_real(split, 1, 2, seed=3).name
    np.random.seed(0)
    assert random_real(split, 1, 2, seed=3).name == first
    assert len({random_real(split, 1, 2, seed=seed).name for seed in range(4)}) == 4


def test_the_name_of_a_set_is_what_the_network_sees() -> None:
    chosen = random_real(load("digits"), 2, 2, seed=0)
    other = chosen.images.copy()
    other[0, 0, 0, 0] += 1 / 255
    names = {chosen.name, dataclasses.replace(chosen, factor=1).name, dataclasses.replace(chosen, images=other).name,
             dataclasses.replace(chosen, labels=chosen.labels[::-1].copy()).name}
    assert len(names) == 4


def test_a_set_that_is_kept_comes_back(home: Path) -> None:
    chosen = random_real(load("digits"), 1, 2, seed=0)
    full = keep(chosen, "mine")
    back = published(full, "digits")
    assert full == f"mine@{chosen.name}" and np.array_equal(back.images, chosen.images) and back.factor == 2
    with pytest.raises(Problem, match=r"images have shape \(1, 16, 16\), cifar10 has \(3, 32, 32\)"):
        published(full, "cifar10")


def test_noise_has_the_mean_and_deviation_of_its_data_set_and_nothing_else() -> None:
    known = FACTS["cifar10"]
    made = noise(known, 3, 2, seed=0)
    assert made.images.shape == (30, 3, 32, 32) and made.images.dtype == np.float32 and made.factor == 2
    assert made.labels.tolist() == np.repeat(np.arange(10), 3).tolist()
    assert made.images.min() == 0 and made.images.max() == 1, "about one value in a hundred is clipped at either end"
    # Clipping at two to three deviations moves the mean by less than .002 and takes less than 2 % of the deviation.
    assert made.images.mean((0, 2, 3)) == pytest.approx(known.mean, abs=0.005)
    assert made.images.std((0, 2, 3)) == pytest.approx(known.std, rel=0.02)
    flat = made.images.reshape(30, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(30)).max() < 0.2, "images differ, within a class too"
    assert np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1] < 0.05 and noise(known, 3, 2, seed=1).name != made.name


def test_shuffled_labels_say_nothing_and_keep_their_counts() -> None:
    labels = np.repeat(np.arange(10), [400] * 9 + [7])
    found = shuffled_labels(labels, seed=0)
    assert np.bincount(found).tolist() == [400] * 9 + [7] and np.array_equal(found, shuffled_labels(labels, seed=0))
    assert (found == labels).mean() == pytest.approx(1 / 9, abs=0.03) and not np.array_equal(found, shuffled_labels(labels, 1))


# Averaging, hashes, the digits.


def test_averaging_is_exact_and_rounds_to_even() -> None:
    cells = np.array([[[[0, 1, 1, 2], [0, 1, 1, 2], [0, 0, 255, 255], [0, 3, 255, 254]]]], np.uint8)
    assert average(cells, 2).tolist() == [[[[0, 2], [1, 255]]]] and average(cells, 2).dtype == np.uint8
    assert average(cells.astype(np.float32), 2).tolist() == [[[[0.5, 1.5], [0.75, 254.75]]]]
    assert average(cells, 4) is cells
    with pytest.raises(Problem, match="images of 4 pixels cannot be averaged to 3"):
        average(cells, 3)


def test_the_content_hash_is_over_bytes_row_by_row_and_pixel_by_pixel() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)  # rows, columns, channels
    assert content_hash(image.transpose(2, 0, 1)) == hashlib.sha256(bytes(range(12))).hexdigest()


def test_digits_are_what_their_facts_say() -> None:
    split, facts = load("digits"), FACTS["digits"]
    pixels = np.concatenate([split.train_images, split.test_images]) / 255
    assert (round(pixels.mean(), 4), round(pixels.std(), 4)) == (facts.mean[0], facts.std[0])
    assert pixels.shape == (1797, 1, 16, 16)


def test_whitening_is_numpys_through_the_singular_values() -> None:
    """MTT's transform by another route: no covariance is formed, the data's own singular vectors are scaled."""
    plain, white = load("digits", 60), load("digits", 60, whitened=True)
    assert (white.facts.mean, white.facts.std) == ((0.0,), (1.0,)) and white.whitened and not plain.whitened
    x, test = (images.reshape(len(images), -1) / 255 for images in (plain.train_images, plain.test_images))
    mean = x.mean(0)
    _, sizes, directions = np.linalg.svd(x - mean, full_matrices=True)
    matrix = directions.T @ np.diag((sizes**2 / (len(x) - 1) + 0.1) ** -0.5) @ directions
    for found, rows in ((white.train_images, x), (white.test_images, test)):
        assert found.dtype == np.float32 and found.shape[1:] == (1, 16, 16)
        np.testing.assert_allclose(found.reshape(len(rows), -1), (rows - mean) @ matrix, atol=1e-5)


def test_whitening_leaves_one_deviation_for_every_direction_that_is_seen() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4000, 1, 2, 2), dtype=np.uint8)
    images[:, 0, 0, 1] = images[:, 0, 0, 0]
    white, _ = zca(images, images[:1], eps=1e-9)
    covariance = np.cov(white.reshape(4000, 4), rowvar=False)
    # Two equal pixels share their one direction; the others stand alone.
    expected = np.eye(4)
    expected[:2, :2] = 0.5
    np.testing.assert_allclose(covariance, expected, atol=1e-3)


def test_whitening_that_cannot_be_is_refused() -> None:
    with pytest.raises(Problem, match="digits is whitened at its own 16 pixels, not at 8: leave pixels=16"):
        load("digits", None, 8, whitened=True)
    with pytest.raises(Problem, match="5 images of 12288 values each cannot be whitened"):
        zca(np.zeros((5, 3, 64, 64), np.uint8), np.zeros((5, 3, 64, 64), np.uint8))


def test_a_coreset_of_whitened_images_is_whitened() -> None:
    white = load("digits", 60, whitened=True)
    chosen = random_real(white, 2, 1, seed=0)
    assert chosen.whitened and {i.tobytes() for i in chosen.images} <= {i.tobytes() for i in white.train_images}
    assert chosen.name != dataclasses.replace(chosen, whitened=False).name


def test_a_fifth_of_each_digit_is_for_the_test_and_none_is_in_both() -> None:
    split = load("digits")
    train, test = np.bincount(split.train_labels), np.bincount(split.test_labels)
    assert test.tolist() == [round(0.2 * n) for n in train + test] and (train + test).sum() == 1797
    sides = [{image.tobytes() for image in images} for images in (split.train_images, split.test_images)]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 1797


def test_torch_and_torchvision_belong_together() -> None:
    import torchvision

    wanted = next(r for r in map(Requirement, metadata.requires("torchvision")) if r.name == "torch")
    assert wanted.specifier.contains(metadata.version("torch"), prereleases=True)
    # A build for another torch imports, but none of its compiled operators can be called.
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 6, 6]])
    assert torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]


# A tiny CIFAR-10 in every form it may come in.

TRAIN, TEST = 6, 2
PICTURES = {"train": {c: [picture(1000 * i + k) for k in range(TRAIN)] for i, c in enumerate(CIFAR10)},
            "test": {c: [picture(1000 * i + 500 + k) for k in range(TEST)] for i, c in enumerate(CIFAR10)}}


def in_order(split: str, name: str) -> list[np.ndarray]:
    return sorted(PICTURES[split][name], key=lambda image: hashlib.sha256(image.tobytes()).hexdigest())


EXPECTED = {split: np.stack([image for name in CIFAR10 for image in in_order(split, name)]).transpose(0, 3, 1, 2)
            for split in PICTURES}


def as_files(seed: int = 0) -> dict[str, bytes]:
    """PNG files under arbitrary names, in an arbitrary order."""
    rng, files = random.Random(seed), {}
    for split, classes in PICTURES.items():
        for name, images in classes.items():
            files |= {f"{split}/{name}/{rng.random()}.png": file_of(image) for image in images}
    return dict(rng.sample(list(files.items()), len(files)))


def as_official(into: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """cifar-10-batches-py as Krizhevsky wrote it: pickled rows, channels first, classes mixed."""
    from torchvision.datasets import CIFAR10 as Official

    labelled = {split: [(image, label) for label, name in enumerate(CIFAR10) for image in classes[name]]
                for split, classes in PICTURES.items()}
    random.Random(0).shuffle(labelled["train"])
    parts = {f"data_batch_{k + 1}": labelled["train"][k::5] for k in range(5)} | {"test_batch": labelled["test"]}
    files = {name: pickle.dumps({"data": np.stack([image.transpose(2, 0, 1).ravel() for image, _ in part]),
                                 "labels": [label for _, label in part]}) for name, part in parts.items()}
    files["batches.meta"] = pickle.dumps({"label_names": list(CIFAR10)})
    sums = {name: hashlib.md5(payload).hexdigest() for name, payload in files.items()}
    monkeypatch.setattr(Official, "train_list", [[name, sums[name]] for name in parts if name != "test_batch"])
    monkeypatch.setattr(Official, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(Official, "meta", Official.meta | {"md5": sums["batches.meta"]})
    return {f"cifar-10-batches-py/{name}": payload for name, payload in files.items()}


@pytest.fixture
def tiny_facts(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 is, for once, the tiny one."""
    labels = {split: np.repeat(np.arange(10), len(EXPECTED[split]) // 10) for split in EXPECTED}
    prints = {f"{split}/{len(EXPECTED[split]) // 10}": fingerprint(EXPECTED[split], labels[split]) for split in EXPECTED}
    monkeypatch.setitem(FACTS, "cifar10", dataclasses.replace(FACTS["cifar10"], fingerprints=prints,
                                                             complete={"train": 6, "test": 2}))
    load.cache_clear()
    yield home
    load.cache_clear()


FORMS = ["folder", "tar", "tar.gz", "official folder", "official tar.gz"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_cifar10_gives_the_same_images_and_subsets(
        form: str, tiny_facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = as_official(tmp_path, monkeypatch) if "official" in form else as_files(FORMS.index(form))
    if "folder" in form:
        path = folder_of(files, tmp_path / "in")
    else:
        path = tar_of(files, tmp_path / ("cifar-10-python.tar.gz" if "official" in form else f"in.{form}"),
                      "w:gz" if form.endswith("gz") else "w")
    assert import_dataset("cifar10", path) == "cifar10: 60 training and 20 test images"
    whole = load("cifar10")
    assert np.array_equal(whole.train_images, EXPECTED["train"]) and np.array_equal(whole.test_images, EXPECTED["test"])
    part = load("cifar10", 2, 16)
    assert part.train_labels.tolist() == np.repeat(np.arange(10), 2).tolist() and len(part.test_images) == 20
    first = EXPECTED["train"].reshape(10, TRAIN, 3, 32, 32)[:, :2].reshape(20, 3, 32, 32)
    assert np.array_equal(part.train_images, average(first, 16))
    with pytest.raises(Problem, match="only 6 training images in a class, not the 7 asked for"):
        load("cifar10", 7)
    assert load("cifar10", test_per_class=1).test_labels.tolist() == list(range(10))
    monkeypatch.setitem(FACTS, "cifar10", dataclasses.replace(FACTS["cifar10"], complete={"train": 7, "test": 3}))
    load.cache_clear()
    with pytest.raises(Problem, match="imported with 6 of 7 training images per class: .* say train_per_class=6"):
        load("cifar10")
    with pytest.raises(Problem, match="imported with 2 of 3 test images per class: .* say test_per_class=2"):
        load("cifar10", 6)


def test_one_changed_pixel_is_not_cifar10(tiny_facts: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        files = as_files()
        name = next(name for name in files if name.startswith(split))
        image = np.array(Image.open(io.BytesIO(files[name])))
        image[3, 4, 1] ^= 1
        with pytest.raises(Problem, match=f"is not cifar10: the first . {split} images"):
            import_dataset("cifar10", folder_of(files | {name: file_of(image)}, tmp_path / split))
    assert not tiny_facts.exists()


def test_the_official_folder_itself_is_taken_as_the_one_it_lies_in(
        tiny_facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder_of(as_official(tmp_path, monkeypatch), tmp_path / "in")
    assert import_dataset("cifar10", path / "cifar-10-batches-py") == import_dataset("cifar10", path)


def test_an_official_file_that_changed_is_never_unpickled(
        tiny_facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = as_official(tmp_path, monkeypatch)
    files["cifar-10-batches-py/test_batch"] = pickle.dumps(Toucher(tmp_path / "executed"))
    with pytest.raises(Problem, match="missing or has a wrong MD5"):
        import_dataset("cifar10", folder_of(files, tmp_path / "in"))
    assert not (tmp_path / "executed").exists() and not tiny_facts.exists()


@pytest.mark.parametrize("form", ["folder", "official folder", "official tar.gz"])
def test_every_form_of_cifar100_gives_the_same_images(form: str, home: Path, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR100 as Official

    pictures = {split: {c: [picture(10 * i + 5 * (split == "test") + k) for k in range(3 - (split == "test"))]
                        for i, c in enumerate(CIFAR100)} for split in ("train", "test")}
    monkeypatch.setitem(FACTS, "cifar100", dataclasses.replace(FACTS["cifar100"], fingerprints={}, complete={}))
    files = {f"{split}/{c}/{k}.png": file_of(image) for split, classes in pictures.items() for c, images in classes.items()
             for k, image in enumerate(images)}
    if form != "folder":
        rows = {split: [(i, image) for i, name in enumerate(CIFAR100) for image in classes[name]]
                for split, classes in pictures.items()}
        random.Random(0).shuffle(rows["train"])
        files = {split: pickle.dumps({"data": np.stack([image.transpose(2, 0, 1).ravel() for _, image in part]),
                                      "fine_labels": [i for i, _ in part]}) for split, part in rows.items()}
        files["meta"] = pickle.dumps({"fine_label_names": list(CIFAR100)})
        sums = {name: hashlib.md5(payload).hexdigest() for name, payload in files.items()}
        monkeypatch.setattr(Official, "train_list", [["train", sums["train"]]])
        monkeypatch.setattr(Official, "test_list", [["test", sums["test"]]])
        monkeypatch.setattr(Official, "meta", Official.meta | {"md5": sums["meta"]})
        files = {f"cifar-100-python/{name}": payload for name, payload in files.items()}
    path = tar_of(files, tmp_path / "cifar-100-python.tar.gz", "w:gz") if "tar" in form else folder_of(files, tmp_path / "in")
    assert import_dataset("cifar100", path) == "cifar100: 300 training and 200 test images"
    split = load("cifar100")
    expected = [by_content(np.stack(pictures["train"][c]).transpose(0, 3, 1, 2)) for c in CIFAR100]
    assert np.array_equal(split.train_images, np.concatenate(expected))
    assert np.array_equal(split.train_labels, np.repeat(np.arange(100), 3)) and len(split.test_labels) == 200
    load.cache_clear()


# A folder as ImageNet's, with photographs of any shape.


@pytest.fixture
def photographs(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Three to train and two to validate of each class of ImageNet-10, smooth, PNG under ImageNet's suffix; a class beside."""
    rng = np.random.default_rng(0)
    sizes = [(300, 240), (240, 333), (224, 224), (100, 160), (501, 225)]
    monkeypatch.setitem(FACTS, "imagenet10", dataclasses.replace(
        FACTS["imagenet10"], fingerprints={"test/2": "", "train/3": ""}, complete={"test": 2}))
    files = {}
    for wnid in (*IMAGENET10, "n00000001"):
        for i, size in enumerate(sizes):
            coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            where = f"train/{wnid}/{wnid}_{i}" if i < 3 else f"val/{wnid}/ILSVRC2012_val_{i}"
            files[f"{where}.JPEG"] = file_of(coarse.resize(size, Image.Resampling.BICUBIC))
    yield files
    load.cache_clear()


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_photographs_are_kept_as_their_central_square(form: str, photographs: dict[str, bytes], tmp_path: Path) -> None:
    path = folder_of(photographs, tmp_path / "in") if form == "folder" else tar_of(photographs, tmp_path / "in.tar")
    assert import_dataset("imagenet10", path) == "imagenet10: 30 training and 20 test images"
    split = load("imagenet10")

    def middle(payload: bytes) -> np.ndarray:
        """Shorter side to 224, the longer cut at both ends, by Pillow alone."""
        image = Image.open(io.BytesIO(payload))
        scale = 224 / min(image.size)
        width, height = (int(scale * side + 1e-9) for side in image.size)
        left, top = round((width - 224) / 2), round((height - 224) / 2)
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + 224, top + 224)))

    for part, images in (("train", split.train_images), ("val", split.test_images)):
        expected = [by_content(np.stack([middle(payload) for name, payload in photographs.items()
                                         if name.startswith(f"{part}/{wnid}/")]).transpose(0, 3, 1, 2)) for wnid in IMAGENET10]
        assert np.array_equal(images, np.concatenate(expected))
    assert split.test_labels.tolist() == np.repeat(np.arange(10), 2).tolist() and split.facts.augmentation == "photo"


def test_what_is_not_imagenet10_is_refused(photographs: dict[str, bytes], home: Path, tmp_path: Path) -> None:
    few = {name: payload for name, payload in photographs.items() if name != "val/n02091831/ILSVRC2012_val_4.JPEG"}
    with pytest.raises(Problem, match="is not imagenet10: a class has only 1 test images, not 2 or more"):
        import_dataset("imagenet10", tar_of(few, tmp_path / "few.tar"))
    lacking = {name: payload for name, payload in photographs.items() if "n02091831" not in name}
    with pytest.raises(Problem, match=r"has 9 classes \(n01749939, n01773797, n02107142, ...\), imagenet10 has 10 \(n02869837"):
        import_dataset("imagenet10", tar_of(lacking, tmp_path / "lacking.tar"))
    flat = {f"val/{i}.JPEG": payload for i, payload in enumerate(photographs.values())}
    with pytest.raises(Problem, match="has no test images: put class folders under train/ and test/"):
        import_dataset("imagenet10", tar_of({n: p for n, p in photographs.items() if n.startswith("train")} | flat,
                                            tmp_path / "flat.tar"))
    with pytest.raises(Problem, match="n02869837_0.JPEG cannot be read as an image"):
        import_dataset("imagenet10", tar_of(photographs | {"train/n02869837/n02869837_0.JPEG": b"?"}, tmp_path / "bad.tar"))
    assert not home.exists()
    with pytest.raises(Problem, match=r"'imagenet10' is not on this machine: .* \(PATH: ImageNet's train/<wnid>/ and"):
        load("imagenet10")


def test_images_of_other_modes_are_converted(home: Path, tmp_path: Path) -> None:
    """RGBA loses its transparency; grey and palette images become what they show."""
    image = Image.fromarray(picture(0))
    clear = image.copy()
    clear.putalpha(7)
    palette, grey = image.quantize(16), image.convert("L")
    files = {f"{name}/{i}.png": file_of(given) for name in CIFAR10 for i, given in enumerate((clear, palette, grey))}
    found = read_images(folder_of(files, tmp_path / "in"), "cifar10", 1).images
    for got, shown in zip(found, (image, palette.convert("RGB"), grey.convert("RGB")), strict=False):
        assert np.array_equal(got.transpose(1, 2, 0), np.asarray(shown))


def test_classes_come_in_the_data_sets_order_from_any_folder_inside(tmp_path: Path) -> None:
    files = {f"a/b/{name}/x.png": file_of(picture(i)) for i, name in reversed(list(enumerate(CIFAR10)))}
    files |= {"a/README.png": b"not an image", "a/c/cat/x.png": b"nor this", "a/b/cat/notes.txt": b"text"}
    found = read_images(tar_of(files, tmp_path / "in.tar"), "cifar10", 2, "a/b")
    assert found.labels.tolist() == list(range(10)) and found.factor == 2
    assert all(np.array_equal(found.images[i].transpose(1, 2, 0), picture(i)) for i in range(10))


# The real ones.


@pytest.mark.data
@pytest.mark.parametrize(("name", "file", "counts", "parts"), [
    ("cifar10", "cifar10.tar", "20000 training and 10000 test", {"train_per_class": 2000}),
    ("cifar100", "cifar100.tar", "10000 training and 2000 test", {"train_per_class": 100, "test_per_class": 20}),
    ("imagenette", "imagenette64.tar", "4000 training and 1000 test", {})])
def test_the_real_data_are_imported_by_their_fingerprints_and_refused_without(
        name: str, file: str, counts: str, parts: dict[str, int], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load.cache_clear()
    classes = FACTS[name].classes
    assert import_dataset(name, real(file)) == f"{name}: {counts} images"
    split = load(name, **parts)
    with tarfile.open(real(file)) as archive:
        names = sorted(Path(member).parts for member in archive.getnames() if member.endswith((".png", ".jpg")))
    read = {"train": (split.train_images, split.train_labels), "test": (split.test_images, split.test_labels)}
    for part, (images, labels) in read.items():
        named = [(classes.index(folder), picture[-16:-4]) for where, folder, picture in names if where == part]
        assert named == [(label, content_hash(image)[:12]) for image, label in zip(images, labels, strict=True)]
    kept = (home / "data" / f"{name}.safetensors").stat().st_mtime_ns

    def one_pixel_off(*_: object) -> dict[str, list[np.ndarray]]:
        kinds = {part: images.copy() for part, (images, _) in read.items()}
        kinds["train"][-1, 0, 0, 0] ^= 1
        return {part: list(images.reshape(len(classes), -1, *images.shape[1:])) for part, images in kinds.items()}

    monkeypatch.setattr(imports, "_in_known_order", one_pixel_off)
    with pytest.raises(Problem, match=rf"is not {name}: the first \d+ train images per class have fingerprint"):
        import_dataset(name, real(file))
    assert (home / "data" / f"{name}.safetensors").stat().st_mtime_ns == kept
    load.cache_clear()


def test_order_by_content_forgets_the_order_of_reading() -> None:
    images = EXPECTED["train"][:TRAIN]
    assert np.array_equal(by_content(images[::-1]), images)


def test_a_set_is_filed_as_it_is_also_where_memory_lies_otherwise(home: Path) -> None:
    images = np.random.default_rng(0).random((10, 32, 32, 3), np.float32).transpose(0, 3, 1, 2)
    assert not images.flags["C_CONTIGUOUS"]
    back = published(keep(SyntheticSet(images, np.arange(10)[::-1], 1), "turned"), "cifar10")
    assert np.array_equal(back.images, images) and np.array_equal(back.labels, np.arange(10)[::-1])
