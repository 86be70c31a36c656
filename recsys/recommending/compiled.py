"""The k best of scores that come part by part, compiled: what `falconer.recsys.recommending.top_k`
ranks with where Numba is installed. Keys of scores and items, and the lists, are those of
`falconer.recsys.recommending.plain`.

All but a few items are dismissed by the greatest score of their chunk alone. A group is `GROUP`
items in a row, and its chunk `lane` is the items lane, lane + LANES, ...: so the greatest scores of
`LANES` chunks are found side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from falconer.recsys.recommending.plain import BELOW_SIGN, NO_KEY, unpacked

F = TypeVar("F", bound=Callable[..., Any])
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

LANES = 16
"""Chunks in a group, and items in a chunk: what one vector instruction compares."""
GROUP = LANES * LANES
SPARE = 256
"""Keys beyond the k best that are gathered before the worst are dropped, at least; as many as k
where k is greater."""

_LEAST_NORMAL = np.finfo(np.float32).tiny
_LOWEST = np.float32(-np.inf)
_LOWEST_ORDER = ~np.float32(np.inf).view(np.int32)
"""Of -inf: the bits of a score, those of a negative one below its sign turned over, rise with the
score."""


class Best(NamedTuple):
    """The best so far of R queries, changed in place by the functions below.

    keys     int64[R, capacity]  the first `counts` of a row hold its best so far, in no order
    counts   int64[R]
    floors   float32[R]          no score of an item to come can be among the k best unless it is
                                 above this
    """

    keys: Int64
    counts: Int64
    floors: Float32


def nothing_yet(n_queries: int, k: int) -> Best:
    """Room for the k best, at least 1, of each query."""
    keys = np.empty((n_queries, k + max(k, SPARE) + GROUP), np.int64)
    return Best(keys, np.zeros(n_queries, np.int64), np.full(n_queries, -np.inf, np.float32))


def finished(best: Best, k: int) -> tuple[NDArray[np.int32], Float32]:
    """items int32[R, k] best first, -1 behind the last; scores float32[R, k] beside them, -inf
    behind the last."""
    width = max(k, int(best.counts.max(initial=0)))
    _fill(best, width)
    return unpacked(np.sort(best.keys[:, :width], axis=1)[:, :k])


def _compiled(function: F) -> F:
    """Machine code on the first call, kept beside the source or in the user's cache where one of
    them can be written; runs without Python's lock."""
    try:
        return cast(F, njit(nogil=True, cache=True)(function))
    except RuntimeError:  # Numba found no folder for it: each process compiles anew, some seconds
        return cast(F, njit(nogil=True)(function))


@_compiled
def _key(score: Any, item: Any) -> Any:
    bits = np.float32(score + np.float32(0)).view(np.int32)
    bits ^= (
        bits >> np.int32(31)
    ) & BELOW_SIGN  # a branch on the sign would be guessed wrong half of the time
    return (np.int64(~bits) << 32) | np.int64(item)


@_compiled
def _score(key: Any) -> Any:
    bits = ~np.int32(key >> 32)
    if bits < 0:
        bits = bits ^ BELOW_SIGN
    return np.int32(bits).view(np.float32)


@_compiled
def _partition(keys: Int64, n: int, k: int) -> None:
    """Bring the k least of the first n to the front, the greatest of them to place k - 1 (Hoare's
    FIND)."""
    low, high = 0, n - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) >> 1], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return


@_compiled
def _greatest_of_group(scores: Float32, bias: Float32, start: int, most: Float32) -> Any:
    """The greatest score of each chunk of the group that begins at `start`; not 0 where any score
    is NaN or +inf."""
    part, add = scores[start : start + GROUP], bias[start : start + GROUP]
    bad = np.int32(0)
    if len(part) < GROUP:
        most[:] = -np.inf
        for item in range(len(part)):
            score = part[item] + add[item]
            most[item % LANES] = max(score, most[item % LANES])
            bad |= np.int32(not (score < np.inf))
        return bad
    for lane in range(
        LANES
    ):  # a lane's items within: that the compiler unrolls, and keeps all lanes in registers
        top = _LOWEST
        for step in range(LANES):
            score = part[step * LANES + lane] + add[step * LANES + lane]
            top = score if score > top else top
            bad |= np.int32(not (score < np.inf))
        most[lane] = top
    return bad


