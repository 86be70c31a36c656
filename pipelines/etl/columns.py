"""One column as it came, converted to its canonical type, with its faults row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from falconer.pipelines.data.schema import name_of
from falconer.pipelines.errors import DataError

EXACT_FLOAT = 2**53
"""Whole numbers up to here are exact in a float64."""
TOO_LARGE = 10**11
"""As seconds since 1970 this is the year 5138: such a number is in a finer unit."""
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
WIDE = (pl.UInt64, pl.Int128)
"""Integers that may not fit int64."""
ENCODED_TEXT = (pl.Categorical, pl.Enum)
ISO_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%d",
)


@dataclass(frozen=True)
class Fault:
    """A reason to reject, the rows that it holds for (`mask`: no nulls), and what the reader can do
    about it."""

    reason: str
    mask: pl.Series
    advice: str = ""


@dataclass(frozen=True)
class Column:
    """`values` in the canonical type, without meaning where a fault holds; `faults` in order of
    precedence."""

    values: pl.Series
    faults: tuple[Fault, ...]


def identifiers(column: pl.Series) -> Column:
    """Ids of users or items: whole numbers become int64, text stays text (`"007"` never becomes 7).

    Faults: null, NaN (the text "nan" too, which is what many tools write for it), empty, a
    fraction, outside int64. Raises `DataError` where the type cannot hold an id (dates, lists,
    booleans).
    """
    if column.dtype == pl.Null:
        column = column.cast(pl.String)
    if column.dtype.is_integer():
        return _integer_ids(column)
    if column.dtype.is_float():
        return _float_ids(column)
    if column.dtype == pl.String or column.dtype in ENCODED_TEXT:
        return _text_ids(column.cast(pl.String))
    raise _wrong_type(column, "a whole number or text")


def _integer_ids(column: pl.Series) -> Column:
    values = column.cast(pl.Int64, strict=False)
    absent = _null(column)
    return Column(
        values,
        (
            absent,
            Fault(f"{name_of(column.name)} is outside int64", values.is_null() & ~absent.mask),
        ),
    )


def _float_ids(column: pl.Series) -> Column:
    whole = (column == column.round()) & (column.abs() <= EXACT_FLOAT)
    faults = (
        _null(column),
        Fault(f"{name_of(column.name)} is NaN", _true(column.is_nan())),
        Fault(f"{name_of(column.name)} is not a whole number", ~_true(whole)),
    )
    return Column(column.cast(pl.Int64, strict=False), faults)


def _text_ids(column: pl.Series) -> Column:
    bare = column.str.strip_chars()
    empty, nan = _true(bare == ""), _true(bare.str.to_lowercase() == "nan")
    faults = (
        _null(column),
        Fault(f"{name_of(column.name)} is empty", empty),
        Fault(f"{name_of(column.name)} is NaN", nan),
    )
    return Column(column, faults)


def text(column: pl.Series) -> pl.Series:
    """Text, of numbers and dates too; raises `DataError` for what has no text of its own."""
    return plain(column, "text").cast(pl.String)


def plain(column: pl.Series, wanted: str) -> pl.Series:
    """`column`, where bytes that are UTF-8 and encoded text are text. Raises `DataError` that says
    the cast to make for other bytes, lists, maps, structures, durations and foreign objects."""
    if column.dtype == pl.Binary:
        decoded = column.cast(pl.String, strict=False)
        if decoded.null_count() > column.null_count():
            raise _wrong_type(column, wanted)
        return decoded
    if column.dtype.is_nested() or column.dtype in (pl.Duration, pl.Object):
        raise _wrong_type(column, wanted)
    return column.cast(pl.String) if column.dtype in ENCODED_TEXT else column


def categories(column: pl.Series) -> pl.Series:
    """Int64 of integers that always fit, else text: the type follows from the column's, never from
    its values. A whole number has no point in text, so that integers mean the same where a null
    made them floats.

    Raises `DataError` as `plain` does.
    """
    column = plain(column, "a number or text")
    if column.dtype.is_integer() and column.dtype not in WIDE:
        return column.cast(pl.Int64)
    if column.dtype.is_float():
        return column.fill_nan(None).cast(pl.String).str.strip_suffix(".0")
    return column.cast(pl.String)


def like(column: pl.Series, dtype: pl.DataType) -> pl.Series | None:
    """Categories in the type of those that they continue; None where they cannot have it."""
    found = column.cast(dtype, strict=False)
    return found if found.null_count() == column.null_count() else None


def numbers(column: pl.Series, *, required: bool) -> Column:
    """Float64 values. Faults: not a number, not finite; where `required` also null and NaN, which
    else become null.

    Raises `DataError` where the type cannot hold a number (dates, lists).
    """
    name = name_of(column.name)
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        values = text.set(_true(text == ""), None).cast(pl.Float64, strict=False)
        absent = Fault(f"{name} is null", column.is_null() | _true(text == ""))
    elif column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        values, absent = column.cast(pl.Float64), _null(column)
    else:
        raise _wrong_type(column, "a number")
    unreadable = Fault(f"{name} is not a number", values.is_null() & ~absent.mask)
    unfinite = Fault(f"{name} is not finite", ~_true(values.is_finite()) & values.is_not_null())
    if required:
        return Column(values, (absent, unreadable, unfinite))
    infinite = Fault(unfinite.reason, _true(values.is_infinite()))
    return Column(values.fill_nan(None), (unreadable, infinite))


def times(column: pl.Series, unit: str, *, earliest: datetime, latest: datetime) -> Column:
    """Int64 seconds since 1970 UTC, fractions cut off; a date-time without a zone counts as UTC.

    `unit` tells how numbers and text are meant (see `Raw.time_unit`). Faults: null, not a time, in
    a finer unit than `unit` says, in the future (after `latest`), before `earliest`.
    Raises `DataError` where the type cannot hold a time.
    """
    absent = _null(column)
    if column.dtype.is_float():
        absent = Fault(absent.reason, absent.mask | _true(column.is_nan()))
    seconds = _seconds(column, unit)
    faults = (
        absent,
        Fault(
            f"{name_of(column.name)} is not a time",
            seconds.is_null() & ~absent.mask,
            _reading_advice(unit),
        ),
        *_finer_units(column, seconds, unit),
        Fault(
            f"{name_of(column.name)} is in the future",
            _true(seconds > int(latest.timestamp())),
            f"after {latest.isoformat(sep=' ', timespec='seconds')}; set contract.latest to allow "
            "later ones",
        ),
        Fault(
            f"{name_of(column.name)} is before {earliest.date()}",
            _true(seconds < int(earliest.timestamp())),
            "set contract.earliest to allow earlier ones; numbers that are no times but an order, "
            "or are in a coarser "
            "unit than source.time_unit says, look like this too",
        ),
    )
    return Column(seconds, faults)


def _reading_advice(unit: str) -> str:
    if unit == "iso":
        return "ISO 8601 is wanted, like 2024-05-31 or 2024-05-31T12:00:00Z; source.time_unit takes other forms"
    forms = "s, ms, us, ns, iso, or a format such as '%d/%m/%Y %H:%M'"
    return f"time_unit is {unit!r} under [source]; set it to {forms}"


def _finer_units(column: pl.Series, seconds: pl.Series, unit: str) -> Iterator[Fault]:
    """A fault for each unit finer than `unit`, finest first, for numbers so large that they must be
    in it."""
    if unit not in UNITS or column.dtype.is_temporal():
        return
    for finer, per_second in reversed(UNITS.items()):
        if per_second > UNITS[unit]:
            mask = _true(seconds > TOO_LARGE * (per_second // UNITS[unit] // 1000))
            yield Fault(
                f"{name_of(column.name)} looks like {UNIT_NAMES[finer]}",
                mask,
                f'set time_unit = "{finer}" under [source]',
            )


def _seconds(column: pl.Series, unit: str) -> pl.Series:
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.epoch("s")
    if column.dtype == pl.Datetime:
        return column.dt.epoch("s")
    if column.dtype == pl.String:
        return _seconds_of_text(column.str.strip_chars(), unit)
    if column.dtype == pl.Null:
        return column.cast(pl.Int64)
    if not column.dtype.is_numeric():
        raise _wrong_type(column, "a date-time, a number or text")
    if unit not in UNITS:
        return _seconds_of_text(column.cast(pl.String), unit)
    return _scaled(column, UNITS[unit])


def _scaled(column: pl.Series, per_second: int) -> pl.Series:
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False) // per_second
    return (column.cast(pl.Float64) / per_second).floor().cast(pl.Int64, strict=False)


def _seconds_of_text(text: pl.Series, unit: str) -> pl.Series:
    if unit in UNITS:
        whole = text.cast(pl.Int64, strict=False)
        if whole.null_count() == text.null_count():
            return _scaled(whole, UNITS[unit])
        return _first_of(
            _scaled(whole, UNITS[unit]), _scaled(text.cast(pl.Float64, strict=False), UNITS[unit])
        )
    if unit != "iso":
        return _parsed(text, unit)
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d)[Tt]", "${1} ").str.replace(r"[Zz]$", "+00:00")
    seconds = _parsed(text, ISO_FORMATS[0])
    for form in ISO_FORMATS[1:]:
        if seconds.null_count() == text.null_count():
            break
        seconds = _first_of(seconds, _parsed(text, form))
    return seconds


def _parsed(text: pl.Series, form: str) -> pl.Series:
    """Int64 seconds, null where `text` is not of the strptime format `form`; `DataError` where that
    is no format."""
    try:
        return text.str.to_datetime(form, time_unit="us", strict=False).dt.epoch("s")
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"source.time_unit = {form!r} is not a usable format: {str(error).splitlines()[0]}"
        ) from error


def _first_of(first: pl.Series, second: pl.Series) -> pl.Series:
    return first.zip_with(first.is_not_null(), second)


def _null(column: pl.Series) -> Fault:
    return Fault(f"{name_of(column.name)} is null", column.is_null())


def _true(mask: pl.Series) -> pl.Series:
    return mask.fill_null(value=False)


def _wrong_type(column: pl.Series, wanted: str) -> DataError:
    return DataError(
        f"column {name_of(column.name)!r} holds {column.dtype}, where {wanted} is wanted; choose "
        f"another column{_cast_advice(column.dtype)}"
    )


def _cast_advice(dtype: pl.DataType) -> str:
    """What to do with the column where it was written."""
    if dtype == pl.Binary:
        return ", or write its bytes as text (decode, hexadecimal or base64)"
    if dtype == pl.Duration:
        return ", or write it as a number of seconds"
    if dtype.is_nested():
        return ", or write its values as one text, joined by | for example"
    return ", or write it as whole numbers or text"
