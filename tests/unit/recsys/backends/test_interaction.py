"""Dot products of every two vectors, and their gradient."""

from __future__ import annotations

import pytest
import torch

from falconer.recsys.backends.torch.pairs.interaction import PairwiseProducts


def test_by_hand() -> None:
    vectors = torch.tensor([[[1.0, 0.0], [2.0, 3.0], [-1.0, 1.0]]])
    assert PairwiseProducts(3)(vectors).tolist() == [[2.0, -1.0, 1.0]]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_gradient_is_that_of_the_plain_products(n: int) -> None:
    products = PairwiseProducts(n)
    vectors = torch.randn(
        4, 3, n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(n)
    )
    weights = torch.randn(4, 3, products.n_products, dtype=torch.float64)
    found = []
    for training in (True, False):
        given = vectors.clone().requires_grad_()
        out = products.train(training)(given)
        assert out.shape == (4, 3, n * (n - 1) // 2)
        (out * weights).sum().backward()
        found.append((out.detach(), given.grad))
    torch.testing.assert_close(found[0], found[1])


def test_the_gradient_by_differences() -> None:
    vectors = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(PairwiseProducts(3), (vectors,))


def test_under_autocast_the_gradient_is_of_the_vectors_type() -> None:
    vectors = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = PairwiseProducts(3)(vectors)
    assert out.dtype == torch.bfloat16
    (found,) = torch.autograd.grad(out.float().sum(), vectors)
    (expected,) = torch.autograd.grad(PairwiseProducts(3)(vectors).sum(), vectors)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
