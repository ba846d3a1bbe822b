"""The entries that a chapter's settings stand for: data, recipes, masks, trainings, and the paths between them."""

from __future__ import annotations

from typing import Any

from synthprune.chapters.settings import CRITERIA, Method, Settings
from synthprune.costs import Cost, criterion_cost, search_cost
from synthprune.data.facts import facts
from synthprune.own import is_own
from synthprune.problems import Problem
from synthprune.results import specs


def dataset(p: Settings) -> specs.Dataset:
    return specs.Dataset(name=p.dataset, pixels=p.pixels, train_per_class=p.train_per_class or None,
                         test_per_class=p.test_per_class or None)


def architecture(p: Settings) -> specs.Architecture:
    return specs.Architecture(name=p.architecture, width=p.width, norm=p.norm)


def synthetic_data(p: Settings) -> specs.PruningData:
    made = {"distilled": specs.Distilled, "condensed": specs.Condensed}.get(p.synthetic)
    if made:
        return made(dataset=dataset(p), ipc=p.synthetic_per_class, factor=p.synthetic_factor, steps=p.distillation_steps)
    if p.synthetic == "coreset":
        return coreset(p)
    if "@" in p.synthetic:
        return specs.Published(name=p.synthetic)
    return specs.Awaited(name=p.synthetic, ipc=p.synthetic_per_class, factor=p.synthetic_factor)


def coreset(p: Settings, seed: int = 0) -> specs.Coreset:
    """Random real images: as many, and decoded alike, as the synthetic set."""
    return specs.Coreset(ipc=p.synthetic_per_class, factor=p.synthetic_factor, seed=seed)


def recipe(p: Settings, epochs: int) -> specs.Recipe:
    """How a network is retrained."""
    return specs.Recipe(epochs=epochs, batch=p.batch, lr=p.lr, cutmix=p.cutmix, weight_decay=p.weight_decay)


def search_recipe(p: Settings, epochs: int) -> specs.Recipe:
    """How every round of a mask search is trained, on real or synthetic data."""
    decay = p.weight_decay if p.search_weight_decay < 0 else p.search_weight_decay
    return recipe(p, epochs).model_copy(update={"lr": p.search_lr or p.lr, "weight_decay": decay})


def decoded_images(p: Settings) -> int:
    """What a training on the synthetic set sees in an epoch."""
    return len(facts(p.dataset).classes) * p.synthetic_per_class * p.synthetic_factor**2


def matched_epochs(p: Settings, images: int, epochs: int, on: int) -> int:
    """Epochs over `on` images that take as many steps as `epochs` over `images`, as nearly as whole epochs can."""
    return max(1, round(epochs * -(-images // p.batch) / -(-on // p.batch)))


def search(p: Settings, method: Method, init_seed: int = 0) -> specs.Search | specs.AtInitialisation | specs.SameDensities:
    """How masks of `method` are found under these settings. `init_seed` draws what is random beside the order: real images
    and masks, which one draw for all initialisations would leave without an interval.

    Raises Problem where steps must match an unknown number, or a search would rewind beyond its end.
    """
    if method in CRITERIA or is_own(method):
        return specs.AtInitialisation(criterion=method, seed=init_seed if method == "random" else p.search_seed)
    if method in ("like synthetic", "like imp"):
        return specs.SameDensities(of=search(p, method.removeprefix("like "), init_seed), seed=init_seed)
    data = {"imp": specs.Real(), "imp, steps of synthetic": specs.Real(), "coreset": coreset(p, p.real_draw(init_seed)),
            "noise": specs.Noise(ipc=p.synthetic_per_class, factor=p.synthetic_factor, seed=0)}.get(method) or synthetic_data(p)
    if method == "shuffled":
        data = specs.Shuffled(of=data, seed=0)
    epochs = p.round_epochs if method == "imp" else p.synthetic_epochs
    if method == "imp, steps of synthetic":
        epochs = matched_epochs(p, decoded_images(p), p.synthetic_epochs, real_images(p))
    if method == "synthetic, steps of imp":
        epochs = matched_epochs(p, real_images(p), p.round_epochs, decoded_images(p))
    if p.rewind.isdecimal() and int(p.rewind) >= epochs:
        raise Problem(f"rewind={p.rewind} is not before the last of the {epochs} epochs of the search '{method}'")
    return specs.Search(data=data, recipe=search_recipe(p, epochs), seed=p.search_seed,
                        rewind=int(p.rewind) if p.rewind.isdecimal() else p.rewind)


def cost(p: Settings, method: Method, level: int, images: int, flops: float = 0) -> Cost:
    """What a mask of `method` at `level` takes, by `images` real ones and `flops` of a visit.

    The making of a synthetic set is not in it, nor the retraining of the subnetwork.
    """
    how, classes = search(p, method), len(facts(p.dataset).classes)
    if isinstance(how, specs.AtInitialisation):
        return criterion_cost(how.criterion, classes * how.per_class, flops)
    stored, decoded = ((images, images) if isinstance(how.data, specs.Real)
                       else (classes * p.synthetic_per_class, decoded_images(p)))
    return search_cost(stored=stored, decoded=decoded, epochs=how.recipe.epochs, batch=how.recipe.batch, levels=level,
                       flops=flops, rewind=how.epoch)


def real_images(p: Settings) -> int:
    """Training images of the whole data set, or of the part that is used. Raises Problem where that is not known."""
    if not p.train_per_class and facts(p.dataset).images:
        return facts(p.dataset).images["train"]
    count = p.train_per_class or facts(p.dataset).complete.get("train")
    if not count:
        raise Problem(f"the classes of {facts(p.dataset).title} differ in size: set train_per_class to match steps")
    return len(facts(p.dataset).classes) * count


def subnetwork(p: Settings, method: Method, init_seed: int, level: int) -> specs.Subnetwork:
    return specs.Subnetwork(dataset=dataset(p), architecture=architecture(p), init_seed=init_seed,
                            search=search(p, method, init_seed) if level else None, level=level)


def retrained(p: Settings, method: Method, init_seed: int, level: int, order_seed: int) -> specs.Trained:
    """The subnetwork trained on the real data, in one order."""
    return specs.Trained(subnetwork=subnetwork(p, method, init_seed, level), data=specs.Real(),
                         recipe=recipe(p, p.epochs), order_seed=order_seed)


def path(p: Settings, method: Method, init_seed: int, level: int, pair: tuple[int, int], **how: Any) -> specs.Path:
    """The path between the subnetwork's trainings in a `pair` of orders; level 0: the dense network, whatever the method."""
    return specs.Path(ends=tuple(retrained(p, method, init_seed, level, order) for order in pair), points=p.points, **how)


def trained_on(p: Settings, method: Method, seed: int) -> specs.Evaluation:
    """The dense network trained on a set alone: the first round of the search on that set, so that it costs nothing more."""
    return specs.Evaluation(of=subnetwork(p, method, seed, 1).round)
