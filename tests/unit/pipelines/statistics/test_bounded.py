"""Intervals of few values between 0 and 1, beside those of scipy where both are defined."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from falconer.pipelines.statistics.bounded import (
    FEW,
    FEW_HITS,
    interval_of_mean,
    share_interval,
    too_few,
)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(("hits", "n"), [(0, 30), (1, 30), (7, 20), (20, 20), (99, 100)])
def test_of_whole_sums_it_is_the_exact_interval_of_a_share(hits: int, n: int, level: float) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(confidence_level=level, method="exact")
    assert share_interval(hits / n, n, level=level) == pytest.approx(tuple(expected))


def test_means_a_little_outside_are_those_of_the_bound() -> None:
    """Rounding of a mean of ones or of zeros."""
    assert share_interval(-1e-17, 30, level=0.95) == share_interval(0.0, 30, level=0.95)
    assert share_interval(1 + 1e-15, 30, level=0.95) == share_interval(1.0, 30, level=0.95)


@pytest.mark.parametrize(
    ("mean", "n", "few"),
    [
        (0.5, FEW, False),
        (0.5, FEW - 1, True),
        (FEW_HITS / 200, 200, False),
        (FEW_HITS / 201, 200, True),
        (1 - FEW_HITS / 201, 200, True),
    ],
)
def test_few_are_few_values_or_few_hits(mean: float, n: int, few: bool) -> None:
    assert too_few(mean, n) is few


def test_the_mean_of_one_share_is_that_share() -> None:
    alone = share_interval(0.9, 20, level=0.95)
    assert interval_of_mean([(0.9, 20)], level=0.95) == pytest.approx(alone)
    low, high = interval_of_mean([(0.9, 20), (0.9, 20)], level=0.95)
    assert low == pytest.approx(0.9 - (0.9 - alone[0]) / 2**0.5)
    assert high == pytest.approx(0.9 + (alone[1] - 0.9) / 2**0.5)


def test_the_interval_of_a_mean_of_shares_holds_it() -> None:
    random, chances, counts = np.random.default_rng(0), (0.5, 0.9, 0.99), (8, 30, 60)
    hits = np.stack([random.binomial(n, p, 2000) for n, p in zip(counts, chances, strict=True)])
    held = []
    for drawn in hits.T:
        shares = [(int(one) / n, n) for one, n in zip(drawn, counts, strict=True)]
        low, high = interval_of_mean(shares, level=0.95)
        held.append(low <= np.mean(chances) <= high)
    assert np.mean(held) > 0.95
