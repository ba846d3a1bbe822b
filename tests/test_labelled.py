"""Real data of one's own: every form gives the same images, named by content, and all else is refused in one line."""

from __future__ import annotations

import io
import json
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import file_of, folder_of, picture, tar_of
from PIL import Image
from safetensors.torch import save_file

from synthprune.chapters.described import described
from synthprune.chapters.settings import decides, parameters
from synthprune.chapters.stability import Parameters
from synthprune.cli import main
from synthprune.data.datasets import load
from synthprune.data.facts import CIFAR10, FACTS, facts, full_name
from synthprune.data.forms import read_set
from synthprune.data.images import by_content, fingerprint
from synthprune.data.imports import import_dataset
from synthprune.data.labelled import Told, class_order, cut, in_order, read_labelled
from synthprune.home import data_sets
from synthprune.problems import Problem

CLASSES, SIDE = ("ant", "bee", "cow"), 16
COUNTS = {"train": 4, "test": 2}


def images_of(part: str, label: int) -> np.ndarray:
    """(n, h, w, 3), other ones for each part and class."""
    return np.stack([picture(100 * label + 50 * (part == "test") + k, SIDE) for k in range(COUNTS[part])])


PICTURES = {part: np.concatenate([images_of(part, label) for label in range(3)]) for part in COUNTS}
LABELS = {part: np.repeat(np.arange(3), count) for part, count in COUNTS.items()}
EXPECTED = {part: np.concatenate([by_content(images_of(part, label).transpose(0, 3, 1, 2)) for label in range(3)])
            for part in COUNTS}


def as_folders(train: str = "train", test: str = "test", classes: tuple[str, ...] = CLASSES) -> dict[str, bytes]:
    names = {"train": train, "test": test}
    return {f"{names[part]}/{classes[label]}/{k}.png": file_of(image) for part in COUNTS for label in range(3)
            for k, image in enumerate(images_of(part, label))}


def zip_of(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, payload in files.items():
            archive.writestr(name, payload)
    return path


def arrays_file(path: Path, names: str = "{kind}_{part}", x: str = "x", y: str = "y", **other: np.ndarray) -> Path:
    np.savez(path, **{names.format(kind=x, part=part): PICTURES[part] for part in COUNTS},
             **{names.format(kind=y, part=part): LABELS[part] for part in COUNTS}, **other)
    return path


def tensors_file(path: Path) -> Path:
    torch.save({f"{part}_{what}": torch.from_numpy(array[part].transpose(0, 3, 1, 2).copy() if what == "images" else array[part])
                for part in COUNTS for what, array in (("images", PICTURES), ("labels", LABELS))}, path)
    return path


def by_links(path: Path) -> Path:
    """Its training classes lie elsewhere, and one link leads back to where it lies in."""
    folder_of(as_folders("train", "in/test"), path)
    (path / "in" / "train").mkdir()
    for name in CLASSES:
        (path / "in" / "train" / name).symlink_to(path / "train" / name)
    (path / "in" / "train" / "all").symlink_to(path / "in")
    return path / "in"


def bfloats(path: Path) -> Path:
    save_file({f"{kind}_{part}": torch.from_numpy(array[part] / 255).bfloat16() if kind == "x" else torch.from_numpy(array[part])
               for part in COUNTS for kind, array in (("x", PICTURES), ("y", LABELS))}, path)
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "folder": lambda path: folder_of(as_folders(), path / "in"),
    "valid": lambda path: folder_of(as_folders(test="valid"), path / "in"),
    "below a folder": lambda path: folder_of(as_folders("mnist_png/training", "mnist_png/testing"), path / "in"),
    "numbers": lambda path: folder_of(as_folders(classes=("2", "9", "10")), path / "in"),
    "tar.gz": lambda path: tar_of(as_folders("a/Train", "a/Val"), path / "in.tar.gz", "w:gz"),
    "zip": lambda path: zip_of(as_folders() | {"__MACOSX/train/ant/._0.png": b"?", "README.md": b"hello"}, path / "in.zip"),
    "Keras": lambda path: arrays_file(path / "in.npz"),
    "MedMNIST": lambda path: arrays_file(path / "in.npz", "{part}_{kind}", "images", "labels"),
    "with a mean image": lambda path: arrays_file(path / "in.npz", mean=np.zeros((SIDE, SIDE, 3))),
    "camel case": lambda path: arrays_file(path / "in.npz", "{part}{kind}", "X", "Y"),
    "xtrain": lambda path: arrays_file(path / "in.npz", "{kind}{part}"),
    "tiff": lambda path: folder_of({f"{name.removesuffix('png')}tif": file_of(Image.open(io.BytesIO(payload)), "TIFF")
                                    for name, payload in as_folders().items()}, path / "in"),
    "links": by_links,
    "a zip of Windows": lambda path: zip_of({name.replace("/", "\\"): payload for name, payload in as_folders().items()},
                                            path / "in.zip"),
    "bfloat16": lambda path: bfloats(path / "in.safetensors"),
    "tensors": lambda path: tensors_file(path / "in.pt"),
}


