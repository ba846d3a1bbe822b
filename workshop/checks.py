"""The checkers of the exercises: each says in words what is wrong with an answer, and nothing where it is right.

A checker tries an answer on examples of its own. Where several mistakes are usual, it looks for each and names it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from synthprune import prune_by_magnitude, rewound
from synthprune.analysis.barriers import highest_barrier, midpoint_barrier
from synthprune.models import Masks, State
from synthprune.seeds import generator
from synthprune.stats import STABLE_BELOW, Interval, interval

Answer = Callable[..., Any]
NOT_YET = "not answered yet"


class _Missing(Exception):
    """A function of the learner returns nothing: its gap is not filled."""


def why(number: int, answer: Any) -> str:
    """What is wrong with an answer to an exercise; "" where it is right."""
    if answer is None or answer is ...:
        return NOT_YET
    try:
        return EXERCISES[number](answer)
    except _Missing:
        return NOT_YET
    except Exception as error:
        return f"your lines stop with {type(error).__name__}: {error}"


def check(number: int, answer: Any) -> None:
    """Print whether an answer is right, or why it is not."""
    fault = why(number, answer)
    print(f"Exercise {number}: {fault or 'right.'}")
    for letter, (allowed, reason) in CHOICES.get(number, {}).items() if not fault else ():
        print(f"  {letter}, {'yes' if allowed else 'no'}: {reason}")


def _called(answer: Answer, *values: Any) -> Any:
    given = answer(*values)
    if given is None or given is ...:
        raise _Missing
    return given


# Lesson 1: prune.


def _layers() -> tuple[State, Masks]:
    """Two layers of different scale and both signs, three weights pruned before. Each mistake leaves another number."""
    weights = {"large": torch.tensor([-3.0, 2.5, -0.4, 2.0, 1.5]), "small": torch.tensor([0.3, -0.2, 0, 0.6, 0.1, 0, 0])}
    return weights, {name: value != 0 for name, value in weights.items()}


def _masks_fault(given: Any, masks: Masks) -> str:
    if not isinstance(given, dict) or given.keys() != masks.keys():
        return f"return a dictionary with one mask for each of {', '.join(masks)}"
    for name, mask in masks.items():
        if not isinstance(given[name], torch.Tensor) or given[name].dtype != torch.bool or given[name].shape != mask.shape:
            return f"the mask of '{name}' must be a bool tensor of shape {tuple(mask.shape)}"
    return ""


def prune_by_hand(answer: Answer) -> str:
    weights, masks = _layers()
    given = _called(answer, {k: v.clone() for k, v in weights.items()}, {k: v.clone() for k, v in masks.items()}, 1 / 3)
    if fault := _masks_fault(given, masks):
        return fault
    left, sizes = sum(int(mask.sum()) for mask in given.values()), "smallest means nearest to zero, so compare absolute values"
    if any((given[name] & ~mask).any() for name, mask in masks.items()):
        return "a weight that was pruned before has come back: what is pruned stays pruned"
    third = f"a third of the 9 weights that are left is 3, and you leave {left} of them"
    if not given["large"][0]:
        return f"the weight -3.0 is gone: {sizes}"
    if left < 6:
        return f"{third}: too many are gone"
    if not given["large"].all():
        return "each layer loses a share of its own: compare the weights of all layers together"
    if left == 7:
        return "one too many stays: the k-th smallest goes too, so keep what is larger than it"
    if left == 8:
        return f"{third}: do not count the weights that were pruned before among the smallest"
    if left == 9:
        return f"{third}: none is gone; if your limit is negative, {sizes}"
    right = prune_by_magnitude(weights, masks, 1 / 3)
    return "" if all(torch.equal(given[k], right[k]) for k in right) else "a weight is gone although a smaller one stays"


def level_to_sparsity(answer: Answer) -> str:
    for level, fraction in ((1, 0.2), (4, 0.2), (9, 0.2), (3, 0.5)):
        given, left = float(_called(answer, level, fraction)), (1 - fraction) ** level
        if abs(given - (1 - left)) < 1e-9:
            continue
        where = f"level {level} at a fraction of {fraction}"
        if abs(given - left) < 1e-9:
            return f"{where}: {given:.3f} is the share that is left; sparsity is the share that is gone"
        if abs(given - fraction * level) < 1e-9:
            return f"{where}: {given:.2f} takes the same number away in every round; a round takes a fraction of what is left"
        if abs(given - 100 * (1 - left)) < 1e-6:
            return f"{where}: {given:.1f} is in percent; give a fraction between 0 and 1"
        return f"{where}: {given:.3f} is not the share of weights that is gone"
    return ""


def _searched() -> tuple[State, State, Masks]:
    """A start, what training made of it, and the masks of the next level."""
    rng = torch.Generator().manual_seed(5)
    initial = {"conv.weight": torch.randn(6, generator=rng), "conv.bias": torch.zeros(2), "norm.weight": torch.ones(2)}
    trained = {name: value + 0.5 + torch.rand(value.shape, generator=rng) for name, value in initial.items()}
    return initial, trained, {"conv.weight": torch.tensor([True, False, True, True, False, True])}


def _way(state: State) -> str:
    """How a state of `_searched` was rewound: full, weights, none, or unmasked."""
    initial, trained, masks = _searched()
    ways = {"full": rewound(initial, trained, masks, "full"), "weights": rewound(initial, trained, masks, "weights"),
            "none": rewound(trained, trained, masks, "full"), "unmasked": initial, "trained": trained}
    for way, right in ways.items():
        if all(torch.equal(state[name], value) for name, value in right.items()):
            return way
    return "other"


def rewind_by_hand(answer: Answer) -> str:
    initial, trained, masks = _searched()
    kept = {name: value.clone() for name, value in initial.items()}
    given = _called(answer, initial, trained, masks)
    if not isinstance(given, dict) or given.keys() != initial.keys():
        return f"return a dictionary with a tensor for each of {', '.join(initial)}"
    if any(not torch.equal(kept[name], value) for name, value in initial.items()):
        return "your lines change the initial values themselves, and the next round needs them: make new tensors"
    return {"full": "", "unmasked": "pruned weights are not zero: apply the masks",
            "weights": "biases and norms keep what training taught them: full rewinding takes everything back",
            "none": "these are the trained values: the subnetwork must begin where the dense network began",
            "trained": "these are the trained values, and pruned weights are not zero",
            "other": "neither the initial nor the trained values: take every tensor from the initial state, under its mask",
            }[_way(given)]


def rewound_states() -> dict[str, State]:
    """Three states for exercise 4, by letter."""
    initial, trained, masks = _searched()
    made = [rewound(initial, trained, masks, "full"), rewound(initial, trained, masks, "weights"),
            rewound(trained, trained, masks, "full")]
    return dict(zip("ABC", (made[i] for i in generator(11, "workshop").permutation(3)), strict=True))


def tell_rewinding(answer: Mapping[str, str]) -> str:
    states = rewound_states()
    if not isinstance(answer, Mapping):
        return "return a dictionary of letter and word"
    if answer.keys() != states.keys():
        return "give a word for each of A, B and C"
    unknown = [word for word in answer.values() if word not in ("full", "weights", "none")]
    if unknown:
        return f"'{unknown[0]}' is none of the words: full, weights, none"
    look = {"full": "everything in it is as it was at the start", "weights": "compare its biases and norms with the initial ones",
            "none": "compare its surviving weights with the initial ones"}
    wrong = [letter for letter, state in states.items() if answer[letter] != _way(state)]
    return f"{wrong[0]} was rewound in another way: {look[_way(states[wrong[0]])]}" if wrong else ""


# Lesson 2: barriers.


def between(answer: Answer) -> str:
    first = {"weight": torch.tensor([0.0, 2.0]), "bias": torch.tensor([1.0])}
    second = {"weight": torch.tensor([4.0, 0.0]), "bias": torch.tensor([3.0])}
    for beta in (0.0, 1.0, 0.5, 0.25):
        one, two = ({name: value.clone() for name, value in state.items()} for state in (first, second))
        given = _called(answer, one, two, beta)
        if any(not torch.equal(mine[name], state[name]) for mine, state in ((one, first), (two, second)) for name in state):
            return "your lines change the two networks themselves, and the next point needs them: make new tensors"
        if not isinstance(given, dict) or given.keys() != first.keys():
            return "return a dictionary with the same names: the biases are parameters too"
        at = [float(given["weight"][0]) / 4, 1 - float(given["weight"][1]) / 2, (float(given["bias"][0]) - 1) / 2]
        if np.allclose(at, beta):
            continue
        if np.allclose(at, 1 - beta):
            return f"beta = {beta} gives the point at {1 - beta}: beta = 0 is the first network, beta = 1 the second"
        if np.allclose(at, 0.5):
            return f"beta = {beta} gives the middle: beta says where on the line"
        return f"beta = {beta}: the weights are not (1 - beta) of the first and beta of the second"
    return ""


def _pair(given: Any) -> tuple[Any, Any] | None:
    """The two values of an answer; None where there are not two."""
    try:
        first, second = given
    except (TypeError, ValueError):
        return None
    return first, second


def two_barriers(answer: Answer) -> str:
    for losses in ([0.15, 0.4, 0.3, 0.1, 0.25], [0.5, 0.2, 0.1, 0.2, 0.3]):
        curve = np.array(losses)
        if (pair := _pair(_called(answer, curve.copy()))) is None:
            return "return two values: the barrier at the midpoint and the highest"
        given = [float(value) for value in pair]
        ends, right = (curve[0] + curve[-1]) / 2, (midpoint_barrier(curve), highest_barrier(curve))
        if np.allclose(given, right):
            continue
        usual = {(curve[2], curve.max()): "a barrier is a height above the ends: take away the mean of the two ends",
                 (right[1], right[0]): "the two are in the other order: the midpoint first",
                 (curve[2] - curve[0], curve.max() - curve[0]): "the ends differ: take away their mean, not the first end",
                 (curve[2] - curve.min(), curve.max() - curve.min()): "a barrier stands above the mean of the ends, not above the"
                 " lowest point of the path", (max(right[0], 0), max(right[1], 0)): "the path may dip below its ends: leave a"
                 " negative barrier negative"}
        said = [words for wrong, words in usual.items() if np.allclose(given, wrong)]
        numbers = f"for {losses} with ends of mean {ends:.2f}: {given[0]:.3f} and {given[1]:.3f}"
        return said[0] if said else f"{numbers} are not the heights"
    return ""


def in_points(answer: Answer) -> str:
    for error, barrier in (([0.10, 0.13, 0.10], 3.0), ([0.10, 0.15, 0.12, 0.10, 0.12], 4.0), ([0.02, 0.03, 0.02], 1.0),
                           ([0.10, 0.10, 0.10], 0.0), ([0.0, 0.02, 0.0], STABLE_BELOW)):
        if (pair := _pair(_called(answer, np.array(error)))) is None:
            return "return two values: the barrier in points, and whether it is below the line"
        points, stable = pair
        if not isinstance(stable, bool | np.bool_):
            return f"the second value must be True or False, and you give {stable!r}"
        if np.isclose(points, barrier / 100) and barrier:
            return f"{points:.3f} is a fraction: the line of {STABLE_BELOW:.0f} is drawn in percentage points, a hundred to one"
        if not np.isclose(points, barrier):
            return f"errors {error}: the barrier is not {points:.3f} points; it is the highest error less the mean of the ends"
        if bool(stable) != (barrier < STABLE_BELOW):
            side = "below" if barrier < STABLE_BELOW else "above" if barrier > STABLE_BELOW else "on, and not below,"
            return f"a barrier of {barrier:.1f} points is {side} the line of {STABLE_BELOW:.0f} points"
    return ""


def which_barrier(answer: Any) -> str:
    return _chosen(8, answer)


# Lesson 3: controls.


def random_masks(answer: Answer) -> str:
    rng = np.random.default_rng(3)
    masks = {"first": torch.from_numpy(rng.random((8, 9)) < 0.8), "last": torch.from_numpy(rng.random((10, 16)) < 0.2)}
    masks |= {"twin": masks["first"].flip(0), "copy": masks["first"].clone()}
    lent = [{name: mask.clone() for name, mask in masks.items()} for _ in range(3)]
    given, again, other = (_called(answer, own, seed) for own, seed in zip(lent, (0, 0, 1), strict=True))
    if any(not torch.equal(own[name], mask) for own in lent for name, mask in masks.items()):
        return "your lines change the masks that they were given: make new ones"
    if fault := _masks_fault(given, masks):
        return fault
    counts = {name: (int(given[name].sum()), int(mask.sum())) for name, mask in masks.items()}
    if all(torch.equal(given[name], mask) for name, mask in masks.items()):
        return "this is the mask itself: draw anew which weights survive"
    wrong = [(name, ours, asked) for name, (ours, asked) in counts.items() if ours != asked]
    if wrong and sum(ours - asked for ours, asked in counts.values()) == 0:
        return "the total is right and the layers are not: keep as many weights in each layer, or two things differ at once"
    for name, ours, asked in wrong:
        return f"'{name}' keeps {ours} weights, not {asked}: draw exactly that many, not each weight by a chance of its own"
    if any(not torch.equal(given[name], again[name]) for name in masks):
        return "the same seed gives other masks: draw from a generator made of the seed"
    if all(torch.equal(given[name], other[name]) for name in masks):
        return "another seed gives the same masks: draw from the seed"
    if any(torch.equal(given[name].sum(axis), mask.sum(axis)) for name, mask in masks.items() for axis in (0, 1)):
        return "whole rows or columns are moved: draw among all weights of a layer"
    if torch.equal(given["first"], given["twin"]) or torch.equal(given["first"], given["copy"]):
        return "two layers of one shape get the same mask: make one generator, and draw for every layer from it"
    return ""


def own_images(answer: Answer) -> str:
    counts = [30, 20, 25, 15, 18, 22, 16, 28, 12, 14]
    labels = np.repeat(np.arange(10), counts)
    rows, again, other = (np.asarray(_called(answer, labels, 5, seed)) for seed in (0, 0, 1))
    if rows.shape != (50,) or rows.dtype.kind not in "iu":
        return f"10 classes with 5 images each are 50 row numbers, and you give {rows.dtype} of shape {rows.shape}"
    if len(set(rows.tolist())) < len(rows):
        return "an image is chosen twice: draw without putting back"
    counts = np.bincount(labels[rows], minlength=10).tolist()
    if counts != [5] * 10:
        return f"images per class: {counts}; a class that is missing cannot be learnt, so take 5 of each"
    if not np.array_equal(rows, again):
        return "the same seed gives other images: nobody could repeat the search"
    if set(rows.tolist()) == set(other.tolist()):
        return "another seed gives the same images: draw them, do not take the first"
    return ""


def equal_steps(answer: Answer) -> str:
    for real, few, epochs, batch in ((640, 64, 10, 64), (1437, 200, 10, 64), (1437, 20, 10, 64)):
        given, wanted = _called(answer, real, few, epochs, batch), epochs * -(-real // batch)
        per_epoch = -(-few // batch)
        if given == -(-wanted // per_epoch):
            continue
        case = f"{epochs} epochs of {real} images and {few} images in batches of {batch}"
        if abs(given - epochs * real / few) < 1:
            return f"{case}: {given} gives as many images, not as many steps; a last, smaller batch is a step too"
        if given in (wanted, epochs):
            what = "the number of steps" if given == wanted else "the epochs of the long training"
            return f"{case}: {given} is {what}; how many epochs make up as many steps?"
        if isinstance(given, float) or given * per_epoch < wanted:
            return f"{case}: {given * per_epoch:g} steps and {wanted} are needed: round up to whole batches and epochs"
        return f"{case}: {given} epochs are {given * per_epoch} steps, {wanted} are enough"
    return ""


def fair_comparison(answer: Any) -> str:
    return _chosen(12, answer)


# Lesson 4: evidence.


def t_interval(answer: Answer) -> str:
    for values in ([1.0, 3.0], [1.0, 2.0, 2.0, 3.0, 4.0]):
        given, right = np.array(_called(answer, np.array(values)), dtype=float), interval(np.array(values))
        n, spread = len(values), np.std(values, ddof=1)
        if given.shape != (2,):
            return "return two numbers: the lower and the upper end"
        if not np.isclose(given.mean(), right.mean):
            return f"the interval of {values} is not centred on their mean, {right.mean:.2f}"
        half, of = (given[1] - given[0]) / 2, right.high - right.mean
        if np.isclose(half, of):
            continue
        if np.isclose(half, 1.96 * spread / n**0.5, rtol=0.01):
            return f"1.96 is for hundreds of values; for {n} take Student's t with {n - 1} degree{'s' * (n > 2)} of freedom"
        if np.isclose(half, of * ((n - 1) / n) ** 0.5):
            return "the deviation divides by n - 1 here (ddof=1), as the mean is estimated from the same values"
        if np.isclose(half, of * n**0.5):
            return "this is the spread of single values; the mean of n values is known better by the root of n"
        if np.isclose(half, _half(spread, n, n)):
            return f"{n} values have {n - 1} degree{'s' * (n > 2)} of freedom, one less than their number"
        if np.isclose(half, _half(spread, n, n - 1, 0.95)):
            return "2.5 % lie on each side of a 95 % interval: take t at 0.975"
        return f"for {values} the half-width is not {half:.2f}"
    return ""


def _half(spread: float, n: int, freedom: int, at: float = 0.975) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, at) * spread / n**0.5)


def verdict(answer: Answer) -> str:
    nan = float("nan")
    for low, high, right in ((0.2, 1.4, "stable"), (2.5, 6.0, "unstable"), (0.5, 2.5, "cannot be told"),
                             (-1.0, 4.5, "cannot be told"), (nan, nan, "cannot be told")):
        given = _called(answer, low, high)
        if given not in ("stable", "unstable", "cannot be told"):
            return f"'{given}' is none of the three words: stable, unstable, cannot be told"
        if given == right:
            continue
        if np.isnan(low):
            return f"one initialisation has no interval, and you say {given}: then nothing can be told"
        if right == "cannot be told":
            return f"[{low}, {high}] holds the line of 2 points, and you say {given}: the middle of an interval decides nothing"
        side = "below" if right == "stable" else "above"
        return f"[{low}, {high}] lies wholly {side} the line of 2 points, and you say {given}"
    return ""


def paired(answer: Answer) -> str:
    imp, synthetic = np.array([1.0, 5.0, 9.0, 3.0, 7.0]), np.array([2.0, 6.5, 10.5, 4.0, 8.0])
    given, right = np.array(_called(answer, imp, synthetic), dtype=float), interval(synthetic - imp)
    if given.shape == (2,) and np.allclose(given, [right.low, right.high]):
        return ""
    if given.shape != (2,):
        return "return two numbers: the lower and the upper end"
    if np.allclose(given, [-right.high, -right.low]):
        return "this is the first less the second: the question is how much higher the second is"
    if not np.isclose(given.mean(), right.mean):
        return f"the mean difference is {right.mean:.2f}, and your interval is centred on {given.mean():.2f}"
    if given[1] - given[0] > 2 * (right.high - right.low):
        return ("this interval is wide because initialisations differ from each other; both methods share them, so take the"
                " difference within each initialisation first")
    return f"the differences are {(synthetic - imp).tolist()}; their interval is not [{given[0]:.2f}, {given[1]:.2f}]"


def small_plane() -> dict[str, np.ndarray]:
    """A plane for exercise 16: `x` and `y` of the grid, `loss` (y, x), and the three networks' `coordinates` (3, 2)."""
    x, y = np.linspace(-2, 6, 17), np.linspace(-2, 4, 13)
    across, up = np.meshgrid(x, y)
    return {"x": x, "y": y, "coordinates": np.array([[0.0, 0.0], [4.0, 1.0], [1.0, 3.0]]),
            "loss": 0.1 + 0.3 * np.exp(-((across - 2) ** 2 + (up - 0.5) ** 2)) + 0.02 * up**2 + 0.05 * across}


