"""Sharpness: the exact diagonal of the loss's Hessian, its leading eigenvalue and its trace.

Paper section 4.2 (table) and appendix (distributions). Stochastic estimates of a diagonal give its mean and bias every
other column of that table, so it is computed exactly, in two parts. Along one weight the loss has the second derivative

    sum p z'^2 - (sum p z')^2  +  sum (p - y) z''        z: logits, p: their softmax, y: the label, one-hot

The first two terms are the generalised Gauss-Newton diagonal: one vector-Jacobian product per class. The last is zero
where the logits are piecewise linear in each weight. Where they are not (instance norm), it is a sum over norms: the
gradient of the loss at a norm's output times the norm's own second derivative along the first derivative of its input.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthprune.models import ConvNet3, Masks, State, check_classes, check_state, network_with
from synthprune.problems import Problem
from synthprune.pruning import apply_masks
from synthprune.seeds import generator

if TYPE_CHECKING:
    from curvlinops import SubmatrixLinearOperator

Route = Literal["piecewise linear", "instance norm"]

_PIECEWISE_LINEAR = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d,
                     nn.Flatten, nn.Identity, nn.Sequential)

_CURES = {"activation": "of activations ReLU alone leaves the logits piecewise linear in a weight: put nn.ReLU in its place",
          "normalization": "take batch norm, or ConvNet-3 with instance norm"}
"""What to do about a layer that is curved, by the room of torch.nn that it comes from."""

# Bounds on memory that change no result: images whose activations are held at once, and numbers in the largest tensor
# of the inner loop (4 MB: larger ones leave a core's cache and are slower).
_IMAGES = 8
_NUMBERS = 2**20

# Bin edges for every histogram, symmetric about zero: eight bins per decade from 1e-6 to 100, one bin around zero.
_DECADES = np.logspace(-6, 2, 8 * 8 + 1)
BIN_EDGES: np.ndarray = np.concatenate([-_DECADES[::-1], _DECADES])


def route(network: nn.Module) -> Route:
    """How the exact Hessian diagonal of `network` is computed, by what the network contains.

    "piecewise linear": only ReLU, pooling, linear maps and batch norm (in evaluation mode an affine map), so the logits
    are piecewise linear in each single weight and the Hessian diagonal is the Gauss-Newton diagonal, never negative.
    "instance norm": ConvNet-3 with a norm per channel and image, which is curved; the norms' curvature is added. Raises
    Problem for anything else: a residual network with instance norm has two ways from a weight to a later norm.
    """
    leaves = [module for module in network.modules() if not any(module.children())]
    curved = [module for module in leaves if not isinstance(module, _PIECEWISE_LINEAR)]
    if not curved:
        return "piecewise linear"
    others = [module for module in curved if not (isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels)]
    if isinstance(network, ConvNet3) and not others:
        return "instance norm"
    which = (others or curved)[0]
    cure = _CURES.get(type(which).__module__.rpartition(".")[2], "known are linear maps, batch norm, ReLU and poolings")
    raise Problem(f"no exact Hessian diagonal for {type(network).__name__} with {type(which).__name__}: {cure}")


def hessian_diagonal(network: nn.Module, state: State, masks: Masks, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The exact diagonal of the Hessian of the mean cross-entropy (nats) over one batch, network in evaluation mode.

    Args: `network` (on the meta device) and its `state`; `masks` of all prunable weights; `images` (n, c, h, h),
    normalised, float32 or float64, which is also the precision and device of the computation; `labels` (n,) int64.
    Returns for each name in `masks` a CPU tensor of the weight's shape: the second derivative of the loss along that
    weight, 0 where it is pruned. Paper section 4.2. Raises Problem for a network without a route (see `route`), or where
    an entry is not finite.

    Cost: about two forward passes per class; with instance norm also, for each surviving weight of all convolutions but
    the last, the part of a forward pass that lies behind one channel of its output. Pruned weights cost nothing there.
    """
    curved = route(network) == "instance norm"
    model = _fixed(network, state, masks, images)
    masks = {name: mask.to(images.device) for name, mask in masks.items()}
    diagonal = {name: torch.zeros(mask.shape, dtype=images.dtype, device=images.device) for name, mask in masks.items()}
    for few_images, few_labels in zip(images.split(_IMAGES), labels.split(_IMAGES), strict=True):
        seen = _observe(model, few_images)
        check_classes(seen.logits, labels)
        for name, value in _gauss_newton(model, masks, seen):
            diagonal[name] += value
        if curved:
            for name, value in _norm_curvature(model, masks, seen, few_labels):
                diagonal[name] += value
    result = {name: (value / len(images)).masked_fill(~masks[name], 0).cpu() for name, value in diagonal.items()}
    for name, value in result.items():
        if not torch.isfinite(value).all():
            raise Problem(f"the Hessian diagonal of {name} is not finite (the training diverged)")
    return result