@pytest.fixture(autouse=True)
def fresh(home: Path) -> Path:
    load.cache_clear()
    yield home
    load.cache_clear()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_set(form: str, home: Path, tmp_path: Path) -> None:
    said = import_dataset("mine", FORMS[form](tmp_path))
    (full,) = data_sets()
    assert said.startswith(f"{full}: 12 training and 6 test images; 3 classes; colour, 16 x 16 pixels; ")
    assert full == "mine@2cfc63cf0a5a"
    split = load("mine")
    for part, images, labels in (("train", split.train_images, split.train_labels),
                                 ("test", split.test_images, split.test_labels)):
        assert np.array_equal(images, EXPECTED[part]) and labels.tolist() == LABELS[part].tolist()
    pixels = EXPECTED["train"] / 255
    assert split.facts.mean == tuple(float(f"{m:.4g}") for m in pixels.mean((0, 2, 3)))
    assert split.facts.std == tuple(float(f"{m:.4g}") for m in pixels.std((0, 2, 3)))
    assert facts(full) == split.facts and split.facts.images == {"train": 12, "test": 6} and not split.facts.flip
    if form in ("folder", "zip"):
        assert split.facts.classes == CLASSES
    if form == "numbers":
        assert split.facts.classes == ("2", "9", "10"), "in the order of numbers, not of names"


def parquet_of(labels: object, path: Path, part: str = "train", features: dict | None = None, **columns: list) -> bytes:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images = [{"bytes": file_of(image), "path": None} for image in PICTURES[part]]
    table = pa.table({"image": images, "label": labels} | columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, row_group_size=5)
    return buffer.getvalue()


FEATURES = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}


@pytest.mark.parametrize("place", ["data/", ""])
def test_parquet_as_the_hub_keeps_it(place: str, tmp_path: Path) -> None:
    ids = {part: list(range(len(LABELS[part]))) for part in COUNTS}
    import_dataset("mine", folder_of({f"{place}{part}-00000-of-00001-a1b2.parquet":
                                      parquet_of(LABELS[part].tolist(), tmp_path, part, FEATURES, id=ids[part])
                                      for part in COUNTS}, tmp_path / "in"))
    assert list(data_sets()) == ["mine@2cfc63cf0a5a"]
    assert np.array_equal(load("mine").train_images, EXPECTED["train"]) and load("mine").facts.classes == CLASSES


def test_parquet_in_a_folder_for_each_part_is_read_and_other_names_of_classes_are_refused(tmp_path: Path) -> None:
    files = {part: parquet_of(LABELS[part].tolist(), tmp_path, part, FEATURES) for part in COUNTS}
    import_dataset("mine", folder_of({f"test-set/{part}/0000.parquet": files[part] for part in COUNTS}, tmp_path / "in"))
    assert list(data_sets()) == ["mine@2cfc63cf0a5a"]
    turned = FEATURES | {"label": {"names": list(CLASSES[::-1]), "_type": "ClassLabel"}}
    files["train"] = parquet_of(LABELS["train"].tolist(), tmp_path, "train", turned)
    with pytest.raises(Problem, match="train.parquet calls its classes cow, bee, ant, ..., another file ant, bee, cow"):
        import_dataset("mine", folder_of({f"{part}.parquet": files[part] for part in COUNTS}, tmp_path / "other"))


def test_parquet_that_does_not_tell_is_refused(tmp_path: Path) -> None:
    def said(payload: bytes, test: float = 0.5) -> str:
        (tmp_path / "in.parquet").write_bytes(payload)
        with pytest.raises(Problem) as problem:
            import_dataset("mine", tmp_path / "in.parquet", Told(test=test))
        return str(problem.value)

    numbers = LABELS["train"].tolist()
    assert "has columns image, label, coarse; label or coarse may hold the labels: say which with --labels NAME" in said(
        parquet_of(numbers, tmp_path, coarse=numbers))
    assert "labels in label are text, not numbers" in said(parquet_of(["ant"] * 12, tmp_path))
    whole = parquet_of(numbers, tmp_path)
    assert "cannot be read as parquet" in said(whole[:-30]) and "cannot be read as parquet" in said(whole[:50] + whole[200:])
    assert "has no test images" in said(whole, 0)
    (tmp_path / "in.parquet").write_bytes(parquet_of(numbers, tmp_path, coarse=numbers))
    assert import_dataset("mine", tmp_path / "in.parquet", Told(test=0.5, labels="label")).startswith("mine@")


def test_a_column_of_labels_is_not_mistaken_for_another(tmp_path: Path) -> None:
    """Text beside numbers that count something else; a word that names no column; parts of a number; other types of text."""
    pa = pytest.importorskip("pyarrow")
    names, numbers = ["ant", "bee", "cow"] * 4, LABELS["train"].tolist()

    def said(payload: bytes, **told: str) -> str:
        (tmp_path / "in.parquet").write_bytes(payload)
        with pytest.raises(Problem) as problem:
            import_dataset("mine", tmp_path / "in.parquet", Told(test=0.5, **told))
        return str(problem.value)

    for text in (names, pa.array(names).dictionary_encode(), pa.array(names, pa.large_string())):
        assert "labels in label are text, not numbers" in said(parquet_of(text, tmp_path, fold=numbers))
    both = parquet_of(numbers, tmp_path, coarse=numbers)
    assert "none is called 'coarse_lable': say which with --labels" in said(both, labels="coarse_lable")
    assert "none is called 'picture': say which with --images" in said(both, images="picture", labels="label")
    scores = parquet_of(numbers, tmp_path, score=[0.5] * 12)
    assert "row 0 of group 0: its label 0.5 is no whole number" in said(scores, labels="score")
    (tmp_path / "in.PARQUET").write_bytes(parquet_of(numbers, tmp_path, notes=names))
    assert import_dataset("mine", tmp_path / "in.PARQUET", Told(test=0.5)).startswith("mine@")


