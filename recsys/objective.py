"""What a search for knobs goes by: one metric, always on the fold `valid`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.data.dataset import Dataset
from pipelines.data.schema import View
from pipelines.errors import ConfigError, DataError
from recsys import registry
from recsys.api import CatalogScorer, PairScorer, Ranked
from recsys.evaluation import found_in, relevant
from recsys.metrics import METRICS, explain
from recsys.ranking import top_k

DEFAULT_METRIC = "ndcg@10"


class Objective:
    """The mean of a metric over the queries of the fold `valid` that have a relevant item in the view.

    `metric` is one of `recsys.metrics.METRICS` with its cut-off; `view` is the dataset's first where left out. Raises
    `ConfigError` for a metric that is none of these, and `DataError` where there is nothing to judge on.
    """

    def __init__(self, data: Dataset, metric: str | None = None, view: View | None = None) -> None:
        self.metric = metric or DEFAULT_METRIC
        self.view: View = view or data.card.split.views[0]
        self._name, self._k = _name_and_cut_off(self.metric)
        self.more_is_better = METRICS[self._name].better == "higher"
        if not data.has_fold("valid"):
            raise DataError(
                f"{data.path}: has no fold valid to choose knobs by, and fold test is never used for that; build the "
                "dataset with a validation part ([split] of its recipe)"
            )
        self.is_validated = self.view == data.card.split.views[0]
        """Whether a training validates by this metric, if it does by one of this name."""
        self._data = data
        queries = data.queries("valid")
        wanted = relevant(queries, data.truth("valid"), self.view, data.n_items)
        rows = np.flatnonzero(wanted.lengths)
        if not len(rows):
            raise DataError(f"{data.path}: no query of fold valid has a relevant item in view {self.view!r}")
        self._queries, self._relevant = queries.take(rows), wanted.take(rows)

    def of_model(self, directory: Path) -> float:
        """The saved model's value."""
        return self.of(registry.load_model(directory, self._data))

    def of(self, scorer: CatalogScorer | PairScorer) -> float:
        """The scorer's value."""
        lists = top_k(scorer, self._queries, n_items=self._data.n_items, k=self._k, view=self.view)
        found = found_in(lists.items, self._relevant, self._data.n_items)
        values = METRICS[self._name].function(Ranked(lists.items, found, self._relevant.lengths), self._k)
        return float(np.nanmean(values))


def _name_and_cut_off(metric: str) -> tuple[str, int]:
    explain(metric)  # refuses what is no metric
    name, _, cut_off = metric.partition("@")
    if name not in METRICS or not cut_off:
        raise ConfigError(f"{metric!r} cannot choose knobs: name one of {', '.join(METRICS)}, with a cut-off: ndcg@10")
    return name, int(cut_off)
