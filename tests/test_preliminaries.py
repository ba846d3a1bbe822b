"""Chapter 02 on hand-made paths, evaluations and sets: what is asked for, what is compared with what, what is not here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from nets import SMALL

from synthprune.book import claims
from synthprune.chapters import distilled_pruning, stability
from synthprune.chapters.entries import subnetwork
from synthprune.chapters.figures import LIGHT
from synthprune.chapters.figures import preliminaries as figures
from synthprune.chapters.overview import set_words, with_each_set
from synthprune.chapters.preliminaries import (
    PAPER,
    PAPER_AGAIN,
    Parameters,
    check_images,
    decode_alone,
    dense,
    measures,
    on_random,
    on_set,
    other_decode,
    path_name,
    requests,
    scenes_not_run,
    sets_not_run,
    shown,
    the_set,
    worths,
)
from synthprune.chapters.settings import parameters, scenes
from synthprune.data.facts import CIFAR10
from synthprune.data.synthetic import SyntheticSet, filed, keep
from synthprune.problems import Problem
from synthprune.results import specs
from synthprune.results.store import Result

pytestmark = pytest.mark.usefixtures("home")

CHAPTER = "02_preliminaries"
LAPTOP = {"profile": SMALL, "seeds": [0, 1, 2]}
NBSP = "\N{NO-BREAK SPACE}"

Rise = Callable[[str, int], tuple[float, float]]
Hit = Callable[[specs.Evaluation, int], float]


def rising(scene: str, seed: int) -> tuple[float, float]:
    """Peaks midway of loss (nats) and error (percentage points): LeNet's low, the others' high."""
    return (0.01, 0.5 + 0.1 * seed) if scene.startswith("lenet300") else (0.2, 8 + seed)


def hit(evaluation: specs.Evaluation, seed: int) -> float:
    """Test accuracy, percent: random images 20, cut 25; a set 10 more and 1 more for each further initialisation."""
    data = evaluation.of.data
    if isinstance(data, specs.Coreset):
        return 20 + 5 * (data.factor > 1) + 2 * seed
    return 30 + 3 * seed


def made(given: dict, rise: Rise = rising, accuracy: Hit = hit,
         test_images: int = 10_000) -> tuple[Parameters, dict[str, Result]]:
    """Paths with the peaks that `rise` gives, evaluations with the accuracies that `accuracy` does, grey sets."""
    p = parameters(Parameters, CHAPTER, given)
    fine = {"collapsed": [], "diverged": False, "train_images": 1000, "test_images": test_images}
    results = {}
    for scene in scenes(p):
        for seed in p.seeds:
            for pair in combinations(p.orders, 2):
                bump = np.zeros(p.points)
                bump[p.points // 2] = 1
                loss, error = rise(scene.scene, seed)
                arrays = {f"{part}_loss": 0.1 + loss * bump for part in ("train", "test")}
                arrays |= {f"{part}_error": 0.2 + error / 100 * bump for part in ("train", "test")}
                results[path_name(scene, seed, pair)] = Result("", arrays, fine, {})
    for name, entry in requests(p).items():
        if isinstance(entry, specs.Evaluation):
            right = accuracy(entry, entry.subnetwork.init_seed)
            results[name] = Result(name, {"test_error": np.array(1 - right / 100)}, fine, {})
        if isinstance(entry, specs.Distilled):
            labels = np.repeat(np.arange(10), entry.ipc)
            results[name] = Result(name, {"images": np.full((len(labels), 1, 16, 16), 0.5, np.float32), "labels": labels}, {}, {})
    assert results.keys() == requests(p).keys()
    return p, results


def without(results: dict[str, Result], *words: str) -> dict[str, Result]:
    return {name: result for name, result in results.items() if not any(word in name for word in words)}


def diverged(results: dict[str, Result], name: str) -> None:
    results[name] = Result(name, results[name].arrays, results[name].metrics | {"diverged": True}, {})


# What is asked for.


def test_paths_are_chapter_fours_and_trainings_are_first_rounds_of_searches() -> None:
    p = parameters(Parameters, CHAPTER, {})
    four = set(stability.requests(parameters(stability.Parameters, "04_stability", {})).values())
    three = set(distilled_pruning.requests(parameters(distilled_pruning.Parameters, "03_distilled_pruning", {})).values())
    asked = requests(p)
    dense_paths = {entry for entry in asked.values() if isinstance(entry, specs.Path)}
    assert len(dense_paths) == 4 and dense_paths <= four
    assert {asked[on_set(p, seed)] for seed in p.seeds} <= three
    for one in with_each_set(p):
        for method, name in (("synthetic", on_set), ("coreset", on_random)):
            assert asked[name(one, 1)].of in specs.closure([subnetwork(one, method, 1, 4)])
    laptop, same = parameters(Parameters, CHAPTER, LAPTOP), parameters(stability.Parameters, "04_stability", LAPTOP)
    cifar = {entry for entry in requests(laptop).values() if isinstance(entry, specs.Path) and entry.dataset.name == "cifar10"}
    assert len(cifar) == 3 and cifar <= set(stability.requests(same).values())


def test_random_images_match_the_set_in_number_decode_and_steps() -> None:
    for given in ({}, LAPTOP):
        p = parameters(Parameters, CHAPTER, given)
        asked = requests(p)
        for one in with_each_set(p):
            ours, other = asked[on_set(one, 1)].of, asked[on_random(one, 1)].of
            assert other.data == specs.Coreset(ipc=one.synthetic_per_class, factor=one.synthetic_factor, seed=1)
            assert (ours.recipe, ours.order_seed, ours.subnetwork) == (other.recipe, other.order_seed, other.subnetwork)
            assert ours.subnetwork.level == 0 and ours.subnetwork.init_seed == 1


def test_the_other_decode_stores_as_many_images_and_takes_as_many_steps() -> None:
    p = parameters(Parameters, CHAPTER, {"synthetic_per_class": 5, "synthetic_factor": 2, "synthetic_epochs": 40, "batch": 64})
    assert (other_decode(p).synthetic_factor, other_decode(p).synthetic_epochs) == (1, 160)  # 4 steps an epoch, then 1
    entry = requests(p)[on_random(other_decode(p), 0)].of
    assert entry.data == specs.Coreset(ipc=5, factor=1, seed=0) and entry.recipe.epochs == 160
    p = parameters(Parameters, CHAPTER, LAPTOP)
    assert (other_decode(p).synthetic_factor, other_decode(p).synthetic_epochs) == (2, 286)  # 2 steps an epoch, then 7


@pytest.mark.parametrize(("given", "words"), [
    ({"synthetic": "coreset"}, "name a synthetic set"), ({"points": 4}, "must be odd"), ({"orders": [0]}, "orders"),
    ({"other_sets": ["mtt50"]}, "mtt50 is not NAME:IMAGES PER CLASS"), ({"scenes": ["lenet-mnist"]}, "no scene 'lenet-mnist'")])
def test_nonsense_is_refused_in_words(given: dict, words: str) -> None:
    with pytest.raises(Problem, match=words):
        parameters(Parameters, CHAPTER, given)


# Stability.


def test_each_network_is_judged_by_its_own_training_error() -> None:
    p, results = made(LAPTOP)
    found = {one.p.scene: one for one in dense(p, results)}
    assert list(found) == ["lenet300-digits", "convnet3-digits", "convnet3-cifar10"]
    assert {scene: one.barriers.verdict for scene, one in found.items()} == {
        "lenet300-digits": "stable", "convnet3-digits": "unstable", "convnet3-cifar10": "unstable"}
    one = found["convnet3-cifar10"]
    assert one.paths.barrier("train_error", "highest") == pytest.approx([8, 9, 10])
    assert one.paths.barrier("train_loss", "midpoint") == pytest.approx([0.2] * 3)
    assert one.paths.rises("train_error")[2] == pytest.approx([0] * 5 + [10] + [0] * 5)
    assert one.paths.rises("train_loss").max() == pytest.approx(0.2)
    assert all(one.barriers.verdict == "demo data decide nothing" for one in dense(*made({})))


def test_pairs_are_averaged_after_their_barriers_are_taken() -> None:
    p, results = made(LAPTOP | {"orders": [0, 1, 2], "scenes": ["convnet3-digits"]})
    for n, pair in enumerate(combinations(p.orders, 2)):
        error = np.full(p.points, 0.2)
        error[1 + n] = 0.5  # the same height at three places
        for seed in p.seeds:
            results[path_name(scenes(p)[0], seed, pair)].arrays["train_error"][:] = error
    one, = dense(p, results)
    assert one.paths.barrier("train_error", "highest") == pytest.approx([30] * 3)
    assert one.paths.rises("train_error")[0, :4] == pytest.approx([0, 10, 10, 10])


def test_the_table_has_both_barriers_with_intervals_and_names_the_stand_in() -> None:
    p, results = made(LAPTOP)
    table = figures.barrier_table(p, results)
    row = next(row for row in table.rows if row[0] == "ConvNet-3 on CIFAR-10")
    assert row[4] == f"9.00 [6.52,{NBSP}11.48]" and row[2].startswith("0.200 [") and row[-1] == "unstable"
    assert "stand in for MNIST" in table.note
    assert "MNIST" not in figures.barrier_table(*made(LAPTOP | {"scenes": ["convnet3-cifar10"]})).note


def test_a_diverged_training_is_named_and_left_out() -> None:
    p, results = made(LAPTOP)
    lenet, first = scenes(p)[0], on_set(p, 1)
    diverged(results, path_name(lenet, 1, (0, 1)))
    diverged(results, first)
    one = dense(p, results)[0]
    assert np.isnan(one.paths.accuracy).tolist() == [False, True, False]
    assert one.barriers.verdict == "no verdict (2 of 3 initialisations)"
    assert "lenet300-digits, initialisation 1: the training diverged" in figures.paths(p, results).caption
    assert figures.barrier_table(p, results).rows[0][0].endswith("(1 of 3 left out)")
    worth = worths(p, results)[0]
    assert np.isnan(worth.gain).tolist() == [False, True, False] and np.isfinite(worth.on_random).all()
    assert f"{first}: the training diverged" in figures.worth_figure(p, results).caption


def test_a_scene_without_data_is_not_shown_and_said_to_be_missing() -> None:
    p, results = made(LAPTOP)
    some = without(results, "convnet3-cifar10: dense")
    assert [one.p.scene for one in dense(p, some)] == ["lenet300-digits", "convnet3-digits"]
    assert scenes_not_run(p, some) == ["convnet3-cifar10"] and scenes_not_run(p, results) == []
    assert "Not run: convnet3-cifar10." in figures.paths(p, some).caption
    assert "Not run" not in figures.paths(p, results).caption
    html = figures.stability(p, some)._repr_html_()
    assert "CIFAR-10" not in html and "LeNet-300-100" in html
    assert "Nothing was measured" in figures.stability(p, without(results, "dense"))._repr_html_()


# What sets are worth.


def test_gains_are_paired_and_the_decode_is_told_apart() -> None:
    p, results = made(LAPTOP)
    assert [set_words(one.p) for one in worths(p, results)] == ["10 per class, mtt10", "1 per class, mtt1", "50 per class, mtt50"]
    one = worths(p, results)[0]
    assert one.on_set == pytest.approx([30, 33, 36]) and one.gain == pytest.approx([10, 11, 12])
    decode = decode_alone(p, results)
    assert decode.factor == 2 and decode.gain == pytest.approx([5] * 3) and decode.whole == pytest.approx([20, 22, 24])
    rows = {row[0]: row[1:] for row in figures.worth_table(p, results).rows}
    assert rows["10 per class, mtt10"] == (f"33.0 [25.5,{NBSP}40.5]", f"11.0 [8.5,{NBSP}13.5]")
    assert rows["10 per class, random real images, decode factor 2"][1] == f"5.0 [5.0,{NBSP}5.0]"
    assert rows["10 per class, random real images, decode factor 1"][1] == ""
    assert len(rows) == 7


def test_with_sets_that_are_cut_the_whole_images_are_still_subtracted() -> None:
    decode = decode_alone(*made({}))
    assert decode.gain == pytest.approx([5, 5]) and decode.cut == pytest.approx([25, 27])
    p, results = made({})
    assert decode_alone(p, without(results, "decode factor 1")) is None
    assert "decode alone" not in figures.worth_figure(p, without(results, "decode factor 1")).panels[1].alt
    assert "decode alone: 5.0" in figures.worth_figure(p, results).panels[1].alt


def test_a_set_without_results_is_named_and_not_replaced() -> None:
    p, results = made(LAPTOP)
    some = without(results, "mtt50")
    assert sets_not_run(p, some) == ["50 per class, mtt50"] and len(worths(p, some)) == 2
    assert "Not run: 50 per class, mtt50." in figures.worth_figure(p, some).caption and sets_not_run(p, results) == []
    alt = figures.worth_figure(p, some).panels[0].alt
    assert "mtt50" not in alt and "mtt10: 33.0" in alt
    assert "Nothing was measured" in figures.worth(p, without(results, "mtt"))._repr_html_()


def test_the_exercise_counts_images() -> None:
    p, results = made(LAPTOP, test_images=2000)  # 11 points of 2,000 images
    right = check_images(220, p, results)
    assert right.startswith("Right: 220.0 of 2000 images") and "from 200 to 240" in right
    assert "sign" in check_images(-220, p, results) and "percentage points" in check_images(11, p, results)
    assert check_images(219, p, results).startswith("Not yet")
    assert check_images(None, p, results) == check_images(True, p, results) == "Give a number of images."
    assert "no answer here" in check_images(220, p, {})
    diverged(results, on_set(p, 0))
    assert "no answer here" in check_images(220, p, results)


# The two numbers.


KIM = {"profile": "paper", "seeds": [0, 1, 2]}


def kims(accuracy: dict[int, float]) -> tuple[Parameters, dict[str, Result]]:
    def told(evaluation: specs.Evaluation, seed: int) -> float:
        data = evaluation.of.data
        return accuracy[data.ipc] + 0.1 * (seed - 1) if isinstance(data, specs.Awaited) else 20.0

    return made(KIM, accuracy=told)


def judged(p: Parameters, results: dict[str, Result]) -> dict[str, str]:
    of, ours = {CHAPTER: measures(p, results)}, [claim for claim in claims.load() if claim.chapter == CHAPTER]
    return {claim.id: claims.evaluate(claim, of, "paper", decides=True).words for claim in ours}


def test_at_most_one_of_the_papers_two_numbers_is_confirmed() -> None:
    here, again = "accuracy-on-distilled-data", "accuracy-on-ten-per-class-again"
    p, results = kims(PAPER)
    offered = measures(p, results)["accuracy_kim_cifar10_50_per_class"]
    assert offered.unit == "percent" and offered.intervals["convnet3-cifar10"].mean == pytest.approx(74.5)
    assert judged(p, results) == {here: "reproduced", again: "contradicted"}
    assert judged(*kims(PAPER | {10: PAPER_AGAIN})) == {here: "contradicted", again: "reproduced"}
    rows = figures.number_table(p, results).rows
    assert [row[2:] for row in rows if "CIFAR-10, 10 per class" in row] == [
        ("67.5", f"67.5 [67.3,{NBSP}67.7]"), ("72.8", f"67.5 [67.3,{NBSP}67.7]")]
    assert ("section 2.4", "ImageNet-10", "72.8 (and 76.6)", "not measured") in rows


def test_only_kims_own_sets_decoded_as_by_them_speak() -> None:
    assert measures(*made(LAPTOP)) == {} and measures(*made({})) == {}
    p, results = kims(PAPER)
    assert measures(p, without(results, "idc50")).keys() == {f"accuracy_kim_cifar10_{n}_per_class" for n in (1, 10)}
    other = {"profile": "paper", "seeds": [0, 1], "other_sets": []}
    assert measures(*made(other)).keys() == {"accuracy_kim_cifar10_10_per_class"}
    for change in ({"synthetic_factor": 1}, {"synthetic_per_class": 20}, {"synthetic": "mtt10-cifar10"},
                   {"synthetic": "idc10-cifar100"}, {"scene": "convnet3-cifar100", "scenes": ["convnet3-digits"]}):
        assert measures(*made(other | change)) == {}
    assert {row[3] for row in figures.number_table(*made(LAPTOP)).rows if row[0] != "this run"} == {"not measured"}


def test_a_set_is_not_kims_by_its_title() -> None:
    """Ours has 16 pixels; theirs has CIFAR-10's own side; and only the profile paper asks for theirs."""
    def filed_as_theirs(profile: str, side: int) -> Parameters:
        images = np.random.default_rng(side).integers(0, 256, (100, 3, side, side), dtype=np.uint8)
        name = keep(SyntheticSet(images, np.repeat(np.arange(10), 10), 2), "idc10-cifar10")
        given = {"synthetic": name, "synthetic_per_class": 10, "synthetic_factor": 2, "other_sets": [], "seeds": [0, 1]}
        p, results = made({"profile": profile} | given)
        offered.append(measures(p, results).keys())
        return p

    offered: list = []
    words = "not one of their sets"
    assert words in figures.source(filed_as_theirs("paper", 16)) and words in figures.source(filed_as_theirs("laptop", 32))
    assert figures.source(filed_as_theirs("paper", 32)).startswith("Kim et al.")
    assert offered == [set(), set(), {"accuracy_kim_cifar10_10_per_class"}]


