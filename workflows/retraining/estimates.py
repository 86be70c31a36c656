"""Paired differences with the noise of users and of seeds together, and what they allow to say."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtr, stdtrit

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """The mean of `first - second` over users; `deviation` is that of one user's difference.

    `seed_variance` is that of the difference between trainings with other seeds, measured with
    `seed_df` degrees of freedom.
    """

    mean: float
    deviation: float
    n: int
    seed_variance: float
    seed_df: int

    @property
    def variance(self) -> float:
        """Of the mean: users and seeds together."""
        return self.deviation**2 / self.n + self.seed_variance

    @property
    def df(self) -> float:
        """Degrees of freedom by Welch and Satterthwaite."""
        users, seeds = self.deviation**2 / self.n, self.seed_variance
        if users + seeds == 0:
            return float(self.n - 1)
        return (users + seeds) ** 2 / (users**2 / (self.n - 1) + seeds**2 / self.seed_df)

    def lower(self, alpha: float) -> float:
        """The one-sided lower bound of level 1 - alpha."""
        return self.mean - float(stdtrit(self.df, 1 - alpha)) * math.sqrt(self.variance)

    def upper(self, alpha: float) -> float:
        """The one-sided upper bound of level 1 - alpha."""
        return self.mean + float(stdtrit(self.df, 1 - alpha)) * math.sqrt(self.variance)

    def p_above(self, margin: float) -> float:
        """The p-value of "the true difference is not above `margin`"."""
        distance = self.mean - margin
        if self.variance == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stdtr(self.df, -distance / math.sqrt(self.variance)))

    def users_needed(self, margin: float, *, alpha: float, power: float) -> int | None:
        """Users with whom a true difference of `mean` is found to be above `margin`; None where no
        number of them is enough, because the seeds' noise stays."""
        distance = self.mean - margin
        quantiles = float(stdtrit(self.df, 1 - alpha)) + float(stdtrit(self.df, power))
        left = (distance / quantiles) ** 2 - self.seed_variance
        if distance <= 0 or left <= 0:
            return None
        return math.ceil(self.deviation**2 / left)

    def more_users(
        self, margin: float, worthwhile: float, *, alpha: float, power: float
    ) -> int | None:
        """As `users_needed`, for a true difference that is `worthwhile`, or as large as was seen;
        for what was seen alone, where the users judged would have shown a worthwhile one."""
        wanted = replace(self, mean=max(self.mean, worthwhile))
        needed = wanted.users_needed(margin, alpha=alpha, power=power)
        if needed is None or needed > self.n:
            return needed
        return self.users_needed(margin, alpha=alpha, power=power)


def gap(first: Float64, second: Float64, *, seed_variance: float, seeds: int) -> Gap:
    """The paired difference of two models' values, float64[n_users] each; a user without a value
    (NaN) is left out."""
    differences = first - second
    differences = differences[~np.isnan(differences)]
    n = len(differences)
    return Gap(
        mean=float(differences.mean()) if n else 0.0,
        deviation=float(differences.std(ddof=1)) if n > 1 else 0.0,
        n=n,
        seed_variance=seed_variance,
        seed_df=seeds - 1,
    )


def clopper_pearson(found: int, tried: int, *, level: float = 0.95) -> float:
    """The one-sided upper bound of a share of which `found` of `tried` were seen."""
    return 1.0 if found >= tried else float(betaincinv(found + 1, tried - found, level))
