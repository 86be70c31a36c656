"""A pipeline whose recommender logs what it shows by chance: evidence in the verdict, no more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.workflows.retraining import champions, decisions, verdict_page
from falconer.workflows.retraining.config import OffPolicy, Pipeline
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import DECISION, Places
from falconer.workflows.retraining.verdict import EARNS, Evidence, decide
from tests.support import orders, retrains

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
    for name in ("outcome", "challenger", "means", "p", "reason"):
        assert logged[name] == plain[name]


def test_the_verdicts_page_shows_them(pipelines: tuple[Pipeline, Pipeline]) -> None:
    with_log, without = (
        verdict_page.write(Places.of(shop), orders.FIRST).read_text() for shop in pipelines
    )
    n = Dataset.open(Places.of(pipelines[0]).dataset(orders.FIRST)).card.counts["logged_rows"]
    assert f"{n:,} logged rows" in with_log
    assert 'id="log"' in with_log
    assert 'id="log"' not in without


def test_the_log_decides_where_that_is_asked_for(tmp_path: Path) -> None:
    orders.write(tmp_path, n=3000)
    write_log(tmp_path)
    shop = orders.pipeline(tmp_path, rule={"off_policy": {"k": 10, "limit": 0.3}})
    places = Places.of(shop)
    retrain(shop, shop.window(orders.FIRST))
    champions.promote(places, orders.FIRST, "popularity", reason="a test")
    retrain(shop, shop.window(orders.SECOND))
    decision = json.loads((places.window(orders.SECOND) / DECISION).read_text())
    (found,) = [one for one in decision["rules"] if one["rule"] == EARNS]
    assert found["holds"] == "yes"
    earned = {name: one["policies"] for name, one in decision["off_policy"].items()}
    ours, theirs = (
        next(one["snips"]["mean"] for one in earned[name] if one["k"] == 10)
        for name in ("personal_popularity", "champion")
    )
    assert found["figures"]["difference"] == pytest.approx(ours - theirs, abs=1e-6)
    assert "judged/champion/earned.parquet" in decision["inputs"]
    decisions.replay(places, orders.SECOND)


def evidence(ours: float, theirs: float, n: int) -> Evidence:
    """A challenger that every other rule promotes; both models' clicks of `n` users, who click one
    item or the other independently."""
    rng = np.random.default_rng(3)

    def clicks(share: float) -> np.ndarray:
        return rng.permutation(np.arange(n) < share * n).astype(np.float64)

    usual = retrains.usual()
    (challenger,), champion = usual.challengers, usual.champion
    assert champion is not None
    return replace(
        usual,
        challengers=(replace(challenger, earned=clicks(ours)),),
        champion=replace(champion, earned=clicks(theirs)),
    )


ASKED = retrains.RULE.model_copy(update={"off_policy": OffPolicy(limit=0.02)})


def test_who_earns_less_by_more_than_the_limit_does_not_go_live() -> None:
    usual = evidence(0.1, 0.3, 5000)
    assert decide(usual, retrains.RULE).outcome == "promote"
    verdict = decide(usual, ASKED)
    assert verdict.outcome == "keep"
    assert verdict.reason.startswith("earns as much as the champion: ")
    assert decide(evidence(0.3, 0.3, 50_000), ASKED).outcome == "promote"


def test_too_small_a_log_is_undecidable_and_says_how_many_it_takes() -> None:
    verdict = decide(evidence(0.3, 0.3, 200), ASKED)
    assert verdict.outcome == "undecidable"
    assert verdict.users_needed is not None
    assert verdict.users_needed > 2000
    assert decide(evidence(0.3, 0.3, 4 * verdict.users_needed), ASKED).outcome == "promote"


def test_a_refused_estimate_is_undecidable() -> None:
    usual = evidence(0.3, 0.3, 5000)
    assert usual.champion is not None
    without = replace(usual, champion=replace(usual.champion, earned=None))
    verdict = decide(without, ASKED)
    assert verdict.outcome == "undecidable"
    assert "too little was logged to tell what champion's lists earn" in verdict.reason


def test_a_rule_about_a_log_that_nobody_writes_is_refused(tmp_path: Path) -> None:
    orders.write(tmp_path, n=300)
    shop = orders.pipeline(tmp_path, rule={"off_policy": {"limit": 0.01}})
    with pytest.raises(ConfigError, match=r"name a log in .*orders\.toml under \[logged\]"):
        retrain(shop, shop.window(orders.FIRST))
    assert not (Places.of(shop).window(orders.FIRST) / DECISION).exists()
