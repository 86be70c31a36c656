"""Metrics beyond accuracy that have one value a query: what its list is like, whatever is relevant.

A query whose list has too few items for a value (none; one, where pairs are counted) has NaN, and
so has one without what the value is compared with (a history, a category).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from falconer.recsys.metrics.context import Context
from falconer.recsys.metrics.definition import LISTED_RULES, Definition
from falconer.recsys.metrics.ranked import Ranked

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]

ListMetric = Callable[[Ranked, Context, int], Float64]
"""(Q ranked lists, their context, k) -> float64[Q]; NaN where a query has no value."""

SKEW = 0.01
"""alpha of Steck 2018: keeps the divergence finite where a list lacks a category of the history."""
CELLS_AT_ONCE = 2**21


def serendipity(ranked: Ranked, context: Context, k: int) -> Float64:
    """Hits among the k first that are not among the k most popular items of train / k.

    >>> from falconer.pipelines.data.queries import Ragged
    >>> context = Context(np.array([8, 4, 2, 2]), Ragged.of([[0, 1]]), {})
    >>> serendipity(Ranked.of([[1, 3]], [{3}]), context, 2)
    array([0.5])
    """
    hits = ranked.hits_within(k)
    unexpected = context.popularity_rank[ranked.items[hits.row, hits.place]] >= k
    value = np.bincount(hits.row[unexpected], minlength=len(ranked.items)) / k
    return np.where(ranked.n_relevant > 0, value, np.nan)


def auc(ranked: Ranked, context: Context, k: int) -> Float64:
    """Share of (relevant, other) pairs of catalogue items in the right order; of two items beyond
    the list, one half.

    LAUC of Schröder, Thiele and Lehner 2011: the ROC curve of the list, drawn on as a straight line
    to its end.

    >>> from falconer.pipelines.data.queries import Ragged
    >>> context = Context(np.array([8, 4, 2, 2]), Ragged.of([[0, 1]]), {})
    >>> auc(Ranked.of([[1, 3]], [{3}]), context, 2)
    array([0.66666667])
    """
    listed = np.count_nonzero(ranked.items[:, :k] >= 0, axis=1)
    hits = ranked.hits_within(k)
    misses_above = _rank_among_listed(ranked, hits.row, hits.place) - (hits.number - 1)
    above = np.bincount(hits.row, weights=misses_above, minlength=len(ranked.items))
    n_hits = ranked.n_hits(k)
    others = context.n_items - ranked.n_relevant
    others_listed = listed - n_hits
    right = n_hits * others - above  # pairs whose relevant item is listed
    right = right + (ranked.n_relevant - n_hits) * (others - others_listed) / 2
    pairs = ranked.n_relevant * others
    return np.divide(right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def _rank_among_listed(
    ranked: Ranked, row: NDArray[np.int64], place: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Known items above each place of its own list: the place itself, less the empty places before
    it."""
    if not (ranked.items < 0).any():
        return place
    known = np.cumsum(ranked.items >= 0, axis=1)
    return np.asarray(known[row, place] - 1, np.int64)


def novelty(ranked: Ranked, context: Context, k: int) -> Float64:
    """Mean self-information of the listed items, in bits.

    >>> from falconer.pipelines.data.queries import Ragged
    >>> context = Context(np.array([8, 4, 2, 2]), Ragged.of([[0, 1]]), {})
    >>> novelty(Ranked.of([[1, 3]], [{3}]), context, 2)
    array([2.5])
    """
    return _mean_of_listed(ranked.items[:, :k], context.information)


def list_popularity(ranked: Ranked, context: Context, k: int) -> Float64:
    """Mean train events of the listed items.

    >>> from falconer.pipelines.data.queries import Ragged
    >>> context = Context(np.array([8, 4, 2, 2]), Ragged.of([[0, 1]]), {})
    >>> list_popularity(Ranked.of([[1, 3]], [{3}]), context, 2)
    array([3.])
    """
    return _mean_of_listed(ranked.items[:, :k], context.item_counts.astype(np.float64))