def test_what_a_system_puts_beside_files_of_rows_is_passed_over(tmp_path: Path) -> None:
    files = {f"data/{part}-00000-of-00001.parquet": parquet_of(LABELS[part].tolist(), tmp_path, part, FEATURES)
             for part in COUNTS}
    beside = {"data/._train-00000-of-00001.parquet": b"x", "__MACOSX/data/._test.parquet": b"x"}
    import_dataset("mine", folder_of(files | beside, tmp_path / "in"))
    assert list(data_sets()) == ["mine@2cfc63cf0a5a"]


def test_one_image_in_many_rows_is_not_spread_out(tmp_path: Path) -> None:
    """A dictionary keeps it once: the file is small, and what it says is not."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    one = file_of(picture(1, 600))
    parquet.write_table(pa.table({"image": [{"bytes": one}] * 400, "label": [0, 1] * 200}), tmp_path / "in.parquet")
    assert (tmp_path / "in.parquet").stat().st_size < 2 * len(one)
    with pytest.raises(Problem, match="claims 1 MB, too much for a file of 1 MB"):
        import_dataset("mine", tmp_path / "in.parquet", Told(test=0.5))


@pytest.mark.parametrize("content", [
    {"images": [torch.zeros(1).expand(3, 1024, 1024)] * 1000, "labels": [0, 1] * 500},
    [(torch.zeros(1).expand(3, 1024, 1024), k % 2) for k in range(1000)],
    {name: torch.zeros(1).expand(60, 3, 512, 512) for name in ("ant", "bee", "cow")}], ids=["list", "samples", "classes"])
def test_tensors_that_share_their_values_are_counted_as_many(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "in.pt")
    with pytest.raises(Problem, match="too much for a file of"):
        import_dataset("mine", tmp_path / "in.pt", Told(test=0.5))


def test_a_link_to_what_was_not_fetched_is_named(tmp_path: Path) -> None:
    path = folder_of(as_folders(), tmp_path / "in")
    (path / "train" / "ant" / "7.png").symlink_to(tmp_path / "annex" / "7.png")
    with pytest.raises(Problem, match="7.png is a link to what is not here"):
        import_dataset("mine", path)
    (path / "train" / "ant" / "7.png").unlink()
    (path / "train" / "ant" / "notes.txt").symlink_to(tmp_path / "annex" / "notes.txt")
    assert import_dataset("mine", path).startswith("mine@2cfc63cf0a5a")


def test_a_cameras_preview_is_not_another_image(tmp_path: Path) -> None:
    files = as_folders()
    first, preview = (Image.fromarray(picture(seed, SIDE)) for seed in (7, 8))
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[preview])
    path = folder_of(files | {"train/ant/camera.jpg": buffer.getvalue()}, tmp_path / "in")
    import_dataset("mine", path)
    seen = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")).transpose(2, 0, 1)
    assert any(np.array_equal(image, seen) for image in load("mine").train_images)


def test_small_images_may_be_enlarged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What --pixels makes of them is asked for, and claimed by no file."""
    monkeypatch.setattr("synthprune.data.bounds.FLOOR", 2**14)
    assert import_dataset("mine", folder_of(as_folders(), tmp_path / "in"), Told(pixels=224)).startswith("mine@")


def test_numbered_folders_are_in_one_order_however_they_lie(tmp_path: Path) -> None:
    """1 to 10: as text, 10 would come second."""
    folders = {str(k + 1): np.stack([picture(k)]) for k in range(10)}
    files = {f"{name}/0.png": file_of(images[0]) for name, images in folders.items()}
    torch.save({name: torch.from_numpy(images.transpose(0, 3, 1, 2).copy()) for name, images in folders.items()},
               tmp_path / "in.PT")
    for path in (folder_of(files, tmp_path / "in"), tmp_path / "in.PT"):
        found = read_set(path, "cifar10", 1, Told(classes="name"))
        assert found.labels.tolist() == list(range(10))
        for label in range(10):
            values = found.images[label] if found.images.dtype == np.uint8 else np.rint(255 * found.images[label])
            assert np.array_equal(values, picture(label).transpose(2, 0, 1))


@pytest.mark.parametrize(("names", "order"), [
    (("class_0", "class_10", "class_2"), ("class_0", "class_2", "class_10")), (("10", "2", "1"), ("1", "2", "10")),
    (("2_10_x", "2_9_x"), ("2_9_x", "2_10_x")), (("a10", "b2"), ("a10", "b2")), (("1_10", "2_9"), ("1_10", "2_9")),
    (("v10", "v9", "w"), ("v10", "v9", "w")), (("cat",), ("cat",))])
def test_names_that_differ_in_one_number_are_sorted_by_it(names: tuple[str, ...], order: tuple[str, ...]) -> None:
    assert in_order(set(names)) == order


