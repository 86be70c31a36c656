"""Which items are relevant to a query in a view, and which of the listed ones are among them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged, Truth
from falconer.pipelines.data.schema import Fold, View

QUERIES_AT_ONCE = 2**14
"""Queries that are read and judged together. No value depends on it but popularity_lift, in its
last digits."""
BITMAP_BYTES = 4 * 2**20
"""What the table of (query, item) of one block of queries takes while hits are looked up: it should
stay in a cache."""


def relevant(queries: Queries, truth: Truth, view: View, n_items: int) -> Ragged:
    """The relevant items of each query in the view."""
    if view == "all":
        return truth.items
    in_history = np.isin(_pairs(truth.items, n_items), _pairs(queries.history, n_items))
    return truth.items.keep(in_history if view == "repeat" else ~in_history)


def has_relevant(data: Dataset, fold: Fold, view: View) -> bool:
    """Whether any query of the fold has a relevant item in the view."""
    return any(
        len(relevant(queries, truth, view, data.n_items).values)
        for _, queries, truth in queries_and_truths(data, fold)
    )


def queries_and_truths(data: Dataset, fold: Fold) -> Iterator[tuple[pa.Array, Queries, Truth]]:
    """Keys, queries and truths of some queries after others."""
    blocks = zip(
        data.query_blocks(fold, QUERIES_AT_ONCE),
        data.truth_blocks(fold, QUERIES_AT_ONCE),
        strict=True,
    )
    return ((keys, queries, truth) for (keys, queries), truth in blocks)


def _pairs(items: Ragged, n_items: int) -> NDArray[np.int64]:
    return items.rows * n_items + items.values.astype(np.int64)


def found_in(items: NDArray[np.int32], rows: Ragged, n_items: int) -> NDArray[np.bool_]:
    """bool[Q, K]: whether each item (-1 never) is among its own query's row of `rows`."""
    found = np.empty(items.shape, np.bool_)
    width = n_items + 1  # column 0 is what -1 falls on, and stays False
    step = max(1, BITMAP_BYTES // width)
    table = np.zeros(step * width, np.bool_)
    for start in range(0, len(items), step):
        part, block = items[start : start + step], rows.slice(start, min(start + step, len(items)))
        marked = block.rows * width + block.values.astype(np.int64) + 1
        table[marked] = True
        places = np.arange(len(part))[:, None] * width + 1 + part
        np.take(
            table, places, out=found[start : start + step], mode="clip"
        )  # the mode that needs no copy of `out`
        table[marked] = False
    return found
