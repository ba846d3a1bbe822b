"""The command line: synthprune run | book | table | compute | status | units | plan | store | data | workshop | doctor."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from synthprune.problems import Problem

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False,
                  help="The executable companion to a study of pruning with synthetic data and linear mode connectivity.")
store_app = typer.Typer(no_args_is_help=True, help="Look after stored results.")
data_app = typer.Typer(no_args_is_help=True, help="Look after data sets.")
app.add_typer(store_app, name="store")
app.add_typer(data_app, name="data")

Profile = Annotated[str, typer.Option(help="demo, laptop, paper, or the path of a YAML file.")]
Given = Annotated[list[str], typer.Option("--parameter", "-p", help="NAME=VALUE, as often as you like.")]
Workers = Annotated[int | None, typer.Option(help="Processes to compute with; default: as the work is worth.", min=1)]
Space = Literal["pixels", "bytes", "symmetric", "standardised", "whitened"]
Soft = Literal["probabilities", "logits"]



def _use(scheduler: str | None) -> str | None:
    if scheduler:
        os.environ["SYNTHPRUNE_SCHEDULER"] = scheduler
    return scheduler


Scheduler = Annotated[str | None, typer.Option(callback=_use, help="A running Dask cluster to compute on: tcp://HOST:8786, tls://"
                                               "HOST:8786, or a scheduler file; default: SYNTHPRUNE_SCHEDULER.")]


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
    _shown["progress"] = not quiet


_shown = {"progress": True}


def main() -> None:
    """Entry point: problems become one line and exit status 2."""
    try:
        app()
    except Problem as problem:
        typer.echo(f"synthprune: {problem}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(f"synthprune: {error.filename or 'the system'}: {error.strerror or error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("synthprune: stopped; what was finished is stored, and the same command goes on from there", err=True)
        sys.exit(130)


@app.command()
def run(chapter: str, profile: Profile = "demo", parameter: Given = [], workers: Workers = None,  # noqa: B006
        scheduler: Scheduler = None,
        output: Annotated[Path | None, typer.Option(help="Where the executed notebook goes.")] = None) -> None:
    """Compute what a chapter needs and execute its notebook."""
    from synthprune.book import execute
    from synthprune.chance import flags
    from synthprune.chapter import open_store
    from synthprune.solve import solve

    given = _given(profile, parameter)
    requests = _requests(chapter, given)
    with _progress() as report:
        solve(requests, open_store(), workers=workers, report=report)
    for line in flags(requests.values(), open_store()):
        typer.echo(f"warning: {line}", err=True)
    target = output or Path("_build") / "runs" / f"{chapter}.{Path(given['profile']).stem}.ipynb"
    record = execute(chapter, given, target)
    typer.echo(f"{target}: {len(record['results'])} results, digest {record['digest'][:12]}")


@app.command()
def book(profile: Profile = "demo", workers: Workers = None, scheduler: Scheduler = None,
         into: Annotated[Path | None, typer.Option(help="Folder to build in; default: the checkout, or ./synthprune-book.")]
         = None,
         pdf: Annotated[bool, typer.Option("--pdf", help="Print it to one PDF as well; needs Chromium, Chrome or Edge.")] = False,
         archive: Annotated[bool, typer.Option("--zip", help="Pack pages, notebooks and results into one archive as well.")]
         = False) -> None:
    """Execute every chapter and compile the book."""
    from synthprune.book import build, single_page
    from synthprune.home import sources
    from synthprune.printing import write_archive, write_pdf

    root = into or (Path("synthprune-book") if sources().name == "_book" else sources())
    with _progress() as report:
        page, absent = build(profile, root.absolute(), report, workers)
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
         ) -> None:
    """Say what a chapter (or each of them) needs, what of it is stored, and how long the rest takes."""
    from rich.console import Console
    from rich.table import Table

    from synthprune.chapter import book_plan, gpu_plan, open_store, plan_table
    from synthprune.experiments import CHAPTERS

    given = _given(profile, parameter)
    asked = {name: _requests(name, given) for name in ([chapter] if chapter else CHAPTERS)}
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
    from synthprune.chapter import Run, open_store
    from synthprune.experiments import experiment
    from synthprune.experiments.settings import parameters

    given = _given(profile, parameter)
    run = Run(chapter, parameters(experiment(chapter).Parameters, chapter, given), given, open_store())
    asked = run.requests
    run.results = {name: run.store.get(entry) for name, entry in asked.items() if run.store.has(entry)}
    if not run.results:
        raise Problem(f"none of the {len(asked)} results of {chapter} is stored: 'synthprune run {chapter}' computes them")
    if len(run.results) < len(asked):
        typer.echo(f"{len(run.results)} of {len(asked)} results are stored", err=True)
    if parquet is None:
        run.table().to_csv(sys.stdout, index=False)
        return
    try:
        run.table().to_parquet(parquet, index=False)
    except ImportError:
        raise Problem("--parquet needs the package pyarrow: pip install pyarrow, or leave it away for CSV") from None


@app.command("compute")
def compute_units(unit: Annotated[list[str], typer.Argument(help="Units of the profile, in its order; default: all.")] = [],  # noqa: B006
                  profile: Profile = "laptop", workers: Workers = None, scheduler: Scheduler = None,
                  log: Annotated[Path | None, typer.Option(help="A file for the lines that tell how far it is; lines are added.")]
                  = None) -> None:
    """Compute what is missing of a profile's units, without making a page; it may be stopped and started at any time."""
    from synthprune.chance import flags
    from synthprune.chapter import open_store
    from synthprune.machine import cores
    from synthprune.solve import fill
    from synthprune.store import StoreProblem
    from synthprune.units import Log, to_compute, units

    chosen, store = units(profile, unit), open_store()
    todo, lacking = to_compute(chosen, store)
    for reason in dict.fromkeys(lacking.values()):
        typer.echo(f"left out: {reason}")
    shown = _progress() if sys.stdout.isatty() and not log else Log(todo, store, workers or cores(), _writer(log))
    with shown as progress:
        try:
            fill([entry for entries in todo.values() for entry in entries], store, workers=workers,
                 report=progress.report if isinstance(progress, Log) else progress)
        except StoreProblem:
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
    from synthprune.chapter import open_store
    from synthprune.units import everything, running, to_compute

    store, asked = open_store(), everything(profile)
    for line in running(store, [one for unit in asked for one in unit.requests.values()]):
        typer.echo(line)
    todo, _ = to_compute(asked, store)
    results = {entry for unit in asked for entry in unit.requests.values()}
    typer.echo(f"profile {profile}: {sum(map(store.has, results))} of {len(results)} results are there;"
               f" {sum(map(len, todo.values()))} entries are to be computed for the rest")


