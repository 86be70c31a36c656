"""What DBOS would do by itself, and must not; what fails, and how that is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.errors import ConfigError
from falconer.workflows.retraining import store
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
    assert status(shop, shop.start)["failed"] == [f"shop-{orders.FIRST}-1"]
    assert [one.status for one in store.workflows(shop)] == ["ERROR"]
