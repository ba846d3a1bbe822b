"""The command line: synthprune run | book | table | compute | status | units | plan | store | data | workshop | doctor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from synthprune.cli.data import app as data_app
from synthprune.cli.options import (
    Device,
    Given,
    Profile,
    Scheduler,
    Workers,
    be_quiet,
    chosen,
    open_store,
    progress,
    requested,
    require_place,
)
from synthprune.cli.store import app as store_app
from synthprune.problems import Problem, Unreachable

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False,
                  help="The executable companion to a study of pruning with synthetic data and linear mode connectivity.")
app.add_typer(store_app, name="store")
app.add_typer(data_app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        from synthprune import __version__

        typer.echo(f"synthprune {__version__}")
        raise typer.Exit


@app.callback()
def options(quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
            version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                  help="Say which version this is.")] = False) -> None:
    """Before any command."""
    be_quiet(quiet)


def main() -> None:
    """Entry point: whatever is wrong becomes one line and exit status 2."""
    said, status = "", 2
    try:
        status = app(standalone_mode=False)  # which leaves to us what to say
    except Problem as problem:
        said = str(problem)
    except typer.TyperException as error:  # no words: it has printed its help, and has nothing to say
        said = error.format_message() and f"{error.format_message().rstrip('.')}: see 'synthprune --help'"
    except OSError as error:
        said = f"{error.filename or 'the system'}: {error.strerror or error}"
    if status == 130:
        said = "stopped; what was finished is stored, and the same command goes on from there"
    if said:
        typer.echo(f"synthprune: {said}", err=True)
    sys.exit(status or 0)


@app.command()
def run(chapter: str, profile: Profile = "demo", parameter: Given = [], workers: Workers = None,  # noqa: B006
        scheduler: Scheduler = None, device: Device = None,
        output: Annotated[Path | None, typer.Option(help="Where the executed notebook goes: a file or folder.")] = None) -> None:
    """Compute what a chapter needs and execute its notebook."""
    from synthprune.book.build import execute
    from synthprune.results.chance import flags
    from synthprune.results.solve import missing, solve

    given = chosen(profile, parameter)
    requests, name = requested(chapter, given), f"{chapter}.{Path(given['profile']).stem}.ipynb"
    target = output or Path("_build") / "runs" / name
    if target.suffix != ".ipynb":
        target /= name
    require_place(target)
    with progress({chapter: missing(requests, open_store())}, workers) as report:
        solve(requests, open_store(), workers=workers, report=report)
    for line in flags(requests.values(), open_store()):
        typer.echo(f"warning: {line}", err=True)
    record = execute(chapter, given, target)
    typer.echo(f"{target}: {len(record['results'])} results, digest {record['digest'][:12]}")


@app.command()
def book(profile: Profile = "laptop", workers: Workers = None, scheduler: Scheduler = None, device: Device = None,
         into: Annotated[Path | None, typer.Option(help="Folder to build in; default: the checkout, or ./synthprune-book.")]
         = None,
         pdf: Annotated[bool, typer.Option("--pdf", help="Print it to one PDF as well; needs Chromium, Chrome or Edge.")] = False,
         archive: Annotated[bool, typer.Option("--zip", help="Pack pages, notebooks and results into one archive as well.")]
         = False) -> None:
    """Execute every chapter and compile the book: of the results that ship, or of another profile."""
    from synthprune.book.build import build, single_page
    from synthprune.book.printing import write_archive, write_pdf
    from synthprune.home import sources

    root = into or (Path("synthprune-book") if sources().name == "_book" else sources())
    page, absent = build(profile, root.absolute(), progress, workers)
    for name, reason in absent.items():
        typer.echo(f"{name}: {reason}")
    typer.echo(f"The book is ready: open {page.as_uri()}")
    folder = root.absolute() / "_build"
    if pdf:
        write_pdf(single_page(root.absolute()), folder / "synthprune.pdf")
        typer.echo(f"On paper: {folder / 'synthprune.pdf'}")
    if archive:
        write_archive(root.absolute(), folder / "synthprune-book.zip")
        typer.echo(f"To take along: {folder / 'synthprune-book.zip'}")


@app.command()
def plan(chapter: Annotated[str, typer.Argument()] = "", profile: Profile = "demo", parameter: Given = [],  # noqa: B006
         gpu: Annotated[str, typer.Option(help="Hours on this GPU by arithmetic; for profile paper: H100 SXM.")] = "",
         device: Device = None) -> None:
    """Say what a chapter (or each of them) needs, what of it is stored, and how long the rest takes."""
    from rich.console import Console
    from rich.table import Table

    from synthprune.chapters import CHAPTERS
    from synthprune.chapters.budget import book_plan, gpu_plan, plan_table

    given = chosen(profile, parameter)
    asked = {name: requested(name, given) for name in ([chapter] if chapter else CHAPTERS)}
    if gpu or given["profile"] == "paper":  # whose hours on this machine nobody would wait for
        table = gpu_plan(asked, gpu or "H100 SXM")
    else:
        table = plan_table(asked[chapter], open_store()) if chapter else book_plan(asked, open_store())
    shown = Table(*table.header, title=f"{chapter or 'the book'}, profile {given['profile']}",
                  caption=f"{table.caption}. {table.note}" if table.note else table.caption)
    for row in table.rows:
        shown.add_row(*row)
    Console().print(shown)


@app.command()
def table(chapter: str, profile: Profile = "demo", parameter: Given = [],  # noqa: B006
          parquet: Annotated[Path | None, typer.Option(help="Write it to this file instead (needs pyarrow).")] = None) -> None:
    """Print a chapter's stored results, those that ship among them, as CSV: one row per measurement. Nothing is computed."""
    from synthprune.chapter import Run
    from synthprune.chapters import experiment
    from synthprune.chapters.settings import parameters

    given = chosen(profile, parameter)
    run = Run(chapter, parameters(experiment(chapter).Parameters, chapter, given), given, open_store())
    asked = run.requests
    run.results = {name: run.store.get(entry) for name, entry in asked.items() if run.store.has(entry)}
    if not run.results:
        raise Problem(f"none of the {len(asked)} results of {chapter} is stored: 'synthprune run {chapter}' computes them")
    if len(run.results) < len(asked):
        typer.echo(f"{len(run.results)} of {len(asked)} results are stored", err=True)
    if parquet is None:
        run.table().to_csv(sys.stdout, index=False, lineterminator="\n")
        return
    try:
        run.table().to_parquet(parquet, index=False)
    except ImportError:
        raise Problem("--parquet needs the package pyarrow: pip install pyarrow, or leave it away for CSV") from None


