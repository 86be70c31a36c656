"""ALS: trained by `implicit`, answered by numpy alone (Hu, Koren and Volinsky 2008, "Collaborative
filtering for implicit feedback datasets").

With n_ui train events of user u and item i (where they have weights, the sum of these), p_ui = 1
where there are any, and item vectors Y, the confidence is the paper's logarithmic one (equation 6
with epsilon 1; base 2, so that a single event counts 1):

    c_ui = 1 + alpha log2(1 + n_ui)

A query's vector is equation 4 on its own history, whatever its order, with C the diagonal matrix of
its c_i:

    x = (Y'Y + Y'(C - I)Y + l2 I)^-1 Y'C p,      score(q, i) = x . y_i
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from falconer.pipelines.console import ticks
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.extras import missing
from falconer.pipelines.runs import Run
from falconer.recsys.backends.numpy.arrays import known_items, load_arrays, save_arrays
from falconer.recsys.backends.numpy.histories import history_counts, pair_counts
from falconer.recsys.models.als.config import AlsConfig

BLOCK_FLOATS = 2**22
"""Floats of gathered item vectors, and of the systems to solve, held at a time."""


class AlsScorer:
    """Scores a query by the product of its folded-in vector with the item vectors float32[n_known,
    factors]."""

    def __init__(self, item_factors: NDArray[np.float32], config: AlsConfig, n_items: int) -> None:
        self._items = item_factors
        self._config = config
        self.items_known = known_items(len(item_factors), n_items)
        items = item_factors.astype(np.float64)
        self._common = items.T @ items + config.l2 * np.eye(items.shape[1])

    def factors(
        self, queries: Queries
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Query factors float32[Q, d], item factors float32[n_items, d], item bias
        float32[n_items].

        The bias is 0 for known items and -inf for all others. The query factors are the same to the
        bit in any batch; a product of whole blocks by the BLAS need not be, `score` is.
        """
        bias = np.where(self.items_known, np.float32(0), np.float32(-np.inf))
        missing = len(bias) - len(self._items)
        return self._fold_in(queries), np.pad(self._items, [(0, missing), (0, 0)]), bias

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]; 0 for all items with an empty history."""
        scores = np.full((len(queries), len(self.items_known)), -np.inf, dtype=np.float32)
        vectors = self._fold_in(queries)
        # One product a query, always of the same shape: the BLAS rounds products of other shapes
        # otherwise.
        with threadpool_limits(1, "blas"):
            for row, vector in zip(scores, vectors, strict=True):
                row[: len(self._items)] = self._items @ vector
        return scores

    def save(self, directory: Path) -> None:
        """Write `arrays.npz`: the item vectors; user vectors always come from the query's
        history."""
        save_arrays(directory, item_factors=self._items)

    def _fold_in(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, factors]: equation 4 for each query, all histories with as many distinct items
        at a time."""
        counts = history_counts(queries, len(self._items))
        offsets = counts.indptr.astype(np.int64)
        items = Ragged(offsets, counts.indices)
        extra = Ragged(offsets, _extra_confidence(counts.data, self._config.alpha))
        vectors = np.zeros((len(queries), self._items.shape[1]), dtype=np.float32)
        # The systems are small: threads inside each cost more than they gain, far more on a busy
        # machine.
        with threadpool_limits(1, "blas"):
            for rows in _same_length(items.lengths, self._items.shape[1]):
                taken = (part.take(rows).values.reshape(len(rows), -1) for part in (items, extra))
                vectors[rows] = self._solve(*taken)
        return vectors

    def _solve(self, items: NDArray[Any], extra: NDArray[Any]) -> NDArray[np.float64]:
        """float64[B, factors] of histories [B, L]: item ids, and their confidence above 1."""
        seen = self._items[items].astype(np.float64)
        systems = self._common + seen.transpose(0, 2, 1) @ (extra[:, :, None] * seen)
        targets = (1 + extra)[:, None, :] @ seen
        vectors: NDArray[np.float64] = np.linalg.solve(systems, targets.transpose(0, 2, 1))[:, :, 0]
        return vectors


def _same_length(lengths: NDArray[np.int64], factors: int) -> Iterator[NDArray[np.int64]]:
    """Rows of equal length above 0, in blocks of bounded memory."""
    for length in np.unique(lengths[lengths > 0]):
        same = np.flatnonzero(lengths == length)
        size = max(1, BLOCK_FLOATS // (factors * max(int(length), factors)))
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _extra_confidence(counts: NDArray[np.float32], alpha: float) -> NDArray[np.float64]:
    """c - 1 of each pair that was seen."""
    extra: NDArray[np.float64] = alpha * np.log2(1 + counts.astype(np.float64))
    return extra


def train(config: AlsConfig, data: Dataset, run: Run) -> AlsScorer:
    """Alternate between users and items. Raises `MissingExtraError` where `implicit` is not
    installed."""
    confidence = sp.csr_matrix(pair_counts(data))
    confidence.data = (1 + _extra_confidence(confidence.data, config.alpha)).astype(np.float32)
    item_factors = _fit(config, confidence)
    run.log_metrics(0, {"pairs": float(confidence.nnz)})
    return AlsScorer(item_factors, config, data.n_items)


def load(directory: Path, config: AlsConfig, data: Dataset) -> AlsScorer:
    """Read `arrays.npz`; needs no `implicit`."""
    item_factors = load_arrays(directory, "item_factors")["item_factors"]
    if item_factors.ndim != 2 or item_factors.shape[1] != config.dim:
        raise ArtifactError(
            f"{directory}: damaged (vectors of shape {item_factors.shape}); train the model anew"
        )
    return AlsScorer(item_factors, config, data.n_items)


def _fit(config: AlsConfig, confidence: Any) -> NDArray[np.float32]:
    """The item vectors that `implicit` finds: float32[n_items, factors]."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ModuleNotFoundError as error:
        raise missing("implicit", "als, to train,") from error
    passes = ticks("als: epochs", total=config.epochs, shorter="fewer model.epochs take less")
    # implicit runs its own threads over rows; a BLAS with threads beside them is slow, and implicit
    # warns of it.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=config.dim,
            regularization=config.l2,
            alpha=1.0,  # implicit takes the values of the matrix as c, and ours holds that
            iterations=config.epochs,
            random_state=config.seed,
        )
        model.fit(confidence, show_progress=False, callback=passes)
    factors: NDArray[np.float32] = model.item_factors
    return factors
