"""What the columns of the events hold, in numbers that a person can check."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from falconer.pipelines.data.schema import name_of

HIDDEN = ("part", "event_hash", "ordinal", "fraction")


def describe(events: pl.DataFrame) -> list[dict[str, Any]]:
    """For each column: `name`, `type`, `rows`, `nulls`, `distinct`, `unique`; of numbers `least`,
    `mean` and `most` too (null for text and where there is no number)."""
    return [_described(column) for column in events if column.name not in HIDDEN]


def _described(column: pl.Series) -> dict[str, Any]:
    distinct = column.drop_nulls().n_unique()
    numbers = column.drop_nulls() if column.dtype.is_numeric() else pl.Series([], dtype=pl.Float64)
    return {
        "name": name_of(column.name),
        "type": str(column.dtype).lower(),
        "rows": len(column),
        "nulls": column.null_count(),
        "distinct": distinct,
        "unique": distinct == len(column) - column.null_count(),
        "least": _finite(numbers.min()),
        "mean": _finite(numbers.mean()),
        "most": _finite(numbers.max()),
    }


def _finite(value: Any) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)
