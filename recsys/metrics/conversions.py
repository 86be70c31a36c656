"""What the values of other libraries are, computed from ours (`falconer.recsys.metrics.translate`
has the table)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Ragged
from falconer.recsys.metrics.accuracy import METRICS
from falconer.recsys.metrics.beyond import BEYOND_METRICS
from falconer.recsys.metrics.context import Context
from falconer.recsys.metrics.exposure import LIST_METRICS, Exposure
from falconer.recsys.metrics.ranked import Ranked

Float64 = NDArray[np.float64]
LN_2 = float(np.log(2))


@dataclass(frozen=True)
class Values:
    """Our values on ranked lists at cut-off `k`, where train has `item_counts` int64[n_items] of
    `n_users` users."""

    ranked: Ranked
    item_counts: NDArray[np.int64]
    n_users: int
    k: int

    def each(self, name: str, *, k: int | None = None) -> Float64:
        """float64[Q]: one of our metrics with one value a query; NaN without a relevant item."""
        if name in BEYOND_METRICS:
            return BEYOND_METRICS[name].function(self.ranked, self._context, k or self.k)
        return METRICS[name].function(self.ranked, k or self.k)

    def together(self, name: str, *, judged_only: bool = False) -> float:
        """One of our metrics of all lists; `judged_only`: of the queries with a relevant item."""
        rows = self.judged if judged_only else np.ones(len(self.judged), np.bool_)
        ranked = Ranked(
            self.ranked.items[rows], self.ranked.hits[rows], self.ranked.n_relevant[rows]
        )
        return LIST_METRICS[name].function(
            Exposure.of(ranked, self._context, self.k, popularity=False)
        )

    @property
    def n_items(self) -> int:
        """Items of the catalogue."""
        return len(self.item_counts)

    @property
    def judged(self) -> NDArray[np.bool_]:
        """bool[Q]: queries with a relevant item."""
        return self.ranked.n_relevant > 0

    @property
    def listed(self) -> NDArray[np.int64]:
        """int64[Q]: items among the first k places."""
        return np.asarray(np.count_nonzero(self.ranked.items[:, : self.k] >= 0, axis=1), np.int64)

    @property
    def capped(self) -> NDArray[np.int64]:
        """int64[Q]: min(k, relevant items)."""
        return np.minimum(self.ranked.n_relevant, self.k)

    @property
    def _context(self) -> Context:
        nothing = Ragged.of([[]] * len(self.ranked.items))
        return Context(item_counts=self.item_counts, history=nothing, categories={})


Convert = Callable[[Values], float]


def mean(name: str) -> Convert:
    """Over the queries with a relevant item, as ours."""
    return lambda values: _mean_of(values.each(name), values.judged)


def mean_of_all(name: str) -> Convert:
    """Over all queries; those without a relevant item count 0."""
    return lambda values: float(np.nan_to_num(values.each(name)).mean())


def mean_of_listed(name: str) -> Convert:
    """Over the queries with a relevant item and a list."""
    return lambda values: _mean_of(values.each(name), values.judged & (values.listed > 0))


def _mean_of(values: Float64, rows: NDArray[np.bool_]) -> float:
    return float(values[rows].mean()) if rows.any() else float("nan")


def mean_of_lists(name: str) -> Convert:
    """Over all queries that have a list, those without a relevant item too."""
    return lambda values: _mean_of(values.each(name), values.listed > 0)


def novelty_by_users(values: Values) -> float:
    """Self-information by users in place of events."""
    return mean_of_lists("novelty")(values) - float(
        np.log2(values.item_counts.sum() / values.n_users)
    )


def together(name: str, *, times: float = 1.0, judged_only: bool = False) -> Convert:
    """A metric of all lists at once."""
    return lambda values: times * values.together(name, judged_only=judged_only)


def _ratio(top: NDArray[Any], bottom: NDArray[Any]) -> Float64:
    return np.divide(top, bottom, out=np.zeros(len(top)), where=bottom > 0)


def r_precision_uncut(values: Values) -> float:
    """R-precision at a cut-off beyond every list."""
    return _mean_of(
        values.each("r_precision", k=max(values.n_items, values.ranked.items.shape[1])),
        values.judged,
    )


def map_by_k(values: Values) -> float:
    """Average precision over k in place of the relevant items."""
    return _mean_of(values.each("map") * values.ranked.n_relevant / values.k, values.judged)


def precision_of_listed(values: Values) -> float:
    """Hits over the items that are listed."""
    return _mean_of(
        _ratio(values.each("precision") * values.k, values.listed),
        values.judged & (values.listed > 0),
    )


def map_of_listed(values: Values) -> float:
    """Average precision over what the list could hold."""
    fewer = np.minimum(values.ranked.n_relevant, values.listed)
    by_fewer = _ratio(values.each("map") * values.ranked.n_relevant, fewer)
    return _mean_of(by_fewer, values.judged & (values.listed > 0))


def pooled_precision(values: Values) -> float:
    """All hits over all min(k, relevant items)."""
    hits = np.nansum(values.each("capped_recall") * values.capped)
    return float(hits / values.capped.sum()) if values.capped.sum() else float("nan")


def entropy_by_shown(values: Values) -> float:
    """Entropy in nats, over the number of distinct items shown."""
    shown = values.together("coverage") * values.n_items
    return values.together("shannon") * LN_2 / shown if shown else float("nan")


def r_precision_where_hit(values: Values) -> float:
    """R-precision over the queries that have a hit."""
    cut = _ratio(values.each("r_precision") * values.capped, values.ranked.n_relevant)
    if not np.nansum(values.each("hit_rate")):
        return 0.0
    return _mean_of(cut, cut > 0)


def map_by_hits(values: Values) -> float:
    """Average precision over the hits."""
    top = np.nan_to_num(values.each("map") * values.ranked.n_relevant)
    return float(_ratio(top, np.nan_to_num(values.each("precision") * values.k)).mean())


def zero_without_judged(convert: Convert) -> Convert:
    """The same, and 0 where no query has a relevant item."""
    return lambda values: convert(values) if values.judged.any() else 0.0
