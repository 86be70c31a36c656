"""Mirrors runs to MLflow. The run directory is the truth: a failure here warns in one line, and the
work goes on.

The mirror of the runs in a folder is `mlflow.db` and `mlartifacts/` in that folder; `falconer ui`
shows it. `python -m falconer.pipelines.tracking RUN...` mirrors runs by hand, and
FALCONER_TRACKING=off turns all of this off.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falconer.pipelines.files import read_json
from falconer.pipelines.runs import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as Mirror

NAME_TAG = "falconer.run"
PARAM_LENGTH, PARAMS_A_BATCH, METRICS_A_BATCH = 6000, 100, 1000
"""MLflow's limits."""

STATUSES = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "stopped": "KILLED",
}
TAGS = ("model", "backend", "dataset_id", "git", "status", "error")
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""What MLflow must find in the environment when it is imported."""

MLFLOW_WARNING = "The ``noload`` loader strategy is deprecated"
"""MLflow 3.17 uses what SQLAlchemy 2.1 announces the end of; a test tells when this can go."""


def store_uri(root: Path) -> str:
    """Address of the MLflow database of the runs in `root`."""
    return f"sqlite:///{root.resolve()}/mlflow.db"


def artifact_root(root: Path) -> Path:
    """Folder of MLflow's copies of the reports of the runs in `root`."""
    return root.resolve() / "mlartifacts"


def is_on() -> bool:
    """Whether runs are mirrored at all."""
    return os.environ.get("FALCONER_TRACKING", "on").lower() != "off"


def mirror(run_path: Path) -> None:
    """Bring MLflow up to date with one run directory: what it has already is not written again.

    Never raises: what goes wrong is one line on standard error.
    """
    if not is_on():
        return
    try:
        run = Run.open(run_path.resolve())
        with _only_one_at_a_time(run.path.parent):
            _mirror(run, _client(run.path.parent))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(
            f"warning: {run_path} is not mirrored to MLflow: {reason}", file=sys.stderr, flush=True
        )


@contextmanager
def _only_one_at_a_time(root: Path) -> Iterator[None]:
    """Hold the folder's lock: several processes that make MLflow's database at once break it."""
    with (root / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _client(root: Path) -> MlflowClient:
    os.environ.update(ENVIRONMENT)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", MLFLOW_WARNING, DeprecationWarning)
        from mlflow import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        return MlflowClient(tracking_uri=store_uri(root))


def _mirror(run: Run, client: MlflowClient) -> None:
    info = run.info
    mirrored = _find_or_create(run, info, client)
    run_id = mirrored.info.run_id
    _mirror_params(run, client, mirrored)
    for name in TAGS:
        if info.get(name) is not None and mirrored.data.tags.get(name) != str(info[name]):
            client.set_tag(run_id, name, str(info[name]))
    if (
        info.get("error") is None and "error" in mirrored.data.tags
    ):  # a failed run that was taken up again
        client.delete_tag(run_id, "error")
    _log_points(
        client, run_id, [*_new_points(run, info, client, run_id), *_final_figures(run, mirrored)]
    )
    for report in _reports(run):
        client.log_artifact(run_id, str(report), artifact_path=report.parent.name)
    _mirror_status(info, client, mirrored)


def _mirror_status(info: Mapping[str, Any], client: MlflowClient, mirrored: Mirror) -> None:
    status = STATUSES[info["status"]]
    if mirrored.info.status == status:
        return
    if status == "RUNNING":
        client.update_run(mirrored.info.run_id, status=status)
    else:
        end = _started(info) + round(1000 * info.get("seconds", 0))
        client.set_terminated(mirrored.info.run_id, status, end_time=end)


def _find_or_create(run: Run, info: Mapping[str, Any], client: MlflowClient) -> Mirror:
    experiment = _experiment(run.path.parent, info, client)
    found = client.search_runs(
        [experiment], filter_string=f"tags.`{NAME_TAG}` = '{run.name}'", max_results=1
    )
    if found:
        return found[0]
    return client.create_run(
        experiment, _started(info), tags={NAME_TAG: run.name}, run_name=run.name
    )


def _experiment(root: Path, info: Mapping[str, Any], client: MlflowClient) -> str:
    """One experiment per dataset, since only runs on the same dataset can be compared."""
    path = Path(info.get("dataset_path", "no-dataset"))
    name = f"{path.parent.name}/{path.name}".lstrip("/")
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(
        client.create_experiment(name, artifact_location=(artifact_root(root) / name).as_uri())
    )


def _started(info: Mapping[str, Any]) -> int:
    """Milliseconds since 1970."""
    return round(1000 * datetime.fromisoformat(info["started"]).timestamp())


def _mirror_params(run: Run, client: MlflowClient, mirrored: Mirror) -> None:
    """Write the parameters that MLflow has not; a run's configuration never changes."""
    from mlflow.entities import Param

    config = tomllib.loads((run.path / "config.toml").read_text(encoding="utf-8"))
    known = mirrored.data.params
    params = (
        Param(_name(k), str(v)[:PARAM_LENGTH]) for k, v in _flatten(config) if _name(k) not in known
    )
    while batch := list(islice(params, PARAMS_A_BATCH)):
        client.log_batch(mirrored.info.run_id, params=batch)


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _new_points(
    run: Run, info: Mapping[str, Any], client: MlflowClient, run_id: str
) -> Iterator[Metric]:
    """The points of `metrics.jsonl` above the last step that MLflow has of each metric.

    The file holds no clock, so that it is the same at each training: every point carries the run's
    start.
    """
    from mlflow.entities import Metric

    last: dict[str, int] = {}
    for line in run.read_lines("metrics.jsonl"):
        step = int(line.pop("step"))
        for key, value in line.items():
            name = _name(key)
            if name not in last:
                last[name] = max(
                    (point.step for point in client.get_metric_history(run_id, name)), default=-1
                )
            if step > last[name]:
                yield Metric(name, float(value), _started(info), step)


def _final_figures(run: Run, mirrored: Mirror) -> Iterator[Metric]:
    """Each report's means as `all/ndcg_at_10`, where they differ from what MLflow has, and what a
    search went by."""
    from mlflow.entities import Metric

    for path in _reports(run):
        for key, estimate in read_json(path)["metrics"].items():
            name = _name(f"{path.parent.name}/{key}")
            if mirrored.data.metrics.get(name) != estimate["mean"]:
                yield Metric(name, float(estimate["mean"]), round(1000 * path.stat().st_mtime), 0)
    objective = run.info.get("objective")
    if (
        objective is not None
        and (name := _name(f"objective/{objective['metric']}")) not in mirrored.data.metrics
    ):
        yield Metric(name, float(objective["value"]), _started(run.info), 0)


def _reports(run: Run) -> list[Path]:
    return sorted(run.path.glob("*/report.json"))


def _log_points(client: MlflowClient, run_id: str, points: Sequence[Metric]) -> None:
    for start in range(0, len(points), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=points[start : start + METRICS_A_BATCH])


def _name(text: str) -> str:
    """A name that MLflow takes: `ndcg@10` becomes `ndcg_at_10`."""
    return re.sub(r"[^\w\-. :/]", "_", text.replace("@", "_at_"))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        mirror(Path(argument))
