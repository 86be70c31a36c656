"""Stages that are interrupted or asked for what cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError, PipelineError
from falconer.pipelines.runs import Run
from falconer.recsys import stages
from falconer.recsys.lists import parquet as recommendations
from falconer.recsys.recommending import job as batch
from falconer.recsys.reporting import lists_page
from tests.support.datasets import checkerboard, write_dataset
from tests.support.judging import QUICK


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_training_leaves_no_model(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.recsys.models.popularity.on_numpy.train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stages.train("popularity", board.path, tmp_path / "runs")
    (run,) = (path for path in (tmp_path / "runs").iterdir())
    assert Run.open(run).info["status"] == "interrupted"
    assert not (run / "model").exists()
    with pytest.raises(ArtifactError, match="this run is interrupted"):
        stages.recommend(run)


def test_an_interrupted_comparison_leaves_the_old_page(
    judged_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.html").write_text("old")
    monkeypatch.setattr(lists_page, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stages.compare([judged_run], out=tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "old"


def test_an_interrupted_recommend_leaves_the_old_lists_and_reports(
    judged_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in sorted((judged_run / "novel").iterdir())}
    monkeypatch.setattr(batch, "ranked_blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stages.recommend(judged_run)
    assert {path: path.read_bytes() for path in sorted((judged_run / "novel").iterdir())} == before


@pytest.mark.parametrize("where", ["lists.judge.per_query", "stored.Place.put"])
def test_an_interrupted_evaluate_leaves_the_old_report(
    judged_run: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = {path: path.read_bytes() for path in sorted((judged_run / "all").iterdir())}
    monkeypatch.setattr(f"falconer.recsys.judging.{where}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stages.evaluate(judged_run, config=QUICK)
    assert {path: path.read_bytes() for path in sorted((judged_run / "all").iterdir())} == before


def test_mistakes_get_one_clear_error_each(
    judged_run: Path, board: Dataset, tmp_path: Path
) -> None:
    lists = judged_run / "all" / recommendations.FILE
    other = checkerboard(tmp_path / "other", n=10)
    for error, message, call in [
        (
            ConfigError,
            "no model 'eese'; did you mean 'ease'",
            lambda: stages.train("eese", board.path, tmp_path),
        ),
        (
            ArtifactError,
            "not a dataset directory",
            lambda: stages.train("ease", tmp_path, tmp_path),
        ),
        (ArtifactError, "not a run directory", lambda: stages.recommend(board.path)),
        (ArtifactError, "neither a run directory nor", lambda: stages.evaluate(board.path)),
        (ConfigError, "say which dataset", lambda: stages.evaluate(lists)),
        (ArtifactError, "made for dataset", lambda: stages.evaluate(lists, other.path)),
        (
            DataError,
            "no such file",
            lambda: stages.evaluate(tmp_path / "absent.parquet", board.path),
        ),
        (
            ArtifactError,
            "no lists for view repeat",
            lambda: stages.evaluate(judged_run, views=("repeat",)),
        ),
        (ArtifactError, "has no fold", lambda: stages.recommend(judged_run, fold="later")),  # type: ignore[arg-type]
        (
            PipelineError,
            "cannot write there",
            lambda: stages.train("ease", board.path, lists / "runs"),
        ),
        (
            PipelineError,
            "cannot write there",
            lambda: stages.evaluate(judged_run, out=lists / "out", config=QUICK),
        ),
        (
            PipelineError,
            "cannot write there",
            lambda: stages.compare([judged_run], out=lists / "page.html"),
        ),
        (
            ArtifactError,
            "neither a run nor a folder",
            lambda: stages.compare([board.path], out=tmp_path / "x.html"),
        ),
        (
            ArtifactError,
            "absent: no such run",
            lambda: stages.compare([judged_run, tmp_path / "absent"], out=lists),
        ),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_a_run_whose_dataset_has_moved_asks_for_it(judged_run: Path, board: Dataset) -> None:
    moved = board.path.rename(board.path.with_name("moved"))
    with pytest.raises(ArtifactError, match=r"is no longer there; say where with --data DIR"):
        stages.evaluate(judged_run, config=QUICK)
    stages.evaluate(judged_run, moved, config=QUICK)


def test_a_run_that_failed_has_nothing_to_recommend(judged_run: Path) -> None:
    Run.open(judged_run).update(status="failed")
    with pytest.raises(ArtifactError, match="this run is failed, so it has no model"):
        stages.recommend(judged_run)


def test_a_fold_without_queries_has_nothing_to_judge(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "none", train=[(0, 1, 0)], n_users=1, n_items=2, folds={"test": []}
    )
    run = stages.train("popularity", data.path, tmp_path / "runs")
    stages.recommend(run)
    assert pq.read_metadata(run / "all" / recommendations.FILE).num_rows == 0
    with pytest.raises(ConfigError, match="nothing to judge in views all, repeat, novel"):
        stages.evaluate(run, config=QUICK)


def test_tracking_that_fails_is_only_a_warning(
    judged_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FALCONER_TRACKING", "on")
    monkeypatch.setattr(sys, "executable", str(judged_run / "no-such-python"))
    stages.evaluate(judged_run, config=QUICK)
    assert f"warning: {judged_run} is not mirrored" in capsys.readouterr().err
