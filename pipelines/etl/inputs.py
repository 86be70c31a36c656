"""What operators are given: a feature's columns of the source, in the types that they take."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping

import polars as pl

from falconer.pipelines.data.schema import FEATURE, name_of
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.chosen import Columns
from falconer.pipelines.etl.column_operators import TimePart
from falconer.pipelines.etl.columns import are_within, categories, combined, like
from falconer.pipelines.etl.features import Encoding
from falconer.pipelines.etl.grouped_operators import GroupStatistic, TargetEncoding
from falconer.pipelines.etl.lists import parted, sliced
from falconer.pipelines.etl.looking_back import FOLD_HASH, lag_column
from falconer.pipelines.etl.operators import (
    AnyFeature,
    DifferenceLag,
    Listed,
    OfLists,
    ValueCount,
    columns_of,
    needs_numbers,
)
from falconer.pipelines.etl.raw import event_column, feature_column

LARGEST = sys.float_info.max


def canonical(frame: Columns, features: Mapping[str, AnyFeature], table: str) -> pl.DataFrame:
    """The feature columns in the types that engines take: integer categories int64, others string,
    numbers float64.

    A number that is not finite becomes null. Raises `DataError` where a column is missing.
    """
    there = [name_of(column) for column in frame.columns if column.startswith(FEATURE)]
    wanted = [column for name, one in features.items() for column in columns_of(name, one)]
    missing = [name for name in wanted if name not in there]
    if missing:
        near = difflib.get_close_matches(missing[0], there, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(there) or 'nothing'}"
        raise DataError(
            f"features.{table}.{missing[0]}: the source's {table}s have no such column; {hint}"
        )
    return pl.DataFrame({name: _input(frame, name, one) for name, one in features.items()})


def _input(frame: Columns, name: str, config: AnyFeature) -> pl.Series:
    """What the operator of a feature is given."""
    if isinstance(config, TimePart):
        if "time" not in frame.columns:
            raise DataError(f"features.event.{name}: the events have no time; set columns.time")
        return frame["time"]
    if isinstance(config, DifferenceLag):
        return _finite(frame[lag_column(name)])
    if isinstance(config, TargetEncoding | GroupStatistic):
        return _of_groups(frame, name, config)
    columns = [frame[feature_column(column)] for column in columns_of(name, config)]
    if isinstance(config, OfLists):
        return _of_lists(columns[0], config)
    return _canonical(columns[0], config) if len(columns) == 1 else combined(columns)


def _of_lists(column: pl.Series, config: AnyFeature) -> pl.Series:
    """Lists of texts, or how many values they have."""
    if isinstance(config, Listed):
        return sliced(parted(column, config), config)
    assert isinstance(config, ValueCount)
    return parted(column, config).list.len().cast(pl.Float64)


def _of_groups(frame: Columns, name: str, config: TargetEncoding | GroupStatistic) -> pl.Series:
    """Structs of `key` and `value`, and of `fold` for target encoding."""
    key = combined([frame[feature_column(column)] for column in config.by or (name,)])
    if isinstance(config, TargetEncoding):
        fold = (frame[FOLD_HASH] % config.folds).cast(pl.Int64)
        value = event_column(frame, config.target, f"features.event.{name}.target")
        columns = {"key": key, "value": _finite(value), "fold": fold}
    else:
        value = pl.repeat(None, len(frame), dtype=pl.Float64, eager=True)
        if config.column is not None:
            value = _finite(frame[feature_column(config.column)])
        columns = {"key": key, "value": value}
    return pl.DataFrame(columns).to_struct(name)


def continued(frame: pl.DataFrame, known: Mapping[str, Encoding]) -> pl.DataFrame:
    """`frame` as `canonical` makes it, with categories in the types of those that they continue.

    Raises `DataError` where text stands in a column that had whole numbers.
    """
    return pl.DataFrame(
        {name: _continued(name, frame[name], known.get(name)) for name in frame.columns}
    )


def _continued(name: str, column: pl.Series, known: Encoding | None) -> pl.Series:
    values = known.values if known else None
    if values is None or values.is_empty() or values.dtype == column.dtype:
        return column
    if column.dtype == pl.List:  # of texts, always
        return column
    found = like(column, values.dtype)
    if found is None:
        raise DataError(
            f"feature {name}: the dataset that this one extends has whole numbers there, and some "
            "values here are none; mend them, or leave out `extends` to open a new lineage"
        )
    return found


def _canonical(column: pl.Series, config: AnyFeature) -> pl.Series:
    if not needs_numbers(config):
        return categories(column)
    return _finite(column)


def _finite(column: pl.Series) -> pl.Series:
    number = column.cast(pl.Float64)
    if are_within(number, LARGEST):
        return number
    return number.set(~number.is_finite().fill_null(value=True), None)
