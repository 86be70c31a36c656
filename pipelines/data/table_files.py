"""Parquet files that are written a piece at a time."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from falconer.pipelines.parquet import writing

GROUP = 2**20
"""Rows of a row group: what `pyarrow.parquet.write_table` makes."""


class TableFile:
    """One parquet file below `root`, in row groups of the same size whatever the pieces that come;
    a context manager."""

    def __init__(self, root: Path, name: str) -> None:
        self._path = root / name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Append rows; the first piece, which may have none, says the types."""
        table = table.replace_schema_metadata(None)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, **writing(table.schema))
        self.rows += table.num_rows
        self._pending.append(table)
        while sum(piece.num_rows for piece in self._pending) >= GROUP:
            whole = pa.concat_tables(self._pending)
            self._write(whole.slice(0, GROUP))
            self._pending = [whole.slice(GROUP)]

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
        if error is None and (rest := pa.concat_tables(self._pending)).num_rows:
            self._write(rest)
        self._writer.close()
