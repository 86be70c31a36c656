"""CSV and TSV as text: every value stays what was written, and a row that does not fit its header
is set apart."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.sources.separators import UNIT, OneSeparator

CHUNK_BYTES = 16 << 20
"""Also the longest row that can be read."""

MALFORMED = {"row": pl.Int64, "source_text": pl.String, "reason": pl.String}


@dataclass(frozen=True)
class Delimited:
    """How a text file is written: one separator of one or more characters between fields, and a
    quote character (empty = none)."""

    separator: str
    quote: str = '"'
    header: bool = True

    @property
    def delimiter(self) -> str:
        """The one character between fields of what `fields_of` gives."""
        return self.separator if len(self.separator) == 1 else UNIT


@dataclass
class Misfits:
    """Collects the rows whose number of fields is not that of the file's header, or `form`; pyarrow
    calls it once for each. `before` is the number that pyarrow gives to the line before the data:
    it counts from 1.
    """

    form: str = "header"
    before: int = 2
    rows: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def __call__(self, row: Any) -> str:
        """Note the row, and tell pyarrow to leave it out."""
        self.rows.append(row.number - self.before)
        self.texts.append(row.text)
        self.reasons.append(
            f"{row.actual_columns} fields where the {self.form} has {row.expected_columns}"
        )
        return "skip"

    def frame(self) -> pl.DataFrame:
        """The rows so far, as `MALFORMED` says."""
        values = {"row": self.rows, "source_text": self.texts, "reason": self.reasons}
        return pl.DataFrame(values, schema=MALFORMED)


def read_header(path: Path, form: Delimited) -> list[str]:
    """The column names in the first line; `DataError` where there is no line, or it is not
    UTF-8."""
    with fields_of(path, form) as stream:
        start = stream.read(CHUNK_BYTES)
    if not start.strip():
        raise DataError(f"{path}: the file is empty; its first line must name the columns")
    text = _decode(path, start)
    if order := _order_of_zeros(start):
        raise _unmarked_utf16(path, order)
    lines = csv.reader(
        io.StringIO(text.removeprefix("\ufeff"), newline=""),
        delimiter=form.delimiter,
        quotechar=form.quote or None,
        quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE,
    )
    try:
        first = next(line for line in lines if line)
        return first if form.header else [str(place + 1) for place in range(len(first))]
    except csv.Error as error:
        raise DataError(
            f"{path}: the first line cannot be read as column names ({error})"
        ) from error


def _decode(path: Path, start: bytes) -> str:
    """The beginning of a file as text; a character that is cut at its end does not count."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError as error:
        raise not_utf8(path, start, error.start, 0, 0) from error