def _mean_of_listed(items: Int32, values: Float64) -> Float64:
    """float64[Q]: mean of `values` float64[n_items] over the items of each list; NaN for an empty
    one."""
    padded = np.concatenate([values, np.zeros(1)])  # what -1 falls on
    lengths = np.count_nonzero(items >= 0, axis=1)
    sums = np.concatenate(
        [padded[items[rows]].sum(axis=1) for rows in _blocks(len(items), items.shape[1])]
    )
    return np.divide(sums, lengths, out=np.full(len(items), np.nan), where=lengths > 0)


def diversity(ranked: Ranked, context: Context, k: int) -> Float64:
    """Mean over pairs of listed items of the share of categorical item features in which the two
    differ.

    >>> from falconer.pipelines.data.queries import Ragged
    >>> genres = {"genre": np.array([0, 0, 1, 1], np.int32)}
    >>> context = Context(np.ones(4, np.int64), Ragged.of([[0, 2]]), genres, "genre", 2)
    >>> diversity(Ranked.of([[0, 1, 2]], [{0}]), context, 3)
    array([0.66666667])
    """
    items = ranked.items[:, :k]
    lengths = np.count_nonzero(items >= 0, axis=1)
    pairs = lengths * (lengths - 1) / 2
    alike = np.zeros(len(items))
    for codes in context.categories.values():
        alike += np.concatenate(
            [_pairs_alike(items[rows], codes) for rows in _blocks(len(items), items.shape[1])]
        )
    differing = pairs - alike / max(1, len(context.categories))
    return np.divide(differing, pairs, out=np.full(len(items), np.nan), where=pairs > 0)


def _pairs_alike(items: Int32, codes: Int32) -> Float64:
    """float64[Q]: pairs of listed items of one category; an item without one is like no other."""
    listed = np.sort(np.where(items >= 0, codes[items], -1), axis=1)
    alike = np.zeros(len(items))
    run = np.zeros(len(items))
    for place in range(1, items.shape[1]):
        same = (listed[:, place] == listed[:, place - 1]) & (listed[:, place] >= 0)
        run = np.where(same, run + 1, 0)  # earlier items of the same category
        alike += run
    return alike


def miscalibration(ranked: Ranked, context: Context, k: int) -> Float64:
    """Kullback-Leibler divergence of the categories of history and list, in nats: Steck 2018.

    >>> from falconer.pipelines.data.queries import Ragged
    >>> genres = {"genre": np.array([0, 0, 1, 1], np.int32)}
    >>> context = Context(np.ones(4, np.int64), Ragged.of([[0, 2]]), genres, "genre", 2)
    >>> miscalibration(Ranked.of([[1, 3]], [{3}]), context, 2)
    array([0.])
    """
    if context.category is None:
        return np.full(len(ranked.items), np.nan)
    codes, n = context.categories[context.category], context.cardinality
    return np.concatenate(
        [
            _divergence(
                _shares(
                    context.history.slice(rows.start, rows.stop).rows,
                    past,
                    codes,
                    rows.stop - rows.start,
                    n,
                ),
                _shares(*_entries(ranked.items[rows, :k]), codes, rows.stop - rows.start, n),
            )
            for rows in _blocks(len(ranked.items), n)
            for past in [context.history.slice(rows.start, rows.stop).values.astype(np.int64)]
        ]
    )


def _entries(items: Int32) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    row, place = np.nonzero(items >= 0)
    return row, items[row, place].astype(np.int64)


def _shares(
    row: NDArray[np.int64], item: NDArray[np.int64], codes: Int32, n_rows: int, n_codes: int
) -> Float64:
    """float64[n_rows, n_codes]: share of each category among a row's items that have one; NaN
    without any."""
    code = codes[item]
    known = code >= 0
    cells = np.bincount(row[known] * n_codes + code[known], minlength=n_rows * n_codes).reshape(
        n_rows, n_codes
    )
    totals = cells.sum(axis=1, keepdims=True)
    return np.divide(cells, totals, out=np.full(cells.shape, np.nan), where=totals > 0)


