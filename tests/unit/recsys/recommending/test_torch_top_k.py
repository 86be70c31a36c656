"""Top-k in torch against the exact path. On a CPU; that a GPU gives the same to 1e-6 is in the test
for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.errors import PipelineError
from falconer.recsys.recommending import on_torch as backend
from falconer.recsys.recommending.on_torch import top_k_of_factors
from falconer.recsys.recommending.top_k import top_k

Float32 = NDArray[np.float32]


class Given:
    """A factor scorer of given factors."""

    def __init__(self, users: Float32, items: Float32, bias: Float32) -> None:
        self._parts = users, items, bias
        self.items_known = bias > -np.inf

    def factors(self, queries: Queries) -> tuple[Float32, Float32, Float32]:
        users, items, bias = self._parts
        return users[queries.user], items, bias

    def score(self, queries: Queries) -> Float32:
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        raise NotImplementedError


def factors(
    seed: int, n: int, n_items: int, decimals: int
) -> tuple[Float32, Float32, Float32, Ragged]:
    rng = np.random.default_rng(seed)
    users, items = (
        rng.standard_normal((size, 4)).round(decimals).astype(np.float32) for size in (n, n_items)
    )
    bias = np.where(
        rng.random(n_items) < 0.9, rng.standard_normal(n_items).round(decimals), -np.inf
    )
    return (
        users,
        items,
        bias.astype(np.float32),
        Ragged.of([rng.integers(0, n_items, 5).tolist() for _ in range(n)]),
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 9),
    st.integers(1, 60),
    st.integers(1, 70),
    st.sampled_from([1, 7, 2**15]),
    st.booleans(),
)
def test_lists_are_those_of_the_exact_path(
    seed: int, n: int, n_items: int, k: int, at_once: int, hide: bool
) -> None:
    """Whole numbers: their products are exact in any order, so lists and scores must be the very
    same."""
    users, items, bias, history = factors(seed, n, n_items, decimals=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "ITEMS_AT_ONCE", at_once)
        patch.setattr(backend, "QUERIES_AT_ONCE", 4)
        found = top_k_of_factors(
            users, items, bias, k=k, hidden=history if hide else None, device="cpu"
        )
    queries = Queries(np.arange(n, dtype=np.int32), history)
    view = "novel" if hide else "all"
    expected = top_k(Given(users, items, bias), queries, n_items=n_items, k=k, view=view)  # type: ignore[arg-type]
    assert found.items.tolist() == expected.items.tolist()
    assert found.scores.tolist() == expected.scores.tolist()
    assert (found.items.dtype, found.scores.dtype) == (np.int32, np.float32)


def compare_with_exact(device: str) -> None:
    users, items, bias, history = factors(0, 300, 5000, decimals=9)
    found = top_k_of_factors(users, items, bias, k=50, hidden=history, device=device)
    queries = Queries(np.arange(300, dtype=np.int32), history)
    expected = top_k(Given(users, items, bias), queries, n_items=5000, k=50, view="novel")
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6, atol=1e-6)
    assert (found.items == expected.items).mean() > 0.999


def test_scores_agree_to_a_millionth() -> None:
    compare_with_exact("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_agrees_to_a_millionth() -> None:
    compare_with_exact("cuda")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_cannot_be_ranked_names_the_query(value: float) -> None:
    users, items, bias, _ = factors(0, 6, 9, decimals=0)
    users[:], items[:], bias[:] = 1, 0, 0
    users[:5], bias[3] = 0, 1
    items[3] = 3e38 if value == np.inf else 0
    users[5] = 1 if value == np.inf else value
    first = 3 if value == np.inf else 0
    with pytest.raises(PipelineError, match=f"query 5: the model scores item {first} as {value}"):
        top_k_of_factors(users, items, bias, k=2, device="cpu")
