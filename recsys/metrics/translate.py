"""The Rosetta stone: how values of other libraries follow from ours, on the same lists and the same
relevant items.

Each row is code and words for the same thing. The code is compared with the library's own values on
2,000 random and on degenerate judgements (`make rosetta`), and with what that recorded in every run
of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.errors import ConfigError
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


@dataclass(frozen=True)
class Translation:
    """One row: what `theirs` is in our terms.

    ours        our metric that it follows from
    how         the conversion in words
    convert     the conversion as code
    full_lists  whether it holds only where every list has k items (what such a library makes, or
                asks for)
    tolerance   up to which it holds; larger than 1e-9 only where the library computes in float32
    """

    library: str
    theirs: str
    ours: str
    how: str
    convert: Convert
    full_lists: bool = False
    tolerance: float = 1e-9


SAME = "the same"


def _mean(name: str) -> Convert:
    """Over the queries with a relevant item, as ours."""
    return lambda values: _mean_of(values.each(name), values.judged)


def _mean_of_all(name: str) -> Convert:
    """Over all queries; those without a relevant item count 0."""
    return lambda values: float(np.nan_to_num(values.each(name)).mean())


def _mean_of_listed(name: str) -> Convert:
    """Over the queries with a relevant item and a list."""
    return lambda values: _mean_of(values.each(name), values.judged & (values.listed > 0))


def _mean_of(values: Float64, rows: NDArray[np.bool_]) -> float:
    return float(values[rows].mean()) if rows.any() else float("nan")


def _mean_of_lists(name: str) -> Convert:
    """Over all queries that have a list, those without a relevant item too."""
    return lambda values: _mean_of(values.each(name), values.listed > 0)


def _novelty_by_users(values: Values) -> float:
    return _mean_of_lists("novelty")(values) - float(
        np.log2(values.item_counts.sum() / values.n_users)
    )


def _together(name: str, *, times: float = 1.0, judged_only: bool = False) -> Convert:
    return lambda values: times * values.together(name, judged_only=judged_only)


def _ratio(top: NDArray[Any], bottom: NDArray[Any]) -> Float64:
    return np.divide(top, bottom, out=np.zeros(len(top)), where=bottom > 0)


def _r_precision_uncut(values: Values) -> float:
    return _mean_of(
        values.each("r_precision", k=max(values.n_items, values.ranked.items.shape[1])),
        values.judged,
    )


def _map_by_k(values: Values) -> float:
    return _mean_of(values.each("map") * values.ranked.n_relevant / values.k, values.judged)


def _precision_of_listed(values: Values) -> float:
    return _mean_of(
        _ratio(values.each("precision") * values.k, values.listed),
        values.judged & (values.listed > 0),
    )


def _map_of_listed(values: Values) -> float:
    fewer = np.minimum(values.ranked.n_relevant, values.listed)
    by_fewer = _ratio(values.each("map") * values.ranked.n_relevant, fewer)
    return _mean_of(by_fewer, values.judged & (values.listed > 0))


def _pooled_precision(values: Values) -> float:
    hits = np.nansum(values.each("capped_recall") * values.capped)
    return float(hits / values.capped.sum()) if values.capped.sum() else float("nan")


def _entropy_by_shown(values: Values) -> float:
    shown = values.together("coverage") * values.n_items
    return values.together("shannon") * LN_2 / shown if shown else float("nan")


def _r_precision_where_hit(values: Values) -> float:
    cut = _ratio(values.each("r_precision") * values.capped, values.ranked.n_relevant)
    if not np.nansum(values.each("hit_rate")):
        return 0.0
    return _mean_of(cut, cut > 0)


def _map_by_hits(values: Values) -> float:
    top = np.nan_to_num(values.each("map") * values.ranked.n_relevant)
    return float(_ratio(top, np.nan_to_num(values.each("precision") * values.k)).mean())


def _zero_without_judged(convert: Convert) -> Convert:
    return lambda values: convert(values) if values.judged.any() else 0.0


def _in_irspack(theirs: str, ours: str, how: str, convert: Convert) -> Translation:
    return Translation("irspack", theirs, ours, how, _zero_without_judged(convert), full_lists=True)


def _in_torchmetrics(theirs: str, ours: str, how: str, convert: Convert) -> Translation:
    return Translation("torchmetrics", theirs, ours, how, convert, full_lists=True, tolerance=2e-6)


OF_LISTS = "mean over all users who have a list; where no user has an item twice in train"
LISTED_ONLY = "mean over users who have a list, too"
COUNT_ZERO = "mean over all users: those without a relevant item count 0"
JUDGED_ONLY = "of the lists of users with a relevant item"

TRANSLATIONS: tuple[Translation, ...] = (
    Translation("ranx", "ndcg", "ndcg", SAME, _mean("ndcg")),
    Translation("ranx", "recall", "recall", SAME, _mean("recall")),
    Translation("ranx", "precision", "precision", SAME, _mean("precision")),
    Translation("ranx", "hit_rate", "hit_rate", SAME, _mean("hit_rate")),
    Translation("ranx", "mrr", "mrr", SAME, _mean("mrr")),
    Translation("ranx", "map", "map", SAME, _mean("map")),
    Translation(
        "ranx",
        "r-precision",
        "r_precision",
        "at a k beyond every list: theirs is not cut",
        _r_precision_uncut,
    ),
    Translation(
        "rectools", "NDCG", "ndcg_k_ideal", "the same, and not ndcg", _mean("ndcg_k_ideal")
    ),
    Translation("rectools", "NDCG(divide_by_achievable=True)", "ndcg", SAME, _mean("ndcg")),
    Translation("rectools", "Recall", "recall", SAME, _mean("recall")),
    Translation("rectools", "Precision", "precision", SAME, _mean("precision")),
    Translation(
        "rectools", "Precision(r_precision=True)", "capped_recall", SAME, _mean("capped_recall")
    ),
    Translation("rectools", "HitRate", "hit_rate", SAME, _mean("hit_rate")),
    Translation("rectools", "MRR", "mrr", SAME, _mean("mrr")),
    Translation("rectools", "MAP", "map", SAME, _mean("map")),
    Translation(
        "rectools",
        "MAP(divide_by_k=True)",
        "map",
        "times relevant items / k, user by user",
        _map_by_k,
    ),
    Translation(
        "rectools", "CatalogCoverage(normalize=True)", "coverage", SAME, _together("coverage")
    ),
    Translation(
        "rectools",
        "AvgRecPopularity",
        "list_popularity",
        OF_LISTS,
        _mean_of_lists("list_popularity"),
    ),
    Translation(
        "rectools",
        "MeanInvUserFreq",
        "novelty",
        f"less log2(train events / train users); {OF_LISTS}",
        _novelty_by_users,
    ),
    Translation(
        "lenskit", "NDCG", "ndcg_log_rank", "the same, and not ndcg", _mean("ndcg_log_rank")
    ),
    Translation("lenskit", "NDCG(weight=LogRankWeight(offset=1))", "ndcg", SAME, _mean("ndcg")),
    Translation("lenskit", "DCG(weight=LogRankWeight(offset=1))", "dcg", SAME, _mean("dcg")),
    Translation(
        "lenskit", "Recall", "capped_recall", "the same, and not recall", _mean("capped_recall")
    ),
    Translation(
        "lenskit",
        "Precision",
        "precision",
        f"times k / listed items, user by user; {LISTED_ONLY}",
        _precision_of_listed,
    ),
    Translation("lenskit", "Hit", "hit_rate", SAME, _mean("hit_rate")),
    Translation("lenskit", "RecipRank", "mrr", SAME, _mean("mrr")),
    Translation(
        "lenskit",
        "AveragePrecision",
        "map",
        f"times relevant items / min(relevant, listed items), user by user; {LISTED_ONLY}",
        _map_of_listed,
    ),
    Translation("lenskit", "ListGini", "gini", SAME, _together("gini")),
    Translation("recbole", "NDCG", "ndcg", SAME, _mean("ndcg")),
    Translation("recbole", "Recall", "recall", SAME, _mean("recall")),
    Translation("recbole", "Precision", "precision", SAME, _mean("precision")),
    Translation("recbole", "Hit", "hit_rate", SAME, _mean("hit_rate")),
    Translation("recbole", "MRR", "mrr", SAME, _mean("mrr")),
    Translation("recbole", "MAP", "capped_map", "the same, and not map", _mean("capped_map")),
    Translation(
        "recbole",
        "AveragePopularity",
        "list_popularity",
        OF_LISTS,
        _mean_of_lists("list_popularity"),
        full_lists=True,
    ),
    Translation(
        "recbole", "ItemCoverage", "coverage", SAME, _together("coverage"), full_lists=True
    ),
    Translation("recbole", "GiniIndex", "gini", SAME, _together("gini"), full_lists=True),
    Translation(
        "recbole",
        "ShannonEntropy",
        "shannon",
        "times ln 2 / number of distinct items shown",
        _entropy_by_shown,
        full_lists=True,
    ),
    Translation("implicit", "ndcg", "ndcg", SAME, _mean("ndcg")),
    Translation("implicit", "map", "capped_map", "the same, and not map", _mean("capped_map")),
    Translation(
        "implicit",
        "precision",
        "capped_recall",
        "mean weighted by min(k, relevant items); no precision",
        _pooled_precision,
    ),
    Translation("implicit", "auc", "auc", SAME, _mean("auc"), full_lists=True),
    _in_irspack("ndcg", "ndcg", SAME, _mean("ndcg")),
    _in_irspack("recall", "recall", SAME, _mean("recall")),
    _in_irspack("recall(recall_with_cutoff=True)", "capped_recall", SAME, _mean("capped_recall")),
    _in_irspack("precision", "precision", SAME, _mean("precision")),
    _in_irspack("hit", "hit_rate", SAME, _mean("hit_rate")),
    _in_irspack("map", "map", SAME, _mean("map")),
    _in_irspack(
        "catalog_coverage", "coverage", JUDGED_ONLY, _together("coverage", judged_only=True)
    ),
    _in_irspack("gini_index", "gini", JUDGED_ONLY, _together("gini", judged_only=True)),
    _in_irspack(
        "entropy",
        "shannon",
        f"times ln 2, {JUDGED_ONLY}",
        _together("shannon", times=LN_2, judged_only=True),
    ),
    Translation("recommenders", "ndcg_at_k", "ndcg", SAME, _mean("ndcg")),
    Translation(
        "recommenders", "precision_at_k", "precision", LISTED_ONLY, _mean_of_listed("precision")
    ),
    Translation("recommenders", "recall_at_k", "recall", LISTED_ONLY, _mean_of_listed("recall")),
    Translation("recommenders", "map", "map", LISTED_ONLY, _mean_of_listed("map")),
    Translation(
        "recommenders", "map_at_k", "capped_map", LISTED_ONLY, _mean_of_listed("capped_map")
    ),
    Translation(
        "recommenders",
        "r_precision_at_k",
        "r_precision",
        "times min(k, relevant) / relevant items, user by user; mean over the users for whom that "
        "is above 0",
        _r_precision_where_hit,
    ),
    _in_torchmetrics("RetrievalNormalizedDCG", "ndcg", COUNT_ZERO, _mean_of_all("ndcg")),
    _in_torchmetrics(
        'RetrievalNormalizedDCG(empty_target_action="skip")',
        "ndcg",
        SAME,
        _zero_without_judged(_mean("ndcg")),
    ),
    _in_torchmetrics("RetrievalRecall", "recall", COUNT_ZERO, _mean_of_all("recall")),
    _in_torchmetrics("RetrievalPrecision", "precision", COUNT_ZERO, _mean_of_all("precision")),
    _in_torchmetrics("RetrievalHitRate", "hit_rate", COUNT_ZERO, _mean_of_all("hit_rate")),
    _in_torchmetrics("RetrievalMRR", "mrr", COUNT_ZERO, _mean_of_all("mrr")),
    _in_torchmetrics(
        "RetrievalMAP",
        "map",
        f"times relevant items / hits, user by user; {COUNT_ZERO}",
        _map_by_hits,
    ),
)
"""All rows. Libraries agree in the names more often than in the values."""

VERSIONS = {
    "ranx": "0.3.21",
    "rectools": "0.19.0",
    "lenskit": "2025.8.1",
    "recbole": "1.2.1",
    "implicit": "0.7.3",
    "irspack": "0.5.2",
    "recommenders": "1.2.1",
    "torchmetrics": "1.9.0",
}
"""Library -> the version that its rows were compared with."""

NOTES = (
    "* full lists: holds where every list has k items.",
    "Unless said otherwise a mean is over the users with a relevant item, as ours; theirs sees no "
    "others.",
    "torchmetrics computes in float32: its rows hold to 2e-6, all others to 1e-9.",
)


def table(libraries: Sequence[str] = ()) -> str:
    """The rows of some libraries (none named: all) in lines to print; `ConfigError` for an unknown
    one."""
    unknown = [name for name in libraries if name not in VERSIONS]
    if unknown:
        raise ConfigError(
            f"no translation for {', '.join(unknown)}; there are {', '.join(VERSIONS)}"
        )
    rows = [row for row in TRANSLATIONS if row.library in (libraries or VERSIONS)]
    widths = [max(len(row.theirs) for row in rows), max(len(row.ours) for row in rows)]
    lines: list[str] = []
    for library in dict.fromkeys(row.library for row in rows):
        lines += [
            f"{library} {VERSIONS[library]}",
            f"  {'theirs':<{widths[0]}}  {'ours':<{widths[1]}}  conversion",
        ]
        lines += [
            f"  {row.theirs:<{widths[0]}}  {row.ours:<{widths[1]}}  "
            f"{row.how}{' *' if row.full_lists else ''}"
            for row in rows
            if row.library == library
        ]
        lines.append("")
    return "\n".join([*lines, *NOTES])


def markdown() -> str:
    """All rows as a Markdown table, as docs/metrics.md has it."""
    lines = ["| library | theirs, at k | ours, at k | conversion |", "|---|---|---|---|"]
    for row in TRANSLATIONS:
        star = " \\*" if row.full_lists else ""
        lines.append(
            f"| {row.library} {VERSIONS[row.library]} | `{row.theirs}` | `{row.ours}` | "
            f"{row.how}{star} |"
        )
    return "\n".join(lines)
