"""Intervals of few values between 0 and 1, beside those of scipy where both are defined."""

from __future__ import annotations

import pytest
from scipy import stats

from falconer.pipelines.statistics.bounded import FEW, FEW_HITS, share_interval, too_few


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
