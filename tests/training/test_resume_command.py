"""`falconer train --resume`: what goes on, and what is refused."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from falconer.pipelines import runs
from falconer.pipelines.data.dataset import Dataset, checksums
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.runs import Run
from falconer.recsys import stages
from falconer.recsys.cli import app
from falconer.recsys.models.ncf.on_torch import tasks as on_torch
from tests.support.datasets import checkerboard
from tests.support.small_training import FORKS, die

RECIPE = """
name = "ncf"
[model]
dim = 4
mlp_dim = 4
hidden = [8, 4]
dropout = 0.1
batch_size = 128
pretraining = { epochs = 2, threads = 1 }
training = { epochs = 3, threads = 1, checkpoint_every = 2 }
"""


@pytest.fixture
def board(tmp_path: Path) -> Dataset:
    return checkerboard(tmp_path / "board", n=12)


def start_and_die(recipe: Path, data: Path, root: Path, batch: int) -> None:
    """Train until that batch, counted over all fits of the run."""
    os.environ["FALCONER_TRACKING"] = "off"
    if batch:
        die_in_batch(batch)
    stages.train(str(recipe), data, root)


def resume(run: Path) -> None:
    os.environ["FALCONER_TRACKING"] = "off"
    stages.resume(run)


def die_in_batch(batch: int) -> None:
    whole, calls = on_torch.NcfTask.loss, 0

    def counted(self: Any, rows: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == batch:
            die()
        return whole(self, rows)

    on_torch.NcfTask.loss = counted  # type: ignore[method-assign]


def in_process(target: Any, *arguments: Any) -> int | None:
    process = FORKS.Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def test_a_killed_recommender_is_trained_to_the_same_bytes(board: Dataset, tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    assert in_process(start_and_die, recipe, board.path, tmp_path / "whole", 0) == 0
    (whole,) = (tmp_path / "whole").iterdir()
    for batch in (
        6,
        12,
    ):  # of 4 + 4 + 6: within the second half that is trained apart, and within the fused model
        root = tmp_path / f"killed-{batch}"
        assert in_process(start_and_die, recipe, board.path, root, batch) == -signal.SIGKILL
        (killed,) = root.iterdir()
        assert Run(killed).info["status"] == "running"
        assert in_process(resume, killed) == 0
        assert Run(killed).info["status"] == "finished"
        assert checksums(killed / "model") == checksums(whole / "model")
        assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def failed(board: Dataset, root: Path, monkeypatch: pytest.MonkeyPatch, model: str = "ease") -> Run:
    """A run that was interrupted, of a model without checkpoints."""

    def interrupted(settings: Any, data: Any, run: Run) -> None:
        run.log_metrics(0, {"half": 1.0})
        time.sleep(0.05)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"falconer.recsys.models.{model}.on_numpy.train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stages.train(model, board.path, root)
    (path,) = root.iterdir()
    return Run.open(path)


def test_a_model_without_checkpoints_begins_anew(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = failed(board, tmp_path / "runs", monkeypatch)
    assert stages.resume(run.path) == run.path
    info = run.info
    assert (info["status"], info["error"]) == ("finished", None)
    assert info["seconds"] > 0.05
    assert [set(line) for line in run.read_lines("metrics.jsonl")] == [
        {"step", "items", "trace_of_inverse"}
    ]
    assert run.read_lines("timing.jsonl")[-1]["train_seconds"] > 0.05
    stages.recommend(run.path)


def test_what_differs_is_refused_by_name(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = failed(board, tmp_path / "runs", monkeypatch)
    other = checkerboard(tmp_path / "other", n=10)
    with pytest.raises(
        ArtifactError,
        match=f"dataset_id: {board.card.dataset_id} then, {other.card.dataset_id} now",
    ):
        stages.resume(run.path, data_path=other.path)
    with monkeypatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "7")
        with pytest.raises(ArtifactError, match=r"threads: \d+ then, 7 now"):
            stages.resume(run.path)
    versions = run.info["versions"]
    run.update(versions={**versions, "torch": "1.0"})
    with pytest.raises(ArtifactError, match=r"torch: 1\.0 then, 2"):
        stages.resume(run.path)
    run.update(versions=versions)
    with (run.path / "config.toml").open("a") as stream:
        stream.write("\n")
    with pytest.raises(ArtifactError, match="config_sha256: "):
        stages.resume(run.path)
    assert run.info["status"] == "interrupted"


def test_a_finished_run_and_one_under_way_are_left_alone(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = failed(board, tmp_path / "runs", monkeypatch)
    facts = {key: run.info[key] for key in ("dataset_id", "id_space", "seed", "threads")}
    with runs.resume(run.path, **facts):
        assert run.info["status"] == "running"
        with pytest.raises(
            ArtifactError, match="another process is training this run at this moment"
        ):
            stages.resume(run.path)
        assert run.info["status"] == "running"
    with pytest.raises(ArtifactError, match="this run is finished; there is nothing to resume"):
        stages.resume(run.path)


def test_time_before_a_kill_is_counted(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = failed(board, tmp_path / "runs", monkeypatch)
    began = time.time() - 100
    run.update(status="running", seconds=5.0, since="2001-01-01T00:00:00+00:00")
    for file in run.path.rglob("*"):
        os.utime(file, (978307200 + 30, 978307200 + 30))  # half a minute later than that
    assert began > 978307200
    assert stages.resume(run.path)
    assert 35 <= run.info["seconds"] < 60


def test_the_command(board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = failed(board, tmp_path / "runs", monkeypatch)
    done = CliRunner().invoke(app, ["train", "--resume", str(run.path)], catch_exceptions=False)
    assert done.stdout.splitlines()[-1] == str(run.path)
    for arguments, message in [
        (["train", "ease", "--resume", str(run.path)], "leave out the recipe, --set and --from"),
        (
            ["train", "--resume", str(run.path), "--set", "model.l2=1.0"],
            "leave out the recipe, --set and --from",
        ),
        (["train", "ease"], "say what to train on what"),
        (["train"], "say what to train on what"),
    ]:
        error = CliRunner().invoke(app, arguments).exception
        assert isinstance(error, ConfigError)
        assert message in str(error)


def test_a_process_that_follows_another_leaves_nothing(
    board: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", "1")
    path = stages.train("ease", board.path, tmp_path / "runs")
    assert not path.exists()
    assert not (tmp_path / "runs").exists()
    assert capsys.readouterr().out == ""
    monkeypatch.delenv("RANK")
    run = failed(board, tmp_path / "runs", monkeypatch)
    before = checksums(run.path)
    monkeypatch.setenv("RANK", "1")
    stages.resume(run.path)
    assert checksums(run.path) == before