def middle_on_plane(answer: Answer) -> str:
    plane = small_plane()
    for one, two in ((0, 1), (0, 2)):
        given = float(_called(answer, plane, one, two))
        at = plane["coordinates"][[one, two]].mean(0)
        column, row = (int(np.abs(plane[axis] - place).argmin()) for axis, place in zip("xy", at, strict=True))
        loss = plane["loss"]
        if np.isclose(given, loss[row, column]):
            continue
        if row < loss.shape[1] and column < loss.shape[0] and np.isclose(given, loss[column, row]):
            return "x and y are exchanged: a row of the loss is one y, a column one x"
        if np.isclose(given, loss.min()):
            return "this is the lowest point of the plane; asked is the middle between two networks"
        if np.isclose(given, loss[np.abs(plane["y"]).argmin(), np.abs(plane["x"]).argmin()]):
            return "this is the loss at (0, 0); the middle between two networks is the mean of their coordinates"
        return f"networks {one} and {two}: their middle is ({at[0]:.1f}, {at[1]:.1f}), and {given:.3f} is not the loss there"
    return ""


def plane_statements(answer: Any) -> str:
    return _chosen(17, answer)


def demo_statements(answer: Any) -> str:
    return _chosen(18, answer)


# Letters: (may be said, why or why not).
CHOICES: dict[int, dict[str, tuple[bool, str]]] = {
    8: {"A": (True, "the line between the two trained networks is one straight path, and it is what was measured"),
        "B": (False, "a curved path, or the same channels in another order, may join them"),
        "C": (False, "two bad networks may lie in one basin: read the barrier together with the accuracy"),
        "D": (True, "two orders from one start are exactly what is compared")},
    12: {"A": (True, "then a difference may come from the number of steps and not from the images"),
         "B": (False, "a dense network has other weights left: equal sparsity is what makes masks comparable"),
         "C": (True, "that tells the choice of weights from the share left in each layer"),
         "D": (False, "the set would then be chosen by the answer it gives")},
    17: {"A": (False, "a plane is two directions of many thousands: what lies off it is not drawn"),
         "B": (True, "three points lie in one plane exactly, so their losses are those of the networks"),
         "C": (False, "four networks need not lie in one plane: look at their distance from it"),
         "D": (True, "the straight line between two points of a plane lies in it")},
    18: {"A": (False, "code that runs gives numbers, whatever they mean"),
         "B": (True, "where every network makes almost no mistake, there is no room for a barrier"),
         "C": (True, "t is 12.7: the width hangs on how near two values happen to lie, and most often it is too wide to tell"),
         "D": (False, "more initialisations narrow the interval, and the task stays as easy"),
         "E": (True, "the paper's claim is about large networks, natural images and long trainings")}}


