"""An exported file as a scorer, and its metric on the validation fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs, Queries
from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.statistics.differences import (
    Judged,
    PairedDifference,
    paired_differences,
)
from falconer.recsys.backends.torch.graphs import Form
from falconer.recsys.contracts import CatalogScorer, PairScorer
from falconer.recsys.exporting.inputs import as_known_by_id, inputs_of
from falconer.recsys.judging.compare import Task
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.labels import judge as labels
from falconer.recsys.judging.lists import judge as lists
from falconer.recsys.judging.subject import Subject
from falconer.recsys.lists.stored import Lists
from falconer.recsys.recommending.top_k import top_k
from falconer.recsys.stages.finished import ANSWERS

Answer = Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]
"""What gives a file's scores for the inputs of its graph."""
FOLD: Fold = "valid"
K = 10
ROWS_AT_ONCE = 8192


class FileScorer:
    """Scores queries of a dataset by what a file answers to `inputs`; it knows the first `n_known`
    items."""

    def __init__(
        self, answer: Answer, form: Form, inputs: Sequence[str], n_known: int, data: Dataset
    ) -> None:
        self._answer, self._form, self._inputs, self._data = answer, form, inputs, data
        self.items_known = np.arange(data.n_items) < n_known

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]; -inf for an item that it does not know."""
        scores = np.full((len(queries), len(self.items_known)), -np.inf, np.float32)
        known = np.flatnonzero(self.items_known).astype(np.int32)
        if self._form == "catalogue":
            scores[:, known] = self._asked(queries, np.full(len(queries), -1, np.int32))
            return scores
        together = max(1, ROWS_AT_ONCE // max(1, len(known)))
        for start in range(0, len(queries), together):
            rows = np.arange(start, min(start + together, len(queries)))
            asked = queries.take(np.repeat(rows, len(known)))
            found = self._asked(asked, np.tile(known, len(rows)))
            scores[np.ix_(rows, known)] = found.reshape(len(rows), -1)
        return scores

    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        """float32[P]."""
        starts = range(0, len(pairs.item), ROWS_AT_ONCE)
        blocks = [slice(start, start + ROWS_AT_ONCE) for start in starts]
        parts = [
            self._asked(pairs.queries.take(pairs.query[one]), pairs.item[one]) for one in blocks
        ]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def save(self, directory: Path) -> None:
        """It is a file already."""
        raise NotImplementedError

    def _asked(self, queries: Queries, item: NDArray[np.int32]) -> NDArray[np.float32]:
        asked = as_known_by_id(queries, self._data)
        return self._answer(inputs_of(self._inputs, asked, item, self.items_known))


def judged(scorer: CatalogScorer | PairScorer, data: Dataset, label: str) -> Judged:
    """The metrics of each question of the validation fold, in the first view of the split; the test
    fold is not read. Raises `ArtifactError` where there is no validation fold."""
    if not data.has_fold(FOLD):
        raise ArtifactError(
            f"{data.path}: has no validation fold to judge the file on; choose a dataset that has "
            "with --data DIR"
        )
    subject = Subject(label)
    if data.card.task == "labels":
        assert isinstance(scorer, PairScorer)
        score = scorer.score_pairs(data.pairs(FOLD)).astype(np.float64)
        return labels.judge(score, data, FOLD, subject, EvaluationConfig())
    view, queries = data.card.split.views[0], data.queries(FOLD)
    best = top_k(scorer, queries, n_items=data.n_items, k=K, view=view)
    given = Lists(best.items, np.ones(len(best), np.bool_))
    config = EvaluationConfig(k=(K,), metrics=("ndcg", "hit_rate"))
    return lists.judge(given, data, lists.Scope(FOLD, view), subject, config)


def cost(model: Judged, file: Judged, data: Dataset) -> PairedDifference:
    """What the file loses of the metric that decides: above zero where it is worse than the
    model."""
    metric = _task(data).known(metric_of(model, data))
    pair = (file, model) if metric.lower_is_better else (model, file)
    (difference,) = paired_differences(pair, metric.name)
    return difference


def metric_of(found: Judged, data: Dataset) -> str:
    """The metric that decides."""
    return _task(data).metric_of(found.report)


def _task(data: Dataset) -> Task[Any]:
    task: Task[Any] = ANSWERS[data.card.task].task
    return task
