"""Several columns, blocks or files at once, by threads: numpy, Arrow and Polars let go of Python's
lock while they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import polars as pl

T = TypeVar("T")
R = TypeVar("R")

MOST = 8
"""At once, however many threads Polars has: each holds a column of its own."""
BLOCK = 2**15
"""So many rows at once as the processor's cache holds."""


def side_by_side(function: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """`function` of each value, in their order; raises what the first one that fails raises."""
    given = list(values)
    if len(given) < 2:
        return [function(one) for one in given]
    with ThreadPoolExecutor(min(MOST, pl.thread_pool_size())) as pool:
        return list(pool.map(function, given))


def blocks(n_rows: int) -> Iterator[slice]:
    """All rows, `BLOCK` at a time."""
    for first in range(0, n_rows, BLOCK):
        yield slice(first, min(first + BLOCK, n_rows))
