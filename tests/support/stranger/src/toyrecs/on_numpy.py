"""score(q, j) = sum over the distinct items i of q's history of n_ij / (n_i n_j + shrinkage)."""

from __future__ import annotations

import numpy as np

from falconer.recsys.backends.numpy.arrays import (
    known_items,
    load_arrays,
    mask_new_items,
    save_arrays,
)
from falconer.recsys.backends.numpy.histories import pairs, recency_weights


class CoCountsScorer:
    """Scores by a matrix of items and items."""

    def __init__(self, likeness, n_items):
        self._likeness = likeness
        self.items_known = known_items(len(likeness), n_items)

    def score(self, queries):
        """float32[Q, n_items]."""
        history = recency_weights(queries, len(self._likeness), decay=1.0)
        return mask_new_items(history @ self._likeness, len(self.items_known))

    def save(self, directory):
        """Write `arrays.npz`."""
        save_arrays(directory, likeness=self._likeness)


def train(config, data, run):
    """Count."""
    has = pairs(data)
    common = (has.T @ has).toarray()
    alone = np.diag(common)
    likeness = (common / (np.outer(alone, alone) + config.shrinkage)).astype(np.float32)
    np.fill_diagonal(likeness, 0)
    run.log_metrics(0, {"items": float(len(likeness))})
    return CoCountsScorer(likeness, data.n_items)


def load(directory, config, data):
    """Read `arrays.npz`."""
    return CoCountsScorer(load_arrays(directory, "likeness")["likeness"], data.n_items)
