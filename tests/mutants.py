"""One-line mutants, each of which must make a test fail: `python tests/mutants.py [word]`.

Every mutant is applied to a copy of the package and the tests named with it are run there. A mutant that survives, or
whose line does not stand once in the source, is a fault of the tests and ends this with status 1; so are tests that fail
without any mutant.
"""

from __future__ import annotations

import compileall
import importlib
import os
import py_compile
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARIES = ("torch", "torch._dynamo", "torchvision", "pandas", "scipy.stats", "sklearn.datasets", "matplotlib.figure", "typer",
             "distributed")
"""Loaded once, for every trial."""


@dataclass(frozen=True)
class Mutant:
    what: str
    file: str
    line: str
    instead: str
    tests: str


MUTANTS = [
    Mutant("norms not rewound", "pruning.py", 'for k in initial} if rewind == "weights" else initial', "for k in initial}",
           "test_pruning.py -k full_rewind"),
    Mutant("biases and norms rewound in weights mode", "pruning.py", "initial[k] if k in masks else trained[k]", "initial[k]",
           "test_pruning.py -k weights_rewind"),
    Mutant("mask dropped on the path", "analysis/connectivity.py", "return apply_masks(blend, masks)", "return blend",
           "test_connectivity.py -k mask"),
    Mutant("mask dropped in the update", "training.py", "gradient = gradient * masks[name]", "pass",
           "test_training.py -k pruned_weights"),
    Mutant("weight decay keeps pruned weights alive", "training.py", "parameters[name].mul_(mask)", "pass",
           "test_training.py -k pruned_weights"),
    Mutant("one weight too many pruned", "pruning.py", "left -= round(fraction * left)", "left -= round(fraction * left) + 1",
           "test_pruning.py -k counts"),
    Mutant("pruned weights return", "pruning.py", "score[~alive] = torch.inf", "alive[:] = True", "test_pruning.py -k stay"),
    Mutant("a mean speaks on the front page", "book/findings.py", "if self.of.low > self.ask.line:",
           "if self.of.mean > self.ask.line:", "test_findings.py -k words_follow"),
    Mutant("survivors speak on the front page", "book/findings.py", "if self.of.n < self.planned:", "if False:",
           "test_findings.py -k fewer_initialisations"),
    Mutant("either error speaks on the front page", "book/questions.py", "*training error", "*error",
           "test_findings.py -k another_scene"),
    Mutant("what is under way cannot be told", "book/claims.py", 'UNFINISHED if waits else', "",
           "test_findings.py -k central_claim"),
    Mutant("a claim holds while scenes are to come", "book/claims.py", 'if coming := "" if settled else',
           'if coming := "" if True else', "test_claims.py -k every_scene"),
    Mutant("what was gone on from is changed", "training.py", "resume.losses.to(device, copy=True)", "resume.losses.to(device)",
           "test_training.py -k not_noticed"),
    Mutant("what is begun was not run", "book/claims.py", '"" if settled else _so_far(claim, measured, profile)', '""',
           "test_claims.py -k still_to_come"),
    Mutant("hard labels before soft ones", "data/tensors.py", "fitting = named + soft", "fitting = named",
           "test_published.py -k beside_soft"),
    Mutant("norms stay in SynFlow", "pruning.py", "plain.set_submodule(name, nn.Identity())", "pass",
           "test_criteria.py -k same_flow"),
    Mutant("SNIP without the weight", "criteria.py", "(weight * torch.as_tensor(weight.grad))", "torch.as_tensor(weight.grad)",
           "test_criteria.py -k slope"),
    Mutant("SynFlow on a linear schedule", "criteria.py", "(kept / total) ** (done / SYNFLOW_ROUNDS)",
           "(1 - (1 - kept / total) * done / SYNFLOW_ROUNDS)", "test_criteria.py -k same_share"),
    Mutant("decoded images counted as stored", "costs.py", "run * stored, run * decoded", "run * decoded, run * decoded",
           "test_costs.py -k 150"),
    Mutant("a counter that wraps", "machine.py", "(new - old) % counter.wraps", "(new - old)", "test_costs.py -k wraps"),
    Mutant("survivors speak for those left out in the ledger", "book/statements.py", "1.0 if measure.untold(label) else min(",
           "min(", "test_claims.py -k lost"),
    Mutant("a mean decides instead of its interval", "stats.py", "    if not half or np.isinf(line):", "    if True:",
           "test_claims.py -k whole_intervals"),
    Mutant("one extreme of many labels decides", "stats.py", "(len(ps) - done) * ps[which]", "ps[which]",
           "test_claims.py -k ten_labels"),
    Mutant("conditions against a claim are corrected apart", "book/claims.py", "corrected = holm([p for *_, p in against])",
           "corrected = [p for *_, p in against]", "test_claims.py -k corrected_together"),
    Mutant("hypotheses are corrected apart", "book/claims.py", "holm([finding.least, *others])[0]", "finding.least",
           "test_claims.py -k hypotheses_are_corrected"),
    Mutant("one error of two decides a case", "book/statements.py", 'label.rpartition(",")[0]', "label",
           "test_claims.py -k both_errors"),
    Mutant("claims that cannot fail are let in", "book/claims.py", "== state for measures", "!= None for measures",
           "test_claims.py -k malformed"),
    Mutant("prose may state another verdict", "book/scoreboard.py", "elif words != judgements[name].words:", "elif not words:",
           "test_claims.py -k verdict_of_its_own"),
    Mutant("a ratio over a denominator that may be zero", "stats.py",
           "if bottom.low <= 0 <= bottom.high or (below == 0).any():", "if (below == 0).any():", "test_stats.py -k denominator"),
    Mutant("CutMix weights swapped", "training.py", "return weight * F.cross_entropy(logits, labels) + (1 - weight)",
           "return (1 - weight) * F.cross_entropy(logits, labels) + weight", "test_training.py -k cutmix_weighs"),
    Mutant("CutMix weight of the wrong area", "data/augment.py", "1 - float((bottom - top)", "float((bottom - top)",
           "test_augment.py -k cutmix"),
    Mutant("mirrored after the move", "data/augment.py", "matrix[0] *=", "matrix[:, 0] *=", "test_augment.py -k mirrored"),
    Mutant("moved by half the pixels", "data/augment.py", "x=right * (2 / side)", "x=right / side",
           "test_augment.py -k whole_pixels"),
    Mutant("augmentation unseeded", "training.py", 'generator(order_seed, "augment", step)', "np.random.default_rng()",
           "test_training.py -k same_order"),
    Mutant("order seed ignored in the order", "training.py", 'generator(order_seed, "order", epoch)',
           'generator(0, "order", epoch)', "test_training.py -k order_seed_decides"),
    Mutant("order seed ignored in the augmentation", "training.py", 'generator(order_seed, "augment", step)',
           'generator(0, "augment", step)', "test_training.py -k augmentation_alone"),
    Mutant("batch-norm statistics of one end only", "analysis/connectivity.py",
           "torch.lerp(a, second[name], beta) if a.is_floating_point()",
           'torch.lerp(a, second[name], beta) if a.is_floating_point() and "running" not in name',
           "test_connectivity.py -k interpolated_statistics"),
    Mutant("statistics not recomputed", "analysis/connectivity.py", "norm.reset_running_stats()", "pass",
           "test_connectivity.py -k statistics"),
    Mutant("barrier without subtracting the ends", "analysis/barriers.py", "return values.max(-1) - ends(values)",
           "return values.max(-1)", "test_connectivity.py -k by_hand"),
    Mutant("midpoint barrier without subtracting the ends", "analysis/barriers.py",
           "return values[..., values.shape[-1] // 2] - ends(values)", "return values[..., values.shape[-1] // 2]",
           "test_connectivity.py -k by_hand"),
    Mutant("test for train", "analysis/connectivity.py", "(*on_train.at(state), *on_test.at(state))",
           "(*on_test.at(state), *on_test.at(state))", "test_connectivity.py -k mistaken"),
    Mutant("stale entry read as fresh", "results/values.py", '{"kind": self.kind, "version": self.version, "fields"',
           '{"kind": self.kind, "fields"', "test_store.py -k read_as_fresh"),
    Mutant("staleness forgotten", "results/specs.py", "return version < versions().get(kind, version + 1)", "return False",
           "test_store.py -k stale"),
    Mutant("damage not noticed", "results/result.py", "!= expected:", "is None:", "test_store.py -k damage"),
    Mutant("one initialisation decides", "stats.py", 'return "" if of.known else', 'return "" if True else',
           "test_stats.py -k one_init"),
    Mutant("demo data decide", "stats.py", "if not decides:", "if False:", "test_stats.py -k demo_data"),
    Mutant("interval of a deviation, not of a mean", "stats.py", "finite.std(ddof=1) / np.sqrt(n)", "finite.std(ddof=1)",
           "test_stats.py -k covers"),
    Mutant("highest point of the mean curve", "chapters/paths.py", "BARRIERS[which](self.each(quantity)).mean(1)",
           "BARRIERS[which](self.each(quantity).mean(1))", "test_stability.py -k pair_by_pair"),
    Mutant("a verdict before all that were planned", "chapters/stability.py", "of.barriers(decides(p), len(p.planned))",
           "of.barriers(decides(p), len(p.seeds))", "test_partial.py -k verdict_waits"),
    Mutant("a scene's own number of initialisations ignored", "stats.py", "self.intervals[label].planned or self.initialisations",
           "self.initialisations", "test_partial.py -k verdict_waits"),
    Mutant("a scene shown with what it does not have", "chapters/paths.py", "if all(name in results", "if any(name in results",
           "test_partial.py -k both_have"),
    Mutant("survivors decide", "stats.py", "if of.n < initialisations:", "if False:", "test_stability.py -k diverged"),
    Mutant("failed notebook published", "book/build.py", 'if output["output_type"] == "error":', "if False:",
           "test_gate.py -k failed"),
    Mutant("unexecuted cell published", "book/build.py", 'cell.get("execution_count") is None', "False",
           "test_gate.py -k executed"),
    Mutant("decode order of images and crops swapped", "data/synthetic.py", "permute(0, 3, 4, 1, 2, 5, 6)",
           "permute(0, 1, 3, 4, 2, 5, 6)", "test_data.py -k decode"),
    Mutant("a ratio over a barrier below zero taken for an order", "chapters/overview.py",
           'and stats.interval(self.imp["loss"]).mean > 0)', ")", "test_overview.py -k orders_nothing"),
    Mutant("largest synthetic set less smallest", "chapters/overview.py", "return (alike[0], alike[-1])",
           "return (alike[-1], alike[0])", "test_overview.py -k ledger"),
    Mutant("chance not taken off an overlap", "chapters/discussion.py", "return self.jaccard - self.chance_jaccard",
           "return self.jaccard", "test_discussion.py -k counting_and_drawing"),
    Mutant("energy of the synthetic set counted as a search's", "chapters/discussion.py",
           "for one in whole if not isinstance(one, specs.Made)]", "for one in whole]", "test_discussion.py -k energy"),
    Mutant("the second search is the first", "chapters/discussion.py", '{"search_seed": p.second_seed}',
           '{"search_seed": p.search_seed}', "test_discussion.py -k only_second"),
    Mutant("ReLU ignored along a weight", "analysis/hessian.py", "gate = (outputs > 0) *", "gate = (outputs > -1e9) *",
           "test_hessian.py -k double_backward"),
    Mutant("norm's second derivative", "analysis/hessian.py", "3 * along.square() - variance", "along.square() - variance",
           "test_hessian.py -k double_backward"),
    Mutant("Gauss-Newton shortcut for instance norm", "analysis/hessian.py", 'return "instance norm"',
           'return "piecewise linear"', "test_hessian.py -k double_backward"),
    Mutant("pruned weights keep a curvature", "analysis/hessian.py",
           "(value / len(images)).masked_fill(~masks[name], 0).cpu()", "(value / len(images)).cpu()",
           "test_hessian.py -k pruned_weight"),
    Mutant("eigenvalue over pruned weights too", "analysis/hessian.py", "alive = torch.cat([mask.flatten() for",
           "alive = torch.cat([mask.flatten() | True for", "test_hessian.py -k leading_eigenvalue"),
    Mutant("saturation about the image's grey, not the pixel's", "data/photo.py", "(s * images + (1 - s) * grey)",
           "(s * images + (1 - s) * level)", "test_photo.py -k torchvisions_in_any_order"),
    Mutant("crop enlarged beyond its edge", "data/photo.py", "np.clip(places, 0, size[..., None] - 1)", "places",
           "test_photo.py -k crops_are_torchvisions"),
    Mutant("test images whitened by their own mean", "data/whitening.py", "((rows - mean) @ matrix).float()",
           "((rows - rows.mean(0)) @ matrix).float()", "test_data.py -k numpys"),
    Mutant("whitened set taken for pixels", "data/synthetic.py", "if synthetic.whitened != whitened:", "if False:",
           "test_published.py -k own_space"),
    Mutant("partial test set taken for the whole", "data/datasets.py", "if whole not in (None, fewest):",
           "if split == 'train' and whole not in (None, fewest):", "test_data.py -k every_form_of_cifar10"),
    Mutant("plane not centred", "analysis/landscape.py", "np.linalg.svd(flat - flat.mean(0), full", "np.linalg.svd(flat, full",
           "test_landscape.py -k projections"),
    Mutant("mask dropped on the plane", "analysis/landscape.py", "[apply_masks(state, masks) for state in states]",
           "list(states)", "test_landscape.py -k masks_hold"),
    Mutant("negative variance on the plane", "analysis/landscape.py", "value.clamp(min=0) if", "value if",
           "test_landscape.py -k statistics_are_possible"),
    Mutant("deviation of images for the standard error of a mean", "analysis/landscape.py",
           "each.std(1) / each.shape[1] ** 0.5", "each.std(1)", "test_landscape.py -k models_are_their_own"),
    Mutant("a sum's terms permuted apart", "analysis/alignment.py", "groups[group] += groups.pop(other)", "pass",
           "test_alignment.py -k leaves_the_function"),
    Mutant("running statistics left behind by a permutation", "analysis/alignment.py",
           "for name, value in module.state_dict().items() if value.ndim]", "for name, value in module.named_parameters()]",
           "test_alignment.py -k leaves_the_function"),
    Mutant("permutation found the wrong way round", "analysis/alignment.py", "linear_sum_assignment(similarity, maximize",
           "linear_sum_assignment(similarity.T, maximize", "test_alignment.py -k recovered"),
    Mutant("one pass of weight matching", "analysis/alignment.py", "found[name], improved = best, True", "found[name] = best",
           "test_alignment.py -k recovered"),
    Mutant("null with replacement", "analysis/masks.py", "(layer.first - k) * (layer.second - k)",
           "layer.first * (layer.second - k)", "test_masks.py -k every_pair"),
    Mutant("least common survivors forgotten", "analysis/masks.py", "max(0, layer.first + layer.second - layer.size)", "0",
           "test_masks.py -k every_pair"),
    Mutant("retraining takes the search's epochs", "chapters/entries.py", "recipe=recipe(p, p.epochs), order_seed",
           "recipe=recipe(p, p.round_epochs), order_seed", "test_controls.py -k recipe_of_its_own"),
    Mutant("difference to the wrong side", "chapters/controls.py", '"like synthetic", "synthetic", {"error": ""}',
           '"synthetic", "like synthetic", {"error": ""}', "test_controls.py -k paired"),
    Mutant("a slope through the lengths that happen to be there", "chapters/controls.py", "np.isfinite(heights).all(0)",
           "np.isfinite(heights).any(0)", "test_controls.py -k planned"),
    Mutant("a verdict on some of the planned initialisations", "chapters/controls.py", "out_of(len(values))",
           "out_of(int(np.isfinite(values).sum()))", "test_controls.py -k planned"),
    Mutant("steps matched to images, not to steps", "chapters/entries.py",
           "round(epochs * -(-images // p.batch) / -(-on // p.batch))", "round(epochs * images / on)",
           "test_controls.py -k matched_steps"),
    Mutant("a stopped training decides its engine by its own length", "results/plan.py", "steps = entry.recipe.epochs *",
           "steps = (entry.stop_epoch or entry.recipe.epochs) *", "test_engine.py -k stops_early"),
    Mutant("instance norm's slope", "block.c", "- (q[c] - mean[c]) * along[c]", "+ (q[c] - mean[c]) * along[c]",
           "test_engine.py -k rewritten"),
    Mutant("a diverged training looks sound", "block.c", "return y < 0 ? 0 : y;", "return y > 0 ? y : 0;",
           "test_engine.py -k not_a_number"),
    Mutant("rewritten where nothing compiles", "engine.py", "if not works() or any(", "if any(",
           "test_engine.py -k no_compiler_works"),
    Mutant("a ticket later than the last level run", "chapters/lottery_tickets.py", "(imp == p.last_level) & (",
           "(imp > p.last_level) & (", "test_lottery_tickets.py -k last_level_run"),
    Mutant("the decode's gain turned round", "chapters/preliminaries.py", "return self.cut - self.whole",
           "return self.whole - self.cut", "test_preliminaries.py -k told_apart"),
    Mutant("a set speaks for Kim et al.'s in any decode", "chapters/preliminaries.py", "int(title[1]), 2)",
           "int(title[1]), p.synthetic_factor)", "test_preliminaries.py -k kims_own"),
    Mutant("a file's name is believed", "data/synthetic.py", '!= full.rsplit("@", maxsplit=1)[-1]:', '== "":',
           "test_preliminaries.py -k as_it_was_filed"),
    Mutant("the error barrier taken midway", "chapters/paths.py",
           'self.barrier("train_error", "highest")', 'self.barrier("train_error", "midpoint")',
           "test_introduction.py -k both_barriers"),
    Mutant("weights of both masks counted as one's own", "chapters/introduction.py", '"synthetic": of.first - of.both',
           '"synthetic": of.first', "test_introduction.py -k shares_count"),
    Mutant("the colours of the two masks exchanged", "chapters/figures/introduction.py", "(first + 2 * second.astype(int))",
           "(2 * first + second.astype(int))", "test_introduction.py -k has_the_colour"),
    Mutant("the paper's network at half its width", "profiles/paper.yaml", "width: 128", "width: 64",
           "test_paper_profile.py -k prunable_weights"),
    Mutant("trainings behind a result left out of the plan", "chapters/budget.py", "sum(map(flops, whole)), [",
           "sum(map(flops, requests.values())), [", "test_paper_profile.py -k counted_by_hand"),
    Mutant("a busy machine taken for a slow one", "machine.py", "else time.process_time()", "else time.perf_counter()",
           "test_plan.py -k others_do"),
    Mutant("compiled work at the eager rate", "results/plan.py", "used(compiles(entry)))", "used(False))",
           "test_plan.py -k engine_that_runs"),
]


