"""Challengers that start from their own weights of the window before."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.errors import ConfigError
from falconer.pipelines.runs import Run
from falconer.workflows.retraining import steps
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.steps import Job
from tests.support import orders

RECIPE = """name = "vae_cf"
[model]
hidden = [8]
dim = 4
training = { epochs = 2, threads = 1 }
"""


@pytest.fixture
def shop(tmp_path: Path) -> Pipeline:
    orders.write(tmp_path, n=2000)
    recipe = tmp_path / "vae.toml"
    recipe.write_text(RECIPE)
    return orders.pipeline(tmp_path, models={"challengers": [str(recipe)], "warm": ["vae"]})


def trained_on(shop: Pipeline, window: str) -> Run:
    job = Job(shop, shop.window(window))
    steps.build(job)
    steps.train(job, "vae")
    return Run(shop.root / steps.model_of(job, "vae").run)


def test_the_second_window_starts_from_the_first(shop: Pipeline, tmp_path: Path) -> None:
    first, second = trained_on(shop, orders.FIRST), trained_on(shop, orders.SECOND)
    assert "starts_from" not in first.info
    assert second.info["starts_from"]["run"] == first.name
    assert trained_on(shop, orders.SECOND).path == second.path, "it is found, not trained again"
    (tmp_path / "vae.toml").write_text(RECIPE.replace("dim = 4", "dim = 5"))
    assert "starts_from" not in trained_on(shop, orders.SECOND).info, "another recipe, anew"


def test_a_model_that_cannot_start_is_refused_at_the_first_window(tmp_path: Path) -> None:
    orders.write(tmp_path, n=2000)
    shop = orders.pipeline(tmp_path, models={"challengers": ["item_knn"], "warm": ["item_knn"]})
    job = Job(shop, shop.window(orders.FIRST))
    steps.build(job)
    with pytest.raises(ConfigError, match="item_knn on numpy cannot start from a trained run"):
        steps.train(job, "item_knn")


def test_only_challengers_are_warm(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no challenger is called popularity"):
        orders.pipeline(tmp_path, models={"challengers": ["item_knn"], "warm": ["popularity"]})
