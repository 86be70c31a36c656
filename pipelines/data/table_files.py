"""Parquet files that are written a piece at a time."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines.errors import DataError
from falconer.pipelines.parquet import is_list, writing

GROUP, VALUES = 2**18, 2**22
"""Rows of a row group, and values that its lists hold together, where that is less: what a writer
keeps in memory."""


class TableFile:
    """One parquet file below `root`, in row groups that its rows decide and not the pieces that
    come; a context manager.

    Where there are no `nulls` in numbers, as in what models learn from, the file says so: then it
    takes two thirds of the time to write and to read.
    """

    def __init__(self, root: Path, name: str, *, nulls: bool = True) -> None:
        self._path, self._nulls = root / name, nulls
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self._values = 0
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Append rows; the first piece, which may have none, says the types.

        Raises `DataError` where there is a null in numbers that have none.
        """
        table = table.replace_schema_metadata(None)
        if not self._nulls:
            table = self._without_nulls(table)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, **writing(table.schema))
        self.rows += table.num_rows
        self._pending.append(table)
        self._values += int(_values(table).sum())
        if sum(piece.num_rows for piece in self._pending) >= GROUP or self._values > VALUES:
            self._write_groups()

    def _without_nulls(self, table: pa.Table) -> pa.Table:
        fields = []
        for field, column in zip(table.schema, table.columns, strict=True):
            is_number = pa.types.is_primitive(field.type)
            if is_number and column.null_count:
                raise DataError(f"{self._path.name}: {column.null_count} nulls in {field.name!r}")
            fields.append(field.with_nullable(not is_number))
        return table.cast(pa.schema(fields))

    def _write_groups(self) -> None:
        """Write the groups that are whole."""
        left = pa.concat_tables(self._pending)
        while (end := _rows_of_group(left)) is not None:
            self._write(left.slice(0, end))
            left = left.slice(end)
        self._pending, self._values = [left], int(_values(left).sum())

    def _write(self, table: pa.Table) -> None:
        assert self._writer is not None
        self._writer.write_table(table.combine_chunks(), row_group_size=GROUP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is None:
            return
        try:
            if error is None:
                rest = pa.concat_tables(self._pending)
                # A file of no rows has a group all the same: some readers look there for its types.
                if rest.num_rows or not self.rows:
                    self._write(rest)
        finally:
            self._writer.close()


def _rows_of_group(table: pa.Table) -> int | None:
    """How many rows from the first on make a group; None where there are too few for one."""
    before = np.cumsum(_values(table.slice(0, GROUP)))
    fitting = max(1, int(np.searchsorted(before, VALUES, side="right")))
    if fitting < len(before):
        return fitting
    return GROUP if table.num_rows >= GROUP else None


def _values(table: pa.Table) -> NDArray[np.int64]:
    """How many values the lists of each row hold."""
    found = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        if is_list(column.type):
            found += np.concatenate([found[:0], *map(_lengths, column.chunks)])
    return found


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    """How many values each holds; a null none. (Arrow's `to_numpy` would import pandas.)"""
    known, ends = lists.buffers()[:2]
    kind = np.int64 if pa.types.is_large_list(lists.type) else np.int32
    rows = slice(lists.offset, lists.offset + len(lists))
    found = np.diff(np.frombuffer(ends or b"", kind)[rows.start : rows.stop + 1]).astype(np.int64)
    if known is not None:
        found *= np.unpackbits(np.frombuffer(known, np.uint8), bitorder="little")[rows]
    return found
