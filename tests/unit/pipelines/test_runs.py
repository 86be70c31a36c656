from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from falconer.pipelines import runs
from falconer.pipelines.errors import ArtifactError, PipelineError


def _start(root: Path, **facts: object) -> object:
    return runs.start(
        root, model="ease", backend="numpy", config={"model": {"l2": 1.0, "max": None}}, **facts
    )


def test_a_finished_run_says_what_it_was(tmp_path: Path) -> None:
    with _start(tmp_path, dataset_id="abc", run_id="night-1") as run:  # type: ignore[attr-defined]
        assert run.info["status"] == "running"
        run.log_metrics(1, {"loss": 0.5})
        run.log_metrics(2, {"loss": 0.25})
        run.log_timing(seconds=1.5)
        run.log("halfway")
    assert run.name.endswith("-ease-numpy-night-1")
    info = runs.Run.open(run.path).info
    assert (info["status"], info["dataset_id"], info["model"]) == ("finished", "abc", "ease")
    assert info["seconds"] > 0
    assert run.read_lines("metrics.jsonl") == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    assert run.read_lines("absent.jsonl") == []
    assert "halfway" in (run.path / "log.txt").read_text()
    assert tomllib.loads((run.path / "config.toml").read_text()) == {"model": {"l2": 1.0}}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PipelineError("no times"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (runs.StoppedError("behind"), "stopped"),
    ],
)
def test_a_run_that_does_not_finish_says_why(
    tmp_path: Path, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), _start(tmp_path) as run:  # type: ignore[attr-defined]
        raise error
    assert run.info["status"] == status
    assert type(error).__name__ in run.info["error"]


def test_a_run_that_is_none_and_a_root_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a run directory"):
        runs.Run.open(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(PipelineError, match="cannot write there"), _start(tmp_path / "taken"):  # type: ignore[attr-defined]
        pass


def test_a_metric_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float"), _start(tmp_path) as run:  # type: ignore[attr-defined]
        run.log_metrics(1, {"loss": float("nan")})


def test_a_watch_sees_each_line_once_it_is_written_and_may_end_it(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def watch(step: int, values: Mapping[str, float]) -> None:
        seen.append((step, len(run.read_lines("metrics.jsonl"))))
        if values["loss"] < 0.5:
            raise runs.StoppedError("enough")

    with _start(tmp_path) as run:  # type: ignore[attr-defined]
        run.watch = watch
        run.log_metrics(1, {"loss": 0.9})
        with pytest.raises(runs.StoppedError, match="enough"):
            run.log_metrics(2, {"loss": 0.4})
    assert seen == [(1, 1), (2, 2)]
