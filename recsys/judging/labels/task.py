"""What a comparison asks of the task `labels`."""

from __future__ import annotations

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.statistics.comparison import Metric
from falconer.recsys.judging.compare import Task
from falconer.recsys.judging.labels.judge import MAIN_METRIC
from falconer.recsys.judging.reports import LabelsReport
from falconer.recsys.metrics import BINARY_METRICS, RATING_METRICS
from falconer.recsys.metrics.tables import metric_of_rows

PLAIN_BASELINES = ("label_mean",)


def _known(metric: str) -> Metric:
    """A metric of labels."""
    found = metric_of_rows(metric)
    if found is None:
        known = ", ".join((*BINARY_METRICS, *RATING_METRICS))
        raise ConfigError(f"{metric!r} is no metric of the task `labels`; there are {known}")
    return Metric(metric, lower_is_better=found.better == "lower")


LABELS: Task[LabelsReport] = Task(
    name="labels",
    questions="rows",
    baselines=PLAIN_BASELINES,
    metric_of=lambda report: MAIN_METRIC[report.target],
    known=_known,
)
