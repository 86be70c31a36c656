"""Operators that Polars computes a column at a time, the same whatever the engine of the recipe."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, FiniteFloat, field_validator

from falconer.pipelines.config import Config
from falconer.pipelines.etl.split.hashes import text_hashes


class OneColumn(Config):
    """What is made of one column of the source."""

    column: str | None = None
    """None: the one that is called as the feature."""


class ColumnOperator(Config):
    """It is fitted on train alone."""

    kind: str

    needs_numbers: ClassVar[bool] = False
    """The column must hold numbers and comes as float64, null where a value is not finite. Else it
    comes as int64 where all values are whole numbers, and as text where not."""

    def fit(self, column: pl.Series) -> Any:
        """What is learnt from the rows of train, as JSON can hold it; None where nothing is."""
        return None

    def pooled(self, one: Any, other: Any) -> Any:
        """What is learnt from two parts of train, from what is learnt from each."""
        return None

    @abstractmethod
    def cardinality(self, state: Any) -> int | None:
        """Number of categories; None where `apply` gives numbers."""

    @abstractmethod
    def apply(self, column: pl.Series, state: Any) -> pl.Series:
        """Row by row beside `column`: ids from 0 to below the cardinality, -1 where there is none;
        or finite numbers."""


class Hashed(ColumnOperator):
    """One of `size` ids by a hash of the value as text, or of the combination of several columns'
    values: nothing is learnt, an unseen value has an id too, and several may share one. -1 for
    null."""

    kind: Literal["hashed"]
    size: int = Field(ge=1, le=2**31 - 1)
    columns: tuple[str, ...] = ()

    def cardinality(self, state: Any) -> int:
        """As in `ColumnOperator`."""
        return self.size

    def apply(self, column: pl.Series, state: Any) -> pl.Series:
        """As in `ColumnOperator`."""
        texts = column.cast(pl.String).alias("value").to_frame()
        known = texts.drop_nulls().unique()
        ids = text_hashes(known["value"]) % np.uint64(self.size)
        known = known.with_columns(id=pl.Series(ids.astype(np.int32), dtype=pl.Int32))
        return texts.join(known, on="value", how="left", maintain_order="left")["id"].fill_null(-1)


class MinMax(ColumnOperator, OneColumn):
    """Null becomes `fill`, then (x - min) / (max - min) of train; beyond those it is 0 or 1."""

    kind: Literal["min_max"]
    fill: FiniteFloat = 0.0
    needs_numbers: ClassVar[bool] = True

    def fit(self, column: pl.Series) -> Any:
        """The least and the greatest value; None where there is no row."""
        filled = column.fill_null(self.fill)
        return [filled.min(), filled.max()] if len(filled) else None

    def pooled(self, one: Any, other: Any) -> Any:
        """As in `ColumnOperator`."""
        if one is None or other is None:
            return one or other
        return [min(one[0], other[0]), max(one[1], other[1])]

    def cardinality(self, state: Any) -> None:
        """As in `ColumnOperator`."""

    def apply(self, column: pl.Series, state: Any) -> pl.Series:
        """As in `ColumnOperator`."""
        least, most = state or (0.0, 0.0)
        inside = column.fill_null(self.fill).clip(least, most)
        return (inside - least) / (most - least if most > least else 1.0)


class Missing(ColumnOperator, OneColumn):
    """1 where the value is null, else 0."""

    kind: Literal["missing"]

    def cardinality(self, state: Any) -> int:
        """As in `ColumnOperator`."""
        return 2

    def apply(self, column: pl.Series, state: Any) -> pl.Series:
        """As in `ColumnOperator`."""
        return column.is_null().cast(pl.Int32)


PARTS = {"hour": 24, "weekday": 7, "day": 31, "month": 12}


class TimePart(ColumnOperator):
    """The hour, the weekday (Monday is 0), the day of the month or the month (both from 0) of an
    event's time on the clocks of `zone`."""

    kind: Literal["time_part"]
    part: Literal["hour", "weekday", "day", "month"]
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _is_known(cls, zone: str) -> str:
        try:
            _on_clocks(pl.Series([0]), zone)
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{zone!r} is no time zone like 'Europe/Berlin'") from error
        return zone

    def cardinality(self, state: Any) -> int:
        """As in `ColumnOperator`."""
        return PARTS[self.part]

    def apply(self, column: pl.Series, state: Any) -> pl.Series:
        """As in `ColumnOperator`."""
        found: pl.Series = getattr(_on_clocks(column, self.zone).dt, self.part)().cast(pl.Int32)
        return found if self.part == "hour" else found - 1


def _on_clocks(seconds: pl.Series, zone: str) -> pl.Series:
    moments = pl.from_epoch(seconds.cast(pl.Int64), "s")
    return moments.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