# Sets with a decode factor of their own.


def test_a_set_may_have_a_decode_factor_of_its_own() -> None:
    given = {"profile": SMALL, "seeds": [0, 1], "synthetic": "idc10", "synthetic_factor": 2, "synthetic_epochs": 100,
             "other_sets": ["mtt10:10:1", "distilled:5:1", "dm10:10"]}
    p, results = made(given)
    sets = with_each_set(p)
    assert [(set_words(one), one.synthetic_factor) for one in sets] == [
        ("10 per class, idc10", 2), ("10 per class, mtt10", 1), ("5 per class, distilled", 1), ("10 per class, dm10", 2)]
    assert [requests(p)[on_random(one, 0)].of.data.factor for one in sets] == [2, 1, 1, 2]
    rows = [row[0] for row in figures.worth_table(p, results).rows]
    assert {"10 per class, idc10", "10 per class, mtt10", "5 per class, distilled", "10 per class, dm10"} < set(rows)
    assert {f"10 per class, random real images, decode factor {factor}" for factor in (1, 2)} < set(rows)
    with pytest.raises(Problem, match="two different sets are both called '10 per class, mtt10'"):
        with_each_set(parameters(Parameters, CHAPTER, given | {"other_sets": ["mtt10:10:1", "mtt10:10:2"]}))


