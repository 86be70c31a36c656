"""BPR: trained by `implicit`, answered by numpy alone (Rendle et al. 2009, "BPR: Bayesian
personalized ranking from implicit feedback").

With user vectors x and item vectors y and biases b, triples of a user u, an item i that u has in
train and an item j that u does not have are drawn, i of a pair of train at random and j of another
one (so in proportion to its number of users), and by stochastic gradient ascent

    score(u, i) = x_u . y_i + b_i
    maximise     ln sigmoid(score(u, i) - score(u, j))
                 - l2 / 2 |parameters of the triple|^2          (section 4)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from falconer.pipelines.console import ticks
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.errors import ArtifactError, TrainingError
from falconer.pipelines.extras import missing
from falconer.pipelines.runs import Run
from falconer.recsys.backends.numpy.arrays import known_items, load_arrays, save_arrays
from falconer.recsys.backends.numpy.factors import (
    all_items,
    or_popularity,
    scores_of,
    with_popularity,
)
from falconer.recsys.backends.numpy.histories import pairs
from falconer.recsys.models.bpr.config import BprConfig

Float32 = NDArray[np.float32]


class BprScorer:
    """Scores a query by the product of its user's vector float32[n_users, factors + 1], which ends
    with 1, and the item vectors float32[n_known, factors + 1], which end with the bias. A user who
    is not known gets the items' train events, `popularity` float32[n_known]."""

    def __init__(self, users: Float32, items: Float32, popularity: Float32, n_items: int) -> None:
        self._users, self._item_vectors, self._popularity = users, items, popularity
        self._items = with_popularity(items, popularity)
        self.items_known = known_items(len(items), n_items)

    def knows(self, queries: Queries) -> NDArray[np.bool_]:
        """bool[Q]: whether the user was in train; others get the items by popularity."""
        return (queries.user >= 0) & (queries.user < len(self._users))

    def factors(self, queries: Queries) -> tuple[Float32, Float32, Float32]:
        """Query factors float32[Q, d], item factors float32[n_items, d], item bias
        float32[n_items].

        The bias is 0 for known items and -inf for all others; the model's own is one of the
        factors.
        """
        bias = np.where(self.items_known, np.float32(0), np.float32(-np.inf))
        return self._query_factors(queries), all_items(self._items, len(bias)), bias

    def score(self, queries: Queries) -> Float32:
        """float32[Q, n_items]."""
        return scores_of(self._query_factors(queries), self._items, len(self.items_known))

    def save(self, directory: Path) -> None:
        """Write `arrays.npz`."""
        save_arrays(
            directory, users=self._users, items=self._item_vectors, popularity=self._popularity
        )

    def _query_factors(self, queries: Queries) -> Float32:
        known = self.knows(queries)
        return or_popularity(self._users[np.where(known, queries.user, 0)], known)


def train(config: BprConfig, data: Dataset, run: Run) -> BprScorer:
    """Draw triples and follow their gradients.

    Raises `MissingExtraError` where `implicit` is not installed, `TrainingError` where the vectors
    grow out of bounds.
    """
    if not config.repeatable:
        run.log(
            f"{config.threads} threads write to the same vectors: training again gives another "
            "model"
        )
    binary = sp.csr_matrix(pairs(data))
    users, items = _fit(config, binary)
    if not (np.isfinite(users).all() and np.isfinite(items).all()):
        raise TrainingError(
            "BPR: the vectors are not finite; lower model.learning_rate or raise model.l2"
        )
    run.log_metrics(0, {"pairs": float(binary.nnz)})
    popularity = np.bincount(data.train_column("item"), minlength=data.n_items).astype(np.float32)
    return BprScorer(users, items, popularity, data.n_items)


def load(directory: Path, config: BprConfig, data: Dataset) -> BprScorer:
    """Read `arrays.npz`; needs no `implicit`."""
    arrays = load_arrays(directory, "users", "items", "popularity")
    users, items, popularity = arrays["users"], arrays["items"], arrays["popularity"]
    shapes = (users.shape[1:], items.shape)
    if shapes != ((config.dim + 1,), (len(popularity), config.dim + 1)):
        raise ArtifactError(
            f"{directory}: damaged (vectors of shape {items.shape}); train the model anew"
        )
    return BprScorer(users, items, popularity, data.n_items)


def _fit(config: BprConfig, binary: Any) -> tuple[Float32, Float32]:
    """The user and item vectors that `implicit` finds, biases last."""
    try:
        from implicit.cpu.bpr import BayesianPersonalizedRanking
    except ModuleNotFoundError as error:
        raise missing("implicit", "bpr, to train,") from error
    # implicit runs threads of its own; it warns of a BLAS with threads beside them.
    passes = ticks("bpr: epochs", total=config.epochs, shorter="fewer model.epochs take less")
    with threadpool_limits(1, "blas"):
        model = BayesianPersonalizedRanking(
            factors=config.dim,
            learning_rate=config.learning_rate,
            regularization=config.l2,
            iterations=config.epochs,
            num_threads=config.threads,
            random_state=config.seed,
        )
        model.fit(binary, show_progress=False, callback=passes)
    return model.user_factors, model.item_factors
