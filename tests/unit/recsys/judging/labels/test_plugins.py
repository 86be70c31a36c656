"""A metric of labelled rows from another package: judged, compared, explained and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.recsys import stages
from falconer.recsys.judging.config import ComparisonConfig, EvaluationConfig
from falconer.recsys.judging.labels.judge import read
from falconer.recsys.metrics import explain
from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.plugins import MetricPlugin
from tests.support.datasets import checkerboard
from tests.support.judging import judge_labels, judge_model


def of_rows(function: Any) -> MetricPlugin:
    return MetricPlugin(
        "row",
        Definition(
            function,
            "Mean squared distance of the probability from the label.",
            formula="(p - label)^2",
            denominator="rows",
            source="Brier 1950",
            better="lower",
        ),
    )


BRIER = of_rows(lambda label, score: (score - label) ** 2)
SHORT = of_rows(lambda label, score: score[:-1])
ENDLESS = of_rows(lambda label, score: score / 0 * np.inf)
NAME = f"{__name__}:BRIER"


def settings(name: str = NAME) -> EvaluationConfig:
    return EvaluationConfig(resamples=200, metrics=(name,))


def test_it_is_judged_beside_ours_and_decides_a_comparison(
    clicks: Dataset, run: Path, tmp_path: Path
) -> None:
    label = clicks.labels("test").astype(np.float64)
    score = np.random.default_rng(0).random(len(label))
    report = judge_labels(score, clicks, config=settings()).report
    assert {"roc_auc", "log_loss", NAME} <= set(report.metrics)
    found = report.metrics[NAME]
    assert found.mean == pytest.approx(brier_score_loss(label, score))
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < found.mean < found.high <= 1
    assert "Brier 1950; package" in found.definition

    other = stages.train("label_mean", clicks.path, tmp_path, overrides=["model.by=none"])
    stages.predict(other)
    for one in (other, run):
        stages.evaluate(one, out=tmp_path / one.name, config=settings())
    judged = [read(tmp_path / one.name / "labels") for one in (other, run)]
    page = stages.compare(
        [tmp_path / one.name for one in (other, run)],
        out=tmp_path / "page.html",
        config=ComparisonConfig(metric=NAME),
    )
    assert NAME in page.read_text(encoding="utf-8")
    assert judged[0].report.metrics[NAME].mean > judged[1].report.metrics[NAME].mean


@pytest.mark.parametrize("name", ["SHORT", "ENDLESS"])
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")
def test_one_that_gives_no_number_a_row_is_named(name: str, clicks: Dataset) -> None:
    score = np.random.default_rng(0).random(len(clicks.labels("test")))
    with pytest.raises(DataError, match=f"{name}: gave an array .* one finite number"):
        judge_labels(score, clicks, config=settings(f"{__name__}:{name}"))


def test_it_is_explained_and_refused_where_lists_are_judged(run: Path, tmp_path: Path) -> None:
    assert explain(NAME).startswith(f"{NAME}: one value a row of (label, score)")
    lists = judge_model("popularity", checkerboard(tmp_path / "board"), tmp_path)
    with pytest.raises(ConfigError, match="BRIER: of labelled rows, and this dataset is of"):
        stages.evaluate(lists, config=settings())
    with pytest.raises(ConfigError, match="ndcg: of lists; on a dataset of the task `labels`"):
        stages.evaluate(run, config=settings("ndcg"))