def test_the_gallery_says_how_each_set_is_cut() -> None:
    ours, theirs = kept(factor=2)[0], kept(per_class=2)[0]
    p = parameters(Parameters, CHAPTER, LAPTOP | {"synthetic": ours, "synthetic_factor": 2, "other_sets": [f"{theirs}:2:1"]})
    figure, = (item for _, item in figures.contact_sheets(p, {}).items)
    assert len(figure.panels) == 2 and "trajectories, cut into 2 x 2 tiles; 2 per class" in figure.caption
    assert "trajectories, left whole." in figure.caption
    with pytest.raises(Problem, match=f"or in other_sets {theirs}:2:1"):
        with_each_set(parameters(Parameters, CHAPTER, LAPTOP | {"synthetic": ours, "synthetic_factor": 2,
                                                                "other_sets": [f"{theirs}:2"]}))


# Sheets.


def kept(per_class: int = 10, factor: int = 1, whitened: bool = False) -> tuple[str, np.ndarray]:
    """A set on this machine, its images all different."""
    images = np.random.default_rng(per_class).integers(0, 256, (10 * per_class, 3, 32, 32), dtype=np.uint8)
    return keep(SyntheticSet(images, np.repeat(np.arange(10), per_class), factor, whitened), f"mtt{per_class}"), images


