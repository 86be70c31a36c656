"""Operators that learn numbers of the groups which train's rows fall into, by one or several
columns: a target's mean (target encoding) and statistics of a number.

They are given structs: `key` is the group as text, null where one of its columns is. What is learnt
is a table with a row a group, in order of `key`, null last.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, model_validator

from falconer.pipelines.etl.column_operators import ColumnOperator
from falconer.pipelines.etl.target import Column

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


class GroupOperator(ColumnOperator):
    """Numbers of groups, which a row has by its own group."""

    by: tuple[str, ...] = ()
    """The columns that make a group; none: the one that is called as the feature."""
    normalize: bool = True
    """Bring what train's rows get to mean 0 and standard deviation 1."""

    def cardinality(self, state: Any) -> None:
        """As in `ColumnOperator`."""

    @abstractmethod
    def fit(self, column: pl.Series) -> pl.DataFrame:
        """As in `ColumnOperator`."""

    def scaled(self, found: Numbers, values: Numbers, rows: Numbers) -> pl.Series:
        """What rows found, where `rows` of train found each of `values`."""
        n = rows.sum()
        if not self.normalize or n < 1:
            return pl.Series(found)
        mean = (rows * values).sum() / n
        std = ((rows * (values - mean) ** 2).sum() / max(n - 1, 1)) ** 0.5
        return pl.Series((found - mean) / (std if std > 1e-12 * abs(mean) else 1.0))