def read_delimited(
    path: Path, form: Delimited, columns: Mapping[str, str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read `columns` (our name -> the file's name) as text, and apart from them the rows that have
    too many or too few fields.

    Returns the rows (`ordinal` int64 = 0-based row in the file, blank lines and the header not
    counted, then our names as strings: an absent value is null, a quoted empty one is "") and the
    misfits (`MALFORMED`). Raises `DataError` for a file that is not UTF-8 (with byte and line) or
    has a quote that never closes.
    """
    misfits = Misfits() if form.header else Misfits(form="first line", before=1)
    return pl.concat(delimited_batches(path, form, columns, misfits)), malformed_of(misfits, form)


def malformed_of(misfits: Misfits, form: Delimited) -> pl.DataFrame:
    """The misfits with the separator that the file has."""
    text = pl.col("source_text").str.replace_all(form.delimiter, form.separator, literal=True)
    return misfits.frame().with_columns(text)


def delimited_batches(
    path: Path, form: Delimited, columns: Mapping[str, str], misfits: Misfits
) -> Iterator[pl.DataFrame]:
    """The rows that `read_delimited` gives, about `CHUNK_BYTES` at a time and at least once; what
    does not fit is in `misfits` at the end."""
    lines, quotes = _scan(path, form.quote)
    yield pl.DataFrame(schema={"ordinal": pl.Int64, **dict.fromkeys(columns, pl.String)})
    if (
        form.header and lines == 1 and b"\r" not in _read_all(path)
    ):  # a header without a line end, which pyarrow refuses
        return
    first = 0
    try:
        names = list(dict.fromkeys(columns.values()))
        with (
            fields_of(path, form) as stream,
            arrow_csv.open_csv(stream, **_options(path, form, names, misfits)) as reader,
        ):
            for batch in reader:
                ordinals = _sound_rows(first, batch.num_rows, misfits.rows)
                first = int(ordinals[-1]) + 1 if len(ordinals) else first
                yield pl.DataFrame({"ordinal": ordinals, **_texts(batch, columns)})
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as text with separator {form.separator!r} and quote "
            f"{form.quote!r}: {error}"
        ) from error
    last = max([first - 1, *misfits.rows[-1:]])
    if quotes % 2 or (quotes and lines != last + 1 + form.header):
        _check_quotes(path, form)


def _sound_rows(first: int, n: int, misfits: Sequence[int]) -> NDArray[np.int64]:
    """The numbers of the `n` rows from `first` on that are no misfits."""
    later = np.array(misfits[bisect_left(misfits, first) :], dtype=np.int64)
    return np.setdiff1d(np.arange(first, first + n + len(later)), later, assume_unique=True)[:n]


def _texts(batch: pa.RecordBatch, columns: Mapping[str, str]) -> dict[str, pl.Series]:
    return {
        ours: pl.Series(ours, pl.from_arrow(batch.column(theirs)), dtype=pl.String)
        for ours, theirs in columns.items()
    }


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, which may be compressed (.gz); `DataError` where that is damaged."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            yield cast(IO[bytes], stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); fetch it again") from error


@contextmanager
def fields_of(path: Path, form: Delimited) -> Iterator[IO[bytes]]:
    """As `unpacked`, with one character between fields: `form.delimiter`."""
    with unpacked(path) as stream:
        if form.delimiter == form.separator:
            yield stream
            return
        try:
            one = OneSeparator(cast(io.BufferedIOBase, stream), form.separator)
            yield cast(IO[bytes], io.BufferedReader(one))
        except ValueError as error:
            raise DataError(f"{path}: cannot be parted at {form.separator!r}: {error}") from error


def _read_all(path: Path) -> bytes:
    with unpacked(path) as stream:
        return stream.read()


def _options(
    path: Path, form: Delimited, columns: Sequence[str], misfits: Misfits
) -> dict[str, Any]:
    # One thread: only then does pyarrow number the rows that it hands to the handler.
    return {
        "read_options": arrow_csv.ReadOptions(
            use_threads=False,
            block_size=CHUNK_BYTES,
            column_names=None if form.header else read_header(path, form),
        ),
        "parse_options": arrow_csv.ParseOptions(
            delimiter=form.delimiter,
            quote_char=form.quote or False,
            newlines_in_values=bool(form.quote),
            invalid_row_handler=misfits,
        ),
        "convert_options": arrow_csv.ConvertOptions(
            include_columns=list(columns),
            column_types={name: pa.string() for name in columns},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    }


def _scan(path: Path, quote: str) -> tuple[int, int]:
    """Number of lines and of quote characters; `DataError` for invalid UTF-8, in columns that are
    not read too."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = lines = quotes = 0
    last = b""
    with unpacked(path) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                raise not_utf8(
                    path, chunk, position - pending + error.start, lines, position
                ) from error
            position += len(chunk)
            lines += chunk.count(b"\n")
            quotes += chunk.count(quote.encode()) if quote else 0
            last = chunk[-1:]
    if decoder.getstate()[0]:
        raise DataError(
            f"{path}: not UTF-8: the file ends in the middle of a character; was it cut off?"
        )
    return lines + (last != b"\n"), quotes


def _check_quotes(path: Path, form: Delimited) -> None:
    """Refuse a quote that does not close before its field ends: pyarrow would silently take rows
    for a part of it.

    Strict and slow; needed only where some line is no row, or the number of quotes is odd.
    """
    start = 1
    with fields_of(path, form) as packed:
        stream = io.TextIOWrapper(packed, encoding="utf-8-sig", newline="")
        rows = csv.reader(stream, delimiter=form.delimiter, quotechar=form.quote, strict=True)
        try:
            for _ in rows:
                start = rows.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{path}: line {start}: a quote ({form.quote}) opens there that does not close "
                "where its field ends "
                f'({error}); mend the line, or set quote = "" under [source] where the '
                "character is an ordinary one"
            ) from error


OTHER_KINDS = {
    b"PAR1": "a parquet file: give it a name that ends in .parquet",
    b"\x1f\x8b": "packed by gzip: give it a name that ends in .gz",
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as CSV",
}
"""First bytes of files that are no text, and what to do."""


def not_utf8(path: Path, chunk: bytes, offset: int, lines: int, position: int) -> DataError:
    """The refusal of a file whose byte `offset` is no UTF-8; `chunk` begins at `position`, after so
    many `lines`."""
    for start, what in OTHER_KINDS.items():
        if position == 0 and chunk.startswith(start):
            return DataError(f"{path}: is {what}")
    if position == 0 and chunk[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return DataError(
            f"{path}: is UTF-32 (its first bytes say so); convert it with "
            f"`iconv -f utf-32 -t utf-8 {path.name} > converted{path.suffix}`"
        )
    if position == 0 and chunk[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return DataError(
            f"{path}: is UTF-16 (its first bytes say so); convert it with "
            f"`iconv -f utf-16 -t utf-8 {path.name} > converted{path.suffix}`"
        )
    if position == 0 and (order := _order_of_zeros(chunk)):
        return _unmarked_utf16(path, order)
    line = lines + chunk[: max(offset - position, 0)].count(b"\n") + 1
    return DataError(
        f"{path}: not UTF-8 at byte {offset} (line {line}); convert it, for example with "
        f"`iconv -f latin1 -t utf-8 {path.name} > converted{path.suffix}`"
    )


def _order_of_zeros(start: bytes) -> str:
    """`le` or `be`, where every other byte of a text is zero; else nothing."""
    if start[1::2].count(0) * 4 > len(start):
        return "le"
    return "be" if start[::2].count(0) * 4 > len(start) else ""


def _unmarked_utf16(path: Path, order: str) -> DataError:
    return DataError(
        f"{path}: every other byte is zero, as in UTF-16; convert it with "
        f"`iconv -f utf-16{order} -t utf-8 {path.name} > converted{path.suffix}`"
    )