def test_a_sheet_shows_the_files_own_images_and_names_their_source() -> None:
    name, images = kept()
    p = parameters(Parameters, CHAPTER, LAPTOP | {"synthetic": name, "other_sets": []})
    assert shown(p, {}) == pytest.approx(images[::10] / 255)
    sheet = figures.contact_sheets(p, {})
    figure, = (item for _, item in sheet.items)
    assert figure.panels[0].svg(LIGHT).count(b"<image") == 10
    assert "Cazenavette et al. (2022)" in figure.caption and "averaged to 16 pixels" in figure.caption
    assert "Cazenavette" in figure.panels[0].alt and CIFAR10[9] in figure.panels[0].alt


def test_an_absent_set_is_named_with_how_to_get_it_and_nothing_stands_in_its_place() -> None:
    p, results = made(LAPTOP)
    boxes = [item for _, item in figures.contact_sheets(p, results).items]
    assert [box.title for box in boxes] == [f"Not on this machine: {n} per class, mtt{n}" for n in (10, 1, 50)]
    assert "'synthprune data import mtt10 PATH --of cifar10'" in boxes[0].text and "Cazenavette et al. (2022)" in boxes[0].text
    assert not any("<img" in box._repr_html_() for box in boxes) and shown(p, results) is None
    name, _ = kept()
    p = parameters(Parameters, CHAPTER, LAPTOP | {"synthetic": name, "other_sets": ["mtt50:50"]})
    figure, box = (item for _, item in figures.contact_sheets(p, {}).items)
    assert len(figure.panels) == 1 and "mtt50" in box.title


