"""What a source hands over: tables under canonical names, with values as they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from falconer.pipelines.data.schema import FEATURE
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.chosen import Columns, taken
from falconer.pipelines.etl.dense import stable_order

OURS = ("ordinal", "user", "item", "time", "rating", "weight", "label")
"""Columns with a fixed meaning. Every other column of `Raw` is a feature, whose name stands behind
a prefix: so it may have any name."""


FRACTION = "fraction"
"""Beside `time` where a source has finer times: nanoseconds after the second."""


def order_of(events: pl.DataFrame) -> list[str]:
    """The columns that order events: (time, fraction, ordinal), as far as there are times."""
    return [name for name in ("time", FRACTION, "ordinal") if name in events.columns]


def in_order(events: pl.DataFrame) -> pl.DataFrame:
    """The events in order; to see that they are takes less time than to sort them again, and as
    they come from a source, by ordinal, their times alone need to be looked at."""
    names = order_of(events)
    if _is_in_order([events[name] for name in names]):
        return events
    if not events["ordinal"].is_sorted():
        return events.sort(names)
    if FRACTION in names or not _are_near(events["time"]):
        return events.sort(names[:-1], maintain_order=True)
    times = events["time"].to_numpy()
    order = stable_order(times - times.min())
    return pl.DataFrame({column.name: taken(column, order) for column in events})


def _are_near(times: pl.Series) -> bool:
    """Whether seconds lie within a century, as all that a recipe lets in do."""
    values = times.to_numpy()
    return int(values.max()) - int(values.min()) < 2**32


def _is_in_order(columns: Sequence[pl.Series]) -> bool:
    tied = np.ones(max(len(columns[0]) - 1, 0), np.bool_)
    for column in columns:
        values = column.to_numpy()
        if (tied & (values[1:] < values[:-1])).any():
            return False
        tied &= values[1:] == values[:-1]
    return True


def without_idle_fraction(events: pl.DataFrame) -> pl.DataFrame:
    """The events without `FRACTION` where all of it is 0: those with finer times were rejected."""
    if FRACTION in events.columns and not (events[FRACTION] != 0).any():
        return events.drop(FRACTION)
    return events


def feature_column(name: str) -> str:
    """The column of the feature of that name."""
    return FEATURE + name


def event_column(events: Columns, name: str, key: str) -> pl.Series:
    """The feature's column of that name, or one of ours, for which `key` of a recipe asks;
    `DataError` where there is none."""
    for column in (feature_column(name), name):
        if column in events.columns and (column != name or name in OURS):
            return events[column]
    raise DataError(
        f"{key}.{name}: the events have no such column; map it under [source], or name another one"
    )


def with_features(table: pl.DataFrame) -> pl.DataFrame:
    """`table` with every column that has no fixed meaning as a feature's column."""
    return table.rename({name: feature_column(name) for name in table.columns if name not in OURS})


@dataclass(frozen=True)
class Raw:
    """Interactions and what is known of users and items, before or after `contract.check`.

    After the check the types are the canonical ones given here. Before it, a source may hand over
    text (from CSV), date-times and any number type: the check converts them, and rejects a row
    whose value cannot be converted.

    events      `ordinal` int64 (0-based row in the source), `user` and `item` (int64 or string;
                only for the task `labels` may they be absent), optional `time` int64 seconds since
                1970 UTC with `fraction` int64 (the nanoseconds after them, where any is not 0),
                `rating`, `weight` and `label` float64; then event features
    users       `user`, optional `label` string, features; or None
    items       `item`, optional `label` string, features; or None
    candidates  `user`, `item` (the held-out positive) and `candidates`: a list of all items to
                rank, the positive
                among them, ascending so that the position tells nothing; or None
    logged      `user`, `item`, `time`, `reward` and `propensity`: who was shown what in the test
                window, with which probability, and what came of it; or None
    notes       what a reader of a report must know of the data: licence, published protocol
    time_unit   how numbers and text in `time` are to be read, before the check: "s", "ms", "us" or
                "ns" since 1970 UTC,
                "iso" for ISO 8601, or a strptime format such as "%d/%m/%Y %H:%M"
    files       (name, rows) of each event file in reading order, so that a message can name file
                and row
    parts       (name of a `Part`, rows) in reading order, where the source tells train, validation
                and test apart
    malformed   "events", "users" or "items" -> rows of a text file that do not fit its header:
                `row`, `source_text`,
                `reason`.
                `users` and `items` may bear an `ordinal` too, which the check takes away
    """

    events: pl.DataFrame
    users: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    candidates: pl.DataFrame | None = None
    logged: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()
    time_unit: str = "s"
    files: tuple[tuple[str, int], ...] = ()
    parts: tuple[tuple[str, int], ...] = ()
    malformed: Mapping[str, pl.DataFrame] = field(default_factory=dict)