def test_what_says_something_about_classes_is_no_class(tmp_path: Path) -> None:
    beside = {"train/notes/a.md": b"", "train/.git/x": b"", "test/new/Thumbs.db": b"", "docs/manual.pdf": b""}
    for path in (folder_of(as_folders() | beside, tmp_path / "in"), tar_of(as_folders() | beside, tmp_path / "in.tar")):
        assert import_dataset("mine", path).startswith("mine@2cfc63cf0a5a")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "in.parquet").write_bytes(b"PAR1")
    with pytest.raises(Problem, match=r"in.parquet: reading parquet takes pyarrow: pip install 'synthprune\[parquet\]'"):
        import_dataset("mine", tmp_path / "in.parquet", Told(test=0.5))


# One folder, cut in two.


def test_one_folder_is_cut_by_content(tmp_path: Path) -> None:
    files = {name.removeprefix("train/"): payload for name, payload in as_folders().items() if name.startswith("train/")}
    with pytest.raises(Problem, match="has no test images: put class folders under train/ and test/, or say .* as --test 0.2"):
        import_dataset("mine", folder_of(files, tmp_path / "in"))
    said = import_dataset("mine", tmp_path / "in", Told(test=0.25))
    assert "9 training and 3 test images" in said and "the 25% of each class with the largest content hashes" in said
    split, whole = load("mine"), EXPECTED["train"].reshape(3, 4, 3, SIDE, SIDE)
    assert np.array_equal(split.train_images, whole[:, :3].reshape(9, 3, SIDE, SIDE))
    assert np.array_equal(split.test_images, whole[:, 3])


def test_equal_images_stay_on_one_side() -> None:
    images = np.stack([np.full((1, 8, 8), value, np.uint8) for value in (1, 1, 1, 2, 3, 4)])
    for share in (0.2, 0.4, 0.5):
        (train, _), (test, _) = cut(images, np.zeros(6, int), share, "it")
        assert len(train) + len(test) == 6 and not {i.tobytes() for i in train} & {i.tobytes() for i in test}
    with pytest.raises(Problem, match="it: class 0 has 3 images, too few to keep 20% of them for the test"):
        cut(images[:3], np.zeros(3, int), 0.2, "it")


# Size, colour, values.


def test_sides_that_differ_are_brought_to_one_where_it_is_said(tmp_path: Path) -> None:
    tall = np.zeros((40, 20, 3), np.uint8)
    tall[10:30] = picture(7, 20)
    files = as_folders() | {"train/ant/0.png": file_of(picture(5, 20)), "train/ant/1.png": file_of(tall)}
    with pytest.raises(Problem, match=r"train/ant/1.png has 20 x 40 pixels: say which square images .* --pixels 20"):
        import_dataset("mine", folder_of(files, tmp_path / "tall"))
    with pytest.raises(Problem, match=r"its train images are of 2 sizes \(11 of 16 pixels, 1 of 20 pixels\): .* --pixels 20"):
        import_dataset("mine", folder_of(as_folders() | {"train/ant/0.png": files["train/ant/0.png"]}, tmp_path / "two"))
    assert "20 x 20 pixels" in import_dataset("mine", tmp_path / "tall", Told(pixels=20))
    held = {image.tobytes() for image in load("mine").train_images}
    assert picture(7, 20).transpose(2, 0, 1).tobytes() in held, "the middle, untouched"
    assert picture(5, 20).transpose(2, 0, 1).tobytes() in held


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "LA"])
def test_images_that_are_all_grey_have_one_channel(mode: str, tmp_path: Path) -> None:
    def grey(payload: bytes) -> bytes:
        return file_of(Image.open(io.BytesIO(payload)).convert("1" if mode == "1" else "L").convert(mode))

    files = {name: grey(payload) for name, payload in as_folders().items()}
    assert "; grey, 16 x 16" in import_dataset("mine", folder_of(files, tmp_path / "in"))
    assert load("mine").train_images.shape == (12, 1, SIDE, SIDE)
    one = next(iter(as_folders()))
    assert "; colour, " in import_dataset("mixed", folder_of(files | {one: as_folders()[one]}, tmp_path / "mixed"))
    grey_ones = [image for image in load("mixed").train_images if (image == image[:1]).all()]
    assert len(grey_ones) == 11


@pytest.mark.parametrize(("scale", "dtype"), [(255, np.float32), (1, np.float64), (1, np.int64)])
def test_floats_and_integers_are_bytes(scale: float, dtype: type, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", **{f"x_{part}": (PICTURES[part] / scale).astype(dtype) for part in COUNTS},
             **{f"y_{part}": np.eye(3)[LABELS[part]] for part in COUNTS})
    import_dataset("mine", tmp_path / "in.npz")
    assert list(data_sets()) == ["mine@2cfc63cf0a5a"]


# CIFAR's own binary and MATLAB files.


