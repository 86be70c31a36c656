"""Intervals of means of few values between 0 and 1, of which percentiles of a bootstrap know too
little.

Of all values in [0, 1] with the same mean those that are 0 or 1 spread most, so the exact interval
of a share (Clopper and Pearson 1934), read at the sum of the values, which need not be whole, is
wide enough for any others. tests/unit/recsys/judging/test_coverage.py measures how often it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from scipy.special import betaincinv

FEW = 100
"""Values below which percentiles of a bootstrap hold the mean too seldom (85 to 89 % for 95)."""
FEW_HITS = 5.0
"""The least sum of the values, and of what they lack to 1, for percentiles to hold."""


def too_few(mean: float, n: int) -> bool:
    """Whether percentiles of a bootstrap of `n` values in [0, 1] with this mean are not to be
    trusted."""
    return n < FEW or n * min(mean, 1 - mean) < FEW_HITS


def share_interval(mean: float, n: int, *, level: float) -> tuple[float, float]:
    """Low and high for the mean of `n` values in [0, 1] whose own mean is `mean`; `n` at least
    1."""
    outside, total = (1 - level) / 2, min(max(mean, 0.0), 1.0) * n
    low = betaincinv(total, n - total + 1, outside) if total > 0 else 0.0
    high = betaincinv(total + 1, n - total, 1 - outside) if total < n else 1.0
    return float(low), float(high)


def interval_of_mean(shares: Sequence[tuple[float, int]], *, level: float) -> tuple[float, float]:
    """Low and high for the mean of independent shares, each (mean, n) with n at least 1, from the
    interval of each (Zou and Donner 2008, equations 3 and 4, with equal weights)."""
    ends = [share_interval(mean, n, level=level) for mean, n in shares]
    middle = sum(mean for mean, _ in shares) / len(shares)
    below = hypot(*(mean - low for (mean, _), (low, _) in zip(shares, ends, strict=True)))
    above = hypot(*(high - mean for (mean, _), (_, high) in zip(shares, ends, strict=True)))
    return middle - below / len(shares), middle + above / len(shares)
