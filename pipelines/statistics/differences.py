"""Paired differences between models that answered the same questions, each with its interval and
tests.

A question is what one value of a metric belongs to: a query, a user, a row, an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.config import Config
from falconer.pipelines.statistics import significance
from falconer.pipelines.statistics.bootstrap import interval, resampled_means

Float64 = NDArray[np.float64]


class Estimate(Config):
    """A mean over questions with its bootstrap interval; the interval is None for what is no mean
    over questions."""

    mean: float
    low: float | None = None
    high: float | None = None
    definition: str

    @property
    def ends(self) -> str:
        """The interval as it follows a value in a line of text; empty where there is none."""
        return "" if self.low is None else f" ({self.low:.4f} to {self.high:.4f})"


class ReportFacts(Protocol):
    """What a comparison needs to know of a report: who was judged on what, and how its intervals
    were made."""

    @property
    def label(self) -> str:
        """Short name to print."""

    @property
    def run(self) -> str | None:
        """Name of the run directory, if there is one."""

    @property
    def model(self) -> str | None:
        """The registered model behind it, if there is one."""

    @property
    def dataset_id(self) -> str:
        """The data that the questions are of."""

    @property
    def content(self) -> str | None:
        """A hash of what that data holds, if it is known."""

    @property
    def fold(self) -> str:
        """The part of the data."""

    @property
    def metrics(self) -> Mapping[str, Estimate]:
        """Name -> estimate."""

    @property
    def level(self) -> float:
        """Of the intervals, such as 0.95."""

    @property
    def resamples(self) -> int:
        """Of the bootstrap."""

    @property
    def seed(self) -> int:
        """Of the bootstrap and the flips."""


class Judged(Protocol):
    """A report and the values behind its means."""

    @property
    def report(self) -> ReportFacts:
        """Says who was judged, and how intervals are made."""

    def values(self, metric: str) -> Float64:
        """float64[n] without NaN: of each question, the same ones in the same order for all."""


class Difference(Config):
    """Mean over questions of (first - second) on one metric, both on the same questions, with its
    interval and the p-value of the randomisation test, corrected for all tests made together
    (Holm)."""

    metric: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    n: int
    level: float = 0.95
    p_holm: float
    p_is_bound: bool = False
    """Whether no flip was as far as what was observed: `p_holm` is then "at most"."""

    @property
    def reaches_zero(self) -> bool:
        """Whether zero is in the interval: the difference is within the noise."""
        return self.low <= 0 <= self.high

    @property
    def separated(self) -> bool:
        """Whether the interval leaves zero out and the corrected test agrees: only then is one
        model called better."""
        return not self.reaches_zero and self.p_holm <= 1 - self.level

    @property
    def in_words(self) -> str:
        """ "told apart", or why not."""
        if self.separated:
            return "told apart"
        return "within the noise" if self.reaches_zero else "not told apart after correction"


class PairedDifference(Difference):
    """The difference of two models over all questions."""

    p_bootstrap: float
    p_randomisation: float
    n_needed: int | None = None
    """Questions that would show a difference like this one with power 0.8; None where the means are
    the same."""


def paired_differences(judged: Sequence[Judged], metric: str) -> tuple[PairedDifference, ...]:
    """The difference of means of every two (first - second, in the given order), each on the same
    resamples.

    The p-values of the randomisation test are corrected for the number of pairs (Holm); there are
    enough flips for that correction to leave something to be found.
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
    tests = significance.randomisation_tests(
        values, seed=made.seed, alpha=1 - made.level, pairs=(firsts, seconds)
    )
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
            p_randomisation=tests.p[place],
            p_holm=tests.p_holm[place],
            p_is_bound=tests.is_bound[place],
            n_needed=significance.queries_needed(gaps[:, place], alpha=1 - made.level),
        )
        for place, (first, second) in enumerate(pairs)
    )
