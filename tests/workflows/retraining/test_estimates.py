from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from falconer.workflows.retraining.estimates import clopper_pearson, gap


def test_without_seeds_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 200))
    found = gap(first + 0.05, second, seed_variance=0, seeds=5)
    wanted = stats.ttest_rel(first + 0.05, second, alternative="greater")
    assert found.p_above(0) == pytest.approx(wanted.pvalue, rel=1e-9)
    low = wanted.confidence_interval(0.95).low
    assert found.lower(0.05) == pytest.approx(low, rel=1e-9)


def test_seeds_widen_and_are_not_cured_by_users() -> None:
    differences = np.random.default_rng(1).normal(0.01, 0.1, 50_000)
    nothing = np.zeros_like(differences)
    quiet = gap(differences, nothing, seed_variance=0, seeds=5)
    noisy = gap(differences, nothing, seed_variance=0.01**2, seeds=5)
    assert noisy.lower(0.05) < quiet.lower(0.05) - 0.01
    assert noisy.users_needed(0, alpha=0.05, power=0.8) is None


def test_users_without_a_value_are_left_out() -> None:
    assert gap(np.array([1.0, np.nan, 2.0]), np.zeros(3), seed_variance=0, seeds=5).n == 2


def test_with_the_users_it_asks_for_the_wanted_share_is_found() -> None:
    rng = np.random.default_rng(2)
    pilot = gap(rng.normal(0.02, 0.2, 500), np.zeros(500), seed_variance=0, seeds=5)
    users = pilot.users_needed(0.0, alpha=0.05, power=0.8)
    assert users is not None
    draws = rng.normal(pilot.mean, pilot.deviation, (400, users))
    found = [gap(row, np.zeros(users), seed_variance=0, seeds=5).lower(0.05) > 0 for row in draws]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(("found", "tried"), [(0, 59), (1, 93), (2, 124), (3, 153), (5, 208)])
def test_bounds_of_shares_that_are_known(found: int, tried: int) -> None:
    """The least numbers of trials whose one-sided 95 % bound is below 5 %."""
    assert clopper_pearson(found, tried) < 0.05 <= clopper_pearson(found, tried - 1)