def _divergence(history: Float64, listed: Float64) -> Float64:
    mixed = (1 - SKEW) * listed + SKEW * history
    ratio = np.divide(history, mixed, out=np.ones_like(mixed), where=history > 0)
    value = (np.nan_to_num(history) * np.log(ratio)).sum(axis=1)
    return np.where(np.isnan(mixed).any(axis=1), np.nan, value)


def _blocks(n_rows: int, width: int) -> Iterator[slice]:
    """Slices of all rows, of about `CELLS_AT_ONCE` cells each; one empty slice where there are no
    rows."""
    step = max(1, CELLS_AT_ONCE // max(1, width))
    for start in range(0, max(1, n_rows), step):
        yield slice(start, min(start + step, n_rows))


BEYOND_METRICS: Mapping[str, Definition[ListMetric]] = {
    "auc": Definition(
        auc,
        "Share of pairs of a relevant and another catalogue item that stand in the right order, "
        "with the first {k} "
        "places as the list; a pair of which neither is listed counts one half.",
        formula=(
            "(pairs in the right order + pairs beyond the list / 2) / (n_relevant * "
            "(n_items - n_relevant))"
        ),
        denominator="n_relevant * (n_items - n_relevant); no value where every item is relevant",
        source="Schröder, Thiele and Lehner 2011 (limited AUC); implicit computes the same",
    ),
    "serendipity": Definition(
        serendipity,
        "Hits among the first {k} that are not among the {k} most popular items of train, / {k}.",
        formula="sum(hit[r] and popularity_rank(item[r]) > {k} for r in 1..{k}) / {k}",
        denominator="{k}, however short the list",
        source=(
            "Ge et al. 2010, with the popularity list as primitive model, / {k} and not "
            "/ unexpected items"
        ),
    ),
    "novelty": Definition(
        novelty,
        "Mean over the listed items among the first {k} of -log2(train events of the item / all "
        "train events), in "
        "bits; an item without a train event counts as one with one.",
        formula="mean(-log2(max(1, count(item[r])) / n_train_events) for listed r in 1..{k})",
        denominator="number of listed items among the first {k}",
        source=(
            "Zhou et al. 2010 (self-information); shares of events as in Vargas and Castells 2011"
        ),
        rules=LISTED_RULES,
        bounds=(0, None),
        better="neither by itself",
    ),
    "list_popularity": Definition(
        list_popularity,
        "Mean number of train events of the listed items among the first {k}.",
        formula="mean(count(item[r]) for listed r in 1..{k})",
        denominator="number of listed items among the first {k}",
        source="Yin et al. 2012 (average recommendation popularity)",
        rules=LISTED_RULES,
        bounds=(0, None),
        better="neither by itself",
    ),
    "diversity": Definition(
        diversity,
        "Mean over the pairs of listed items among the first {k} of the share of categorical item "
        "features in which "
        "the two differ; an item without a category differs from all.",
        formula=(
            "mean(share of features f with f(a) != f(b) for pairs a, b of listed items "
            "among the first {k})"
        ),
        denominator="pairs of listed items; no value with fewer than two",
        source=(
            "Smyth and McClave 2001, Ziegler et al. 2005 (intra-list), with the overlap distance"
        ),
        rules=LISTED_RULES,
        better="neither by itself",
    ),
    "miscalibration": Definition(
        miscalibration,
        "Kullback-Leibler divergence, in nats, between the categories of the history (each event "
        "counts) and those of "
        "the listed items among the first {k}, smoothed with alpha = 0.01; 0 = the same shares.",
        formula="sum(p(c) * ln(p(c) / (0.99 * q(c) + 0.01 * p(c))) for categories c with p(c) > 0)",
        denominator="p and q are shares among events and items that have a category (the item "
        "feature that the "
        "evaluation's settings name, else the dataset's first); no value where there are none",
        source="Steck 2018",
        rules=LISTED_RULES,
        bounds=(0, None),
        better="lower",
    ),
}
"""Metrics of single lists by name, in the order in which reports print them."""

NEED_CATEGORIES = ("diversity", "miscalibration")
"""Metrics that only a dataset with a categorical item feature gives."""
