"""Two schedules and a status at once: one training, and nobody is in another's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support import orders

COMMAND = [sys.executable, "-P", "-m", "falconer.workflows.cli"]
ADVERTS = ("dbos", "conductor", "sqlite", "postgres", "development")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A shop whose newest window ended today."""
    now = datetime.now(UTC)
    orders.write(tmp_path, n=3000, end=int(now.timestamp()))
    orders.write_waiting(tmp_path, (now.date() - timedelta(13)).isoformat())
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    name = f"{arguments[0]}-{time.monotonic_ns()}.log"
    with (folder / name).open("w") as log:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=log,
            text=True,
        )


@pytest.fixture
def schedules(shop: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ended after the test, whatever comes."""
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        process.terminate()
        process.wait(30)


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


def logs(folder: Path, name: str) -> str:
    return "\n".join(path.read_text() for path in folder.glob(f"{name}-*.log"))


def test_two_schedules_and_a_status_in_mid_training_are_one_training(
    shop: Path, schedules: list[subprocess.Popen[str]]
) -> None:
    schedules.append(start(shop, "schedule", "shop.toml"))
    wait_for(lambda: (shop / "trainings").exists())
    schedules.append(start(shop, "schedule", "shop.toml"))
    assert start(shop, "status", "shop.toml", "--json").wait(120) == 0
    status = json.loads(logs(shop, "status"))
    assert len(status["unfinished"]) == 1, "the workflow is under way, and status says so"
    wait_for(lambda: "another process retrains this pipeline" in logs(shop, "schedule"))
    (shop / "go").touch()
    windows = shop / "retraining" / "windows" / "shop"
    wait_for(lambda: len(list(windows.glob("*/verdict.html"))) == 1)
    assert (shop / "trainings").read_text() == "x"
    assert len(list((shop / "retraining/runs/shop").glob("*waiting*"))) == 1
    printed = (logs(shop, "schedule") + logs(shop, "status")).replace(str(shop), "").lower()
    assert not [advert for advert in ADVERTS if advert in printed]