@app.command("units")
def units_table(profile: Profile = "laptop") -> None:
    """Say how far a profile's units have come, and how long the rest takes on this machine."""
    from rich.console import Console
    from rich.table import Table

    from synthprune.chapter import open_store
    from synthprune.units import table, units

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

    from synthprune.chapter import open_store
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


@store_app.command("list")
def store_list() -> None:
    """Count what is stored, kind by kind."""
    from collections import Counter

    from synthprune.chapter import open_store
    from synthprune.specs import versions

    store = open_store()
    counts = Counter(path.parent.name for path in store.entries())
    typer.echo(f"{store.root}")
    for kind in versions():
        typer.echo(f"{counts[kind]:8} {kind}")
    old = store.stale()
    if old:
        typer.echo(f"{len(old)} are stale (made by an older version of their kind):"
                   " 'synthprune store gc --stale --yes' deletes them")


@store_app.command("verify")
def store_verify(remove: Annotated[bool, typer.Option(help="Delete damaged entries.")] = False) -> None:
    """Read every entry and check it against its checksums."""
    from synthprune.chapter import open_store

    store = open_store()
    damaged = store.damaged()
    for path, reason in damaged:
        typer.echo(reason)
        if remove:
            store.remove(path)
    typer.echo(f"{len(store.entries())} entries, {len(damaged)} damaged{' and deleted' if remove and damaged else ''}")
    if damaged and not remove:
        raise typer.Exit(2)


@store_app.command("gc")
def store_gc(yes: Annotated[bool, typer.Option(help="Delete them; without it they are only counted.")] = False,
             stale: Annotated[bool, typer.Option(help="Only those made by an older version of their kind.")] = False) -> None:
    """Find results that no chapter asks for in any profile (results of parameters of your own are among them)."""
    from collections import Counter

    from synthprune.chapter import open_store

    store = open_store()
    found = store.stale() if stale else store.unasked(_asked_by_profiles())
    for kind, count in Counter(path.parent.name for path in found).items():
        typer.echo(f"{count:8} {kind}")
    for path in found if yes else []:
        store.remove(path)
    what = "stale" if stale else "asked for by no profile"
    typer.echo(f"{len(found)} results are {what}: {'deleted' if yes else '--yes deletes them'}")


def _asked_by_profiles() -> list[Any]:
    """Everything that the chapters ask for; where a profile leaves the synthetic set open, with every imported one."""
    from synthprune.data.synthetic import imported
    from synthprune.experiments import CHAPTERS
    from synthprune.experiments.profiles import profile_names, read_profile
    from synthprune.specs import closure

    asked = []
    for profile in profile_names():
        sets = [{}] if "synthetic" in read_profile(profile) else [{"synthetic": name} for name in imported()]
        for chapter in CHAPTERS:
            for given in sets:
                asked += closure(list(_requests(chapter, {"profile": profile} | given).values()))
    return asked