@dataclass(frozen=True)
class Trial:
    """Some tests in a copy of the package: with one line changed, or, to know that they pass otherwise, with none."""

    tests: str
    mutant: Mutant | None = None

    def fault(self, status: int) -> str:
        """What pytest's exit status says against the tests; empty where it is as it must be."""
        if self.mutant is None:
            return f"{self.tests}: pytest ends with {status} without any mutant" if status else ""
        # 1 is 'a test failed'; 5 'none was chosen', 2 to 4 'the run itself broke': neither kills a mutant.
        return {0: "every test passes", 1: ""}.get(status, f"pytest ended with {status}")


def tried(trials: list[Trial], bases: list[Path]) -> Iterator[tuple[Trial, int]]:
    """Every trial with its exit status, as they end; as many at a time as there are copies to try them in."""
    waiting, free, running = deque(trials), list(bases), {}
    while waiting or running:
        while waiting and free:
            trial, base = waiting.popleft(), free.pop()
            put(trial.mutant, base)
            running[begun(trial.tests, base)] = trial, base
        child, status = os.wait()
        trial, base = running.pop(child)
        put(trial.mutant, base, changed=False)
        free.append(base)
        yield trial, os.waitstatus_to_exitcode(status)


def put(mutant: Mutant | None, base: Path, changed: bool = True) -> None:
    """Write the mutant's line into a copy, or the one that was there."""
    if mutant:
        text = (ROOT / "synthprune" / mutant.file).read_text()
        (base / "synthprune" / mutant.file).write_text(text.replace(mutant.line, mutant.instead) if changed else text)


