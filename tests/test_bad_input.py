"""Bad input: one line that names the thing and says what to do, status 2, and no trace."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pictures import Toucher, file_of, folder_of, picture, tar_of, tiny
from PIL import Image

from synthprune import machine
from synthprune.chapters.profiles import read_profile
from synthprune.cli import main
from synthprune.cli.options import _device
from synthprune.data.datasets import load
from synthprune.data.facts import CIFAR10
from synthprune.data.synthetic import SyntheticSet, keep, published
from synthprune.problems import Problem
from synthprune.results.store import Busy

# A run that would be over in a moment, were it not refused.
QUICK = ["--workers", "1", "-p", "epochs=1", "-p", "synthetic_epochs=1", "-p", "distillation_steps=0", "-p", "levels=0",
         "-p", "width=4", "-p", "train_per_class=20"]
RUN = ["run", "04_stability", *QUICK]

Refused = Callable[..., str]


@pytest.fixture
def refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Give words to the command line, which must refuse them; what it says."""
    def give(*words: str | Path) -> str:
        load.cache_clear()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["synthprune", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert stop.value.code == 2 and said.out == ""
        assert_nothing_left(home)
        return one_line(said.err)

    return give


@pytest.mark.parametrize("name", ["cuda:7", "gpu", "meta"])
def test_a_device_that_is_not_here(refused: Refused, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for words in (RUN, ["compute", "--profile", "laptop"], ["book"], ["store", "recheck", "04_stability"]):
        assert f"device '{name}': this machine has cpu, cuda, cuda:0, cuda:1" in refused(*words, "--device", name)
    assert "SYNTHPRUNE_DEVICE" not in os.environ
    monkeypatch.setenv("SYNTHPRUNE_DEVICE", name)
    for words in (RUN, ["compute", "--profile", "laptop"], ["plan"], ["units"]):
        assert f"device '{name}': this machine has cpu, cuda, cuda:0, cuda:1" in refused(*words)


def test_a_cluster_that_is_not_there(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHPRUNE_SCHEDULER", "")  # so that it is put back
    unit = {"says": "a dense network", "chapters": {"06_hessian": {}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(read_profile("demo") | {"units": {"one": unit}}))
    assert "no Dask scheduler answers at nonsense (" in refused("compute", "--profile", "mine.yaml", "--scheduler", "nonsense")


@pytest.mark.parametrize(("words", "said"), [
    (["04_stability", "--workers", "2"], "--workers says nothing about a CHAPTER"),
    (["04_stability", "--budget", "9"], "--budget says nothing about a CHAPTER"),
    (["-n", "2", "-p", "seeds=0"], "--parameter says nothing about -n NUMBER"),
    ([], "a CHAPTER, or -n NUMBER")])
def test_options_of_a_recheck_that_would_be_passed_over(words: list[str], said: str, refused: Refused) -> None:
    assert said in refused("store", "recheck", *words)


def test_a_set_that_another_process_is_making(monkeypatch: pytest.MonkeyPatch, refused: Refused, home: Path) -> None:
    def busy(*_: object, **__: object) -> None:
        raise Busy("key")

    monkeypatch.setattr("synthprune.results.compute.compute", busy)
    assert "another process is making this set: 'synthprune status'" in refused("data", "distill", "mine", "--of", "digits")


def test_a_log_that_cannot_be_written_is_told_before_anything_is_computed(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (("compute", "--profile", "laptop", "--log", str(log := tmp_path / "file" / "log")),
                  ("run", "04_stability", "--output", str(out := tmp_path / "file" / "out.ipynb"))):
        assert f"{log if 'compute' in words else out} cannot be written: {tmp_path / 'file'} is no folder" in refused(*words)


def test_a_device_that_is_here_is_the_one_computed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHPRUNE_DEVICE", "")  # so that it is put back
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, count in (("cpu", 0), ("cuda:1", 1)):
        _device(name)
        assert (machine.device(), machine.gpus()) == (name, count)
    monkeypatch.setenv("SYNTHPRUNE_DEVICE", "")
    assert machine.gpus() == 2


def one_line(said: str) -> str:
    assert said.startswith("synthprune: ") and said.endswith("\n") and said.count("\n") == 1, said
    assert "Traceback" not in said
    return said


def assert_nothing_left(home: Path) -> None:
    """No file but the empty ones that locks are."""
    left = [file for file in home.rglob("*") if file.is_file() and not (file.parent.name == "locks" and not file.stat().st_size)]
    assert left == []
    assert [folder for folder in home.rglob("tmp/*") if folder.is_dir()] == []


# Images in folders and tars: what the file is called, how it is made, and what must be said about it.


def one_bad(bad: bytes, name: str = "cat/1.png") -> Callable[[Path], Path]:
    return lambda path: tar_of(tiny() | {name: bad}, path)


def cut(mode: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        whole = tar_of(tiny(), path, mode).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return path

    return make


def damaged(mode: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        whole = bytearray(tar_of(tiny(), path, mode).read_bytes())
        whole[len(whole) // 2: len(whole) // 2 + 64] = bytes(range(64))
        path.write_bytes(whole)
        return path

    return make


def text(path: Path) -> Path:
    path.write_text("<html>404 not found</html>\n" * 100)
    return path


def linked(path: Path) -> Path:
    """A tar in which one image is a link to a file outside."""
    tar_of({name: payload for name, payload in tiny().items() if name != "cat/1.png"}, path)
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("cat/1.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    return path


def claims_8_tb() -> bytes:
    member = tarfile.TarInfo("cat/1.png")
    member.size = 8 * 2**40
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def hand_made_png(side: int, depth: int) -> bytes:
    """RGB; what Pillow will not write: 16 bits a channel, or a side with hardly any data behind it."""
    rows = zlib.compress((b"\0" + b"\x12\x34" * 3 * 32) * 32)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, 2, 0, 0, 0))
            + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


CMYK = file_of(Image.fromarray(picture(0)).convert("CMYK"), "JPEG")
DEEP_GREY = file_of(Image.fromarray(np.full((32, 32), 40000, np.uint16)))

IMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "absent": (lambda path: path, "no such file or folder: {path}"),
    "truncated tar": (cut("w"), "{path} is not a whole tar archive (unexpected end of data): fetch it again"),
    "truncated tar.gz": (cut("w:gz"), "{path} is not a whole tar archive (Compressed file ended"),
    "truncated tar.xz": (cut("w:xz"), "{path} is not a whole tar archive (Compressed file ended"),
    "damaged tar.xz": (damaged("w:xz"), "{path} is not a whole tar archive (Corrupt input data): fetch it again"),
    "a web page": (text, "{path} is not a whole tar archive (file could not be opened successfully): fetch it again"),
    "empty file": (lambda path: path.write_bytes(b"") and path or path, "{path} is not a whole tar archive"),
    "no class folders": (lambda path: tar_of({f"{i}.png": file_of(picture(i)) for i in range(20)}, path),
                         "{path} holds no images under './<class>/'"),
    "several places": (lambda path: tar_of(tiny(under="mtt/") | tiny(under="dc/"), path),
                       "{path} holds class folders in 2 places (dc, mtt): say which with --inside"),
    "8 TB": (lambda path: path.write_bytes(claims_8_tb()) and path, "member 'cat/1.png' claims 8 TB, too much"),
    "wrong classes": (lambda path: tar_of(tiny(classes=(*CIFAR10[:-1], "zebra")), path), "{path} has 10 classes (airplane, "),
    "a class too few": (lambda path: tar_of(tiny(classes=CIFAR10[:-1]), path), "{path} has 9 classes (airplane, "),
    "a class too many": (lambda path: tar_of(tiny(classes=(*CIFAR10, "zebra")), path), "{path} has 11 classes (airplane, "),
    "member above": (one_bad(file_of(picture(1)), "../cat/1.png"), "{path}: member '../cat/1.png' points outside the archive"),
    "member above, later": (one_bad(b"x", "cat/../../evil"), "{path}: member 'cat/../../evil' points outside the archive"),
    "absolute member": (one_bad(b"x", "/tmp/evil"), "{path}: member '/tmp/evil' points outside the archive"),
    "linked image": (linked, "{path}: member 'cat/1.png' is a link or a device"),
    "another size": (one_bad(file_of(picture(1, 28))), "{path}: cat/1.png has 28 x 28 pixels, not 32 x 32"),
    "a bomb": (one_bad(hand_made_png(60000, 8)), "{path}: cat/1.png cannot be read as an image (Image size"),
    "16-bit grey": (one_bad(DEEP_GREY), "{path}: cat/1.png has mode I;16 with 16 bits: convert it to 8-bit RGB"),
    "16-bit RGB": (one_bad(hand_made_png(32, 16)), "{path}: cat/1.png has mode RGB with 16 bits: convert it to 8-bit RGB"),
    "CMYK": (one_bad(CMYK, "cat/1.jpg"), "{path}: cat/1.jpg has mode CMYK: convert it to 8-bit RGB"),
    "cut-off image": (one_bad(file_of(picture(1))[:1000]), "{path}: cat/1.png cannot be read as an image"),
    "no image": (one_bad(b"not an image"), "{path}: cat/1.png cannot be read as an image"),
    "a class in another form": (lambda path: tar_of(tiny(classes=CIFAR10[:-1]) | {"truck/1.avif": b"?"}, path),
                                "{path}: class folder 'truck' holds 1.avif and no image that is read (.png, .jpg, "),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_that_are_no_synthetic_set(case: str, refused: Refused, tmp_path: Path) -> None:
    make, expected = IMAGES[case]
    path = make(tmp_path / "given.tar")
    before = set(tmp_path.rglob("*"))
    assert expected.format(path=path) in refused("data", "import", "mine", path, "--of", "cifar10")
    assert set(tmp_path.rglob("*")) == before and not Path("/tmp/evil").exists()


def test_the_same_images_unharmed_are_taken(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the refusals above could be of something else."""
    path = tar_of(tiny(), tmp_path / "given.tar")
    monkeypatch.setattr(sys, "argv", ["synthprune", "data", "import", "mine", str(path), "--of", "cifar10"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0 and len(list(home.rglob("mine@*.safetensors"))) == 1


@pytest.mark.parametrize(("words", "expected"), [
    (["mine", "{tar}", "--of", "cifar11"], "unknown data set 'cifar11': did you mean 'cifar10'?"),
    (["../mine", "{tar}", "--of", "cifar10"], "'../mine' cannot name a synthetic set: use letters"),
    (["my set", "{tar}", "--of", "cifar10"], "'my set' cannot name a synthetic set: use letters"),
    (["mine", "{tar}", "--of", "cifar10", "--inside", "mtt"], "holds no images under 'mtt/<class>/'"),
    (["mine", "{tar}", "--of", "cifar10", "--test", "0.2"], "--test says nothing about a synthetic set: leave it away"),
    (["mine", "{tar}", "--test", "0.2", "--factor", "2"], "--factor says nothing about a real set: leave it away"),
    (["mine", "{tar}", "--test", "0.2", "--pixels", "100000"], "'--pixels': Input should be less than or equal to 1024"),
    (["cifar1000", "{tar}"], "{tar} has no test images: put class folders under train/ and test/, or say"),
    (["mine", "{deep}", "--of", "cifar10", "--pixels", "32"], "{deep}: cat/1.png has mode RGB, of more than 8 bits: convert it"),
    (["digits", "{tar}"], "digits come with scikit-learn: there is nothing to import"),
    (["cifar10", "{tar}"], "as --test 0.2 (for a synthetic set say which data set it stands for: --of DATASET)"),
    (["cifar10", "{small}"], "{small} is not cifar10: a class has only 2 test images, not 1000 or more"),
    (["cifar10", "{folder}"], "{folder} is not cifar10: class airplane has no test images")])
def test_imports_that_are_something_else(words: list[str], expected: str, refused: Refused, tmp_path: Path) -> None:
    files = {"tar": tar_of(tiny(), tmp_path / "set.tar"),
             "small": tar_of(tiny(under="train/") | tiny(under="test/"), tmp_path / "small.tar"),
             "deep": tar_of(tiny() | {"cat/1.png": hand_made_png(32, 16)}, tmp_path / "deep.tar"),
             "folder": folder_of(tiny(under="train/") | tiny(under="test/", classes=CIFAR10[1:]), tmp_path / "folder")}
    said = refused("data", "import", *(word.format(**files) for word in words))
    assert expected.format(**files) in said


@pytest.mark.parametrize("payload", ["link above", "truncated", "text", "foreign"])
def test_an_official_archive_that_is_none(payload: str, refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    if payload == "text":
        text(path)
    else:
        tar_of({"../evil" if payload == "link above" else "cifar-10-batches-py/data_batch_1": os.urandom(9000)}, path, "w:gz")
    if payload == "truncated":
        path.write_bytes(path.read_bytes()[:4000])
    said = refused("data", "import", "cifar10", path)
    words = {"foreign": "is missing or has a wrong MD5: fetch it again",
             "link above": f"{path}: member '../evil' points outside the archive; it is not to be trusted"}
    assert words.get(payload, f"{path} is not a whole tar archive (") in said
    assert said.endswith(("fetch it again\n", "to be trusted\n")) and not list(tmp_path.parent.rglob("evil"))


# Tensors.


def legacy(content: list, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def plain(content: list, path: Path) -> None:
    path.write_bytes(pickle.dumps([content[0].numpy(), content[1]]))


@pytest.mark.parametrize(("write", "expected"), [
    (torch.save, "holds pickled code, which is never executed"), (legacy, "holds pickled code, which is never executed"),
    (plain, "holds pickled code, which is never executed")])
def test_pickled_code_is_refused_and_never_executed(write: Callable, expected: str, refused: Refused, tmp_path: Path) -> None:
    path, mark = tmp_path / "data.pt", tmp_path / "executed"
    write([torch.rand(10, 3, 32, 32), Toucher(mark)], path)
    assert f"{path} {expected}: only a list [images, labels] of tensors is read" in refused(
        "data", "import", "idc", path, "--of", "cifar10")
    assert not mark.exists()
    pickle.loads(path.read_bytes()) if write is plain else torch.load(path, weights_only=False)
    assert mark.exists(), "the payload is a live one"


GOOD = torch.full((20, 3, 32, 32), 0.5)
LABELS = torch.arange(10).repeat_interleave(2)


def harmed(value: float) -> torch.Tensor:
    images = GOOD.clone()
    images[7, 1, 3, 5] = value
    return images


TENSORS = {
    "nine classes": ([GOOD[:18], LABELS[:18]], "9 classes in the labels, from 0 to 8; cifar10 has 10, from 0 to 9"),
    "eleven classes": ([torch.cat([GOOD, GOOD[:2]]), torch.arange(11).repeat_interleave(2)], "11 classes in the labels"),
    "labels from one": ([GOOD, LABELS + 1], "10 classes in the labels, from 1 to 10; cifar10 has 10, from 0 to 9"),
    "NaN": ([harmed(float("nan")), LABELS], "images hold NaN or infinite values"),
    "infinity": ([harmed(float("inf")), LABELS], "images hold NaN or infinite values"),
    "normalised": ([harmed(-2.1), LABELS], "values reach from -2.10 to 0.50 and deviate by 0.01; pixels in about [0, 1] are"),
    "of -1 to 1": ([2 * torch.rand(20, 3, 32, 32) - 1, LABELS], "say which with --space (pixels, bytes, symmetric"),
    "never negative logits": ([GOOD, torch.eye(10)[LABELS] * 3], "say --soft logits if they are"),
    "labels of nine classes": ([GOOD, torch.softmax(torch.randn(20, 9), 1)], "labels of 9 numbers per image; cifar10 has 10"),
    "stretched out of nothing": ([torch.zeros(1).expand(10**9, 3, 32, 32), LABELS], "claims 11 TB, too much for a file of"),
    "other size": ([GOOD[..., :28, :28], LABELS], "images have shape (3, 28, 28), cifar10 has (3, 32, 32)"),
    "grey": ([GOOD[:, :1], LABELS], "images have shape (1, 32, 32), cifar10 has (3, 32, 32)"),
    "flat": ([GOOD.flatten(1), LABELS], "images have shape (3072,), cifar10 has (3, 32, 32)"),
    "fewer labels": ([GOOD, LABELS[:10]], "20 images but 10 labels"), "empty": ([GOOD[:0], LABELS[:0]], "0 images but 0 labels"),
    "fractional labels": ([GOOD, LABELS + 0.5], "labels must be one integer per image, not fractions of type float32"),
    "one label": ([GOOD, torch.tensor(3)], "labels must be one integer per image, or one number per class, not of shape ()"),
    "whole numbers": ([GOOD.to(torch.uint8), LABELS], "values reach from 0.0000 to 0.0000 and deviate by 0.0000; pixels"),
    "without data": ([GOOD.to("meta"), LABELS], "images must be a dense tensor of floats"),
    "three of them": ([GOOD, LABELS, LABELS], "is not a list [images, labels] of two tensors"),
    "two of labels": ({"images": GOOD, "a": LABELS, "b": LABELS}, "holds images, a, b; a or b may be the labels: say which with"),
    "no labels": ({"images": GOOD},
                  "holds images of shape (20, 3, 32, 32); none of them can be the labels: say which with --labels NAME"),
    "numbers": ([1, 2], "is not a list [images, labels] of two tensors"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_are_no_synthetic_set(case: str, refused: Refused, tmp_path: Path) -> None:
    content, expected = TENSORS[case]
    path = tmp_path / "data.pt"
    torch.save(content, path)
    said = refused("data", "import", "idc", path, "--of", "cifar10")
    assert f"synthprune: {path}" in said and expected in said


@pytest.mark.parametrize(("payload", "expected"), [
    (None, "no such file: {path}"), (b"", "{path} is damaged or foreign"), (b"hello" * 100, "{path} is damaged or foreign"),
    ("cut", "{path} is damaged")])
def test_a_tensor_file_that_cannot_be_read(payload: bytes | str | None, expected: str, refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "data.pt"
    if payload == "cut":
        torch.save([GOOD, LABELS], path)
        payload = path.read_bytes()[:5000]
    if payload is not None:
        path.write_bytes(payload)
    assert expected.format(path=path) in refused("data", "import", "idc", path, "--of", "cifar10")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_as_published_are_taken_with_their_values(dtype: torch.dtype, home: Path, tmp_path: Path) -> None:
    """Slightly outside [0, 1], with a gradient, in any floating type."""
    from synthprune.data.forms import read_tensors

    images = harmed(1.25).to(dtype).requires_grad_()
    torch.save([images, LABELS], tmp_path / "data.pt")
    found = read_tensors(tmp_path / "data.pt", "cifar10", 2)
    assert np.array_equal(found.images, harmed(1.25).numpy()) and found.factor == 2 and found.labels.tolist() == LABELS.tolist()


# What is kept on this machine.


def kept(home: Path) -> tuple[str, Path]:
    full = keep(SyntheticSet(GOOD.numpy(), LABELS.numpy(), 2), "mine")
    return full, home / "data" / "synthetic" / f"{full}.safetensors"


@pytest.mark.parametrize("harm", ["pixel", "cut", "empty", "other set"])
def test_a_synthetic_set_that_is_not_what_its_name_says(harm: str, home: Path) -> None:
    full, file = kept(home)
    whole = bytearray(file.read_bytes())
    whole[-5] ^= 1
    file.write_bytes({"pixel": whole, "cut": whole[:1000], "empty": b"", "other set": b""}[harm])
    if harm == "other set":
        other = keep(SyntheticSet(GOOD.numpy() / 2, LABELS.numpy(), 2), "mine")
        file.write_bytes((file.parent / f"{other}.safetensors").read_bytes())
    with pytest.raises(Problem, match="import it again") as problem:
        published(full, "cifar10")
    assert str(file) in str(problem.value) and "\n" not in str(problem.value)


def test_an_imported_data_set_that_was_damaged(home: Path) -> None:
    load.cache_clear()
    (home / "data").mkdir(parents=True)
    (home / "data" / "cifar10.safetensors").write_bytes(b"x" * 300)
    with pytest.raises(Problem, match=r"cifar10.safetensors is damaged \(.*\): import 'cifar10' again"):
        load("cifar10")


def test_a_missing_data_set_says_how_to_import_it(refused: Refused) -> None:
    said = refused(*RUN, "-p", "dataset=cifar10")
    assert "the data set 'cifar10' is not on this machine: import it with 'synthprune data import cifar10 PATH'" in said


def test_a_missing_synthetic_set_names_the_nearest(home: Path) -> None:
    with pytest.raises(Problem, match=r"'mtt10@0f71478c0686' is not on this machine \(.*\): import it with"
                                      r" 'synthprune data import mtt10 PATH --of DATASET'"):
        published("mtt10@0f71478c0686", "cifar10")
    full, _ = kept(home)
    with pytest.raises(Problem, match=full):
        published("mine@000000000000", "cifar10")


# Chapters, profiles, parameters.

PROFILES = {
    "key.yaml": "epoch: 3\n", "list.yaml": "- epochs\n", "words.yaml": "just words\n",
    "broken.yaml": "epochs: [1\n", "empty.yaml": "", "half.yaml": "epochs: 3\n",
    "value.yaml": "epochs: many\n", "level.yaml": "levels: [0, 40]\n"}


@pytest.mark.parametrize(("words", "expected"), [
    (["run", "04_stabilty"], "unknown chapter '04_stabilty': did you mean '04_stability'?"),
    (["plan", "99_none"], "unknown chapter '99_none': "),
    (["plan", "04_stability", "--profile", "papper"], "unknown profile 'papper': did you mean 'paper'?"),
    (["plan", "04_stability", "--profile", "key.yaml"], "profile key.yaml has an unknown key 'epoch': did you mean 'epochs'?"),
    (["plan", "04_stability", "--profile", "list.yaml"], "profile list.yaml is not a list of 'field: value' lines"),
    (["plan", "04_stability", "--profile", "words.yaml"], "profile words.yaml is not a list of 'field: value' lines"),
    (["plan", "04_stability", "--profile", "empty.yaml"], "profile empty.yaml is not a list of 'field: value' lines"),
    (["plan", "04_stability", "--profile", "broken.yaml"], "profile broken.yaml cannot be read: "),
    (["plan", "04_stability", "--profile", "bytes.yaml"], "profile bytes.yaml cannot be read: "),
    (["plan", "04_stability", "--profile", "gone.yaml"], "profile gone.yaml cannot be read: [Errno 2] No such file"),
    (["plan", "04_stability", "--profile", "half.yaml"], "profile half.yaml leaves 'dataset' to you: pass it as a parameter"),
    (["plan", "04_stability", "--profile", "value.yaml"], "04_stability: epochs = 'many'"),
    (["plan", "04_stability", "--profile", "level.yaml"], "04_stability: levels = [0, 40]: levels go from 0 (dense) to 30"),
    ([*RUN, "-p", "levels=[0,31]"], "04_stability: levels = [0, 31]: levels go from 0 (dense) to 30"),
    ([*RUN, "-p", "levels=-1"], "04_stability: levels = [-1]: must be distinct and not negative"),
    ([*RUN, "-p", "points=10"], "04_stability: points = '10': must be odd, so that the midpoint is on the path"),
    ([*RUN, "-p", "lr"], "-p lr: write it as NAME=VALUE"), ([*RUN, "-p", "=3"], "unknown parameter ''"),
    ([*RUN, "-p", "sedes=0"], "unknown parameter 'sedes' for 04_stability: did you mean 'seeds'?"),
    ([*RUN, "-p", "seeds=[0,1"], "seeds=[0,1 is not a list: write it as [0,1] or 0,1"),
    (["run", "04_stability", "--profile", "paper"], "the data set 'cifar10' is not on this machine: import it with"),
    ([*RUN, "-p", "train_per_class=5000"], "digits has only 139 training images in a class, not the 5000 asked for"),
    ([*RUN, "-p", "pixels=8"], "convnet3 needs images of at least 16 pixels, not 8"),
    ([*RUN, "-p", "pixels=12", "-p", "architecture=resnet10"],
     "images of 16 pixels cannot be averaged to 12: it must divide 16")])
def test_words_the_command_line_does_not_know(words: list[str], expected: str, refused: Refused, tmp_path: Path) -> None:
    for name, content in PROFILES.items():
        (tmp_path / name).write_text(content)
    for name in ("value.yaml", "level.yaml"):  # whole profiles, but for one value
        fields = yaml.safe_load(PROFILES[name])
        (tmp_path / name).write_text(yaml.safe_dump(read_profile("demo") | fields))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert expected in refused(*words)


@pytest.mark.parametrize(("words", "expected"), [
    ([*RUN, "--workrs", "2"], "No such option: --workrs (Possible options: --workers): see 'synthprune --help'"),
    (["run"], "Missing argument 'chapter': see 'synthprune --help'"),
    (["rum"], "No such command 'rum'"), (["store", "lst"], "No such command 'lst'"),
    (["run", "04_stability", "--workers", "0"], "Invalid value for '--workers': Input should be greater than or equal to 1"),
    (["run", "04_stability", "--workers", "many"], "Invalid value for '--workers': "),
    (["run", "04_stability", "--scheduler"], "Option '--scheduler' requires an argument"),
    (["run", "04_stability", "more"], "unexpected extra argument")])
def test_options_the_command_line_does_not_know(words: list[str], expected: str, refused: Refused) -> None:
    assert expected in refused(*words)


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("synthprune.cli.open_store", interrupted)
    monkeypatch.setattr(sys, "argv", ["synthprune", "status"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130 and "the same command goes on from there" in one_line(capsys.readouterr().err)


# Disks.

SYNTHETIC = ["data", "import", "mine", "set.tar", "--of", "cifar10"]
NOT_WRITABLE = {"below a file": "{tmp}/set.tar/home", "proc": "/proc/synthprune"}


@pytest.mark.parametrize("words", [SYNTHETIC, RUN], ids=["import", "run"])
@pytest.mark.parametrize("place", NOT_WRITABLE)
def test_a_place_that_cannot_be_written(words: list[str], place: str, refused: Refused, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "proc" and not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    tar_of(tiny(), tmp_path / "set.tar")
    monkeypatch.setenv("SYNTHPRUNE_HOME", NOT_WRITABLE[place].format(tmp=tmp_path))
    said = refused(*words)
    assert "cannot write " in said and os.environ["SYNTHPRUNE_HOME"] in said and "set SYNTHPRUNE_HOME to " in said
    assert [file.name for file in tmp_path.iterdir()] == ["set.tar"]


@pytest.mark.parametrize("words", [SYNTHETIC, RUN], ids=["import", "run"])
def test_a_disk_that_is_full(words: list[str], home: Path, tmp_path: Path) -> None:
    """No file may grow beyond 2,000 bytes: writes fail half way, as on a full disk."""
    pytest.importorskip("resource")
    tar_of(tiny(), tmp_path / "set.tar")
    code = ("import resource, sys; from synthprune import cli; import torch, synthprune.training;"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); cli.main()")
    done = subprocess.run([sys.executable, "-B", "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "File too large" in one_line(done.stderr) and "SYNTHPRUNE_HOME" in done.stderr and str(home) in done.stderr
    assert_nothing_left(home)
    assert [file.name for file in tmp_path.iterdir() if file != home] == ["set.tar"]


@pytest.mark.parametrize(("words", "expected"), [
    (["data", "import", "cifar10", "gone.tar"], "no such file or folder: gone.tar"),
    (["run", "04_stability", "-p", "lr=fast"], "04_stability: lr = 'fast': Input should be a valid number")])
def test_the_installed_command_refuses_alike(words: list[str], expected: str, home: Path, tmp_path: Path) -> None:
    done = subprocess.run([Path(sys.executable).parent / "synthprune", *words], cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 2 and done.stdout == "" and expected in one_line(done.stderr)
    assert not home.exists() and list(tmp_path.iterdir()) == []


def test_notebooks_show_a_problem_without_a_traceback() -> None:
    assert Problem("one line")._render_traceback_() == ["synthprune: one line"]
