"""The ranking task from a trained run to a comparison: predictions, judging, checks, verdict, page,
commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError
from falconer.pipelines.runs import Run
from falconer.recsys import stages
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.labels import judge as judging
from falconer.recsys.judging.labels import predictions
from falconer.recsys.judging.stored import REPORT
from tests.support.datasets import checkerboard, write_labels_dataset
from tests.support.judging import (
    FEW,
    judged_clicks,
    true_probability,
)


def test_predictions_name_each_row_of_the_fold_with_its_user(run: Path, clicks: Dataset) -> None:
    table = pq.read_table(run / predictions.FILE)
    assert table.column_names == ["ordinal", "user", "score"]
    assert table["ordinal"].to_pylist() == clicks.pair_ordinals("test").tolist()
    assert table["user"].to_pylist() == clicks.pair_users("test").to_pylist()  # type: ignore[union-attr]
    assert predictions.about(run / predictions.FILE)["fold"] == "test"
    assert Run.open(run).read_lines("timing.jsonl")[-1].keys() == {"predict_seconds"}


def test_a_report_has_scikit_learns_values_and_its_intervals_hold_them(clicks: Dataset) -> None:
    score, label = true_probability(clicks), clicks.labels("test")
    report = judged_clicks(clicks, score).report
    assert report.metrics["roc_auc"].mean == pytest.approx(roc_auc_score(label, score), abs=1e-9)
    assert report.metrics["log_loss"].mean == pytest.approx(log_loss(label, score), abs=1e-7)
    assert list(report.metrics) == [
        "roc_auc",
        "gauc",
        "log_loss",
        "average_precision",
        "expected_calibration_error",
    ]
    for one in report.metrics.values():
        assert one.low is not None
        assert one.high is not None
        assert 0 <= one.low <= one.mean <= one.high
    assert (report.unit, report.n_rows) == ("user", len(label))
    assert sum(one.n for one in report.bins) == len(label)
    assert report.mean_label == pytest.approx(label.mean())


def test_the_best_auc_of_the_planted_signal_lies_within_the_interval(tmp_path: Path) -> None:
    """The AUC that the true probabilities have in the long run, held against intervals of twenty
    small samples."""
    long_run = write_labels_dataset(tmp_path / "long", n_rows=60_000, seed=50)
    known = float(roc_auc_score(long_run.labels("test"), true_probability(long_run)))
    held = 0
    for seed in range(20):
        data = write_labels_dataset(tmp_path / str(seed), n_rows=4000, seed=50, draw=seed)
        one = judged_clicks(data, true_probability(data)).report.metrics["roc_auc"]
        assert one.low is not None
        assert one.high is not None
        held += one.low <= known <= one.high
    assert held >= 16, "95 % intervals"


def test_rows_are_resampled_where_there_are_no_users_and_groups_of_them_where_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_labels_dataset(tmp_path / "rows", entities=False)
    label = data.labels("test")
    score = np.random.default_rng(0).random(len(label))
    by_row = judged_clicks(data, score)
    assert (by_row.report.unit, by_row.report.n_units) == ("row", len(label))
    monkeypatch.setattr(judging, "MOST_UNITS", 100)
    by_group = judged_clicks(data, score)
    assert by_group.report.unit == "group of rows"
    assert 80 < by_group.report.n_units <= 100
    for name in ("roc_auc", "log_loss"):
        one, other = by_row.report.metrics[name], by_group.report.metrics[name]
        assert by_group.values(name).mean() == pytest.approx(one.mean)
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.35)  # type: ignore[operator]
    assert "gauc" not in by_row.report.metrics


def test_scores_that_are_no_probabilities_have_no_log_loss(clicks: Dataset) -> None:
    report = judged_clicks(clicks, 10 * true_probability(clicks) - 5).report
    assert set(report.metrics) == {"roc_auc", "gauc", "average_precision"}
    assert report.bins == ()
    assert any("no probabilities" in warning for warning in report.warnings)


def test_parts_of_the_rows_have_their_own_auc(clicks: Dataset) -> None:
    score, label = true_probability(clicks), clicks.labels("test")
    found = {(one.slicing, one.group): one for one in judged_clicks(clicks, score).report.slices}
    unknown = clicks.pairs("test").queries.user < 0
    device = clicks.pairs("test").queries.features["device"]
    assert found["user", "known user"].mean == pytest.approx(
        roc_auc_score(label[~unknown], score[~unknown])
    )
    first = found["device", "bucket 0"]
    assert first.mean == pytest.approx(roc_auc_score(label[device == 0], score[device == 0]))
    assert first.n == (device == 0).sum()
    assert all(one.n >= 30 and one.low <= one.mean <= one.high for one in found.values())
    assert {slicing for slicing, _ in found} >= {"device", "segment", "category"}


def test_ratings_are_judged_by_their_errors(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "stars", target="rating")
    report = judged_clicks(data, data.labels("test") + 0.5).report
    assert list(report.metrics) == ["rmse", "mae"]
    assert report.metrics["rmse"].mean == pytest.approx(0.5, abs=1e-6)
    assert report.bins == ()


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_anybodys_predictions_are_judged_in_any_order(
    suffix: str, clicks: Dataset, tmp_path: Path
) -> None:
    ordinals, score = clicks.pair_ordinals("test"), true_probability(clicks)
    order = np.random.default_rng(0).permutation(len(score))
    table = pa.table({"score": score[order], "ordinal": ordinals[order]})
    path = tmp_path / f"theirs.{suffix}"
    pq.write_table(table, path) if suffix == "parquet" else pa.csv.write_csv(table, path)
    out = stages.evaluate(path, clicks.path, config=FEW)
    report = judging.read(out / "labels").report
    assert (out, report.label, report.run) == (tmp_path / "theirs-report", "theirs", None)
    assert report.metrics["roc_auc"].mean == pytest.approx(
        roc_auc_score(clicks.labels("test"), score)
    )


def without(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.drop_columns([name])


def with_score(values: list[Any]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(
        1, "score", pa.array(values + table["score"].to_pylist()[len(values) :])
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("score"), "no column score"),
        (without("ordinal"), "no column ordinal"),
        (lambda table: table.slice(0, 10), "rows of fold test have no score, first row"),
        (lambda table: pa.concat_tables([table, table.slice(3, 1)]), "has more than one score"),
        (with_score([float("nan")]), "score of line 0 .* is nan"),
        (with_score([0.5, float("inf")]), "score of line 1 .* is inf"),
        (with_score([None]), "score of line 0"),
        (
            lambda table: table.set_column(1, "score", table["score"].cast(pa.string())),
            "where numbers are wanted",
        ),
        (lambda table: table.slice(0, 0), "rows of fold test have no score"),
    ],
)
def test_predictions_that_are_not_whole_are_refused(
    spoil: Callable[[pa.Table], pa.Table], message: str, clicks: Dataset, tmp_path: Path
) -> None:
    table = pa.table({"ordinal": clicks.pair_ordinals("test"), "score": true_probability(clicks)})
    pq.write_table(spoil(table), tmp_path / "theirs.parquet")
    with pytest.raises(DataError, match=message):
        stages.evaluate(tmp_path / "theirs.parquet", clicks.path, config=FEW)


def test_a_run_is_judged_on_its_own_fold_and_dataset_only(
    run: Path, clicks: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="made for fold test"):
        stages.evaluate(run, fold="valid", config=FEW)
    other = write_labels_dataset(tmp_path / "other", n_rows=300)
    with pytest.raises(ArtifactError, match="made for dataset"):
        stages.evaluate(run, other.path, config=FEW)


def test_reads_of_the_test_fold_are_counted_and_a_run_selected_on_it_is_refused(run: Path) -> None:
    before = judging.read(run / "labels").report.test_reads
    stages.evaluate(run, config=FEW)
    assert judging.read(run / "labels").report.test_reads == (before or 0) + 1
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"selected_on": "test"}))
    with pytest.raises(ArtifactError, match="selected by a metric on fold test"):
        stages.evaluate(run, config=FEW)
    (run / "run.json").write_text(json.dumps(info))


def test_commands_for_the_other_task_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use `falconer predict`"):
        stages.recommend(run)
    board = checkerboard(tmp_path / "board")
    lists = stages.train("popularity", board.path, tmp_path / "runs")
    with pytest.raises(ConfigError, match="use `falconer recommend`"):
        stages.predict(lists)
    with pytest.raises(ConfigError, match="no report on predictions"):
        stages.compare([run, lists], out=tmp_path / "page.html")


def test_settings_of_lists_are_refused(run: Path) -> None:
    for config, views in (
        (EvaluationConfig(k=(5,)), ()),
        (EvaluationConfig(category="device"), ()),
        (FEW, ("novel",)),
    ):
        with pytest.raises(ConfigError, match="of lists; on a dataset of the task `labels`"):
            stages.evaluate(run, views=views, config=config)  # type: ignore[arg-type]


def test_predicting_anew_removes_the_old_report(clicks: Dataset, tmp_path: Path) -> None:
    path = stages.train("label_mean", clicks.path, tmp_path, overrides=["model.by=none"])
    with pytest.raises(ArtifactError, match="has no predictions; write them with"):
        stages.evaluate(path, config=FEW)
    stages.predict(path)
    stages.evaluate(path, config=FEW)
    stages.predict(path, fold="valid")
    assert not (path / "labels" / REPORT).exists()
    stages.evaluate(path, config=FEW)
    assert judging.read(path / "labels").report.fold == "valid"


def test_a_run_that_an_older_release_judged_says_what_to_do(run: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(run, old)
    (old / "labels").rename(old / "ranking")
    with pytest.raises(ArtifactError, match="older release; judge anew with `falconer evaluate"):
        stages.compare([old], out=tmp_path / "page.html")


def test_a_damaged_report_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        judging.read(tmp_path)
    report = json.loads((run / "labels" / REPORT).read_text())
    (tmp_path / REPORT).write_text(json.dumps(report | {"format_version": 9}))
    with pytest.raises(ArtifactError, match="format version 9"):
        judging.read(tmp_path)
    with pytest.raises(ArtifactError, match="has no 'rmse', only roc_auc"):
        judging.read(run / "labels").values("rmse")