class TargetEncoding(GroupOperator):
    """(sum of the target + `smoothing` x its mean) / (rows + `smoothing`) over train's rows of a
    group (Micci-Barreca 2001, with a fixed weight for the mean).

    A row of train gets this of the rows in the other folds alone, the mean too: neither its own
    label nor any of its fold plays a part. Which fold that is, a hash of the row's user, item and
    time says (of all columns but what may be a target, where it has neither user nor item). Groups
    that are null or not in train get the mean.
    """

    kind: Literal["target_encoding"]
    target: Column = "label"
    folds: int = Field(default=5, ge=2, le=100)
    smoothing: FiniteFloat = Field(default=20.0, ge=0.0)

    def fit(self, column: pl.Series) -> pl.DataFrame:
        """Of each `key` and `fold` the `rows` that have a target, and its `total`."""
        rows = column.struct.unnest().drop_nulls("value")
        keys = _keys(rows["key"])
        cells = _places(rows["key"], keys) * self.folds + rows["fold"].to_numpy()
        n = np.bincount(cells, minlength=(len(keys) + 1) * self.folds)
        totals = _sums(cells, rows["value"].to_numpy(), len(n))
        there = np.flatnonzero(n)
        return pl.DataFrame(
            {
                "key": _with_null(keys).gather(there // self.folds),
                "fold": pl.Series(there % self.folds, dtype=pl.Int64),
                "rows": pl.Series(n[there], dtype=pl.Int64),
                "total": totals[there],
            }
        )

    def pooled(self, one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
        """As in `ColumnOperator`."""
        both = pl.concat([one, other]).group_by("key", "fold").agg(pl.col("rows", "total").sum())
        return both.sort("key", "fold", nulls_last=True)

    def apply(self, column: pl.Series, state: pl.DataFrame) -> pl.Series:
        """As in `ColumnOperator`; rows whose `fold` is null are held out."""
        keys = _keys(state["key"])
        rows, totals = (self._by_fold(state, keys, name) for name in ("rows", "total"))
        # Sums of the other folds, and no differences from the whole: not even rounding may tell
        # what is in a fold. Behind the last fold is what all of them say, for held-out rows.
        out_of_fold: list[Any] = [*range(self.folds), []]
        values = np.stack(
            [
                self._smoothed(np.delete(rows, fold, axis=1), np.delete(totals, fold, axis=1))
                for fold in out_of_fold
            ]
        )
        asked = column.struct.unnest()
        folds = asked["fold"].fill_null(self.folds).to_numpy()
        return self.scaled(values[folds, _places(asked["key"], keys)], values[:-1], rows.T)

    def _by_fold(self, state: pl.DataFrame, keys: pl.Series, name: str) -> Numbers:
        """float64[groups + 1, folds]: the last row is of null."""
        found = np.zeros((len(keys) + 1, self.folds))
        found[_places(state["key"], keys), state["fold"].to_numpy()] = state[name].to_numpy()
        return found

    def _smoothed(self, rows: Numbers, totals: Numbers) -> Numbers:
        """float64[groups + 1]: the last one is the mean, for null and groups without rows."""
        mean = totals.sum() / max(rows.sum(), 1.0)
        n, total = rows.sum(axis=1) + self.smoothing, totals.sum(axis=1) + self.smoothing * mean
        n[-1] = 0.0
        return np.where(n > 0, total / np.where(n > 0, n, 1.0), mean)


Statistic = Literal["count", "mean", "sum", "std", "min", "max"]
GROUPED = {"rows": pl.Int64, "known": pl.Int64, "total": pl.Float64, "squares": pl.Float64}


class GroupStatistic(GroupOperator):
    """A statistic of train's rows of a group: their number, or of the numbers in `column`, nulls
    left out, as pandas' group-by has it.

    A group that is null, not in train or without a number gets `fill`, by default 0 for a count or
    a sum and else the mean of what train's other rows get. `log` takes ln(1 + count).
    """

    kind: Literal["group_statistic"]
    statistic: Statistic
    column: str | None = None
    fill: FiniteFloat | None = None
    log: bool = False

    @model_validator(mode="after")
    def _has_its_number(self) -> GroupStatistic:
        if (self.column is None) != (self.statistic == "count"):
            raise ValueError("count is of rows and takes no column, and others need one")
        if self.log and self.statistic != "count":
            raise ValueError('log = true is for statistic = "count": others may be below 0')
        return self

    def fit(self, column: pl.Series) -> pl.DataFrame:
        """Of each `key` the `rows`, those `known` with a number, these numbers' `total`, the
        `squares` of their distances from their mean, and the `least` and the `most` of them."""
        rows = column.struct.unnest()
        keys = _keys(rows["key"])
        places, n = _places(rows["key"], keys), len(keys) + 1
        values = rows["value"].to_numpy()
        there = rows["value"].is_not_null().to_numpy()
        place, value = places[there], values[there]
        known = np.bincount(place, minlength=n)
        total = _sums(place, value, n)
        squares = _sums(place, (value - (total / np.maximum(known, 1))[place]) ** 2, n)
        found = pl.DataFrame(
            {
                "key": _with_null(keys),
                "rows": pl.Series(np.bincount(places, minlength=n), dtype=pl.Int64),
                "known": pl.Series(known, dtype=pl.Int64),
                "total": total,
                "squares": squares,
            }
        )
        ends = rows.group_by("key").agg(
            least=pl.col("value").min(), most=pl.col("value").max(), there=pl.lit(value=True)
        )
        found = found.join(ends, on="key", how="left", nulls_equal=True, maintain_order="left")
        return found.filter("there").drop("there")

    def pooled(self, one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
        """As in `ColumnOperator` (Chan, Golub and LeVeque 1983)."""
        n, mean = pl.col("known"), pl.col("total") / pl.col("known").clip(1)
        apart = mean - pl.col("total").sum() / n.sum().clip(1)
        both = pl.concat([one, other]).group_by("key")
        return both.agg(
            pl.col("rows", "known", "total").sum(),
            squares=pl.col("squares").sum() + (n * apart**2).sum(),
            least=pl.col("least").min(),
            most=pl.col("most").max(),
        ).sort("key", nulls_last=True)

    def apply(self, column: pl.Series, state: pl.DataFrame) -> pl.Series:
        """As in `ColumnOperator`."""
        keys = _keys(state["key"])
        groups = (
            _with_null(keys)
            .to_frame()
            .join(state, on="key", how="left", nulls_equal=True, maintain_order="left")
        )
        values = groups.select(self._value()).to_series().to_numpy().copy()
        values[-1] = np.nan
        rows = groups["rows"].fill_null(0).to_numpy().astype(np.float64)
        values[np.isnan(values)] = self._filling(values, rows)
        places = _places(column.struct.field("key"), keys)
        return self.scaled(values[places], values, rows)

    def _value(self) -> pl.Expr:
        """Of each group; null where it has none."""
        known, total = pl.col("known"), pl.col("total")
        some = pl.when(known > 0)
        found = {
            "count": pl.col("rows").cast(pl.Float64),
            "mean": some.then(total / known),
            "sum": some.then(total),
            "std": pl.when(known > 1).then((pl.col("squares") / (known - 1)).sqrt()),
            "min": pl.col("least"),
            "max": pl.col("most"),
        }[self.statistic]
        return found.log1p() if self.log else found

    def _filling(self, values: Numbers, rows: Numbers) -> float:
        if self.fill is not None:
            return float(np.log1p(self.fill)) if self.log else self.fill
        there = ~np.isnan(values) & (rows > 0)
        if self.statistic in ("count", "sum") or not there.any():
            return 0.0
        return float(np.average(values[there], weights=rows[there]))


def _keys(keys: pl.Series) -> pl.Series:
    return keys.drop_nulls().unique().sort().alias("key")


def _with_null(keys: pl.Series) -> pl.Series:
    return pl.concat([keys, pl.Series("key", [None], dtype=pl.String)])


def _places(values: pl.Series, keys: pl.Series) -> Places:
    """int64[n]: the place of each among `keys`; behind the last one for null and others."""
    places = keys.to_frame().with_row_index("place").cast({"place": pl.Int64})
    asked = values.alias("key").to_frame()
    found = asked.join(places, on="key", how="left", maintain_order="left")["place"]
    return found.fill_null(len(keys)).to_numpy()


def _sums(places: Places, values: Numbers, n: int) -> Numbers:
    """float64[n], added up in the order of the rows: the same bytes whatever the threads."""
    return np.bincount(places, values, minlength=n).astype(np.float64)
