"""Metrics of parts of the queries: by activity, popularity of what was chosen, new users, and every
category.

A slicing of queries puts each query into one group. A slicing of items lets only the relevant items
of one group count, so that a query takes part in every group that it has a relevant item of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.data.schema import Feature, Fold
from falconer.pipelines.errors import ArtifactError
from falconer.recsys.metrics.context import item_counts
from falconer.recsys.metrics.ranked import Metric, Ranked

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]

ACTIVITY_GROUPS = 4
CATEGORIES = 8
"""So many of a feature's categories have a group of their own, the most frequent; the rest are
together."""
HEAD, MIDDLE = 0.5, 0.8
QUERIES_AT_ONCE = 2**14
ACTIVITY, USER, POPULARITY = "history length", "user", "popularity of the chosen item"
OF_ITEM = " of the chosen item"
"""Behind the name of an item's feature."""
MARK = " where "
"""Between the metric and the group in the name of a column of `per_query.parquet`."""


@dataclass(frozen=True)
class Slicing:
    """One way to cut: `codes` int32[n_queries] or int32[n_items] holds a row of `groups`, -1 = in
    none."""

    name: str
    of: Literal["query", "item"]
    groups: tuple[str, ...]
    codes: Int32


def slicings(data: Dataset, fold: Fold) -> tuple[Slicing, ...]:
    """All that the dataset allows: a cut that would leave everything in one group is not among
    them."""
    features = [feature for feature in data.card.features if feature.kind == "categorical"]
    lengths, user, categories = _outline(data, fold, [feature.name for feature in features])
    of_queries = [feature for feature in features if feature.name in categories]
    found = [
        activity(lengths),
        new_users(user),
        popularity(item_counts(data)),
        *(by_category(data, feature, "query", categories[feature.name]) for feature in of_queries),
        *(_of_item(data, feature) for feature in features if feature.table == "item"),
    ]
    return tuple(slicing for slicing in found if len(slicing.groups) > 1)


def names_of_slicings(data: Dataset) -> tuple[str, ...]:
    """All that there can be, in whatever window: some leave everything in one group, and are not
    among `slicings` then."""
    features = [feature for feature in data.card.features if feature.kind == "categorical"]
    of_items = [f"{feature.name}{OF_ITEM}" for feature in features if feature.table == "item"]
    of_users = [feature.name for feature in features if feature.table == "user"]
    return (ACTIVITY, USER, POPULARITY, *of_users, *of_items)


def _outline(
    data: Dataset, fold: Fold, features: Sequence[str]
) -> tuple[NDArray[np.int64], Int32, dict[str, NDArray[Any]]]:
    """Of all queries: lengths of histories, users, and those of the features that queries have."""
    blocks = [
        (
            queries.history.lengths,
            queries.user,
            {name: queries.features.get(name) for name in features},
        )
        for _, queries in data.query_blocks(fold, QUERIES_AT_ONCE)
    ]
    lengths = np.concatenate([np.empty(0, np.int64), *(block[0] for block in blocks)])
    user = np.concatenate([np.empty(0, np.int32), *(block[1] for block in blocks)])
    categories = {name: [block[2][name] for block in blocks] for name in features}
    known = {
        name: [part for part in parts if part is not None] for name, parts in categories.items()
    }
    return lengths, user, {name: np.concatenate(parts) for name, parts in known.items() if parts}


def activity(lengths: NDArray[np.int64]) -> Slicing:
    """Queries by the length of their history, cut at its quartiles; those without one are a group
    of their own."""
    some = lengths[lengths > 0]
    shares = np.arange(1, ACTIVITY_GROUPS) / ACTIVITY_GROUPS
    inner = np.quantile(some, shares, method="inverted_cdf") if len(some) else []
    codes = np.where(lengths > 0, 1 + np.searchsorted(np.unique(inner), lengths, side="left"), 0)
    return _named(ACTIVITY, "query", codes, lambda code: _span(lengths[codes == code], "events"))


def _span(values: NDArray[np.int64], unit: str) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def new_users(user: Int32) -> Slicing:
    """Queries of users in the vocabulary, and of users outside it."""
    names = ("known user", "new user")
    return _named(USER, "query", (user < 0).astype(np.int32), lambda code: names[code])


