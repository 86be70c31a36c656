"""One command over all that a folder of runs holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import write_json
from falconer.recsys import stages
from falconer.recsys.stages.finished import each_of
from falconer.workflows import cli


@pytest.fixture
def shelf(board: Dataset, tmp_path: Path) -> Path:
    """Two finished runs, one that failed, and what else lies among runs."""
    runs = tmp_path / "runs"
    for model in ("popularity", "item_knn"):
        stages.train(model, board.path, runs)
    (runs / "failed").mkdir()
    write_json(runs / "failed" / "run.json", {"status": "failed"})
    (runs / "mlflow.db").touch()
    return runs


def test_recommend_and_evaluate_take_a_folder_of_runs(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = [str(path) for path in sorted(shelf.iterdir())]
    assert cli.run(["recommend", *everything, "--k", "5"]) == 0
    assert cli.run(["evaluate", *everything, "--k", "5", "--set", "resamples=200"]) == 0
    assert len(list(shelf.glob("*/*/report.json"))) == 2 * 2
    assert capsys.readouterr().out.count("note: passed over, no finished run: ") == 2


def test_one_path_is_taken_as_it_is(shelf: Path) -> None:
    assert each_of([shelf / "failed"]) == [shelf / "failed"]


def test_several_without_a_run_and_one_folder_for_several_are_refused(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["recommend", str(shelf / "failed"), str(shelf / "mlflow.db")]) == 2
    assert "none of these is a finished run" in capsys.readouterr().err
    runs = [str(path) for path in shelf.glob("*-numpy-*")]
    assert cli.run(["evaluate", *runs, "--out", str(shelf.parent / "one")]) == 2
    assert "one --out holds the reports of one run" in capsys.readouterr().err


def test_a_name_that_is_not_there_is_no_other_file(shelf: Path) -> None:
    with pytest.raises(ArtifactError, match="tyop: no such run"):
        each_of([*shelf.glob("*-numpy-*"), shelf / "tyop"])
