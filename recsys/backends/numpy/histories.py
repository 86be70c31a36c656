"""Interactions as sparse matrices: the train events of a dataset, and the histories of queries."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged, offsets_of

NEGLIGIBLE = 1e-12
"""Weights below this are left out: beside the newest item's weight of 1 they vanish in a
float32."""


def event_weights(data: Dataset) -> NDArray[np.float32]:
    """float32[n]: the weight of each train event, 1 where the dataset has none."""
    if "weight" in data.train.column_names:
        weights: NDArray[np.float32] = data.train_column("weight")
        return weights
    return np.ones(data.train.num_rows, np.float32)


def pair_counts(data: Dataset) -> Any:
    """Train events of each user and item, each counting as much as its weight: csr_array
    float32[n_users, n_items]. A pair without weight is left out."""
    shape = (data.n_users, data.n_items)
    return _sums(data.train_column("user"), data.train_column("item"), event_weights(data), shape)


def pairs(data: Dataset) -> Any:
    """1 where the user has the item in train: csr_array float32[n_users, n_items]."""
    shape, user, item = (data.n_users, data.n_items), *_users_and_items(data)
    binary = _sums(user, item, np.ones(len(user), np.float32), shape)
    binary.data[:] = 1.0
    return binary


def strongest_pairs(data: Dataset) -> Any:
    """The largest weight of a user's events with an item, so 1 where the dataset has no weights:
    csr_array float32[n_users, n_items]. A pair without weight is left out."""
    user, item = _users_and_items(data)
    weight = event_weights(data)
    order = np.lexsort((weight, item, user))
    last = np.ones(len(order), np.bool_)
    last[:-1] = np.diff(user[order].astype(np.int64) * data.n_items + item[order]) != 0
    kept = order[last]
    return _sums(user[kept], item[kept], weight[kept], (data.n_users, data.n_items))


def _users_and_items(data: Dataset) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return data.train_column("user"), data.train_column("item")


def history_counts(queries: Queries, n_items: int) -> Any:
    """Events of each query's history with each item below `n_items`: csr_array float32[Q, n_items],
    items by id."""
    items = queries.history.values.astype(np.int64)
    known = items < n_items
    ones = np.ones(int(known.sum()), np.float32)
    return _sums(queries.history.rows[known], items[known], ones, (len(queries), n_items))


def _sums(
    row: NDArray[Any], item: NDArray[Any], weight: NDArray[np.float32], shape: tuple[int, int]
) -> Any:
    sums = sp.coo_array((weight, (row, item)), shape=shape).tocsr()
    sums.sum_duplicates()
    sums.eliminate_zeros()
    return sums


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
    offsets = offsets_of(np.bincount(row[kept], minlength=len(queries)))
    return sp.csr_array(
        (weights[kept].astype(np.float32), item[kept], offsets), shape=(len(queries), n_items)
    )
