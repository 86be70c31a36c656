"""What a policy would have earned, from rows that another policy logged with its propensities.

Each row: somebody was shown an item with the propensity p and gave the reward r. The policy that is
judged would have shown that item with the probability pi; the row's weight is w = pi / p. Rows come
as sums over what belongs together (a user), so that the same functions serve resampled users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

PARTS = 5
"""Each part of the users is told the rewards that the others gave."""
PRIOR_ROWS = 10.0
"""So many rows of the mean reward stand beside the rows of each item."""


def self_normalised(weighted: Float64, weights: Float64) -> Float64:
    """SNIPS: sum of w r / sum of w (Swaminathan and Joachims 2015); NaN where all weights are 0.

    Where every reward is the same, so is the estimate: what is added to all rewards is added to it.

    >>> w, r = np.array([2.0, 0.0, 1.0]), np.array([1.0, 1.0, 4.0])
    >>> self_normalised((w * r).sum(), w.sum())
    array(2.)
    """
    return np.divide(
        weighted, weights, out=np.full(np.shape(weights), np.nan), where=np.asarray(weights) > 0
    )


def doubly_robust(
    weights: Float64, rewards: Float64, expected: Float64, expected_of_policy: Float64
) -> Float64:
    """DR: the mean of these terms, e(pi) + w (r - e(a)), is what the policy earns, where either the
    propensities or the expected rewards are right (Dudik, Langford and Li 2011, equation 1; for a
    policy of chance Dudik, Erhan, Langford and Li 2014).

    All float64[n]: e(a) is the reward that was expected of the shown item, e(pi) that of what the
    policy would have shown.

    >>> w, r = np.array([2.0, 0.0]), np.array([1.0, 1.0])
    >>> doubly_robust(w, r, np.array([0.5, 0.5]), np.array([0.5, 0.75]))
    array([1.5 , 0.75])
    """
    return np.asarray(expected_of_policy + weights * (rewards - expected))


def effective_sample_size(total: float, squares: float) -> float:
    """(sum of w)^2 / sum of w^2: so many equal weights tell as much (Kish 1965); 0 where all are 0.

    >>> effective_sample_size(1 + 1 + 2, 1**2 + 1**2 + 2**2)
    2.6666666666666665
    """
    return total**2 / squares if squares else 0.0


@dataclass(frozen=True)
class ExpectedRewards:
    """float64[PARTS, n_items + 1]: what is expected of an item in rows of each part, told from all
    other parts: the mean reward of its rows and of `PRIOR_ROWS` rows of the mean of all. The last
    column is that of item -1, of which nothing is known."""

    table: Float64

    @classmethod
    def of(cls, part: Int64, item: NDArray[np.int32], reward: Float64, n_items: int) -> Self:
        """From all rows: `part` int64[n] of each row's user, the shown `item` (-1: not in the
        catalogue), and its `reward`."""
        shape = (PARTS, n_items + 1)
        place = part * shape[1] + np.where(item >= 0, item, n_items)
        sums = np.bincount(place, reward, PARTS * shape[1]).reshape(shape)
        counts = np.bincount(place, minlength=PARTS * shape[1]).reshape(shape).astype(np.float64)
        sums, counts = sums.sum(axis=0) - sums, counts.sum(axis=0) - counts
        n = counts.sum(axis=1, keepdims=True)
        mean = np.divide(sums.sum(axis=1, keepdims=True), n, out=np.zeros_like(n), where=n > 0)
        table = (sums + PRIOR_ROWS * mean) / (counts + PRIOR_ROWS)
        table[:, -1] = mean[:, 0]
        return cls(table)

    def __call__(self, part: Int64, item: NDArray[np.int32]) -> Float64:
        """float64 of their common shape: of these items in rows of these parts."""
        return self.table[part, item]
