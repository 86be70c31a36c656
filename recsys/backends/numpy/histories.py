"""Interactions as sparse matrices: the train events of a dataset, and the histories of queries."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged

NEGLIGIBLE = 1e-12
"""Weights below this are left out: beside the newest item's weight of 1 they vanish in a
float32."""


def pair_counts(data: Dataset) -> Any:
    """Train events of each user and item: csr_array float32[n_users, n_items]."""
    return _counts(
        data.train_column("user"), data.train_column("item"), (data.n_users, data.n_items)
    )


def pairs(data: Dataset) -> Any:
    """1 where the user has the item in train: csr_array float32[n_users, n_items]."""
    binary = pair_counts(data)
    binary.data[:] = 1.0
    return binary


def history_counts(queries: Queries, n_items: int) -> Any:
    """Events of each query's history with each item below `n_items`: csr_array float32[Q, n_items],
    items by id."""
    items = queries.history.values.astype(np.int64)
    known = items < n_items
    return _counts(queries.history.rows[known], items[known], (len(queries), n_items))


def _counts(row: NDArray[Any], item: NDArray[Any], shape: tuple[int, int]) -> Any:
    counts = sp.coo_array((np.ones(len(row), dtype=np.float32), (row, item)), shape=shape).tocsr()
    counts.sum_duplicates()
    return counts


def distinct_items(
    history: Ragged, n_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The distinct items below `n_items` of each row of `history`, in the order of (row, item).

    Returns three int64 arrays of one length: `row`, `item` and `position`, the number of the row's
    other distinct items that were seen later (0 = the newest; a repeated item counts where it was
    seen last).
    """
    items = history.values.astype(np.int64)
    known = items < n_items
    keys = history.rows[known] * n_items + items[known]
    distinct, from_the_end = np.unique(keys[::-1], return_index=True)
    last_seen = len(keys) - 1 - from_the_end
    row, item = np.divmod(distinct, n_items) if len(distinct) else (distinct, distinct)
    ends = np.cumsum(np.bincount(row, minlength=len(history)))
    oldest_first = np.argsort(last_seen)
    position = np.empty(len(row), dtype=np.int64)
    position[oldest_first] = ends[row[oldest_first]] - 1 - np.arange(len(row))
    return row, item, position


def recency_weights(queries: Queries, n_items: int, *, decay: float) -> Any:
    """decay^position for each distinct item of each history: csr_array float32[Q, n_items].

    Items of a row stand by id, so that a sum over them has one order, whatever the order of events.
    """
    row, item, position = distinct_items(queries.history, n_items)
    weights = decay ** position.astype(np.float64)
    kept = weights >= NEGLIGIBLE
    offsets = np.concatenate(
        [np.zeros(1, np.int64), np.cumsum(np.bincount(row[kept], minlength=len(queries)))]
    )
    return sp.csr_array(
        (weights[kept].astype(np.float32), item[kept], offsets), shape=(len(queries), n_items)
    )
