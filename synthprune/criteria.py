"""Pruning at initialisation: what the initial weights alone, or one look at some images, say about which to keep."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthprune import own
from synthprune.costs import SYNFLOW_ROUNDS
from synthprune.models import Masks, State, check_classes, check_state, network_with, prunable, seeded
from synthprune.problems import Problem, nearest
from synthprune.pruning import dense_masks, keep_largest, path_sum, remaining
from synthprune.seeds import generator

CRITERIA = ("magnitude", "snip", "synflow", "random")


def prune_at_initialisation(network: nn.Module, initial: State, criterion: str | Callable[..., State], *, level: int,
                            fraction: float, images: Tensor, labels: Tensor, seed: int) -> Masks:
    """Masks of `level` for `network`, found without training, from its state at initialisation.

    `criterion`: "magnitude" keeps the largest initial weights; "snip" those of the largest `snip_scores` on `images`;
    "random" those of the largest uniform scores, drawn by `seed`; a function of your own those of its `own_scores`; all these
    at once. "synflow" goes in 100 rounds of `synflow_scores`, the share kept falling exponentially (Tanaka et al. 2020,
    algorithm 1). As many weights are kept, over all layers together, as `level` levels of magnitude pruning by `fraction`
    keep.

    `images` (n, c, h, h) normalised float32 and `labels` (n,) int64 are those of SNIP; SynFlow takes the images' shape.
    Raises Problem for an unknown criterion, a score that is not finite, or where no weight would be left.
    """
    check_state(network, initial)
    masks = dense_masks(initial, prunable(network))
    total = sum(mask.numel() for mask in masks.values())
    kept = remaining(total, fraction, level)
    match criterion:
        case "magnitude":
            scores = {name: initial[name].abs() for name in masks}
        case "snip":
            scores = snip_scores(network, initial, images, labels)
        case "random":
            scores = {name: torch.from_numpy(generator(seed, f"score/{name}").random(mask.shape)) for name, mask in masks.items()}
        case "synflow":
            for done in range(1, SYNFLOW_ROUNDS + 1):
                scores = synflow_scores(network, initial, masks, tuple(images.shape[1:]))
                masks = keep_largest(scores, masks, round(total * (kept / total) ** (done / SYNFLOW_ROUNDS)))
            return masks
        case _ if not isinstance(criterion, str) or own.is_own(criterion):
            scores = own_scores(network, initial, criterion, images, labels, seed)
        case _:
            raise Problem(f"unknown pruning criterion '{criterion}': {nearest(criterion, CRITERIA)}")
    return keep_largest(scores, masks, kept)


def own_scores(network: nn.Module, initial: State, criterion: str | Callable[..., State], images: Tensor, labels: Tensor,
               seed: int) -> State:
    """What a function of your own, or the name of one (see `own`), gives each prunable weight; CPU tensors.

    It may ask for `network` (in evaluation mode, with the state at initialisation), `images` and `labels` as above, and
    `seed`; torch's draws follow from `seed`. It returns {name: tensor of the weight's shape}. Raises Problem by layer where
    that is not so, or a score is not finite.
    """
    model = network_with(network, initial, str(images.device)).eval()
    with seeded(seed, "score"):
        found = own.call(criterion, {"network": model, "images": images, "labels": labels, "seed": seed})
    scores: State = {}
    for name in prunable(network):
        score = found.get(name) if isinstance(found, dict) else None
        if not isinstance(score, Tensor) or score.shape != initial[name].shape:
            given = f"shape {tuple(score.shape)}" if isinstance(score, Tensor) else "no tensor"
            raise Problem(f"{own.words(criterion)} gives {given} for '{name}', whose shape is {tuple(initial[name].shape)}")
        if score.dtype == torch.bool or score.is_complex() or score.layout != torch.strided or score.is_meta:
            raise Problem(f"{own.words(criterion)} gives scores of {score.dtype}, {score.layout} on {score.device} for '{name}':"
                          " give a dense tensor of real numbers")
        if not torch.isfinite(score).all():
            raise Problem(f"{own.words(criterion)} gives a score for '{name}' that is not finite")
        scores[name] = score.detach().cpu() if score.is_floating_point() else score.detach().cpu().double()
    return scores


def snip_scores(network: nn.Module, initial: State, images: Tensor, labels: Tensor) -> State:
    """|w dL/dw| of every prunable weight, L the mean cross-entropy (nats) of `images` at initialisation; CPU tensors.

    Lee et al. (2019), section 4.1: how fast the loss changes as a mask on the weight leaves 1. The weights are those of
    `initial`, never drawn again, and not of unit sum as in the paper, which changes no rank. Norms with running
    statistics use their initial ones, as the authors' code does. Computed in the precision of `initial`.
    """
    model = network_with(network, initial, str(images.device)).eval()
    for some, theirs in zip(images.split(64), labels.split(64), strict=True):  # bounds the memory
        logits = model(some)
        check_classes(logits, labels)
        (F.cross_entropy(logits, theirs, reduction="sum") / len(images)).backward()
    weights = {name: model.get_parameter(name) for name in prunable(network)}
    return {name: (weight * torch.as_tensor(weight.grad)).detach().abs().cpu() for name, weight in weights.items()}


def synflow_scores(network: nn.Module, initial: State, masks: Masks, shape: tuple[int, ...]) -> State:
    """|w| dR/d|w| of every prunable weight: the share of R that flows through it. float64, 0 where `masks` prune.

    Tanaka et al. (2020), section 6: R is the `path_sum` of the absolute weights for images of `shape` (c, h, h). Norms are
    the identity, as a batch norm at initialisation is in the authors' code; an instance norm would undo every change of
    scale, and with it the scores. Biases, 0 at initialisation in the authors' networks, are left out. So the scores of
    any set of weights that cuts the input from the output add up to R: a layer that every path crosses is never emptied,
    one that a shortcut leads around may be. float64, as R grows with the product of the layers' widths.
    """
    weights = {name: (initial[name].double().abs() * mask).requires_grad_() for name, mask in masks.items()}
    total = path_sum(network, weights, shape)
    if not total > 0:
        raise Problem("synflow finds no path from the image to a logit: the masks cut all, or a layer has a gain that is no"
                      " weight of an nn.Conv2d or nn.Linear")
    gradients = torch.autograd.grad(total, list(weights.values()))
    return {name: (weight * gradient).detach() for (name, weight), gradient in zip(weights.items(), gradients, strict=True)}
