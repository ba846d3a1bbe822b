"""Published synthetic sets: each form is read into the right space, and used in no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import Toucher, real

from synthprune.chapters.distilled_pruning import Parameters
from synthprune.chapters.settings import parameters
from synthprune.data.datasets import load
from synthprune.data.facts import FACTS
from synthprune.data.forms import read_tensors
from synthprune.data.labelled import Told
from synthprune.data.synthetic import SyntheticSet, imported, keep, published, random_real
from synthprune.home import synthetic_sets
from synthprune.problems import Problem

LABELS = torch.arange(10).repeat_interleave(2)
MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))


def pixels(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((20, 3, 32, 32), np.float32))


def smooth(seed: int = 0) -> torch.Tensor:
    """As in photographs, neighbouring pixels agree."""
    return pixels(seed)[..., ::8, ::8].repeat_interleave(8, 2).repeat_interleave(8, 3)


def vico(content: object, path: Path) -> Path:
    """As Zhao et al.'s code saves: numpy's numbers beside the tensors (today's numpy names another module than theirs did)."""
    torch.save({"data": content, "accs_all_exps": {"ConvNet": [np.float64(0.45), np.float64(0.44)]}}, path)
    return path


def mtt(images: torch.Tensor, folder: Path, labels: torch.Tensor = LABELS) -> Path:
    torch.save(labels, folder / "labels_best.pt")
    torch.save(images, folder / "images_best.pt")
    return folder / "images_best.pt"


def test_vicos_last_set_comes_back_in_pixels(tmp_path: Path) -> None:
    sets = [[(smooth(seed) - MEAN) / STD, LABELS] for seed in (1, 2)]
    found = read_tensors(vico(sets, tmp_path / "res.pt"), "cifar10", 1)
    np.testing.assert_allclose(found.images, smooth(2), atol=1e-6)
    assert found.notes == ("standardised images, turned back into pixels by mean 0.4914, 0.4822, 0.4465 and deviation 0.2023,"
                           " 0.1994, 0.201",)
    assert found.labels.tolist() == LABELS.tolist() and not found.whitened and found.images.dtype == np.float32


def test_values_far_outside_are_kept_and_come_back(home: Path, tmp_path: Path) -> None:
    """What the network sees is what was distilled: nothing is clipped."""
    images = 3 * (smooth() - MEAN) / STD
    found = read_tensors(vico([[images, LABELS]], tmp_path / "res.pt"), "cifar10", 1)
    assert found.images.min() < -0.5 and found.images.max() > 1.5
    back = published(keep(found, "dc"), "cifar10")
    np.testing.assert_allclose((torch.from_numpy(back.images) - MEAN) / STD, images, atol=1e-5)


def test_cifar100_is_standardised_by_numbers_of_its_own_there(tmp_path: Path) -> None:
    given = torch.cat([smooth(seed) for seed in range(5)])
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)))
    path = vico([[(given - mean) / std, torch.arange(100)]], tmp_path / "res.pt")
    np.testing.assert_allclose(read_tensors(path, "cifar100", 1).images, given, atol=1e-6)


def test_a_tensor_with_labels_beside_it_is_standardised_or_whitened(tmp_path: Path) -> None:
    found = read_tensors(mtt((smooth() - MEAN) / STD, tmp_path), "cifar10", 1)
    np.testing.assert_allclose(found.images, smooth(), atol=1e-6)
    assert not found.whitened
    white = 0.4 * (pixels() - MEAN) / STD
    found = read_tensors(mtt(white, tmp_path), "cifar10", 1)
    assert found.whitened and np.array_equal(found.images, white)
    with pytest.raises(Problem, match="say which with --space"):
        read_tensors(mtt(2 * white, tmp_path), "cifar10", 1)
    assert read_tensors(mtt(2 * white, tmp_path), "cifar10", 1, Told(space="whitened")).whitened


@pytest.mark.parametrize("form", ["vico", "mtt"])
def test_pixels_where_standardised_images_are_usual_are_told_by_their_values(form: str, tmp_path: Path) -> None:
    path = vico([[pixels(), LABELS]], tmp_path / "res.pt") if form == "vico" else mtt(pixels(), tmp_path)
    found = read_tensors(path, "cifar10", 1)
    assert np.array_equal(found.images, pixels()) and found.notes == ("pixels of 0 to 1",)


