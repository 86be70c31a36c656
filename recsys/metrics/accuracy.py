"""Metrics of accuracy: one value a query, from its ranked list and its relevant items.

Common to all: the k first places of a list count; a list of fewer items is not made shorter in any
denominator: empty places miss. A query without a relevant item has no value (NaN), and a mean
leaves it out.

Hits are few, and found once for all metrics and cut-offs: functions work on `Ranked.hits_within`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.recsys.metrics.definition import Definition
from falconer.recsys.metrics.ranked import Metric, Ranked

Float64 = NDArray[np.float64]


def recall(ranked: Ranked, k: int) -> Float64:
    """Hits among the k first / relevant items.

    >>> recall(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.5])
    """
    return _divide(ranked.n_hits(k), ranked.n_relevant)


def capped_recall(ranked: Ranked, k: int) -> Float64:
    """Hits among the k first / min(k, relevant items): the "Recall@R" of Liang et al. 2018.

    >>> capped_recall(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.5])
    """
    return _divide(ranked.n_hits(k), np.minimum(ranked.n_relevant, k))


def precision(ranked: Ranked, k: int) -> Float64:
    """Hits among the k first / k.

    >>> precision(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.5])
    """
    return _where_relevant(ranked.n_hits(k) / k, ranked)


def r_precision(ranked: Ranked, k: int) -> Float64:
    """Hits among the first R / R, where R = min(k, relevant items): Buckley and Voorhees 2000, on a
    list cut at k.

    >>> r_precision(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.5])
    """
    hits = ranked.hits_within(k)
    depth = np.minimum(ranked.n_relevant, k)
    inside = hits.place < depth[hits.row]
    n_inside = np.bincount(hits.row[inside], minlength=len(ranked.hits))
    return _divide(n_inside.astype(np.float64), depth)


def hit_rate(ranked: Ranked, k: int) -> Float64:
    """1 where any of the k first is relevant, else 0.

    >>> hit_rate(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([1.])
    """
    return _where_relevant((ranked.n_hits(k) > 0).astype(np.float64), ranked)


def dcg(ranked: Ranked, k: int) -> Float64:
    """Sum over hits of 1 / log2(rank + 1), ranks from 1: Järvelin and Kekäläinen 2002, not
    normalised.

    >>> dcg(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.63092975])
    """
    return _where_relevant(_sum_over_hits(ranked, _discount(k)), ranked)


def ndcg(ranked: Ranked, k: int) -> Float64:
    """Sum over hits of 1 / log2(rank + 1), ranks from 1, / the same sum over ranks 1 to min(k,
    relevant items).

    Järvelin and Kekäläinen 2002, with binary gains and the discount log2(rank + 1) of Burges et al.
    2005.

    >>> ndcg(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.38685281])
    """
    return _normalised(ranked, _discount(k))


def ndcg_k_ideal(ranked: Ranked, k: int) -> Float64:
    """The sum of `dcg` / the same sum over ranks 1 to k, however few items are relevant.

    >>> ndcg_k_ideal(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.38685281])
    """
    return _where_relevant(_sum_over_hits(ranked, _discount(k)) / _discount(k).sum(), ranked)


def ndcg_log_rank(ranked: Ranked, k: int) -> Float64:
    """As `ndcg`, with the discount max(1, log2(rank)), which the first two ranks share: Järvelin
    and Kekäläinen 2002.

    Their equation 2 with b = 2.

    >>> ndcg_log_rank(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.5])
    """
    return _normalised(ranked, 1 / np.maximum(1, np.log2(np.arange(k) + 1.0)))


def mrr(ranked: Ranked, k: int) -> Float64:
    """1 / rank of the first hit among the k first, 0 without one: Voorhees 1999.

    >>> mrr(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.5])
    """
    hits = ranked.hits_within(k)
    first = hits.number == 1
    value = np.zeros(len(ranked.hits))
    value[hits.row[first]] = 1 / (hits.place[first] + 1.0)
    return _where_relevant(value, ranked)


def average_precision(ranked: Ranked, k: int) -> Float64:
    """Sum over hits among the k first of the precision at their rank / relevant items: Buckley and
    Voorhees 2000.

    >>> average_precision(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.25])
    """
    return _divide(_precision_at_hits(ranked, k), ranked.n_relevant)


def capped_average_precision(ranked: Ranked, k: int) -> Float64:
    """The sum of `average_precision` / min(k, relevant items).

    >>> capped_average_precision(Ranked.of([[3, 1, 2]], [{1, 9}]), 2)
    array([0.25])
    """
    return _divide(_precision_at_hits(ranked, k), np.minimum(ranked.n_relevant, k))


def _precision_at_hits(ranked: Ranked, k: int) -> Float64:
    """float64[Q]: sum over hits among the k first of the precision at their rank."""
    hits = ranked.hits_within(k)
    precisions = hits.number / (hits.place + 1.0)
    return np.asarray(
        np.bincount(hits.row, weights=precisions, minlength=len(ranked.hits)), np.float64
    )


def _discount(k: int) -> Float64:
    return np.asarray(1 / np.log2(np.arange(k) + 2.0), np.float64)


def _sum_over_hits(ranked: Ranked, weights: Float64) -> Float64:
    """float64[Q]: the sum of `weights` float64[k] at the places of the hits among the k first."""
    hits = ranked.hits_within(len(weights))
    return np.asarray(
        np.bincount(hits.row, weights=weights[hits.place], minlength=len(ranked.hits)), np.float64
    )


def _normalised(ranked: Ranked, weights: Float64) -> Float64:
    ideal = np.concatenate([np.zeros(1), np.cumsum(weights)])
    return _divide(
        _sum_over_hits(ranked, weights), ideal[np.minimum(ranked.n_relevant, len(weights))]
    )


def _divide(value: Float64, by: NDArray[Any]) -> Float64:
    return np.divide(value, by, out=np.full(len(value), np.nan), where=by > 0)


def _where_relevant(value: Float64, ranked: Ranked) -> Float64:
    return np.where(ranked.n_relevant > 0, value, np.nan)


METRICS: Mapping[str, Definition[Metric]] = {
    "recall": Definition(
        recall,
        "Hits among the first {k} / number of relevant items. Below 1 even for a perfect list "
        "where a query has more "
        "than {k} relevant items.",
        formula="sum(hit[r] for r in 1..{k}) / n_relevant",
        denominator=(
            "n_relevant, the number of the query's relevant items in the catalogue and the view"
        ),
        source="Standard definition; called recall@{k} by RecTools, ranx and TREC",
    ),
    "capped_recall": Definition(
        capped_recall,
        "Hits among the first {k} / min({k}, number of relevant items), so that a perfect list has "
        "1.",
        formula="sum(hit[r] for r in 1..{k}) / min({k}, n_relevant)",
        denominator="min({k}, n_relevant)",
        source="Liang et al. 2018 (there called Recall@R)",
    ),
    "precision": Definition(
        precision,
        "Hits among the first {k} / {k}, also where a list is shorter.",
        formula="sum(hit[r] for r in 1..{k}) / {k}",
        denominator="{k}, however short the list",
        source=(
            "Standard definition (implicit's `precision` is another: all hits / sum of "
            "min({k}, relevant items))"
        ),
    ),
    "r_precision": Definition(
        r_precision,
        "Hits among the first R / R, where R = min({k}, number of relevant items).",
        formula="R = min({k}, n_relevant); sum(hit[r] for r in 1..R) / R",
        denominator=(
            "R = min({k}, n_relevant): the whole n_relevant where the list is cut no earlier"
        ),
        source="Buckley and Voorhees 2000, on lists cut at {k}",
    ),
    "hit_rate": Definition(
        hit_rate,
        "1 where at least one of the first {k} is relevant, else 0.",
        formula="max(hit[r] for r in 1..{k})",
        denominator="1",
        source="He et al. 2017 (there called HR@{k})",
    ),
    "ndcg": Definition(
        ndcg,
        "Sum over the hits among the first {k} of 1 / log2(rank + 1), ranks from 1, / the same sum "
        "of an ideal list, "
        "which has min({k}, number of relevant items) hits at its top. Gains are binary.",
        formula=(
            "sum(hit[r] / log2(r + 1) for r in 1..{k}) / sum(1 / log2(r + 1) for r in "
            "1..min({k}, n_relevant))"
        ),
        denominator="the sum of an ideal list: min({k}, n_relevant) hits at its top",
        source="Järvelin and Kekäläinen 2002; discount log2(rank + 1) of Burges et al. 2005",
    ),
    "ndcg_log_rank": Definition(
        ndcg_log_rank,
        "As ndcg@{k}, with the discount max(1, log2(rank)): the first two ranks count alike.",
        formula=(
            "sum(hit[r] / max(1, log2(r)) for r in 1..{k}) / the same sum over r in "
            "1..min({k}, n_relevant)"
        ),
        denominator="the sum of an ideal list: min({k}, n_relevant) hits at its top",
        source="Järvelin and Kekäläinen 2002, equation 2 with b = 2",
    ),
    "ndcg_k_ideal": Definition(
        ndcg_k_ideal,
        "As ndcg@{k}, / the sum of a list of {k} hits, also where fewer items are relevant: no "
        "list of such a query "
        "reaches 1.",
        formula="sum(hit[r] / log2(r + 1) for r in 1..{k}) / sum(1 / log2(r + 1) for r in 1..{k})",
        denominator="the sum of a list of {k} hits, however few items are relevant",
        source="The convention of RecTools' NDCG unless divide_by_achievable is set",
    ),
    "dcg": Definition(
        dcg,
        "Sum over the hits among the first {k} of 1 / log2(rank + 1), ranks from 1; not "
        "normalised.",
        formula="sum(hit[r] / log2(r + 1) for r in 1..{k})",
        denominator="1",
        source="Järvelin and Kekäläinen 2002; discount log2(rank + 1) of Burges et al. 2005",
        bounds=(0, None),
    ),
    "map": Definition(
        average_precision,
        "Sum over the hits among the first {k} of the precision at their rank, / number of "
        "relevant items. Below 1 "
        "even for a perfect list where a query has more than {k} relevant items.",
        formula="sum(hit[r] * (hits among the first r) / r for r in 1..{k}) / n_relevant",
        denominator="n_relevant",
        source="Buckley and Voorhees 2000 (mean average precision), on lists cut at {k}",
    ),
    "capped_map": Definition(
        capped_average_precision,
        "Sum over the hits among the first {k} of the precision at their rank, / min({k}, number "
        "of relevant items), "
        "so that a perfect list has 1.",
        formula="sum(hit[r] * (hits among the first r) / r for r in 1..{k}) / min({k}, n_relevant)",
        denominator="min({k}, n_relevant)",
        source="The convention of implicit, RecBole and recommenders",
    ),
    "mrr": Definition(
        mrr,
        "1 / rank of the first hit among the first {k}, 0 where there is none.",
        formula="1 / min(r in 1..{k} where hit[r]), 0 where there is none",
        denominator="rank of the first hit",
        source="Voorhees 1999 (mean reciprocal rank)",
    ),
}
"""Metrics of accuracy by name, in the order in which reports print them."""
