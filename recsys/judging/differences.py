"""Paired differences between runs that answered the same questions, each with its interval and
tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.statistics import significance
from falconer.pipelines.statistics.bootstrap import interval, resampled_means
from falconer.recsys.judging.reports import BaseReport, PairedDifference


class Judged(Protocol):
    """A report and the values behind its means."""

    @property
    def report(self) -> BaseReport:
        """Says who was judged, and how intervals are made."""

    def values(self, metric: str) -> NDArray[np.float64]:
        """float64[n] without NaN: of each query, user or row, the same ones in the same order for
        all."""


def paired_differences(judged: Sequence[Judged], metric: str) -> tuple[PairedDifference, ...]:
    """The difference of means of every two (first - second, in the given order), each on the same
    resamples.

    The p-values of the randomisation test are corrected for the number of pairs (Holm).
    """
    pairs = list(combinations(range(len(judged)), 2))
    if not pairs:
        return ()
    values, made = np.stack([one.values(metric) for one in judged], axis=1), judged[0].report
    firsts, seconds = (np.array(column) for column in zip(*pairs, strict=True))
    gaps = values[:, firsts] - values[:, seconds]
    means = resampled_means(values, resamples=made.resamples, seed=made.seed)
    resampled = means[:, firsts] - means[:, seconds]
    low, high = interval(resampled, level=made.level)
    p_bootstrap = significance.bootstrap_p(resampled)
    p_values = significance.randomisation_p(gaps, seed=made.seed).tolist()
    return tuple(
        PairedDifference(
            metric=metric,
            first=judged[first].report.label,
            second=judged[second].report.label,
            difference=float(gaps[:, place].mean()),
            low=low[place],
            high=high[place],
            n=len(values),
            level=made.level,
            p_bootstrap=p_bootstrap[place],
            p_randomisation=p_values[place],
            p_holm=p_holm,
            n_needed=significance.queries_needed(gaps[:, place], alpha=1 - made.level),
        )
        for place, ((first, second), p_holm) in enumerate(
            zip(pairs, significance.holm(p_values), strict=True)
        )
    )
