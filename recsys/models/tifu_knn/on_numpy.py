"""TIFU-KNN on numpy and scipy (Hu, He, Gao, Zhang 2020, "Modeling personalized item frequency
information for next-basket recommendation").

A basket is what one user has at one time; without times, each event is one. With B_u the baskets of
u, age_b the days from b to the newest of them, and w_b = 0.5^(age_b / half_life):

    v_u(i)      = sum over b in B_u with i in b of w_b / sum over b in B_u of w_b       (in [0, 1])
    N(q)        = the `neighbours` users of train with the largest cosine of v_q and v_u, above 0
    score(q, i) = own_weight * v_q(i) + (1 - own_weight) * mean over u in N(q) of v_u(i)

The paper decays in groups of baskets by two rates and takes the Euclidean distance; one half-life
in days asks for one knob, and needs no fixed number of baskets. A user of train is among their own
neighbours: scores follow from the history alone, so that somebody new is answered alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.errors import DataError
from falconer.pipelines.runs import Run
from falconer.recsys.backends.numpy.arrays import known_items, load_arrays, mask_new_items
from falconer.recsys.backends.numpy.sparse import largest, load_rows, save_rows
from falconer.recsys.models.tifu_knn.config import TifuKnnConfig

SECONDS_PER_DAY = 86_400
NEGLIGIBLE = 1e-12
"""Weights below this are left out: beside the newest basket's weight of 1 they vanish in a
float32."""
BLOCK_BYTES = 64 * 2**20
"""Of dense similarities to users held at a time."""


class TifuKnnScorer:
    """Scores a query by its own frequencies and its neighbours'; `frequency` is csr
    float32[n_users, n_known] of the users of train."""

    def __init__(self, frequency: Any, config: TifuKnnConfig, n_items: int) -> None:
        self._frequency, self._config = frequency, config
        self._directions = _of_length_one(frequency).T.tocsc()
        self.items_known = known_items(frequency.shape[1], n_items)

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]; 0 for all items with an empty history.

        Raises `DataError` where a half-life is set and the queries have no times.
        """
        own = self._own(queries)
        scores = np.float32(self._config.own_weight) * own.toarray()
        share = np.float32(1 - self._config.own_weight)
        rows = max(1, BLOCK_BYTES // (4 * self._frequency.shape[0]))
        for start in range(0, len(queries), rows):
            block = slice(start, start + rows)
            scores[block] += share * self._of_neighbours(own[block])
        return mask_new_items(scores, len(self.items_known))

    def save(self, directory: Path) -> None:
        """Write `arrays.npz`: the frequencies in compressed rows."""
        save_rows(directory, self._frequency, n_items=np.array([self._frequency.shape[1]]))

    def _own(self, queries: Queries) -> Any:
        times = queries.history_times
        if self._config.half_life_days is not None and times is None:
            raise DataError(
                "the queries have no times, so tifu_knn cannot take a half-life; train it without "
                "model.half_life_days"
            )
        return frequencies(
            queries.history.rows,
            queries.history.values.astype(np.int64),
            None if times is None else times.values.astype(np.int64),
            shape=(len(queries), self._frequency.shape[1]),
            half_life_days=self._config.half_life_days,
        )

    def _of_neighbours(self, own: Any) -> NDArray[np.float32]:
        """float32[Q, n_known]: the mean of the neighbours' frequencies, 0 where there are none."""
        similarity = (_of_length_one(own) @ self._directions).toarray()
        near = largest(similarity, self._config.neighbours)
        near.data[:] = 1
        found: NDArray[np.float32] = (near @ self._frequency).toarray()
        found /= np.maximum(1, np.diff(near.indptr))[:, None].astype(np.float32)
        return found


def train(config: TifuKnnConfig, data: Dataset, run: Run) -> TifuKnnScorer:
    """Take every user's frequencies. Raises `DataError` where a half-life is set and the dataset
    has no times."""
    if config.half_life_days is not None and not data.card.has_time:
        raise DataError(
            f"{data.path}: has no times, so tifu_knn cannot take a half-life; leave out "
            "model.half_life_days"
        )
    frequency = frequencies(
        data.train_column("user").astype(np.int64),
        data.train_column("item").astype(np.int64),
        data.train_column("time") if data.card.has_time else None,
        shape=(data.n_users, data.n_items),
        half_life_days=config.half_life_days,
    )
    run.log_metrics(0, {"frequencies_kept": float(frequency.nnz)})
    return TifuKnnScorer(frequency, config, data.n_items)


def load(directory: Path, config: TifuKnnConfig, data: Dataset) -> TifuKnnScorer:
    """Read `arrays.npz`."""
    n_known = int(load_arrays(directory, "n_items")["n_items"][0])
    return TifuKnnScorer(load_rows(directory, n_known), config, data.n_items)


def frequencies(
    row: NDArray[np.int64],
    item: NDArray[np.int64],
    time: NDArray[np.int64] | None,
    *,
    shape: tuple[int, int],
    half_life_days: float | None,
) -> Any:
    """v of the equation above, of events by row and item, for items below `shape[1]`: csr
    float32[shape], items by id."""
    known = item < shape[1]
    row, item = row[known], item[known]
    basket = np.arange(len(row)) if time is None else _baskets(row, time[known])
    age = np.zeros(len(row)) if time is None else _ages(row, time[known], shape[0])
    weight = np.ones(len(row)) if half_life_days is None else 0.5 ** (age / half_life_days)
    # An item counts once in a basket, and a basket once in the sum below the line.
    _, first_of_basket = np.unique(basket, return_index=True)
    total = np.bincount(row[first_of_basket], weights=weight[first_of_basket], minlength=shape[0])
    _, first_of_item = np.unique(np.stack([basket, item]), axis=1, return_index=True)
    kept = first_of_item[weight[first_of_item] >= NEGLIGIBLE]
    share = weight[kept] / total[row[kept]]
    # Summed in the order of (row, item, basket): the same bits in any batch.
    cells = sp.coo_array((share, (row[kept], item[kept])), shape=shape).tocsr()
    cells.sum_duplicates()
    return cells.astype(np.float32)


def _baskets(row: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each event's basket."""
    _, basket = np.unique(np.stack([row, time]), axis=1, return_inverse=True)
    return basket.reshape(-1).astype(np.int64)


def _ages(row: NDArray[np.int64], time: NDArray[np.int64], n_rows: int) -> NDArray[np.float64]:
    """Days from each event to the newest of its row."""
    newest = np.full(n_rows, np.iinfo(np.int64).min)
    np.maximum.at(newest, row, time)
    return (newest[row] - time) / SECONDS_PER_DAY


def _of_length_one(rows: Any) -> Any:
    """csr rows divided by their Euclidean length; an empty row stays empty."""
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1), dtype=np.float64)).reshape(-1)
    scaled = rows.copy()
    scaled.data = (rows.data / np.repeat(length, np.diff(rows.indptr))).astype(np.float32)
    return scaled