def test_what_numpy_lacks_and_half_precision_are_read_as_they_are(tmp_path: Path) -> None:
    """Floats of 8 bits, a tensor that is stored as the negative of another, numbers whose squares half precision lacks."""
    short = pixels().to(torch.float8_e5m2)
    for content in ([short, torch.eye(10)[LABELS].to(torch.float8_e4m3fn)], list(zip(short, LABELS, strict=True))):
        torch.save(content, tmp_path / "short.pt")
        assert np.array_equal(read_tensors(tmp_path / "short.pt", "cifar10", 1).images, short.float())
    torch.save([torch.complex(pixels(), -pixels()).conj().imag, LABELS], tmp_path / "negative.pt")
    assert np.array_equal(read_tensors(tmp_path / "negative.pt", "cifar10", 1).images, pixels())
    half = ((smooth() - MEAN) / STD).half().numpy()
    np.savez(tmp_path / "half.npz", images=np.tile(half, (4, 1, 1, 1)), labels=np.tile(LABELS, 4))
    assert read_tensors(tmp_path / "half.npz", "cifar10", 1).notes[0].startswith("standardised")


def test_pixels_that_were_divided_twice_are_asked_about(tmp_path: Path) -> None:
    torch.save([pixels() / 255, LABELS], tmp_path / "dark.pt")
    with pytest.raises(Problem, match=r"values reach from 0.0000 to 0.0039 .* say which with --space"):
        read_tensors(tmp_path / "dark.pt", "cifar10", 1)


def test_several_arrays_of_images_are_no_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", pixels().numpy(), pixels(1).numpy())
    with pytest.raises(Problem, match="arr_0 or arr_1 may be the images: say which with --images NAME"):
        read_tensors(tmp_path / "in.npz", "cifar10", 1)
    np.savez(tmp_path / "in.npz", syn_images=pixels().numpy(), real_images=pixels(1).numpy())
    with pytest.raises(Problem, match="none of them can be the labels: say which with --labels NAME"):
        read_tensors(tmp_path / "in.npz", "cifar10", 1)


def test_tensors_without_labels_are_refused(tmp_path: Path) -> None:
    torch.save(pixels(), tmp_path / "images_best.pt")
    with pytest.raises(Problem, match="its labels are not beside it as labels_best.pt: say where they are with --labels FILE"):
        read_tensors(tmp_path / "images_best.pt", "cifar10", 1)
    torch.save(pixels(), tmp_path / "best.pt")
    with pytest.raises(Problem, match=r"best.pt is one tensor: its labels are missing; name it"):
        read_tensors(tmp_path / "best.pt", "cifar10", 1)
    with pytest.raises(Problem, match="20 images but 10 labels"):
        read_tensors(mtt(-pixels(), tmp_path, LABELS[:10]), "cifar10", 1)


@pytest.mark.parametrize("content", [[], [[LABELS]], [3], "text"])
def test_a_dictionary_without_sets_is_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"res.pt is not a list \[images, labels\] of two tensors"):
        read_tensors(vico(content, tmp_path / "res.pt"), "cifar10", 1)


def test_code_beside_numpys_numbers_is_refused_and_never_executed(tmp_path: Path) -> None:
    path = vico([[-pixels(), LABELS], Toucher(tmp_path / "executed")], tmp_path / "res.pt")
    with pytest.raises(Problem, match="holds pickled code, which is never executed"):
        read_tensors(path, "cifar10", 1)
    assert not (tmp_path / "executed").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "executed").exists(), "the payload is a live one"


def test_a_set_is_used_in_its_own_space_only(home: Path) -> None:
    """Whitened and plain sets of the same values have other names, and each is refused where the other belongs."""
    plain = random_real(load("digits"), 1, 1, seed=0)
    names = {white: keep(dataclasses.replace(plain, whitened=white), "mine") for white in (False, True)}
    assert names[False] != names[True]
    for white, full in names.items():
        assert published(full, "digits", white).whitened is white
        holds = "ZCA-whitened images and this digits is not" if white else "pixels and this digits is ZCA-whitened"
        with pytest.raises(Problem, match=f"the synthetic set '{full}' holds {holds}: use it with whitened={white}"):
            published(full, "digits", not white)