@store_app.command("export")
def store_export(profile: Profile = "laptop",
                 into: Annotated[Path, typer.Option(help="The results folder.")] = Path("results")) -> None:
    """Add the light results of every chapter to the files that ship with the book, with verdicts and provenance."""
    from synthprune.chapter import open_store
    from synthprune.shipping import export

    folder = into / Path(profile).stem
    for chapter, (there, asked) in export(profile, open_store(), folder).items():
        typer.echo(f"{folder / chapter}.json: {there} of {asked} results")
    typer.echo(f"{folder}: {sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.1f} MB")


@store_app.command("recheck")
def store_recheck(chapter: Annotated[str, typer.Argument()] = "", profile: Profile = "demo", parameter: Given = [],  # noqa: B006
                  number: Annotated[int, typer.Option("-n", help="Random results that ship, instead of a chapter.", min=0)] = 0,
                  seed: Annotated[int, typer.Option(help="What draws them.")] = 0,
                  budget: Annotated[float, typer.Option(help="Minutes of one core that they may take.")] = math.inf,
                  tolerance: Annotated[float, typer.Option(help="Difference allowed on another processor.")] = 0.05,
                  workers: Workers = None) -> None:
    """Compute stored results again: a chapter's, from stored parents; or with -n random ones that ship, with all they need."""
    from synthprune.chapter import open_store
    from synthprune.shipping import Checked, draw, recheck

    store = open_store()
    if bool(chapter) == bool(number):
        raise Problem("say which results to compute again: a CHAPTER, or -n NUMBER of those that ship")
    with _progress() as report:
        if number:
            found = recheck(draw(profile, store, number, seed, budget), store, tolerance, report, workers)
        else:
            from synthprune.compute import recheck as again
            from synthprune.specs import closure

            held = [e for e in closure(list(_requests(chapter, _given(profile, parameter)).values())) if store.holds(e)]
            found = []
            for done, entry in enumerate(held, 1):
                fault = again(entry, store)
                found.append(Checked(fault, sound=not fault))
                report(done, len(held), f"{entry.kind} {entry.key[:12]}")
    for one in found:
        if one.words:
            typer.echo(one.words)
    typer.echo(f"{len(found)} results computed again, {sum(not one.sound for one in found)} differ")
    if not all(one.sound for one in found):
        raise typer.Exit(1)


@data_app.command("list")
def data_list() -> None:
    """Say which data sets are on this machine."""
    from synthprune.data.datasets import is_here
    from synthprune.data.facts import FACTS, facts
    from synthprune.data.synthetic import imported
    from synthprune.home import data_sets

    for name in FACTS:
        typer.echo(f"{name}: {'here' if is_here(name) else 'not imported'}")
    for name in data_sets():
        known = facts(name)
        typer.echo(f"{name}: here (your own: {len(known.classes)} classes, {known.pixels} pixels,"
                   f" {known.images['train']} training and {known.images['test']} test images)")
    for name in imported():
        typer.echo(f"{name}: here (synthetic)")


@data_app.command("import")
def data_import(name: str, path: Path,
                of: Annotated[str, typer.Option(help="The data set that a synthetic set stands for.")] = "",
                inside: Annotated[str, typer.Option(help="Folder inside the archive or folder, above the classes, or above train/"
                                                     " and test/.")] = "",
                test: Annotated[float, typer.Option(help="Share of each class to test on, where there is no test part: those of"
                                                     " largest content hash.", min=0, max=0.9)] = 0,
                flip: Annotated[bool, typer.Option("--flip", help="A mirrored image is still of its class, so train on both.")]
                = False,
                factor: Annotated[int, typer.Option(help="Decode factor of a synthetic set.", min=1)] = 1,
                classes: Annotated[str, typer.Option(help="What a synthetic set's class folders are: number (by the number in"
                                                     " their names), name (in the order of their names), or their names in the"
                                                     " data set's order, with commas between.")] = "",
                images: Annotated[str, typer.Option(help="Entry or column of the file that holds the images.")] = "",
                labels: Annotated[str, typer.Option(help="Entry or column, or file beside it, that holds the labels.")] = "",
                space: Annotated[Space | None, typer.Option(help="What the values of arrays are.")] = None,
                soft: Annotated[Soft | None, typer.Option(help="What labels of one number per class are.")] = None,
                pixels: Annotated[int, typer.Option(help="Side to bring images to, or that a synthetic set's tensors have.",
                                                    min=0)] = 0) -> None:
    """Import a data set of your own, or one that is known by NAME (cifar10, ...), or with --of a synthetic set.

    PATH is a folder, tar or zip of class folders under train/ and test/ (or valid, val; or of one set of class folders, with
    --test 0.2); a file of arrays (.npz, .pt, .safetensors, as x_train, y_train, x_test, y_test); parquet files as the Hugging
    Face hub keeps them (takes pyarrow); or CIFAR's official files: Python, binary, MATLAB.

    Your own is filed as NAME@CONTENT and used as -p dataset=NAME, in every chapter.
    """
    from synthprune.data.labelled import Told

    told = Told(inside, classes, images, labels, space or "", soft or "", pixels, test, flip)
    if not of:
        from synthprune.data.imports import import_dataset

        typer.echo(import_dataset(name, path, told))
        return
    from synthprune.data.facts import full_name
    from synthprune.data.forms import read_set
    from synthprune.data.synthetic import keep

    synthetic = read_set(path, full_name(of), factor, told)
    full = keep(synthetic, name)
    side = f" -p pixels={pixels}" if pixels else ""
    typer.echo(f"{full}: {'; '.join((f'{len(synthetic.labels)} stored images', f'decode factor {factor}', *synthetic.notes))};"
               f" use it as -p synthetic={full}{side}")


