"""From scores to ranked lists, in bounded memory and on all cores.

Tie rule: score descending, then item id ascending. It is exact, and the lists do not depend on the
block size, on the number of threads, or on what is asked beside a query. A full table of scores is
never made of factors: the product of a few queries with a part of the catalogue is ranked before
the next part is computed.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.data.schema import View
from falconer.pipelines.errors import PipelineError
from falconer.recsys.contracts import CatalogScorer, FactorScorer, Pairs, PairScorer
from falconer.recsys.lists.ranked import TopK

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

BLOCK_BYTES = 256 * 2**20
"""What the scores of one block, with the pairs of a pair scorer, may take."""
BYTES_PER_SCORE = 32
ROWS = 64
"""A block of scores has a multiple of so many queries."""
QUERIES_AT_ONCE = 2**13
"""Queries in a block where no table of scores is made."""
TILE = 256
ITEMS_AT_ONCE = 5 * 2**12
"""Queries and items in one product of factors, chosen by measurement: 20 MB of scores a thread.
BLAS may round differently for another shape, so the shape never changes with the number of queries;
the last tiles are filled up with zeros."""
GROUP_OF_ITEMS = 256
SCORES_COPIED = 2**21
"""Scores of a table that one thread ranks at a time."""

Piece = tuple[int, Float32, Float32]
"""First item, scores[R, B] that may be overwritten, bias[B]."""


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
        for block in ranked_blocks(
            scorer, queries, n_items=n_items, k=k, views=(view,), block_bytes=block_bytes
        )
    ]
    empty = TopK(np.empty((0, k), np.int32), np.empty((0, k), np.float32))
    parts = [empty, *blocks]
    return TopK(
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def ranked_blocks(
    scorer: CatalogScorer | PairScorer,
    queries: Queries,
    *,
    n_items: int,
    k: int,
    views: Sequence[View],
    block_bytes: int = BLOCK_BYTES,
    first: int = 0,
) -> Iterator[dict[View, TopK]]:
    """The k best items of each query, block after block of queries in their order, for every view
    at once.

    View `all` ranks every item that the model knows, `repeat` only items of the query's history,
    `novel` only items outside it; the candidates of a query, where given, restrict each view
    further. Items scored -inf are never ranked. Memory is about `block_bytes`, and never less than
    what `ROWS` queries need. `first` is the number of queries before these, for messages.

    Raises `PipelineError` that names the query where a score is NaN or +inf.
    """
    rows = QUERIES_AT_ONCE if by_factors(scorer, queries) else block_rows(n_items, block_bytes)
    for start in range(0, len(queries), rows):
        block = queries.slice(start, min(start + rows, len(queries)))
        wanted = {view: _wanted(block, view, n_items) for view in views}
        yield _rank(
            _source(scorer, block, n_items),
            wanted,
            block.user,
            k=k,
            n_items=n_items,
            first=first + start,
        )


def block_rows(n_items: int, block_bytes: int) -> int:
    """Queries in a block: a multiple of `ROWS` whose scores fit in `block_bytes`, at least
    `ROWS`."""
    return max(1, block_bytes // (BYTES_PER_SCORE * max(n_items, 1) * ROWS)) * ROWS


def threads() -> int:
    """Threads to rank with: OMP_NUM_THREADS where set, else the cores open to this process."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class _Wanted:
    """What a view ranks: the items of `only` (distinct) where there is one, else all but those of
    `without`."""

    only: Ragged | None = None
    without: Ragged | None = None


def _wanted(queries: Queries, view: View, n_items: int) -> _Wanted:
    history = queries.history
    if queries.candidates is None:
        if view == "repeat":
            return _Wanted(only=_distinct(history, n_items))
        return _Wanted(without=_own(history) if view == "novel" else None)
    candidates = _distinct(queries.candidates, n_items)
    if view == "all":
        return _Wanted(only=candidates)
    known = np.isin(_pairs(candidates, n_items), _pairs(history, n_items), invert=view == "novel")
    return _Wanted(only=candidates.keep(known))


