"""The contracts of the recommenders: what a trained model can do, and what makes one."""

from __future__ import annotations

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
    "Loader",
    "PairScorer",
    "Pairs",
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
