"""The store: bits in, the same bits out; whole or not at all; damage and age are seen."""

from __future__ import annotations

import contextlib
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from sweep import held, requests, subnetwork, trained

from synthprune.chapters import units
from synthprune.problems import Problem
from synthprune.results import specs, store
from synthprune.results.result import DAMAGE, loaded, packed
from synthprune.results.store import Busy, Store, StoreProblem, digest_of, read

MASK = subnetwork(1)
WEIGHTS = trained(1)
PATHS = list(requests().values())

ARRAYS = {
    "mask": np.arange(3 * 5 * 7).reshape(3, 5, 7) % 3 == 0,  # 105 bits: not a whole number of bytes
    "one": np.array([True]), "none": np.zeros((0, 4), bool), "flag": np.array(True),
    "float32": np.array([1.5, -0.0, np.nan, np.inf, 1e-45], np.float32), "float64": np.linspace(0, 1, 11),
    "turned": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "int64": np.array([-(2**62), 7]), "uint8": np.arange(256, dtype=np.uint8), "counter": np.array(12)}
METRICS = {"sparsity": 0.2, "survivors": {"a": 3}, "collapsed": [], "diverged": False, "loss": [0.1 + 0.2, None]}


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def same_bits(first: np.ndarray, second: np.ndarray) -> bool:
    return (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes())


