"""The mirror in MLflow: complete, never a point twice, never fatal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from falconer.pipelines import runs, tracking
from falconer.pipelines.errors import TrainingError
from falconer.pipelines.files import write_json
from falconer.pipelines.runs import Run
from falconer.pipelines.training import loop
from falconer.pipelines.training.torch import fit
from tests.support.small_training import Regression, config

CONFIG = {"model": {"name": "ease", "l2": 500.0, "layers": [1, 2]}, "seed": 0}


@pytest.fixture(autouse=True)
def _tracking_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FALCONER_TRACKING", raising=False)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database, which takes a second to make."""
    root = tmp_path_factory.mktemp("empty")
    tracking._client(root)
    return root / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, empty_database: Path) -> Path:
    """A folder for runs that has its MLflow database already."""
    shutil.copy(empty_database, tmp_path)
    return tmp_path


def make_run(root: Path, run_id: str = "one", *, steps: int = 3) -> Run:
    """A finished run with `steps` points of two metrics."""
    facts = {"dataset_id": "d1", "dataset_path": "data/shop/d1"}
    with runs.start(
        root, model="ease", backend="numpy", config=CONFIG, run_id=run_id, **facts
    ) as run:
        log_steps(run, range(steps))
    return run


def log_steps(run: Run, steps: range) -> None:
    for step in steps:
        run.log_metrics(step, {"loss": 1 / (step + 1), "ndcg@10": step / 10})


def write_report(run: Run, view: str, **metrics: float) -> None:
    (run.path / view).mkdir(exist_ok=True)
    means = {
        name.replace("_at_", "@"): {"mean": value, "low": None} for name, value in metrics.items()
    }
    sliced = [{"slicing": "age", "group": str(number), "mean": 0.1} for number in range(30)]
    write_json(run.path / view / "report.json", {"metrics": means, "slices": sliced})


def mirrored(root: Path) -> tuple[Any, list[Any]]:
    """A client, and every mirrored run."""
    client = tracking._client(root)
    return client, client.search_runs(
        [found.experiment_id for found in client.search_experiments()]
    )


