"""The commands' functions from training to the report, on small datasets with a known answer."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.recsys import stages
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists import judge as evaluation
from falconer.recsys.judging.stored import remove_reports
from falconer.recsys.lists import parquet as recommendations
from falconer.recsys.models.saved import load_model
from falconer.recsys.recommending.top_k import top_k
from falconer.recsys.stages import RecommendConfig
from tests.support.datasets import checkerboard
from tests.support.judging import QUICK, judge_model


def metric(run: Path, view: str, name: str) -> float:
    return evaluation.read(run / view).report.metrics[name].mean


def test_from_training_to_the_report(
    board: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [judge_model(model, board, tmp_path) for model in ("popularity", "item_knn")]
    assert metric(runs[1], "novel", "hit_rate@1") == 1
    assert metric(runs[0], "novel", "hit_rate@1") < 0.5
    out = stages.compare(runs, out=tmp_path / "report" / "comparison.html")
    assert out.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    printed = capsys.readouterr().out
    assert "novel: item_knn (ndcg@10 1.0000) leads, " in printed
    assert re.search(r"hit_rate +1\.0000", printed)


def test_a_run_says_what_it_was_made_from(judged_run: Path, board: Dataset) -> None:
    info = Run.open(judged_run).info
    assert (info["status"], info["label"], info["model"]) == ("finished", "item_knn", "item_knn")
    assert (info["dataset_id"], info["dataset_path"]) == (
        board.card.dataset_id,
        str(board.path.resolve()),
    )
    assert info["id_space"] == list(board.card.id_space.generations)
    assert {"seed", "threads"} <= set(info)
    report = evaluation.read(judged_run / "novel").report
    assert (report.run, report.model, report.label) == (judged_run.name, "item_knn", "item_knn")
    assert set(report.cost) == {"train_seconds", "recommend_seconds"}
    assert 'name = "item_knn"' in (judged_run / "config.toml").read_text()


def test_lists_on_disk_are_the_models_own_top_k(judged_run: Path, board: Dataset) -> None:
    scorer = load_model(judged_run / "model", board)
    queries, keys, items = (
        board.queries("test"),
        board.query_keys("test"),
        board.items.column("key").to_pylist(),
    )
    expected = top_k(scorer, queries, n_items=board.n_items, k=10, view="novel")
    table = pq.read_table(judged_run / "novel" / recommendations.FILE).to_pydict()
    rows = [
        (keys[row].as_py(), items[item], rank + 1)
        for row, listed in enumerate(expected.items.tolist())
        for rank, item in enumerate(listed)
        if item >= 0
    ]
    assert list(zip(table["user"], table["item"], table["rank"], strict=True)) == rows


def test_the_block_size_does_not_change_a_byte_of_the_lists(
    judged_run: Path, board: Dataset
) -> None:
    before = pq.read_table(judged_run / "all" / recommendations.FILE)
    stages.recommend(judged_run, config=RecommendConfig(k=10, block_mb=1))
    assert pq.read_table(judged_run / "all" / recommendations.FILE).equals(before)


def test_anybodys_lists_are_judged_like_a_runs(
    judged_run: Path, board: Dataset, tmp_path: Path
) -> None:
    table = pq.read_table(judged_run / "novel" / recommendations.FILE)
    path = tmp_path / "theirs.parquet"
    shuffled = table.take(np.random.default_rng(0).permutation(len(table))).select(
        ["user", "item", "score"]
    )
    pq.write_table(shuffled.replace_schema_metadata(None), path)
    out = stages.evaluate(path, board.path, views=("novel",), config=QUICK)
    assert out == tmp_path / "theirs-report"
    theirs, ours = (
        evaluation.read(out / "novel").report,
        evaluation.read(judged_run / "novel").report,
    )
    assert theirs.metrics == ours.metrics
    assert (theirs.label, theirs.run, theirs.model) == ("theirs", None, None)


def test_lists_from_elsewhere_stand_in_a_comparison(
    judged_run: Path, board: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.parquet"
    pq.write_table(
        pq.read_table(judged_run / "all" / recommendations.FILE).replace_schema_metadata(None), path
    )
    out = stages.evaluate(path, board.path, views=("all", "novel"), config=QUICK)
    html = stages.compare([judged_run, out], out=tmp_path / "x.html").read_text(encoding="utf-8")
    assert "theirs" in html


def test_new_lists_remove_the_reports_on_the_old_ones(judged_run: Path) -> None:
    stages.recommend(judged_run, fold="valid", config=RecommendConfig(k=5))
    assert not (judged_run / "novel" / "report.json").exists()
    with pytest.raises(ArtifactError, match="has no report; write it with `falconer evaluate"):
        stages.compare([judged_run], out=judged_run.parent / "x.html")
    with pytest.raises(
        ArtifactError, match="made for fold valid; make lists for test with `falconer recommend"
    ):
        stages.evaluate(judged_run, fold="test", config=QUICK)
    stages.evaluate(judged_run, config=QUICK)
    assert evaluation.read(judged_run / "novel").report.fold == "valid"


def test_evaluating_counts_reads_of_the_test_and_reports_what_the_checks_found(
    judged_run: Path, board: Dataset
) -> None:
    reads = judged_run.parent / "test-reads.jsonl"
    assert len(reads.read_text().splitlines()) == 1
    stages.evaluate(judged_run, config=EvaluationConfig(k=(1, 50), resamples=100))
    report = evaluation.read(judged_run / "novel").report
    assert (report.test_reads, report.test_lists) == (2, 1)
    assert "k = 50 is greater than the catalogue of 12 items: use a smaller k" in report.warnings
    assert {one.slicing for one in report.slices} == set()
    stages.recommend(judged_run, fold="valid", config=RecommendConfig(k=5))
    stages.evaluate(judged_run, config=QUICK)
    assert evaluation.read(judged_run / "novel").report.test_reads is None
    assert len(reads.read_text().splitlines()) == 2


def test_a_run_that_was_selected_on_test_is_not_judged_there(judged_run: Path) -> None:
    Run.open(judged_run).update(selected_on="test")
    before = (judged_run / "novel" / "report.json").read_bytes()
    with pytest.raises(ArtifactError, match="was selected by a metric on fold test"):
        stages.evaluate(judged_run, config=QUICK)
    assert (judged_run / "novel" / "report.json").read_bytes() == before


def test_a_model_that_validates_says_on_which_fold(board: Dataset, tmp_path: Path) -> None:
    assert (
        Run.open(stages.train("popularity", board.path, tmp_path / "r")).info["selected_on"] is None
    )
    knobs = [
        "model.training.epochs=1",
        "model.training.threads=1",
        "model.dim=4",
        "model.mlp_dim=4",
    ]
    assert (
        Run.open(stages.train("ncf", board.path, tmp_path / "r", overrides=knobs)).info[
            "selected_on"
        ]
        == "valid"
    )


def test_what_else_a_folder_of_runs_holds_is_passed_over_and_a_run_without_a_report_is_not(
    judged_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = judged_run.parent
    (folder / "mlartifacts").mkdir()
    (folder / "mlflow.db").write_text("")
    assert (folder / "test-reads.jsonl").is_file()
    stages.compare(sorted(folder.iterdir()), out=tmp_path / "page.html")
    [note] = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("note: passed over")
    ]
    assert note.endswith("reports: mlartifacts, mlflow.db, test-reads.jsonl")
    remove_reports(judged_run / "all", evaluation.PER_QUERY)
    remove_reports(judged_run / "novel", evaluation.PER_QUERY)
    with pytest.raises(ArtifactError, match="has no report; write it with"):
        stages.compare(sorted(folder.iterdir()), out=tmp_path / "page.html")


def test_runs_that_were_judged_with_other_settings_are_told(
    judged_run: Path, board: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    settings = QUICK.model_copy(update={"k": (5, 10), "metrics": ("ndcg", "auc")})
    stages.evaluate(judged_run, out=other, config=settings)
    page = stages.compare([judged_run, other], out=tmp_path / "page.html", data_path=board.path)
    [note] = [line for line in capsys.readouterr().out.splitlines() if "other settings" in line]
    assert (
        "cut-offs 5, 10 and not 1, 10; auc, recall, capped_recall" in note
        or "cut-offs 1, 10 and not 5, 10" in note
    )
    assert "other settings" in page.read_text(encoding="utf-8")


def test_a_view_without_a_relevant_item_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = checkerboard(tmp_path / "board", n=8)
    run = judge_model("popularity", data, tmp_path)
    assert sorted(path.parent.name for path in run.glob("*/report.json")) == ["all", "novel"]
    assert (
        "repeat: left out, no query of fold test has a relevant item there"
        in capsys.readouterr().out
    )
    with pytest.raises(ConfigError, match="nothing to judge in views repeat"):
        stages.evaluate(run, views=("repeat",), config=QUICK)
