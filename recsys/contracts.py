"""The contracts of the recommenders: what a trained model can do, and what makes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs, Queries
from falconer.pipelines.runs import Run

__all__ = [
    "CatalogScorer",
    "FactorScorer",
    "Hits",
    "Loader",
    "Metric",
    "PairScorer",
    "Pairs",
    "Ranked",
    "Trainer",
    "UserScorer",
]


@runtime_checkable
class CatalogScorer(Protocol):
    """A top-n model: it scores the whole catalogue for each query."""

    @property
    def items_known(self) -> NDArray[np.bool_]:
        """bool[n_items] of the dataset that it was loaded for; scores are finite exactly there,
        -inf elsewhere."""

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[n_queries, n_items]; higher is better. A query's scores do not depend on the
        other queries."""

    def save(self, directory: Path) -> None:
        """Write the model's own files into `directory` (which exists): npz, safetensors or JSON, no
        pickle."""


@runtime_checkable
class FactorScorer(CatalogScorer, Protocol):
    """A catalogue scorer whose scores are a product, so that top-k can fuse product and
    selection."""

    def factors(
        self, queries: Queries
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """query factors float32[n_queries, d], item factors float32[n_items, d], item bias
        float32[n_items]."""


@runtime_checkable
class UserScorer(Protocol):
    """A scorer that knows users by their ids only (its configuration says `folds_in = False`)."""

    def knows(self, queries: Queries) -> NDArray[np.bool_]:
        """bool[Q]: whether the user was in train; the others are answered with the items'
        popularity."""


@runtime_checkable
class PairScorer(Protocol):
    """A model of labels, or one that ranks the candidates that a query gives."""

    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        """float32[n_pairs]; higher is better. A pair's score does not depend on the other pairs.

        On a dataset of the task `labels` this is the probability of label 1, or the expected rating
        (`card.target`).
        """

    def save(self, directory: Path) -> None:
        """As for `CatalogScorer`."""


class Trainer(Protocol):
    """Makes a new scorer from train events; it never sees a truth."""

    def __call__(self, config: Any, data: Dataset, run: Run) -> CatalogScorer | PairScorer:
        """`config` is of the model's config class; progress goes to `run`. Raises `PipelineError`
        with a remedy."""


class Loader(Protocol):
    """Reads what `save` wrote, for a dataset of the same lineage (it may have items that the model
    never knew)."""

    def __call__(self, directory: Path, config: Any, data: Dataset) -> CatalogScorer | PairScorer:
        """Raises `ArtifactError` where files are damaged or do not fit `data`."""


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
