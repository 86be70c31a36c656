"""Retraining with a real MLflow server on loopback: up, hanging, gone, and back."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from falconer.pipelines import model_versions, tracking, tracking_server
from falconer.workflows.retraining import champions
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import Places
from falconer.workflows.retraining.status import status
from tests.support import orders
from tests.support.mlflow_server import MlflowServer

TODAY = date(2023, 12, 20)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    found = MlflowServer(folder)
    monkeypatch.setenv("FALCONER_TRACKING", found.url)
    try:
        found.start()
        yield found
    finally:
        found.kill()


@pytest.mark.slow
def test_up_hanging_gone_and_back(
    server: MlflowServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders.write(tmp_path)
    shop = orders.pipeline(tmp_path)
    places = Places.of(shop)

    def serving() -> str:
        now = champions.current(places)
        assert now is not None
        return now.champion.sha256

    def in_mlflow() -> str:
        return model_versions.aliases(places.runs, "shop")["champion"]

    retrain(shop, shop.window(orders.FIRST))
    assert status(shop, TODAY)["alarms"] == []
    assert in_mlflow() == serving()
    first = serving()
    with tracking.opened(places.runs) as client:
        (version,) = client.search_model_versions("name = 'shop'")
        run = client.get_run(version.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.metrics
        assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert not (places.runs / tracking.DATABASE).exists()

    server.signal(signal.SIGSTOP)
    started = time.monotonic()
    champions.promote(places, orders.FIRST, "popularity", reason="a test")
    assert time.monotonic() - started < 1, "nothing waits for MLflow"
    (alarm,) = status(shop, TODAY)["alarms"]
    assert time.monotonic() - started < 3 * tracking_server.SECONDS_TO_ANSWER
    assert "does not answer: timed out" in alarm
    server.signal(signal.SIGCONT)
    assert status(shop, TODAY)["alarms"] == []
    assert in_mlflow() == serving() != first

    server.kill()
    capsys.readouterr()
    decision = retrain(shop, shop.window(orders.SECOND))
    assert "Connection refused" in capsys.readouterr().err, "each training says so, and goes on"
    assert decision["outcome"] in ("promote", "keep", "undecidable")
    champions.promote(places, orders.SECOND, "personal_popularity", reason="a test")
    (alarm,) = status(shop, TODAY)["alarms"]
    assert alarm.startswith(f"MLflow does not say which model serves ({server.url} does not answer")

    server.start()
    assert status(shop, TODAY)["alarms"] == []
    assert in_mlflow() == serving()
    with tracking.opened(places.runs) as client:
        alias = client.get_model_version_by_alias("shop", "champion")
        assert client.get_run(alias.run_id).data.metrics, "its run was mirrored when it came back"
