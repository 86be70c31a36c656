"""What the columns of the events hold, in numbers that a person can check."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from falconer.pipelines.data.overlap import smallest_of_both
from falconer.pipelines.data.schema import name_of
from falconer.pipelines.etl import dense
from falconer.pipelines.etl.side_by_side import side_by_side

HIDDEN = ("part", "event_hash", "ordinal", "fraction")
COUNTED = 2**16
"""Up to so many distinct values are counted; of more, their smallest hashes tell the number with a
standard error of 0.4 % (k minimum values; Bar-Yossef et al. 2002)."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class ColumnFacts:
    """Of one column, or of a part of it: `hashes` are the `COUNTED` smallest of its different
    values, `total` the sum of its numbers."""

    name: str
    dtype: pl.DataType
    rows: int
    nulls: int
    hashes: Hashes
    least: Any
    most: Any
    total: float

    def and_also(self, other: ColumnFacts) -> ColumnFacts:
        """Of both parts."""
        least = [one for one in (self.least, other.least) if one is not None]
        most = [one for one in (self.most, other.most) if one is not None]
        return ColumnFacts(
            self.name,
            self.dtype,
            self.rows + other.rows,
            self.nulls + other.nulls,
            smallest_of_both(self.hashes, other.hashes, COUNTED),
            min(least, default=None),
            max(most, default=None),
            self.total + other.total,
        )

    def described(self) -> dict[str, Any]:
        """As `describe` has it."""
        values = self.rows - self.nulls
        counted = len(self.hashes) < COUNTED
        distinct = len(self.hashes) if counted else min(_estimate(self.hashes), values)
        return {
            "name": name_of(self.name),
            "type": str(self.dtype).lower(),
            "rows": self.rows,
            "nulls": self.nulls,
            "distinct": distinct,
            "unique": distinct == values if counted else None,
            "least": _finite(self.least),
            "mean": _finite(self.total / values if self._is_number() and values else None),
            "most": _finite(self.most),
        }

    def _is_number(self) -> bool:
        return self.dtype.is_numeric()


@dataclass(frozen=True)
class Counted:
    """What is known before events are described: `counts` (`value` and `frequency`) by column, of
    all events but those at the places `others`."""

    counts: Mapping[str, pl.DataFrame]
    others: pl.Series


def facts_of(events: pl.DataFrame, counted: Counted | None = None) -> list[ColumnFacts]:
    """The facts of each column of these events."""

    def of(column: pl.Series) -> ColumnFacts:
        if counted is None or column.name not in counted.counts:
            return _facts(column)
        others = column.gather(counted.others)
        known = _facts_of_counts(column, others, counted.counts[column.name])
        return known.and_also(_facts(others))

    return side_by_side(of, [column for column in events if column.name not in HIDDEN])


def together(one: Iterable[ColumnFacts], other: Iterable[ColumnFacts]) -> list[ColumnFacts]:
    """The facts of the columns of two parts of the events."""
    return [a.and_also(b) for a, b in zip(one, other, strict=True)]


def describe(events: pl.DataFrame, counted: Counted | None = None) -> list[dict[str, Any]]:
    """For each column: `name`, `type`, `rows`, `nulls`, `distinct` (an estimate from `COUNTED` on),
    `unique` (null where that is not told); of numbers `least`, `mean` and `most` too (null for text
    and where there is no number)."""
    return [one.described() for one in facts_of(events, counted)]


def _facts(column: pl.Series) -> ColumnFacts:
    counted = dense.counts(column)
    values = column.drop_nulls() if counted is None else counted["value"]
    is_number = column.dtype.is_numeric()
    return ColumnFacts(
        column.name,
        column.dtype,
        len(column),
        column.null_count(),
        _smallest(values.hash()),
        values.min() if is_number else None,
        values.max() if is_number else None,
        _total(values, counted) if is_number else 0.0,
    )


def _facts_of_counts(column: pl.Series, others: pl.Series, counts: pl.DataFrame) -> ColumnFacts:
    """Of the values of a column but the others, whose counts are known."""
    # In one order: sums depend on it.
    counted = counts if counts["value"].is_sorted() else counts.sort("value")
    values, is_number = counted["value"].cast(column.dtype), column.dtype.is_numeric()
    return ColumnFacts(
        column.name,
        column.dtype,
        len(column) - len(others),
        column.null_count() - others.null_count(),
        _smallest(values.hash()),
        values.min() if is_number else None,
        values.max() if is_number else None,
        _total(values, counted) if is_number else 0.0,
    )


def _smallest(hashes: pl.Series) -> Hashes:
    """The `COUNTED` smallest of the different hashes, ascending; of many only those below a bound
    are sorted, if these are enough."""
    if len(hashes) > 4 * COUNTED:
        low = hashes.filter(hashes < 2**64 * 2 * COUNTED // len(hashes)).unique()
        if len(low) >= COUNTED:
            return low.sort().head(COUNTED).to_numpy()
    return hashes.unique().sort().head(COUNTED).to_numpy()


def _total(values: pl.Series, counted: pl.DataFrame | None) -> float:
    # numpy sums pairwise in one fixed order, whatever the number of threads.
    numbers = values.to_numpy()
    if counted is not None:
        numbers = numbers * counted["frequency"].to_numpy().astype(np.float64)
    return float(numbers.sum(dtype=np.float64))


def _estimate(hashes: Hashes) -> int:
    return round((COUNTED - 1) / (float(hashes[-1]) / 2**64))


def _finite(value: Any) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)
