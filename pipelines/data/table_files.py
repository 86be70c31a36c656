"""Parquet files that are written a piece at a time."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines.parquet import is_list, writing

GROUP, VALUES = 2**18, 2**22
"""Rows of a row group, and values that its lists may hold together: what a writer keeps in
memory."""
SELDOM_NULL = (pa.int32(), pa.int64(), pa.uint64(), pa.float32())
"""Types of ids, times, hashes and features, which have no nulls: a file that says so takes two
thirds of the time to write and to read."""


class TableFile:
    """One parquet file below `root`, in row groups that its rows decide and not the pieces that
    come; a context manager."""

    def __init__(self, root: Path, name: str) -> None:
        self._path = root / name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Append rows; the first piece, which may have none, says the types."""
        schema = _without_nulls(table)
        if self._writer is None:
            self._open(schema)
        elif (both := _of_both(self._writer.schema, schema)) != self._writer.schema:
            self._begin_anew(both)
        assert self._writer is not None
        self.rows += table.num_rows
        self._pending.append(table.cast(self._writer.schema))
        whole = pa.concat_tables(self._pending)
        while (end := _rows_of_group(whole)) is not None:
            self._write(whole.slice(0, end))
            whole = whole.slice(end)
            self._pending = [whole]

    def _open(self, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(self._path, schema, **writing(schema))

    def _begin_anew(self, schema: pa.Schema) -> None:
        """Write what was written by a schema that allows more nulls."""
        assert self._writer is not None
        self._writer.close()
        before = self._path.with_name(f"{self._path.name}.before")
        self._path.rename(before)
        self._open(schema)
        self._pending = [table.cast(schema) for table in self._pending]
        with pq.ParquetFile(before) as file:
            for group in range(file.num_row_groups):
                self._write(file.read_row_group(group).cast(schema))
        before.unlink()

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
        rest = pa.concat_tables(self._pending)
        # A file of no rows has a group all the same: some readers look for its types there.
        if error is None and (rest.num_rows or not self.rows):
            self._write(rest)
        self._writer.close()


def _without_nulls(table: pa.Table) -> pa.Schema:
    """The types of a table, by which ids and features that have no nulls may have none."""
    return pa.schema(
        field.with_nullable(field.type not in SELDOM_NULL or bool(column.null_count))
        for field, column in zip(table.schema, table.columns, strict=True)
    )


def _of_both(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    """Each column may have nulls that may have some in one of both."""
    pairs = zip(one, other, strict=True)
    return pa.schema(a.with_nullable(a.nullable or b.nullable) for a, b in pairs)


def _rows_of_group(table: pa.Table) -> int | None:
    """How many rows from the first on make a group; None where there are too few for one."""
    lists = [column for column in table.slice(0, GROUP).columns if is_list(column.type)]
    if lists:
        before = np.cumsum(np.sum([_lengths(column) for column in lists], axis=0))
        fitting = max(1, int(np.searchsorted(before, VALUES, side="right")))
        if fitting < len(before):
            return fitting
    return GROUP if table.num_rows >= GROUP else None


def _lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """How many values each list holds. (Arrow's own `to_numpy` imports pandas first.)"""
    found = [np.zeros(0, np.int64)]
    for chunk in column.chunks:
        kind = np.int64 if pa.types.is_large_list(chunk.type) else np.int32
        ends = np.frombuffer(chunk.buffers()[1] or b"", kind)
        found.append(np.diff(ends[chunk.offset : chunk.offset + len(chunk) + 1]))
    return np.concatenate(found)