def popularity(counts: NDArray[np.int64]) -> Slicing:
    """Items by their train events: the most popular that have half of them, the next up to 80 %,
    the rest, and none.

    Items of equal popularity are in one group.
    """
    falling = np.sort(counts)[::-1]
    before = np.concatenate([np.zeros(1), np.cumsum(falling)])[
        np.searchsorted(-falling, -counts, side="left")
    ]
    codes = np.searchsorted([HEAD * counts.sum(), MIDDLE * counts.sum()], before, side="right")
    codes = np.where(counts > 0, codes, 3)
    names = ("head, half of all events", "middle, up to 80 %", "tail, the rest", "not in train")
    return _named(POPULARITY, "item", codes, lambda code: names[code])


def _of_item(data: Dataset, feature: Feature) -> Slicing:
    return by_category(data, feature, "item", data.items.column(feature.column).to_numpy())


def by_category(
    data: Dataset, feature: Feature, of: Literal["query", "item"], ids: NDArray[Any]
) -> Slicing:
    """The most frequent categories, all others together, and what has none."""
    counts = np.bincount(ids[ids >= 0], minlength=feature.cardinality or 0)
    kept = [int(code) for code in np.argsort(-counts, kind="stable")[:CATEGORIES] if counts[code]]
    place = np.full(len(counts) + 1, len(kept), np.int32)  # the last entry is what -1 falls on
    place[kept] = np.arange(len(kept))
    place[-1] = len(kept) + 1
    values = _categories(data, feature)
    names = [*(values.get(code, f"bucket {code}") for code in kept), "all other values", "no value"]
    name = f"{feature.name}{OF_ITEM}" if of == "item" else feature.name
    return _named(name, of, place[ids], lambda code: names[code])


def _categories(data: Dataset, feature: Feature) -> dict[int, str]:
    """Id -> the source's own value; empty for a feature without a vocabulary (buckets of a
    number)."""
    try:
        table = data.table(feature.vocabulary_file)
    except ArtifactError:
        return {}
    return dict(zip(table["id"].to_pylist(), map(str, table["value"].to_pylist()), strict=True))


def _named(
    name: str, of: Literal["query", "item"], codes: NDArray[Any], name_of: Callable[[int], str]
) -> Slicing:
    """A slicing of the groups that have a member, in the order of their codes."""
    used, dense = np.unique(codes, return_inverse=True)
    return Slicing(name, of, tuple(name_of(int(code)) for code in used), dense.astype(np.int32))


def columns(
    metric: str,
    function: Metric,
    ranked: Ranked,
    relevant: Ragged,
    chosen: Sequence[Slicing],
    *,
    first: int = 0,
) -> dict[str, Float64]:
    """Name -> float64[Q]: the metric ("ndcg@10") in each group, NaN for a query that takes no part
    in it.

    `ranked` and `relevant` (the relevant items) are those of the queries from row `first` of the
    fold on.
    """
    k = int(metric.partition("@")[2])
    ranked = Ranked(ranked.items[:, :k], ranked.hits[:, :k], ranked.n_relevant)
    everywhere = function(ranked, k)
    found: dict[str, Float64] = {}
    for slicing in chosen:
        for code, group in enumerate(slicing.groups):
            if slicing.of == "query":
                codes = slicing.codes[first : first + len(everywhere)]
                value = np.where(codes == code, everywhere, np.nan)
            else:
                value = function(_only(ranked, relevant, slicing.codes == code), k)
            found[column(metric, slicing.name, group)] = value
    return found


def _only(ranked: Ranked, relevant: Ragged, counts: NDArray[np.bool_]) -> Ranked:
    """The same lists where only the items in `counts` bool[n_items] can be relevant."""
    rows = relevant.rows[counts[relevant.values.astype(np.int64)]]
    n_relevant = np.bincount(rows, minlength=len(relevant))
    return Ranked(ranked.items, ranked.hits & counts[ranked.items], n_relevant)


def column(metric: str, slicing: str, group: str) -> str:
    """The name of a group's column in `per_query.parquet`."""
    return f"{metric}{MARK}{slicing} = {group}"


def is_slice(name: str) -> bool:
    """Whether a column of `per_query.parquet` is that of a group."""
    return MARK in name


def parse(name: str) -> tuple[str, str, str]:
    """Metric, slicing and group of such a column."""
    metric, _, rest = name.partition(MARK)
    slicing, _, group = rest.partition(" = ")
    return metric, slicing, group


def sliced_metric(cut_offs: Sequence[int]) -> str:
    """The metric that is sliced: ndcg at the cut-off nearest to 10."""
    return f"ndcg@{min(cut_offs, key=lambda k: (abs(k - 10), k))}"
