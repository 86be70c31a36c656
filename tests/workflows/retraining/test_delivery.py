"""The champion's lists for everybody, after a real retrain."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.dataset as arrow
import pytest

from falconer.pipelines.errors import ConfigError
from falconer.recsys.configs.business import BusinessRules
from falconer.workflows.retraining import champions, steps
from falconer.workflows.retraining.config import Pipeline, Recommend
from falconer.workflows.retraining.delivery import deliver
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import Places
from falconer.workflows.retraining.steps import Job
from tests.support import orders

RECOMMEND = {"k": 5, "rules": {"fresh_days": 30}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline whose first window is decided, with its lists."""
    folder = tmp_path_factory.mktemp("delivery")
    orders.write(folder)
    found = orders.pipeline(folder, recommend=RECOMMEND)
    retrain(found, found.window(orders.FIRST))
    return found


def latest(pipeline: Pipeline) -> Path:
    return Places.of(pipeline).lists / "latest"


def test_everybody_has_a_list_of_the_champion(shop: Pipeline) -> None:
    table = arrow.dataset(latest(shop)).to_table().to_pydict()
    assert len(set(table["user"])) == 200
    assert len(table["user"]) == 200 * 5
    now = champions.current(Places.of(shop))
    assert now is not None
    assert set(table["model_version"]) == {f"personal_popularity-{now.champion.sha256}"}
    manifest = json.loads((latest(shop) / "_manifest.json").read_text())
    assert manifest["counts"]["freshness"] == 0
    assert manifest["window"] == orders.FIRST


def test_lists_that_exist_are_not_written_again_and_other_rules_are_other_lists(
    shop: Pipeline, tmp_path: Path
) -> None:
    window = shop.window(orders.FIRST)
    before = latest(shop).resolve()
    assert deliver(shop, window)["skipped"]
    deny = tmp_path / "deny.txt"
    deny.write_text("s0\ns1\n")
    wanted = Recommend(k=5, rules=BusinessRules(deny=deny))
    other = shop.model_copy(update={"recommend": wanted})
    found = deliver(other, window)
    assert found["counts"]["deny list"] > 0
    assert latest(shop).resolve() != before
    items = set(arrow.dataset(latest(shop)).to_table()["item"].to_pylist())
    assert not items & {"s0", "s1"}
    deliver(shop, window)
    assert latest(shop).resolve() == before


@pytest.mark.parametrize("outcome", ["refused", "suspicious"])
def test_lists_stay_where_the_window_is_not_believed(shop: Pipeline, outcome: str) -> None:
    before = latest(shop).resolve()
    job = Job(shop, shop.window(orders.SECOND))
    assert steps.recommend(job, {"outcome": outcome})["skipped"]
    assert latest(shop).resolve() == before


def test_no_lists_without_a_wish_or_a_champion(shop: Pipeline, tmp_path: Path) -> None:
    window = shop.window(orders.FIRST)
    with pytest.raises(ConfigError, match=r"\[recommend\]"):
        deliver(shop.model_copy(update={"recommend": None}), window)
    with pytest.raises(ConfigError, match="no champion yet"):
        deliver(orders.pipeline(tmp_path, recommend=RECOMMEND), window)
