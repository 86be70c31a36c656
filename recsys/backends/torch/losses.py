"""Losses of a model that must find one item of the catalogue: softmax over all items, and over
drawn ones.

`hidden` float[T, d] is what the model says at each of T places, `items` float[n, d] the vectors of
the items, `bias` float[n] or None for none, and the score of item i is hidden . items_i + bias_i.
All give the mean over the places.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from falconer.recsys.backends.torch.scoring import rows_of

SCORES_AT_ONCE = {"cpu": 2**19, "cuda": 2**26}
"""Scores that the softmax over all items holds at a time: on a CPU 2 MB, which stay in its
cache."""
PLACES_AT_ONCE = 32
"""At least, however many items there are."""


def full_softmax(
    hidden: Tensor, items: Tensor, answers: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the softmax over all items: mean of log sum_j exp s_j - s_answer.

    Gradients are computed beside the scores, some places at a time, so that the table [T, n] of all
    scores is never written to memory and read again.
    """
    loss: Tensor = cast(Any, _FullSoftmax).apply(hidden, items, bias, answers)
    return loss


class _FullSoftmax(torch.autograd.Function):
    """With u = exp(s - max s), z = sum u and e the answer: ds = (u / z - e) / T. What u / z needs
    is divided by z where it has d columns, not n."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, items: Tensor, bias: Tensor | None, answers: Tensor
    ) -> Tensor:
        n = len(hidden)
        losses = torch.empty(n, device=hidden.device)
        for_hidden, for_items = (
            -rows_of(items, answers).float() / n,
            torch.zeros_like(items, dtype=torch.float32),
        )
        for_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        size = max(PLACES_AT_ONCE, SCORES_AT_ONCE[hidden.device.type] // len(items))
        for start in range(0, n, size):
            own = slice(start, start + size)
            scores = torch.matmul(hidden[own], items.T).float()
            if bias is not None:
                scores += bias
            highest = scores.amax(1, keepdim=True)
            chosen = scores.gather(1, answers[own, None])
            u = scores.sub_(highest).exp_()
            z = u.sum(1, keepdim=True)
            losses[own] = (z.log() + highest - chosen)[:, 0]
            weight = 1 / (z * n)
            for_hidden[own] += torch.matmul(u, items) * weight
            for_items += torch.matmul(u.T, hidden[own] * weight)
            if for_bias is not None:
                for_bias += torch.mv(u.T, weight[:, 0])
        for_items.index_add_(0, answers, hidden.float(), alpha=-1 / n)
        if for_bias is not None:
            for_bias -= torch.bincount(answers, minlength=len(items)) / n
        ctx.gradients = for_hidden.to(hidden.dtype), for_items.to(items.dtype), for_bias
        return losses.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (*(None if part is None else gradient * part for part in ctx.gradients), None)


def sampled_softmax(
    hidden: Tensor,
    items: Tensor,
    answers: Tensor,
    negatives: Tensor,
    log_chance: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """As `full_softmax`, with the sum over all items estimated from K drawn ones, j with chance
    q_j:

        sum_j exp s_j  ~  exp s_answer + sum over draws j != answer of exp(s_j - log(K q_j))

    which is right in the mean (Bengio and Senecal 2003). `negatives` int64[K], the same for all
    places, or [T, K]; `log_chance` float[n] is log q.
    """
    positive, drawn = _scores(hidden, items, answers, negatives, bias)
    corrected = drawn - log_chance[negatives] - torch.log(torch.tensor(float(negatives.shape[-1])))
    corrected = corrected.masked_fill(_hits(answers, negatives), -torch.inf)
    return (
        torch.logsumexp(torch.cat([positive[:, None], corrected], dim=1), dim=1) - positive
    ).mean()


def gbce(
    hidden: Tensor,
    items: Tensor,
    answers: Tensor,
    negatives: Tensor,
    *,
    calibration: float,
    bias: Tensor | None = None,
) -> Tensor:
    """Generalised binary cross-entropy (Petrov and Macdonald 2023, "gSASRec", section 5).

    With the sampling rate a = K / (n - 1), t = `calibration` and b = a (t (1 - 1 / a) + 1 / a):

        - (b log sigma(s_answer) + sum over draws j of log(1 - sigma(s_j))) / (K + 1)

    t = 0 is plain binary cross-entropy, t = 1 as overconfident as the softmax over all items. Draws
    of the answer itself are left out. `negatives` int64[K], the same for all places, or [T, K].
    """
    positive, drawn = _scores(hidden, items, answers, negatives, bias)
    k = negatives.shape[-1]
    rate = k / max(1, len(items) - 1)
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    against = functional.logsigmoid(-drawn).masked_fill(_hits(answers, negatives), 0.0).sum(1)
    return -(beta * functional.logsigmoid(positive) + against).mean() / (k + 1)


def _scores(
    hidden: Tensor, items: Tensor, answers: Tensor, negatives: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Scores of the answers [T] and of the negatives [T, K], in float32."""
    positive = (hidden * rows_of(items, answers)).sum(1)
    vectors = rows_of(items, negatives)
    drawn = (
        torch.matmul(hidden, vectors.T)
        if negatives.dim() == 1
        else (hidden[:, None] * vectors).sum(2)
    )
    if bias is not None:
        positive, drawn = positive + bias[answers], drawn + bias[negatives]
    return positive.float(), drawn.float()


def _hits(answers: Tensor, negatives: Tensor) -> Tensor:
    """bool[T, K]: whether a draw is the answer itself."""
    return negatives == answers[:, None]
