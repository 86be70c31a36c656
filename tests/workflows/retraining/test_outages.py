"""What is around a pipeline breaks: the champion serves on, and status says what happened."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from falconer.pipelines.errors import ConfigError, ExhaustedError
from falconer.workflows.retraining import champions, database, schedule, steps
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import DECISION, Places
from falconer.workflows.retraining.status import status
from tests.support import orders

TODAY = date(2023, 12, 20)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline whose first window is decided: there is a champion."""
    folder = tmp_path_factory.mktemp("outages")
    orders.write(folder)
    found = orders.pipeline(folder)
    retrain(found, found.window(orders.FIRST))
    return found


@pytest.fixture(autouse=True)
def _the_champion_serves_on(shop: Pipeline) -> Iterator[None]:
    """Whatever a test breaks."""
    path = Places.of(shop).registry / champions.CHAMPION
    before = path.read_bytes()
    yield
    assert path.read_bytes() == before
    now = champions.current(Places.of(shop))
    assert now is not None
    champions.intact(Places.of(shop), now.champion)
    assert not (Places.of(shop).window(orders.SECOND) / DECISION).exists()


@contextmanager
def locked(shop: Pipeline) -> Iterator[None]:
    """Another program holds the database of the workflows."""
    path = Places.of(shop).registry / database.FILE
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        yield


def test_the_database_is_locked(shop: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SECONDS_TO_ANSWER", 0.05)
    with locked(shop):
        with pytest.raises(database.StoreError, match="database is locked"):
            retrain(shop, shop.window(orders.SECOND))
        found = status(shop, TODAY)
        assert any("cannot be reached (database is locked)" in text for text in found["alarms"])
    assert "database is locked" in status(shop, TODAY)["failed"][0]


def test_the_database_is_damaged(tmp_path: Path) -> None:
    """It may be removed: the steps that are done are found by their inputs."""
    shop = orders.pipeline(tmp_path)
    path = Places.of(shop).registry / database.FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(range(256)) * 64)
    with pytest.raises(database.StoreError, match=r"not a database\).* damaged: remove it"):
        database.workflows(shop)


def test_the_disk_is_full(shop: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device", "part-00000.parquet")

    monkeypatch.setattr(steps, "build", full)
    with pytest.raises((ExhaustedError, OSError)):
        retrain(shop, shop.window(orders.SECOND))
    assert "the disk is full" in status(shop, TODAY)["failed"][0]


def test_the_clock_is_set_back(
    shop: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = shop.model_copy(update={"start": date(2023, 11, 21)})
    ran: list[Any] = []
    monkeypatch.setattr(schedule, "told", lambda *_: ran.append(_))
    schedule.serve(lambda: earlier, now=lambda: datetime(2023, 12, 5, 4, tzinfo=UTC), times=1)
    assert ran == []
    assert "was it set back?" in capsys.readouterr().err
    alarms = status(earlier, date(2023, 12, 5))["alarms"]
    assert any("was the clock set back?" in text for text in alarms)


def test_a_window_that_the_champion_has_seen_is_not_judged(shop: Pipeline) -> None:
    earlier = shop.model_copy(update={"start": date(2023, 11, 28)})
    with pytest.raises(ConfigError, match="has seen what happened here"):
        retrain(earlier, earlier.window("2023-11-28"))


def test_a_webhook_that_is_down_is_a_warning(
    shop: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = shop.model_copy(
        update={"notify": shop.notify.model_copy(update={"webhook": "http://127.0.0.1:9/"})}
    )
    decision = dict.fromkeys(("pipeline", "window", "outcome", "reason", "challenger"), "x")
    decision["window"] = orders.SECOND
    monkeypatch.setattr(schedule, "retrain", lambda *_: {**decision, "sha256": "x"})
    assert schedule.told(deaf, shop.window(orders.SECOND))["outcome"] == "x"
    assert "nobody was told" in capsys.readouterr().err
    (alarm,) = status(deaf, TODAY)["alarms"]
    assert f"nobody was told of {orders.SECOND}" in alarm
    schedule.told(shop, shop.window(orders.SECOND))
    assert status(shop, TODAY)["alarms"] == []
