"""synthprune store list | verify | gc | export | recheck."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from synthprune.cli.options import Device, Given, Profile, Scheduler, Workers, chosen, open_store, rechecking, requested
from synthprune.problems import Problem

app = typer.Typer(no_args_is_help=True, help="Look after stored results.")
TOLERANCE = 0.05


@app.command("list")
def store_list() -> None:
    """Count what is stored, kind by kind."""
    from collections import Counter

    from synthprune.results.specs import versions

    store = open_store()
    counts = Counter(path.parent.name for path in store.entries())
    typer.echo(f"{store.root}")
    for kind in versions():
        typer.echo(f"{counts[kind]:8} {kind}")
    old = store.stale()
    if old:
        typer.echo(f"{len(old)} are stale (made by an older version of their kind):"
                   " 'synthprune store gc --stale --yes' deletes them")


@app.command("verify")
def store_verify(remove: Annotated[bool, typer.Option(help="Delete damaged entries.")] = False) -> None:
    """Read every entry and check it against its checksums."""
    store = open_store()
    count, damaged = len(store.entries()), store.damaged()
    for path, reason in damaged:
        typer.echo(reason)
        if remove:
            store.remove(path)
    typer.echo(f"{count} entries, {len(damaged)} damaged{' and deleted' if remove and damaged else ''}")
    if damaged and not remove:
        raise typer.Exit(2)


@app.command("gc")
def store_gc(yes: Annotated[bool, typer.Option(help="Delete them; without it they are only counted.")] = False,
             stale: Annotated[bool, typer.Option(help="Only those made by an older version of their kind.")] = False) -> None:
    """Find results that no chapter or unit asks for in any profile (results of parameters of your own are among them)."""
    from collections import Counter

    store = open_store()
    if yes and (running := store.running()):
        raise Problem(f"{len(running)} results are being computed now, and may need what would be deleted: wait until 'synthprune"
                      " status' names none")
    found = store.stale() if stale else store.unasked(_asked_by_profiles())
    for kind, count in Counter(path.parent.name for path in found).items():
        typer.echo(f"{count:8} {kind}")
    for path in found if yes else []:
        store.remove(path)
    what = "stale" if stale else "asked for by no profile"
    typer.echo(f"{len(found)} results are {what}: {'deleted' if yes else '--yes deletes them'}")


def _asked_by_profiles() -> list[Any]:
    """What the chapters and units ask for; where a profile leaves the synthetic set open, with every imported one."""
    from synthprune.chapters import CHAPTERS
    from synthprune.chapters.profiles import profile_names, read_profile
    from synthprune.chapters.units import units
    from synthprune.data.synthetic import imported
    from synthprune.results.specs import closure

    asked = []
    for profile in profile_names():
        if read_profile(profile).get("units"):
            asked += closure([entry for unit in units(profile) for entry in unit.requests.values()])
        sets = [{}] if "synthetic" in read_profile(profile) else [{"synthetic": name} for name in imported()]
        for chapter in CHAPTERS:
            for named in sets:
                asked += closure(list(requested(chapter, {"profile": profile} | named).values()))
    return asked


@app.command("export")
def store_export(profile: Profile = "laptop",
                 into: Annotated[Path, typer.Option(help="The results folder.")] = Path("results")) -> None:
    """Add the light results of every chapter to the files that ship with the book, with verdicts and provenance."""
    from synthprune.book.shipping import export

    folder = into / Path(profile).stem
    for chapter, (there, asked) in export(profile, open_store(), folder).items():
        typer.echo(f"{folder / chapter}.json: {there} of {asked} results")
    typer.echo(f"{folder}: {sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.1f} MB")


@app.command("recheck")
def store_recheck(chapter: Annotated[str, typer.Argument()] = "", profile: Profile = "demo", parameter: Given = [],  # noqa: B006
                  number: Annotated[int, typer.Option("-n", help="Random results that ship, instead of a chapter.", min=0)] = 0,
                  seed: Annotated[int, typer.Option(help="What draws them.")] = 0,
                  budget: Annotated[float, typer.Option(help="Minutes of one core that they may take.")] = math.inf,
                  tolerance: Annotated[float, typer.Option(help="Difference allowed on another processor.")] = TOLERANCE,
                  workers: Workers = None, device: Device = None, scheduler: Scheduler = None) -> None:
    """Compute stored results again: a chapter's, from stored parents; or with -n random ones that ship, with all they need."""
    from synthprune.book.shipping import Checked, draw, recheck

    store = open_store()
    if bool(chapter) == bool(number):
        raise Problem("say which results to compute again: a CHAPTER, or -n NUMBER of those that ship")
    given = {"--seed": seed, "--budget": budget < math.inf, "--tolerance": tolerance != TOLERANCE, "--workers": workers,
             "--scheduler": scheduler} if chapter else {"--parameter": parameter}
    if idle := [name for name, one in given.items() if one]:
        raise Problem(f"{idle[0]} says nothing about {'a CHAPTER' if chapter else '-n NUMBER'}: leave it away")
    with rechecking() as report:
        if number:
            found = recheck(draw(profile, store, number, seed, budget), store, tolerance, report, workers)
        else:
            from synthprune.results.compute import recheck as again
            from synthprune.results.specs import closure, describe

            held = [e for e in closure(list(requested(chapter, chosen(profile, parameter)).values())) if store.holds(e)]
            found = []
            for done, entry in enumerate(held, 1):
                fault = again(entry, store)
                found.append(Checked(fault, sound=not fault))
                report(done, len(held), describe(entry))
    for one in found:
        if one.words:
            typer.echo(one.words)
    typer.echo(f"{len(found)} results computed again, {sum(not one.sound for one in found)} differ")
    if not all(one.sound for one in found):
        raise typer.Exit(1)