def test_names_of_sets_in_pixels_stay_what_they_were() -> None:
    """Results are stored under them: images, labels and factor only, as before there were spaces."""
    images = np.arange(2 * 1 * 2 * 2, dtype=np.uint8).reshape(2, 1, 2, 2)
    assert SyntheticSet(images, np.array([0, 1]), 2).name == "70ba55a8b2b6"


@pytest.mark.data
@pytest.mark.parametrize(("file", "name", "stored", "whitened"), [
    ("cifar10_dc_ipc1_vico.pt", "92f07615418d", 10, False), ("cifar10_dc_ipc10_vico.pt", "83b6de1db1e4", 100, False),
    ("cifar10_mtt_zca_ipc10_images.pt", "1d33c3f04fad", 100, True)])
def test_the_published_tensors_are_read(file: str, name: str, stored: int, whitened: bool) -> None:
    found = read_tensors(real(f"distilled/{file}"), "cifar10", 1)
    assert found.images.shape == (stored, 3, 32, 32) and found.whitened is whitened
    assert np.bincount(found.labels).tolist() == [stored // 10] * 10
    if whitened:
        assert np.abs(found.images.mean((0, 2, 3))).max() < 0.05
    else:
        assert found.images.mean((0, 2, 3)) == pytest.approx(FACTS["cifar10"].mean, abs=0.03)
    assert found.name == name


@pytest.mark.data
def test_the_last_of_five_published_sets_for_mnist_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dataclasses.replace(FACTS["digits"], pixels=28, mean=(0.1307,), std=(0.3081,))
    monkeypatch.setitem(FACTS, "mnist", known)
    path = real("distilled/mnist_dc_ipc1_vico.pt")
    with torch.serialization.safe_globals([(np.float64().__reduce__()[0], "numpy.core.multiarray.scalar"), np.dtype,
                                           type(np.dtype(np.float64))]):
        sets = torch.load(path, weights_only=True)["data"]
    assert len(sets) == 5
    np.testing.assert_allclose(read_tensors(path, "mnist", 1).images, sets[-1][0] * 0.3081 + 0.1307, atol=1e-6)
    with pytest.raises(Problem, match=r"images have shape \(1, 28, 28\), cifar10 has \(3, 32, 32\)"):
        read_tensors(path, "cifar10", 1)


@pytest.mark.data
@pytest.mark.parametrize(("inside", "stored"), [("mtt/ipc10", 100), ("dc/ipc1", 10)])
def test_the_published_pictures_are_read(inside: str, stored: int) -> None:
    from synthprune.data.forms import read_images

    found = read_images(real("distilled/cifar10_dc_mtt_png.tar"), "cifar10", 1, inside)
    assert found.images.shape == (stored, 3, 32, 32) and np.bincount(found.labels).tolist() == [stored // 10] * 10
    assert len({image.tobytes() for image in found.images}) == stored
    # The laptop profile names this very set.
    if inside == "mtt/ipc10":
        from synthprune.chapters.profiles import read_profile

        assert found.name == "0f71478c0686"
        assert read_profile("laptop")["cells"]["mtt-10"]["synthetic"].endswith(f"@{found.name}")


def test_a_set_of_another_size_is_used_at_that_size_alone(home: Path) -> None:
    small = SyntheticSet(np.random.default_rng(0).random((20, 3, 16, 16), np.float32), LABELS.numpy(), 2)
    full = keep(small, "small")
    assert published(full, "cifar10", pixels=16).decoded(16)[0].tobytes() == small.decoded(16)[0].tobytes()
    for side in (32, 8):
        with pytest.raises(Problem, match=rf"small@\w+: images of shape \(3, 16, 16\) cannot be used at pixels={side}: only"):
            published(full, "cifar10", pixels=side)
    grey = keep(SyntheticSet(small.images[:, :1].copy(), small.labels, 2), "grey")
    with pytest.raises(Problem, match=r"\(1, 16, 16\) cannot be used"):
        published(grey, "cifar10", pixels=16)
    own = keep(SyntheticSet(pixels().numpy(), LABELS.numpy(), 1), "own")
    assert np.array_equal(published(own, "cifar10", pixels=16).images, pixels())  # averaged where it is used


def test_a_set_that_ships_is_found_and_one_of_this_users_goes_before_it(home: Path, tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthprune.home.sources", lambda: tmp_path / "book")
    full = keep(random_real(load("digits"), 1, 2, 0), "shipped")
    own = home / "data" / "synthetic" / f"{full}.safetensors"
    shipped = tmp_path / "book" / "results" / "laptop" / "synthetic" / own.name
    assert synthetic_sets() == {full: own}
    shipped.parent.mkdir(parents=True)
    own.rename(shipped)
    assert synthetic_sets() == {full: shipped} and imported() == [full]
    assert published(full, "digits").name == full.split("@")[1]
    assert parameters(Parameters, "03_distilled_pruning", {"synthetic": "shipped"}).synthetic == full
    own.write_bytes(shipped.read_bytes())
    assert synthetic_sets() == {full: own} and imported() == [full]


# Soft labels, other orders, other files.


def test_soft_labels_are_kept_and_every_crop_has_its_images_own(home: Path, tmp_path: Path) -> None:
    logits = torch.from_numpy(np.random.default_rng(3).normal(size=(20, 10)).astype(np.float32))
    given = {"probabilities": torch.softmax(logits, 1), "logits": logits}
    for said, labels in given.items():
        torch.save([pixels(), labels], tmp_path / f"{said}.pt")
    soft, from_logits = (read_tensors(tmp_path / f"{said}.pt", "cifar10", 1) for said in given)
    order = np.argsort(logits.argmax(1).numpy(), kind="stable")
    np.testing.assert_allclose(soft.labels, given["probabilities"].numpy()[order], atol=1e-6)
    np.testing.assert_allclose(from_logits.labels, soft.labels, atol=1e-6)
    assert np.array_equal(soft.images, pixels().numpy()[order]) and soft.labels.dtype == np.float32
    back = published(keep(soft, "soft"), "cifar10")
    assert np.array_equal(back.labels, soft.labels) and back.name == soft.name
    seen, labels = dataclasses.replace(back, factor=2).decoded(32)
    assert len(seen) == 80 and np.array_equal(labels, np.tile(soft.labels, (4, 1)))


def test_one_hot_labels_train_as_hard_ones() -> None:
    """Soft cross-entropy is the ordinary one where a row is one-hot, through CutMix too."""
    from nets import convnet

    from synthprune.models import initial_state, prunable
    from synthprune.pruning import dense_masks
    from synthprune.training import Recipe, Resident, train

    network = convnet()
    start, split = initial_state(network, 0), load("digits", 4)
    masks = dense_masks(start, prunable(network))
    found = [train(network, start, masks, Resident.of(split.train_images, labels, split.facts, "cpu"),
                   Recipe(epochs=2, batch=16, cutmix=1.0), order_seed=0)[1]
             for labels in (split.train_labels, np.eye(10, dtype=np.float32)[split.train_labels])]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_the_order_and_the_container_do_not_change_a_set(tmp_path: Path) -> None:
    turned = torch.arange(10).repeat(2)
    order = torch.argsort(turned, stable=True)
    torch.save([pixels()[order], LABELS], tmp_path / "sorted.pt")
    torch.save([pixels(), turned], tmp_path / "unsorted.pt")
    torch.save({"images_train": pixels(), "labels_train": turned, "images_test": pixels(1), "labels_test": turned},
               tmp_path / "dictionary.pt")
    torch.save([pixels().numpy(), np.eye(10)[turned]], tmp_path / "arrays.pt")
    np.savez_compressed(tmp_path / "last.npz", x=pixels().numpy().transpose(0, 2, 3, 1), y=turned.numpy())
    names = {file.name: read_tensors(file, "cifar10", 1).name for file in tmp_path.iterdir()}
    assert len(names) == 5 and len(set(names.values())) == 1, names


@pytest.mark.parametrize("names", [FACTS["cifar10"].classes[::-1], tuple(range(10)), tuple(f"class_{i}" for i in range(10))])
def test_a_dictionary_of_images_by_class_is_read_as_class_folders_are(names: tuple[object, ...], tmp_path: Path) -> None:
    torch.save({name: pixels()[2 * i:2 * i + 2] for i, name in enumerate(names)}, tmp_path / "set.pt")
    if str(names[0]).startswith("class_"):
        with pytest.raises(Problem, match="say what they are, as with --classes number"):
            read_tensors(tmp_path / "set.pt", "cifar10", 1)
    told = Told(classes="number") if str(names[0]).startswith("class_") else Told()
    expected = pixels().numpy().reshape(10, 2, 3, 32, 32)
    expected = expected[::-1] if names[0] == "truck" else expected
    found = read_tensors(tmp_path / "set.pt", "cifar10", 1, told)
    np.testing.assert_array_equal(found.images, expected.reshape(20, 3, 32, 32))
    assert found.labels.tolist() == LABELS.tolist()


def test_labels_in_a_list_and_pairs_in_a_dictionary_are_found(tmp_path: Path) -> None:
    torch.save({"images": pixels(), "targets": LABELS.tolist()}, tmp_path / "list.pt")
    torch.save({"syn": [pixels(), LABELS], "lr": torch.tensor(0.1)}, tmp_path / "pair.pt")
    known = read_tensors(mtt(pixels(), tmp_path), "cifar10", 1).name
    assert [read_tensors(tmp_path / file, "cifar10", 1).name for file in ("list.pt", "pair.pt")] == [known, known]


@pytest.mark.parametrize(("scale", "shift"), [(2.2, -1.1), (2.4, -1.1)])
def test_smooth_images_of_small_deviation_are_not_taken_for_whitened_ones(scale: float, shift: float, tmp_path: Path) -> None:
    smooth = torch.nn.functional.interpolate(pixels()[..., :6, :6], 32, mode="bilinear")
    torch.save([scale * smooth + shift, LABELS], tmp_path / "set.pt")
    with pytest.raises(Problem, match="say which with --space"):
        read_tensors(tmp_path / "set.pt", "cifar10", 1)
    assert read_tensors(tmp_path / "set.pt", "cifar10", 1, Told(space="whitened")).whitened


@pytest.mark.parametrize(("labels", "why"), [
    (torch.eye(10)[LABELS] - 0.1, "have one sum for every image"),
    (2 * torch.eye(10)[LABELS] - 1, "have one sum for every image"),
    (torch.eye(10)[LABELS] - 0.1 * pixels()[:, 0, 0, :10], "lie between about 0 and 1")])
def test_labels_learnt_by_regression_are_asked_about(labels: torch.Tensor, why: str, tmp_path: Path) -> None:
    torch.save([pixels(), labels], tmp_path / "set.pt")
    with pytest.raises(Problem, match=f"{why}, plainly logits: say --soft logits if they are"):
        read_tensors(tmp_path / "set.pt", "cifar10", 1)
    assert read_tensors(tmp_path / "set.pt", "cifar10", 1, Told(soft="logits")).labels.ndim == 2


@pytest.mark.parametrize(("space", "scale", "dtype"), [
    ("bytes", 400, torch.int16), ("bytes", -100, torch.float32), ("bytes", 1, torch.float32), ("pixels", 255, torch.uint8),
    ("pixels", 255, torch.float32), ("symmetric", 255, torch.uint8), ("standardised", 255, torch.uint8),
    ("pixels", -5, torch.float32), ("symmetric", 1, torch.float32), ("symmetric", -100, torch.int8),
    ("standardised", 1, torch.float32), ("whitened", 1, torch.float32), ("standardised", -9, torch.int32)])
def test_values_are_not_read_as_what_they_cannot_be(space: str, scale: float, dtype: torch.dtype, tmp_path: Path) -> None:
    """Bytes beyond 255 would wrap around without a word."""
    torch.save([(scale * pixels()).to(dtype), LABELS], tmp_path / "set.pt")
    with pytest.raises(Problem, match=r"set.pt: values of type .* are no .*: leave --space away, or say what they are"):
        read_tensors(tmp_path / "set.pt", "cifar10", 1, Told(space=space))


def test_a_pair_under_data_and_labels_that_lie_beside_are_found(tmp_path: Path) -> None:
    torch.save({"data": [pixels(), LABELS]}, tmp_path / "pair.pt")
    torch.save(pixels(), tmp_path / "x.pt")
    torch.save(LABELS, tmp_path / "y.pt")
    found = [read_tensors(tmp_path / "pair.pt", "cifar10", 1), read_tensors(tmp_path / "x.pt", "cifar10", 1, Told(labels="y.pt"))]
    assert found[0].name == found[1].name and np.array_equal(found[0].images, pixels())
    torch.save({"data": list(pixels()), "targets": LABELS}, tmp_path / "images.pt")
    assert read_tensors(tmp_path / "images.pt", "cifar10", 1).name == found[0].name
    torch.save({"data": list(pixels().bfloat16()), "targets": LABELS}, tmp_path / "short.pt")
    assert read_tensors(tmp_path / "short.pt", "cifar10", 1).images.dtype == np.float32
    torch.save({"data": [*pixels()[:19], pixels()[0, :1]], "targets": LABELS}, tmp_path / "shapes.pt")
    with pytest.raises(Problem, match="is not a list"):
        read_tensors(tmp_path / "shapes.pt", "cifar10", 1)


@pytest.mark.parametrize("label", [int, torch.tensor, lambda n: torch.tensor([n]), lambda n: np.eye(10)[n]])
def test_a_list_of_images_with_their_labels_is_read(label: Callable[[int], object], tmp_path: Path) -> None:
    known = read_tensors(mtt(pixels(), tmp_path), "cifar10", 1).name
    torch.save([(image, label(n)) for image, n in zip(pixels(), LABELS.tolist(), strict=True)], tmp_path / "list.pt")
    assert read_tensors(tmp_path / "list.pt", "cifar10", 1).name == known
    torch.save([(pixels()[0], 0), (pixels()[1, :, :16], 1)], tmp_path / "shapes.pt")
    with pytest.raises(Problem, match=r"shapes.pt holds images of shapes \(3, 32, 32\) and \(3, 16, 32\): give them one"):
        read_tensors(tmp_path / "shapes.pt", "cifar10", 1)


def test_hard_labels_beside_soft_ones_are_asked_about(tmp_path: Path) -> None:
    """Only what is called so: features of the images are no labels."""
    soft = torch.softmax(torch.randn(20, 10), 1)
    torch.save({"images": pixels(), "labels": LABELS, "soft_labels": soft}, tmp_path / "both.pt")
    with pytest.raises(Problem, match="labels or soft_labels may be the labels: say which with --labels NAME"):
        read_tensors(tmp_path / "both.pt", "cifar10", 1)
    assert [read_tensors(tmp_path / "both.pt", "cifar10", 1, Told(labels=name)).labels.ndim
            for name in ("labels", "soft_labels")] == [1, 2]
    torch.save({"images": pixels(), "labels": LABELS, "features": torch.randn(20, 7)}, tmp_path / "features.pt")
    assert read_tensors(tmp_path / "features.pt", "cifar10", 1).labels.ndim == 1


def test_a_factor_that_would_leave_a_tile_empty_is_refused_when_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="32 pixels cannot be cut by decode factor 33"):
        read_tensors(mtt(pixels(), tmp_path), "cifar10", 33)


def test_a_set_whose_arrays_lie_otherwise_in_memory_is_filed_as_it_is(home: Path) -> None:
    images = np.ascontiguousarray(pixels().numpy().transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    back = published(keep(SyntheticSet(images, np.repeat(LABELS.numpy(), 2)[::2], 1), "last"), "cifar10")
    np.testing.assert_array_equal(back.images, images)
    assert back.labels.tolist() == LABELS.tolist()