@data_app.command("distill")
def data_distill(title: str, of: Annotated[str, typer.Option(help="The real data set, whose training images are distilled.")],
                 pixels: Annotated[int, typer.Option(help="Side of the images; 0: as they are.", min=0)] = 0,
                 method: Annotated[Literal["condensed", "distilled"], typer.Option(
                     help="By gradient matching (condensed, IDC) or by distribution matching (distilled).")] = "condensed",
                 per_class: Annotated[int, typer.Option(help="Stored images per class.", min=1)] = 10,
                 factor: Annotated[int, typer.Option(help="Decode factor.", min=1)] = 2,
                 steps: Annotated[int, typer.Option(help="Steps of matching.", min=1)] = 1000,
                 lr: Annotated[float | None, typer.Option(help="Learning rate of the pixels; default: the method's.")] = None,
                 width: Annotated[int, typer.Option(help="Of the ConvNet-3 that is matched on.", min=1)] = 32,
                 seed: Annotated[int, typer.Option(min=0)] = 0) -> None:
    """Make a synthetic set and file it as TITLE@CONTENT among the imported ones. Stopped, the same command goes on from there."""
    from synthprune import specs
    from synthprune.chapter import open_store
    from synthprune.compute import compute
    from synthprune.data.facts import facts, full_name
    from synthprune.data.synthetic import SyntheticSet, keep

    side = pixels or facts(of := full_name(of)).pixels  # an unknown data set is refused here, in words
    kind = specs.Condensed if method == "condensed" else specs.Distilled
    entry = kind(dataset=specs.Dataset(name=of, pixels=side), ipc=per_class, factor=factor, steps=steps,
                 width=width, seed=seed, **({} if lr is None else {"lr": lr}))
    store = open_store()
    with _progress() as report:
        compute(entry, store, alone=True, look=lambda done: report(done, steps, specs.describe(entry)))
    made = store.get(entry)
    full = keep(SyntheticSet(made.arrays["images"], made.arrays["labels"], factor), title)
    typer.echo(f"{full}: {len(made.arrays['labels'])} stored images of {side} pixels, decode factor {factor},"
               f" {entry.kind} {entry.key[:12]}; use it as -p synthetic={full} -p pixels={side}")


def _writer(log: Path | None) -> Callable[[str], None]:
    """What writes a line of progress: to the file `log`, to standard output, or with --quiet nowhere."""
    if log is None:
        return (lambda line: print(line, flush=True)) if _shown["progress"] else lambda line: None

    def write(line: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    return write


def _given(profile: str, pairs: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {"profile": profile}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Problem(f"-p {pair}: write it as NAME=VALUE")
        given[name.strip()] = value.strip()
    return given


def _requests(chapter: str, given: dict[str, Any]) -> dict[str, Any]:
    from synthprune.experiments import experiment
    from synthprune.experiments.settings import parameters

    module = experiment(chapter)
    return module.requests(parameters(module.Parameters, chapter, given))


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    """A progress bar on standard error, only where something is to be done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    bar, task = Progress(*columns, console=Console(stderr=True)), None

    def report(done: int, total: int, line: str) -> None:
        nonlocal task
        if not _shown["progress"]:
            return
        if task is None:
            bar.start()
            task = bar.add_task("", total=total)
        bar.update(task, completed=done, description=line)

    try:
        yield report
    finally:
        if task is not None:
            bar.stop()
