"""Item-based nearest neighbours on numpy and scipy (Deshpande and Karypis 2004, "Item-based top-n
recommendation algorithms").

With x_i the vector of who has item i in train, 1 or the largest weight of a user's events with it:

    sim(i, j)   = x_i . x_j / (|x_i| |x_j| + shrinkage)
    score(q, j) = sum over i in H_q and N(j) of decay^position_q(i) * sim(i, j)

where N(j) holds the `neighbours` items most similar to j (ties by id), and H_q the distinct items
of the history. The paper keeps the neighbours of each item of the history instead: the sum goes
over the i in H_q with j in N(i) (`neighbours_of = "history"`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from falconer.pipelines.console import progress
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.runs import Run
from falconer.recsys.backends.numpy.arrays import known_items, mask_new_items
from falconer.recsys.backends.numpy.histories import recency_weights, strongest_pairs
from falconer.recsys.backends.numpy.sparse import largest, load_rows, save_rows
from falconer.recsys.models.item_knn.config import ItemKnnConfig

BLOCK_BYTES = 64 * 2**20
"""Of dense similarities held at a time."""


class ItemKnnScorer:
    """Scores a query by the neighbours of its history's items; `similarity` is csr float32[n_known,
    n_known], row = item of the history, column = item to score."""

    def __init__(self, similarity: Any, decay: float, n_items: int) -> None:
        self._similarity = similarity
        self._decay = decay
        self.items_known = known_items(similarity.shape[0], n_items)

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]; 0 for an item that has no neighbour in the history, so for all with
        an empty one."""
        weights = recency_weights(queries, self._similarity.shape[0], decay=self._decay)
        scores: NDArray[np.float32] = (weights @ self._similarity).toarray()
        return mask_new_items(scores, len(self.items_known))

    def save(self, directory: Path) -> None:
        """Write `arrays.npz`: the similarities in compressed rows."""
        save_rows(directory, self._similarity)


def train(config: ItemKnnConfig, data: Dataset, run: Run) -> ItemKnnScorer:
    """Find each item's neighbours, a block of items at a time."""
    blocks = list(_nearest(strongest_pairs(data), config))
    neighbours_of = sp.vstack(blocks, format="csr")
    run.log_metrics(0, {"similarities_kept": float(neighbours_of.nnz)})
    similarity = neighbours_of if config.neighbours_of == "history" else neighbours_of.T
    return ItemKnnScorer(_sorted(similarity), config.decay, data.n_items)


def load(directory: Path, config: ItemKnnConfig, data: Dataset) -> ItemKnnScorer:
    """Read `arrays.npz`."""
    return ItemKnnScorer(load_rows(directory), config.decay, data.n_items)


def _nearest(binary: Any, config: ItemKnnConfig) -> Iterator[Any]:
    """Blocks of rows of csr float32[n_items, n_items]: row j holds the similarities of N(j)."""
    n_items = binary.shape[1]
    by_item = binary.tocsc()
    norms = np.sqrt(by_item.multiply(by_item).sum(axis=0))
    size = max(1, BLOCK_BYTES // (8 * n_items))
    starts = range(0, n_items, size)
    for start in progress(starts, label="neighbours", total=len(starts)):
        stop = min(start + size, n_items)
        common = (by_item[:, start:stop].T @ binary).toarray().astype(np.float64)
        # An item without users has nothing in common with any: its denominator is set to 1 and not
        # 0.
        denominator = np.outer(norms[start:stop], norms) + config.shrinkage
        similarity = (common / np.where(denominator > 0, denominator, 1.0)).astype(np.float32)
        if not config.include_self:
            similarity[np.arange(stop - start), np.arange(start, stop)] = 0.0
        yield largest(similarity, config.neighbours)


def _sorted(matrix: Any) -> Any:
    rows = matrix.tocsr()
    rows.sort_indices()
    return rows
