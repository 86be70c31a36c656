"""Cleaning: which sound events count, each drop counted by name, and the order that everything
after keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import polars as pl
from pydantic import Field, FiniteFloat, model_validator

from falconer.pipelines.config import Config
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.columns import categories, true
from falconer.pipelines.etl.raw import event_column, in_order
from falconer.pipelines.etl.split.hashes import repeated


class Keep(Config):
    """Which events stay, by one column; what is null stays unless `nulls` is false."""

    least: FiniteFloat | None = None
    most: FiniteFloat | None = None
    values: tuple[str, ...] | None = None
    """As text; of numbers, whole ones with or without their `.0`."""
    nulls: bool = True

    @model_validator(mode="after")
    def _keeps_some_and_not_all(self) -> Keep:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("least is above most, so that no event could stay")
        if self == Keep.model_construct():
            raise ValueError("says nothing; give least, most, values or nulls = false")
        return self


class CleanConfig(Config):
    """Thresholds and what to do with repeats."""

    keep: dict[str, Keep] = Field(default_factory=dict)
    """Event column (`user`, `item`, `time`, `rating`, `weight`, `label`, or one of the source) ->
    which of its values are events that count."""
    min_rating: float | None = None
    """Keep events whose rating is at least this."""
    min_weight: float | None = None
    """Keep events whose weight is at least this, for example 1 where a weight is a quantity."""
    weights: Literal["keep", "drop"] = "keep"
    """drop: each event counts once; the weight served `min_weight` only. A quantity is seldom
    evidence of so much preference."""
    deduplicate: Literal["none", "events", "pairs_first", "pairs_last"] = "none"
    """events: of rows that agree in every column one is kept; pairs_first, pairs_last: of all
    events of a user with an item the first or last one is kept."""


def clean(events: pl.DataFrame, config: CleanConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """Drop what `config` says; returns the rest in order (`raw.order_of`), and the drops by name.

    Identical events that stay because `deduplicate` is "none" are counted as `duplicate events
    kept`. Raises `DataError` where a threshold has no column, or no event is left.
    """
    kept, counts = cleaned(events, config)
    if kept.is_empty():
        raise nothing_left(counts)
    return kept, {name: count for name, count in counts.items() if count}


def nothing_left(counts: Mapping[str, int]) -> DataError:
    """The refusal where no event is left; `counts` are the drops by name."""
    drops = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
    return DataError(f"no event is left after cleaning ({drops}); loosen the values under [clean]")


def cleaned(events: pl.DataFrame, config: CleanConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """As `clean`, of all events or of all of some users'; none may be left, and a count may be
    0."""
    counts: dict[str, int] = {}
    events = _kept(events, config.keep, counts)
    for column, least in (("rating", config.min_rating), ("weight", config.min_weight)):
        if least is not None:
            kept = _at_least(events, column, least)
            counts[f"dropped: {column} below {least:g}"] = events.height - kept.height
            events = kept
    events = in_order(events)
    repeats = _repeats(events, config.deduplicate)
    counts[_REPEATS[config.deduplicate]] = len(repeats)
    if config.deduplicate != "none":
        events = events.filter(~pl.col("ordinal").is_in(repeats.implode()))
    if config.weights == "drop":
        events = events.drop("weight", strict=False)
    return events, counts


MOST_FRACTIONS = 8
"""More of them tell hardly more events apart."""

_REPEATS = {
    "none": "duplicate events kept",
    "events": "dropped: duplicate event",
    "pairs_first": "dropped: later event of a pair",
    "pairs_last": "dropped: earlier event of a pair",
}


def _kept(events: pl.DataFrame, keep: Mapping[str, Keep], counts: dict[str, int]) -> pl.DataFrame:
    """The events that stay; the others are counted for the first reason that they go for."""
    gone = pl.repeat(value=False, n=len(events), eager=True)
    for name, one in keep.items():
        for reason, mask in _left_out(event_column(events, name, "clean.keep"), name, one):
            counts[f"dropped: {reason}"] = int((mask & ~gone).sum())
            gone = gone | mask
    return events.filter(~gone) if keep else events


def _left_out(column: pl.Series, name: str, keep: Keep) -> Iterator[tuple[str, pl.Series]]:
    """Why rows go, and which."""
    if (keep.least, keep.most) != (None, None) and not column.dtype.is_numeric():
        raise DataError(
            f"clean.keep.{name}: least and most need numbers, and the column holds "
            f"{column.dtype}; make it a continuous feature, or use values"
        )
    if not keep.nulls:
        yield f"{name} is null", column.is_null()
    if keep.least is not None:
        yield f"{name} below {keep.least:g}", true(column < keep.least)
    if keep.most is not None:
        yield f"{name} above {keep.most:g}", true(column > keep.most)
    if keep.values is not None:
        yield f"{name} is another value", ~_one_of(column, keep.values)


def _one_of(column: pl.Series, values: Sequence[str]) -> pl.Series:
    """Whether each is one of these, or null. Ratings and labels are floats, whatever they were
    written as."""
    if column.dtype.is_float():
        values = [value.removesuffix(".0") for value in values]
    return categories(column).cast(pl.String).is_in(values).fill_null(value=True)


def _at_least(events: pl.DataFrame, column: str, least: float) -> pl.DataFrame:
    if column not in events.columns:
        raise DataError(
            f"clean.min_{column} is set, but the events have no {column}; map one under [source], "
            "or take it away"
        )
    return events.filter(pl.col(column) >= least)


def _repeats(events: pl.DataFrame, rule: str) -> pl.Series:
    """Ordinals of the events that repeat another one, which stays."""
    if rule in ("pairs_first", "pairs_last"):
        if not {"user", "item"} <= set(events.columns):
            raise DataError(
                f'clean.deduplicate = "{rule}" needs users and items, and the '
                'source has none; use "events"'
            )
        kept = events.unique(["user", "item"], keep="first" if rule == "pairs_first" else "last")
        return events.join(kept, on="ordinal", how="anti")["ordinal"]
    # Few rows share a hash of some columns: only those are compared in full, which saves time and
    # memory.
    candidates = events
    for names in (_telling(events), pl.exclude("ordinal")):
        candidates = candidates.filter(repeated(candidates.select(names).hash_rows()))
    first = (
        candidates.select(pl.exclude("ordinal"))
        .select(pl.struct(pl.all()).is_first_distinct())
        .to_series()
    )
    return candidates["ordinal"].filter(~first)


def _telling(events: pl.DataFrame) -> list[str] | pl.Expr:
    """Columns in which few events agree: user, item and time, else some fractions, if any."""
    keys = [name for name in events.columns if name in ("user", "item", "time")]
    fractions = [name for name, dtype in events.schema.items() if dtype.is_float()]
    return keys or fractions[:MOST_FRACTIONS] or pl.exclude("ordinal")