def cifar_rows(hundred: bool, per_part: dict[str, int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {part: (np.stack([picture(1000 * (part == "test") + k) for k in range(count)]).transpose(0, 3, 1, 2),
                   np.arange(count) % (100 if hundred else 10)) for part, count in per_part.items()}


def official(kind: str, hundred: bool, rows: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, bytes]:
    """Krizhevsky's files: five training batches for CIFAR-10, one for CIFAR-100, with coarse labels before the fine ones."""
    from scipy.io import savemat

    images, labels = rows["train"]
    parts = {"train": rows["train"]} if hundred else {f"data_batch_{k + 1}": (images[k::5], labels[k::5]) for k in range(5)}
    parts |= {"test" if hundred else "test_batch": rows["test"]}
    files = {}
    for name, (images, labels) in parts.items():
        flat, coarse = images.reshape(len(images), -1), (labels // 5).astype(np.uint8)
        if kind == "mat":
            buffer, fine = io.BytesIO(), labels[:, None].astype(np.uint8)
            savemat(buffer, {"data": flat} | ({"fine_labels": fine, "coarse_labels": coarse[:, None]} if hundred
                                              else {"labels": fine}))
            files[f"cifar/{name}.mat"] = buffer.getvalue()
        else:
            before = [coarse[:, None], labels[:, None]] if hundred else [labels[:, None]]
            files[f"cifar/{name}.bin"] = np.concatenate([*before, flat], axis=1).astype(np.uint8).tobytes()
    if kind == "bin":
        files["cifar/fine_label_names.txt" if hundred else "cifar/batches.meta.txt"] = (
            "\n".join(FACTS["cifar100" if hundred else "cifar10"].classes) + "\n\n").encode()
    return files


@pytest.mark.parametrize("hundred", [False, True])
@pytest.mark.parametrize("kind", ["bin", "mat"])
def test_cifars_own_files_are_checked_by_content(kind: str, hundred: bool, home: Path, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    name, classes = ("cifar100", 100) if hundred else ("cifar10", 10)
    rows = cifar_rows(hundred, {"train": 2 * classes, "test": classes})
    files = official(kind, hundred, rows)
    expected = {part: np.concatenate([by_content(images[labels == c]) for c in range(classes)])
                for part, (images, labels) in rows.items()}
    prints = {f"{part}/{n}": fingerprint(expected[part], np.repeat(np.arange(classes), n))
              for part, n in (("train", 2), ("test", 1))}
    monkeypatch.setitem(FACTS, name, dataclasses.replace(FACTS[name], fingerprints=prints, complete={"train": 2, "test": 1}))
    path = tar_of(files, tmp_path / f"{name}.tar.gz", "w:gz")
    assert import_dataset(name, path) == f"{name}: {2 * classes} training and {classes} test images"
    assert np.array_equal(load(name).train_images, expected["train"])
    images = rows["train"][0].copy()
    images[3, 0, 0, 0] ^= 1
    other = tar_of(official(kind, hundred, rows | {"train": (images, rows["train"][1])}), tmp_path / "other.tar")
    with pytest.raises(Problem, match=f"other.tar is not {name}: the first 2 train images per class have fingerprint .*; under"
                                      " another name it is imported as a data set of its own"):
        import_dataset(name, other)
    assert f"{2 * classes} training and {classes} test images; {classes} classes" in import_dataset("almost", other)
    cut_off = {file: payload[:len(payload) // 2 - 1] for file, payload in files.items()}
    expected_words = "it is damaged, or not CIFAR's" if kind == "bin" else "cannot be read as CIFAR's MATLAB file"
    with pytest.raises(Problem, match=expected_words):
        import_dataset(name, tar_of(cut_off, tmp_path / "cut.tar"))


def test_jpeg_copies_are_refused_under_the_known_name_and_welcome_under_another(home: Path, tmp_path: Path,
                                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    rows = cifar_rows(False, {"train": 20, "test": 10})
    expected = {part: np.concatenate([by_content(images[labels == c]) for c in range(10)])
                for part, (images, labels) in rows.items()}
    prints = {f"{part}/{n}": fingerprint(expected[part], np.repeat(np.arange(10), n))
              for part, n in (("train", 2), ("test", 1))}
    monkeypatch.setitem(FACTS, "cifar10", dataclasses.replace(FACTS["cifar10"], fingerprints=prints))

    def files(kind: str, classes: tuple[str, ...]) -> dict[str, bytes]:
        return {f"{part}/{classes[label]}/{k}.{kind.lower()}": file_of(image.transpose(1, 2, 0), kind)
                for part, (images, labels) in rows.items() for k, (image, label) in enumerate(zip(images, labels, strict=True))}

    numbers = tuple(map(str, range(10)))
    assert "20 training" in import_dataset("cifar10", folder_of(files("PNG", CIFAR10), tmp_path / "png"))
    assert "20 training" in import_dataset("cifar10", folder_of(files("PNG", numbers), tmp_path / "numbered"))
    copies = folder_of(files("JPEG", CIFAR10), tmp_path / "jpeg")
    with pytest.raises(Problem, match="jpeg is not cifar10: the first 2 train images per class"):
        import_dataset("cifar10", copies)
    assert import_dataset("cifar10-jpeg", copies).startswith("cifar10-jpeg@")


# The name.


def test_all_that_a_network_sees_is_in_the_name(home: Path, tmp_path: Path) -> None:
    path = folder_of(as_folders(), tmp_path / "in")
    import_dataset("mine", path)
    import_dataset("mine", path, Told(flip=True))
    changed = as_folders() | {"test/cow/1.png": file_of(picture(9999, SIDE))}
    import_dataset("mine", folder_of(changed, tmp_path / "changed"))
    assert len(data_sets()) == 3
    with pytest.raises(Problem, match="'mine' is the title of 3 imported data sets: say which, mine@"):
        full_name("mine")
    import_dataset("mine", path)
    assert len(data_sets()) == 3


def test_a_file_that_is_not_what_its_name_says_is_refused(home: Path, tmp_path: Path) -> None:
    import_dataset("mine", folder_of(as_folders(), tmp_path / "in"))
    ((full, file),) = data_sets().items()
    whole = bytearray(file.read_bytes())
    whole[-5] ^= 1
    file.write_bytes(whole)
    with pytest.raises(Problem, match="not what its name says: import it again"):
        load(full)
    file.rename(file.with_name("mine@0123456789ab.safetensors"))
    (home / "data" / "mine@0123456789ab.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(Problem, match="is damaged .*: import it again"):
        facts("mine@0123456789ab")


# What is refused, by the command line: in one line, with status 2, and nothing is stored.


def without(files: dict[str, bytes], beginning: str) -> dict[str, bytes]:
    return {name: payload for name, payload in files.items() if not name.startswith(beginning)}


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **{"x_train": PICTURES["train"], "y_train": LABELS["train"], "x_test": PICTURES["test"],
                      "y_test": LABELS["test"]} | arrays)
    return path


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def moving() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(1, SIDE)).save(buffer, "GIF", save_all=True, append_images=[Image.fromarray(picture(2, SIDE))])
    return buffer.getvalue()


def linked(files: dict[str, bytes], name: str, path: Path) -> Path:
    with tarfile.open(tar_of(files, path), "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, "../elsewhere"
        archive.addfile(member)
    return path


ONE, DEEP = as_folders(), file_of(Image.fromarray(np.full((16, 16), 4000, np.uint16)))
BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "one class": (lambda p: folder_of({n: b for n, b in ONE.items() if "/ant/" in n}, p / "in"), "a network needs two classes"),
    "unreadable image": (lambda p: folder_of(ONE | {"train/bee/1.png": b"?"}, p / "in"), "train/bee/1.png cannot be read as an"),
    "cut-off image": (lambda p: tar_of(ONE | {"test/bee/1.png": ONE["test/bee/1.png"][:300]}, p / "in.tar"),
                      "test/bee/1.png cannot"),
    "equal images": (lambda p: folder_of(ONE | {"test/cow/0.png": ONE["train/ant/2.png"]}, p / "in"),
                     "1 of 6 test images are also training images, the first of class cow: take them out of one of the two"),
    "no test part": (lambda p: folder_of(without(ONE, "test/"), p / "in"), "has no test images: put class folders under train/"),
    "a class untested": (lambda p: folder_of(without(ONE, "test/bee"), p / "in"), "class bee has no test images"),
    "a class untrained": (lambda p: folder_of(without(ONE, "train/bee"), p / "in"), "class bee has no training images"),
    "a label untrained": (lambda p: npz(p / "in.npz", y_test=LABELS["test"] + 1), "a test image has label 3, the training"),
    "a gap": (lambda p: npz(p / "in.npz", y_train=2 * LABELS["train"]), "no image has label 1, yet labels reach to 4"),
    "in capitals": (lambda p: folder_of(without(ONE, "test/ant") | {"test/Ant/0.png": ONE["test/ant/0.png"]}, p / "in"),
                    "class Ant has no training images"),
    "no numbers": (lambda p: npz(p / "in.npz", x_train=PICTURES["train"][:0], y_train=LABELS["train"][:0]),
                   "0 train images but 0 labels"),
    "two images per class": (lambda p: saved({name: [torch.rand(3, 16, 16)] * 2 for name in CLASSES}, p / "in.pt"),
                             "is not a list [images, labels] of two tensors"),
    "an image per class": (lambda p: saved({name: torch.rand(3, 16, 16) for name in CLASSES}, p / "in.pt"),
                           "ant of shape (3, 16, 16) may be one image or grey ones"),
    "animated": (lambda p: folder_of(ONE | {"train/ant/9.gif": moving()}, p / "in"), "train/ant/9.gif has 2 frames: keep the"),
    "a linked class in a tar": (lambda p: linked(without(without(ONE, "train/cow"), "test/cow"), "train/cow", p / "in.tar"),
                                "member 'train/cow' is a link or a device"),
    "something else in a tar": (lambda p: tar_of({"data/set.npz": b"?"}, p / "in.tar"),
                                "holds no images under './<class>/' but data/set.npz: is it the right file?"),
    "two sets": (lambda p: folder_of(ONE | as_folders("b/train", "b/test"), p / "in"), "holds class folders in 4 places"),
    "train twice": (lambda p: folder_of(ONE | {"Train/ant/0.png": ONE["train/ant/0.png"]}, p / "in"),
                    "in 3 places (Train, test, "),
    "only elsewhere": (lambda p: folder_of(as_folders("a", "b"), p / "in"), "holds class folders in 2 places (a, b)"),
    "16 bits": (lambda p: folder_of(ONE | {"train/ant/0.png": DEEP}, p / "in"),
                "of more than 8 bits: convert it"),
    "text labels": (lambda p: npz(p / "in.npz", y_train=np.array(["ant", "bee", "cow"]).repeat(4)),
                    "labels are text, not numbers"),
    "objects": (lambda p: npz(p / "in.npz", y_train=np.array(["ant"] * 12, object)),
                "holds pickled objects, which are never read"),
    "half labels": (lambda p: npz(p / "in.npz", y_train=LABELS["train"] / 2), "labels must be one whole number per image"),
    "negative": (lambda p: npz(p / "in.npz", y_train=LABELS["train"] - 1), "labels reach from -1 to 1"),
    "huge": (lambda p: npz(p / "in.npz", y_test=LABELS["test"] + 2**40), "they must number classes from 0"),
    "fewer labels": (lambda p: npz(p / "in.npz", y_test=LABELS["test"][:5]), "none may be the labels of its part 'test'"),
    "two of images": (lambda p: npz(p / "in.npz", z_test=PICTURES["test"]),
                      "x_test or z_test may be the images of its part 'test'"),
    "whitened": (lambda p: npz(p / "in.npz", x_train=np.random.default_rng(0).normal(0, 0.5, (12, 16, 16, 3))),
                 "are whitened, no pixels"),
    "infinite": (lambda p: npz(p / "in.npz", x_test=np.full((6, 16, 16, 3), np.inf)), "image 0 holds a value that is not finite"),
    "four channels": (lambda p: npz(p / "in.npz", x_test=np.zeros((6, 16, 16, 4), np.uint8)), "images have shape (6, 16, 16, 4)"),
    "other shape": (lambda p: npz(p / "in.npz", x_test=PICTURES["test"][:, ::2, ::2]),
                    "test images (3, 8, 8): bring both to one"),
    "flat": (lambda p: npz(p / "in.npz", x_train=PICTURES["train"].reshape(12, -1), x_test=PICTURES["test"].reshape(6, -1)),
             "none of them can be the images"),
    "tiny": (lambda p: npz(p / "in.npz", x_train=PICTURES["train"][:, ::4, ::4], x_test=PICTURES["test"][:, ::4, ::4]),
             "images of 4 pixels are too small"),
    "one colour": (lambda p: npz(p / "in.npz", x_train=np.full((12, 16, 16), 7, np.uint8), x_test=PICTURES["test"][..., 0]),
                   "has one value in every image"),
    "images and rows": (lambda p: folder_of(ONE | {"data_batch_1.bin": bytes(3073)}, p / "in"),
                        "holds images and also data_batch_1.bin"),
    "one label": (lambda p: saved([torch.rand(3, 3, 16, 16), torch.tensor(1)], p / "in.pt"), "the labels are a single number"),
    "one pixel": (lambda p: saved([torch.tensor(1.0), torch.tensor([1])], p / "in.pt"), "the images are a single number"),
    "grey about zero": (lambda p: npz(p / "in.npz", x_train=1.1 * (PICTURES["train"][..., 0] / 127.5 - 1)),
                        "are whitened, no pixels"),
    "a class in another form": (lambda p: folder_of(ONE | {"train/dog/1.heic": b"?", "test/dog/1": b"?"}, p / "in"),
                                "class folder 'test/dog' holds 1 and no image that is read (.png, "),
    "an empty class": (lambda p: zip_of(ONE | {"train/dog/": b"", "docs/": b""}, p / "in.zip"), "'train/dog' is empty: put its"),
    "no images": (lambda p: folder_of({"train/ant/readme.txt": b"hello"}, p / "in"), "holds no images under './<class>/'"),
    "an archive in a folder": (lambda p: zip_of(ONE, folder_of({"notes.txt": b"hello"}, p / "in") / "set.zip").parent,
                               "in/set.zip itself"),
    "no form": (lambda p: folder_of({"in.pkl": b"hello"}, p) / "in.pkl", "is in no form that is read: give a folder, tar or zip"),
    "text in a list": (lambda p: saved({"train": {"images": PICTURES["train"], "labels": ["ant", "bee", "cow"] * 4},
                                        "test": {"images": PICTURES["test"], "labels": LABELS["test"]}}, p / "in.pt"),
                       "labels are text, not numbers"),
    "nothing": (lambda p: p / "gone", "no such file or folder: "),
    "cut-off zip": (lambda p: p / "in.zip" if zip_of(ONE, p / "in.zip") and (p / "in.zip").write_bytes(
        (p / "in.zip").read_bytes()[:-100]) else None, "is not a whole zip archive"),
}


@pytest.fixture
def refused(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def give(*words: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["synthprune", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert stop.value.code == 2 and said.out == "" and said.err.startswith("synthprune: ") and said.err.count("\n") == 1, said
        assert not home.exists(), "nothing is stored"
        return said.err

    return give


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_data_set_is_refused(case: str, refused: Callable[..., str], tmp_path: Path) -> None:
    make, expected = BAD[case]
    path = make(tmp_path)
    said = refused("data", "import", "mine", path)
    assert expected in said and str(path) in said


@pytest.mark.parametrize(("words", "expected"), [
    (["data", "import", "my set", "{in}"], "'my set' cannot name a data set: use letters"),
    (["data", "import", "../mine", "{in}"], "'../mine' cannot name a data set: use letters"),
    (["data", "import", "mine", "{in}", "--test", "0.2"], "has a part to test on, test: leave --test away"),
    (["data", "import", "mine", "{in}", "--inside", "other"], "holds no images under 'other/<class>/'"),
    (["data", "import", "mine", "train.parquet", "--of", "cifar10"], "train.parquet is read as a data set of its own alone"),
    (["data", "import", "mine", "{in}", "--of", "cifar11"],
     "unknown data set 'cifar11': did you mean 'cifar10'? (none of your own"),
    (["plan", "04_stability", "-p", "dataset=mine"],
     "unknown data set 'mine': known: cifar10, cifar100, digits, imagenet10, imagenette"
     " (none of your own is imported yet; 'synthprune data import mine PATH' imports one)"),
    (["run", "04_stability", "-p", "dataset=mine@0123456789ab"], "'synthprune data import mine PATH' imports one")])
def test_words_that_name_no_data_set(words: list[str], expected: str, refused: Callable[..., str], tmp_path: Path) -> None:
    path = folder_of(as_folders(), tmp_path / "in")
    assert expected in refused(*(word.format(**{"in": path}) for word in words))


def flat_as_kaggle_has_it(path: Path) -> Path:
    images = {f"{part}/{k}.jpg": file_of(picture(k), "JPEG") for part in COUNTS for k in range(3)}
    return zip_of(images | {"labels.csv": b"id,breed"}, path / "dogs.zip")


def npz_of(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path / "in.npz", **arrays)
    return path / "in.npz"


EDGES: dict[str, tuple[Callable[[Path], Path], list[str], str]] = {
    "flat": (flat_as_kaggle_has_it, ["--test", "0.2"], "test and train hold images and no class folders"),
    "no rows": (lambda path: folder_of({"batches.meta.txt": b"ant"}, path / "in"), [], "holds no labelled images"),
    "rows of pixels": (lambda path: npz_of(path, x=np.full((2, 1, 784), 9, np.uint8), y=np.arange(2)),
                       ["--pixels", "28", "--test", "0.5"], "784 x 1 pixels, which have no middle to keep"),
    "no pixels": (lambda path: npz_of(path, x=np.zeros((5, 0, 0, 3), np.uint8), y=np.arange(5)), ["--test", "0.5"],
                  "images have shape (5, 0, 0, 3), without a pixel"),
    "a name too few": (lambda path: folder_of({"data_batch_1.bin": bytes(3073) + b"\2" + bytes(3072),
                                               "batches.meta.txt": b"ant\nbee", "test_batch.bin": bytes(3073)}, path / "in"), [],
                       "labels reach to 2, but only 2 classes have a name"),
}


@pytest.mark.parametrize("case", EDGES)
def test_edges_of_reading_are_told_in_one_line(case: str, refused: Callable[..., str], tmp_path: Path) -> None:
    make, words, expected = EDGES[case]
    assert expected in refused("data", "import", "mine", make(tmp_path), *words)


def test_pickled_arrays_are_never_executed(refused: Callable[..., str], tmp_path: Path) -> None:
    from pictures import Toucher

    (tmp_path / "in.pt").write_bytes(pickle.dumps({"x_train": Toucher(tmp_path / "executed")}))
    refused("data", "import", "mine", tmp_path / "in.pt")
    assert not (tmp_path / "executed").exists()


def test_a_tar_that_claims_too_much_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    member = tarfile.TarInfo("train/ant/0.png")
    member.size = 8 * 2**40
    (tmp_path / "in.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert "claims 8 TB, too much for a file of 2 KB" in refused("data", "import", "mine", tmp_path / "in.tar")


def test_numbered_folders_are_known_classes_in_their_order() -> None:
    assert class_order(["1", "10", "0"], ("a", "b", "c"), "it", Path("p"), "name")[0] == ["1", "10", "0"]
    assert class_order(["1", "2", "0"], ("a", "b", "c"), "it", Path("p"))[0] == ["0", "1", "2"]


# In use.


def test_a_chapter_takes_it_by_its_title(home: Path, tmp_path: Path) -> None:
    from synthprune.chapters import CHAPTERS, experiment
    from synthprune.results.plan import images
    from synthprune.results.specs import closure

    import_dataset("mine", folder_of(as_folders(), tmp_path / "in"))
    (full,) = data_sets()
    for chapter in CHAPTERS:
        room = experiment(chapter)
        p = parameters(room.Parameters, chapter, {"dataset": "mine"})
        assert (p.dataset, p.pixels) == (full, SIDE)
        asked = closure(list(room.requests(p).values()))
        assert {entry.dataset.name for entry in asked if hasattr(entry, "dataset")} == {full}
        assert "mine" in room.setting(p)
    assert images(p and asked[0].dataset) == (12, 6)
    other = {"dataset": "mine", "pixels": "8", "architecture": "lenet300"}
    p = parameters(experiment("04_stability").Parameters, "04_stability", other)
    scenes = {entry.dataset.pixels for entry in closure(list(experiment("04_stability").requests(p).values()))
              if hasattr(entry, "dataset")}
    assert scenes == {8}, "in every scene"


def test_a_dictionary_of_images_by_class_is_cut_in_two_and_keeps_their_names(tmp_path: Path) -> None:
    images = {name: PICTURES["train"][LABELS["train"] == label] for label, name in enumerate(("cow", "ant", "bee"))}
    found = read_labelled(saved(images, tmp_path / "in.pt"), Told(test=0.25))
    assert found.classes == ("ant", "bee", "cow")
    for images_of, labels in (found.train, found.test):
        for image, label in zip(images_of, labels, strict=True):
            assert any(np.array_equal(image, one.transpose(2, 0, 1)) for one in images[found.classes[label]])


def test_claims_are_not_judged_on_a_set_of_ones_own(home: Path, tmp_path: Path) -> None:
    import_dataset("mine", folder_of(as_folders(), tmp_path / "in"))
    p = parameters(Parameters, "04_stability", {"profile": "laptop", "dataset": "mine"})
    assert decides(parameters(Parameters, "04_stability", {"profile": "laptop"})) and not decides(p)
    assert "Data of your own decide nothing about the paper" in described(p, "", "")
