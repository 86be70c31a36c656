"""The multinomial likelihood of sets of items, with a gradient that makes one pass over the
logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from falconer.recsys.backends.torch.item_sets.batches import Profiles


def negative_log_likelihood(logits: torch.Tensor, profiles: Profiles) -> torch.Tensor:
    """Minus the sum of log softmax(logits)_i over the items i of each user: the multinomial
    likelihood of Liang et al. 2018 (equation 2), for counts of 0 and 1 and without its constant.

    Logits [B, n_items] beside B profiles -> float32[B]. The gradient, n softmax(logits) - x for a
    user with the n items that x marks, is written down at once: autograd would make several tables
    of [B, n_items] on its way there.
    """
    rows = profiles.rows
    cells = rows * logits.shape[1] + profiles.items
    apply: Callable[..., torch.Tensor] = _NegativeLogLikelihood.apply
    return apply(logits.float(), profiles.lengths, rows, cells)


class _NegativeLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        lengths: torch.Tensor,
        rows: torch.Tensor,
        cells: torch.Tensor,
    ) -> torch.Tensor:
        log_shares = torch.log_softmax(logits, dim=1)
        ctx.save_for_backward(log_shares, lengths, rows, cells)
        picked = log_shares.flatten()[cells]
        return -picked.new_zeros(len(logits)).index_add_(0, rows, picked)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor, None, None, None]:
        """From d loss / d result [B] to d loss / d logits [B, n_items]."""
        log_shares, lengths, rows, cells = ctx.saved_tensors
        (weight,) = gradients
        gradient = log_shares.exp().mul_((lengths * weight)[:, None])
        flat = gradient.view(-1)
        flat[cells] = flat[cells] - weight[rows]  # no cell is there twice
        return gradient, None, None, None
