"""MLflow says which model serves: it is mended after the registry, which never waits for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date

import pytest

from falconer.pipelines import model_versions, tracking
from falconer.workflows.retraining import champions
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import Places
from falconer.workflows.retraining.status import status
from tests.support import orders

TODAY = date(2023, 12, 20)


@pytest.fixture(scope="module", autouse=True)
def _tracked() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FALCONER_TRACKING", "on")
        yield


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, _tracked: None) -> Pipeline:
    """A pipeline whose first window is decided, with every run in MLflow."""
    folder = tmp_path_factory.mktemp("mirror")
    orders.write(folder)
    found = orders.pipeline(folder)
    retrain(found, found.window(orders.FIRST))
    return found


def aliases(shop: Pipeline) -> dict[str, str]:
    return model_versions.aliases(Places.of(shop).runs, "shop")


def meant(shop: Pipeline) -> dict[str, str]:
    now = champions.current(Places.of(shop))
    assert now is not None
    found = {"champion": now.champion.sha256}
    return found | ({"previous": now.previous.sha256} if now.previous else {})


def test_status_mends_what_mlflow_lacks_and_what_was_changed_there(shop: Pipeline) -> None:
    assert aliases(shop) == {}
    assert status(shop, TODAY)["alarms"] == []
    challenger = {"challenger": meant(shop)["champion"]}
    assert aliases(shop) == meant(shop) | challenger
    with tracking.opened(Places.of(shop).runs) as client:
        client.delete_registered_model_alias("shop", "champion")
        client.set_registered_model_alias("shop", "staging", "1")
        (version,) = client.search_model_versions("name = 'shop'")
        assert (
            client.get_run(version.run_id)
            .data.tags[tracking.NAME_TAG]
            .endswith(Places.of(shop).root.joinpath(version.source).parent.name)
        )
    assert status(shop, TODAY)["alarms"] == []
    assert aliases(shop) == meant(shop) | challenger


def test_mlflow_is_down_and_promotion_does_not_wait(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_versions, "SECONDS_TO_ANSWER", 0.05)
    places = Places.of(shop)
    database = places.runs / tracking.DATABASE
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("begin exclusive")
        now = champions.promote(places, orders.FIRST, "popularity", reason="a test")
        (alarm,) = status(shop, TODAY)["alarms"]
    assert now.champion.label == "popularity"
    assert alarm.startswith("MLflow does not say which model serves (database is locked)")
    assert status(shop, TODAY)["alarms"] == []
    assert aliases(shop).items() >= meant(shop).items()
    champions.rollback(places, reason="a test")
    assert aliases(shop)["champion"] != meant(shop)["champion"], "not yet: nothing waits for it"
    status(shop, TODAY)
    assert aliases(shop).items() >= meant(shop).items()


def test_a_run_that_is_gone_is_no_reason_to_wait_for_mlflow(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places.of(shop)
    now = champions.promote(places, orders.FIRST, "popularity", reason="a test")
    run = places.root / now.champion.run
    monkeypatch.setattr(model_versions, "aliases", lambda *_: {})
    monkeypatch.setattr(model_versions, "write", lambda *_: pytest.fail("MLflow was opened"))
    away = run.rename(run.with_name("away"))
    alarms = status(shop, TODAY)["alarms"]
    assert any(
        alarm.startswith(f"MLflow does not say which model serves ({run}") for alarm in alarms
    )
    away.rename(run)
    champions.rollback(places, reason="a test")
