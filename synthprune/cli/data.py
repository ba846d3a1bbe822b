"""synthprune data list | import | distill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from synthprune.cli.options import Device, open_store, progress
from synthprune.problems import Problem

app = typer.Typer(no_args_is_help=True, help="Look after data sets.")

Space = Literal["pixels", "bytes", "symmetric", "standardised", "whitened"]
Soft = Literal["probabilities", "logits"]
LARGEST = 1024
"""Pixels of a side: beyond it a slip of the keyboard is likelier than such images."""


@app.command("list")
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


@app.command("import")
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
                                                    min=0, max=LARGEST)] = 0) -> None:
    """Import a data set of your own, or one that is known by NAME (cifar10, ...), or with --of a synthetic set.

    PATH is a folder, tar or zip of class folders under train/ and test/ (or valid, val; or of one set of class folders, with
    --test 0.2); a file of arrays (.npz, .pt, .safetensors, as x_train, y_train, x_test, y_test); parquet files as the Hugging
    Face hub keeps them (takes pyarrow); or CIFAR's official files: Python, binary, MATLAB.

    Your own is filed as NAME@CONTENT and used as -p dataset=NAME, in every chapter.
    """
    from synthprune.data.labelled import Told

    aimless = {"--test": test, "--flip": flip} if of else {"--factor": factor > 1, "--classes": classes, "--soft": soft}
    for option in (option for option, given in aimless.items() if given):
        raise Problem(f"{option} says nothing about a {'synthetic' if of else 'real'} set: leave it away")
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


@app.command("distill")
def data_distill(title: str, of: Annotated[str, typer.Option(help="The real data set, whose training images are distilled.")],
                 pixels: Annotated[int, typer.Option(help="Side of the images; 0: as they are.", min=0,
                                                      max=LARGEST)] = 0,
                 method: Annotated[Literal["condensed", "distilled"], typer.Option(
                     help="By gradient matching (condensed, IDC) or by distribution matching (distilled).")] = "condensed",
                 per_class: Annotated[int, typer.Option(help="Stored images per class.", min=1)] = 10,
                 factor: Annotated[int, typer.Option(help="Decode factor.", min=1)] = 2,
                 steps: Annotated[int, typer.Option(help="Steps of matching.", min=1)] = 1000,
                 lr: Annotated[float | None, typer.Option(help="Learning rate of the pixels; default: the method's.")] = None,
                 width: Annotated[int, typer.Option(help="Of the ConvNet-3 that is matched on.", min=1)] = 32,
                 seed: Annotated[int, typer.Option(min=0)] = 0, device: Device = None) -> None:
    """Make a synthetic set and file it as TITLE@CONTENT among the imported ones.

    Stopped, the same command goes on from there (condensed), or begins again (distilled, which takes minutes).
    """
    from synthprune.data.facts import facts, full_name
    from synthprune.data.synthetic import SyntheticSet, keep, require_title
    from synthprune.results import specs
    from synthprune.results.compute import compute
    from synthprune.results.solve import interruptible
    from synthprune.results.store import Busy

    require_title(title)
    side = pixels or facts(of := full_name(of)).pixels  # an unknown data set is refused here, in words
    kind = specs.Condensed if method == "condensed" else specs.Distilled
    entry = kind(dataset=specs.Dataset(name=of, pixels=side), ipc=per_class, factor=factor, steps=steps,
                 width=width, seed=seed, **({} if lr is None else {"lr": lr}))
    store = open_store()
    with progress({"set": [entry]}, 1) as report, interruptible():
        try:
            compute(entry, store, alone=True, look=lambda done: report(done, steps, specs.describe(entry)))
        except Busy:
            raise Problem("another process is making this set: 'synthprune status' says how far it is") from None
    made = store.get(entry)
    full = keep(SyntheticSet(made.arrays["images"], made.arrays["labels"], factor), title)
    typer.echo(f"{full}: {len(made.arrays['labels'])} stored images of {side} pixels, decode factor {factor},"
               f" {entry.kind} {entry.key[:12]}; use it as -p synthetic={full} -p pixels={side}")
