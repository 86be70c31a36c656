"""EASE on numpy and LAPACK (Steck 2019, "Embarrassingly shallow autoencoders for sparse data").

With X the train matrix of users and items, which holds 1, or the largest weight of a user's events
with the item, P = (X'X + l2 I)^-1, equation 8 is

    B_ij = -P_ij / P_jj  for i != j,    B_jj = 0                (B = I - P diag(1 / diag P))
    score(q, j) = sum over i in H_q of decay^position_q(i) * B_ij

where H_q holds the distinct items of the history; decay = 1 is the paper's model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from falconer.pipelines.console import ticks
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.errors import ArtifactError, DataError, TrainingError
from falconer.pipelines.runs import Run
from falconer.recsys.backends.numpy.arrays import (
    known_items,
    load_arrays,
    mask_new_items,
    save_arrays,
)
from falconer.recsys.backends.numpy.histories import recency_weights, strongest_pairs
from falconer.recsys.models.ease.config import EaseConfig

Square = NDArray[np.float64] | NDArray[np.float32]

BLOCK = 512
"""Rows worked on at a time."""
FEWER_ITEMS = "a greater catalogue.min_item_users in the ETL recipe leaves fewer items"
BYTES_PER_CELL = {"float64": 8 + 4, "float32": 4}
"""Peak of training: one square matrix in float64 for the inverse and one in float32 for the result;
or one in float32 for both."""


class EaseScorer:
    """Scores a query by the weights float32[n_known, n_known] from its history's items to all
    others."""

    def __init__(self, weights: NDArray[np.float32], decay: float, n_items: int) -> None:
        self._weights = weights
        self._decay = decay
        self.items_known = known_items(len(weights), n_items)

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]; 0 for all items with an empty history.

        The product is scipy's, row by row in the order of item ids, and not the BLAS's: so a
        query's scores are the same to the bit in any batch.
        """
        history = recency_weights(queries, len(self._weights), decay=self._decay)
        scores: NDArray[np.float32] = history @ self._weights
        return mask_new_items(scores, len(self.items_known))

    def save(self, directory: Path) -> None:
        """Write `arrays.npz`."""
        save_arrays(directory, weights=self._weights)


def train(config: EaseConfig, data: Dataset, run: Run) -> EaseScorer:
    """Solve for the weights. Raises `DataError` with the memory estimate above `max_items`."""
    _refuse_too_many_items(config, data)
    gram = _gram(strongest_pairs(data), config)
    _invert_upper(gram)
    run.log_metrics(0, {"items": float(data.n_items), "trace_of_inverse": float(np.trace(gram))})
    return EaseScorer(_weights(gram), config.decay, data.n_items)


def load(directory: Path, config: EaseConfig, data: Dataset) -> EaseScorer:
    """Read `arrays.npz`."""
    weights = load_arrays(directory, "weights")["weights"]
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
        raise ArtifactError(
            f"{directory}: damaged (weights of shape {weights.shape}); train the model anew"
        )
    return EaseScorer(weights, config.decay, data.n_items)


def _refuse_too_many_items(config: EaseConfig, data: Dataset) -> None:
    if data.n_items > config.max_items:
        raise DataError(
            f"{data.path}: EASE on {data.n_items:,} items needs about "
            f"{memory_gb(data.n_items, config.precision):.1f} GB, and "
            f"model.max_items stops it at {config.max_items:,} "
            f"({memory_gb(config.max_items, config.precision):.1f} GB); raise "
            "catalogue.min_item_users in the ETL recipe, train item_knn, or raise model.max_items "
            "if there is room"
        )


def memory_gb(n_items: int, precision: str = "float64") -> float:
    """Peak memory of training in GB (10^9 bytes), the train matrix left out."""
    return BYTES_PER_CELL[precision] * n_items**2 / 1e9


def _gram(matrix: Any, config: EaseConfig) -> Square:
    """X'X + l2 I: [n_items, n_items] of the precision, the upper triangle in whole blocks (below
    them the memory is zero)."""
    n_items = matrix.shape[1]
    by_item = matrix.tocsc()
    gram = np.zeros((n_items, n_items), np.dtype(config.precision))
    for start in range(0, n_items, BLOCK):
        stop = min(start + BLOCK, n_items)
        gram[start:stop, start:] = (by_item[:, start:stop].T @ by_item[:, start:].tocsr()).toarray()
    gram[np.diag_indices(n_items)] += config.l2
    return gram


def _invert_upper(gram: Square) -> None:
    """Replace the upper triangle by that of the inverse, in place (Cholesky)."""
    # LAPACK counts columns first: the transpose is the same memory, and its lower triangle our
    # upper one.
    columns_first = gram.T
    factorise, invert = lapack.get_lapack_funcs(("potrf", "potri"), (columns_first,))
    third = ticks("ease: thirds of the inversion", total=3, shorter=FEWER_ITEMS)
    _, failed = factorise(columns_first, lower=1, overwrite_a=1, clean=0)
    third()  # n^3 / 3 multiplications of n^3
    if not failed:
        _, failed = invert(columns_first, lower=1, overwrite_c=1)
    if failed:
        raise TrainingError(f"EASE: the matrix cannot be inverted (row {failed}); raise model.l2")


def _weights(inverse: Square) -> NDArray[np.float32]:
    """B of equation 8 from the upper triangle of P, whose lower one is filled first; in P's own
    memory where that is float32."""
    n_items = len(inverse)
    scale: Square = np.negative(np.reciprocal(np.diagonal(inverse)))
    for start in range(0, n_items, BLOCK):
        stop = min(start + BLOCK, n_items)
        square = inverse[start:stop, start:stop]
        square[:] = np.triu(square) + np.triu(square, 1).T
        inverse[stop:, start:stop] = inverse[start:stop, stop:].T
    in_place = inverse.dtype == np.float32
    weights = inverse if in_place else np.empty((n_items, n_items), np.float32)
    for start in range(0, n_items, BLOCK):
        rows = slice(start, start + BLOCK)
        weights[rows] = inverse[rows] * scale
    weights[np.diag_indices(n_items)] = 0.0
    return cast(NDArray[np.float32], weights)
