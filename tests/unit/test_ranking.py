from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.data.queries import Queries, Ragged
from pipelines.errors import PipelineError
from recsys import ranking
from recsys.api import Pairs
from recsys.ranking import TILE, block_rows, ranked_blocks, top_k


class Table:
    """A catalogue scorer whose scores stand in a table, one row a user."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self.scores = scores
        self.items_known = np.isfinite(scores).all(axis=0)

    def score(self, queries: Queries) -> NDArray[np.float32]:
        return self.scores[queries.user]

    def save(self, directory: Path) -> None:
        raise NotImplementedError


class PairTable:
    """A pair scorer on the same table; remembers how many pairs it was asked for."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self.scores = scores
        self.asked = 0

    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        self.asked += len(pairs.item)
        return self.scores[pairs.queries.user[pairs.query], pairs.item]

    def save(self, directory: Path) -> None:
        raise NotImplementedError


@dataclass
class Factors(Table):
    """A factor scorer; `score` must not be used where factors are there."""

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    bias: NDArray[np.float32]
    items_known: NDArray[np.bool_]

    def score(self, queries: Queries) -> NDArray[np.float32]:
        raise AssertionError("a factor scorer is ranked from its factors")

    def factors(self, queries: Queries) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        return self.users[queries.user], self.items, self.bias


def queries_of(n: int, history: list[list[int]] | None = None, candidates: list[list[int]] | None = None) -> Queries:
    return Queries(
        user=np.arange(n, dtype=np.int32),
        history=Ragged.of(history or [[]] * n),
        candidates=None if candidates is None else Ragged.of(candidates),
    )


def by_definition(
    scores: NDArray[np.float32], queries: Queries, k: int, view: str
) -> tuple[list[list[int]], list[list[float]]]:
    """Sorting in plain Python: score descending, then id ascending; -inf never ranked."""
    lists, values = [], []
    for row in range(len(queries)):
        allowed = set(range(scores.shape[1]))
        history = set(queries.history[row].tolist())
        allowed = {"all": allowed, "repeat": allowed & history, "novel": allowed - history}[view]
        if queries.candidates is not None:
            allowed &= set(queries.candidates[row].tolist())
        ranked = sorted((-float(scores[row, i]), i) for i in allowed if scores[row, i] > -np.inf)[:k]
        lists.append([i for _, i in ranked] + [-1] * (k - len(ranked)))
        values.append([-s for s, _ in ranked] + [-np.inf] * (k - len(ranked)))
    return lists, values


TIED = st.sampled_from([-np.inf, -3.5, -1e-40, -0.0, 0.0, 1e-40, 1.0, 2.0, 3e38])


@st.composite
def rankings(draw: st.DrawFn) -> tuple[NDArray[np.float32], Queries]:
    n, n_items = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    items = st.lists(st.integers(0, n_items - 1), max_size=6)
    rows = draw(st.lists(st.lists(TIED, min_size=n_items, max_size=n_items), min_size=n, max_size=n))
    history = draw(st.lists(items, min_size=n, max_size=n))
    candidates = draw(st.none() | st.lists(items, min_size=n, max_size=n))
    return np.array(rows, np.float32), queries_of(n, history, candidates)