def _distinct(items: Ragged, n_items: int) -> Ragged:
    pairs = np.unique(_pairs(items, n_items))
    row = pairs // max(n_items, 1)
    lengths = np.bincount(row, minlength=len(items))
    return Ragged.from_lengths(lengths, (pairs - row * n_items).astype(np.int32))


def _pairs(items: Ragged, n_items: int) -> NDArray[np.int64]:
    return items.rows * n_items + items.values.astype(np.int64)


def _own(items: Ragged) -> Ragged:
    """A copy that compiled code takes without compiling anew: parquet's arrays are read-only,
    others are not."""
    return Ragged(items.offsets.astype(np.int64), items.values.astype(np.int32))


@dataclass(frozen=True)
class _Source:
    """Scores of Q queries in tiles: `pieces(buffer, start, stop)` gives those of some queries, item
    by item.

    tile   queries that are asked for at a time
    width  items of the widest piece: a buffer is float32[tile, width]
    """

    tile: int
    width: int
    pieces: Callable[[Float32, int, int], Iterable[Piece]]


def by_factors(scorer: CatalogScorer | PairScorer, queries: Queries) -> bool:
    """Whether the queries are ranked by a product of factors."""
    return isinstance(scorer, FactorScorer) and not (
        queries.candidates is not None and isinstance(scorer, PairScorer)
    )


def known_factors(
    scorer: CatalogScorer | PairScorer, queries: Queries
) -> tuple[Float32, Float32, Float32]:
    """The factors of a `FactorScorer`, with bias -inf and factors 0 for items that the model does
    not know."""
    assert isinstance(scorer, FactorScorer)
    query_factors, item_factors, bias = scorer.factors(queries)
    known = scorer.items_known
    hidden = np.where(known, bias, np.float32(-np.inf))
    return (
        query_factors,
        item_factors if known.all() else np.where(known[:, None], item_factors, np.float32(0)),
        hidden,
    )


def _source(scorer: CatalogScorer | PairScorer, queries: Queries, n_items: int) -> _Source:
    if by_factors(scorer, queries):
        return _of_factors(*known_factors(scorer, queries))
    if isinstance(scorer, CatalogScorer) and not (
        queries.candidates is not None and isinstance(scorer, PairScorer)
    ):
        return _of_table(scorer.score(queries))
    assert isinstance(scorer, PairScorer)
    return _of_table(_pair_scores(scorer, queries, n_items))


def _of_factors(query_factors: Float32, item_factors: Float32, bias: Float32) -> _Source:
    """Q I' + b by tiles of one fixed shape, so that a query's bits do not depend on the block it is
    in."""
    parts = _parts_of_items(item_factors, bias)

    def pieces(buffer: Float32, start: int, stop: int) -> Iterator[Piece]:
        tile = np.zeros((TILE, query_factors.shape[1]), np.float32)
        tile[: stop - start] = query_factors[start:stop]
        for first, factors, own_bias in parts:
            np.matmul(tile, factors, out=buffer)
            yield first, buffer[: stop - start], own_bias

    return _Source(TILE, parts[0][1].shape[1] if parts else 0, pieces)


