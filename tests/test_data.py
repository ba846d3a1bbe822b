"""Decode, coresets, subsets by content, and the ways in which CIFAR-10 comes in."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pickle
import random
import tarfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from pictures import Toucher, file_of, folder_of, picture, tar_of
from PIL import Image

from synthprune.data import datasets
from synthprune.data.datasets import CIFAR10, FACTS, average, import_dataset, load
from synthprune.data.images import by_content, content_hash, fingerprint
from synthprune.data.synthetic import SyntheticSet, decode, keep, mix, published, random_real, read_images
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
    monkeypatch.setitem(FACTS, "cifar10", dataclasses.replace(FACTS["cifar10"], fingerprints=prints, complete=6))
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
    monkeypatch.setitem(FACTS, "cifar10", dataclasses.replace(FACTS["cifar10"], complete=7))
    load.cache_clear()
    with pytest.raises(Problem, match="imported with 6 of 7 training images per class: .* say train_per_class=6"):
        load("cifar10")


def test_one_changed_pixel_is_not_cifar10(tiny_facts: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        files = as_files()
        name = next(name for name in files if name.startswith(split))
        image = np.array(Image.open(io.BytesIO(files[name])))
        image[3, 4, 1] ^= 1
        with pytest.raises(Problem, match=f"is not cifar10: the first . {split} images"):
            import_dataset("cifar10", folder_of(files | {name: file_of(image)}, tmp_path / split))
    assert not tiny_facts.exists()


def test_an_official_file_that_changed_is_never_unpickled(
        tiny_facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = as_official(tmp_path, monkeypatch)
    files["cifar-10-batches-py/test_batch"] = pickle.dumps(Toucher(tmp_path / "executed"))
    with pytest.raises(Problem, match="missing or has a wrong MD5"):
        import_dataset("cifar10", folder_of(files, tmp_path / "in"))
    assert not (tmp_path / "executed").exists() and not tiny_facts.exists()


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


# The real one.


@pytest.fixture(scope="module")
def shared() -> Path:
    place = os.environ.get("SYNTHPRUNE_SHARED_DATA")
    if not place:
        pytest.skip("SYNTHPRUNE_SHARED_DATA does not name a folder with cifar10.tar: the real CIFAR-10 was not read")
    return Path(place)


@pytest.mark.data
def test_the_real_cifar10_is_imported_by_its_fingerprint_and_refused_without_it(
        shared: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load.cache_clear()
    assert import_dataset("cifar10", shared / "cifar10.tar") == "cifar10: 20000 training and 10000 test images"
    split = load("cifar10", 2000)
    with tarfile.open(shared / "cifar10.tar") as archive:
        names = sorted(Path(name).parts for name in archive.getnames() if name.endswith(".png"))
    read = {"train": (split.train_images, split.train_labels), "test": (split.test_images, split.test_labels)}
    for part, (images, labels) in read.items():
        named = [(CIFAR10.index(name), file[-16:-4]) for where, name, file in names if where == part]
        assert named == [(label, content_hash(image)[:12]) for image, label in zip(images, labels, strict=True)]
    kept = (home / "data" / "cifar10.safetensors").stat().st_mtime_ns

    def one_pixel_off(path: Path, part: str, known: datasets.Facts) -> list[np.ndarray]:
        images = read[part][0].copy()
        images[-1, 0, 0, 0] ^= part == "train"
        return list(images.reshape(10, -1, 3, 32, 32))

    monkeypatch.setattr(datasets, "_folders", one_pixel_off)
    with pytest.raises(Problem, match="is not cifar10: the first 2000 train images per class have fingerprint"):
        import_dataset("cifar10", shared / "cifar10.tar")
    assert (home / "data" / "cifar10.safetensors").stat().st_mtime_ns == kept
    load.cache_clear()


@pytest.mark.data
@pytest.mark.parametrize(("inside", "stored"), [("mtt/ipc10", 100), ("dc/ipc1", 10)])
def test_the_published_sets_are_read(shared: Path, inside: str, stored: int) -> None:
    found = read_images(shared / "distilled" / "cifar10_dc_mtt_png.tar", "cifar10", 1, inside)
    assert found.images.shape == (stored, 3, 32, 32) and np.bincount(found.labels).tolist() == [stored // 10] * 10
    assert len({image.tobytes() for image in found.images}) == stored
    # The laptop profile names this very set.
    if inside == "mtt/ipc10":
        from synthprune.experiments.settings import read_profile

        assert read_profile("laptop")["synthetic"].endswith(found.name)


def test_order_by_content_forgets_the_order_of_reading() -> None:
    images = EXPECTED["train"][:TRAIN]
    assert np.array_equal(by_content(images[::-1]), images)
