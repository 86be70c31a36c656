"""The mirror in MLflow after kills, damage, and in folders with odd names."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from falconer.pipelines import runs, tracking


@pytest.fixture(autouse=True)
def _tracking_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALCONER_TRACKING", "on")


def run_in(root: Path) -> Path:
    with runs.start(root, model="ease", backend="numpy", config={"l2": 1.0}) as run:
        run.log_metrics(1, {"loss": 0.5})
    return run.path


def mirrored_names(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as db:
        return [name for (name,) in db.execute("select name from runs")]


def half_made(database: Path) -> None:
    """As a kill between two of MLflow's migrations leaves it."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("create table alembic_version (version_num varchar(32) not null)")
        db.execute("insert into alembic_version values ('451aebb31d03')")
        db.execute("create table experiments (experiment_id integer primary key)")
        db.commit()


def garbage(database: Path) -> None:
    database.write_bytes(b"no database" * 100)


def empty(database: Path) -> None:
    database.touch()


@pytest.mark.parametrize("breaks", [half_made, garbage, empty])
def test_a_broken_mirror_is_set_aside_and_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], breaks: object
) -> None:
    path = run_in(tmp_path)
    breaks(tmp_path / "mlflow.db")  # type: ignore[operator]
    capsys.readouterr()
    tracking.mirror(path)
    assert mirrored_names(tmp_path / "mlflow.db") == [path.name]
    assert len(list(tmp_path.glob("mlflow.db.broken-*"))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a new one is made" in line


KILLED = """
import os, signal, sys
from pathlib import Path
from falconer.pipelines import tracking
at, seen = int(sys.argv[2]), 0
def hook(event, arguments):
    global seen
    writes = event == "open" and isinstance(arguments[2],
    int) and arguments[2] & (os.O_CREAT | os.O_WRONLY)
    if writes or event in ("os.rename", "sqlite3.connect", "os.mkdir"):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
from mlflow import MlflowClient
sys.addaudithook(hook)
tracking.mirror(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("at", [3, 9, 30])
def test_a_kill_while_the_database_is_made_does_not_break_the_mirror(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    path = run_in(tmp_path / "runs")
    subprocess.run([sys.executable, "-c", KILLED, str(path), str(at)], check=False)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    tracking.mirror(path)
    assert mirrored_names(tmp_path / "runs" / "mlflow.db") == [path.name]
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("*.broken-*"))


@pytest.mark.parametrize("name", ["100% off", "%41", "what? a#b", "key=ü"])
def test_a_folder_with_an_odd_name_has_its_mirror(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / name
    path = run_in(root)
    (path / "all").mkdir()
    (path / "all" / "report.json").write_text('{"metrics": {"ndcg@10": {"mean": 0.5}}}')
    capsys.readouterr()
    tracking.mirror(path)
    assert capsys.readouterr().err == ""
    assert mirrored_names(root / "mlflow.db") == [path.name]
    assert len(list((root / "mlartifacts").rglob("report.json"))) == 1
    assert sorted(tmp_path.iterdir()) == [root]