def _parts_of_items(item_factors: Float32, bias: Float32) -> list[tuple[int, Float32, Float32]]:
    """First item, factors float32[d, B] and bias float32[B] of parts of one size, -inf where the
    catalogue ends."""
    n_items = len(item_factors)
    n_parts = -(-n_items // ITEMS_AT_ONCE)
    size = -(-n_items // (max(n_parts, 1) * GROUP_OF_ITEMS)) * GROUP_OF_ITEMS
    parts = []
    for first in range(0, n_items, size or 1):
        factors = np.zeros((item_factors.shape[1], size), np.float32)
        own_bias = np.full(size, -np.inf, np.float32)
        there = min(size, n_items - first)
        factors[:, :there] = item_factors[first : first + there].T
        own_bias[:there] = bias[first : first + there]
        parts.append((first, factors, own_bias))
    return parts


def _of_table(scores: Float32) -> _Source:
    """Scores[Q, n_items] as they are; the scorer's own table is never changed."""
    n_items = scores.shape[1]
    bias = np.zeros(n_items, np.float32)

    def pieces(buffer: Float32, start: int, stop: int) -> Iterator[Piece]:
        buffer[: stop - start] = scores[start:stop]
        yield 0, buffer[: stop - start], bias

    return _Source(max(1, min(TILE, SCORES_COPIED // max(n_items, 1))), n_items, pieces)


def _pair_scores(scorer: PairScorer, queries: Queries, n_items: int) -> Float32:
    """Score each query's candidates, or the whole catalogue where it gives none; -inf elsewhere."""
    if queries.candidates is None:
        query = np.repeat(np.arange(len(queries), dtype=np.int64), n_items)
        item = np.tile(np.arange(n_items, dtype=np.int32), len(queries))
    else:
        query, item = (
            queries.candidates.rows,
            queries.candidates.values.astype(np.int32, copy=False),
        )
    scores = np.full((len(queries), n_items), -np.inf, np.float32)
    scores[query, item] = scorer.score_pairs(Pairs(queries, query, item))
    return scores


def _rank(
    source: _Source,
    wanted: Mapping[View, _Wanted],
    users: Int32,
    *,
    k: int,
    n_items: int,
    first: int,
) -> dict[View, TopK]:
    """Rank all queries of a source, each thread one tile after another."""
    n = len(users)
    lists = {
        view: TopK(np.full((n, k), -1, np.int32), np.full((n, k), -np.inf, np.float32))
        for view in wanted
    }
    width = min(k, n_items)
    tiles = range(0, n if width else 0, source.tile)
    starts, workers = iter(tiles), max(1, min(threads(), len(tiles)))

    def work(_: int) -> None:
        buffer = np.empty((source.tile, source.width), np.float32)
        for start in starts:  # one iterator for all threads: each tile goes to one of them
            stop = min(start + source.tile, n)
            rows = range(start, stop)
            found = _rank_tile(
                source.pieces(buffer, start, stop), wanted, rows, width, users, first
            )
            for view, (items, scores) in found.items():
                lists[view].items[start:stop, :width] = items
                lists[view].scores[start:stop, :width] = scores

    # A BLAS with threads of its own would fight with ours, and may round differently with their
    # number.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return lists


def _rank_tile(
    pieces: Iterable[Piece],
    wanted: Mapping[View, _Wanted],
    rows: range,
    k: int,
    users: Int32,
    first_query: int,
) -> dict[View, tuple[Int32, Float32]]:
    selection = _selection()
    best = {view: selection.nothing_yet(len(rows), k) for view in wanted}
    hiding_last = sorted(wanted, key=lambda view: wanted[view].without is not None)
    for first, scores, bias in pieces:
        rankable = any(part.only is None for part in wanted.values()) or selection.all_rankable(
            scores, bias
        )
        for view in hiding_last:
            if not rankable:
                break
            only, without = wanted[view].only, wanted[view].without
            if only is not None:
                selection.take_only(scores, bias, first, *_rows_of(only, rows), best[view], k)
                continue
            if without is not None:
                rankable = selection.hide(scores, bias, first, *_rows_of(without, rows))
            rankable = rankable and selection.take(scores, bias, first, best[view], k)
        if not rankable:
            raise _not_rankable(scores + bias, first, users, rows.start, first_query)
    return {view: selection.finished(best[view], k) for view in wanted}


def _selection() -> ModuleType:
    """What selects the best. Imported here, since a compiler takes a while to load and judging
    needs none; `falconer doctor` says where Numba is there and cannot be imported."""
    try:
        return importlib.import_module("falconer.recsys.recommending.compiled")
    except ImportError:
        return importlib.import_module("falconer.recsys.recommending.plain")


def _rows_of(items: Ragged, rows: range) -> tuple[NDArray[np.int64], Int32]:
    return items.offsets[rows.start : rows.stop + 1], np.asarray(items.values, np.int32)


def _not_rankable(
    scores: Float32, first: int, users: Int32, start: int, first_query: int
) -> PipelineError:
    row, item = np.argwhere(~(scores < np.inf))[0].tolist()
    return PipelineError(
        f"query {first_query + start + row} (user {users[start + row]}): the model scores item "
        f"{first + item} as {scores[row, item]}; only finite scores can be ranked: train again "
        "with a smaller step or stronger regularisation"
    )
