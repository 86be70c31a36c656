"""Losses over the catalogue against torch's own and against their formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from falconer.recsys.backends.torch import losses
from falconer.recsys.backends.torch.losses import full_softmax, gbce, sampled_softmax

T, N, D = 11, 7, 5


def case(*, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden [T, D], items [N, D], bias [N], all with gradients, and answers [T] with repeats."""
    random = torch.Generator().manual_seed(1)
    hidden, items, bias = (
        torch.randn(shape, generator=random) * scale for shape in ((T, D), (N, D), (N,))
    )
    answers = torch.randint(0, N, (T,), generator=random)
    return hidden.requires_grad_(), items.requires_grad_(), bias.requires_grad_(), answers


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    "at_once", [1, 3 * N, 2**19]
)  # places of a part: 1, 3 (which does not divide 11), all
def test_full_softmax_is_cross_entropy_with_its_gradients(
    with_bias: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(losses.SCORES_AT_ONCE, "cpu", at_once)
    monkeypatch.setattr(losses, "PLACES_AT_ONCE", 1)
    hidden, items, bias, answers = case()
    inputs = (hidden, items, bias) if with_bias else (hidden, items)
    ours = full_softmax(hidden, items, answers, bias if with_bias else None)
    expected = functional.cross_entropy(hidden @ items.T + (bias if with_bias else 0), answers)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    scale = 3.0
    for mine, right in zip(
        torch.autograd.grad(ours * scale, inputs),
        torch.autograd.grad(expected * scale, inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-6)


def test_full_softmax_stays_finite_at_extreme_scores() -> None:
    hidden, items, bias, answers = case(scale=30.0)
    loss = full_softmax(hidden, items, answers, bias)
    expected = functional.cross_entropy(hidden @ items.T + bias, answers)
    assert expected.item() > 500
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(
        torch.isfinite(part).all() for part in torch.autograd.grad(loss, (hidden, items, bias))
    )


def test_sampled_softmax_with_every_item_drawn_once_is_the_full_one() -> None:
    hidden, items, bias, answers = case()
    log_chance = torch.full((N,), -np.log(N))
    loss = sampled_softmax(hidden, items, answers, torch.arange(N), log_chance, bias)
    assert loss.item() == pytest.approx(full_softmax(hidden, items, answers, bias).item(), rel=1e-5)


def test_sampled_softmax_estimates_the_sum_over_all_items_without_a_bias() -> None:
    """The mean over one draw, each with its chance, of the estimated sum exp(loss + s_answer) is
    the sum itself."""
    hidden, items, _, answers = case()
    chance = torch.tensor([0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05])
    place = slice(0, 1)
    score = (hidden[place] @ items.T)[0]
    estimated = torch.stack(
        [
            torch.exp(
                sampled_softmax(
                    hidden[place], items, answers[place], torch.tensor([drawn]), chance.log()
                )
                + score[answers[0]]
            )
            for drawn in range(N)
        ]
    )
    assert (chance * estimated).sum().item() == pytest.approx(score.exp().sum().item(), rel=1e-5)


def gbce_in_numpy(
    scores: np.ndarray, answers: np.ndarray, negatives: np.ndarray, t: float
) -> float:
    sigma, k = 1 / (1 + np.exp(-scores)), negatives.shape[1]
    rate = k / (N - 1)
    beta = rate * (t * (1 - 1 / rate) + 1 / rate)
    parts = [
        beta * np.log(sigma[place, answer])
        + sum(np.log(1 - sigma[place, j]) for j in negatives[place] if j != answer)
        for place, answer in enumerate(answers)
    ]
    return float(-np.mean(parts) / (k + 1))


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_is_the_papers(calibration: float) -> None:
    hidden, items, bias, answers = case()
    negatives = torch.randint(0, N, (T, 4), generator=torch.Generator().manual_seed(2))
    scores = (hidden @ items.T + bias).detach().double().numpy()
    loss = gbce(hidden, items, answers, negatives, calibration=calibration, bias=bias)
    assert loss.item() == pytest.approx(
        gbce_in_numpy(scores, answers.numpy(), negatives.numpy(), calibration), rel=1e-5
    )


def test_gbce_without_calibration_is_binary_cross_entropy() -> None:
    hidden, items, _, _ = case()
    answers, negatives = torch.zeros(T, dtype=torch.int64), torch.full((T, 1), 3)
    scores = torch.stack([(hidden * items[0]).sum(1), (hidden * items[3]).sum(1)], dim=1)
    labels = torch.tensor([[1.0, 0.0]]).expand(T, 2)
    expected = functional.binary_cross_entropy_with_logits(scores, labels)
    assert gbce(hidden, items, answers, negatives, calibration=0).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_negatives_of_all_places_together_are_as_the_same_ones_for_each() -> None:
    hidden, items, bias, answers = case()
    shared = torch.tensor([2, 5, 2])
    each = shared.expand(T, 3)
    log_chance = torch.full((N,), -np.log(N))
    for loss in (
        lambda drawn: gbce(hidden, items, answers, drawn, calibration=0.5, bias=bias),
        lambda drawn: sampled_softmax(hidden, items, answers, drawn, log_chance, bias),
    ):
        assert loss(shared).item() == pytest.approx(loss(each).item(), rel=1e-6)
        for one, other in zip(
            *(torch.autograd.grad(loss(drawn), (hidden, items, bias)) for drawn in (shared, each)),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
