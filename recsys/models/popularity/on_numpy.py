"""Popularity on numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.errors import DataError
from falconer.pipelines.runs import Run
from falconer.recsys.backends.numpy.arrays import (
    known_items,
    load_arrays,
    mask_new_items,
    save_arrays,
)
from falconer.recsys.backends.numpy.histories import event_weights
from falconer.recsys.models.popularity.config import PopularityConfig

SECONDS_PER_DAY = 86_400


class PopularityScorer:
    """Scores every query with the items' event counts."""

    def __init__(self, counts: NDArray[np.float32], n_items: int) -> None:
        self._counts = counts
        self.items_known = known_items(len(counts), n_items)

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]: the counts, -inf for items that are not known."""
        row = mask_new_items(self._counts[None, :], len(self.items_known))
        return np.repeat(row, len(queries), axis=0)

    def save(self, directory: Path) -> None:
        """Write `arrays.npz`."""
        save_arrays(directory, counts=self._counts)


def train(config: PopularityConfig, data: Dataset, run: Run) -> PopularityScorer:
    """Count train events by item, each as much as its weight. Raises `DataError` where a window is
    asked for and the dataset has no times."""
    items, weights = data.train_column("item"), event_weights(data)
    if config.window_days is not None:
        if not data.card.has_time:
            raise DataError(
                f"{data.path}: has no times, so popularity cannot take a window; leave out "
                "model.window_days"
            )
        times = data.train_column("time")
        inside = times > times.max() - config.window_days * SECONDS_PER_DAY
        items, weights = items[inside], weights[inside]
    counts = np.bincount(items, weights=weights, minlength=data.n_items).astype(np.float32)
    run.log_metrics(0, {"events_counted": float(len(items))})
    return PopularityScorer(counts, data.n_items)


def load(directory: Path, config: PopularityConfig, data: Dataset) -> PopularityScorer:
    """Read `arrays.npz`."""
    return PopularityScorer(load_arrays(directory, "counts")["counts"], data.n_items)