@given(rankings(), st.integers(1, 12), st.sampled_from(["all", "repeat", "novel"]))
def test_lists_are_those_of_the_definition_with_every_kind_of_tie(
    case: tuple[NDArray[np.float32], Queries], k: int, view: str
) -> None:
    scores, queries = case
    items, values = by_definition(scores, queries, k, view)
    for scorer in (Table(scores), PairTable(scores)):
        found = top_k(scorer, queries, n_items=scores.shape[1], k=k, view=view)  # type: ignore[arg-type]
        assert found.items.tolist() == items
        assert found.scores.tolist() == values
        assert (found.items.dtype, found.scores.dtype) == (np.int32, np.float32)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_block_size_does_not_matter_to_the_last_bit(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    n, n_items = 3 * TILE + 7, 50
    scores = rng.standard_normal((n, n_items)).round(decimals).astype(np.float32)
    queries = queries_of(n, [rng.integers(0, n_items, 8).tolist() for _ in range(n)])
    whole = top_k(Table(scores), queries, n_items=n_items, k=10, view="novel")
    blocks = top_k(Table(scores), queries, n_items=n_items, k=10, view="novel", block_bytes=1)
    assert whole.items.tobytes() == blocks.items.tobytes()
    assert whole.scores.tobytes() == blocks.scores.tobytes()
    assert whole.items.tolist() == by_definition(scores, queries, 10, "novel")[0]


@pytest.mark.parametrize("dim", [1, 3, 64, 129])
def test_factors_give_the_same_bits_in_any_block_and_the_product_in_each(dim: int) -> None:
    rng = np.random.default_rng(dim)
    n, n_items = 2 * TILE + 5, 301
    known = np.arange(n_items) % 7 != 3
    users, items, bias = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((n, dim), (n_items, dim), (n_items,))
    )
    scorer = Factors(users, items, bias, known)
    whole = top_k(scorer, queries_of(n), n_items=n_items, k=20)
    blocks = top_k(scorer, queries_of(n), n_items=n_items, k=20, block_bytes=1)
    assert whole.scores.tobytes() == blocks.scores.tobytes()
    assert whole.items.tobytes() == blocks.items.tobytes()
    exact = users.astype(np.float64) @ items.T + bias
    exact[:, ~known] = -np.inf
    np.testing.assert_allclose(whole.scores, -np.sort(-exact, axis=1)[:, :20], rtol=1e-5, atol=1e-5)
    assert known[whole.items].all()


def test_views_come_together_from_one_scoring() -> None:
    scores = np.array([[4, 3, 2, 1], [1, 2, 3, 4]], np.float32)
    queries = queries_of(2, [[3, 1, 3], []])
    (block,) = ranked_blocks(Table(scores), queries, n_items=4, k=3, views=("all", "repeat", "novel"))
    assert block["all"].items.tolist() == [[0, 1, 2], [3, 2, 1]]
    assert block["repeat"].items.tolist() == [[1, 3, -1], [-1, -1, -1]]
    assert block["novel"].items.tolist() == [[0, 2, -1], [3, 2, 1]]
    assert scores.tolist() == [[4, 3, 2, 1], [1, 2, 3, 4]]


def test_a_pair_scorer_is_asked_for_candidates_only() -> None:
    scorer = PairTable(np.zeros((2, 1000), np.float32))
    found = top_k(scorer, queries_of(2, candidates=[[999, 5], [7]]), n_items=1000, k=3)
    assert found.items.tolist() == [[5, 999, -1], [7, -1, -1]]
    assert scorer.asked == 3


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf])
def test_a_score_that_cannot_be_ranked_names_the_query(value: float) -> None:
    scores = np.zeros((150, 4), np.float32)
    scores[130, 2] = value
    with pytest.raises(PipelineError, match=r"query 130 \(user 130\): the model scores item 2 as (nan|inf)"):
        top_k(Table(scores), queries_of(150), n_items=4, k=2, block_bytes=1)


def test_no_query_and_no_item_give_empty_lists() -> None:
    assert top_k(Table(np.zeros((0, 4), np.float32)), queries_of(0), n_items=4, k=2).items.shape == (0, 2)
    assert top_k(Table(np.zeros((2, 0), np.float32)), queries_of(2), n_items=0, k=2).items.tolist() == [[-1, -1]] * 2


def test_blocks_keep_to_the_memory_that_they_are_given() -> None:
    assert block_rows(10_000, 256 * 2**20) * 10_000 * ranking.BYTES_PER_SCORE <= 256 * 2**20
    assert block_rows(10_000, 256 * 2**20) % TILE == 0
    assert block_rows(10**7, 1) == TILE


class Noise(Table):
    """A scorer that holds nothing: scores are made when asked for."""

    def __init__(self, n_items: int) -> None:
        self.items_known = np.ones(n_items, np.bool_)

    def score(self, queries: Queries) -> NDArray[np.float32]:
        return np.full((len(queries), len(self.items_known)), 1.0, np.float32)


def test_memory_does_not_grow_with_the_number_of_queries() -> None:
    def peak(n: int) -> int:
        tracemalloc.start()
        for block in ranked_blocks(Noise(3000), queries_of(n), n_items=3000, k=10, views=("novel",), block_bytes=1):
            assert len(block["novel"])
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    few, many = peak(2 * TILE), peak(40 * TILE)
    assert many < 1.5 * few
