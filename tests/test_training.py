"""Training: masks hold, seeds decide, and the schedule is the authors'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import convnet, equal, noise, resnet, some_digits

from synthprune import training
from synthprune.models import initial_state, network_with, prunable
from synthprune.pruning import dense_masks, prune_by_magnitude
from synthprune.training import Progress, Recipe, Resident, evaluate, train

SHORT = Recipe(epochs=3, batch=16, lr=0.05)


def half_pruned(network: torch.nn.Module) -> tuple[dict, dict]:
    state = initial_state(network, 0)
    return state, prune_by_magnitude(state, dense_masks(state, prunable(network)), 0.5)


@pytest.mark.parametrize("network", [convnet(), resnet()], ids=["convnet", "resnet"])
def test_pruned_weights_are_zero_after_training_and_the_others_moved(network: torch.nn.Module) -> None:
    start, masks = half_pruned(network)
    # A start that was never masked: a network whose pruned weights still hold something must not carry it along.
    state, _ = train(network, start, masks, noise(), SHORT, order_seed=0)
    for name, mask in masks.items():
        assert torch.all(state[name][~mask] == 0)
        assert (state[name][mask] != start[name][mask]).float().mean() > 0.99


def test_same_order_same_bits_whatever_ran_before() -> None:
    network = convnet()
    start, masks = half_pruned(network)
    first, losses = train(network, start, masks, noise(), SHORT, order_seed=4)
    torch.rand(5), np.random.rand(5)
    train(network, start, masks, noise(seed=1), SHORT, order_seed=2)
    again, same = train(network, start, masks, noise(), SHORT, order_seed=4)
    assert equal(first, again) and np.array_equal(losses, same)


@pytest.mark.parametrize("recipe", [
    Recipe(epochs=2, batch=16, augment=False, cutmix=0.0), Recipe(epochs=2, batch=64, cutmix=0.0),
    Recipe(epochs=2, batch=64, augment=False, cutmix=1.0)], ids=["order", "diffaug", "cutmix"])
def test_the_order_seed_decides_order_augmentation_and_cutmix(recipe: Recipe) -> None:
    # With one batch an epoch the order alone changes hardly anything: what differs is augmentation or CutMix.
    network = convnet()
    start = initial_state(network, 0)
    runs = [train(network, start, {}, noise(40), recipe, order_seed=seed)[0]["features.0.weight"] for seed in (0, 1)]
    assert (runs[0] - runs[1]).abs().max() > 1e-4


def test_the_order_seed_decides_the_augmentation_alone() -> None:
    """Where every image is the same, order and CutMix change nothing: what differs is DiffAug."""
    network, data = convnet(), noise(1)
    same = Resident(data.images.repeat(16, 1, 1, 1), data.labels.repeat(16), data.mean, data.std, False)
    start, recipe = initial_state(network, 0), Recipe(epochs=2, batch=16, cutmix=0.0)
    runs = [train(network, start, {}, same, recipe, order_seed=seed)[0]["features.0.weight"] for seed in (0, 1)]
    assert not torch.equal(*runs)


def test_the_schedule_steps_where_the_authors_code_steps() -> None:
    real, synthetic = Recipe(epochs=300), Recipe(epochs=1000)
    assert [real.lr_at(e) for e in (0, 199, 200, 249, 250, 299)] == pytest.approx([0.01, 0.01, 0.002, 0.002, 0.0004, 0.0004])
    assert [synthetic.lr_at(e) for e in (665, 666, 832, 833)] == pytest.approx([0.01, 0.002, 0.002, 0.0004])


def test_one_step_equals_torchs_own_sgd() -> None:
    network, data = convnet(), noise(16)
    start = initial_state(network, 0)
    recipe = Recipe(epochs=1, batch=16, lr=0.1, augment=False, cutmix=0.0)
    state, losses = train(network, start, {}, data, recipe, order_seed=0)
    model = network_with(network, start).train()
    loss = torch.nn.functional.cross_entropy(model(data.batch(slice(None))), data.labels)
    loss.backward()
    for name, parameter in model.named_parameters():
        expected = parameter.detach() - 0.1 * (parameter.grad + 5e-4 * parameter.detach())
        torch.testing.assert_close(state[name], expected, rtol=1e-5, atol=1e-6)
    assert losses[0] == pytest.approx(loss.item(), rel=1e-5)


def test_stopping_and_going_on_is_not_noticed() -> None:
    network, data = convnet(), noise()
    start, masks = half_pruned(network)
    saved: list[Progress] = []
    whole, losses = train(network, start, masks, data, SHORT, order_seed=0, checkpoint=saved.append, every_seconds=-1)
    assert len(saved) == 9
    for progress in saved[3:8:4]:
        rest, same = train(network, start, masks, data, SHORT, order_seed=0, resume=progress)
        assert equal(whole, rest) and np.array_equal(losses, same)
    again, same = train(network, start, masks, data, SHORT, order_seed=0, resume=saved[3])
    assert equal(whole, again) and np.array_equal(losses, same), "what was gone on from was changed"


def test_views_are_taken_as_arrays_are() -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), np.uint8), np.arange(6)
    turned = Resident.of(images[:, ::-1], labels[::-1])
    assert torch.equal(turned.images, torch.from_numpy(images[:, ::-1].copy())) and turned.labels.tolist() == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("augmentation", ["diffaug", "photo"])
def test_a_batch_is_the_same_wherever_the_steps_begin(augmentation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches are made together, of five in an epoch, the last a smaller one; made one by one they differ by rounding."""
    digits = noise(72)
    images = digits.images if augmentation == "diffaug" else digits.images.repeat(1, 3, 1, 1)
    data = Resident(images, digits.labels, digits.mean, digits.std, True, augmentation)
    recipe, values = Recipe(epochs=2, batch=16), 16 * data.images[0].numel()
    monkeypatch.setattr(training, "AT_ONCE", 3 * values)
    whole = list(training._batches(data, recipe, 4, range(10)))
    assert [len(labels) for _, labels, _, _ in whole] == 2 * [16, 16, 16, 16, 8]
    for begin in range(1, 10):
        for one, other in zip(training._batches(data, recipe, 4, range(begin, 10)), whole[begin:], strict=True):
            assert all(map(torch.equal, one, other))
    monkeypatch.setattr(training, "AT_ONCE", 1)
    for one, other in zip(training._batches(data, recipe, 4, range(10)), whole, strict=True):
        for left, right in zip(one, other, strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=1e-5)


