"""Personal popularity on numpy.

For query q with history H_q (all events, repeats kept), and item i with c_i train events:

    score(q, i) = sum over e in H_q with item i of 0.5^(age_e / half_life)   if i is in H_q (above
                                                                             0)
    score(q, i) = -1 / (1 + c_i)                                             otherwise (in [-1, 0))

with ages in days before the query is asked, and each term 1 where there is no half-life. So every
own item stands above every other one, and the others stand by their popularity.
"""

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
from falconer.recsys.models.personal_popularity.config import PersonalPopularityConfig

SECONDS_PER_DAY = 86_400
SMALLEST = np.finfo(np.float32).tiny


class PersonalPopularityScorer:
    """Scores own items above 0 by weighted frequency, and all others below 0 by popularity."""

    def __init__(
        self, counts: NDArray[np.float32], half_life_days: float | None, n_items: int
    ) -> None:
        self._counts = counts
        self._half_life_days = half_life_days
        self.items_known = known_items(len(counts), n_items)

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]; an empty history gives plain popularity.

        Raises `DataError` where a half-life is set and the queries have no times.
        """
        scores = np.repeat(-1 / (1 + self._counts[None, :]), len(queries), axis=0)
        items = queries.history.values.astype(np.int64)
        known = items < len(self._counts)
        keys = queries.history.rows[known] * len(self._counts) + items[known]
        pairs, group = np.unique(keys, return_inverse=True)
        frequency = np.bincount(group, weights=self._weights(queries)[known], minlength=len(pairs))
        # The floor keeps an own item above 0 even where its weight is too small for a float32.
        scores.reshape(-1)[pairs] = np.maximum(frequency, SMALLEST)
        return mask_new_items(scores, len(self.items_known))

    def save(self, directory: Path) -> None:
        """Write `arrays.npz`."""
        save_arrays(directory, counts=self._counts)

    def _weights(self, queries: Queries) -> NDArray[np.float64]:
        """0.5^(age / half-life) of each event of the histories, 1 where there is no half-life."""
        if self._half_life_days is None:
            return np.ones(len(queries.history.values))
        if queries.history_times is None or queries.time is None:
            raise DataError(
                "the queries have no times, so personal_popularity cannot take a half-life; "
                "train it without model.half_life_days"
            )
        asked = np.repeat(queries.time, queries.history.lengths)
        age = (asked - queries.history_times.values.astype(np.int64)) / SECONDS_PER_DAY
        weights: NDArray[np.float64] = 0.5 ** (age / self._half_life_days)
        return weights


def train(config: PersonalPopularityConfig, data: Dataset, run: Run) -> PersonalPopularityScorer:
    """Count train events by item. Raises `DataError` where a half-life is set and the dataset has
    no times."""
    if config.half_life_days is not None and not data.card.has_time:
        raise DataError(
            f"{data.path}: has no times, so personal_popularity cannot take a half-life; leave out "
            "model.half_life_days"
        )
    items = data.train_column("item")
    run.log_metrics(0, {"events_counted": float(len(items))})
    counts = np.bincount(items, minlength=data.n_items).astype(np.float32)
    return PersonalPopularityScorer(counts, config.half_life_days, data.n_items)


def load(
    directory: Path, config: PersonalPopularityConfig, data: Dataset
) -> PersonalPopularityScorer:
    """Read `arrays.npz`."""
    counts = load_arrays(directory, "counts")["counts"]
    return PersonalPopularityScorer(counts, config.half_life_days, data.n_items)
