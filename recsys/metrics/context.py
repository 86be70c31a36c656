"""What metrics beyond accuracy know besides the lists: popularity in train, histories, and
categories of items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Ragged

Float64 = NDArray[np.float64]

GROUPS = ("niche", "diverse", "blockbuster")
"""Groups of users by the share of popular items in their history: the lowest 20 %, those between,
the highest 20 %."""
POPULAR_SHARE = 0.2
EDGES = (0.2, 0.8)


@dataclass(frozen=True)
class Context:
    """What is known about Q queries and n items, whatever was recommended.

    item_counts  int64[n_items]        train events of each item
    history      Ragged                item ids, row by row beside the queries
    categories   name -> int32[n_items]: each categorical item feature, -1 = none
    category     the feature that calibration looks at; None where there is none
    groups       int8[Q]               place in `GROUPS` among more queries than these; None: among
                                       these
    """

    item_counts: NDArray[np.int64]
    history: Ragged
    categories: Mapping[str, NDArray[np.int32]]
    category: str | None = None
    cardinality: int = 0
    groups: NDArray[np.int8] | None = None

    @property
    def n_items(self) -> int:
        """Items of the catalogue."""
        return len(self.item_counts)

    @cached_property
    def information(self) -> Float64:
        """float64[n_items]: -log2 of each item's share of train events, in bits; one that has none
        counts as one."""
        counts = np.maximum(self.item_counts, 1)
        return np.asarray(-np.log2(counts / max(1, self.item_counts.sum())), np.float64)

    @cached_property
    def popularity_rank(self) -> NDArray[np.int64]:
        """int64[n_items]: 0 = most train events; ties by item id."""
        rank = np.empty(self.n_items, np.int64)
        rank[np.argsort(-self.item_counts, kind="stable")] = np.arange(self.n_items)
        return rank

    @cached_property
    def history_popularity(self) -> Float64:
        """float64[Q]: mean train events of the events of the history; NaN for an empty one."""
        return self._mean_over_history(self.item_counts.astype(np.float64))

    @cached_property
    def popular_share(self) -> Float64:
        """float64[Q]: share of popular items (the first 20 % of all) in the history; NaN for an
        empty one."""
        popular = self.popularity_rank < max(1, round(POPULAR_SHARE * self.n_items))
        return self._mean_over_history(popular.astype(np.float64))

    @cached_property
    def group(self) -> NDArray[np.int8]:
        """int8[Q]: place in `GROUPS`, among these queries where `groups` does not say it among
        more."""
        return groups_by(self.popular_share) if self.groups is None else self.groups

    def of(self, history: Ragged, groups: NDArray[np.int8] | None = None) -> Context:
        """The same of other queries; `groups` int8 are theirs among all queries."""
        return replace(self, history=history, groups=groups)

    def _mean_over_history(self, values: Float64) -> Float64:
        sums = np.bincount(
            self.history.rows, weights=values[self.history.values], minlength=len(self.history)
        )
        lengths = self.history.lengths
        return np.divide(sums, lengths, out=np.full(len(lengths), np.nan), where=lengths > 0)


def groups_by(popular_share: Float64) -> NDArray[np.int8]:
    """int8[Q]: place in `GROUPS` of users with these shares of popular items in their history; -1 =
    NaN, none.

    Users are ordered by that share, ties by their row, and cut at 20 % and at 80 % of those with a
    history.
    """
    known = np.flatnonzero(~np.isnan(popular_share))
    ordered = known[np.argsort(popular_share[known], kind="stable")]
    group = np.full(len(popular_share), -1, np.int8)
    place = (np.arange(len(ordered)) + 0.5) / max(1, len(ordered))
    group[ordered] = np.searchsorted(EDGES, place)
    return group


def context_of(data: Dataset, history: Ragged, *, category: str | None = None) -> Context:
    """The context of a dataset's queries with these histories; `category` None takes the first
    there is.

    Raises `KeyError` where the dataset has no categorical item feature of that name.
    """
    features = [f for f in data.card.features if f.table == "item" and f.cardinality]
    cardinality = {f.name: f.cardinality or 0 for f in features}
    categories = {
        f.name: data.items.column(f.column).to_numpy().astype(np.int32, copy=False)
        for f in features
    }
    chosen = category or next(iter(categories), None)
    return Context(
        item_counts=item_counts(data),
        history=history,
        categories=categories,
        category=chosen,
        cardinality=cardinality[chosen] if chosen else 0,
    )


def item_counts(data: Dataset) -> NDArray[np.int64]:
    """int64[n_items]: train events of each item, read a row group at a time."""
    counts = np.zeros(data.n_items, np.int64)
    for path in data.train_files():
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                items = file.read_row_group(group, columns=["item"]).column("item").to_numpy()
                counts += np.bincount(items, minlength=data.n_items)
    return counts