@_compiled
def _floor(greatest: Float32, k: int) -> Any:
    """A score that k items at least are above, and few more chunks than that; -inf where there are
    no k chunks.

    Found by halving the numbers that stand for scores in their order: to count all chunks takes one
    vector a lane.
    """
    order = greatest.view(np.int32)
    order = order ^ ((order >> np.int32(31)) & BELOW_SIGN)
    low, high = np.int64(_LOWEST_ORDER), np.int64(order.max())
    while high - low > 1:
        middle = np.int32((low + high) >> 1)
        above = np.int32(0)
        for chunk in range(len(order)):
            above += np.int32(order[chunk] > middle)
        if above < k:
            high = np.int64(middle)
            continue
        low = np.int64(middle)
        if above <= k + (k >> 3):
            break
    bits = np.int32(low)
    floor = np.int32(bits ^ ((bits >> np.int32(31)) & BELOW_SIGN)).view(np.float32)
    # Zero has two signs, and some machines are set to take denormal numbers for it.
    return -2 * _LEAST_NORMAL if abs(floor) <= _LEAST_NORMAL else floor


@_compiled
def _take_group(
    scores: Float32,
    bias: Float32,
    first: int,
    start: int,
    most: Float32,
    floor: Any,
    keys: Int64,
    n: int,
) -> int:
    """Append the keys of the scores above the floor in the group that begins at `start`; the number
    of keys then."""
    end = min(start + GROUP, len(scores))
    for lane in range(LANES):
        if most[lane] > floor:
            for item in range(start + lane, end, LANES):
                score = scores[item] + bias[item]
                if score > floor:
                    keys[n] = _key(score, first + item)
                    n += 1
    return n


@_compiled
def take(scores: Float32, bias: Float32, first: int, best: Best, k: int) -> bool:
    """Take in scores[R, B] + bias[B] of the items from `first` on; calls go through the items in
    their order.

    A score of -inf is never taken. False, with `best` in no good state, where a score is NaN or
    +inf. Row by row, so that chunks are taken while a row's scores are in the nearest cache.
    """
    n_groups = -(-scores.shape[1] // GROUP)
    greatest = np.empty(n_groups * LANES, np.float32)
    bad = np.int32(0)
    for row in range(scores.shape[0]):
        for group in range(n_groups):
            most = greatest[group * LANES : group * LANES + LANES]
            bad |= _greatest_of_group(scores[row], bias, group * GROUP, most)
        keys, n, floor = best.keys[row], best.counts[row], best.floors[row]
        if first == 0:
            floor = _floor(greatest, k)
        for group in range(n_groups):
            most = greatest[group * LANES : group * LANES + LANES]
            n = _take_group(scores[row], bias, first, group * GROUP, most, floor, keys, n)
            # Between groups alone: within one, items are not seen in their order, which a floor
            # with ties needs.
            if n + GROUP > len(keys):
                _partition(keys, n, k)
                n = k
                floor = max(floor, _score(keys[k - 1]))
        if n >= 2 * k:
            _partition(keys, n, k)
            n = k
            floor = max(floor, _score(keys[k - 1]))
        best.counts[row], best.floors[row] = n, floor
    return bool(bad == 0)


@_compiled
def take_only(
    scores: Float32,
    bias: Float32,
    first: int,
    offsets: Int64,
    items: NDArray[np.int32],
    best: Best,
    k: int,
) -> None:
    """Take in the finite ones of scores[R, B] + bias[B] for given items alone.

    Those of query `row` are items[offsets[row] : offsets[row + 1]], distinct.
    """
    for row in range(scores.shape[0]):
        keys, n = best.keys[row], best.counts[row]
        for place in range(offsets[row], offsets[row + 1]):
            item = items[place] - first
            if 0 <= item < scores.shape[1]:
                score = scores[row, item] + bias[item]
                keys[n] = _key(score, items[place])
                n += score > -np.inf
                if n == len(keys):
                    _partition(keys, n, k)
                    n = k
        best.counts[row] = n


@_compiled
def hide(
    scores: Float32, bias: Float32, first: int, offsets: Int64, items: NDArray[np.int32]
) -> bool:
    """Set scores[R, B] of the given items to -inf, in place; else as `take_only`. False where one
    is NaN or +inf."""
    for row in range(scores.shape[0]):
        for place in range(offsets[row], offsets[row + 1]):
            item = items[place] - first
            if 0 <= item < scores.shape[1]:
                if not (scores[row, item] + bias[item] < np.inf):
                    return False
                scores[row, item] = -np.inf
    return True


@_compiled
def all_rankable(scores: Float32, bias: Float32) -> bool:
    """Whether every one of scores[R, B] + bias[B] is below +inf and no NaN."""
    bad = np.int32(0)
    for row in range(scores.shape[0]):
        part = scores[row]
        for item in range(len(part)):
            bad |= np.int32(not (part[item] + bias[item] < np.inf))
    return bool(bad == 0)


@_compiled
def _fill(best: Best, width: int) -> None:
    for row in range(len(best.keys)):
        for place in range(best.counts[row], width):
            best.keys[row, place] = NO_KEY
