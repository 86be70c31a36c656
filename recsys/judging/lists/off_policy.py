"""What ranked lists would have earned, from what another recommender logged as it chose by chance.

The policy at k shows one of the first k items of a user's list (of those that the catalogue knows),
each with the same probability; k = 1 shows the first. A user without a list is shown nothing, which
earns nothing. Users are what is resampled, so that rows of one user need not be independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Logged
from falconer.pipelines.data.schema import Fold
from falconer.pipelines.statistics.bootstrap import Resampling, interval
from falconer.pipelines.statistics.differences import Estimate
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.reports import OffPolicy, PolicyEstimate
from falconer.recsys.lists.stored import Lists, StoredLists
from falconer.recsys.metrics.off_policy import (
    PARTS,
    ExpectedRewards,
    doubly_robust,
    effective_sample_size,
    self_normalised,
)

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]

LEAST_USERS = 100
"""Effective ones: with fewer the bootstrap's intervals are too short."""
FAR = 3.3
"""Standard deviations: what chance does in one of a thousand."""
QUERIES_AT_ONCE, ROWS_AT_ONCE = 2**14, 2**17
ROWS, REWARD, LISTED = range(3)
"""Columns of a user's sums, before those of each k: weights, weighted rewards, and the terms of the
doubly robust estimate."""

TEXTS = {
    "logged": "Mean reward of what was logged.",
    "snips": "SNIPS: sum of w r / sum of w over logged rows, w = probability of the lists' policy "
    "/ logged propensity (Swaminathan and Joachims 2015).",
    "doubly_robust": "Doubly robust: mean of e(policy) + w (r - e(shown)), e = the item's mean "
    "reward among other users (Dudík, Langford and Li 2011).",
}


def off_policy(
    lists: Lists | StoredLists, data: Dataset, fold: Fold, config: EvaluationConfig
) -> OffPolicy | None:
    """The estimates of `lists` at each cut-off; None where the fold's dataset logged nothing."""
    log = data.logged(fold)
    if log is None or not len(log):
        return None
    users = np.unique(log.query)
    n_columns = LISTED + 1 + 3 * len(config.k)
    drawn = Resampling(len(users), n_columns, resamples=config.resamples, seed=config.seed)
    squares = np.zeros(n_columns)
    for sums in _sums(lists, data, log, config):
        drawn.add(sums)
        squares += np.square(sums).sum(axis=0)
    means = np.concatenate([drawn.mean()[None], drawn.means()])
    found = _Found(means, squares, len(users), config.level)
    return OffPolicy(
        n_rows=len(log),
        n_users=len(users),
        n_outside=int((log.item < 0).sum()),
        n_without_list=len(log) - round(float(means[0, LISTED]) * len(users)),
        logged=found.estimate("logged", means[:, REWARD] / means[:, ROWS]),
        policies=tuple(found.policy(k, place) for place, k in enumerate(config.k)),
    )


def snips_of_users(lists: Lists | StoredLists, data: Dataset, fold: Fold, k: int) -> Float64 | None:
    """float64[users with logged rows], in the queries' order: values whose mean is SNIPS at `k`,
    and whose differences between two models are paired; None where the estimate is refused.

    They are what each user adds to the estimate, linearised (the delta method; Owen 2013, section
    9.2).
    """
    log = data.logged(fold)
    if log is None or not len(log):
        return None
    config = EvaluationConfig(k=(k,))
    sums = np.concatenate(list(_sums(lists, data, log, config)))
    weights, weighted = sums[:, LISTED + 1], sums[:, LISTED + 2]
    if effective_sample_size(weights.sum(), np.square(weights).sum()) < LEAST_USERS:
        return None
    share = sums[:, LISTED].sum() / sums[:, ROWS].sum()
    snips = weighted.mean() / weights.mean() * share
    relative = 1 - weights / weights.mean()
    relative += sums[:, LISTED] / sums[:, LISTED].mean() - sums[:, ROWS] / sums[:, ROWS].mean()
    return np.asarray(snips * relative + weighted / weights.mean() * share)


def _sums(
    lists: Lists | StoredLists, data: Dataset, log: Logged, config: EvaluationConfig
) -> Iterator[Float64]:
    """float64[users, columns] of the users with logged rows, some after others, in their order."""
    part = np.random.default_rng(config.seed).integers(0, PARTS, len(lists.listed))
    expected = ExpectedRewards.of(part[log.query], log.item, log.reward, data.n_items)
    for first in range(0, len(part), QUERIES_AT_ONCE):
        last = min(first + QUERIES_AT_ONCE, len(part))
        shown = _Shown.of(lists.part(first, last), part[first:last], expected)
        start, stop = np.searchsorted(log.query, [first, last])
        columns = [
            _columns(log.slice(at, min(at + ROWS_AT_ONCE, stop)), first, shown, config.k)
            for at in range(start, stop, ROWS_AT_ONCE)
        ]
        if columns:
            starts = np.unique(log.query[start:stop], return_index=True)[1]
            yield np.add.reduceat(np.concatenate(columns), starts, axis=0)


