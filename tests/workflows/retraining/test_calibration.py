from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.files import read_json, write_json
from falconer.workflows.retraining import steps
from falconer.workflows.retraining.calibrate import calibrate
from falconer.workflows.retraining.calibration import Calibration, calibrated
from falconer.workflows.retraining.config import Rule
from falconer.workflows.retraining.estimates import gap
from falconer.workflows.retraining.places import CALIBRATION, EVIDENCE, Places
from falconer.workflows.retraining.steps import Job
from falconer.workflows.retraining.verdict import margin_of
from tests.support import orders, verdicts

MEASURED = Calibration(
    window="2023-12-05",
    metric="ndcg@10",
    view="all",
    seeds=3,
    means={"als": (0.1, 0.2)},
    seed_deviation=0.004,
)


def test_recipes_are_trained_with_other_seeds_and_the_verdict_takes_it_in(tmp_path: Path) -> None:
    orders.write(tmp_path, n=3000)
    models = {"challengers": ["als"], "set": ["model.dim=2", "model.epochs=1"]}
    shop = orders.pipeline(tmp_path, models=models)
    window = shop.window(orders.FIRST)
    found = calibrate(shop, window, seeds=3)
    assert len(set(found.means["als"])) == 3, "other seeds give other models"
    assert found.seed_deviation == pytest.approx(np.std(found.means["als"], ddof=1))
    assert len(list(Places.of(shop).runs.glob("*als*"))) == 3
    assert calibrate(shop, window, seeds=3) == found, "what is there is taken as it is"
    assert len(list(Places.of(shop).runs.glob("*als*"))) == 3
    steps.gather(Job(shop, window), [], {"damage": ["none of this matters here"]})
    rule = Rule(**read_json(Places.of(shop).window(window.name) / EVIDENCE)["rule"])
    assert (rule.seed_deviation, rule.seeds) == (found.seed_deviation, 3)


def test_a_margin_is_twice_the_deviation_where_that_is_more(tmp_path: Path) -> None:
    shop = verdicts.pipeline_of(tmp_path)
    assert margin_of(calibrated(shop)) == shop.rule.smallest_effect == 0.002
    write_json(Places.of(shop).registry / CALIBRATION, MEASURED.model_dump(mode="json"))
    assert margin_of(calibrated(shop)) == 0.008


def test_what_the_pipeline_file_says_counts_more(tmp_path: Path) -> None:
    shop = verdicts.pipeline_of(tmp_path, rule={"seed_deviation": 0.5})
    write_json(Places.of(shop).registry / CALIBRATION, MEASURED.model_dump(mode="json"))
    assert calibrated(shop) == shop.rule


def test_a_calibration_of_another_metric_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = verdicts.pipeline_of(tmp_path, rule={"metric": "recall@20"})
    write_json(Places.of(shop).registry / CALIBRATION, MEASURED.model_dump(mode="json"))
    assert calibrated(shop) == shop.rule
    assert "calibrate again" in capsys.readouterr().err


def test_a_refused_window_and_one_seed_calibrate_nothing(tmp_path: Path) -> None:
    orders.write(tmp_path, n=300)
    shop = orders.pipeline(tmp_path)
    with pytest.raises(ConfigError, match="2 seeds"):
        calibrate(shop, shop.window(orders.FIRST), seeds=1)
    with pytest.raises(DataError, match="nothing to calibrate on"):
        calibrate(shop, shop.window("2024-12-31"), seeds=2)
    assert not (Places.of(shop).registry / CALIBRATION).exists()


def test_a_plain_interval_of_users_promotes_luck_that_seeds_would_explain() -> None:
    """50,000 users, the same model twice: the users' interval is sure, the one with seeds is
    not."""
    rng = np.random.default_rng(3)
    luck = rng.normal(0.002, 0.1, 50_000)
    nothing = np.zeros_like(luck)
    assert gap(luck, nothing, seed_variance=0, seeds=3).lower(0.05) > 0
    assert gap(luck, nothing, seed_variance=2 * 0.001**2, seeds=3).lower(0.05) < 0
