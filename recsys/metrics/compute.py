"""From names of metrics to values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.errors import ConfigError, DataError
from falconer.recsys.metrics.beyond import NEED_CATEGORIES
from falconer.recsys.metrics.context import Context
from falconer.recsys.metrics.exposure import LIST_METRICS, Exposure, counts_of
from falconer.recsys.metrics.ranked import Ranked
from falconer.recsys.metrics.tables import metric_of

Float64 = NDArray[np.float64]

USUAL_METRICS = (
    *("recall", "capped_recall", "precision", "hit_rate", "ndcg", "map", "mrr"),
    *("novelty", "diversity", "miscalibration"),
    *("coverage", "gini", "popularity_lift"),
    *("popularity_lift_niche", "popularity_lift_diverse", "popularity_lift_blockbuster"),
)
"""What is judged where nobody says what: those of these that the dataset can give."""


def chosen_metrics(names: Sequence[str], context: Context) -> tuple[str, ...]:
    """The named metrics, or the usual ones where none is named.

    Raises `ConfigError` where one was named that needs what the dataset lacks.
    """
    lacking = () if context.categories else NEED_CATEGORIES
    refused = [name for name in names if name in lacking]
    if refused:
        raise ConfigError(
            f"{', '.join(refused)}: this dataset has no categorical item feature; "
            "add one to the recipe's [features.item], or leave the metric out"
        )
    return tuple(name for name in names or USUAL_METRICS if name not in lacking)


def per_query(
    ranked: Ranked, context: Context, names: Sequence[str], cut_offs: Sequence[int]
) -> dict[str, Float64]:
    """`ndcg@10` and so on -> float64[Q] (NaN = no value), of those of the names that have one value
    a query.

    Raises `DataError` where that of another package gives anything else, or a value beyond the
    bounds that it names.
    """
    columns: dict[str, Float64] = {}
    for name in names:
        for k in cut_offs:
            if metric := metric_of("query", name):
                values = metric.function(ranked, k)
            elif metric := metric_of("list", name):
                values = metric.function(ranked, context, k)
            else:
                continue
            columns[f"{name}@{k}"] = _one_each(name, metric.within_bounds(name, values), ranked)
    return columns


def _one_each(name: str, values: Float64, ranked: Ranked) -> Float64:
    if values.shape != (n := ranked.n_relevant.shape):
        raise DataError(
            f"{name}: gave an array of shape {values.shape} for {n[0]} queries; a metric of lists "
            "gives each query one number, or NaN"
        )
    return values


def _one_for_all(name: str, value: Float64) -> float:
    if value.ndim:
        raise DataError(
            f"{name}: gave an array of shape {value.shape}; a metric of all lists gives one number"
        )
    return float(value)


def exposures(
    ranked: Ranked, context: Context, names: Sequence[str], cut_offs: Sequence[int]
) -> dict[int, Exposure]:
    """What the lists show at each cut-off, as far as the named metrics need it. Those of several
    blocks add up."""
    wanted = [name for name in names if metric_of("all lists", name)]
    if not wanted:
        return {}
    # Only these of ours look at popularity; what another package's metric looks at is not known.
    popularity = any(
        name.startswith("popularity_lift") or name not in LIST_METRICS for name in wanted
    )
    shown: dict[int, Exposure] = {}
    counts, start = np.zeros(context.n_items, np.int64), 0
    for k in sorted(cut_offs):  # each cut-off adds its own places to the counts of the one before
        counts = counts + counts_of(ranked.items[:, start:k], context.n_items)
        shown[k], start = Exposure.of(ranked, context, k, counts=counts, popularity=popularity), k
    return {k: shown[k] for k in cut_offs}


def of_all_lists(shown: Mapping[int, Exposure], names: Sequence[str]) -> dict[str, float]:
    """`coverage@10` and so on, of those of the names that have one value for all lists, where there
    is a value."""
    found = {name: metric_of("all lists", name) for name in names}
    values = {
        f"{name}@{k}": _one_for_all(name, metric.within_bounds(name, metric.function(shown[k])))
        for name, metric in found.items()
        if metric
        for k in shown
    }
    return {name: value for name, value in values.items() if not np.isnan(value)}
