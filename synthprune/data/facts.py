"""What is always true of each data set: classes, sizes, normalisation, and how to recognise it."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from synthprune.home import data_sets
from synthprune.problems import Problem, cut, nearest


@dataclass(frozen=True)
class Facts:
    """What is always true of a data set. `mean` and `std` per channel, of pixels in [0, 1]."""

    title: str
    """What people call it."""
    classes: tuple[str, ...]
    """Names of the class folders; the label of a class is its place here."""
    channels: int
    pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    """Whether a mirrored image is still of its class."""
    augmentation: Literal["diffaug", "photo"] = "diffaug"
    """What its training images go through: DiffAug after normalisation, or `data.photo` before it."""
    complete: dict[str, int] = field(default_factory=dict)
    """Images per class of the whole set, by split, where classes are equal; "all" must mean all of them."""
    images: dict[str, int] = field(default_factory=dict)
    """Images in all, by split, where classes differ in size."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Of the first n images per class, under "split/n"; what an import must match, whatever its format. Empty where
    the set may not be passed on and none could be taken: there only the numbers are checked."""
    test_folder: str = "test"
    photos: bool = False
    """Whether it comes as photographs of any size, of which an import keeps the middle; other classes beside its own are
    then passed over."""
    source: str = ""
    """What an import may be given."""


FOLDERS = "train/<class>/ and test/<class>/ as a folder or tar"

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

CIFAR100 = tuple("""
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
    forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
    mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
    sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
    willow_tree wolf woman worm""".split())  # noqa: SIM905 - a hundred pairs of quotes say no more

# tench, English springer, cassette player, chain saw, church, French horn, garbage truck, gas pump, golf ball, parachute.
IMAGENETTE = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413",
              "n03445777", "n03888257")

# The first ten lines of Kim et al.'s list, in its order: bonnet, green mamba, langur, Doberman, gyromitra, Saluki, vacuum
# cleaner, window screen, cocktail shaker, garden spider.
IMAGENET10 = ("n02869837", "n01749939", "n02488291", "n02107142", "n13037406", "n02091831", "n04517823", "n04589890",
              "n03062245", "n01773797")

# Kim et al.'s code, and with it the paper, normalises CIFAR-100 by CIFAR-10's numbers.
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

FACTS = {
    # Mean and deviation of all 1,797 digits at 16 pixels; checked by a test.
    "digits": Facts("scikit-learn's digits", tuple("0123456789"), 1, 16, (0.3053,), (0.3187,), flip=False,
                    images={"train": 1438, "test": 359}),
    "cifar10": Facts("CIFAR-10", CIFAR10, 3, 32, CIFAR_MEAN, CIFAR_STD, flip=True, complete={"train": 5000, "test": 1000},
                     fingerprints={"test/1000": "8c747874966f", "train/2000": "442fa3172216"},
                     source=f"torchvision's files, or {FOLDERS}"),
    "cifar100": Facts("CIFAR-100", CIFAR100, 3, 32, CIFAR_MEAN, CIFAR_STD, flip=True, complete={"train": 500, "test": 100},
                      fingerprints={"test/20": "7e09cc6cf827", "train/100": "23daf0e6e3f6"},
                      source=f"torchvision's files, or {FOLDERS}"),
    "imagenette": Facts("Imagenette at 64 pixels, a stand-in for ImageNet-10", IMAGENETTE, 3, 64, IMAGENET_MEAN, IMAGENET_STD,
                        flip=True, augmentation="photo", complete={"train": 400, "test": 100},
                        fingerprints={"test/100": "279f1582b21b", "train/400": "00588f0d5cd4"},
                        source=f"{FOLDERS}, images of 64 x 64 pixels"),
    # ILSVRC 2012 has from 732 to 1,300 training images of a class, and 50 to validate with.
    "imagenet10": Facts("ImageNet-10", IMAGENET10, 3, 224, IMAGENET_MEAN, IMAGENET_STD, flip=True, augmentation="photo",
                        complete={"test": 50}, fingerprints={"test/50": "", "train/732": ""}, test_folder="val", photos=True,
                        source="ImageNet's train/<wnid>/ and val/<wnid>/ as a folder or tar; other classes are passed over"),
}


def facts(name: str) -> Facts:
    """The facts of data set `name`: a known one, or '<title>@<content>' of an imported one. Raises Problem for an unknown one."""
    if name in FACTS:
        return FACTS[name]
    file = data_sets().get(name)
    if file is None:
        raise Problem(_unknown(name))
    return _of_file(file)


@functools.lru_cache(maxsize=64)
def _of_file(file: Path) -> Facts:
    try:
        with safe_open(file, framework="numpy") as held:
            known: dict[str, Any] = json.loads(held.metadata()["facts"])
        fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
        return Facts(**fields)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Problem(f"{file} is damaged ({error}): import it again") from None


def full_name(name: str) -> str:
    """What data set `name` is called in results: itself, or '<title>@<content>' where it is the title of an imported one.

    Raises Problem for an unknown name, which says what is imported and how to import, and for the title of several.
    """
    if name in FACTS or name in (own := data_sets()):
        return name
    found = [full for full in own if full.rsplit("@", 1)[0] == name]
    if len(found) > 1:
        raise Problem(f"'{name}' is the title of {len(found)} imported data sets: say which, {' or '.join(found)}")
    if not found:
        raise Problem(_unknown(name))
    return found[0]


def _unknown(name: str) -> str:
    own, name = sorted(data_sets()), cut(name)
    imported = f"imported: {', '.join(own)}" if own else "none of your own is imported yet"
    return (f"unknown data set '{name}': {nearest(name, [*FACTS, *{full.rsplit('@', 1)[0] for full in own}])} ({imported};"
            f" 'synthprune data import {name.split('@', maxsplit=1)[0]} PATH' imports one)")
