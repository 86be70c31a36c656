"""From scores to ranked lists, in blocks of bounded memory.

Tie rule: score descending, then item id ascending. It is exact, and the lists do not depend on the block size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.console import progress
from pipelines.data.queries import Queries, Ragged
from pipelines.data.schema import View
from pipelines.errors import PipelineError
from recsys.api import CatalogScorer, FactorScorer, Pairs, PairScorer

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

BLOCK_BYTES = 256 * 2**20
"""What the scores of one block, with their masked copy and the pairs of a pair scorer, may take."""
BYTES_PER_SCORE = 32
TILE = 64
"""Queries in one product of factors. BLAS may round differently for another shape, so this shape never changes."""
SELECTION_SCORES = 2**19
"""Scores that are selected from at once: their 64-bit keys (4 MB) then stay in the cache."""

_SCORE_BITS = np.int32(0x7FFFFFFF)
_ID_MASK = np.int64(0xFFFFFFFF)


@dataclass(frozen=True)
class TopK:
    """Ranked lists of Q queries.

    items   int32[Q, k]    best first, -1 behind the end of a shorter list
    scores  float32[Q, k]  beside `items`; -inf where items is -1
    """

    items: Int32
    scores: Float32

    def __len__(self) -> int:
        return len(self.items)


def top_k(
    scorer: CatalogScorer | PairScorer,
    queries: Queries,
    *,
    n_items: int,
    k: int,
    view: View = "all",
    block_bytes: int = BLOCK_BYTES,
) -> TopK:
    """The k best items of each query in one view; see `ranked_blocks`."""
    blocks = [
        block[view]
        for block in ranked_blocks(scorer, queries, n_items=n_items, k=k, views=(view,), block_bytes=block_bytes)
    ]
    empty = TopK(np.empty((0, k), np.int32), np.empty((0, k), np.float32))
    parts = [empty, *blocks]
    return TopK(np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts]))


def ranked_blocks(
    scorer: CatalogScorer | PairScorer,
    queries: Queries,
    *,
    n_items: int,
    k: int,
    views: Sequence[View],
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[dict[View, TopK]]:
    """The k best items of each query, block after block of queries in their order, for every view at once.

    View `all` ranks every item that the model knows, `repeat` only items of the query's history, `novel` only items
    outside it; the candidates of a query, where given, restrict each view further. Items scored -inf are never
    ranked. Memory is about `block_bytes`, and never less than what `TILE` queries need.

    Raises `PipelineError` that names the query where a score is NaN or +inf.
    """
    rows = block_rows(n_items, block_bytes)
    starts = range(0, len(queries), rows)
    for start in progress(starts, label=f"ranking {len(queries)} queries", total=len(starts)):
        block = queries.slice(start, min(start + rows, len(queries)))
        scores = _scores(scorer, block, n_items)
        _refuse_non_finite(scores, block, start)
        if block.candidates is not None:
            scores = _only(scores, block.candidates)
        yield {view: _select(_visible(scores, block.history, view), k) for view in views}


def block_rows(n_items: int, block_bytes: int) -> int:
    """Queries in a block: a multiple of `TILE` whose scores fit in `block_bytes`, at least `TILE`."""
    return max(1, block_bytes // (BYTES_PER_SCORE * max(n_items, 1) * TILE)) * TILE


def _scores(scorer: CatalogScorer | PairScorer, queries: Queries, n_items: int) -> Float32:
    if queries.candidates is not None and isinstance(scorer, PairScorer):
        return _pair_scores(scorer, queries, n_items)
    if isinstance(scorer, FactorScorer):
        return _factor_scores(scorer, queries)
    if isinstance(scorer, CatalogScorer):
        return scorer.score(queries)
    return _pair_scores(scorer, queries, n_items)


def _factor_scores(scorer: FactorScorer, queries: Queries) -> Float32:
    """Q I' + b by tiles of one fixed shape, so that a query's bits do not depend on the block it is in."""
    query_factors, item_factors, bias = scorer.factors(queries)
    n_queries, dim = query_factors.shape
    padded = np.zeros((-(-n_queries // TILE) * TILE, dim), np.float32)
    padded[:n_queries] = query_factors
    scores = np.empty((len(padded), len(item_factors)), np.float32)
    for start in range(0, len(padded), TILE):
        np.matmul(padded[start : start + TILE], item_factors.T, out=scores[start : start + TILE])
    scores += bias
    scores[:, ~scorer.items_known] = -np.inf
    return scores[:n_queries]


def _pair_scores(scorer: PairScorer, queries: Queries, n_items: int) -> Float32:
    """Score each query's candidates, or the whole catalogue where it gives none; -inf elsewhere."""
    if queries.candidates is None:
        query = np.repeat(np.arange(len(queries), dtype=np.int64), n_items)
        item = np.tile(np.arange(n_items, dtype=np.int32), len(queries))
    else:
        query, item = queries.candidates.rows, queries.candidates.values.astype(np.int32, copy=False)
    scores = np.full((len(queries), n_items), -np.inf, np.float32)
    scores[query, item] = scorer.score_pairs(Pairs(queries, query, item))
    return scores


def _refuse_non_finite(scores: Float32, queries: Queries, start: int) -> None:
    best = scores.max(axis=1, initial=-np.inf)
    bad = np.flatnonzero(~(best < np.inf))
    if len(bad):
        row, item = int(bad[0]), int(np.flatnonzero(~(scores[bad[0]] < np.inf))[0])
        raise PipelineError(
            f"query {start + row} (user {queries.user[row]}): the model scores item {item} as {scores[row, item]}; "
            "only finite scores can be ranked: train again with a smaller step or stronger regularisation"
        )


def _only(scores: Float32, items: Ragged) -> Float32:
    result = np.full_like(scores, -np.inf)
    result[items.rows, items.values] = scores[items.rows, items.values]
    return result


def _visible(scores: Float32, history: Ragged, view: View) -> Float32:
    """`scores` with -inf for what the view does not rank; a copy unless the view is `all`."""
    if view == "all":
        return scores
    if view == "repeat":
        return _only(scores, history)
    result = scores.copy()
    result[history.rows, history.values] = -np.inf
    return result


def _select(scores: Float32, k: int) -> TopK:
    n_queries, n_items = scores.shape
    top = TopK(np.full((n_queries, k), -1, np.int32), np.full((n_queries, k), -np.inf, np.float32))
    width = min(k, n_items)
    step = max(1, SELECTION_SCORES // max(n_items, 1))
    for start in range(0, n_queries if width else 0, step):
        part = scores[start : start + step]
        items = _best_first(part, width)
        best = np.take_along_axis(part, items, axis=1)
        ranked = best > -np.inf
        top.items[start : start + step, :width] = np.where(ranked, items, -1)
        top.scores[start : start + step, :width] = best
    return top


def _best_first(scores: Float32, k: int) -> NDArray[np.int64]:
    """int64[Q, k]: ids of the k greatest scores of each row, score descending, then id ascending.

    Each score and its id make one 64-bit key: above, the bits of the score as an integer that falls while the score
    rises; below, the id. No two keys are equal, so partitioning and sorting them knows no ties.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # adding zero makes -0.0 and 0.0 the same bits
    falling = ~np.where(bits < 0, bits ^ _SCORE_BITS, bits)
    keys = falling.astype(np.int64) << 32
    keys |= np.arange(scores.shape[1])
    if k < scores.shape[1]:
        keys.partition(k - 1, axis=1)
    best = keys[:, :k]
    best.sort(axis=1)
    return best & _ID_MASK
