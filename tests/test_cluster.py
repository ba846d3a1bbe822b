"""A cluster of processes of its own, whose workers share nothing with the client, and what may happen to it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from distributed.scheduler import KilledWorker
from external import NOT_SHARED, Cluster, until
from sweep import digests, requests, trained

from synthprune.chapters.profiles import read_profile
from synthprune.chapters.units import running, units
from synthprune.data.synthetic import SyntheticSet, keep
from synthprune.problems import Problem
from synthprune.results import cluster, specs, worker
from synthprune.results.crew import Crew, check
from synthprune.results.solve import solve
from synthprune.results.store import Store

WANTED = requests()
ALL = specs.closure(list(WANTED.values()))
CLOCK = """
import os, time
real, jump = time.time, os.path.join(os.environ["SYNTHPRUNE_TROUBLE"], "clock")
time.time = lambda: real() + 7200 * os.path.exists(jump)
"""
"""A module `sitecustomize`, by which every process's clock is two hours ahead while there is a file `clock`."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers, which the tests of this file share until they kill one."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.scheduler()
        made.worker()
        made.worker()
        yield made


@pytest.fixture(autouse=True)
def _no_trouble_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "place" in request.fixturenames:
        for file in request.getfixturevalue("place").trouble.iterdir():
            file.unlink()


def broken(place: Cluster, entry: specs.Entry, trouble: str) -> Path:
    file = place.trouble / f"{entry.key}.{trouble}"
    file.touch()
    return file


def whole(folder: Path) -> dict[str, str]:
    """What the store in `folder` holds: all that is wanted, or the test fails."""
    found = digests(Store(folder / "store"))
    assert len(found) == len(ALL)
    return found


def _process(folder: Path, entry: specs.Entry) -> str:
    """Which process says that it is computing `entry`."""
    return Store(folder / "store").running().get(entry.key, {"process": ""})["process"]


