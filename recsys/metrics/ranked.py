"""Ranked lists beside the truth, and what a metric is that takes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hits:
    """Hits of ranked lists, those at better places first.

    row     int64[H]   the query
    place   int64[H]   0 = best
    number  int64[H]   how many hits the query has up to there, this one included
    """

    row: NDArray[np.int64]
    place: NDArray[np.int64]
    number: NDArray[np.int64]


@dataclass(frozen=True)
class Ranked:
    """Ranked lists beside the truth, for Q queries and lists of length K.

    items       int32[Q, K]   best first, -1 behind the end of a shorter list
    hits        bool[Q, K]    whether the item at that rank is relevant; False where items is -1
    n_relevant  int64[Q]      number of relevant items of the query (within the catalogue and the
                              view)
    """

    items: NDArray[np.int32]
    hits: NDArray[np.bool_]
    n_relevant: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]], relevant: Sequence[Collection[int]]) -> Ranked:
        """Lists of item ids, best first, beside the relevant ones of each.

        >>> Ranked.of([[3, 1, 2], [4]], [{1, 9}, {4}]).hits.tolist()
        [[False, True, False], [True, False, False]]
        """
        items = np.full((len(lists), max(map(len, lists), default=0)), -1, np.int32)
        for row, found in enumerate(lists):
            items[row, : len(found)] = found
        pairs = zip(items.tolist(), relevant, strict=True)
        hits = [[item >= 0 and item in wanted for item in row] for row, wanted in pairs]
        n_relevant = [len(set(wanted)) for wanted in relevant]
        return cls(items, np.array(hits, np.bool_).reshape(items.shape), np.array(n_relevant))

    def hits_within(self, k: int) -> Hits:
        """The hits among the k first places: the first of all hits, which are found once for all
        metrics."""
        end = int(np.searchsorted(self._hits.place, k))
        return Hits(self._hits.row[:end], self._hits.place[:end], self._hits.number[:end])

    def n_hits(self, k: int) -> NDArray[np.float64]:
        """float64[Q]: number of hits among the k first places; counted once for all metrics."""
        if k not in self._n_hits:
            self._n_hits[k] = np.bincount(self.hits_within(k).row, minlength=len(self.hits)).astype(
                np.float64
            )
        return self._n_hits[k]

    @cached_property
    def _hits(self) -> Hits:
        row, place = np.divmod(np.flatnonzero(self.hits), max(1, self.hits.shape[1]))
        counts = np.bincount(row, minlength=len(self.hits))
        number = np.arange(1, len(row) + 1) - (np.cumsum(counts) - counts)[row]
        order = np.argsort(
            place.astype(np.uint16 if self.hits.shape[1] < 2**16 else np.int64), kind="stable"
        )
        return Hits(row[order], place[order], number[order])

    @cached_property
    def _n_hits(self) -> dict[int, NDArray[np.float64]]:
        return {}


Metric = Callable[[Ranked, int], NDArray[np.float64]]
"""One value a query at cut-off k; NaN where the query has no relevant item and the metric is
undefined there."""