def history(client: Any, run: Any, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def test_a_run_is_mirrored_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_report(run, "all", ndcg_at_10=0.25, coverage_at_10=0.5)
    tracking.mirror(run.path)
    client, (found,) = mirrored(tmp_path)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == run.name
    assert found.data.params == {
        "model.name": "ease",
        "model.l2": "500.0",
        "model.layers": "[1, 2]",
        "seed": "0",
    }
    assert found.data.tags["dataset_id"] == "d1"
    assert found.data.tags["status"] == "finished"
    assert history(client, found, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert history(client, found, "all/ndcg_at_10") == [(0, 0.25)]
    assert set(found.data.metrics) == {
        "loss",
        "ndcg_at_10",
        "all/ndcg_at_10",
        "all/coverage_at_10",
    }, "no slice floods it"
    assert [file.path for file in client.list_artifacts(found.info.run_id, "all")] == [
        "all/report.json"
    ]
    assert (tmp_path / "mlflow.db").is_file()
    assert (tmp_path / "mlartifacts").is_dir()
    assert client.get_experiment(found.info.experiment_id).name == "shop/d1"


def test_mirroring_again_writes_no_point_twice(root: Path) -> None:
    run = make_run(root)
    write_report(run, "all", ndcg_at_10=0.25)
    for _ in range(3):
        tracking.mirror(run.path)
    log_steps(run, range(3, 5))
    write_report(run, "novel", ndcg_at_10=0.125)
    tracking.mirror(run.path)
    client, (found,) = mirrored(root)
    assert [step for step, _ in history(client, found, "loss")] == [0, 1, 2, 3, 4]
    assert history(client, found, "all/ndcg_at_10") == [(0, 0.25)]
    assert history(client, found, "novel/ndcg_at_10") == [(0, 0.125)]


def test_points_that_are_written_again_after_a_resume_are_known(root: Path) -> None:
    run = make_run(root, steps=4)
    tracking.mirror(run.path)
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (run.path / "metrics.jsonl").write_text("".join(lines[:2]), encoding="utf-8")
    tracking.mirror(run.path)
    log_steps(run, range(2, 6))
    tracking.mirror(run.path)
    client, (found,) = mirrored(root)
    assert [step for step, _ in history(client, found, "loss")] == [0, 1, 2, 3, 4, 5]


def test_a_new_judgement_replaces_the_figure(root: Path) -> None:
    run = make_run(root)
    for mean, second in ((0.5, 1_700_000_000), (0.25, 1_700_000_009)):
        write_report(run, "all", ndcg_at_10=mean)
        os.utime(run.path / "all" / "report.json", (second, second))
        tracking.mirror(run.path)
    _, (found,) = mirrored(root)
    assert found.data.metrics["all/ndcg_at_10"] == 0.25


def test_statuses(root: Path) -> None:
    finished, failed, interrupted, running = (
        make_run(root, name) for name in ("aa", "bb", "cc", "dd")
    )
    failed.update(status="failed", error="ValueError: no")
    interrupted.update(status="interrupted")
    tracking.mirror(running.path)
    running.update(status="running")
    for run in (finished, failed, interrupted, running):
        tracking.mirror(run.path)
    _, found = mirrored(root)
    statuses = {run.info.run_name[-2:]: run.info.status for run in found}
    assert statuses == {"aa": "FINISHED", "bb": "FAILED", "cc": "KILLED", "dd": "RUNNING"}
    assert {run.data.tags.get("error") for run in found} == {None, "ValueError: no"}


def test_many_parameters_points_and_odd_names(root: Path) -> None:
    config = {"table": {f"knob {number}": number for number in range(250)}, "text": "x" * 9000}
    with runs.start(root, model="ease", backend="numpy", config=config) as run:
        for step in range(1200):
            run.log_metrics(step, {"loss": float(step), "share (%)": 1.0})
    tracking.mirror(run.path)
    client, (found,) = mirrored(root)
    assert len(found.data.params) == 251
    assert len(found.data.params["text"]) == tracking.PARAM_LENGTH
    assert len(history(client, found, "loss")) == 1200
    assert found.data.metrics["share ___"] == 1.0


def test_four_processes_at_once(tmp_path: Path) -> None:
    made = [make_run(tmp_path, f"run{number}") for number in range(4)]
    command = [sys.executable, "-m", "falconer.pipelines.tracking"]
    processes = [
        subprocess.Popen(
            [*command, *(str(run.path) for run in (mine, made[0]))],
            stderr=subprocess.PIPE,
            text=True,
        )
        for mine in made
    ]
    complaints = [process.communicate()[1] for process in processes]
    assert complaints == [""] * 4
    client, found = mirrored(tmp_path)
    assert sorted(run.info.run_name for run in found) == sorted(run.name for run in made)
    assert all(len(history(client, run, "loss")) == 3 for run in found)


def break_nothing_there(run: Run) -> None:
    (run.path / "run.json").unlink()


def break_report(run: Run) -> None:
    write_report(run, "all", ndcg_at_10=1.0)
    (run.path / "all" / "report.json").write_text("{", encoding="utf-8")


def break_metrics(run: Run) -> None:
    (run.path / "metrics.jsonl").write_text('{"step": 1, "lo\n{}\n', encoding="utf-8")


@pytest.mark.parametrize("breaks", [break_nothing_there, break_report, break_metrics])
def test_a_failure_is_one_line(root: Path, capsys: pytest.CaptureFixture[str], breaks: Any) -> None:
    run = make_run(root)
    breaks(run)
    capsys.readouterr()
    tracking.mirror(run.path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {run.path} is not mirrored to MLflow: ")


def test_it_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALCONER_TRACKING", "off")
    tracking.mirror(make_run(tmp_path).path)
    assert not (tmp_path / "mlflow.db").exists()


def test_mlflow_finds_its_settings_when_it_is_imported(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom falconer.pipelines import tracking\nassert "
        "'mlflow' not in sys.modules\ntracking.mirror(Path(sys.argv[1]))\nassert 'mlflow' in "
        "sys.modules\nfrom mlflow.telemetry.client import get_telemetry_client\nassert "
        "get_telemetry_client() is None\nassert os.environ['MLFLOW_ALLOW_PICKLE_DESERIALIZATION'] "
        "== 'false'\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(run.path)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""


def test_the_warning_is_still_needed(tmp_path: Path) -> None:
    """When this fails, delete MLFLOW_WARNING and the two lines that use it."""
    program = (
        "import sys, warnings\nfrom pathlib import Path\nfrom falconer.pipelines import tracking\n"
        "tracking.MLFLOW_WARNING = "
        "'nothing'\nwarnings.simplefilter('error')\ntracking._client(Path(sys.argv[1]))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "The ``noload`` loader strategy is deprecated" in found.stderr


def test_a_training_that_is_mirrored_on_its_way_and_taken_up_again_gives_each_point_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(Regression):
        def loss(self, batch: Any) -> Any:
            loss = super().loss(batch)
            return loss * float("nan") if self._calls == 12 else loss

    def points() -> tuple[Any, list[int]]:
        client, (found,) = mirrored(root)
        return found, [step for step, _ in history(client, found, "error")]

    monkeypatch.setattr(loop, "SECONDS_BETWEEN_MIRRORS", -1.0)
    settings = config(epochs=2, validate_every=1.0, checkpoint_every=None)
    with (
        pytest.raises(TrainingError),
        runs.start(root, model="small", backend="torch", config=CONFIG) as run,
    ):
        fit(Wrong(), settings, run)
    assert points()[1] == [5]
    tracking.mirror(run.path)
    with runs.resume(run.path):
        fit(Regression(), settings, run)
    tracking.mirror(run.path)
    found, steps = points()
    assert steps == [line["step"] for line in run.read_lines("metrics.jsonl")] == [5, 10]
    assert (found.info.status, "error" in found.data.tags) == ("FINISHED", False)


def test_the_value_that_a_search_went_by_is_mirrored_once(root: Path) -> None:
    run = make_run(root)
    run.update(objective={"metric": "ndcg@10", "view": "novel", "value": 0.25})
    for _ in range(2):
        tracking.mirror(run.path)
    client, (found,) = mirrored(root)
    assert history(client, found, "objective/ndcg_at_10") == [(0, 0.25)]


def test_a_run_that_was_stopped_is_not_a_failed_one(root: Path) -> None:
    with (
        pytest.raises(runs.StoppedError),
        runs.start(root, model="ease", backend="numpy", config=CONFIG) as run,
    ):
        raise runs.StoppedError("behind the others")
    tracking.mirror(run.path)
    _, (found,) = mirrored(root)
    assert (found.info.status, found.data.tags["status"]) == ("KILLED", "stopped")
