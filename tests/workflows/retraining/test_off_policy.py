"""A pipeline whose recommender logs what it shows by chance: evidence in the verdict, no more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.workflows.retraining import decisions, verdict_page
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import DECISION, Places
from tests.support import orders

LOGGED = """[logged]
events = "{folder}/shown.csv"
columns = {{ user = "visitor", item = "sku", time = "at", reward = "clicked", propensity = "p" }}
"""
N = 20_000


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Pipeline]:
    """One with a log, whose items of low number are clicked, and one without; decided windows."""
    found = []
    for logged in (True, False):
        folder = tmp_path_factory.mktemp("logged" if logged else "plain")
        orders.write(folder, n=3000)
        if logged:
            write_log(folder)
        shop = orders.pipeline(folder)
        retrain(shop, shop.window(orders.FIRST))
        found.append(shop)
    return found[0], found[1]


def write_log(folder: Path) -> None:
    rng = np.random.default_rng(1)
    items = rng.integers(0, 50, N)
    clicked = rng.random(N) < np.where(items < 10, 0.5, 0.1)
    times = orders.END - orders.SECONDS + orders.SECONDS // N * np.arange(N)
    lines = [
        f"v{rng.integers(0, 4000)},s{item},{at},{int(click)},0.02"
        for item, at, click in zip(items, times, clicked, strict=True)
    ]
    (folder / "shown.csv").write_text("visitor,sku,at,clicked,p\n" + "\n".join(lines) + "\n")
    recipe = folder / "orders.toml"
    recipe.write_text(recipe.read_text() + LOGGED.format(folder=folder))


def decision_of(shop: Pipeline) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        (Places.of(shop).window(orders.FIRST) / DECISION).read_text()
    )
    return found


def test_a_decision_has_the_estimates_of_each_model_and_is_replayed(
    pipelines: tuple[Pipeline, Pipeline],
) -> None:
    shop, _ = pipelines
    decision = decision_of(shop)
    earned = decision["off_policy"]
    assert isinstance(earned, dict)
    assert set(earned) == set(decision["means"])  # type: ignore[call-overload]
    popular = {one["k"]: one for one in earned["popularity"]["policies"]}
    assert set(popular) == {1, 10, 20}
    ten = Dataset.open(Places.of(shop).dataset(orders.FIRST)).items["key"].to_pylist()[:10]
    truth = np.mean([0.5 if int(key[1:]) < 10 else 0.1 for key in ten])  # ids fall by popularity
    for name in ("snips", "doubly_robust"):
        assert popular[10][name]["low"] <= truth <= popular[10][name]["high"]
    assert popular[10]["weights_fit"]
    decisions.replay(Places.of(shop), orders.FIRST)


def test_the_log_decides_nothing(pipelines: tuple[Pipeline, Pipeline]) -> None:
    logged, plain = (decision_of(shop) for shop in pipelines)
    assert "off_policy" not in plain
    for name in ("outcome", "challenger", "means", "p"):
        assert logged[name] == plain[name]


def test_the_verdicts_page_shows_them(pipelines: tuple[Pipeline, Pipeline]) -> None:
    with_log, without = (
        verdict_page.write(Places.of(shop), orders.FIRST).read_text() for shop in pipelines
    )
    n = Dataset.open(Places.of(pipelines[0]).dataset(orders.FIRST)).card.counts["logged_rows"]
    assert f"{n:,} logged rows" in with_log
    assert 'id="log"' in with_log
    assert 'id="log"' not in without
