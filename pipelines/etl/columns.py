"""One column as it came, converted to its canonical type, with its faults row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from falconer.pipelines.data.schema import name_of
from falconer.pipelines.errors import DataError

EXACT_FLOATS = {16: 2**11, 32: 2**24, 64: 2**53}
"""Whole numbers up to here are exact in a float of so many bits."""
LARGEST_FLOAT32 = 3.4028234663852886e38
"""Datasets hold numbers in 32 bits."""
NULLS = ("\\n", "none", "null", "<na>", "(null)", "n/a", "#n/a", "undefined")
"""What tools write for a null, in lower case; `nan` is told apart."""
WIDE = (pl.UInt64, pl.Int128)
"""Integers that may not fit int64."""
UNIT = "\x1f"
"""The character that ASCII has between the parts of a row."""
ENCODED_TEXT = (pl.Categorical, pl.Enum)


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

    Integers of which one is outside int64 become text, as their digits in a CSV would be. Faults:
    null, NaN, a null that some tool wrote as text (`NULLS`), empty, a fraction, too large to be
    exact. Raises `DataError` where the type cannot hold an id (dates, lists,
    booleans).
    """
    if column.dtype == pl.Null:
        column = column.cast(pl.String)
    if column.dtype == pl.Binary:
        column = plain(column, "a whole number or text")
    if column.dtype.is_integer() or _is_whole_decimal(column.dtype):
        return _integer_ids(column)
    if column.dtype.is_float():
        return _float_ids(column)
    if column.dtype == pl.String or column.dtype in ENCODED_TEXT:
        return _text_ids(column.cast(pl.String))
    raise wrong_type(column, "a whole number or text")


def _integer_ids(column: pl.Series) -> Column:
    values = column.cast(pl.Int64, strict=False)
    if values.null_count() > column.null_count():
        values = column.cast(pl.String)
    return Column(values, (null_fault(column),))


def _is_whole_decimal(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Decimal) and dtype.scale == 0


def _float_ids(column: pl.Series) -> Column:
    bits = 16 if column.dtype == pl.Float16 else 32 if column.dtype == pl.Float32 else 64
    whole = column == column.round()
    faults = (
        null_fault(column),
        Fault(f"{name_of(column.name)} is NaN", true(column.is_nan())),
        Fault(f"{name_of(column.name)} is not a whole number", ~true(whole)),
        Fault(
            f"{name_of(column.name)} is too large to be exact in {bits} bits",
            true(column.abs() > EXACT_FLOATS[bits]),
            "write the ids as whole numbers or text where the file is made",
        ),
    )
    return Column(column.cast(pl.Int64, strict=False), faults)


def _text_ids(column: pl.Series) -> Column:
    bare = column.str.strip_chars()
    empty, nan = true(bare == ""), true(bare.str.to_lowercase() == "nan")
    written = true(bare.str.to_lowercase().is_in(NULLS))
    faults = (
        null_fault(column),
        Fault(f"{name_of(column.name)} is empty", empty),
        Fault(f"{name_of(column.name)} is NaN", nan),
        Fault(f"{name_of(column.name)} is a null written as text", written),
    )
    return Column(column, faults)


def form_of(values: pl.Series) -> pl.Series:
    """Texts without blanks around them, a point and zeros, leading zeros and differences of Unicode
    form."""
    bare = values.str.strip_chars().str.normalize("NFKC").str.replace(r"\.0+$", "")
    return bare.str.replace(r"^0+(\d)", "${1}")


def look_alikes(values: pl.Series) -> pl.DataFrame:
    """The different texts that agree with another in their `form`: `form` and `value`, in order."""
    found = values.drop_nulls().unique().alias("value")
    forms = pl.DataFrame({"form": form_of(found), "value": found})
    return forms.filter(pl.len().over("form") > 1).sort("form", "value")


def text(column: pl.Series) -> pl.Series:
    """Text, of numbers and dates too; raises `DataError` for what has no text of its own."""
    return plain(column, "text").cast(pl.String)


def plain(column: pl.Series, wanted: str) -> pl.Series:
    """`column`, where bytes that are UTF-8 and encoded text are text. Raises `DataError` that says
    the cast to make for other bytes, lists, maps, structures, durations and foreign objects."""
    if column.dtype == pl.Binary:
        try:
            return column.cast(pl.String)
        except pl.exceptions.PolarsError as error:
            raise wrong_type(column, wanted) from error
    if column.dtype.is_nested() or column.dtype in (pl.Duration, pl.Object):
        raise wrong_type(column, wanted)
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


def combined(columns: Sequence[pl.Series]) -> pl.Series:
    """One text for each combination of the columns' categories; null where one of them is null."""
    texts = [without_units(categories(column).cast(pl.String)) for column in columns]
    frame = pl.DataFrame([text.alias(str(place)) for place, text in enumerate(texts)])
    return frame.select(pl.concat_str(pl.all(), separator=UNIT)).to_series()


