"""What each metric is: its function, its definition in words, and where it comes from.

A metric's name alone says little (the same lists get several values of "ndcg" and "recall" from several libraries),
so every value that leaves this project carries the definition that is printed here. Common to all:

- the k first places of a list count; a list of fewer items is not made shorter in any denominator: empty places miss;
- order among equal scores is not the metric's business: a list comes ranked, ties broken by item id (`recsys.ranking`);
- a query without a relevant item has no value (NaN), and a mean leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.api import Metric, Ranked

Float64 = NDArray[np.float64]

ListMetric = Callable[[NDArray[np.int32], int, int], float]
"""(items int32[Q, K] with -1 for no item, n_items, k) -> one value for all lists together."""

COMMON_RULES = (
    "Mean over the queries with a relevant item in the catalogue and the view. Places beyond the end of a short list, "
    "unknown items and repeated items are misses. Lists come ranked: score descending, ties by item id."
)


@dataclass(frozen=True)
class Definition:
    """One metric of queries: `function` gives one value a query; `text` and `source` say what the value means."""

    function: Metric
    text: str
    source: str


@dataclass(frozen=True)
class ListDefinition:
    """One metric of all lists together."""

    function: ListMetric
    text: str
    source: str


def n_hits(ranked: Ranked, k: int) -> Float64:
    """float64[Q]: relevant items among the k first."""
    return np.asarray(np.count_nonzero(ranked.hits[:, :k], axis=1), np.float64)


def recall(ranked: Ranked, k: int) -> Float64:
    """Hits among the k first / relevant items."""
    return _divide(n_hits(ranked, k), ranked.n_relevant)


def capped_recall(ranked: Ranked, k: int) -> Float64:
    """Hits among the k first / min(k, relevant items): the "Recall@R" of Liang et al. 2018."""
    return _divide(n_hits(ranked, k), np.minimum(ranked.n_relevant, k))


def precision(ranked: Ranked, k: int) -> Float64:
    """Hits among the k first / k."""
    return _where_relevant(n_hits(ranked, k) / k, ranked)


def hit_rate(ranked: Ranked, k: int) -> Float64:
    """1 where any of the k first is relevant, else 0."""
    return _where_relevant((n_hits(ranked, k) > 0).astype(np.float64), ranked)


def ndcg(ranked: Ranked, k: int) -> Float64:
    """Sum over hits of 1 / log2(rank + 1), ranks from 1, / the same sum over ranks 1 to min(k, relevant items).

    Järvelin and Kekäläinen 2002, with binary gains and the discount log2(rank + 1) of Burges et al. 2005.
    """
    discount = 1 / np.log2(np.arange(k) + 2.0)
    row, place = np.nonzero(ranked.hits[:, :k])
    gained = np.asarray(np.bincount(row, weights=discount[place], minlength=len(ranked.hits)), np.float64)
    ideal = np.concatenate([np.zeros(1), np.cumsum(discount)])
    return _divide(gained, ideal[np.minimum(ranked.n_relevant, k)])


def coverage(items: NDArray[np.int32], n_items: int, k: int) -> float:
    """Distinct items among the k first of any list / items of the catalogue."""
    listed = np.zeros(n_items + 1, np.bool_)
    listed[items[:, :k]] = True  # -1 falls on the last place, which is no item
    return float(np.count_nonzero(listed[:n_items]) / n_items)


def _divide(value: Float64, by: NDArray[Any]) -> Float64:
    return np.divide(value, by, out=np.full(len(value), np.nan), where=by > 0)


def _where_relevant(value: Float64, ranked: Ranked) -> Float64:
    return np.where(ranked.n_relevant > 0, value, np.nan)


METRICS: Mapping[str, Definition] = {
    "recall": Definition(
        recall,
        "Hits among the first {k} / number of relevant items. Below 1 even for a perfect list where a query has more "
        "than {k} relevant items.",
        "Standard definition; called recall@{k} by RecTools, ranx and TREC",
    ),
    "capped_recall": Definition(
        capped_recall,
        "Hits among the first {k} / min({k}, number of relevant items), so that a perfect list has 1.",
        "Liang et al. 2018 (there called Recall@R)",
    ),
    "precision": Definition(
        precision,
        "Hits among the first {k} / {k}, also where a list is shorter.",
        "Standard definition (implicit's `precision` is another: all hits / sum of min({k}, relevant items))",
    ),
    "hit_rate": Definition(
        hit_rate,
        "1 where at least one of the first {k} is relevant, else 0.",
        "He et al. 2017 (there called HR@{k})",
    ),
    "ndcg": Definition(
        ndcg,
        "Sum over the hits among the first {k} of 1 / log2(rank + 1), ranks from 1, / the same sum of an ideal list, "
        "which has min({k}, number of relevant items) hits at its top. Gains are binary.",
        "Järvelin and Kekäläinen 2002; discount log2(rank + 1) of Burges et al. 2005",
    ),
}
"""Metrics of queries by name, in the order in which reports print them."""

LIST_METRICS: Mapping[str, ListDefinition] = {
    "coverage": ListDefinition(
        coverage,
        "Distinct items among the first {k} of any query's list / number of items of the catalogue. Over all queries, "
        "those without a relevant item too; no interval, since it is no mean over queries.",
        "Herlocker et al. 2004 (catalog coverage)",
    ),
}
"""Metrics of all lists together by name."""


def definition_of(name: str, k: int) -> str:
    """The definition of a metric at cut-off k in words, with its common rules and its source; `KeyError` if unknown."""
    if name in LIST_METRICS:
        listed = LIST_METRICS[name]
        return f"{listed.text} Source: {listed.source}.".format(k=k)
    found = METRICS[name]
    return f"{found.text} {COMMON_RULES} Source: {found.source}.".format(k=k)
