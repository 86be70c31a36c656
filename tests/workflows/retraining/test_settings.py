"""Settings that would decide nothing, or not what they say, are refused before anything is
trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.recsys.judging.slices import names_of_slicings, slicings
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import Places
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