@app.command("compute")
def compute_units(unit: Annotated[list[str], typer.Argument(help="Units of the profile, in its order; default: all.")] = [],  # noqa: B006
                  profile: Profile = "laptop", workers: Workers = None, scheduler: Scheduler = None, device: Device = None,
                  log: Annotated[Path | None, typer.Option(help="A file for the lines that tell how far it is; lines are added.")]
                  = None) -> None:
    """Compute what is missing of a profile's units, without making a page; it may be stopped and started at any time."""
    from synthprune.chapters.units import to_compute, units
    from synthprune.results.chance import flags
    from synthprune.results.solve import fill
    from synthprune.results.store import StoreProblem

    if log:
        require_place(log)
    chosen, store = units(profile, unit), open_store()
    todo, lacking = to_compute(chosen, store)
    # Of a cluster's machines nothing is measured here.
    shown = progress(todo, workers, log, planned=not os.environ.get("SYNTHPRUNE_SCHEDULER"))
    for reason in dict.fromkeys(lacking.values()):
        typer.echo(f"left out: {reason}")
    with shown as report:
        try:
            fill([entry for entries in todo.values() for entry in entries], store, workers=workers,
                 report=report)
        except (StoreProblem, Unreachable):
            raise
        except Exception as error:  # of one entry, told when all that could be computed is there
            typer.echo(f"failed: {error or type(error).__name__}", err=True)
    asked = {entry for one in chosen for entry in one.requests.values()}
    for line in flags(asked, store):
        typer.echo(f"warning: {line}", err=True)
    there = sum(map(store.has, asked))
    typer.echo(f"{', '.join(one.name for one in chosen)}: {there} of {len(asked)} results are there")
    if there < len(asked):
        raise typer.Exit(1)


@app.command()
def status(profile: Profile = "laptop") -> None:
    """Say what is being computed now, by whatever process, since when and how far; and what of a profile remains."""
    from synthprune.chapters.units import everything, running, to_compute

    store, asked = open_store(), everything(profile)
    for line in running(store):
        typer.echo(line)
    todo, _ = to_compute(asked, store)
    results = {entry for unit in asked for entry in unit.requests.values()}
    typer.echo(f"profile {profile}: {sum(map(store.has, results))} of {len(results)} results are there;"
               f" {sum(map(len, todo.values()))} entries are to be computed for the rest")


@app.command("units")
def units_table(profile: Profile = "laptop", device: Device = None) -> None:
    """Say how far a profile's units have come, and how long the rest takes on this machine."""
    from rich.console import Console
    from rich.table import Table

    from synthprune.chapters.units import table, units

    shown = Table("unit", "what", "results", "initialisations", "core-hours left", title=f"profile {profile}",
                  caption="What units share is counted in the first of them.")
    for row in table(units(profile), open_store()):
        shown.add_row(*row)
    Console().print(shown)


@app.command()
def workshop(folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
             pdf: Annotated[bool, typer.Option(help="Print the slides with Chromium too.")] = False,
             time: Annotated[Path | None, typer.Option(help="Measure every cell; write the page of times here.")] = None,
             ) -> None:
    """Lay out a workshop: learner notebooks, the same with solutions, slides for two courses, notes."""
    from synthprune.workshop import lay_out, time_page

    lay_out(folder, pdf=pdf)
    typer.echo(f"{folder}: hand round {folder / 'learner'}, keep {folder / 'solutions'}")
    if time:
        time.write_text(time_page(folder), encoding="utf-8")


@app.command()
def doctor(for_workshop: Annotated[bool, typer.Option("--workshop", help="What a workshop needs.")] = False) -> None:
    """Say whether this machine is ready: versions, cores, disk, data, results."""
    if for_workshop:
        from synthprune.workshop import readiness

        found = readiness()
        for name, (_, text) in found.items():
            typer.echo(f"{name:>12}  {text}")
        if not all(ready for ready, _ in found.values()):
            raise typer.Exit(1)
        return
    import platform
    import shutil
    from importlib import metadata

    from synthprune.data.datasets import is_here
    from synthprune.data.facts import FACTS
    from synthprune.home import data_sets, home
    from synthprune.machine import cores, cpu

    place = next(folder for folder in (home(), *home().parents) if folder.exists())
    lines = {"python": platform.python_version(), "processor": f"{cpu()}, {cores()} cores",
             **{name: metadata.version(name) for name in ("torch", "torchvision", "jupyter-book", "papermill")},
             "home": f"{home()} ({'can' if os.access(place, os.W_OK) else 'CANNOT'} be written, "
                     f"{shutil.disk_usage(place).free / 1e9:.0f} GB free)",
             "data": ", ".join(f"{name} {'here' if is_here(name) else 'not imported'}" for name in [*FACTS, *data_sets()]),
             "results": f"{len(open_store().entries())} stored"}
    for name, text in lines.items():
        typer.echo(f"{name:>12}  {text}")
