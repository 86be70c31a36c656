from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.data.schema import View
from falconer.pipelines.errors import PipelineError
from falconer.recsys.contracts import Pairs
from falconer.recsys.recommending import top_k as ranking
from falconer.recsys.recommending.top_k import ROWS, TILE, block_rows, ranked_blocks, top_k


@pytest.fixture(params=["compiled", "plain"], autouse=True, scope="module")
def selection(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test of this file holds with Numba and without it."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setitem(sys.modules, "falconer.recsys.recommending.compiled", None)
        assert ranking._selection().__name__.endswith(request.param)
        yield request.param


VIEWS: tuple[View, ...] = ("all", "repeat", "novel")


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

    def factors(
        self, queries: Queries
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        return self.users[queries.user], self.items, self.bias

    def exact(self) -> NDArray[np.float64]:
        return self.users.astype(np.float64) @ self.items.T + self.bias


def queries_of(
    n: int, history: list[list[int]] | None = None, candidates: list[list[int]] | None = None
) -> Queries:
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
        ranked = sorted((-float(scores[row, i]), i) for i in allowed if scores[row, i] > -np.inf)[
            :k
        ]
        lists.append([i for _, i in ranked] + [-1] * (k - len(ranked)))
        values.append([-s for s, _ in ranked] + [-np.inf] * (k - len(ranked)))
    return lists, values


TIED = st.sampled_from([-np.inf, -3.5, -1e-40, -0.0, 0.0, 1e-40, 1.0, 2.0, 3e38])


@st.composite
def rankings(draw: st.DrawFn) -> tuple[NDArray[np.float32], Queries]:
    n, n_items = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    items = st.lists(st.integers(0, n_items - 1), max_size=6)
    rows = draw(
        st.lists(st.lists(TIED, min_size=n_items, max_size=n_items), min_size=n, max_size=n)
    )
    history = draw(st.lists(items, min_size=n, max_size=n))
    candidates = draw(st.none() | st.lists(items, min_size=n, max_size=n))
    return np.array(rows, np.float32), queries_of(n, history, candidates)


@settings(deadline=None)  # the first call may compile
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


@settings(max_examples=10, deadline=None)
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
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((n, dim), (n_items, dim), (n_items,))
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


@st.composite
def products(draw: st.DrawFn) -> tuple[Factors, Queries]:
    """Catalogues of one part or several, with scores of many ties or of none, and items that the
    model never knew."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_items, dim = draw(st.integers(1, 9)), draw(st.integers(1, 1500)), draw(st.integers(1, 5))
    decimals = draw(
        st.sampled_from([0, 1, 6])
    )  # small whole numbers: products are exact in any order
    users, items = (
        rng.standard_normal((size, dim)).round(decimals).astype(np.float32) for size in (n, n_items)
    )
    bias = rng.standard_normal(n_items).round(decimals).astype(np.float32)
    known = rng.random(n_items) < draw(st.sampled_from([0.05, 0.9, 1.0]))
    lengths = rng.integers(0, n_items + 5, n)
    history = [rng.integers(0, n_items, size).tolist() for size in lengths]
    return Factors(users, items, bias, known), queries_of(n, history)


@settings(max_examples=60, deadline=None)
@given(products(), st.integers(1, 300), st.sampled_from([256, 512, ranking.ITEMS_AT_ONCE]))
def test_fused_lists_are_those_of_a_full_sort_of_the_same_scores(
    case: tuple[Factors, Queries], k: int, items_at_once: int
) -> None:
    scorer, queries = case
    n_items = len(scorer.items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "ITEMS_AT_ONCE", items_at_once)
        everything = top_k(scorer, queries, n_items=n_items, k=n_items)
        (found,) = ranked_blocks(scorer, queries, n_items=n_items, k=k, views=VIEWS)
    scores = np.full((len(queries), n_items + 1), -np.inf, np.float32)
    np.put_along_axis(scores, everything.items.astype(np.int64), everything.scores, axis=1)
    scores = scores[:, :n_items]  # -1 put what stands behind the end into the last column
    np.testing.assert_allclose(
        scores[:, scorer.items_known], scorer.exact()[:, scorer.items_known], atol=1e-5
    )
    for view, lists in found.items():
        expected = sorted_by_key(scores, queries.history, view, k)
        assert lists.items.tolist() == expected.tolist()
        best = np.take_along_axis(scores, lists.items.clip(0).astype(np.int64), axis=1)
        assert (
            lists.scores.tolist() == np.where(lists.items < 0, np.float32(-np.inf), best).tolist()
        )


def sorted_by_key(
    scores: NDArray[np.float32], history: Ragged, view: str, k: int
) -> NDArray[np.int64]:
    """Ranking by sorting whole rows: score descending, then id ascending; -1 behind the end."""
    in_history = np.zeros(scores.shape, np.bool_)
    in_history[history.rows, history.values] = True
    visible = {"all": scores > -np.inf, "repeat": in_history, "novel": ~in_history}[view] & (
        scores > -np.inf
    )
    order = np.argsort(np.where(visible, -scores, np.inf), axis=1, kind="stable")[:, :k]
    lists = np.where(np.take_along_axis(visible, order, axis=1), order, -1)
    return np.pad(lists, [(0, 0), (0, max(0, k - scores.shape[1]))], constant_values=-1)


@pytest.mark.parametrize("dim", [1, 7, 64])
def test_neither_threads_nor_neighbours_change_a_bit(
    dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(dim)
    n, n_items = 2 * TILE + 9, 3000
    users, items = (rng.standard_normal((size, dim), dtype=np.float32) for size in (n, n_items))
    scorer = Factors(users, items, np.zeros(n_items, np.float32), np.ones(n_items, np.bool_))
    queries = queries_of(n)
    whole = top_k(scorer, queries, n_items=n_items, k=50)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert top_k(scorer, queries, n_items=n_items, k=50).scores.tobytes() == whole.scores.tobytes()
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    order = rng.permutation(n)
    mixed = top_k(scorer, queries.take(order), n_items=n_items, k=50)
    assert mixed.scores.tobytes() == whole.scores[order].tobytes()
    assert mixed.items.tobytes() == whole.items[order].tobytes()
    alone = top_k(scorer, queries.slice(n - 1, n), n_items=n_items, k=50)
    assert alone.scores.tobytes() == whole.scores[-1:].tobytes()


def test_many_equal_scores_and_a_long_list() -> None:
    scores = np.zeros((3, 5000), np.float32)
    scores[1, ::2], scores[2] = -1, np.arange(5000) // 7
    for k in (1, 300, 1000, 5000):
        found = top_k(Table(scores), queries_of(3), n_items=5000, k=k)
        assert (
            found.items.tolist() == sorted_by_key(scores, queries_of(3).history, "all", k).tolist()
        )


@pytest.mark.parametrize("levels", [2, 5, 400])
@pytest.mark.parametrize("sign", [-1, 0, 1])
@pytest.mark.parametrize("k", [1, 15, 16, 60, 300])
def test_a_floor_dismisses_none_of_the_best(levels: int, sign: int, k: int) -> None:
    """Scores of few levels, both zeros, denormals and -inf among them, in whole groups and a broken
    one."""
    rng = np.random.default_rng(levels)
    scores = (rng.integers(0, levels, (4, 900)) - levels // 2).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = -0.0
    scores[rng.random(scores.shape) < 0.1] = 1e-40
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    scores = np.abs(scores) * sign if sign else scores
    if sign == 1:
        scores[np.isinf(scores)] = -np.inf
    queries = queries_of(4)
    found = top_k(Table(scores), queries, n_items=900, k=k)
    items, values = by_definition(scores, queries, k, "all")
    assert found.items.tolist() == items
    assert found.scores.tolist() == values


def test_no_table_of_scores_is_made_of_factors() -> None:
    n, n_items = 4096, 20_000
    rng = np.random.default_rng(0)
    users, items = (rng.standard_normal((size, 2), dtype=np.float32) for size in (n, n_items))
    scorer = Factors(users, items, np.zeros(n_items, np.float32), np.ones(n_items, np.bool_))
    top_k(scorer, queries_of(1), n_items=n_items, k=10)
    tracemalloc.start()
    top_k(scorer, queries_of(n), n_items=n_items, k=10)
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert highest < n * n_items * 4 / 5


def test_a_nan_in_what_is_not_listed_is_an_error_too() -> None:
    scores = np.zeros((1, 4), np.float32)
    scores[0, 2] = np.nan
    for view, history in (("novel", [2]), ("repeat", [1]), ("all", [])):
        with pytest.raises(PipelineError, match="scores item 2 as nan"):
            top_k(Table(scores), queries_of(1, [history]), n_items=4, k=2, view=view)  # type: ignore[arg-type]


def test_views_come_together_from_one_scoring() -> None:
    scores = np.array([[4, 3, 2, 1], [1, 2, 3, 4]], np.float32)
    queries = queries_of(2, [[3, 1, 3], []])
    (block,) = ranked_blocks(
        Table(scores), queries, n_items=4, k=3, views=("all", "repeat", "novel")
    )
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
    with pytest.raises(
        PipelineError, match=r"query 130 \(user 130\): the model scores item 2 as (nan|inf)"
    ):
        top_k(Table(scores), queries_of(150), n_items=4, k=2, block_bytes=1)


def test_no_query_and_no_item_give_empty_lists() -> None:
    assert top_k(
        Table(np.zeros((0, 4), np.float32)), queries_of(0), n_items=4, k=2
    ).items.shape == (0, 2)
    assert (
        top_k(Table(np.zeros((2, 0), np.float32)), queries_of(2), n_items=0, k=2).items.tolist()
        == [[-1, -1]] * 2
    )


def test_blocks_keep_to_the_memory_that_they_are_given() -> None:
    assert block_rows(10_000, 256 * 2**20) * 10_000 * ranking.BYTES_PER_SCORE <= 256 * 2**20
    assert block_rows(10_000, 256 * 2**20) % ROWS == 0
    assert block_rows(10**7, 1) == ROWS


class Noise(Table):
    """A scorer that holds nothing: scores are made when asked for."""

    def __init__(self, n_items: int) -> None:
        self.items_known = np.ones(n_items, np.bool_)

    def score(self, queries: Queries) -> NDArray[np.float32]:
        return np.full((len(queries), len(self.items_known)), 1.0, np.float32)


def test_memory_does_not_grow_with_the_number_of_queries() -> None:
    def peak(n: int) -> int:
        tracemalloc.start()
        for block in ranked_blocks(
            Noise(3000), queries_of(n), n_items=3000, k=10, views=("novel",), block_bytes=1
        ):
            assert len(block["novel"])
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    few, many = peak(2 * TILE), peak(12 * TILE)
    assert many < 1.5 * few


def test_factors_of_an_unknown_item_are_never_used() -> None:
    """What a model holds for an item that it was not trained with may be anything, NaN too."""
    known = np.array([True, False, True])
    items = np.array([[1.0], [np.nan], [2.0]], np.float32)
    scorer = Factors(
        np.ones((1, 1), np.float32),
        items,
        np.zeros(3, np.float32),
        known,
    )
    queries = Queries(np.zeros(1, np.int32), Ragged.of([[]]))
    _, used, bias = ranking.known_factors(scorer, queries)
    np.testing.assert_array_equal(used[:, 0], [1, 0, 2])
    np.testing.assert_array_equal(bias, [0, -np.inf, 0])
    assert top_k(scorer, queries, n_items=3, k=3).items.tolist() == [[2, 0, -1]]
