"""What DBOS would do by itself, and must not; what fails, and how that is told."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from falconer.pipelines.errors import ConfigError, ExhaustedError
from falconer.workflows.retraining import champions, database, lock, schedule, steps, store
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import DECISION, Places
from falconer.workflows.retraining.status import status
from tests.support import orders


def test_a_wrong_recipe_fails_the_run_and_refuses_no_window(tmp_path: Path) -> None:
    orders.write(tmp_path, n=300)
    (tmp_path / "orders.toml").write_text('name = "orders"\n[source]\nkind = "files"\n')
    shop = orders.pipeline(tmp_path)
    with pytest.raises(ConfigError, match="events: required, and absent"):
        retrain(shop, shop.window(orders.FIRST))
    assert not (Places.of(shop).window(orders.FIRST) / DECISION).exists()
    (failed,) = status(shop, shop.start)["failed"]
    assert failed.startswith(f"{orders.FIRST} at ")
    assert "events: required, and absent" in failed
    assert [one.status for one in database.workflows(shop)] == ["ERROR"]


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline whose first window is decided."""
    folder = tmp_path_factory.mktemp("decided")
    orders.write(folder, n=3000)
    shop = orders.pipeline(folder)
    retrain(shop, shop.window(orders.FIRST))
    return shop


@pytest.mark.parametrize("name", ["a b", "50%20off", "caf\u00e9?x=1#2"], ids=ascii)
def test_a_folder_may_have_an_odd_name(name: str, tmp_path: Path) -> None:
    """The database's address is a URL, and a folder's name none."""
    shop = orders.pipeline(tmp_path, root=str(tmp_path / name / "retraining"))
    with lock.locked(shop), store.launched(shop):
        pass
    assert database.exists(shop)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_every_run_says_that_it_waits_for_its_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A schedule's next run too, however soon after the last one; one run says it once a while."""
    shop = orders.pipeline(tmp_path)
    for _ in range(2):
        with lock.locked(shop), store.launched(shop):
            for _ in range(2):
                logging.getLogger("dbos").warning(f"{store.LOST} failed: gone. Retrying in 1s")
        assert capsys.readouterr().err.count("this run waits for it") == 1


def rows(shop: Pipeline, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(Places.of(shop).registry / database.FILE) as connection:
        found = connection.execute(query).fetchall()
        connection.commit()
    connection.close()
    return found


def test_what_is_stored_is_json_and_no_pickle(decided: Pipeline) -> None:
    stored = rows(decided, "select output, serialization from operation_outputs")
    assert len(stored) > 8
    for output, kind in stored:
        assert kind == "portable_json"
        json.loads(str(output))
    inputs = rows(decided, "select inputs from workflow_input")
    assert inputs
    for (text,) in inputs:
        json.loads(str(text))


def test_a_workflow_of_another_version_is_shown_and_left_alone(decided: Pipeline) -> None:
    """DBOS goes on with none of another version, for ever, and says nothing."""
    name = f"shop-{orders.FIRST}-1"
    rows(decided, "update workflow_status set status = 'PENDING', application_version = '0'")
    found = status(decided, date(2023, 12, 20))
    assert (found["unfinished"], found["alarms"]) == (
        [],
        [f"of another version, so that nothing goes on with: {name}"],
    )
    second = retrain(decided, decided.window(orders.SECOND))
    assert second["outcome"] in {"promote", "keep", "undecidable"}
    assert [one.id for one in database.workflows(decided) if one.is_orphan] == [name]


def test_windows_that_were_missed_become_one_workflow(tmp_path: Path) -> None:
    """DBOS's own backfill would enqueue every missed one; nothing of its schedules is used."""
    orders.write(tmp_path, n=3000)
    shop = orders.pipeline(tmp_path, start="2023-11-21")
    now = datetime(2023, 12, 19, 4, tzinfo=UTC)
    schedule.serve(lambda: shop, now=lambda: now, times=1)
    assert [one.id for one in database.workflows(shop)] == ["shop-2023-12-12-1"]
    assert rows(shop, "select * from workflow_schedules") == []


def test_a_database_that_a_kill_left_in_mid_transaction_is_rolled_back(tmp_path: Path) -> None:
    shop = orders.pipeline(tmp_path)
    path = Places.of(shop).registry / database.FILE
    path.parent.mkdir(parents=True)
    living = tmp_path / "living.sqlite"
    with closing(sqlite3.connect(living, isolation_level=None)) as connection:
        connection.execute("create table workflow_status (number text)")
        connection.execute("insert into workflow_status values ('kept')")
        connection.execute("pragma cache_size = 1")
        connection.execute("begin")
        connection.executemany("insert into workflow_status values (?)", [("x" * 2000,)] * 200)
        for ending in ("", "-journal"):
            shutil.copy(f"{living}{ending}", f"{path}{ending}")
    assert database.exists(shop)
    assert rows(shop, "select * from workflow_status") == [("kept",)]


def test_a_run_that_failed_behind_its_decision_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is judged anew, and a person's order in between is not undone."""
    orders.write(tmp_path)
    shop = orders.pipeline(tmp_path, recommend={"k": 5})
    places = Places.of(shop)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "recommend", full_disk)
        with pytest.raises((ExhaustedError, OSError)):
            retrain(shop, shop.window(orders.FIRST))
    assert "the disk is full" in status(shop, date(2023, 12, 20))["failed"][0]
    before = (places.window(orders.FIRST) / DECISION).read_bytes()
    ordered = champions.promote(places, orders.FIRST, "popularity", reason="a test")
    retrain(shop, shop.window(orders.FIRST))
    assert (places.window(orders.FIRST) / DECISION).read_bytes() == before
    assert champions.current(places) == ordered
    assert places.finished(orders.FIRST)
    assert (places.lists / "latest").exists()
    assert status(shop, date(2023, 12, 20))["failed"] == []


def full_disk(*_: object) -> dict[str, object]:
    raise OSError(errno.ENOSPC, "No space left on device", "part-00000.parquet")
