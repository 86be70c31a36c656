"""Optimisers over parameter groups, clipping, and the moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.ftrl import Ftrl
from falconer.pipelines.training.optimizers import OPTIMIZERS, Optimizers, clip
from falconer.pipelines.training.weights import Ema, copy_into, tensors_of
from tests.support.small_training import Regression, plain, train


def parameter(*values: float) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(values))


def descend(optimizers: Optimizers, weights: list[torch.nn.Parameter], steps: int) -> None:
    for _ in range(steps):
        sum((weight - 1).square().sum() for weight in weights).backward()  # type: ignore[union-attr]
        optimizers.step()


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"sparse_adam"}))
def test_each_optimizer_goes_downhill_and_goes_on_from_its_state(name: str) -> None:
    config = TrainingConfig(optimizer=name, learning_rate=0.05, weight_decay=0.01)  # type: ignore[arg-type]
    whole, half = parameter(3.0, -2.0), parameter(3.0, -2.0)
    descend(Optimizers([{"params": [whole]}], config), [whole], 12)
    assert (whole - 1).square().sum() < 13
    first = Optimizers([{"params": [half]}], config)
    descend(first, [half], 6)
    second = Optimizers([{"params": [half]}], config)
    second.load({**first.tensors(), **first.numbers()})
    descend(second, [half], 6)
    assert torch.equal(half, whole)


def test_sparse_gradients_have_their_optimizer_beside_another() -> None:
    def trained(stops: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        table, layer = torch.nn.Embedding(5, 3, sparse=True), torch.nn.Linear(3, 1)
        groups = [
            {"params": list(table.parameters()), "optimizer": "sparse_adam"},
            {"params": list(layer.parameters())},
        ]
        optimizers = Optimizers(groups, TrainingConfig(learning_rate=0.1))
        for step in range(8):
            if step == stops:
                entries = {**optimizers.tensors(), **optimizers.numbers()}
                optimizers = Optimizers(groups, TrainingConfig(learning_rate=0.1))
                optimizers.load(entries)
            layer(table(torch.tensor([0, 2, step % 5]))).square().sum().backward()
            clip(optimizers.parameters, 0.5)
            optimizers.step()
        return [value.detach() for value in [*table.parameters(), *layer.parameters()]]

    for ours, theirs in zip(trained(-1), trained(4), strict=True):
        assert torch.equal(ours, theirs)


def test_groups_keep_their_own_rate_under_a_schedule() -> None:
    fast, slow, frozen = parameter(0.0), parameter(0.0), parameter(0.0)
    config = TrainingConfig(optimizer="sgd", momentum=0.0, learning_rate=0.1)
    optimizers = Optimizers([{"params": [fast]}, {"params": [slow], "lr": 0.01}], config)
    optimizers.set_rate(0.5)
    descend(optimizers, [fast, slow, frozen], 1)
    assert [fast.item(), slow.item(), frozen.item()] == pytest.approx([0.1, 0.01, 0.0])


def test_an_unknown_optimizer_of_a_group_is_named() -> None:
    with pytest.raises(ConfigError, match="no optimizer 'lion'; known: adam, adamw"):
        Optimizers([{"params": [parameter(0.0)], "optimizer": "lion"}], TrainingConfig())


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=6), st.floats(0.1, 20))
def test_clipping_shortens_long_gradients_and_keeps_their_direction(
    values: list[float], longest: float
) -> None:
    weights = [parameter(0.0) for _ in values]
    for weight, value in zip(weights, values, strict=True):
        weight.grad = torch.tensor([value])
    clip(weights, longest)
    after = torch.cat([weight.grad for weight in weights if weight.grad is not None])
    before = torch.tensor(values)
    expected = before * min(1.0, longest / (float(before.norm()) + 1e-6))
    assert torch.allclose(after, expected, rtol=1e-5, atol=1e-6)


def test_clipping_is_part_of_a_step(tmp_path: Path) -> None:
    task = Regression(dropout=0)
    before = [value.detach().clone() for value in task.model.parameters()]
    train(task, plain(epochs=1, learning_rate=1.0, clip_norm=1e-3), tmp_path)
    moved = (
        torch.cat([(b - a).flatten() for b, a in zip(before, task.model.parameters(), strict=True)])
        .detach()
        .norm()
    )
    assert 0 < float(moved) <= 1e-3 * len(task.batches)


def test_the_moving_average_follows_its_formula() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    ema, expected = Ema(model, 0.8), model[0].weight.detach().clone()
    for _ in range(5):
        with torch.no_grad():
            model[0].weight.add_(torch.randn(2, 2))
        model(torch.randn(4, 2))
        ema.update()
        expected = 0.8 * expected + 0.2 * model[0].weight.detach()
    own = model[0].weight.detach().clone()
    with ema.swapped_in():
        assert torch.allclose(model[0].weight, expected)
        assert int(model[1].num_batches_tracked) == 5
    assert torch.equal(model[0].weight, own)


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    task = Regression(dropout=0)
    result, lines = train(task, plain(ema_decay=0.99, monitor="error", mode="min"), tmp_path)
    assert result.best_metric == lines[-1]["error"] == task.validate()["error"]
    other = Regression(dropout=0)
    train(other, plain(), tmp_path)
    assert not torch.equal(task.model[0].weight, other.model[0].weight)  # type: ignore[index]


def test_shared_tensors_are_saved_once() -> None:
    table = torch.nn.Linear(3, 3, bias=False)
    model: Any = torch.nn.Sequential(table, torch.nn.Linear(3, 3, bias=False))
    model[1].weight = table.weight
    assert list(tensors_of(model)) == ["0.weight"]


def test_tensors_of_another_model_are_refused() -> None:
    own = {"weight": torch.zeros(2, 3)}
    with pytest.raises(
        ArtifactError,
        match=r"last: made by a model of another size: weight has shape \[4, 3\] there",
    ):
        copy_into(own, {"weight": torch.ones(4, 3)}, "last")
    with pytest.raises(
        ArtifactError, match="last: made by another model: only the file has 'bias'"
    ):
        copy_into(own, {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, "last")
    assert not own["weight"].any()


def ftrl_by_hand(
    w: float, gradients: Sequence[float], *, alpha: float, l1: float, l2: float, beta: float = 1.0
) -> list[float]:
    """Algorithm 1 of McMahan et al. 2013 for one weight that starts at 0."""
    z = n = 0.0
    found = []
    for g in gradients:
        sigma = (math.sqrt(n + g * g) - math.sqrt(n)) / alpha
        z += g - sigma * w
        n += g * g
        w = (
            0.0
            if abs(z) <= l1
            else -(z - math.copysign(l1, z)) / ((beta + math.sqrt(n)) / alpha + l2)
        )
        found.append(w)
    return found


@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=20),
    st.floats(0.01, 1),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.1]),
)
def test_ftrl_is_the_papers_algorithm(
    gradients: list[float], alpha: float, l1: float, l2: float
) -> None:
    weight = parameter(0.0)
    optimizer = Ftrl([weight], lr=alpha, l1=l1, l2=l2)
    for gradient, expected in zip(
        gradients, ftrl_by_hand(0.0, gradients, alpha=alpha, l1=l1, l2=l2), strict=True
    ):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        assert weight.item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def ftrl_with_rates(
    gradients: Sequence[float], rates: Sequence[float], *, first: float, l1: float, l2: float
) -> list[float]:
    """What minimises the sum of all linearised losses, of all proximal terms around the weights
    there were, and of both penalties: the leader, from its definition, for one weight."""
    weights, sigmas = [first], [1 / rates[0]]
    strength, n, found, total = 1 / rates[0], 0.0, [], -math.copysign(l1, first) - l2 * first
    for g, rate in zip(gradients, rates, strict=True):
        n += g * g
        total += g
        sigmas.append((1 + math.sqrt(n)) / rate - strength)
        weights.append(found[-1] if found else first)
        strength = (1 + math.sqrt(n)) / rate
        around = sum(sigma * w for sigma, w in zip(sigmas, weights, strict=True))
        slope = total - around
        found.append(
            0.0 if abs(slope) <= l1 else -(slope - math.copysign(l1, slope)) / (strength + l2)
        )
    return found


@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(0.05, 1)), min_size=1, max_size=15),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([0.5, -0.7]),
)
def test_ftrl_follows_the_leader_whatever_its_rates(
    steps: list[tuple[float, float]], l1: float, l2: float, first: float
) -> None:
    gradients, rates = [g for g, _ in steps], [rate for _, rate in steps]
    expected = ftrl_with_rates(gradients, rates, first=first, l1=l1, l2=l2)
    weight = torch.nn.Parameter(torch.tensor([first], dtype=torch.float64))
    optimizer = Ftrl([weight], lr=rates[0], l1=l1, l2=l2)
    for gradient, rate, wanted in zip(gradients, rates, expected, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        assert weight.item() == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_another_rate_leaves_ftrls_weights_where_there_is_no_gradient() -> None:
    weight = parameter(0.0, 0.0)
    optimizers = Optimizers(
        [{"params": [weight]}], TrainingConfig(optimizer="ftrl", learning_rate=0.5)
    )
    for _ in range(2000):
        (weight - torch.tensor([3.0, -1.0])).square().sum().backward()
        optimizers.step()
    fitted = weight.detach().clone()
    assert fitted[0].item() == pytest.approx(3, abs=0.01)
    for factor in (0.5, 0.1, 0.01, 0.0, 1.0):
        optimizers.set_rate(factor)
        weight.grad = torch.zeros(2)
        optimizers.step()
        torch.testing.assert_close(weight.detach(), fitted, rtol=1e-4, atol=1e-5)


def test_ftrl_keeps_the_first_weights_and_makes_useless_ones_zero() -> None:
    weight = parameter(0.7, -0.2)
    optimizer = Ftrl([weight], lr=0.1, l1=0.3)
    weight.grad = torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([0.7, -0.2]))
    useless = parameter(0.0)
    optimizer = Ftrl([useless], lr=0.1, l1=1.0)
    for gradient in (0.4, -0.5, 0.6, -0.4):
        useless.grad = torch.tensor([gradient])
        optimizer.step()
        assert useless.item() == 0
