"""Scores that are products of factors, with the items' popularity as the answer where a query tells
nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Float32 = NDArray[np.float32]

TILE = 64
"""Queries in one product of `scores_of`."""


def with_popularity(items: Float32, popularity: NDArray[Any]) -> Float32:
    """Item factors [n, d] and float32[n] -> [n, d + 1], for query factors of `or_popularity`."""
    return np.column_stack([items, popularity]).astype(np.float32)


def or_popularity(queries: Float32, known: NDArray[np.bool_]) -> Float32:
    """Query factors [Q, d] -> [Q, d + 1] that give the product where `known`, bool[Q], and the
    popularity elsewhere."""
    return np.column_stack([np.where(known[:, None], queries, 0), ~known]).astype(np.float32)


def all_items(items: Float32, n_items: int) -> Float32:
    """Item factors [n_known, d] -> [n_items, d]: zeros for items that came after training."""
    return np.pad(items, [(0, n_items - len(items)), (0, 0)])


def scores_of(queries: Float32, items: Float32, n_items: int) -> Float32:
    """float32[Q, n_items] of query factors [Q, d] and the known items' [n_known, d]; -inf for all
    other items.

    Every product has one shape and one thread, so a query's scores are the same to the bit whatever
    is asked beside it.
    """
    scores = np.full((len(queries), n_items), -np.inf, dtype=np.float32)
    factors = np.ascontiguousarray(items.T)
    with threadpool_limits(1, "blas"):
        for start in range(0, len(queries), TILE):
            tile = np.zeros((TILE, queries.shape[1]), np.float32)
            there = queries[start : start + TILE]
            tile[: len(there)] = there
            scores[start : start + TILE, : len(items)] = (tile @ factors)[: len(there)]
    return scores