def begun(tests: str, base: Path) -> int:
    """Begin pytest in a child of this process, which has loaded the libraries but nothing of the package; its number."""
    if child := os.fork():
        return child
    file, _, choice = tests.partition(" -k ")
    status: int = pytest.ExitCode.INTERNAL_ERROR
    try:
        os.chdir(base)
        sys.path.insert(0, str(base))
        os.environ |= {"PYTHONPATH": str(base), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.dont_write_bytecode = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        status = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-k", choice, str(base / "tests" / file)])
    finally:
        os._exit(status)


def copied(base: Path) -> Path:
    for part in ("synthprune", "tests", "notebooks", "book"):
        shutil.copytree(ROOT / part, base / part, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
    for file in ("pyproject.toml", "_config.yml"):
        shutil.copy2(ROOT / file, base / file)
    # By content: a changed file is read anew, and all others need not be.
    compileall.compile_dir(base / "synthprune", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    return base


def main() -> int:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [mutant for mutant in MUTANTS if word in mutant.what]
    faults = [f"{mutant.what}: its line stands {count} times in {mutant.file}, not once" for mutant in chosen
              if (count := (ROOT / "synthprune" / mutant.file).read_text().count(mutant.line)) != 1]
    trials = [Trial(tests) for tests in dict.fromkeys(mutant.tests for mutant in chosen)]
    trials += [Trial(mutant.tests, mutant) for mutant in chosen]
    for library in LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as folder:
        for trial, status in tried(trials, [copied(Path(folder) / name) for name in ("one", "two")]):
            fault, what = trial.fault(status), trial.mutant.what if trial.mutant else ""
            faults += [f"{what}: {fault}" if what else fault] if fault else []
            if fault or what:
                print(f"{'SURVIVES' if fault else 'killed':>8}  {what}{': ' * bool(what and fault)}{fault}", flush=True)
    print("\n".join([*faults, f"{len(chosen)} mutants, {len(faults)} faults"]))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
