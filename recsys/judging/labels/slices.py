"""The main metric in parts of the rows: by every categorical feature, and by whether user and item
are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold
from falconer.pipelines.statistics.bootstrap import interval, resampled_means
from falconer.recsys.judging import slices
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.labels.checks import Checked
from falconer.recsys.judging.reports import SliceEstimate
from falconer.recsys.judging.slices import Slicing
from falconer.recsys.metrics.linear import row_values
from falconer.recsys.metrics.tables import metric_of_rows

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

FEWEST = 30
"""Rows of a group that is judged."""


def slicings(data: Dataset, fold: Fold) -> Iterator[Slicing]:
    """Ways to cut the rows of the fold, each into two groups or more."""
    checked = Checked(data, fold)
    for name, n, ids in (
        ("user", data.n_users, checked.pairs.queries.user),
        ("item", data.n_items, checked.pairs.item),
    ):
        if n and (ids < 0).any() and (ids >= 0).any():
            yield Slicing(
                name, "query", (f"known {name}", f"new {name}"), (ids < 0).astype(np.int32)
            )
    for feature in data.card.features:
        if feature.kind == "categorical":
            found = slices.by_category(data, feature, "query", checked.values(feature)[1])
            if len(found.groups) > 1:
                yield found


@dataclass(frozen=True)
class Group:
    """A group of rows with the metric's value; `by_unit` float64[n_units] has what each unit adds
    to it, NaN for a unit that has no row in the group."""

    metric: str
    slicing: str
    name: str
    n_rows: int
    mean: float
    by_unit: Float64

    @property
    def column(self) -> str:
        """Its name in the table of values."""
        return slices.column(self.metric, self.slicing, self.name)


def judged(
    metric: str, data: Dataset, fold: Fold, labels: Float64, score: Float64, codes: Int64
) -> Iterator[Group]:
    """Each group of `FEWEST` rows or more where the metric has a value; `codes` int64[P] are the
    rows' units."""
    n_units = int(codes.max()) + 1
    for slicing in slicings(data, fold):
        for code, name in enumerate(slicing.groups):
            rows = np.flatnonzero(slicing.codes == code)
            values = (
                row_values(metric, labels[rows], score[rows], None) if len(rows) >= FEWEST else None
            )
            if values is not None:
                by_unit = _by_unit(values, codes[rows], n_units)
                yield Group(metric, slicing.name, name, len(rows), float(values.mean()), by_unit)


def estimates(groups: Sequence[Group], config: EvaluationConfig) -> tuple[SliceEstimate, ...]:
    """The metric of each group with its interval."""
    if not groups:
        return ()
    columns = np.stack([group.by_unit for group in groups], axis=1)
    means = resampled_means(columns, resamples=config.resamples, seed=config.seed)
    low, high = interval(means, level=config.level, n=np.count_nonzero(~np.isnan(columns), axis=0))
    return tuple(
        SliceEstimate(
            metric=group.metric,
            slicing=group.slicing,
            group=group.name,
            n=group.n_rows,
            mean=group.mean,
            low=max(float(low[place]), bounds(group.metric)[0]),
            high=min(float(high[place]), bounds(group.metric)[1]),
        )
        for place, group in enumerate(groups)
    )


def bounds(metric: str) -> tuple[float, float]:
    """What the metric can be: a first-order change knows no bounds."""
    definition = metric_of_rows(metric)
    low, high = definition.bounds if definition else (None, None)
    return -np.inf if low is None else low, np.inf if high is None else high


def _by_unit(values: Float64, codes: Int64, n_units: int) -> Float64:
    """As `judging.by_unit`, of the units that have a row in the group; NaN for the others."""
    rows, mean = np.bincount(codes, minlength=n_units), values.mean()
    sums = np.bincount(codes, weights=values - mean, minlength=n_units)
    return np.asarray(
        np.where(rows > 0, mean + sums * np.count_nonzero(rows) / len(values), np.nan)
    )
