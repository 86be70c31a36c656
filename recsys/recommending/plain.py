"""The k best of scores that come part by part, in NumPy: what
`falconer.recsys.recommending.top_k` ranks with where Numba is not installed. The lists are those of
`falconer.recsys.recommending.compiled`, bit for bit; docs/recommending.md says what it costs.

A score and its item make one 64-bit key: above, the bits of the score as an integer that falls
while the score rises; below, the item's id. Keys in rising order are items by falling score and
then by rising id, and no two are equal, so partitioning and sorting them knows no ties. -0.0 and
0.0 are the same score.

All but a few items are dismissed by the greatest score of their chunk alone: k chunks whose
greatest scores reach a floor hold k items that reach it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

NO_KEY = np.int64(2**63 - 1)
BELOW_SIGN = np.int32(0x7FFFFFFF)

_ID_MASK = np.int64(0xFFFFFFFF)
_CHUNK = 16
"""Items whose greatest score stands for them."""
_SCORES_AT_ONCE = 2**18
"""Scores that are compared before the next rows are: they stay in a cache."""
_LOWEST = np.finfo(np.float32).min


class Best(NamedTuple):
    """keys int64[R, k] of the best so far of R queries, in no order, `NO_KEY` where there are
    fewer; changed in place by the functions below."""

    keys: Int64


def nothing_yet(n_queries: int, k: int) -> Best:
    """Room for the k best, at least 1, of each query."""
    return Best(np.full((n_queries, k), NO_KEY, np.int64))


def finished(best: Best, k: int) -> tuple[Int32, Float32]:
    """items int32[R, k] best first, -1 behind the last; scores float32[R, k] beside them, -inf
    behind the last."""
    return unpacked(np.sort(best.keys, axis=1)[:, :k])


def unpacked(keys: Int64) -> tuple[Int32, Float32]:
    """The items and the scores of keys; -1 and -inf for `NO_KEY`."""
    absent = keys == NO_KEY
    items = np.where(absent, -1, keys & _ID_MASK).astype(np.int32)
    return items, np.where(absent, np.float32(-np.inf), _scores(keys))


def _scores(keys: Int64) -> Float32:
    falling = (keys >> 32).astype(np.int32)
    return np.where(falling >= 0, ~falling ^ BELOW_SIGN, ~falling).view(np.float32)


def _keys(scores: Float32, items: NDArray[np.integer[Any]]) -> Int64:
    bits = (scores + np.float32(0)).view(np.int32)
    bits = bits ^ ((bits >> np.int32(31)) & BELOW_SIGN)
    return (~bits).astype(np.int64) << 32 | items


def take(scores: Float32, bias: Float32, first: int, best: Best, k: int) -> bool:
    """Take in scores[R, B] + bias[B] of the items from `first` on; calls go through the items in
    their order.

    A score of -inf is never taken. False, with `best` in no good state, where a score is NaN or
    +inf.
    """
    rows = max(1, _SCORES_AT_ONCE // max(len(bias), 1))
    for start in range(0, len(scores), rows):
        part = slice(start, start + rows)
        if not _take_rows(scores[part] + bias, first, best.keys[part], k):
            return False
    return True


def _take_rows(scores: Float32, first: int, keys: Int64, k: int) -> bool:
    chunks = _chunked(scores)
    greatest = chunks.max(axis=1)
    if not greatest.max(initial=-np.inf) < np.inf:  # the greatest of numbers with a NaN is NaN
        return False
    floor = np.maximum(_floor(greatest, k), _LOWEST)[:, None]
    row, chunk = np.nonzero(greatest >= floor)
    candidates = chunks[row, :, chunk]
    place, step = np.nonzero(candidates >= floor[row])
    row, item = row[place], step * chunks.shape[2] + chunk[place]
    _add(keys, row, _keys(candidates[place, step], first + item))
    return True


def _chunked(scores: Float32) -> Float32:
    """scores[R, B] as [R, _CHUNK, W]: the chunk w holds the items w, w + W, w + 2 W, ..., so that
    all chunks are compared side by side."""
    n_rows, n_items = scores.shape
    width = -(-n_items // _CHUNK)
    if n_items % _CHUNK:
        wider = np.full((n_rows, width * _CHUNK), -np.inf, np.float32)
        wider[:, :n_items] = scores
        scores = wider
    return scores.reshape(n_rows, _CHUNK, width)


def _floor(greatest: Float32, k: int) -> Float32:
    """A score that k items of each row reach at least; -inf where there are no k chunks."""
    n_chunks = greatest.shape[1]
    if n_chunks < k:
        return np.full(len(greatest), -np.inf, np.float32)
    return np.partition(greatest, n_chunks - k, axis=1)[:, n_chunks - k]


def _add(keys: Int64, row: NDArray[np.integer[Any]], new: Int64) -> None:
    """Keep the k least of keys[R, k] and of new ones, which come in the order of their rows."""
    k = keys.shape[1]
    counts = np.bincount(row, minlength=len(keys))
    widest = int(counts.max(initial=0))
    if not widest:
        return
    column = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
    together = np.full((len(keys), k + widest), NO_KEY, np.int64)
    together[:, :k] = keys
    together[row, k + column] = new
    together.partition(k - 1, axis=1)
    keys[:] = together[:, :k]


def take_only(
    scores: Float32, bias: Float32, first: int, offsets: Int64, items: Int32, best: Best, k: int
) -> None:
    """Take in the finite ones of scores[R, B] + bias[B] for given items alone.

    Those of query `row` are items[offsets[row] : offsets[row + 1]], distinct.
    """
    row, item = _given(scores, first, offsets, items)
    found = scores[row, item] + bias[item]
    there = found > -np.inf
    _add(best.keys, row[there], _keys(found[there], first + item[there]))


def hide(scores: Float32, bias: Float32, first: int, offsets: Int64, items: Int32) -> bool:
    """Set scores[R, B] of the given items to -inf, in place; else as `take_only`. False where one
    is NaN or +inf."""
    row, item = _given(scores, first, offsets, items)
    if not (scores[row, item] + bias[item] < np.inf).all():
        return False
    scores[row, item] = -np.inf
    return True


def all_rankable(scores: Float32, bias: Float32) -> bool:
    """Whether every one of scores[R, B] + bias[B] is below +inf and no NaN."""
    return all(bool((row + bias < np.inf).all()) for row in scores)


def _given(scores: Float32, first: int, offsets: Int64, items: Int32) -> tuple[Int64, Int64]:
    """Rows and columns of scores[R, B] of given items, without those of other parts."""
    row = np.repeat(np.arange(len(scores)), np.diff(offsets))
    item = items[offsets[0] : offsets[-1]].astype(np.int64) - first
    here = (item >= 0) & (item < scores.shape[1])
    return row[here], item[here]
