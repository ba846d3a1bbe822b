"""What commands share: options, the requests that they lead to, and how a run tells where it is."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synthprune.problems import Problem

if TYPE_CHECKING:
    from rich.progress import TaskID

    from synthprune.chapters.units import Log
    from synthprune.results.specs import Entry
    from synthprune.results.store import Store

_progress = {"shown": True}


def be_quiet(quiet: bool) -> None:
    _progress["shown"] = not quiet


def _scheduler(address: str | None) -> str | None:
    if address:
        os.environ["SYNTHPRUNE_SCHEDULER"] = address
    return address


def _device(name: str | None) -> str | None:
    if name := name or os.environ.get("SYNTHPRUNE_DEVICE"):
        from synthprune.machine import require_device

        if not os.environ.get("SYNTHPRUNE_SCHEDULER"):  # whose workers look for themselves
            require_device(name)
        os.environ["SYNTHPRUNE_DEVICE"] = name
    return name


Profile = Annotated[str, typer.Option(help="demo, laptop, paper, or the path of a YAML file.")]
Given = Annotated[list[str], typer.Option("--parameter", "-p", help="NAME=VALUE, as often as you like.")]
Workers = Annotated[int | None, typer.Option(help="Processes to compute with; default: as the work is worth.", min=1)]
Scheduler = Annotated[str | None, typer.Option(callback=_scheduler, is_eager=True, help="A running Dask cluster to compute on: tcp://HOST:8786,"
                                               " tls://HOST:8786, or a scheduler file; default: SYNTHPRUNE_SCHEDULER.")]
Device = Annotated[str | None, typer.Option(callback=_device, help="cpu, cuda, or cuda:1; default: SYNTHPRUNE_DEVICE, or all"
                                            " GPUs (of CUDA_VISIBLE_DEVICES), or the CPU.")]


def open_store() -> Store:
    """This user's store, with the results that ship behind it."""
    from synthprune.chapter import open_store

    return open_store()


def chosen(profile: str, pairs: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {"profile": profile}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Problem(f"-p {pair}: write it as NAME=VALUE")
        values[name.strip()] = value.strip()
    return values


def requested(chapter: str, given: dict[str, Any]) -> dict[str, Entry]:
    from synthprune.chapters import experiment
    from synthprune.chapters.settings import parameters

    module = experiment(chapter)
    return module.requests(parameters(module.Parameters, chapter, given))


def require_place(file: Path) -> None:
    """Raises Problem where a file cannot be written, before hours of work."""
    place = next(path for path in (file.absolute(), *file.absolute().parents) if path.exists())
    barred = not os.access(place, os.W_OK)
    if barred or place.is_dir() == (place == file.absolute()):
        reason = "may not be written to" if barred else "is a folder" if place.is_dir() else "is no folder"
        raise Problem(f"{file} cannot be written: {place} {reason}")


def progress(todo: Mapping[str, Sequence[Entry]], workers: int | None = None, log: Path | None = None, *,
             planned: bool = False) -> Bars | Log:
    """How a run for `todo` (by what it is for) tells where it is: by bars on a terminal, else in lines, or in those of `log`.

    `planned`: with the time that is left. Raises Problem where `log` cannot be written.
    """
    from synthprune.chapters.units import Log
    from synthprune.machine import cores

    if log is None and sys.stderr.isatty():
        return Bars(open_store(), sum(map(len, todo.values())))
    return Log(todo, open_store(), workers or cores(), _writer(log), planned=planned)


@contextlib.contextmanager
def rechecking() -> Iterator[Callable[[int, int, str], None]]:
    """How a recheck, whose results no store comes to hold, tells where it is: by bars on a terminal, else a line for each."""
    if sys.stderr.isatty():
        with Bars(open_store()) as report:
            yield report
        return
    from synthprune.machine import stamped

    write = _writer(None)
    yield lambda done, total, line: write(stamped(f"{done} of {total}; {line}"))


def _writer(log: Path | None) -> Callable[[str], None]:
    """What writes a line: to the file `log`, to standard output, or with --quiet nowhere."""
    def write(line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end what can still be stored
            if log:
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("a", encoding="utf-8") as file:
                    print(line, file=file)
            elif _progress["shown"]:
                print(line, flush=True)

    return write


class Bars:
    """Progress on a terminal: how much is done, and below it a bar for each entry that is being computed, by its lock.

    Nothing is drawn where nothing is to be done, of the `total` or by what is reported, nor with --quiet.
    """

    def __init__(self, store: Store, total: int = 0, every_seconds: float = 1) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._store, self._total, self._every = store, total, every_seconds
        self._bars = Progress(MofNCompleteColumn(), TextColumn("{task.fields[unit]}"), BarColumn(), TimeElapsedColumn(),
                              TextColumn("{task.description}"), console=Console(stderr=True))
        self._whole: TaskID | None = None
        self._at: dict[str, TaskID] = {}
        self._over = threading.Event()
        self._pulse = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Callable[[int, int, str], None]:
        if self._total:
            self._shown(self._total)
        return self._report

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._pulse.is_alive():
            self._pulse.join()
        if self._whole is not None:
            for task in self._at.values():
                self._bars.remove_task(task)
            self._bars.stop()

    def _report(self, done: int, total: int, line: str) -> None:
        from synthprune.results.solve import FAILED

        if (whole := self._shown(total)) is None:
            return
        if line.startswith(FAILED):  # the next line would take its place
            self._bars.console.print(line, markup=False, highlight=False)
        self._bars.update(whole, completed=done, total=total, description=line)

    def _shown(self, total: int) -> TaskID | None:
        """The bar of the whole, drawn from now on; None with --quiet."""
        if self._whole is None and _progress["shown"]:
            self._bars.start()
            self._whole = self._bars.add_task("", total=total, unit="")
            self._pulse.start()
        return self._whole

    def _beat(self) -> None:
        while not self._over.wait(self._every):
            running = self._store.running()
            for key in self._at.keys() - running.keys():
                self._bars.remove_task(self._at.pop(key))
            for key, work in running.items():
                if key not in self._at:
                    self._at[key] = self._bars.add_task(work["what"], total=None, unit="")
                self._bars.update(self._at[key], completed=work.get("done", 0), total=work.get("of"), unit=work.get("unit", ""))
