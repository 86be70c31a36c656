"""Dot products between the vectors of a row."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class PairwiseProducts(nn.Module):
    """The dot products of every two of N vectors: V V^T above its diagonal, row by row.

    The gradient G of the products, laid out as the symmetric matrix [N, N], gives G V: one
    multiplication, where autograd's rules for a product take two and scatter G first: two thirds of
    the time on a CPU.
    """

    def __init__(self, n_vectors: int) -> None:
        super().__init__()
        first, second = torch.triu_indices(n_vectors, n_vectors, offset=1)
        self.n_products = len(first)
        back = torch.full(
            (n_vectors, n_vectors), self.n_products
        )  # the diagonal has a column of zeros behind the others
        back[first, second] = back[second, first] = torch.arange(self.n_products)
        self.places: Tensor
        self.back: Tensor
        self.register_buffer("places", first * n_vectors + second, persistent=False)
        self.register_buffer("back", back.flatten(), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """[..., N, d] -> [..., N choose 2]."""
        if self.training:
            found: Tensor = cast(Any, _Products).apply(vectors, self.places, self.back)
            return found
        return _products(vectors, self.places)


def _products(vectors: Tensor, places: Tensor) -> Tensor:
    return torch.matmul(vectors, vectors.transpose(-1, -2)).flatten(-2).index_select(-1, places)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, places: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(vectors, back)
        return _products(vectors, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        vectors, back = ctx.saved_tensors
        padded = torch.cat([gradient, gradient.new_zeros(*gradient.shape[:-1], 1)], -1)
        whole = padded.index_select(-1, back).view(
            *gradient.shape[:-1], *vectors.shape[-2:-1] * 2
        )  # [..., N, N]
        return (
            torch.matmul(whole, vectors.to(whole.dtype)).to(vectors.dtype),
            None,
            None,
        )  # bf16 under autocast