def _chosen(number: int, answer: Any) -> str:
    known = CHOICES[number]
    given = {letter for part in answer for letter in str(part).upper() if letter not in ", "}
    if strange := given - known.keys():
        return f"'{min(strange)}' is none of the letters {', '.join(known)}"
    for letter, (allowed, reason) in known.items():
        if letter in given and not allowed:
            return f"{letter} does not follow: {reason}"
    missing = [letter for letter, (allowed, _) in known.items() if allowed and letter not in given]
    return f"{len(missing)} more may be said; read {', '.join(sorted(known.keys() - given))} again" if missing else ""


MADE_UP = {"made up: dense network": Interval(6.1, 3.2, 9.0, 5, 5), "made up: IMP, level 4": Interval(1.1, 0.6, 1.6, 5, 5),
           "made up: IMP, level 9": Interval(1.6, 0.7, 2.5, 5, 5), "made up: synthetic, level 4": Interval(0.9, 0.1, 1.7, 2, 5),
           "made up: synthetic, level 9": Interval(1.0, 0.4, 1.6, 5, 5)}
"""Invented rows of the reference run's form: they hold every word, whatever the state of the run."""


def reference() -> tuple[str, dict[str, Interval]]:
    """Error barriers in points, by name, and where they are from: what ships of the reference run, then invented rows."""
    from synthprune.chapter import open_store
    from synthprune.chapters.settings import parameters
    from synthprune.chapters.stability import Parameters, measures, requests

    store, p = open_store(), parameters(Parameters, "04_stability", {"profile": "laptop"})
    found = measures(p, {name: store.get(entry) for name, entry in requests(p).items() if store.has(entry)})
    rows = {f"{method}, {label}": of for method in ("dense", "imp", "synthetic") if f"error_barrier_{method}" in found
            for label, of in found[f"error_barrier_{method}"].intervals.items() if of.n}
    origin = "error barriers of the reference run, and then rows that are made up" if rows else "made up, as no results ship yet"
    return f"{origin}, in points", dict(itertools.islice(rows.items(), 8)) | MADE_UP


