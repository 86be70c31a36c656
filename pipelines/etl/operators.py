"""Feature operators: how columns become a feature. Of ours the engines compute Categorical,
Combined, Continuous, DifferenceLag and Bucketize, and Polars the others (`column_operators`,
`grouped_operators`); another package
brings one by an entry point of the group "falconer.operators", or as
`kind = "mypackage.toy:OPERATOR"` in a table of [features]."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, FiniteFloat, SerializeAsAny, field_validator, model_validator

from falconer.pipelines.config import Config
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.column_operators import (
    ColumnOperator,
    Hashed,
    MinMax,
    Missing,
    OneColumn,
    TimePart,
)
from falconer.pipelines.etl.grouped_operators import GroupOperator, GroupStatistic, TargetEncoding
from falconer.pipelines.plugin_configs import PluginConfig, open_to

MOST_PLACES = 1000
"""Columns that a feature of lists may have."""


class Counted(Config):
    """Ids by train frequency descending, then value ascending; -1 for null, unseen, rarer than
    `min_count` and beyond the first `max_size`."""

    min_count: int = Field(default=1, ge=1)
    max_size: int | None = Field(default=None, ge=1)


class Categorical(Counted, OneColumn):
    """Ids of the values of one column."""

    kind: Literal["categorical"]


class Combined(Counted):
    """Ids of the combinations of the values of several columns; null where one of them is null."""

    kind: Literal["combined"]
    columns: tuple[str, ...] = Field(min_length=2)


class Scaled(OneColumn):
    """Null becomes `fill`, then clip, then ln(1 + x), then (x - mean) / std of train, each as
    configured."""

    fill: FiniteFloat | Literal["median"] = 0.0
    """`median`: that of train, `medians.median`."""
    clip: tuple[FiniteFloat, FiniteFloat] | None = None
    log: bool = False
    normalize: bool = True

    @model_validator(mode="after")
    def _has_a_logarithm(self) -> Scaled:
        if self.clip and self.clip[0] > self.clip[1]:
            raise ValueError("clip = [low, high] must not fall")
        if self.log and not (self.clip and self.clip[0] > -1):
            raise ValueError(
                "log = true needs clip = [low, high] with low above -1, as ln(1 + x) has no other "
                "values"
            )
        return self


class Continuous(Scaled):
    """A number of the source."""

    kind: Literal["continuous"]


class DifferenceLag(Scaled):
    """The column's value, or the event's time in seconds, less that of the same user's event
    `shift` before it in time; then as `Scaled`, null where there is none."""

    kind: Literal["difference_lag"]
    of: Literal["value", "time"] = "value"
    shift: int = Field(default=1, ge=1)


class OfLists(OneColumn):
    """What is made of a column of lists."""

    separator: str | None = Field(default=None, min_length=1)
    """Parts the values in a text, such as "|"; None: the files hold lists."""


class Listed(Counted, OfLists):
    """Ids of the values of lists, in `length` columns `NAME.1`, `NAME.2`, ... of one vocabulary:
    the `first` or the `last` so many values, -1 behind a list's end. Null and empty values are
    none."""

    kind: Literal["list"]
    length: int = Field(ge=1, le=MOST_PLACES)
    take: Literal["first", "last"] = "first"


class ValueCount(Scaled, OfLists):
    """How many values a list has; then as `Scaled`."""

    kind: Literal["value_count"]


class Bucketize(OneColumn):
    """The number of boundaries at or below the value, as a category; -1 for null."""

    kind: Literal["bucketize"]
    boundaries: tuple[FiniteFloat, ...] = Field(min_length=1)

    @field_validator("boundaries")
    @classmethod
    def _ascending(cls, boundaries: tuple[float, ...]) -> tuple[float, ...]:
        if any(low >= high for low, high in pairwise(boundaries)):
            raise ValueError("boundaries must rise")
        return boundaries


class OperatorPlugin(ColumnOperator, PluginConfig):
    """Subclass it with a field for each key of the feature's table."""

    @abstractmethod
    def fit(self, column: pl.Series) -> Any:
        """As in `ColumnOperator`."""


OWN = (
    *(Categorical, Combined, Continuous, Bucketize, DifferenceLag, GroupStatistic, Hashed, MinMax),
    *(Listed, Missing, TargetEncoding, TimePart, ValueCount),
)
OwnFeature = (
    Categorical
    | Combined
    | Continuous
    | Bucketize
    | DifferenceLag
    | GroupStatistic
    | Hashed
    | Listed
    | MinMax
    | Missing
    | TargetEncoding
    | TimePart
    | ValueCount
)
AnyFeature = OwnFeature | OperatorPlugin
FeatureConfig = Annotated[
    OwnFeature,
    Field(discriminator="kind"),
    open_to("falconer.operators", key="kind", own=OWN, base=OperatorPlugin),
    SerializeAsAny(),
]


def needs_numbers(config: AnyFeature) -> bool:
    """Whether the column must hold numbers."""
    if isinstance(config, ColumnOperator):
        return config.needs_numbers
    return not isinstance(config, Counted | OfLists)


def encoded_names(name: str, config: AnyFeature) -> tuple[str, ...]:
    """The columns that the feature becomes: one of its name, or one for each place of a list."""
    if isinstance(config, Listed):
        return tuple(f"{name}.{place}" for place in range(1, config.length + 1))
    return (name,)


def columns_of(name: str, config: AnyFeature) -> tuple[str, ...]:
    """The source's columns that the feature of that name is made of."""
    if isinstance(config, TimePart) or (isinstance(config, DifferenceLag) and config.of == "time"):
        return ()
    if isinstance(config, GroupOperator):
        return (*(config.by or (name,)), *numbers_of(name, config))
    if isinstance(config, OneColumn):
        return (config.column or name,)
    return (isinstance(config, Combined | Hashed) and config.columns) or (name,)


def numbers_of(name: str, config: AnyFeature) -> tuple[str, ...]:
    """Those of the feature's columns that must hold numbers."""
    if isinstance(config, GroupStatistic):
        return (config.column,) if config.column else ()
    return columns_of(name, config) if needs_numbers(config) else ()


def applied(name: str, config: ColumnOperator, column: pl.Series, state: Any) -> pl.Series:
    """The encoded column, int32 or float32; `DataError` where the operator gave anything else."""
    size = config.cardinality(state)
    found = config.apply(column, state)
    package = f" of {config.package}" if isinstance(config, OperatorPlugin) else ""
    at_fault = f"feature {name}: operator {config.kind}{package}"
    if not isinstance(found, pl.Series) or len(found) != len(column):
        raise DataError(f"{at_fault}: must give a Polars series of {len(column):,} rows")
    encoded = found.cast(pl.Float32 if size is None else pl.Int32, strict=False)
    right = encoded.is_finite() if size is None else (encoded >= -1) & (encoded < size)
    right = right.fill_null(value=False)
    if not right.all():
        wanted = "finite numbers" if size is None else f"ids from -1 to {size - 1}"
        row = int((~right).arg_true()[0])
        raise DataError(f"{at_fault}: must give {wanted}, and row {row} has {found[row]!r}")
    return encoded
