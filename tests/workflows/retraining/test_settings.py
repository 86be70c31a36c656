"""Settings that would decide nothing, or not what they say, are refused before anything is
trained."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.recsys.judging.slices import names_of_slicings, slicings
from falconer.workflows.retraining import schedule
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import Places
from falconer.workflows.retraining.schedule import backfill
from tests.support import orders
from tests.support.comparisons import write_goods


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("nope@10", "no metric is called 'nope'"),
        ("ndcg", "needs a cut-off, such as ndcg@10"),
        ("ndcg@0", "needs a cut-off"),
        ("ndcg@x", "needs a cut-off"),
        ("ndcg@\u00b2", "needs a cut-off"),
        ("coverage@10", "coverage does not say of a user's list how good it is"),
    ],
)
def test_a_metric_that_cannot_decide_is_refused(metric: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        orders.pipeline(tmp_path, rule={"metric": metric})


@pytest.mark.parametrize("metric", ["ndcg@10", "recall@20", "hit_rate@1"])
def test_others_are_taken(metric: str, tmp_path: Path) -> None:
    assert orders.pipeline(tmp_path, rule={"metric": metric}).rule.metric == metric


def test_a_guard_of_groups_that_there_cannot_be_is_refused(tmp_path: Path) -> None:
    orders.write(tmp_path, n=600)
    guards: list[dict[str, Any]] = [{"slicing": "shoe size", "limit": 0.1}]
    shop = orders.pipeline(tmp_path, rule={"guards": guards})
    with pytest.raises(ConfigError, match="no slicing is called 'shoe size'; there are 'history "):
        retrain(shop, shop.window(orders.FIRST))
    assert not list(Places.of(shop).runs.glob("*")), "nothing was trained"


def test_every_slicing_has_a_known_name(tmp_path: Path) -> None:
    data: Dataset = write_goods(tmp_path / "goods")
    found = {slicing.name for slicing in slicings(data, "test")}
    assert len(found) > 2
    assert found <= set(names_of_slicings(data))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cron": "0 0 3 * * 1"}, "cron: not a cron expression of five fields"),
        ({"cron": "0 0 31 2 *"}, "cron: never comes"),
        ({"cron": "CRON_TZ=Europe/Berlin 0 3 * * *"}, "cron: not a cron expression"),
        ({"rule": {"smallest_effect": float("inf")}}, "rule.smallest_effect: .*finite"),
        ({"limits": {"max_volume": float("inf")}}, "limits.max_volume: .*finite"),
        ({"data": {"recipe": "orders.toml", "valid_days": float("inf")}}, "valid_days: .*finite"),
        ({"models": {"challengers": ["ease"], "baselines": []}}, "models.baselines: .*at least 1"),
        ({"models": {"challengers": ["../..toml"]}}, "models: no model can be called"),
        ({"models": {"challengers": ["a/.toml"]}}, "models: no model can be called ''"),
        ({"models": {"challengers": ["a\nb"]}}, "models: no model can be called"),
        ({"k": 5}, "lists of 5 items are too short for ndcg@10"),
        (
            {"k": 15, "rule": {"off_policy": {"k": 16, "limit": 1}}},
            "short for rule.off_policy.k = 16",
        ),
        ({"days": 10**8}, "days: .*less than or equal to"),
        ({"start": "9999-12-31"}, "start: .*less than"),
    ],
    ids=str,
)
def test_values_that_no_pipeline_can_have_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        orders.pipeline(tmp_path, **changes)


@pytest.mark.parametrize("cron", ["@weekly", "*/5 * * * *", "0 3 29 2 *", "0 3 * * sun#1"])
def test_other_moments_are_taken(cron: str, tmp_path: Path) -> None:
    assert orders.pipeline(tmp_path, cron=cron).cron == cron


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"challengers": ["personal_popularty"]}, "did you mean 'personal_popularity'"),
        ({"challengers": ["ease"], "baselines": ["nothing.toml"]}, "nothing.toml"),
        ({"challengers": ["ease"], "set": ["l2=5"]}, "l2"),
    ],
    ids=["name", "baseline", "override"],
)
def test_a_wrong_model_is_refused_before_anything_is_built(
    models: dict[str, Any], message: str, tmp_path: Path
) -> None:
    orders.write(tmp_path, n=600)
    shop = orders.pipeline(tmp_path, models=models)
    with pytest.raises(ConfigError, match=message):
        retrain(shop, shop.window(orders.FIRST))
    assert not Places.of(shop).data.exists()


def test_a_window_that_is_not_over_is_not_decided(tmp_path: Path) -> None:
    """It would be refused as empty, for good, and every window before it as one too late."""
    shop = orders.pipeline(tmp_path)
    last_day, day_after = date(2023, 12, 11), date(2023, 12, 12)
    with pytest.raises(ConfigError, match="is not over: it lasts until 2023-12-12"):
        shop.ended(orders.FIRST, last_day)
    assert shop.ended(orders.FIRST, day_after).name == orders.FIRST
    with pytest.raises(ConfigError, match="too late for a window"):
        shop.window("9998-12-29")
    with pytest.raises(ConfigError, match="and is over on 2023-12-11"):
        backfill(shop, shop.start, date.max, last_day)
    assert not Places.of(shop).root.exists()


def test_only_windows_that_are_over_are_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(schedule, "told", lambda _, window: ran.append(window.name))
    backfill(orders.pipeline(tmp_path), date.min, date.max, date(2023, 12, 25))
    assert ran == [orders.FIRST, orders.SECOND]