@pytest.fixture(scope="module")
def quiet(place: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an undisturbed run leaves."""
    folder = tmp_path_factory.mktemp("quiet")
    assert place.ends(place.client(folder)) == (0, "")
    return whole(folder)


def test_a_shared_folder_is_found_out(place: Cluster, quiet: dict[str, str], tmp_path: Path) -> None:
    assert place.ends(place.client(tmp_path, tmp_path / "store")) == (0, "")
    assert whole(tmp_path) == quiet
    assert any((tmp_path / "store" / "locks").iterdir())


def test_a_worker_killed_in_a_training(place: Cluster, quiet: dict[str, str], tmp_path: Path) -> None:
    broken(place, trained(1, 1), "kill")
    assert place.ends(place.client(tmp_path))[0] == 0
    assert whole(tmp_path) == quiet


def test_a_training_goes_on_from_the_checkpoint_of_a_lost_worker(place: Cluster, quiet: dict[str, str], tmp_path: Path) -> None:
    entry = trained(0, 0)
    steps = broken(place, entry, "slow")
    client = place.client(tmp_path)
    until(lambda: len(steps.read_text().split()) > 25)
    before = len(steps.read_text().split())
    os.kill(int(steps.with_suffix(".pid").read_text()), signal.SIGKILL)
    status, said = place.ends(client)
    assert status == 0 and "was lost" in said and "tried again" in said
    assert whole(tmp_path) == quiet
    done = steps.read_text().split()
    assert set(done) == set(map(str, range(50))) and len(done) < 50 + before


def test_an_entry_that_kills_every_worker_is_given_up(place: Cluster, tmp_path: Path) -> None:
    poison = broken(place, trained(0, 1), "poison")
    status, said = place.ends(place.client(tmp_path))
    poison.unlink()
    assert status == 1 and "was killed" in said and said.count("synthprune:") == 1
    found = digests(Store(tmp_path / "store"))
    behind = {f"{e.kind}/{e.key}" for e in ALL if trained(0, 1) in specs.closure([e])}
    assert found.keys() == {f"{e.kind}/{e.key}" for e in ALL} - behind
    assert place.ends(place.client(tmp_path))[0] == 0


def test_what_waited_behind_a_deadly_entry_is_tried_by_itself(tmp_path: Path) -> None:
    """Dask counts the death of a worker against all that was to run there."""
    deadly, behind = trained(0, 0), trained(0, 1)
    tried: list[tuple[specs.Entry, int]] = []

    def submit(_: object, run: str, task: str, entry: specs.Entry, *args: object, key: str, **options: object) -> SimpleNamespace:
        tried.append((entry, len(work._tasks)))
        again = entry == behind and len(tried) > 2
        future = SimpleNamespace(key=key, status="finished" if again else "error", result=lambda timeout: None,
                                 exception=lambda: KilledWorker(key, None, 3), release=lambda: None)
        future.add_done_callback = lambda put: put(future)
        return future

    crew = SimpleNamespace(shared={"one": True, "two": True}, look=list, gone=list, beats=lambda known, stop: [],
                           place=SimpleNamespace(run="run"))
    lines: list[str] = []
    work = cluster._Run([deadly, behind], Store(tmp_path), SimpleNamespace(submit=submit, status="running"), crew,
                        lambda done, of, line: lines.append(line))
    work.all()
    assert [entry for entry, _ in tried[:2]] == [deadly, behind] and {others for _, others in tried[2:]} == {0}
    assert len(tried) == 4 and specs.describe(behind) in lines
    assert [str(problem) for problem in work.problems] == [str(cluster._deadly(deadly))]


def test_status_names_the_worker_of_an_entry_that_this_client_holds(tmp_path: Path) -> None:
    def submit(*args: object, key: str, **options: object) -> SimpleNamespace:
        return SimpleNamespace(key=key, status="pending", add_done_callback=lambda put: None, cancel=lambda: None)

    at = iter(["tcp://one:1", "tcp://two:2"])
    crew = SimpleNamespace(shared={"tcp://one:1": False, "tcp://two:2": False}, place=SimpleNamespace(run="run"), look=list,
                           beats=lambda known, stop: [(next(at), worker.Beat(task, 1.0, 0, (3, 50, "epochs"))) for task in known])
    store = Store(tmp_path)
    work = cluster._Run([trained(0, 0)], store, SimpleNamespace(submit=submit, status="running"), crew, lambda *_: None)
    work._submit(0)
    for address in ("tcp://one:1", "tcp://two:2"):
        work._look_round()
        (line,) = running(store)
        assert f"process {os.getpid()} on {platform.node()}, worker {address})" in line and line.endswith("; 3 of 50 epochs")
    work.close()


def test_a_worker_whose_work_went_on_elsewhere_first_is_named_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dask may give its task to another, who tells of it, before the list of workers lacks the one that died."""
    def submit(*args: object, key: str, **options: object) -> SimpleNamespace:
        return SimpleNamespace(key=key, status="pending", add_done_callback=lambda put: None, cancel=lambda: None)

    gone, at = iter([[], [], ["one"]]), iter(["one", "two", "two"])
    crew = SimpleNamespace(shared={"one": True, "two": True}, look=lambda: next(gone), place=SimpleNamespace(run="run"),
                           beats=lambda known, stop: [(next(at), worker.Beat(task, 1.0, 0)) for task in known])
    work = cluster._Run([trained(0, 0)], Store(tmp_path), SimpleNamespace(submit=submit, status="running"), crew, lambda *_: None)
    work._submit(0)
    work._look_round()
    work._look_round()
    assert capsys.readouterr().err == ""
    work._look_round()
    assert capsys.readouterr().err.count("the worker one was lost: what it had begun is begun again") == 1
    assert [task.worker for task in work._tasks.values()] == ["two"]


def test_a_worker_that_hangs_is_named_and_left(place: Cluster, quiet: dict[str, str], tmp_path: Path) -> None:
    broken(place, trained(0, 1), "hang")
    status, said = place.ends(place.client(tmp_path, stall=3))
    assert status == 0 and "no sign of life" in said and "did not move" in said
    assert whole(tmp_path) == quiet


def test_a_client_that_is_killed_or_stopped_goes_on(place: Cluster, quiet: dict[str, str], tmp_path: Path) -> None:
    steps = broken(place, trained(0, 0), "slow")
    for sign, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        client = place.client(tmp_path)
        until(lambda client=client: str(client.pid) in _process(tmp_path, trained(0, 0)))
        before = len(steps.read_text().split())
        until(lambda before=before: len(steps.read_text().split()) > before + 5)
        begun = time.monotonic()
        client.send_signal(sign)
        assert place.ends(client)[0] == status
        assert time.monotonic() - begun < 60
    assert Store(tmp_path / "store").load_checkpoint(trained(0, 0))[0] > 3
    assert place.ends(place.client(tmp_path))[0] == 0
    assert whole(tmp_path) == quiet
    steps.unlink()


def test_a_full_disk_ends_the_run(place: Cluster, quiet: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "path").touch()  # a file where a folder must be: as unwritable for root as for others
    status, said = place.ends(place.client(tmp_path))
    assert status == 1 and "cannot write to the store" in said and len(said.splitlines()) == 1
    kept = digests(Store(tmp_path / "store"))
    assert kept and not any(name.startswith("path/") for name in kept)
    (tmp_path / "store" / "path").unlink()
    assert place.ends(place.client(tmp_path)) == (0, "")
    assert whole(tmp_path) == quiet


@pytest.mark.parametrize("shared", [False, True])
def test_a_disk_that_is_full_and_then_read_only(place: Cluster, quiet: dict[str, str], disk: Callable[[str], None],
                                                tmp_path: Path, shared: bool) -> None:
    root, kept = tmp_path / "store", dict[str, str]()
    for options, said in (("size=4k", "No space left"), ("size=64k", "No space left"), ("size=128k", "No space left"),
                          ("ro,size=4m", "Read-only file system")):
        disk(options)
        status, told = place.ends(place.client(tmp_path, root if shared else None))
        assert status == 1 and "cannot write to the store" in told and said in told and len(told.splitlines()) == 1, told
        there = digests(Store(root))
        assert kept.items() <= there.items() <= quiet.items()
        kept = there
    assert kept
    disk("rw")
    assert place.ends(place.client(tmp_path, root if shared else None)) == (0, "")
    assert whole(tmp_path) == quiet


@pytest.mark.parametrize("shared", [False, True])
def test_a_store_that_vanishes_is_not_made_again(place: Cluster, quiet: dict[str, str], tmp_path: Path, shared: bool) -> None:
    steps, store, away = broken(place, trained(0, 0), "slow"), tmp_path / "store", tmp_path / "away"
    client = place.client(tmp_path, store if shared else None)
    until(steps.read_text)
    store.rename(away)
    status, said = place.ends(client)
    assert status == 1 and "is gone" in said and "the same command goes on" in said and len(said.splitlines()) == 1
    assert not store.exists()
    away.rename(store)
    steps.unlink()
    assert place.ends(place.client(tmp_path, store if shared else None)) == (0, "")
    assert whole(tmp_path) == quiet


def test_clients_on_one_cluster_and_on_one_store(place: Cluster, quiet: dict[str, str], tmp_path: Path) -> None:
    """Of three clients one is killed; the two others are not kept waiting by what it asked for."""
    steps = broken(place, trained(0, 0), "slow")
    lost = place.client(tmp_path / "lost")
    until(steps.read_text)
    lost.kill()
    place.ends(lost)
    steps.unlink()
    clients = [place.client(tmp_path / name) for name in ("one", "one", "two")]
    assert [place.ends(client) for client in clients] == [(0, "")] * 3
    assert whole(tmp_path / "one") == whole(tmp_path / "two") == quiet


def test_data_sets_of_two_clients_come_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is broken off; what the other sends, in pieces that come between, is whole."""
    (tmp_path / "sent").write_bytes(bytes(range(9)))
    here, wanted = SimpleNamespace(local_directory=tmp_path), worker.digest({"set": tmp_path / "sent"})
    for run in ("a", "b"):
        at = worker.Place(run, str(tmp_path), (), str(tmp_path), str(tmp_path), {"set": (str(tmp_path / "sent"), 9, 0)}, "")
        monkeypatch.setitem(worker._runs, run, worker._Known(at, 0, shared=False, data=None))
    for run, start in (("a", 0), ("b", 0), ("a", 3), ("b", 3), ("b", 3), ("b", 6)):
        assert not worker.settle(run, wanted, here)
        worker.receive(run, "set", start, bytes(range(start, start + 3)), here)
    assert not worker.settle("a", wanted, here)
    assert worker.settle("b", wanted, here) and worker.settle("a", wanted, here)
    assert (worker._runs["a"].data / "set").read_bytes() == bytes(range(9))


def test_workers_of_a_host_share_out_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they are called; whoever comes in place of a lost one takes its number; and a run's own wish goes first."""
    crew = Crew(SimpleNamespace(), "here", SimpleNamespace())
    crew._number(["tcp://a:1", "tcp://b:1", "tcp://a:2"])
    crew._number(["tcp://b:1", "tcp://a:2", "tcp://a:9"])
    assert crew._numbers == {"tcp://b:1": 0, "tcp://a:2": 1, "tcp://a:9": 0}
    monkeypatch.setenv("SYNTHPRUNE_DEVICE", "")
    monkeypatch.setenv("SYNTHPRUNE_DATA", str(tmp_path))
    monkeypatch.setattr(worker, "gpus", lambda: 1 if os.environ["SYNTHPRUNE_DEVICE"] else 2)
    at = worker.Place("run", str(tmp_path), (), str(tmp_path), str(tmp_path), {}, "")
    found = []
    for place, number in ((at, 0), (at, 1), (at, 2), (dataclasses.replace(at, device="cuda:7"), 1), (at, 1)):
        worker._prepare(worker._Known(place, number, shared=False, data=tmp_path))
        found.append(os.environ["SYNTHPRUNE_DEVICE"])
    assert found == ["cuda:0", "cuda:1", "cuda:0", "cuda:7", "cuda:1"]


def test_workers_of_which_some_see_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    """What travels with what it rests on is computed apart, also where its client's store is seen: the client has the lock."""
    store, entry = Store(tmp_path), trained(0, 0)
    monkeypatch.setenv("SYNTHPRUNE_DEVICE", "")
    monkeypatch.setenv("SYNTHPRUNE_DATA", "")
    with store.marked() as mark:
        at = worker.Place("run", str(tmp_path), (), str(mark), str(tmp_path), {}, "")
        monkeypatch.setitem(worker._runs, "run", worker._Known(at, 0, shared=True, data=tmp_path))
        with store.lock(entry):
            found = worker.compute_here("run", "task", entry, {}, None, {})
        assert found is not None and not store.holds(entry)
        assert worker.compute_here("run", "task", entry, None, None, {}) is None
        assert store.get(entry).digest == found.digest
        monkeypatch.setitem(worker._runs, "run", worker._Known(at, 0, shared=False, data=tmp_path))
        with pytest.raises(worker.NotShared):
            worker.compute_here("run", "task", trained(0, 1), None, None, {})
    # Whoever joins after the others may be given what was meant for these: it is submitted again, and carried.
    sent: list[object] = []

    def submit(_: object, run: str, task: str, entry: specs.Entry, parents: object, *args: object, key: str, **options: object,
               ) -> SimpleNamespace:
        sent.append(parents)
        crew.shared["new"] = False
        error = worker.NotShared() if parents is None else Problem("enough")
        future = SimpleNamespace(key=key, status="error", exception=lambda: error, release=lambda: None)
        future.add_done_callback = lambda put: put(future)
        return future

    crew = SimpleNamespace(shared={"one": True}, look=list, gone=lambda: ["one"], beats=lambda *_: [],
                           place=SimpleNamespace(run="run"))
    work = cluster._Run([trained(0, 1)], store, SimpleNamespace(submit=submit, status="running"), crew, lambda *_: None)
    work.all()
    assert sent == [None, {}] and [str(problem) for problem in work.problems] == ["enough"]
    assert "the worker one was lost: what it had begun was begun again elsewhere" in capsys.readouterr().err


@pytest.mark.parametrize("lacks", ["", "write", "look"])
def test_a_store_that_may_not_be_used_is_not_shared(lacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mark").touch()
    at = worker.Place("run", str(tmp_path), (), str(tmp_path / "mark"), str(tmp_path), {}, "")
    if lacks == "write":
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    elif lacks:
        monkeypatch.setattr(os, "access", lambda path, mode: True)
        real = os.stat

        def hidden(path: object, *args: object, **options: object) -> os.stat_result:
            if str(path).endswith("mark"):
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **options)

        monkeypatch.setattr(os, "stat", hidden)
    here = SimpleNamespace(name="tcp", address="a", state=SimpleNamespace(nthreads=1))
    assert worker.arrive(at, {"a": 0}, here)["shared"] is not bool(lacks)
    worker._runs.pop("run")


def test_workers_that_never_answer_are_told_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthprune.results.crew.NO_WORKER_SECONDS", -1)
    for there, words in (({}, "no worker has been at here"), ({"tcp://a:1": 1}, "none of the 1 workers at here has answered")):
        crew = Crew(SimpleNamespace(nthreads=lambda there=there, **_: there), "here", SimpleNamespace())
        monkeypatch.setattr(crew, "_each", lambda *_, **__: {})
        monkeypatch.setattr(crew, "_send", lambda _: set())
        with pytest.raises(Problem, match=words):
            crew.look()


def test_a_carried_training_that_goes_on_says_so() -> None:
    assert worker.Carried({}).checkpoint_of("key") is None
    assert worker.Carried({}, (3, {})).checkpoint_of("key") is not None


def test_a_worker_that_cannot_do_the_same_is_refused_and_one_that_may_differ_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    same = {"versions": worker.versions(), "threads": 1, "shared": True, "data": True}
    check("tcp://a:1", same)
    assert capsys.readouterr().err == ""
    for answer, words in ((ModuleNotFoundError("No module named 'synthprune'"), "install synthprune"),
                          (same | {"threads": 4}, "has 4 threads: start one worker for each core"),
                          (same | {"versions": worker.versions() | {"synthprune": "0.0.1"}}, "synthprune 0.0.1 (0.1.0 here)")):
        with pytest.raises(Problem, match=re.escape(words)):
            check("tcp://a:1", answer)
    check("tcp://a:1", same | {"versions": worker.versions() | {"torch": "1.0"}})
    assert "tcp://a:1 has torch 1.0" in (said := capsys.readouterr().err) and "may differ in the last bits" in said


def test_a_device_that_no_worker_has(place: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(place.env, "SYNTHPRUNE_DEVICE", "cuda:7")
    status, said = place.ends(place.client(tmp_path))
    assert status == 1 and "cannot begin: device 'cuda:7': this machine has cpu" in said and len(said.splitlines()) == 1


def test_a_checkpoint_may_take_longer_than_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slowly(function: object, *args: object, workers: list[str], on_error: str) -> dict[str, object]:
        await asyncio.sleep(0.3)
        return {workers[0]: (7, {}) if function is worker.checkpoint else worker.Beat("task", 1.0, 7)}

    monkeypatch.setattr("synthprune.results.crew.ANSWER_SECONDS", 0.1)
    crew = Crew(SimpleNamespace(run=slowly, sync=lambda ask: asyncio.run(ask())), "here", SimpleNamespace(run="run"))
    crew.shared = {"one": False}
    assert crew.beats(["task"], stop=False) == [] and crew.checkpoint("one", "task") == (7, {})


def test_a_clock_that_jumps(quiet: dict[str, str], tmp_path: Path) -> None:
    with Cluster(tmp_path) as place:
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules" / "sitecustomize.py").write_text(CLOCK)
        steps = broken(place, trained(0, 0), "slow")
        place.scheduler()
        place.worker()
        client = place.client(tmp_path / "client")
        for jump in (place.trouble.joinpath("clock").touch, place.trouble.joinpath("clock").unlink):
            before = len(steps.read_text().split())
            until(lambda before=before: len(steps.read_text().split()) > before + 5)
            jump()
        assert place.ends(client) == (0, "")
        assert steps.read_text().split() == [str(step) for step in range(50)]
        assert whole(tmp_path / "client") == quiet


@pytest.fixture
def far() -> Iterator[tuple[str, str]]:
    """A machine of its own, as far as the network goes: its namespace and link, of one name, and the start of both addresses."""
    name, net = f"sp{os.getpid()}", f"10.213.{os.getpid() % 250}"
    made = (f"netns add {name}", f"link add {name} type veth peer name far netns {name}", f"addr add {net}.1/30 dev {name}",
            f"link set {name} up", f"-n {name} addr add {net}.2/30 dev far", f"-n {name} link set far up",
            f"-n {name} link set lo up")
    try:
        for words in made:
            subprocess.run(["ip", *words.split()], check=True, capture_output=True)
        yield name, net
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs network namespaces: Linux's ip, and the rights of root")
    finally:
        for words in (("link", "del", name), ("netns", "del", name)):  # a link may outlive its namespace for a while
            with contextlib.suppress(OSError):
                subprocess.run(["ip", *words], check=False, capture_output=True)


@pytest.mark.parametrize(("stall", "seconds", "words"), [(3, 0, "did not move"), (60, 10, ""), (60, 45, "was lost")])
def test_a_partition(quiet: dict[str, str], tmp_path: Path, far: tuple[str, str], stall: int, seconds: int, words: str) -> None:
    """A short one is waited for; where it does not end (0), or Dask gives the connection up, which it does about 30 s after, the
    entry is computed elsewhere."""
    name, net = far
    with Cluster(tmp_path, host=f"{net}.1") as place:
        place.scheduler()
        steps = broken(place, trained(0, 0), "slow")
        place.worker(host=f"{net}.2", within=("ip", "netns", "exec", name))
        client = place.client(tmp_path / "client", stall=stall)
        until(lambda: len(steps.read_text().split()) > 20)  # the client knows by then who is at it
        place.worker()
        subprocess.run(["ip", "link", "set", name, "down"], check=True)
        if seconds:
            time.sleep(seconds)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        status, said = place.ends(client)
        assert status == 0 and (words in said and "tried again" in said if words else not said), said
        assert whole(tmp_path / "client") == quiet


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl, for a certificate")
def test_a_scheduler_that_asks_for_certificates(quiet: dict[str, str], tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=synthprune",
                    "-out", certificate, "-keyout", key], check=True, capture_output=True)
    told = {"CA_FILE": certificate} | {f"{role}__{what}": file for role in ("SCHEDULER", "WORKER", "CLIENT")
                                       for what, file in (("CERT", certificate), ("KEY", key))}
    with Cluster(tmp_path, env={f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(file) for name, file in told.items()}) as place:
        place.scheduler("--protocol", "tls")
        place.worker()
        address = json.loads(place.file.read_text())["address"]
        assert address.startswith("tls://")
        place.env["SYNTHPRUNE_SCHEDULER"] = address
        assert place.ends(place.client(tmp_path / "client")) == (0, "")
        assert whole(tmp_path / "client") == quiet
        place.env = {"SYNTHPRUNE_SCHEDULER": address}
        status, said = place.ends(place.client(tmp_path / "stranger"))
        assert status == 1 and f"no Dask scheduler answers at {address}" in said and len(said.splitlines()) == 1


def test_nonsense_is_no_address(tmp_path: Path) -> None:
    env = os.environ | {"SYNTHPRUNE_SCHEDULER": "nonsense", "SYNTHPRUNE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", "from synthprune.cli import main; main()", "run", "01_introduction"], env=env,
                          text=True, capture_output=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("synthprune: no Dask scheduler answers at nonsense")
    assert len(done.stderr.splitlines()) == 1


def test_scheduler_and_workers_that_die(quiet: dict[str, str], tmp_path: Path) -> None:
    with Cluster(tmp_path) as place:
        scheduler, steps = place.scheduler(), broken(place, trained(0, 0), "slow")
        first = place.worker(nanny=False)
        client = place.client(tmp_path / "client", patience=10)
        until(steps.read_text)
        first.kill()
        status, said = place.ends(client)
        assert status == 1 and "no worker has been at" in said.splitlines()[-1] and "the same command goes on" in said
        place.worker(nanny=False)
        client, before = place.client(tmp_path / "client"), len(steps.read_text().split())
        until(lambda: len(steps.read_text().split()) > before)
        scheduler.kill()
        status, said = place.ends(client)
        assert status == 1 and "does not answer any more" in said and len(said.splitlines()) == 1
        place.file.unlink()
        place.scheduler()
        place.worker()
        assert place.ends(place.client(tmp_path / "client"))[0] == 0
        assert whole(tmp_path / "client") == quiet


UNITS = {"train_per_class": 20, "width": 4, "epochs": 4, "batch": 50, "synthetic_per_class": 1, "distillation_steps": 2,
         "synthetic_epochs": 4, "seeds": [0], "levels": [0, 1], "points": 3, "scene": "main", "scenes": {"main": {}},
         "chapters": {},
         "units": {"first": {"says": "one", "chapters": {"04_stability": {"scenes": ["main"]}}}}}


def test_the_readmes_command_survives_a_worker_and_a_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`synthprune compute --scheduler`, with the seconds it has for users."""
    profile = tmp_path / "tiny.yaml"
    profile.write_text(json.dumps(read_profile("demo") | UNITS))
    monkeypatch.setenv("SYNTHPRUNE_HOME", str(tmp_path / "home"))
    unit, = units(str(profile))
    first, second = [entry for entry in specs.closure(list(unit.requests.values())) if isinstance(entry, specs.Trained)][:2]
    with Cluster(tmp_path / "far") as place:
        def client(home: str, *words: str) -> subprocess.Popen:
            main = ("import standin; from synthprune.results import plan; plan.seconds = lambda entry: 1.0\n"
                    "from synthprune.cli import main; main()")
            return subprocess.Popen([sys.executable, "-c", main, "compute", "--profile", profile, *words], text=True,
                                    env=place.environment(tmp_path / home), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def begun(entry: specs.Entry) -> Path:
            steps = broken(place, entry, "slow")
            until(lambda: len(steps.read_text().split()) > 5)
            return steps

        assert place.ends(client("quiet", "--workers", "1"))[0] == 0
        place.scheduler()
        place.worker()
        place.worker()
        lost, steps = client("home", "--scheduler", str(place.file)), begun(first)
        os.kill(int(steps.with_suffix(".pid").read_text()), signal.SIGKILL)
        status, said = place.ends(lost)
        assert status == 0 and "was lost" in said and "again" in said and len(said.splitlines()) == 1, said
        shutil.rmtree(tmp_path / "home" / "store")
        steps.unlink()
        lost, steps = client("home", "--scheduler", str(place.file)), begun(second)
        place.processes[0].kill()
        status, said = place.ends(lost)
        assert status == 1 and "does not answer any more" in said and len(said.splitlines()) == 1, said
        kept = digests(Store(tmp_path / "home" / "store"))
        place.file.unlink()
        steps.unlink()
        place.scheduler()
        place.worker()
        assert place.ends(client("home", "--scheduler", str(place.file)))[0] == 0
        found = digests(Store(tmp_path / "home" / "store"))
        assert kept and kept.items() <= found.items() and found == digests(Store(tmp_path / "quiet" / "store"))


def test_results_and_data_sets_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed in earnest, on a published set that only the client has: the bits of a run in one process."""
    own = tmp_path / "own"
    with Cluster(tmp_path / "far", standin=False) as place:
        monkeypatch.setenv("SYNTHPRUNE_HOME", str(own))
        images = np.random.default_rng(0).random((10, 1, 16, 16), np.float32)
        name = keep(SyntheticSet(images, np.arange(10), 1), "tiny")
        wanted = {"it": specs.Path(ends=(trained(1, 0, data=specs.Published(name=name)),
                                         trained(1, 1, data=specs.Published(name=name))), points=3)}
        monkeypatch.setenv("SYNTHPRUNE_SCHEDULER", "")
        solve(wanted, Store(tmp_path / "quiet"), workers=1)
        place.scheduler()
        place.worker()
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        monkeypatch.chdir(hidden)
        monkeypatch.setenv("SYNTHPRUNE_SCHEDULER", str(place.file))
        # A worker's path to the client's data is no file there.
        monkeypatch.setenv("SYNTHPRUNE_DATA", "/proc/self/cwd/data")
        shutil.copytree(own / "data", hidden / "data")
        solve(wanted, Store(NOT_SHARED))
        travelled = list((tmp_path / "far").rglob("tiny@*.safetensors"))
        assert len(travelled) == 1
        assert digests(Store(hidden / "store")) == digests(Store(tmp_path / "quiet"))
