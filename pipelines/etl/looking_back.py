"""What features take from an event's place among others: the user's events before it, and the fold
of target encoding. It is put beside the events once they are split, for rows that are picked from
them later."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from falconer.pipelines.data.schema import FEATURE
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.grouped_operators import TargetEncoding
from falconer.pipelines.etl.operators import AnyFeature, DifferenceLag
from falconer.pipelines.etl.raw import event_column
from falconer.pipelines.etl.split.hashes import HASH, event_hashes
from falconer.pipelines.etl.split.parts import Part, mixed

FOLD_HASH = f"{FEATURE}\0fold"
"""uint64, null but in train. No feature's name has the zero byte."""
FOLD_SEED = 1906
"""Other than that of any split, so that folds have nothing to do with it."""
TARGETS = ("label", "rating", "weight")


def lag_column(name: str) -> str:
    """The column with the difference of the feature of that name."""
    return f"{FEATURE}\0lag {name}"


def with_place(events: pl.DataFrame, features: Mapping[str, AnyFeature]) -> pl.DataFrame:
    """The events, which are split and in order, with what these features take from their place.

    Raises `DataError` where there are no users or times for it.
    """
    lags = {n: one for n, one in features.items() if isinstance(one, DifferenceLag)}
    columns = [_difference(events, name, one) for name, one in lags.items()]
    if any(isinstance(one, TargetEncoding) for one in features.values()):
        columns.append(_fold_hashes(events))
    return events.with_columns(columns)


def _difference(events: pl.DataFrame, name: str, config: DifferenceLag) -> pl.Series:
    """To the value of the user's event so many before. An event of train looks back at train alone,
    as splits that draw by chance have others before it too; null where there is no such event."""
    if "user" not in events.columns:
        raise DataError(f"features.event.{name}: the events have no user; set columns.user")
    if config.of == "time" and "time" not in events.columns:
        raise DataError(f"features.event.{name}: the events have no time; set columns.time")
    column = config.column or name
    value = (
        events["time"]
        if config.of == "time"
        else event_column(events, column, f"features.event.{name}")
    )
    rows = events.select("user", value.cast(pl.Float64).alias("value"), is_train=_is_train())
    before = pl.col("value").shift(config.shift)
    past = pl.when("is_train").then(before.over("user", "is_train")).otherwise(before.over("user"))
    return rows.select((pl.col("value") - past).alias(lag_column(name))).to_series()


def _fold_hashes(events: pl.DataFrame) -> pl.Series:
    keyed = {"user", "item"} & set(events.columns)
    plain = events if keyed else events.select(pl.exclude(*TARGETS, "part", HASH))
    hashes = events[HASH] if keyed else pl.Series(event_hashes(plain), dtype=pl.UInt64)
    drawn = pl.Series(mixed(hashes.to_numpy(), FOLD_SEED), dtype=pl.UInt64)
    of_train = pl.when(_is_train()).then(drawn)
    return events.select(of_train.alias(FOLD_HASH)).to_series()


def _is_train() -> pl.Expr:
    return pl.col("part") == int(Part.TRAIN)