def test_a_set_made_here_is_shown_from_its_result() -> None:
    p, results = made({})
    figure, = (item for _, item in figures.contact_sheets(p, results).items)
    assert len(figure.panels) == 2 and "made here" in figure.caption and "2 x 2" in figure.caption
    assert shown(p, results).shape == (10, 1, 16, 16)
    assert shown(p, without(results, the_set(p))) is None
    box = figures.contact_sheets(p, {}).items[0][1]
    assert "made as soon as the real images are here" in box.text


@pytest.mark.parametrize(("title", "whose"), [
    ("dc10", "Zhao et al. (2021)"), ("idc10-cifar10", "by the method of Kim et al. (2022)"), ("mtt50", "Cazenavette"),
    ("distilled", "made here"), ("mine", "no source for")])
def test_sources_go_by_the_whole_word_of_a_title(title: str, whose: str) -> None:
    assert whose in figures.source(parameters(Parameters, CHAPTER, {"synthetic": title}))


@pytest.mark.parametrize("whitened", [False, True])
def test_a_file_is_read_as_it_was_filed(home: Path, whitened: bool) -> None:
    name, images = kept(factor=2, whitened=whitened)
    assert (filed(name).images == images).all() and (filed(name).factor, filed(name).whitened) == (2, whitened)
    assert filed("mtt10") is None and filed("mtt10@0123456789ab") is None
    file = home / "data" / "synthetic" / f"{name}.safetensors"
    file.rename(file.with_name("mtt10@0123456789ab.safetensors"))
    with pytest.raises(Problem, match="not what its name says"):
        filed("mtt10@0123456789ab")
    file.write_bytes(b"nothing")
    with pytest.raises(Problem, match="is damaged"):
        filed(name)


