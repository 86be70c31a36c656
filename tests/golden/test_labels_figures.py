"""The plain baseline on MovieLens-1M as a click-through task: counting only, so the same on every
machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines import stages as etl_stages
from falconer.recsys import stages
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.labels import judge as judging

FIGURES = {"roc_auc": 0.8060833, "log_loss": 0.4137957, "gauc": 0.8113018}
"""Of the validation fold."""


def test_figures_of_the_label_mean_never_change(
    data_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FALCONER_DATA_MIRROR", str(data_mirror))
    data = etl_stages.etl(
        etl_stages.load_recipe("ml-1m-ctr", ["features.engine=polars"]), tmp_path / "data"
    )
    run = stages.train("ml-1m-ctr/label_mean", data, tmp_path / "runs")
    stages.predict(run, fold="valid")
    stages.evaluate(run, config=EvaluationConfig(resamples=100))
    report = judging.read(run / "labels").report
    assert report.n_rows == 74_338
    found = {name: report.metrics[name].mean for name in FIGURES}
    assert found == pytest.approx(FIGURES, abs=1e-6)
