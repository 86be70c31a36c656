"""Criteo's display advertising format: a label, 13 counts I1..I13, and 26 hashed categories
C1..C26.

Text files have no header, a tab between fields and nothing where a value is missing, and may be
compressed (.gz); parquet files have columns of these names. A category is a hexadecimal number of
up to eight digits, and is kept as that number. Files are read and packed block by block (160 bytes
a row), so that their text is never held as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet as pq
from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.raw import Raw, with_features
from falconer.pipelines.etl.sources.delimited import MALFORMED, Misfits
from falconer.pipelines.etl.sources.files import expand, stack
from falconer.pipelines.etl.sources.tables import PARQUET, Table, check_columns, check_file

COUNTS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))
NAMES = ("label", *COUNTS, *CATEGORIES)
SCHEMA = {
    "ordinal": pl.Int64(),
    "label": pl.Float64(),
    **dict.fromkeys(COUNTS, pl.Int32()),
    **dict.fromkeys(CATEGORIES, pl.UInt32()),
}
MEANING = {"label": "a number", **dict.fromkeys(COUNTS, "a whole number of 32 bits")}
HEXADECIMAL = "a hexadecimal number of 32 bits"
BLOCK_BYTES = 16 << 20
ROWS_AT_ONCE = 2**16
NOTE = "Rows in Criteo's display advertising format: no users, no items; categories are hashed."


class Criteo(Config):
    """Clicks in Criteo's format; a row that does not fit it is rejected with its reason."""

    kind: Literal["criteo"]
    path: str | tuple[str, ...]
    """A file, a glob, or a list of them: .parquet, or else text (.gz: compressed)."""
    max_rows: int | None = Field(default=None, ge=1)
    """Read only so many rows from the beginning; None = all."""

    def files(self) -> dict[str, Path]:
        """Name -> path of every file that `read` may read; `DataError` where one is absent or
        empty."""
        paths = self._paths()
        for path in paths:
            check_file(path)
        return {path.as_posix(): path for path in paths}

    def read(self) -> Raw:
        """Read the rows, packed: label float64, counts int32, categories uint32."""
        paths, parts = [], []
        left = self.max_rows
        for path in self._paths():
            if left == 0:
                break
            parts.append(_read(path, left))
            paths.append(path)
            left = None if left is None else left - parts[-1].height
        events = stack(paths, parts)
        return Raw(
            events=with_features(events.rows),
            notes=(NOTE,),
            files=tuple(
                (path.as_posix(), part.height) for path, part in zip(paths, parts, strict=True)
            ),
            malformed={"events": events.malformed} if events.malformed.height else {},
        )

    def _paths(self) -> list[Path]:
        patterns = [self.path] if isinstance(self.path, str) else list(self.path)
        paths = list(dict.fromkeys(path for pattern in patterns for path in expand(pattern)))
        if not paths:
            raise DataError("source.path names no file")
        return paths


def _read(path: Path, limit: int | None) -> Table:
    """One file, or its first `limit` rows."""
    misfits = Misfits(form="format", before=1)
    kept, malformed, n_read = [pl.DataFrame(schema=SCHEMA)], [], 0
    for block in _blocks(path, misfits):
        ordinal = _ordinals(n_read, len(block), misfits.rows)
        n_read += len(block)
        sound, faulty = _packed(block.insert_column(0, ordinal))
        kept.append(sound)
        malformed.append(faulty)
        if limit is not None and n_read >= limit:
            break
    table = Table(pl.concat(kept), pl.concat([misfits.frame(), *malformed]).sort("row"))
    if limit is None:
        return table
    return Table(
        table.rows.filter(pl.col("ordinal") < limit), table.malformed.filter(pl.col("row") < limit)
    )


def _ordinals(first: int, n: int, misfits: Sequence[int]) -> pl.Series:
    """Places in the file of the n rows that follow the `first` ones of the right form; `misfits`
    are others' places."""
    number = np.arange(first, first + n)
    right_before = np.array(misfits, dtype=np.int64) - np.arange(
        len(misfits)
    )  # rows of the right form before each
    return pl.Series(
        "ordinal", number + np.searchsorted(right_before, number, side="right"), dtype=pl.Int64
    )


def _blocks(path: Path, misfits: Misfits) -> Iterator[pl.DataFrame]:
    """The file's rows as they are, some at a time; `misfits` collects those of another number of
    fields."""
    try:
        if path.suffix.lower() in PARQUET:
            check_columns(path, pq.read_schema(path).names, {name: name for name in NAMES})
            with pq.ParquetFile(path) as file:
                yield from _frames(
                    file.iter_batches(
                        batch_size=ROWS_AT_ONCE, columns=list(NAMES), use_threads=False
                    )
                )
        else:
            with pa.input_stream(
                path, compression="gzip" if path.suffix == ".gz" else None
            ) as stream:
                yield from _frames(arrow_csv.open_csv(stream, **_options(misfits)))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as Criteo's format ({str(error).splitlines()[0]})"
        ) from error


def _frames(batches: Any) -> Iterator[pl.DataFrame]:
    for batch in batches:
        batch.validate(full=True)
        frame = pl.DataFrame(pa.Table.from_batches([batch])).select(NAMES)
        yield frame.with_columns(
            pl.col(pl.Categorical).cast(pl.String), pl.col(pl.Float32, pl.Float64).fill_nan(None)
        )


def _options(misfits: Misfits) -> dict[str, Any]:
    # One thread: only then does pyarrow number the rows that it hands to the handler.
    return {
        "read_options": arrow_csv.ReadOptions(
            column_names=NAMES, use_threads=False, block_size=BLOCK_BYTES
        ),
        "parse_options": arrow_csv.ParseOptions(
            delimiter="\t", quote_char=False, invalid_row_handler=misfits
        ),
        "convert_options": arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(NAMES, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    }


def _packed(block: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows in the types of `SCHEMA`, and those that cannot be, as `MALFORMED` has them."""
    packed = block.with_columns(_number(name, block.schema[name]) for name in NAMES)
    lost = packed.select(pl.col(NAMES).is_null()) > block.select(pl.col(NAMES).is_null())
    faults = [
        pl.when(name).then(pl.lit(f"{name} is not {MEANING.get(name, HEXADECIMAL)}"))
        for name in NAMES
    ]
    reason = lost.select(reason=pl.coalesce(faults))["reason"]
    faulty = block.filter(reason.is_not_null()).select(
        row="ordinal",
        source_text=pl.concat_str(pl.col(NAMES).cast(pl.String).fill_null(""), separator="\t"),
        reason=reason.drop_nulls(),
    )
    return packed.filter(reason.is_null()), faulty.cast(MALFORMED)  # type: ignore[arg-type]


def _number(name: str, dtype: pl.DataType) -> pl.Expr:
    if name in CATEGORIES and dtype == pl.String:
        return pl.col(name).str.to_integer(base=16, dtype=pl.UInt32, strict=False)
    return pl.col(name).cast(SCHEMA[name], strict=False)
