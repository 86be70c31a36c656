"""PostgreSQL as the store: a real server, which goes away and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from falconer.pipelines.errors import ConfigError
from falconer.workflows.retraining import champions, database, steps
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import DECISION, Places
from falconer.workflows.retraining.status import status
from falconer.workflows.retraining.steps import Job
from tests.support import orders, postgres
from tests.support.postgres import Server

TODAY = date(2023, 12, 20)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that runs."""
    with postgres.server() as found:
        found.start()
        yield found


@pytest.fixture(scope="module")
def shop(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline whose first window is decided, with all its state in PostgreSQL."""
    folder = tmp_path_factory.mktemp("postgres")
    orders.write(folder)
    url = f"postgresql://postgres@127.0.0.1:{server.port}/falconer"
    found = orders.pipeline(folder, database=url)
    assert database.workflows(found) == [], "neither the database nor a schema is there yet"
    retrain(found, found.window(orders.FIRST))
    return found


def test_the_state_is_in_the_pipelines_own_schema(shop: Pipeline) -> None:
    assert [(one.id, one.status) for one in database.workflows(shop)] == [
        (f"shop-{orders.FIRST}-1", "SUCCESS")
    ]
    assert not list(Places.of(shop).registry.glob("*.sqlite*"))
    assert shop.database is not None
    with psycopg.connect(shop.database) as connection:
        schema = database.schema(shop)
        rows = connection.execute(f"select function_name from {schema}.operation_outputs")
        assert "decide" in {name for (name,) in rows.fetchall()}


def test_another_pipeline_in_this_database_is_nobody_elses_business(shop: Pipeline) -> None:
    """DBOS would go on with the live steps of whatever it finds in its schema."""
    other = shop.model_copy(update={"name": "other"})
    elsewhere = shop.model_copy(update={"root": shop.root / "elsewhere"})
    assert database.workflows(other) == database.workflows(elsewhere) == []


def test_postgres_is_gone_before_a_window(shop: Pipeline, server: Server) -> None:
    server.stop()
    try:
        with pytest.raises(database.StoreError, match=r"PostgreSQL on 127.0.0.1: .*Connection ref"):
            retrain(shop, shop.window(orders.SECOND))
        found = status(shop, TODAY)
    finally:
        server.start()
    now = champions.current(Places.of(shop))
    assert now is not None
    champions.intact(Places.of(shop), now.champion)
    assert "PostgreSQL on 127.0.0.1" in found["alarms"][0]
    assert orders.SECOND in found["failed"][0]
    assert not (Places.of(shop).window(orders.SECOND) / DECISION).exists()
    assert status(shop, TODAY)["alarms"] == []


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_postgres_is_gone_in_the_middle_of_a_window(
    seconds: int,
    shop: Pipeline,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = champions.current(Places.of(shop))
    seen: list[dict[str, Any]] = []
    build = steps.build

    def back_after_a_while() -> None:
        time.sleep(seconds)
        server.start()

    def losing_the_database(job: Job) -> dict[str, Any]:
        server.stop()
        seen.append(status(shop, TODAY))
        threading.Thread(target=back_after_a_while).start()
        return build(job)

    (Places.of(shop).window(orders.SECOND) / DECISION).unlink(missing_ok=True)
    monkeypatch.setattr(steps, "build", losing_the_database)
    decision = retrain(shop, shop.window(orders.SECOND))
    assert decision["outcome"] in {"promote", "keep", "undecidable"}
    assert seen[0]["champion"] == (before.model_dump(mode="json") if before else None)
    assert "PostgreSQL on 127.0.0.1" in seen[0]["alarms"][0]
    assert "this run waits for it" in capsys.readouterr().err
    assert status(shop, TODAY)["failed"] == status(shop, TODAY)["unfinished"] == []


def test_an_address_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="database"):
        orders.pipeline(tmp_path, database="mysql://somewhere/falconer")