def _fixed(network: nn.Module, state: State, masks: Masks, images: Tensor) -> nn.Module:
    """The masked network in evaluation mode, on the device and in the precision of `images`, parameters constant."""
    check_state(network, state)
    model = network_with(network, apply_masks(state, masks), str(images.device))
    return model.to(images.dtype).eval().requires_grad_(False)


@dataclass(frozen=True)
class _Seen:
    """One forward pass, differentiable with respect to every output: by module name, its input and its output."""

    logits: Tensor
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def _observe(model: nn.Module, images: Tensor) -> _Seen:
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def keep(_: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
            inputs[name], outputs[name] = args[0].detach(), output
        return module.register_forward_hook(keep)

    hooks = [watch(name, module) for name, module in model.named_modules()
             if isinstance(module, nn.Conv2d | nn.Linear | nn.GroupNorm)]
    # Only images that ask for a gradient give the activations a graph: the parameters are constants.
    logits = model(images.detach().requires_grad_())
    for hook in hooks:
        hook.remove()
    return _Seen(logits, inputs, outputs)


def _patches(layer: nn.Module, images: Tensor) -> Tensor:
    """What each weight of one output channel multiplies: (n, inputs per output, positions). A linear layer has 1 position."""
    if isinstance(layer, nn.Conv2d):
        geometry: Any = layer.kernel_size, layer.dilation, layer.padding, layer.stride
        return F.unfold(images, *geometry)
    return images.unsqueeze(2)


def _gauss_newton(model: nn.Module, masks: Masks, seen: _Seen) -> Iterator[tuple[str, Tensor]]:
    """Pairs (weight, part of its Gauss-Newton diagonal summed over the images), one per class and weight.

    diag(p) - p p^T, the Hessian of the cross-entropy in the logits, is the sum over classes k of s s^T with
    s = sqrt(p_k) (e_k - p); each s is pulled back through the network, and a weight's derivative squared.
    """
    layers = {name: name.removesuffix(".weight") for name in masks}
    share = seen.logits.detach().softmax(1)
    for k in range(share.shape[1]):
        column = -share[:, k:k + 1].sqrt() * share
        column[:, k] += share[:, k].sqrt()
        pulled = torch.autograd.grad(seen.logits, [seen.outputs[layer] for layer in layers.values()], column,
                                     retain_graph=True)
        for (name, layer), gradient in zip(layers.items(), pulled, strict=True):
            patches = _patches(model.get_submodule(layer), seen.inputs[layer])
            slope = gradient.reshape(*gradient.shape[:2], -1) @ patches.transpose(1, 2)
            yield name, slope.square().sum(0).view(masks[name].shape)


@dataclass(frozen=True)
class _Norm:
    """One instance norm with the ReLU and the 2x2 pooling behind it, at one image.

    A tangent is a first derivative of the norm's input, (tangents, channels, positions); `unit` below is the normalised
    input, (channels, positions), before gain and shift.
    """

    probes: Tensor  # (channels, positions, 3): what `moments` multiplies a tangent with
    scale: Tensor   # (channels,): (variance + eps)^(-1/2)
    pull: Tensor    # (channels,): gradient of the loss along `unit`
    gate: Tensor    # (channels, h, h): gain times `scale` where the ReLU is open, else 0
    pooled: Tensor  # (2, channels, h/2, h/2): `gate`, and `gate` times `unit`, after pooling

    @classmethod
    def at(cls, layer: nn.GroupNorm, images: Tensor, outputs: Tensor, gradients: Tensor) -> list[_Norm]:
        """The norm at each image, from its inputs, its outputs and the loss's gradients there, all (n, c, h, h)."""
        variance, mean = torch.var_mean(images.flatten(2), 2, correction=0, keepdim=True)
        scale = (variance + layer.eps).rsqrt()
        unit = (images.flatten(2) - mean) * scale
        gradient = gradients.flatten(2) * layer.weight[:, None]
        gradient = gradient - gradient.mean(2, keepdim=True)
        even = torch.full_like(unit, 1 / unit.shape[2])
        probes = torch.stack([even, unit * even, gradient], 3)
        gate = (outputs > 0) * (layer.weight[:, None] * scale).unsqueeze(3)
        pooled = torch.stack([_pool(gate), _pool(gate * unit.view_as(gate))], 1)
        return [cls(*parts) for parts in zip(probes, scale.squeeze(2), (gradient * unit).sum(2), gate, pooled, strict=True)]

    def moments(self, tangent: Tensor) -> Tensor:
        """(3, tangents, channels): a tangent's mean, its mean product with `unit`, its product with the centred gradient."""
        return torch.einsum("tcp,cpk->ktc", tangent, self.probes)

    def curvature(self, tangent: Tensor, moments: Tensor) -> Tensor:
        """(tangents, channels): the loss's gradient at the normalised values times their second derivative.

        With centred input x, tangent u and r = scale, the normalised x r has the second derivative 2 u r' + x r'', where
        r' = -r^3 <x u> and r'' = 3 r^5 <x u>^2 - r^3 <u u> (means over positions); below in terms of the unit x r.
        """
        mean, along, pulled = moments
        variance = torch.linalg.vector_norm(tangent, dim=2).square() / tangent.shape[2] - mean.square()
        return self.scale.square() * (self.pull * (3 * along.square() - variance) - 2 * along * pulled)


def _derivative(tangent: Tensor, moments: Tensor, gate: Tensor, pooled: Tensor) -> Tensor:
    """(tangents, channels, h/2, h/2): the first derivative after norm, ReLU and pooling.

    Before the pooling it is (u - <u> - unit <unit u>) gate; its last two terms are pooled once for all tangents.
    """
    mean, along, _ = moments[..., None, None]
    return _pool(tangent.unflatten(2, gate.shape[1:]) * gate) - mean * pooled[0] - along * pooled[1]


def _pool(x: Tensor) -> Tensor:
    """2x2 average pooling; four times as fast as avg_pool2d on one core."""
    rows = x[..., :-1:2, :] + x[..., 1::2, :]
    return (rows[..., :-1:2] + rows[..., 1::2]) / 4


def _norm_curvature(model: nn.Module, masks: Masks, seen: _Seen, labels: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Pairs (weight, sum of (p - y) z'' along it), one per image and convolution; pruned weights are not complete.

    A weight w[o, j] of a convolution moves only channel o of its output, by its patch j. That tangent is carried through
    the norms behind; at the next convolution it is one channel's map, so only that channel's slice of weights is needed.
    """
    convolutions = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    norms = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.GroupNorm)}
    loss = F.cross_entropy(seen.logits, labels, reduction="sum")
    gradients = torch.autograd.grad(loss, [seen.outputs[name] for name in norms])
    weights = [layer.weight for layer in convolutions.values()]
    at_images = [_Norm.at(layer, seen.inputs[name], seen.outputs[name], gradient)
                 for (name, layer), gradient in zip(norms.items(), gradients, strict=True)]
    with torch.no_grad():
        for depth, (name, layer) in enumerate(convolutions.items()):
            survivors = masks[f"{name}.weight"].flatten(1).nonzero()
            for patches, *norm in zip(_patches(layer, seen.inputs[name]), *at_images[depth:], strict=True):
                moments = norm[0].moments(patches.unsqueeze(1))
                total = norm[0].curvature(patches.unsqueeze(1), moments).T.contiguous()
                if len(norm) > 1:
                    for few in survivors.split(max(1, _NUMBERS // norm[1].gate.numel())):
                        channel, patch = few.T
                        moved = _derivative(patches[None, patch], moments[:, None, patch, channel], norm[0].gate[channel],
                                            norm[0].pooled[:, channel])
                        total[channel, patch] += _curvature_behind(moved[0], channel, weights[depth + 1:], norm[1:])
                yield f"{name}.weight", total.view(weights[depth].shape)


def _curvature_behind(moved: Tensor, channel: Tensor, weights: list[Tensor], norms: list[_Norm]) -> Tensor:
    """(pairs,): the curvature of all `norms` along `moved` (pairs, h, h), the derivative of the input's `channel` (pairs,)."""
    # A convolution of one channel, another for each pair, as a batched matrix product: grouped convolution is slower.
    tangent = weights[0].flatten(2)[:, channel].transpose(0, 1) @ F.unfold(moved.unsqueeze(1), 3, padding=1)
    moments = norms[0].moments(tangent)
    total = norms[0].curvature(tangent, moments).sum(1)
    for before, weight, norm in zip(norms, weights[1:], norms[1:], strict=False):
        tangent = F.conv2d(_derivative(tangent, moments, before.gate, before.pooled), weight, padding=1).flatten(2)
        moments = norm.moments(tangent)
        total += norm.curvature(tangent, moments).sum(1)
    return total


def leading_eigenvalue(network: nn.Module, state: State, masks: Masks, images: Tensor, labels: Tensor, *, seed: int) -> float:
    """The largest eigenvalue of the Hessian among the surviving prunable weights, by Lanczos iteration (scipy's eigsh).

    Arguments as for `hessian_diagonal`; any network. `seed` draws the starting vector. Hessian-vector products by
    curvlinops (Dangel et al. 2025); the relative tolerance is 1e-4.
    """
    from scipy.sparse.linalg import eigsh

    hessian = _surviving_hessian(network, state, masks, images, labels)
    start = generator(seed, "hessian/lanczos").standard_normal(hessian.shape[0])
    return float(eigsh(hessian.to_scipy(), k=1, which="LA", v0=start, tol=1e-4, return_eigenvectors=False)[0])


def trace(network: nn.Module, state: State, masks: Masks, images: Tensor, labels: Tensor, *, probes: int,
          seed: int) -> tuple[float, float]:
    """An estimate of the sum of `hessian_diagonal`, independent of it, and its standard error (Hutchinson 1989).

    The mean of v^T H v over `probes` (at least 2) random sign vectors v over the surviving prunable weights; `seed` draws
    them. Other arguments as for `hessian_diagonal`; any network.
    """
    hessian = _surviving_hessian(network, state, masks, images, labels)
    values = []
    for probe in range(probes):
        signs = 2.0 * generator(seed, "hessian/trace", probe).integers(0, 2, hessian.shape[0]) - 1
        vector = torch.from_numpy(signs).to(images)
        values.append(float(vector @ (hessian @ vector)))
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(probes))


def _surviving_hessian(network: nn.Module, state: State, masks: Masks, images: Tensor,
                       labels: Tensor) -> SubmatrixLinearOperator:
    with warnings.catch_warnings():
        # Two things compile a function with the deprecated torch.jit.script when first used: linear_operator, which
        # curvlinops 3.0.1 imports, and torch 2.14's own forward mode, by which curvlinops multiplies.
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        from curvlinops import HessianLinearOperator, SubmatrixLinearOperator
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))

    model = _fixed(network, state, masks, images)
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            if module.num_groups != module.num_channels:
                raise Problem(f"no product with the Hessian for a GroupNorm of {module.num_groups} groups over"
                              f" {module.num_channels} channels: known is one group for each channel")
            # torch cannot take a forward derivative of group norm's backward pass; of instance norm's it can.
            vars(module)["forward"] = partial(F.instance_norm, weight=module.weight, bias=module.bias, eps=module.eps)
    weights = [model.get_parameter(name).requires_grad_() for name in masks]
    # The operator's own check that the network is deterministic would cost six passes, and ours have no randomness.
    whole = HessianLinearOperator(model, nn.CrossEntropyLoss(), weights, [(images, labels)], check_deterministic=False)
    alive = torch.cat([mask.flatten() for mask in masks.values()]).nonzero().flatten().tolist()
    return SubmatrixLinearOperator(whole, alive, alive)


