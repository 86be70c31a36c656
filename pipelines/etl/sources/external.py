"""Tables beside the events whose columns events get: the row of the same keys, and of those the
newest that was known at the event's time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.columns import combined
from falconer.pipelines.etl.raw import feature_column
from falconer.pipelines.etl.sources.tables import Table
from falconer.pipelines.etl.times import NANOSECONDS, Times, times

KEY, KNOWN, ROW = "\0key", "\0known", "\0row"
"""Columns of ours, while tables are joined: no other is called so."""
FARTHEST = 9_200_000_000
"""Seconds: a date-time of nanoseconds ends there, in 2261."""
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class External(Config):
    """A table that says more of events: prices by product and day, say."""

    path: str
    on: dict[str, str] = Field(min_length=1)
    """Column of the events, as the source calls it -> column of the table."""
    columns: tuple[str, ...] = Field(min_length=1)
    """What events get, as columns called like the table's; null where no row of the table fits."""
    time: str | None = None
    """The column of the table that says from when on a row was known: an event gets the newest row
    that is not after it. None: a key has one row, which always holds."""

    def read_columns(self) -> dict[str, str]:
        """Our name -> the table's, of what is read of it."""
        keys = {feature_column(name): name for name in self.on.values()}
        time = {} if self.time is None else {"time": self.time}
        return {**keys, **{feature_column(name): name for name in self.columns}, **time}


@dataclass(frozen=True)
class Beside:
    """A table that was read: `rows` have `KEY`, in order of `KNOWN` where there are times, and the
    columns that events get."""

    config: External
    rows: pl.DataFrame
    unit: str

    @classmethod
    def of(cls, config: External, table: Table, unit: str) -> Beside:
        """Raises `DataError` where a row does not fit the header or has no time, or where it cannot
        be told which of two rows counts."""
        if table.malformed.height:
            raise DataError(
                f"{config.path}: {table.malformed.height:,} rows do not fit its header; mend them"
            )
        key = combined([table.rows[feature_column(name)] for name in config.on.values()])
        rows = table.rows.select(map(feature_column, config.columns)).with_columns(key.alias(KEY))
        unique = [KEY]
        if config.time is not None:
            rows = rows.with_columns(_moments(config, table.rows["time"], unit).alias(KNOWN))
            unique = [KEY, KNOWN]
        rows = rows.drop_nulls(KEY)
        if (twice := rows.filter(rows.select(unique).is_duplicated())).height:
            shown = str(twice[KEY][0]).replace("\x1f", ", ")
            at_once = "" if config.time is None else f" of one {config.time}"
            raise DataError(
                f"{config.path}: has several rows{at_once} for {shown!r}; leave one, or say from "
                "when on each was known (time)"
            )
        return cls(config, rows if config.time is None else rows.sort(KNOWN), unit)

    def joined(self, events: pl.DataFrame, named: Sequence[str]) -> pl.DataFrame:
        """The events, as they came, with the table's columns; `named` are the events' columns of
        the keys.

        An event without a time, which the check will reject, gets null.
        """
        asked = pl.DataFrame({KEY: combined([events[name] for name in named])})
        asked = asked.with_row_index(ROW)
        if self.config.time is None:
            found = asked.join(self.rows, on=KEY, how="left", maintain_order="left")
        else:
            moments = times(events["time"], self.unit, earliest=EARLIEST, latest=LATEST)
            asked = asked.with_columns(_nanoseconds(moments).alias(KNOWN))
            timed = asked.drop_nulls([KEY, KNOWN]).sort(KNOWN)
            known = timed.join_asof(self.rows, on=KNOWN, by=KEY, check_sortedness=False)
            found = asked.select(ROW).join(known, on=ROW, how="left", maintain_order="left")
        columns = [found[feature_column(name)] for name in self.config.columns]
        return events.with_columns(columns)


def _moments(config: External, column: pl.Series, unit: str) -> pl.Series:
    found = times(column, unit, earliest=EARLIEST, latest=LATEST)
    for fault in found.faults:
        if fault.mask.any():
            row = int(fault.mask.arg_true()[0])
            raise DataError(
                f"{config.path}: row {row} (counted from 0): {config.time}: {fault.reason}; mend "
                "the table, or set source.time_unit for both"
            )
    return _nanoseconds(found)


def _nanoseconds(moments: Times) -> pl.Series:
    """Since 1970, in 64 bits: what lies centuries away from any event stays on its side."""
    return moments.values.clip(-FARTHEST, FARTHEST) * NANOSECONDS + moments.fraction
