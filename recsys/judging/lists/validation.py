"""How good a model is while it trains: a few metrics on the validation fold, always of the same
queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.data.schema import View
from falconer.recsys.contracts import CatalogScorer, PairScorer
from falconer.recsys.judging.lists.relevance import found_in, relevant
from falconer.recsys.metrics import METRICS
from falconer.recsys.metrics.labels import BINARY_METRICS
from falconer.recsys.metrics.ranked import Ranked
from falconer.recsys.recommending.top_k import top_k

NAMES = ("hit_rate", "ndcg")
BINARY_NAMES = ("roc_auc", "log_loss")


class Validation:
    """Judges scorers on queries of the fold `valid`, in the first view of the dataset's split.

    Where more than `n_queries` have a relevant item, a sample of them, the same for the same
    `seed`. The whole catalogue is ranked, unless the queries give candidates. With `n_candidates`,
    each query's relevant items are ranked among so many items drawn from the rest of the view: the
    names of these metrics begin with `sampled_`. A dataset without the fold, or without a relevant
    item in it, gives no metrics.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        n_queries: int,
        seed: int,
        n_candidates: int | None = None,
        k: int = 10,
    ) -> None:
        self._n_items, self._k, self._view = data.n_items, k, data.card.split.views[0]
        self._queries, self._relevant = _sample(data, n_queries, seed)
        self._prefix = ""
        if n_candidates is not None:
            self._prefix = "sampled_"
            drawn = _drawn(
                self._queries,
                self._relevant,
                self._view,
                n_candidates,
                n_items=data.n_items,
                seed=seed,
            )
            self._queries = replace(self._queries, candidates=drawn)

    @property
    def n_queries(self) -> int:
        """Queries that are judged."""
        return len(self._relevant)

    @property
    def selection(self) -> dict[str, Any]:
        """What chooses the weights where a configuration leaves it open: `monitor` and `mode`."""
        return {"monitor": f"{self._prefix}ndcg@{self._k}", "mode": "max"}

    def __call__(self, scorer: CatalogScorer) -> dict[str, float]:
        """`hit_rate@k` and `ndcg@k` as `falconer.recsys.metrics` has them, with the prefix; empty
        where there are no queries."""
        if not self.n_queries:
            return {}
        lists = top_k(scorer, self._queries, n_items=self._n_items, k=self._k, view=self._view)
        ranked = Ranked(
            lists.items,
            found_in(lists.items, self._relevant, self._n_items),
            self._relevant.lengths,
        )
        return {
            f"{self._prefix}{name}@{self._k}": float(METRICS[name].function(ranked, self._k).mean())
            for name in NAMES
        }


class LabelValidation:
    """Judges scorers on the labelled rows of the fold `valid`, all of them: the task `labels`.

    A dataset without the fold gives no metrics.
    """

    def __init__(self, data: Dataset) -> None:
        there = data.has_fold("valid")
        self._rating = data.card.target == "rating"
        self._pairs = data.pairs("valid") if there else None
        self._labels = data.labels("valid") if there else np.empty(0, np.float32)

    @property
    def n_queries(self) -> int:
        """Rows that are judged."""
        return len(self._labels)

    @property
    def selection(self) -> dict[str, Any]:
        """What chooses the weights where a configuration leaves it open: `monitor` and `mode`."""
        return (
            {"monitor": "rmse", "mode": "min"}
            if self._rating
            else {"monitor": "roc_auc", "mode": "max"}
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that it gives."""
        return ("rmse",) if self._rating else BINARY_NAMES

    def __call__(self, scorer: PairScorer) -> dict[str, float]:
        """`roc_auc` and `log_loss` of probabilities, or `rmse` of ratings; empty where there are no
        rows."""
        if self._pairs is None or not self.n_queries:
            return {}
        scores = scorer.score_pairs(self._pairs).astype(np.float64)
        if self._rating:
            return {"rmse": float(np.sqrt(np.mean((scores - self._labels) ** 2)))}
        return {name: BINARY_METRICS[name].function(self._labels, scores) for name in BINARY_NAMES}


def selected(monitor: str | None, validation: Validation | LabelValidation) -> dict[str, Any]:
    """Knobs of a training whose `monitor` may be "auto": none where there is nothing to validate
    on."""
    if not validation.n_queries:
        return {"monitor": None, "patience": None}
    return validation.selection if monitor == "auto" else {}


def _sample(data: Dataset, n_queries: int, seed: int) -> tuple[Queries, Ragged]:
    """Queries with a relevant item, and these items."""
    if not data.has_fold("valid"):
        empty = Ragged.of([])
        return Queries(np.empty(0, np.int32), empty), empty
    queries, truth = data.queries("valid"), data.truth("valid")
    wanted = relevant(queries, truth, data.card.split.views[0], data.n_items)
    rows = np.flatnonzero(wanted.lengths > 0)
    if len(rows) > n_queries:
        rows = np.sort(np.random.default_rng(seed).choice(rows, n_queries, replace=False))
    return queries.take(rows), wanted.take(rows)


def _drawn(
    queries: Queries, wanted: Ragged, view: View, n: int, *, n_items: int, seed: int
) -> Ragged:
    """The relevant items of each query and n others of the view, or as many as there are."""
    random = np.random.default_rng(seed)
    rows = [
        np.concatenate([wanted[row], random.permutation(others)[:n]])
        for row in range(len(queries))
        for others in [np.setdiff1d(_in_view(queries.history[row], view, n_items), wanted[row])]
    ]
    return Ragged.of(rows)


def _in_view(history: NDArray[Any], view: View, n_items: int) -> NDArray[Any]:
    """The items that may be recommended to a user with this history."""
    if view == "repeat":
        return np.asarray(np.unique(history))
    catalogue = np.arange(n_items)
    return np.asarray(np.setdiff1d(catalogue, history) if view == "novel" else catalogue)
