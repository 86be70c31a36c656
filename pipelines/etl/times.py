"""Times as they came, converted to instants in the resolution of their source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from falconer.pipelines.data.schema import name_of
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.columns import Column, Fault, null_fault, true, wrong_type

TOO_LARGE = 10**11
"""As seconds since 1970 this is the year 5138: such a number is in a finer unit."""
NANOSECONDS = 10**9
"""In a second."""
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": NANOSECONDS}
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
EXACT_FLOAT32 = 2**24
ISO_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%d",
)


@dataclass(frozen=True)
class Instants:
    """`seconds` int64 since 1970 UTC, null where there is no time; `fraction` int64: nanoseconds
    after them."""

    seconds: pl.Series
    fraction: pl.Series

    def or_else(self, other: Instants) -> Instants:
        """The instants, and those of `other` where there is none."""
        known = self.seconds.is_not_null()
        return Instants(
            self.seconds.zip_with(known, other.seconds),
            self.fraction.zip_with(known, other.fraction),
        )


@dataclass(frozen=True)
class Times(Column):
    """`values` are seconds; `fraction` int64 orders what happened within one: nanoseconds, null
    as 0."""

    fraction: pl.Series


def times(column: pl.Series, unit: str, *, earliest: datetime, latest: datetime) -> Times:
    """Int64 seconds since 1970 UTC, and the fractions apart; a date-time without a zone counts as
    UTC.

    `unit` tells how numbers and text are meant (see `Raw.time_unit`). Faults: null, not a time,
    float32 too large to be exact, in a finer unit than `unit` says, in the future (after `latest`),
    before `earliest`. Raises `DataError` where the type cannot hold a time.
    """
    absent = null_fault(column)
    if column.dtype.is_float():
        absent = Fault(absent.reason, absent.mask | true(column.is_nan()))
    instants = _instants(column, unit)
    seconds, name = instants.seconds, name_of(column.name)
    faults = (
        absent,
        Fault(f"{name} is not a time", seconds.is_null() & ~absent.mask, _reading_advice(unit)),
        *_inexact(column),
        *_finer_units(column, seconds, unit),
        Fault(
            f"{name} is in the future",
            true(seconds > int(latest.timestamp())),
            f"after {latest.isoformat(sep=' ', timespec='seconds')}; set contract.latest to allow "
            "later ones",
        ),
        Fault(
            f"{name} is before {earliest.date()}",
            true(seconds < int(earliest.timestamp())),
            "set contract.earliest to allow earlier ones; numbers that are no times but an order, "
            "or are in a coarser unit than source.time_unit says, look like this too",
        ),
    )
    return Times(seconds.alias(column.name), faults, instants.fraction.fill_null(0))


def _inexact(column: pl.Series) -> Iterator[Fault]:
    if column.dtype == pl.Float32:
        yield Fault(
            f"{name_of(column.name)} is too large to be exact in 32 bits",
            true(column.abs() > EXACT_FLOAT32),
            "write it as int64, float64 or a date-time: as float32, times of today are 128 s apart",
        )


def _reading_advice(unit: str) -> str:
    if unit == "iso":
        return (
            "ISO 8601 is wanted, like 2024-05-31 or 2024-05-31T12:00:00Z; source.time_unit takes "
            "other forms"
        )
    forms = "s, ms, us, ns, iso, or a format such as '%d/%m/%Y %H:%M'"
    return f"time_unit is {unit!r} under [source]; set it to {forms}"


def _finer_units(column: pl.Series, seconds: pl.Series, unit: str) -> Iterator[Fault]:
    """A fault for each unit finer than `unit`, finest first, for numbers so large that they must be
    in it."""
    if unit not in UNITS or column.dtype.is_temporal():
        return
    for finer, per_second in reversed(UNITS.items()):
        if per_second > UNITS[unit]:
            yield Fault(
                f"{name_of(column.name)} looks like {UNIT_NAMES[finer]}",
                true(seconds > TOO_LARGE * (per_second // UNITS[unit] // 1000)),
                f'set time_unit = "{finer}" under [source]',
            )


def _instants(column: pl.Series, unit: str) -> Instants:
    if column.dtype == pl.Date:
        return _of_datetimes(column.cast(pl.Datetime("us")))
    if column.dtype == pl.Datetime:
        return _of_datetimes(column)
    if column.dtype == pl.String:
        return _of_text(column.str.strip_chars(), unit)
    if column.dtype == pl.Null:
        return _whole(column.cast(pl.Int64), 1)
    if not column.dtype.is_numeric():
        raise wrong_type(column, "a date-time, a number or text")
    if unit not in UNITS:
        return _of_text(column.cast(pl.String), unit)
    return _of_numbers(column, UNITS[unit])


def _of_datetimes(column: pl.Series) -> Instants:
    assert isinstance(column.dtype, pl.Datetime)
    return _whole(column.to_physical(), UNITS[column.dtype.time_unit])


def _of_numbers(column: pl.Series, per_second: int) -> Instants:
    if not column.dtype.is_float():
        return _whole(column.cast(pl.Int64, strict=False), per_second)
    exact = column.cast(pl.Float64) / per_second
    floor = exact.floor()
    fraction = ((exact - floor) * NANOSECONDS).cast(pl.Int64, strict=False)
    return Instants(floor.cast(pl.Int64, strict=False), fraction)


def _whole(column: pl.Series, per_second: int) -> Instants:
    return Instants(column // per_second, (column % per_second) * (NANOSECONDS // per_second))


def _of_text(text: pl.Series, unit: str) -> Instants:
    if unit in UNITS:
        whole = _whole(text.cast(pl.Int64, strict=False), UNITS[unit])
        if whole.seconds.null_count() == text.null_count():
            return whole
        return whole.or_else(_of_numbers(text.cast(pl.Float64, strict=False), UNITS[unit]))
    if unit != "iso":
        return _parsed(text, unit)
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d)[Tt]", "${1} ").str.replace(r"[Zz]$", "+00:00")
    instants = _parsed(text, ISO_FORMATS[0])
    for form in ISO_FORMATS[1:]:
        if instants.seconds.null_count() == text.null_count():
            break
        instants = instants.or_else(_parsed(text, form))
    return instants


def _parsed(text: pl.Series, form: str) -> Instants:
    """No instant where `text` is not of the strptime format `form`; `DataError` where that is no
    format."""
    try:
        found = _of_datetimes(_naive(text.str.to_datetime(form, time_unit="us", strict=False)))
        if not text.str.contains(r"\.\d{7}").any():
            return found
        # Nanoseconds have a narrower range of years: only their fractions are taken.
        fine = _of_datetimes(_naive(text.str.to_datetime(form, time_unit="ns", strict=False)))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"source.time_unit = {form!r} is not a usable format: {str(error).splitlines()[0]}"
        ) from error
    known = fine.seconds.is_not_null()
    return Instants(found.seconds, fine.fraction.zip_with(known, found.fraction))


def _naive(column: pl.Series) -> pl.Series:
    """A date-time column, empty or not, whose values count from 1970 UTC."""
    return column.dt.convert_time_zone("UTC") if column.dtype.time_zone else column  # type: ignore[attr-defined]