def read_critically(answer: Mapping[str, str], rows: Mapping[str, Interval] | None = None) -> str:
    rows = reference()[1] if rows is None else rows
    if absent := [name for name in rows if name not in answer]:
        return f"give a word for '{absent[0]}'"
    for name, of in rows.items():
        given = answer[name]
        if given not in ("stable", "unstable", "cannot be told"):
            return f"'{given}' is none of the three words: stable, unstable, cannot be told"
        if of.n < of.planned:
            if given != "cannot be told":
                return (f"{name}: {of.n} of {of.planned} planned initialisations are here; who concludes before the end may"
                        " stop at the moment that suits")
        elif fault := _against_line(of, given):
            return f"{name}: {fault}"
    return ""


def _against_line(of: Interval, given: str) -> str:
    where = {"stable": "lies wholly below the line of 2", "unstable": "lies wholly above the line of 2",
             "cannot be told": "holds the line of 2"}
    right = "stable" if of.high < STABLE_BELOW else "unstable" if of.low > STABLE_BELOW else "cannot be told"
    return "" if given == right else f"{of.text()} points {where[right]}, and you say {given}"


EXERCISES: dict[int, Callable[[Any], str]] = dict(enumerate(
    (prune_by_hand, level_to_sparsity, rewind_by_hand, tell_rewinding, between, two_barriers, in_points, which_barrier,
     random_masks, own_images, equal_steps, fair_comparison, t_interval, verdict, paired, middle_on_plane, plane_statements,
     demo_statements, read_critically), 1))
