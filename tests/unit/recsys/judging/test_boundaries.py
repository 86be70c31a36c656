"""Where a rule begins and ends: bounds of metrics, the smallest group, the metric that is
sliced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from falconer.recsys.judging import slices
from falconer.recsys.judging.compare import MIN_GROUP, slice_differences
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists.per_query import JudgedLists, PerQuery
from falconer.recsys.judging.reports import ListsReport
from tests.support.datasets import write_labels_dataset
from tests.support.judging import judge_labels


def test_intervals_of_labels_end_at_the_bounds_of_their_metric(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clicks", n_rows=600)
    score = data.labels("test").astype(np.float64)
    score[0] = 1 - score[0]
    report = judge_labels(score, data, config=EvaluationConfig(resamples=200)).report
    assert report.metrics["roc_auc"].high == 1.0
    assert report.metrics["expected_calibration_error"].low == 0.0


def of_groups(label: str, sizes: dict[str, int]) -> JudgedLists:
    n = sum(sizes.values())
    group = np.repeat(np.arange(len(sizes)), list(sizes.values()))
    values = np.random.default_rng(len(label)).random(n)
    table = {"user_key": np.arange(n), "n_relevant": np.ones(n, np.int64), "ndcg@10": values}
    table |= {
        slices.column("ndcg@10", "age", name): np.where(group == code, values, np.nan)
        for code, name in enumerate(sizes)
    }
    report = ListsReport(
        label=label, run=None, dataset_name="d", dataset_id="d", fold="test", view="all", k=(10,),
        metrics={}, n_queries=n, n_evaluated=n, n_without_list=0, n_relevant=n, n_outside=0,
        resamples=100, seed=0,
    )  # fmt: skip
    return JudgedLists(report, PerQuery.of(pa.table(table)))


def test_the_smallest_group_that_is_compared() -> None:
    sizes = {"just": MIN_GROUP, "under": MIN_GROUP - 1}
    found = slice_differences([of_groups("a", sizes), of_groups("bb", sizes)])
    assert [gap.group for gap in found] == ["just"]


@pytest.mark.parametrize(
    ("cut_offs", "metric"), [((5, 15), "ndcg@5"), ((10, 20), "ndcg@10"), ((1, 12), "ndcg@12")]
)
def test_the_metric_that_is_sliced(cut_offs: tuple[int, ...], metric: str) -> None:
    assert slices.sliced_metric(cut_offs) == metric
