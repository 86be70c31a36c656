"""How often intervals hold the truth, on data whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.statistics import bounded
from falconer.pipelines.statistics.bootstrap import interval, resampled_means
from falconer.pipelines.statistics.bounded import FEW
from falconer.pipelines.statistics.differences import Estimate
from falconer.recsys.judging.labels.calibration import error_by_chance
from tests.support.datasets import write_labels_dataset
from tests.support.judging import judged_clicks, true_probability

DISCOUNT = 1 / np.log2(np.arange(2, 12))


def share_that_holds(n: int, chance: float) -> float:
    """How often the 95 % interval holds the mean ndcg@10 of n queries with one relevant item, which
    is listed with this chance: 6,000 times, with 20 different draws of resamples."""
    random, held = np.random.default_rng(n), []
    for seed in range(20):
        values = (random.random((n, 300)) < chance) * random.choice(DISCOUNT, (n, 300))
        low, high = interval(resampled_means(values, resamples=1000, seed=seed), level=0.95)
        held.append((low <= chance * DISCOUNT.mean()) & (chance * DISCOUNT.mean() <= high))
    return float(np.mean(held))


@pytest.mark.parametrize(("n", "chance"), [(FEW, 0.2), (2 * FEW, 0.1), (5 * FEW, 0.05)])
def test_intervals_of_groups_that_show_one_hold(n: int, chance: float) -> None:
    assert share_that_holds(n, chance) > 0.92


@pytest.mark.parametrize(("n", "chance"), [(30, 0.1), (50, 0.1), (FEW, 0.05)])
def test_too_few_queries_and_too_few_hits_do_not(n: int, chance: float) -> None:
    """Why such groups have another interval."""
    assert share_that_holds(n, chance) < 0.91


@pytest.mark.parametrize("worth", [DISCOUNT, np.ones(1)], ids=["ndcg", "hit rate"])
@pytest.mark.parametrize(
    ("n", "chance"),
    [(2, 0.5), (10, 0.1), (30, 0.1), (50, 0.1), (99, 0.9), (FEW, 0.02), (500, 0.008)],
)
def test_the_interval_of_few_queries_and_few_hits_holds(
    n: int, chance: float, worth: np.ndarray[Any, Any]
) -> None:
    random = np.random.default_rng(n)
    means = ((random.random((n, 3000)) < chance) * random.choice(worth, (n, 3000))).mean(axis=0)
    ends = [bounded.share_interval(mean, n, level=0.95) for mean in means]
    truth = chance * worth.mean()
    assert np.mean([low <= truth <= high for low, high in ends]) > 0.94
    assert all(0 <= low <= mean <= high <= 1 for mean, (low, high) in zip(means, ends, strict=True))
    assert bounded.too_few(truth, n)


def test_a_group_without_a_hit_has_an_interval_all_the_same() -> None:
    assert bounded.share_interval(0.0, 30, level=0.95) == pytest.approx((0, 1 - 0.025 ** (1 / 30)))
    assert bounded.share_interval(1.0, 30, level=0.95) == pytest.approx((0.025 ** (1 / 30), 1))
    assert not bounded.too_few(0.1, FEW)
    assert bounded.too_few(0.99, FEW)


def test_percentiles_of_few_users_are_taken_further_out() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(8, 500))
    means = resampled_means(values, resamples=1000, seed=0)
    plain, further = (interval(means, level=0.95, n=n) for n in (None, np.full(500, 8, np.int64)))
    held = [np.mean((low <= 0) & (high >= 0)) for low, high in (plain, further)]
    assert held[0] < 0.91 < 0.93 < held[1]
    many = interval(means, level=0.95, n=np.full(500, 10**6, np.int64))
    np.testing.assert_allclose(many, plain, atol=1e-3)


@pytest.mark.parametrize("n_rows", [3000, 30_000])
def test_the_interval_of_a_calibrated_models_error_reaches_zero_and_that_of_another_does_not(
    n_rows: int, tmp_path: Path
) -> None:
    held, lied = 0, 0
    for draw in range(1, 21):
        data = write_labels_dataset(tmp_path / str(draw), n_rows=n_rows, draw=draw)
        right = true_probability(data)
        held += calibration_of(data, right).low == 0
        lied += calibration_of(data, 0.5 * right).low == 0
    assert (held >= 18, lied) == (True, 0)


def calibration_of(data: Dataset, score: Any) -> Estimate:
    found = judged_clicks(data, score).report.metrics["expected_calibration_error"]
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.mean <= found.high
    return found


def test_rows_of_one_user_share_their_luck() -> None:
    """A user whose rows are all wrong the same way is one stroke of luck, not many."""
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(50), 20)
    label, score = np.repeat(random.integers(0, 2, 50), 20).astype(float), np.full(1000, 0.45)
    by_user = error_by_chance(label, score, users, resamples=400, seed=0)
    by_row = error_by_chance(label, score, np.arange(1000), resamples=400, seed=0)
    # the mean size of a normal sum: sqrt(2 / pi) * spread of the mean of 50 labels, or of 1,000
    assert by_user == pytest.approx(np.sqrt(2 / np.pi) * 0.5 / np.sqrt(50), rel=0.1)
    assert by_row == pytest.approx(np.sqrt(2 / np.pi) * 0.5 / np.sqrt(1000), rel=0.1)


def test_intervals_of_parts_of_rows_stay_within_what_the_metric_can_be(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "data")
    score = 0.98 * data.labels("test") + 0.01 * np.random.default_rng(0).random(
        len(data.labels("test"))
    )
    score[:3] = 1 - score[:3]
    found = judged_clicks(data, score.astype(np.float64)).report.slices
    assert max(one.high for one in found) == 1
