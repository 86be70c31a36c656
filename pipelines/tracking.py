"""Mirrors runs to MLflow. The run directory is the truth: a failure here warns in one line, and the
work goes on.

The mirror of the runs in a folder is `mlflow.db` and `mlartifacts/` in that folder; `falconer ui`
shows it. `python -m falconer.pipelines.tracking RUN...` mirrors runs by hand.
FALCONER_TRACKING=http://host:5000 mirrors to that server instead, and FALCONER_TRACKING=off turns
all of this off.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import sqlite3
import sys
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from falconer.pipelines import tracking_server
from falconer.pipelines.console import warn
from falconer.pipelines.exhaustion import exhausted
from falconer.pipelines.files import atomic_file, read_json, scratch_folder
from falconer.pipelines.runs import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as Mirror

DATABASE = "mlflow.db"
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
    return _uri(root / DATABASE)


def _uri(database: Path) -> str:
    """Quoted: SQLAlchemy takes `%41` in a path for A, and what follows a `?` for its options. The
    slashes too: MLflow, which does not unquote, makes the folder before the last one."""
    return f"sqlite:///{quote(str(database.resolve()), safe='')}"


def artifact_root(root: Path) -> Path:
    """Folder of MLflow's copies of the reports of the runs in `root`."""
    return root.resolve() / "mlartifacts"


def is_on() -> bool:
    """Whether runs are mirrored at all: unless that is turned off, or MLflow is not installed."""
    wanted = os.environ.get("FALCONER_TRACKING", "on").lower() != "off"
    return wanted and find_spec("mlflow") is not None


def mirror(run_path: Path) -> None:
    """Bring MLflow up to date with one run directory: what it has already is not written again.

    Never raises: what goes wrong is one line on standard error.
    """
    if not is_on():
        return
    try:
        run = Run.open(run_path.resolve())
        with opened(run.path.parent) as client:
            _mirror(run, client)
    except Exception as error:
        lack = exhausted(error)
        reason = lack or (str(error).splitlines()[0] if str(error) else type(error).__name__)
        warn(f"warning: {run_path} is not mirrored to MLflow: {reason}")


@contextmanager
def opened(root: Path) -> Iterator[MlflowClient]:
    """MLflow of the runs in `root`, a server or the database beside them, for this process alone as
    long as the block lasts; raises whatever MLflow raises, and `ServerAwayError`."""
    with _only_one_at_a_time(root):
        yield _client(root)


@contextmanager
def _only_one_at_a_time(root: Path) -> Iterator[None]:
    """Hold the folder's lock: several processes that make MLflow's database at once break it."""
    with (root / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _client(root: Path) -> MlflowClient:
    """MLflow on the folder's database, which is made where there is none; one that MLflow cannot
    open is set aside first: the runs are the truth, and `falconer ui` mirrors them anew."""
    os.environ.update(ENVIRONMENT)
    if (server := tracking_server.address()) is not None:
        return _on_server(server)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", MLFLOW_WARNING, DeprecationWarning)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        database = root / DATABASE
        if database.exists() and not _is_database(database):
            _set_aside(database)
        if not database.exists():
            _make(database)
        try:
            return _opened(database)
        except Exception as error:
            if exhausted(error) or "locked" in str(error):
                raise
        _forget(database)
        _set_aside(database)
        _make(database)
        return _opened(database)


def _on_server(url: str) -> MlflowClient:
    tracking_server.refuse_silence(url)
    for name, value in tracking_server.PATIENCE.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=url)


def _opened(database: Path) -> MlflowClient:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=_uri(database))
    client.search_experiments(max_results=1)  # which opens it, and looks at its version
    return client


def _is_database(path: Path) -> bool:
    """Whether SQLite reads MLflow's version in it: MLflow itself tries again for minutes."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=rw", uri=True)) as db:
            versions = db.execute("select version_num from alembic_version").fetchall()
            return len(versions) == 1 and db.execute("pragma quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError as error:
        return "locked" in str(error)


def _make(database: Path) -> None:
    """Make the database elsewhere and rename it when whole: MLflow makes one in some hundred steps,
    and a kill between two of them would leave one that it can neither use nor mend."""
    with scratch_folder() as aside:
        _opened(aside / DATABASE)
        _forget(aside / DATABASE)
        with atomic_file(database) as partial:
            shutil.copyfile(aside / DATABASE, partial)


def _forget(database: Path) -> None:
    """Close MLflow's own connections to a database, which it keeps by address."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = SqlAlchemyStore._engine_map.pop(_uri(database), None)
    if engine is not None:
        engine.dispose()


def _set_aside(database: Path) -> None:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    kept = database.with_name(f"{database.name}.broken-{stamp}")
    for ending in ("-journal", "-wal", "-shm"):  # they belong to it, and would spoil the next one
        Path(f"{database}{ending}").unlink(missing_ok=True)
    database.rename(kept)
    warn(
        f"warning: MLflow cannot open {database}: it is {kept.name} now, and a new one is made; "
        f"`falconer ui --runs {database.parent}` mirrors every run again"
    )


def _mirror(run: Run, client: MlflowClient) -> str:
    """Write what MLflow lacks of a run; returns MLflow's id of it."""
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
    return str(run_id)


def _mirror_status(info: Mapping[str, Any], client: MlflowClient, mirrored: Mirror) -> None:
    status = STATUSES[info["status"]]
    if mirrored.info.status == status:
        return
    if status == "RUNNING":
        client.update_run(mirrored.info.run_id, status=status)
    else:
        end = _started(info) + round(1000 * info.get("seconds", 0))
        client.set_terminated(mirrored.info.run_id, status, end_time=end)


def mirrored(client: MlflowClient, path: Path) -> str:
    """MLflow's id of a run directory, which is mirrored first where that could not be done."""
    ids = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(ids, filter_string=_named(path.name), max_results=1)
    return str(found[0].info.run_id) if found else _mirror(Run.open(path.resolve()), client)


def _named(run_name: str) -> str:
    return f"tags.`{NAME_TAG}` = '{run_name}'"


def _find_or_create(run: Run, info: Mapping[str, Any], client: MlflowClient) -> Mirror:
    experiment = _experiment(run.path.parent, info, client)
    found = client.search_runs([experiment], filter_string=_named(run.name), max_results=1)
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
    place = None if tracking_server.address() else (artifact_root(root) / name).as_uri()
    return str(client.create_experiment(name, artifact_location=place))


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