def summary(diagonal: dict[str, Tensor], masks: Masks) -> dict[str, dict[str, dict[str, float]]]:
    """The columns of the paper's table in section 4.2: {"survivors" | "all": {weight | "overall": {column: value}}}.

    Columns: min, max, mean, std (over the population), magnitude (mean absolute value). "all" counts each pruned weight
    as an exact zero, as the authors' script does (which also counts biases and norm parameters, 0.4 % of ConvNet-3's). A
    layer in which no weight survives is absent from "survivors".
    """
    everything = {name: value.double().flatten().numpy() for name, value in diagonal.items()}
    survivors = {name: everything[name][mask.flatten().cpu().numpy()] for name, mask in masks.items()}
    return {kind: {name: _columns(value) for name, value in [*values.items(), ("overall", np.concatenate([*values.values()]))]
                   if len(value)} for kind, values in (("survivors", survivors), ("all", everything))}


def _columns(values: np.ndarray) -> dict[str, float]:
    return {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean()),
            "std": float(values.std()), "magnitude": float(np.abs(values).mean())}


def histogram(diagonal: dict[str, Tensor], masks: Masks) -> dict[str, np.ndarray]:
    """Counts of survivors per weight tensor in the bins between BIN_EDGES, int64 (len(BIN_EDGES) - 1,).

    Values beyond the last edges are counted in the outermost bins, so a row's sum is the number of survivors.
    """
    return {name: np.histogram(diagonal[name][mask.cpu()].double().numpy().clip(BIN_EDGES[0], BIN_EDGES[-1]), BIN_EDGES)[0]
            for name, mask in masks.items()}
