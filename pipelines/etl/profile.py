"""What the events of a window look like before anything is built of them: volume, hours, values."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl

from falconer.pipelines.etl.at_hand import at_hand
from falconer.pipelines.etl.contract import check
from falconer.pipelines.etl.raw import feature_column
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import read
from falconer.pipelines.etl.split.config import SECONDS_PER_DAY, seconds

MOST_VALUES = 1000
"""Of a categorical feature that are counted apart; the rest is one bin."""
REST, NULL = "(other)", "(null)"


def profile(recipe: EtlRecipe, first: date, end: date) -> dict[str, Any]:
    """Counts of the events from `first` to before `end`, as the contract leaves them.

    `distributions`: name -> bin -> count; `hour` is that of the day in UTC, numbers are binned by
    their power of two. `doubled` events repeat another one in every column; `new_items` are events
    of items that no earlier event has; `days` counts them by day (UTC). Raises `DataError` where
    the contract refuses the source.
    """
    with at_hand(recipe) as local:
        raw = read(local.source)
        checked = check(raw, recipe.contract, numeric=recipe.features.numeric())
    events = checked.raw.events
    start, stop = seconds(first), seconds(end)
    window = events.filter(pl.col("time") >= start, pl.col("time") < stop)
    known = events.filter(pl.col("time") < start)["item"].unique()
    new = window["item"].is_in(known.implode()).not_().sum()
    distinct = window.drop("ordinal").unique().height
    return {
        "events": window.height,
        "users": window["user"].n_unique(),
        "items": window["item"].n_unique(),
        "new_items": int(new),
        "doubled": window.height - distinct,
        "days": _days(window, first, end),
        "later": events.filter(pl.col("time") >= stop).height,
        "rejected": sum(table.height for table in checked.rejected.values()),
        "distributions": _distributions(window, recipe),
    }


def _days(window: pl.DataFrame, first: date, end: date) -> dict[str, int]:
    """Day (UTC) -> its events, also of days without."""
    number = (window["time"] - seconds(first)) // SECONDS_PER_DAY
    counts = dict(number.value_counts(name="n").rows())
    days = range((end - first).days)
    return {(first + timedelta(day)).isoformat(): counts.get(day, 0) for day in days}


def _distributions(window: pl.DataFrame, recipe: EtlRecipe) -> dict[str, dict[str, int]]:
    hours = (window["time"] // 3600 % 24).cast(pl.String)
    found = {"hour": _counted(hours)}
    for name in recipe.features.columns("event"):
        column = window[feature_column(name)]
        text = _powers(column) if column.dtype.is_float() else column.cast(pl.String)
        found[name] = _counted(text)
    return found


def _powers(values: pl.Series) -> pl.Series:
    """Each number's power of two, with its sign."""
    power = values.abs().log(2).floor().cast(pl.Int32, strict=False).cast(pl.String)
    sign = pl.when(values < 0).then(pl.lit("-")).otherwise(pl.lit("+"))
    whole = pl.when(values == 0).then(pl.lit("0")).otherwise(sign + power)
    return pl.select(whole.alias("bin"))["bin"]


def _counted(values: pl.Series) -> dict[str, int]:
    counts = values.fill_null(NULL).value_counts(name="n").rows()
    ranked = sorted(counts, key=lambda row: (-row[1], row[0]))
    found = {str(value): int(n) for value, n in ranked[:MOST_VALUES]}
    rest = sum(n for _, n in ranked[MOST_VALUES:])
    return found | ({REST: rest} if rest else {})
