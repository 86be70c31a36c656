"""Metrics of all lists together: how evenly items are shown, and how far lists are from what users
take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from falconer.recsys.metrics.beyond import list_popularity
from falconer.recsys.metrics.context import GROUPS, Context
from falconer.recsys.metrics.definition import ALL_LISTS_RULES, Definition
from falconer.recsys.metrics.ranked import Ranked

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Exposure:
    """What the first k places of all Q lists show. That of several blocks of lists is their sum.

    counts              int64[n_items]  lists that an item is in
    list_popularity     float64[4]      sum over queries with a list and a history of the mean train
                                        events of the
                                        listed items: queries of each of `GROUPS`, then those of
                                        none
    history_popularity  float64[4]      the same of the mean train events of the history's items
    """

    counts: NDArray[np.int64]
    list_popularity: Float64
    history_popularity: Float64

    @classmethod
    def of(
        cls,
        ranked: Ranked,
        context: Context,
        k: int,
        *,
        counts: NDArray[np.int64] | None = None,
        popularity: bool = True,
    ) -> Exposure:
        """Of the k first places of these lists; `counts` where they are known. Without `popularity`
        the sums are 0."""
        counts = counts_of(ranked.items[:, :k], context.n_items) if counts is None else counts
        if not popularity:
            return cls(counts, np.zeros(len(GROUPS) + 1), np.zeros(len(GROUPS) + 1))
        listed, past = list_popularity(ranked, context, k), context.history_popularity
        both = ~np.isnan(listed) & ~np.isnan(past)
        masks = [both & (context.group == place) for place in (*range(len(GROUPS)), -1)]
        sums = np.array([[values[mask].sum() for mask in masks] for values in (listed, past)])
        return cls(counts, sums[0], sums[1])

    def __add__(self, other: Exposure) -> Exposure:
        return Exposure(
            self.counts + other.counts,
            self.list_popularity + other.list_popularity,
            self.history_popularity + other.history_popularity,
        )


def counts_of(items: NDArray[np.int32], n_items: int) -> NDArray[np.int64]:
    """int64[n_items]: how often each item stands in `items` int32[Q, k], where -1 is none."""
    return np.bincount(items.ravel() + 1, minlength=n_items + 1)[
        1:
    ]  # -1 falls on the first, which goes


ExposureMetric = Callable[[Exposure], float]
"""One value for all lists together; NaN where there is none."""


def coverage(shown: Exposure) -> float:
    """Distinct items in any list / items of the catalogue.

    >>> shown = Exposure(np.array([2, 1, 1, 0]), np.array([6.0, 0, 0, 0]), np.array([4.0, 0, 0, 0]))
    >>> coverage(shown)
    0.75
    """
    return float(np.count_nonzero(shown.counts) / len(shown.counts))


def gini(shown: Exposure) -> float:
    """Gini index of the lists that each catalogue item is in: 0 = all alike, near 1 = one item
    takes all.

    >>> shown = Exposure(np.array([2, 1, 1, 0]), np.array([6.0, 0, 0, 0]), np.array([4.0, 0, 0, 0]))
    >>> gini(shown)
    0.375
    """
    counts, n = np.sort(shown.counts), len(shown.counts)
    total = counts.sum()
    if not total:
        return float("nan")
    return float(((2 * np.arange(1, n + 1) - n - 1) * counts).sum() / (n * total))


def shannon(shown: Exposure) -> float:
    """Entropy, in bits, of the shares of list places that items take.

    >>> shown = Exposure(np.array([2, 1, 1, 0]), np.array([6.0, 0, 0, 0]), np.array([4.0, 0, 0, 0]))
    >>> shannon(shown)
    1.5
    """
    counts = shown.counts[shown.counts > 0]
    if not len(counts):
        return float("nan")
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum() + 0.0)


def popularity_lift(shown: Exposure, *, group: str | None = None) -> float:
    """Mean popularity of lists / mean popularity of histories - 1, over users (of a group) that
    have both.

    >>> shown = Exposure(np.array([2, 1, 1, 0]), np.array([6.0, 0, 0, 0]), np.array([4.0, 0, 0, 0]))
    >>> popularity_lift(shown)
    0.5
    """
    chosen = slice(None) if group is None else slice(GROUPS.index(group), GROUPS.index(group) + 1)
    before = shown.history_popularity[chosen].sum()
    return float(shown.list_popularity[chosen].sum() / before - 1) if before else float("nan")


def _lift_in(group: str, which: str) -> Definition[ExposureMetric]:
    return Definition(
        partial(popularity_lift, group=group),
        f"As popularity_lift@{{k}}, over {which} by the share of the most popular 20 % of items in "
        f"their history.",
        formula="mean list_popularity / mean history_popularity - 1, both over the group's users",
        denominator="mean over the group's users of the mean train events of their history's items",
        source="Abdollahpouri et al. 2019 and 2020",
        rules=ALL_LISTS_RULES,
        without_relevant="Counts as any other.",
        bounds=(-1, None),
        better="nearer to 0",
    )


LIST_METRICS: Mapping[str, Definition[ExposureMetric]] = {
    "coverage": Definition(
        coverage,
        "Distinct items among the first {k} of any query's list / number of items of the "
        "catalogue.",
        formula="|union of the first {k} items of all lists| / n_items",
        denominator="n_items, the items of the catalogue",
        source="Herlocker et al. 2004 (catalog coverage)",
        rules=ALL_LISTS_RULES,
        without_relevant="Counts as any other.",
        better="neither by itself",
    ),
    "gini": Definition(
        gini,
        "Gini index of the number of lists that each catalogue item is in among the first {k}: 0 "
        "where all items are "
        "shown alike, near 1 where one item takes every place. Items that are never shown count.",
        formula=(
            "sum((2 i - n_items - 1) * c[i] for i in 1..n_items) / (n_items * sum(c)), c "
            "= counts, ascending"
        ),
        denominator="n_items * number of listed places",
        source="Shani and Gunawardana 2011; Fleder and Hosanagar 2009",
        rules=ALL_LISTS_RULES,
        without_relevant="Counts as any other.",
        better="lower is more even",
    ),
    "shannon": Definition(
        shannon,
        "Entropy, in bits, of the items' shares of all listed places among the first {k}: log2(n) "
        "where n items are "
        "shown alike.",
        formula="-sum(p[i] * log2(p[i]) for items i that are shown), p = share of listed places",
        denominator="number of listed places, within the shares",
        source="Shannon 1948; for recommendations Shani and Gunawardana 2011",
        rules=ALL_LISTS_RULES,
        without_relevant="Counts as any other.",
        bounds=(0, None),
        better="higher is more even",
    ),
    "popularity_lift": Definition(
        popularity_lift,
        "Mean over users of the mean number of train events of the first {k} listed items / the "
        "same mean over the "
        "items of their histories, less 1: how much more popular lists are than what these users "
        "take.",
        formula=(
            "mean list_popularity / mean history_popularity - 1, over users with a list "
            "and a history"
        ),
        denominator="mean over users of the mean train events of their history's items",
        source="Abdollahpouri et al. 2019 and 2020",
        rules=ALL_LISTS_RULES,
        without_relevant="Counts as any other.",
        bounds=(-1, None),
        better="nearer to 0",
    ),
    "popularity_lift_niche": _lift_in("niche", "the lowest 20 % of users"),
    "popularity_lift_diverse": _lift_in("diverse", "the middle 60 % of users"),
    "popularity_lift_blockbuster": _lift_in("blockbuster", "the highest 20 % of users"),
}
"""Metrics of all lists together by name."""