def test_epochs_in_two_parts_share_order_and_rate() -> None:
    """Rewinding to epoch k goes on with the images and the learning rate of epoch k."""
    network, data = convnet(), noise()
    start, recipe = initial_state(network, 0), Recipe(epochs=3, batch=16, momentum=0.0)
    whole, _ = train(network, start, {}, data, recipe, order_seed=0)
    first, _ = train(network, start, {}, data, recipe, order_seed=0, stop_epoch=1)
    second, losses = train(network, first, {}, data, recipe, order_seed=0, first_epoch=1)
    assert equal(whole, second) and len(losses) == 2


def test_training_learns() -> None:
    network, data = convnet(8), some_digits(50)
    start = initial_state(network, 0)
    state, losses = train(network, start, {}, data, Recipe(epochs=8, lr=0.05), order_seed=0)
    assert losses[-1] < losses[0] and evaluate(network_with(network, state), some_digits(50, "test"))[1] < 0.4


def test_evaluation_equals_a_plain_count() -> None:
    network, data = convnet(), noise(33)
    model = network_with(network, initial_state(network, 0)).eval()
    with torch.no_grad():
        logits = model(data.batch(slice(None)))
    loss, error = evaluate(model, data, batch=10)
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, data.labels)), rel=1e-6)
    assert error == pytest.approx(float((logits.argmax(1) != data.labels).float().mean()))


def test_a_batch_is_normalised() -> None:
    white = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    data = Resident(white, torch.zeros(1), torch.tensor(0.5), torch.tensor(0.25), False)
    assert data.batch(slice(None)).unique().tolist() == [2.0]


def test_cutmix_weighs_each_label_by_its_share() -> None:
    from synthprune.training import _loss

    network, data = convnet(), noise(16)
    model = network_with(network, initial_state(network, 0))
    images, pasted = data.batch(slice(None)), (data.labels + 3) % 10
    own, other = (torch.nn.functional.cross_entropy(model(images), y) for y in (data.labels, pasted))
    torch.testing.assert_close(_loss(model, images, data.labels, pasted, torch.tensor(0.75)), 0.75 * own + 0.25 * other)
    assert torch.equal(_loss(model, images, data.labels, pasted, torch.tensor(1.0)), own)
