"""What a comparison asks of the task `top_n`."""

from __future__ import annotations

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.statistics.comparison import Metric
from falconer.recsys.judging.compare import Task
from falconer.recsys.judging.reports import ListsReport
from falconer.recsys.metrics import more_is_better
from falconer.recsys.metrics.tables import metric_of_lists

PLAIN_BASELINES = ("popularity", "personal_popularity", "item_knn", "tifu_knn")
"""Models without a fit worth the name: whatever does not beat them is not worth its cost."""
MAIN_METRIC = "ndcg@10"


def _known(metric: str) -> Metric:
    """A metric of lists; one of which more is not better names no leader."""
    name = metric.partition("@")[0]
    if metric_of_lists(name) and not more_is_better(name):
        raise ConfigError(
            f"more {name} is not better by itself, so it cannot say who leads; name one of accuracy"
        )
    return Metric(metric)


TOP_N: Task[ListsReport] = Task(
    name="top_n",
    questions="queries",
    baselines=PLAIN_BASELINES,
    metric_of=lambda report: MAIN_METRIC,
    known=_known,
)
