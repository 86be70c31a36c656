"""What a search for knobs goes by: one metric, always on the fold `valid`."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import View
from falconer.pipelines.errors import ConfigError, DataError
from falconer.recsys.contracts import CatalogScorer, PairScorer
from falconer.recsys.judging.lists.relevance import found_in, relevant
from falconer.recsys.judging.lists.validation import LabelValidation
from falconer.recsys.metrics import BINARY_METRICS, METRICS, explain
from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.ranked import Metric, Ranked
from falconer.recsys.metrics.tables import metric_of
from falconer.recsys.recommending.top_k import top_k

DEFAULT_METRIC = "ndcg@10"


class Objective(Protocol):
    """What decides between trials."""

    metric: str
    more_is_better: bool
    is_validated: bool
    """Whether a training validates by this metric, if it does by one of this name."""

    @property
    def view(self) -> View | None:
        """The view of the truth; None in the task `labels`, which has no views."""

    def of(self, scorer: CatalogScorer | PairScorer) -> float:
        """The scorer's value."""


def objective_of(data: Dataset, metric: str | None = None, view: View | None = None) -> Objective:
    """The objective for a dataset of either task, with its usual metric and first view where these
    are left out.

    Raises `ConfigError` for a metric or a view that cannot decide there, and `DataError` where
    there is nothing to judge on.
    """
    if not data.has_fold("valid"):
        raise DataError(
            f"{data.path}: has no fold valid to choose knobs by, and fold test is never used for "
            "that; build the "
            "dataset with a validation part ([split] of its recipe)"
        )
    return (
        _LabelsObjective(data, metric, view)
        if data.card.task == "labels"
        else _ListsObjective(data, metric, view)
    )


class _ListsObjective:
    """The mean over the queries that have a relevant item in the view."""

    def __init__(self, data: Dataset, metric: str | None, view: View | None) -> None:
        self.metric = metric or DEFAULT_METRIC
        self.view: View = view or data.card.split.views[0]
        self._definition, self._k = _definition_and_cut_off(self.metric)
        self.more_is_better = self._definition.better == "higher"
        self.is_validated = self.view == data.card.split.views[0]
        self._n_items = data.n_items
        queries = data.queries("valid")
        wanted = relevant(queries, data.truth("valid"), self.view, data.n_items)
        rows = np.flatnonzero(wanted.lengths)
        if not len(rows):
            raise DataError(
                f"{data.path}: no query of fold valid has a relevant item in view {self.view!r}"
            )
        self._queries, self._relevant = queries.take(rows), wanted.take(rows)

    def of(self, scorer: CatalogScorer | PairScorer) -> float:
        """The scorer's value."""
        lists = top_k(scorer, self._queries, n_items=self._n_items, k=self._k, view=self.view)
        found = found_in(lists.items, self._relevant, self._n_items)
        values = self._definition.function(
            Ranked(lists.items, found, self._relevant.lengths), self._k
        )
        return float(np.nanmean(values))


class _LabelsObjective:
    """One value for all rows."""

    def __init__(self, data: Dataset, metric: str | None, view: View | None) -> None:
        self._validation = LabelValidation(data)
        if view is not None:
            raise ConfigError(
                f"{data.path}: is a dataset of the task `labels`, which has no views: leave out "
                "--view"
            )
        if not self._validation.n_queries:
            raise DataError(f"{data.path}: fold valid has no row")
        self.metric = metric or str(self._validation.selection["monitor"])
        if self.metric not in self._validation.names:
            raise ConfigError(
                f"{self.metric!r} cannot choose knobs here: name one of "
                f"{', '.join(self._validation.names)}"
            )
        self.view = None
        self.more_is_better = (
            self.metric in BINARY_METRICS and BINARY_METRICS[self.metric].better == "higher"
        )
        self.is_validated = True

    def of(self, scorer: CatalogScorer | PairScorer) -> float:
        """The scorer's value."""
        assert isinstance(scorer, PairScorer)
        return self._validation(scorer)[self.metric]


def _definition_and_cut_off(metric: str) -> tuple[Definition[Metric], int]:
    explain(metric)  # refuses what is no metric
    name, _, cut_off = metric.partition("@")
    definition = metric_of("query", name)
    if definition is None or not cut_off:
        raise ConfigError(
            f"{metric!r} cannot choose knobs: name one of {', '.join(METRICS)}, with a cut-off: "
            "ndcg@10"
        )
    return definition, int(cut_off)