def test_a_set_of_another_size_or_decode_than_said_is_refused() -> None:
    name, _ = kept(per_class=2, factor=2)
    with pytest.raises(Problem, match=re.escape("stores 2 images per class for decode factor 2: say synthetic_per_class=2")):
        parameters(Parameters, CHAPTER, LAPTOP | {"synthetic": name, "other_sets": []})
    with pytest.raises(Problem, match="ZCA-whitened images"):
        parameters(Parameters, CHAPTER, LAPTOP | {"synthetic": kept(whitened=True)[0]})
    given = {"synthetic": name, "synthetic_per_class": 2, "synthetic_factor": 2, "other_sets": []}
    assert parameters(Parameters, CHAPTER, LAPTOP | given).synthetic == name


def test_a_page_with_sheets_needs_no_torch(home: Path) -> None:
    name, _ = kept()
    code = ("import sys; from synthprune.chapters.preliminaries import Parameters;"
            "from synthprune.chapters.figures import preliminaries as f;"
            "from synthprune.chapters.settings import parameters;"
            f"p = parameters(Parameters, '{CHAPTER}', {{'profile': '{SMALL}', 'synthetic': '{name}'}});"
            "assert '<img' in f.contact_sheets(p, {})._repr_html_(); f.sparsity_kinds()._repr_html_();"
            "assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)


def test_both_drawn_kinds_keep_as_many_weights() -> None:
    rows = figures.sparsity_kinds().rows[1:]
    kept = {kind: [row for row in rows if row[0] == kind and row[4]] for kind in ("dense", "unstructured", "structured")}
    assert {kind: len(rows) for kind, rows in kept.items()} == {"dense": 64, "unstructured": 32, "structured": 32}
    assert len({row[1] for row in kept["structured"]}) == 4 and len({row[1] for row in kept["unstructured"]}) == 8
