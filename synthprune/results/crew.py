"""The workers of a Dask cluster as one client's run knows them: who is there, what they have been told, what they answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from distributed import Client

from synthprune.machine import stamped, tell
from synthprune.problems import Problem
from synthprune.results import worker
from synthprune.results.store import Arrays
from synthprune.results.worker import Beat, Place, versions

ANSWER_SECONDS = 10
"""For a worker to answer a question; it does so beside what it computes."""
SILENT_SECONDS = 60
"""For the scheduler to say who is there."""
NO_WORKER_SECONDS = 120.0
"""How long a run waits where no worker is left."""
CHUNK = 2**26
"""Bytes of a data set that travel at once."""
SEND_SECONDS = 600
"""For one such piece, and for a checkpoint."""
GO_ON = "what was finished is stored, and the same command goes on from there"


def say(line: str) -> None:
    """A line with the time, to stderr."""
    tell(stamped(line))


class Crew:
    """The workers of a cluster as one run knows them. `shared`: those that were told all, and whether they see the store."""

    def __init__(self, client: Client, where: str, place: Place) -> None:
        self._client, self._where, self.place = client, where, place
        self.shared: dict[str, bool] = {}
        self._numbers: dict[str, int] = {}
        self._there = time.monotonic()

    def gone(self) -> Collection[str]:
        """Who was told and is not there any more; who was named once is not again."""
        there = self._threads()
        gone = self.shared.keys() - there.keys()
        self.shared = {address: shared for address, shared in self.shared.items() if address in there}
        return gone

    def _threads(self) -> dict[str, int]:
        """Who is there, with how many threads. Raises TimeoutError where the scheduler is there and does not answer."""
        return self._client.nthreads(callback_timeout=SILENT_SECONDS)

    def look(self) -> Collection[str]:
        """Who is gone; whoever is new is told. Raises Problem where nobody has been there for long, or cannot begin."""
        gone, there = self.gone(), self._threads()
        self._number(there)
        found = self._each(there.keys() - self.shared.keys(), worker.arrive, self.place, self._numbers)
        for address, one in found.items():
            check(address, one)
        ready = {address for address, one in found.items() if one["data"]}
        ready |= self._send(found.keys() - ready)
        self.shared |= {address: found[address]["shared"] for address in ready}
        if self.shared:
            self._there = time.monotonic()
        elif time.monotonic() - self._there > NO_WORKER_SECONDS:
            who = f"none of the {len(there)} workers at {self._where} has answered" if there else \
                f"no worker has been at {self._where}"
            raise Problem(f"{who} for {NO_WORKER_SECONDS:.0f} s: start some; {GO_ON}")
        return gone

    def _number(self, there: Collection[str]) -> None:
        """Count the workers of each host; a newcomer has the lowest number that is free there."""
        self._numbers = {address: number for address, number in self._numbers.items() if address in there}
        for address in sorted(set(there) - self._numbers.keys()):
            host = address.rpartition(":")[0]
            taken = {number for other, number in self._numbers.items() if other.rpartition(":")[0] == host}
            self._numbers[address] = next(number for number in itertools.count() if number not in taken)

    def beats(self, wanted: Collection[str], stop: bool) -> list[tuple[str, Beat]]:
        found = self._each(self.shared, worker.beat, self.place.run, wanted, stop)
        return [(address, beat) for address, beat in found.items() if isinstance(beat, Beat)]

    def checkpoint(self, address: str, task: str) -> tuple[int, Arrays] | None:
        """What a worker last saved of `task`; None where it has ended meanwhile."""
        found = self._each([address], worker.checkpoint, task, seconds=SEND_SECONDS).get(address)
        return found if isinstance(found, tuple) else None

    def restart(self, address: str) -> None:
        """By its nanny; where it has none, or that is out of reach too, the worker is left aside for good."""
        found = {}
        with contextlib.suppress(ValueError):
            found = self._client.restart_workers([address], timeout=ANSWER_SECONDS, raise_for_error=False)
        if found.get(address) != "OK":
            self._client.retire_workers([address], remove=True, close_workers=True)

    def _each(self, workers: Collection[str], function: Callable[..., Any], *args: Any, seconds: float | None = None,
              ) -> dict[str, Any]:
        """What every worker answers (or raises), each in its time: one that is lost or stuck is left out."""
        async def one(address: str) -> dict[str, Any]:
            with contextlib.suppress(OSError, TimeoutError):
                asked = self._client.run(function, *args, workers=[address], on_error="return")
                return await asyncio.wait_for(asked, seconds or ANSWER_SECONDS)
            return {}

        async def all_of_them() -> list[dict[str, Any]]:
            return await asyncio.gather(*map(one, workers))

        return {address: answer for found in self._client.sync(all_of_them) for address, answer in found.items()
                if not isinstance(answer, OSError | TimeoutError)}

    def _send(self, workers: Collection[str]) -> set[str]:
        """Data sets travel in pieces, once to each worker that has not had them, by whatever run. Returns who has them."""
        if not workers:
            return set()
        run, files = self.place.run, self.place.files
        digest = worker.digest({name: Path(path) for name, (path, *_) in files.items()})

        def have(some: Collection[str]) -> set[str]:
            return {address for address, here in self._each(some, worker.settle, run, digest).items() if here is True}

        async def to_all(*piece: Any) -> None:
            sent = self._client.run(worker.receive, run, *piece, workers=lacking, on_error="ignore")
            await asyncio.wait_for(sent, SEND_SECONDS)

        had = have(workers)
        lacking = [address for address in workers if address not in had]
        with contextlib.suppress(TimeoutError):  # the next look tries again
            for name, (path, *_) in files.items() if lacking else ():
                with open(path, "rb") as stream:
                    while chunk := stream.read(CHUNK):
                        self._client.sync(to_all, name, stream.tell() - len(chunk), chunk)
        return had | have(lacking)


def check(address: str, one: Any) -> None:
    """Raises Problem where a worker cannot do this client's work; a line is said where its results may differ."""
    if isinstance(one, Problem):
        raise Problem(f"the worker {address} cannot begin: {one}")
    if isinstance(one, BaseException):
        cure = f": install synthprune {versions()['synthprune']} where it runs" if isinstance(one, ImportError) else ""
        raise Problem(f"the worker {address} cannot begin ({type(one).__name__}: {one}){cure}")
    if one["threads"] != 1:
        raise Problem(f"the worker {address} has {one['threads']} threads: start one worker for each core or GPU, with"
                      " 'dask worker --nthreads 1 --nworkers N ADDRESS'")
    mine, theirs = versions(), dict(one["versions"])
    same_kinds = mine.pop("kinds") == theirs.pop("kinds", "")
    other = {name: version for name, version in theirs.items() if version != mine.get(name)}
    words = ", ".join(f"{name} {version} ({mine.get(name, 'none')} here)" for name, version in other.items())
    if "synthprune" in other:
        raise Problem(f"the worker {address} has {words}: install the same version on both sides")
    if not same_kinds:
        raise Problem(f"the worker {address} has another state of synthprune {mine['synthprune']}, whose results differ: install"
                      " the same one on both sides")
    if other:
        say(f"the worker {address} has {words}: its results may differ in the last bits")