@dataclass(frozen=True)
class _Shown:
    """The lists of Q queries. `known` int64[Q, K]: how many of the first places hold an item;
    `earns` float64[Q, K]: the reward that is expected of all of these together."""

    items: Int32
    known: NDArray[np.int64]
    earns: Float64
    part: NDArray[np.int64]
    expected: ExpectedRewards

    @classmethod
    def of(cls, items: Int32, part: NDArray[np.int64], expected: ExpectedRewards) -> _Shown:
        """Of these lists; `part` int64[Q]."""
        is_item = items >= 0
        earns = np.where(is_item, expected(part[:, None], items), 0.0)
        return cls(items, is_item.cumsum(axis=1), earns.cumsum(axis=1), part, expected)


def _columns(log: Logged, first: int, shown: _Shown, cut_offs: Sequence[int]) -> Float64:
    """float64[R, columns] of some logged rows, of queries from row `first` of the fold on."""
    query = log.query - first
    same = (shown.items[query] == log.item[:, None]) & (log.item >= 0)[:, None]
    place = np.where(same.any(axis=1), same.argmax(axis=1), shown.items.shape[1])
    expected = shown.expected(shown.part[query], log.item)
    listed = shown.known[query, -1] > 0
    columns = [np.ones(len(log)), log.reward, listed]
    for k in cut_offs:
        deepest = min(k, shown.items.shape[1]) - 1
        n = np.maximum(shown.known[query, deepest], 1)
        weights = (place <= deepest) / (n * log.propensity)
        of_policy = shown.earns[query, deepest] / n
        terms = doubly_robust(weights, log.reward, expected, of_policy)
        columns += [weights, weights * log.reward, np.where(listed, terms, 0.0)]
    return np.stack(columns, axis=1, dtype=np.float64)


@dataclass(frozen=True)
class _Found:
    """`means` float64[1 + resamples, columns]: of all users, then of resampled ones; `squares`
    float64[columns]: sums of the squares of users' sums."""

    means: Float64
    squares: Float64
    n_users: int
    level: float

    def policy(self, k: int, place: int) -> PolicyEstimate:
        """The estimates at a cut-off, or why there are none."""
        at = LISTED + 1 + 3 * place
        weights, weighted, terms = self.means[:, at : at + 3].T
        rows, listed = self.means[:, ROWS], self.means[:, LISTED]
        effective = self._effective(at)
        mean_weight = np.divide(weights, listed, out=np.zeros_like(weights), where=listed > 0)
        fit = bool(abs(mean_weight[0] - 1) <= FAR * mean_weight[1:].std())
        enough = effective >= LEAST_USERS
        snips = self_normalised(weighted, weights) * listed / rows
        return PolicyEstimate(
            k=k,
            effective_users=effective,
            mean_weight=float(mean_weight[0]),
            weights_fit=fit,
            snips=self.estimate("snips", snips) if enough else None,
            doubly_robust=self.estimate("doubly_robust", terms / rows) if enough else None,
            refused=None if enough else self._refusal(effective, weights_fit=fit),
        )

    def _effective(self, column: int) -> float:
        """Kish's size of the users, each with the sum of their rows' weights."""
        total = float(self.means[0, column]) * self.n_users
        return effective_sample_size(total, float(self.squares[column]))

    def _refusal(self, effective: float, *, weights_fit: bool) -> str:
        if not effective:
            return f"no logged row of {self.n_users:,} users shows what these lists would"
        found = f"{self.n_users:,} logged users tell as much as {effective:.0f}"
        if not weights_fit:
            return (
                f"{found}, as the log hardly shows what these lists would, or its chances are wrong"
            )
        wanted = math.ceil(self.n_users * LEAST_USERS / effective)
        return f"{found}, and {LEAST_USERS} are wanted: about {wanted:,} logged users would do"

    def estimate(self, name: str, values: Float64) -> Estimate:
        """The value of all users, and an interval from those of resampled ones."""
        low, high = interval(values[1:, None], level=self.level)
        return Estimate(
            mean=float(values[0]),
            low=float(low[0]),
            high=float(high[0]),
            definition=TEXTS[name],
        )
