"""Judging and comparing in one call, with what a test does not care about left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold, View
from falconer.recsys import stages
from falconer.recsys.judging.compare import compare
from falconer.recsys.judging.config import ComparisonConfig, EvaluationConfig
from falconer.recsys.judging.labels import judge as labels
from falconer.recsys.judging.labels.judge import JudgedLabels
from falconer.recsys.judging.labels.task import LABELS
from falconer.recsys.judging.lists import judge as lists_judging
from falconer.recsys.judging.lists.per_query import JudgedLists
from falconer.recsys.judging.lists.task import TOP_N
from falconer.recsys.judging.reports import (
    Comparison,
    LabelsReport,
    ListsReport,
    Part,
    ViewComparison,
)
from falconer.recsys.judging.slices import Slicing
from falconer.recsys.judging.subject import Subject
from falconer.recsys.lists.stored import Lists, StoredLists
from falconer.recsys.stages import RecommendConfig
from tests.support.datasets import label_signal

QUICK = EvaluationConfig(k=(1, 10), resamples=100)
FEW = EvaluationConfig(resamples=200)


def judge_model(model: str, data: Dataset, root: Path) -> Path:
    """A run that was trained, asked for lists and judged."""
    run = stages.train(model, data.path, root / "runs")
    stages.recommend(run, config=RecommendConfig(k=10))
    return stages.evaluate(run, config=QUICK)


def judge_lists(
    lists: Lists | StoredLists,
    data: Dataset,
    *,
    config: EvaluationConfig,
    fold: Fold = "test",
    view: View = "all",
    label: str = "x",
    slicings: Sequence[Slicing] = (),
    table: Path | None = None,
    **subject: Any,
) -> JudgedLists:
    """Lists on one view; `subject` has other fields of `Subject`."""
    scope = lists_judging.Scope(fold, view, tuple(slicings))
    return lists_judging.judge(
        lists, data, scope, Subject(label=label, **subject), config, table=table
    )


def judge_labels(
    score: NDArray[np.float64],
    data: Dataset,
    *,
    config: EvaluationConfig,
    fold: Fold = "test",
    label: str = "model",
    **subject: Any,
) -> JudgedLabels:
    """Predictions on a fold; `subject` has other fields of `Subject`."""
    return labels.judge(score, data, fold, Subject(label=label, **subject), config)


def compare_lists(
    runs: Sequence[Mapping[Part, JudgedLists]], config: ComparisonConfig
) -> Comparison[ListsReport]:
    """Lists, view by view."""
    return compare(runs, TOP_N, metric=config.metric)


def compare_labels(
    judged: Sequence[JudgedLabels], *, metric: str | None = None
) -> ViewComparison[LabelsReport]:
    """Predictions, in their one view."""
    [view] = compare([{"labels": one} for one in judged], LABELS, metric=metric).views
    return view


def comparison_of(judged: Sequence[JudgedLabels]) -> Comparison[LabelsReport]:
    """The same with what a page needs around it."""
    return compare([{"labels": one} for one in judged], LABELS)


def true_probability(data: Dataset, fold: Any = "test") -> Any:
    """The probability that each row's label was drawn with."""
    tables = [
        {name: table.column(name).to_numpy() for name in table.column_names[3:]}
        for table in (data.users, data.items)
    ]
    pairs = data.pairs(fold)
    columns = {
        "user": pairs.queries.user,
        "item": pairs.item,
        "device": pairs.queries.features["device"],
    }
    return 1 / (1 + np.exp(-label_signal(tables[0], tables[1], columns)))


def judged_clicks(data: Dataset, score: Any, label: str = "model", **facts: Any) -> JudgedLabels:
    """Predictions of the test fold, with few resamples."""
    return judge_labels(score, data, label=label, config=FEW, **facts)