ESCAPES = ("\x1e", "\x1e0"), (UNIT, "\x1e1")


def without_units(texts: pl.Series) -> pl.Series:
    """Other texts for texts with the character that parts them, different for different ones."""
    for character, other in ESCAPES:
        texts = texts.str.replace_all(character, other, literal=True)
    return texts


def joined(column: pl.Series) -> pl.Series:
    """Of each list one text, with `UNIT` between the texts of its values; null of null.

    Raises `DataError` where the column holds no lists, or lists of what has no text.
    """
    wanted = "a list of numbers or texts"
    if column.dtype == pl.Null:
        return column.cast(pl.String)
    if not isinstance(column.dtype, pl.List | pl.Array):
        raise DataError(
            f"column {name_of(column.name)!r} holds {column.dtype}, where {wanted} is wanted; of a "
            'text with a separator the table of the feature must say so (separator = "|")'
        )
    lists = column.cast(pl.List(column.dtype.inner))
    values = plain(flat(lists), wanted)
    texts = without_units(categories(values).cast(pl.String))
    lengths = lists.list.len().fill_null(0).to_numpy()
    rows = pl.DataFrame({"row": np.repeat(np.arange(len(lists)), lengths), "text": texts})
    found = rows.drop_nulls().group_by("row", maintain_order=True).agg(pl.col("text"))
    together = pl.Series(column.name, [""], dtype=pl.String).new_from_index(0, len(lists))
    together = together.scatter(found["row"], found["text"].list.join(UNIT))
    return together.set(lists.is_null(), None)


def flat(lists: pl.Series) -> pl.Series:
    """All values of the lists, in their order."""
    return lists.filter(lists.list.len().fill_null(0) > 0).explode(empty_as_null=False)


def like(column: pl.Series, dtype: pl.DataType) -> pl.Series | None:
    """Categories in the type of those that they continue; None where they cannot have it."""
    found = column.cast(dtype, strict=False)
    return found if found.null_count() == column.null_count() else None


def numbers(column: pl.Series, *, required: bool) -> Column:
    """Float64 values. Faults: not a number, not finite, beyond float32; where `required` also null
    and NaN, which else become null.

    Raises `DataError` where the type cannot hold a number (dates, lists).
    """
    name = name_of(column.name)
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        values = text.set(true(text == ""), None).cast(pl.Float64, strict=False)
        absent = Fault(f"{name} is null", column.is_null() | true(text == ""))
    elif column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        values, absent = column.cast(pl.Float64), null_fault(column)
        if are_within(values, LARGEST_FLOAT32) and not (required and column.null_count()):
            return Column(values, ())
    else:
        raise wrong_type(column, "a number")
    unreadable = Fault(f"{name} is not a number", values.is_null() & ~absent.mask)
    unfinite = Fault(f"{name} is not finite", ~true(values.is_finite()) & values.is_not_null())
    large = Fault(
        f"{name} is beyond float32", true(values.is_finite() & (values.abs() > LARGEST_FLOAT32))
    )
    if required:
        return Column(values, (absent, unreadable, unfinite, large))
    infinite = Fault(unfinite.reason, true(values.is_infinite()))
    return Column(values.fill_nan(None), (unreadable, infinite, large))


def are_within(values: pl.Series, most: float) -> bool:
    """Whether all floats that are no null lie between -`most` and `most`, which NaN does not. Of
    most columns that is all that needs to be asked."""
    known = values.drop_nulls().to_numpy()
    # Numpy's least and most are NaN where one is.
    return not len(known) or bool(known.min() >= -most and known.max() <= most)


def null_fault(column: pl.Series) -> Fault:
    """The fault of rows without a value."""
    return Fault(f"{name_of(column.name)} is null", column.is_null())


def true(mask: pl.Series) -> pl.Series:
    """`mask`, false where it is null."""
    return mask.fill_null(value=False)


def wrong_type(column: pl.Series, wanted: str) -> DataError:
    """The refusal of a column whose type cannot hold what is wanted."""
    return DataError(
        f"column {name_of(column.name)!r} holds {column.dtype}, where {wanted} is wanted; choose "
        f"another column{_cast_advice(column.dtype)}"
    )


def _cast_advice(dtype: pl.DataType) -> str:
    """What to do with the column where it was written."""
    if isinstance(dtype, pl.List | pl.Array) and not dtype.inner.is_nested():
        return (
            ", write its values as one text, joined by | for example, or make features of it whose "
            'kind is "list" or "value_count"'
        )
    if dtype == pl.Binary:
        return ", or write its bytes as text (decode, hexadecimal or base64)"
    if dtype == pl.Duration:
        return ", or write it as a number of seconds"
    if dtype.is_nested():
        return ", or write its values as one text, joined by | for example"
    return ", or write it as whole numbers or text"