def damage(file: Path) -> None:
    """Turn one bit over in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def leftovers(kept: Store) -> list[Path]:
    return [path for folder in ("tmp", "checkpoints") for path in (kept.root / folder).rglob("*")]


def test_round_trip_bit_for_bit(kept: Store) -> None:
    kept.put(MASK, ARRAYS, METRICS, {"seconds": 1.5})
    found = kept.get(MASK)
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert same_bits(found.arrays[name], array), name
    assert found.metrics == METRICS and found.provenance["seconds"] == 1.5
    assert found.digest == digest_of(ARRAYS, METRICS) == found.provenance["digest"]
    assert json.loads((kept.path(MASK) / "spec.json").read_text()) == MASK.identity()
    assert not leftovers(kept)


def test_masks_are_stored_as_bits(kept: Store) -> None:
    kept.put(MASK, {"mask": np.ones(80_000, bool)}, {}, {})
    assert (kept.path(MASK) / "arrays.safetensors").stat().st_size < 11_000


def test_a_digest_sees_names_types_shapes_values_and_metrics() -> None:
    one = np.arange(4.0)
    variants = [({"a": one}, {}), ({"b": one}, {}), ({"a": one.astype(np.float32)}, {}), ({"a": one.reshape(2, 2)}, {}),
                ({"a": np.nextafter(one, 9)}, {}), ({"a": one}, {"x": 1}), ({}, {})]
    assert len({digest_of(*variant) for variant in variants}) == len(variants)


def test_what_is_absent_says_so(kept: Store) -> None:
    assert not kept.has(MASK) and not kept.holds(MASK)
    with pytest.raises(Problem, match="not in the store"):
        kept.get(MASK)


def test_the_first_of_two_stays(kept: Store) -> None:
    kept.put(MASK, ARRAYS, {"who": "first"}, {})
    kept.put(MASK, {}, {"who": "second"}, {})
    assert kept.get(MASK).metrics == {"who": "first"}
    assert not leftovers(kept)


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


@pytest.mark.parametrize("step", range(6))
def test_an_entry_is_whole_or_absent(kept: Store, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of any of the five files, or before the rename."""
    written = 0

    def write_half(file: Path, data: bytes) -> None:
        nonlocal written
        if written == step:
            file.write_bytes(data[:len(data) // 2])
            raise Killed
        written += 1
        file.write_bytes(data)

    def never(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(store, "_write", write_half)
        patched.setattr(Path, "rename", never)
        kept.put(MASK, ARRAYS, METRICS, {})
    assert written == step
    assert leftovers(kept), "the test did not stop half-way"
    assert not kept.has(MASK) and kept.entries() == [] and kept.damaged() == []

    kept.put(MASK, ARRAYS, METRICS, {})
    assert kept.get(MASK).digest == digest_of(ARRAYS, METRICS) and kept.damaged() == []
    assert not leftovers(kept)


def test_a_lock_says_how_far_its_entry_is(kept: Store) -> None:
    kept.tell(MASK, 1, 60, "epochs")
    assert kept.running() == {}  # nobody is at it
    with kept.lock(MASK):
        (told,) = kept.running().values()
        assert "of" not in told and told["what"]
        kept.tell(MASK, 12, 60, "epochs")
        (later,) = kept.running().values()
        assert later == told | {"done": 12, "of": 60, "unit": "epochs"}
        assert [line.split("; ")[1:] for line in units.running(kept)] == [["12 of 60 epochs"]]
    assert kept.running() == {}


@pytest.mark.parametrize("damage", ["", "7", "[]", "{}", '{"what": "x", "process": "y", "since": "now"}', "[" * 10**5,
                                    '{"what": "x", "process": "y", "since": NaN}',
                                    '{"what": "x", "process": "y", "since": 1e300}',
                                    '{"what": "x", "process": "y", "since": 1, "done": "half", "of": 2, "unit": "x"}',
                                    '{"what": "x", "process": "y", "since": 1, "of": 2}',
                                    '{"what": 1, "process": "y", "since": 1}'])
def test_a_damaged_word_of_what_runs_is_passed_over(damage: str, kept: Store) -> None:
    with kept.lock(MASK):
        (told,) = (kept.root / "locks").glob("*.json")
        told.write_text(damage)
        assert list(units.running(kept)) == []
        kept.tell(MASK, 1, 60, "epochs")
        assert told.read_text() == damage
    assert kept.running() == {} and not leftovers(kept)


FULL = OSError(28, "No space left on device")


def test_a_full_disk_is_one_line_and_leaves_nothing(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, data: bytes) -> None:
        file.write_bytes(data[:9])
        raise FULL

    monkeypatch.setattr(store, "_write", full)
    with pytest.raises(Problem, match="No space left.*SYNTHPRUNE_HOME"):
        kept.put(MASK, ARRAYS, METRICS, {})
    with pytest.raises(Problem, match="No space left"):
        kept.save_checkpoint(MASK, ARRAYS, 3)
    assert not leftovers(kept) and not kept.has(MASK)


def test_a_rename_that_fails_for_another_reason_is_told(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(Problem, match="No space left"):
        kept.put(MASK, ARRAYS, METRICS, {})
    assert not leftovers(kept)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file in the way")  # root may write where it may not, so no chmod here
    with pytest.raises(Problem, match="cannot write to the store"), Store(tmp_path / "store").lock(MASK):
        pass


FILES = ["spec.json", "arrays.safetensors", "metrics.json", "provenance.json", "checksums.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", [damage, Path.unlink, lambda file: file.write_bytes(b"")], ids=["bit", "gone", "empty"])
def test_damage_is_found_in_every_file(kept: Store, name: str, how: object) -> None:
    kept.put(WEIGHTS, ARRAYS, METRICS, {})
    kept.put(MASK, ARRAYS, METRICS, {})
    assert kept.damaged() == []
    assert {file.name for file in kept.path(MASK).iterdir()} == set(FILES)
    how(kept.path(MASK) / name)
    with pytest.raises(Problem, match="damaged.*verify --remove"):
        kept.get(MASK)
    assert [path for path, _ in kept.damaged()] == [kept.path(MASK)]
    assert kept.stale() == []  # listing does not stumble over it
    kept.remove(kept.path(MASK))
    assert kept.damaged() == [] and not kept.has(MASK) and kept.has(WEIGHTS)


@pytest.mark.parametrize("content", ["7", "[]", "{}", '{"spec.json": 3}', "[" * 10**5], ids=["7", "list", "none", "one", "deep"])
def test_checksums_name_every_file_or_are_damaged(kept: Store, content: str) -> None:
    kept.put(MASK, ARRAYS, METRICS, {})
    (kept.path(MASK) / "checksums.json").write_text(content)
    with pytest.raises(Problem, match="is damaged"):
        kept.get(MASK)


@pytest.mark.parametrize("bits", ["{", "7", *(f'{{"a": {shape}}}' for shape in (2**40, [2**40], [-2, -4], [8.0], '["x"]'))])
def test_bits_are_as_many_as_their_shape_says(bits: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(save({"a": np.zeros(1, np.uint8)}, metadata={"bits": bits}))
    with pytest.raises(DAMAGE):
        loaded(tmp_path / "file")


def test_nothing_is_ever_unpickled() -> None:
    """In the package's source: no pickle, and torch.load only where it refuses code."""
    files = sorted(Path(store.__file__).parent.parent.rglob("*.py"))
    assert len(files) > 60
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            code = line.split("#")[0]
            assert "import pickle" not in code and "allow_pickle=True" not in code, f"{file}:{number}"
            assert "torch.load(" not in code or "weights_only=True" in code, f"{file}:{number}"


def test_a_disk_that_cannot_be_read_now_is_no_damage(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.put(MASK, ARRAYS, METRICS, {})
    kept.save_checkpoint(WEIGHTS, {"a": np.ones(2)}, 3)

    def stale(*_: object) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", stale)
        patch.setattr(store, "loaded", stale)
        for read_now in (lambda: kept.get(MASK), kept.damaged, lambda: kept.load_checkpoint(WEIGHTS)):
            with pytest.raises(Problem, match="cannot be read now .Stale file handle.: see to its disk"):
                read_now()
    assert kept.damaged() == [] and kept.load_checkpoint(WEIGHTS)[0] == 3


def test_a_store_whose_disk_does_not_answer_is_gone(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(_: Path) -> bool:
        raise OSError(errno.ESTALE, "Stale file handle")

    with kept.marked():
        monkeypatch.setattr(Path, "exists", stale)
        with pytest.raises(StoreProblem, match="is gone"):
            kept.put(MASK, ARRAYS, METRICS, {})
        monkeypatch.undo()


# Locks.


def test_a_lock_holds_between_processes_and_dies_with_its_holder(kept: Store) -> None:
    with held(PATHS[0], kept) as holder:
        with pytest.raises(Busy), kept.lock(PATHS[0]):
            pass
        with kept.lock(PATHS[1]):  # another entry's is free
            pass
        holder.kill()
        holder.wait()
        with kept.lock(PATHS[0]):
            pass


def test_a_lock_is_free_again_after_an_error(kept: Store) -> None:
    with contextlib.suppress(ZeroDivisionError), kept.lock(MASK):
        with pytest.raises(Busy), kept.lock(MASK):
            pass
        raise ZeroDivisionError
    with kept.lock(MASK):
        pass


# Checkpoints.


def test_a_checkpoint_comes_back_bit_for_bit_and_goes_with_its_entry(kept: Store) -> None:
    assert kept.load_checkpoint(WEIGHTS) is None
    kept.save_checkpoint(WEIGHTS, ARRAYS, 7)
    kept.save_checkpoint(WEIGHTS, ARRAYS, 8)
    step, arrays = kept.load_checkpoint(WEIGHTS)
    assert step == 8 and arrays.keys() == ARRAYS.keys()
    assert all(same_bits(arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert kept.entries() == [] and not kept.has(WEIGHTS)
    kept.put(WEIGHTS, {}, {}, {})
    assert kept.load_checkpoint(WEIGHTS) is None and not leftovers(kept)


@pytest.mark.parametrize("content", [b"", b"nonsense", None, packed({"a": np.arange(3)})], ids=["", "words", "cut", "no step"])
def test_a_damaged_checkpoint_counts_as_none(kept: Store, content: bytes | None) -> None:
    kept.save_checkpoint(WEIGHTS, ARRAYS, 7)
    file = next((kept.root / "checkpoints").iterdir())
    file.write_bytes(file.read_bytes()[:-20] if content is None else content)
    assert kept.load_checkpoint(WEIGHTS) is None


def test_a_checkpoint_with_another_bit_counts_as_none_and_one_without_a_digest_counts(kept: Store) -> None:
    kept.save_checkpoint(WEIGHTS, ARRAYS, 7)
    file = next((kept.root / "checkpoints").iterdir())
    damage(file)
    assert kept.load_checkpoint(WEIGHTS) is None
    file.write_bytes(packed(ARRAYS | {"step": np.array(7)}))  # as they were saved at first
    assert kept.load_checkpoint(WEIGHTS)[0] == 7


# Shelves.


@pytest.fixture
def shelf(kept: Store, tmp_path: Path) -> Path:
    """results/demo/chapter.*, with a mask, a path, and weights that were asked for but do not ship."""
    for entry in (MASK, WEIGHTS, PATHS[0]):
        kept.put(entry, ARRAYS, METRICS | {"key": entry.key}, {"seconds": 1})
    assert kept.export([MASK, WEIGHTS, PATHS[0]], tmp_path / "results" / "demo" / "chapter") == {MASK.key, PATHS[0].key}
    return tmp_path / "results"


def test_light_results_are_read_from_a_shelf_without_the_store(shelf: Path, tmp_path: Path) -> None:
    elsewhere = Store(tmp_path / "empty", shelves=[shelf])
    for entry in (MASK, PATHS[0]):
        assert elsewhere.has(entry) and not elsewhere.holds(entry)
        found = elsewhere.get(entry)
        assert found.digest == digest_of(ARRAYS, METRICS | {"key": entry.key})
        assert all(same_bits(found.arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert not elsewhere.has(PATHS[1])
    assert not (tmp_path / "empty").exists()


def test_weights_never_leave_the_store(shelf: Path, tmp_path: Path) -> None:
    assert not Store(tmp_path / "empty", shelves=[shelf]).has(WEIGHTS)
    assert all(WEIGHTS.key.encode() not in file.read_bytes() for file in shelf.rglob("chapter.*"))
    assert {entry for entry in specs.ENTRIES if not entry.light} == {specs.Trained}


def test_a_store_comes_before_its_shelves(kept: Store, shelf: Path) -> None:
    kept.remove(kept.path(MASK))
    kept.put(MASK, {}, {"here": True}, {})
    assert Store(kept.root, shelves=[shelf]).get(MASK).metrics == {"here": True}


def flip_an_array(shelf: Path) -> None:
    file = shelf / "demo" / "chapter.safetensors"
    data = bytearray(file.read_bytes())
    data[-9] ^= 1  # the last array's, far behind the header
    file.write_bytes(data)


def change_a_number(shelf: Path) -> None:
    file = shelf / "demo" / "chapter.json"
    file.write_text(file.read_text().replace('"sparsity":0.2', '"sparsity":0.3'))


def cut(name: str) -> object:
    return lambda shelf: (shelf / "demo" / name).write_bytes((shelf / "demo" / name).read_bytes()[:-40])


@pytest.mark.parametrize("how", [flip_an_array, change_a_number, cut("chapter.safetensors"), cut("chapter.json"),
                                 lambda shelf: (shelf / "demo" / "chapter.safetensors").unlink()],
                         ids=["bit", "number", "cut arrays", "cut numbers", "no arrays"])
def test_a_damaged_shelf_is_refused(shelf: Path, tmp_path: Path, how: object) -> None:
    how(shelf)
    elsewhere = Store(tmp_path / "empty", shelves=[shelf])
    with pytest.raises(Problem, match="damaged.*fetch"):  # which of the two a bit falls into is the file's affair
        for entry in (MASK, PATHS[0]):
            elsewhere.get(entry)


# Age and refuse.


def test_what_an_older_version_made_is_not_read_as_fresh(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.put(subnetwork(1), ARRAYS, METRICS, {})
    kept.put(trained(1), ARRAYS, METRICS, {})
    assert kept.stale() == []
    monkeypatch.setattr(specs.Subnetwork, "version", specs.Subnetwork.version + 1)
    assert not kept.has(subnetwork(1)), "stale entry read as fresh"
    assert not kept.has(trained(1)), "what rests on a stale entry read as fresh"
    assert [path.parent.name for path in kept.stale()] == ["subnetwork"]


def test_a_mask_made_by_older_trainings_is_not_read_as_fresh(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainings are implied by a mask's fields, not among them."""
    kept.put(subnetwork(1), ARRAYS, METRICS, {})
    monkeypatch.setattr(specs.Trained, "version", specs.Trained.version + 1)
    assert not kept.has(subnetwork(1))


def test_a_kind_that_is_no_more_is_stale() -> None:
    assert specs.stale("sphere", 1)
    assert not specs.stale("path", specs.Path.version) and specs.stale("path", specs.Path.version - 1)


def test_unasked_names_what_nobody_asks_for(kept: Store) -> None:
    for entry in (MASK, WEIGHTS, PATHS[0]):
        kept.put(entry, {}, {}, {})
    assert kept.unasked(specs.closure([WEIGHTS])) == [kept.path(PATHS[0])]
    assert kept.unasked([MASK, WEIGHTS, *PATHS]) == []
    assert sorted(kept.unasked([])) == sorted(kept.entries()) and len(kept.entries()) == 3


def test_entries_are_readable_without_this_package(kept: Store) -> None:
    from safetensors.numpy import load_file

    kept.put(MASK, ARRAYS, METRICS, {})
    plain = load_file(kept.path(MASK) / "arrays.safetensors")
    assert np.array_equal(plain["float64"], ARRAYS["float64"])
    assert read(kept.path(MASK)).key == MASK.key == kept.path(MASK).name


def test_a_stray_file_is_no_entry(kept: Store) -> None:
    kept.put(MASK, ARRAYS, METRICS, {})
    for folder in (kept.root, kept.path(MASK).parent):
        (folder / ".DS_Store").write_bytes(b"x")
    assert kept.entries() == [kept.path(MASK)] and kept.damaged() == [] and kept.stale() == []


def test_provenance_is_read_alone(kept: Store) -> None:
    kept.put(MASK, ARRAYS, METRICS, {"revision": "abc"})
    assert kept.provenance(MASK)["revision"] == "abc"
    (kept.path(MASK) / "arrays.safetensors").unlink()
    assert kept.provenance(MASK)["revision"] == "abc"
    with pytest.raises(Problem, match="not in the store"):
        kept.provenance(WEIGHTS)
