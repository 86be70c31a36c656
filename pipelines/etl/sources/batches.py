"""The rows of a parquet file, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BUFFER = 1 << 20
"""Bytes of each column that are read at once."""
SMALL = 32 * 2**20
"""Bytes of a row group, packed, that are read at once without a buffer."""
ARROW_FAULT = "Cannot shrink read buffer"
"""How Arrow 18 refuses a sound file where a column ends near the end of a buffer. Where threads
read with buffers the process may even crash of it, so only one does."""


def batches(
    path: Path, n_rows: int, columns: Sequence[str], row_groups: Sequence[int] | None
) -> Iterator[pa.Table]:
    """Up to `n_rows` rows at a time, of all or of some row groups. Small row groups are read as a
    whole; of large ones about `BUFFER` bytes a column are in memory, unless Arrow cannot do it."""
    with pq.ParquetFile(path) as file:
        groups = list(range(file.num_row_groups) if row_groups is None else row_groups)
        if _largest(file, groups, set(columns)) <= SMALL:
            yield from _tables(file.iter_batches(n_rows, row_groups=groups, columns=columns))
            return
    done = 0
    try:
        with pq.ParquetFile(path, buffer_size=BUFFER) as file:
            found = file.iter_batches(n_rows, row_groups=groups, columns=columns, use_threads=False)
            for table in _tables(found):
                yield table
                done += table.num_rows
    except pa.ArrowInvalid as error:
        if ARROW_FAULT not in str(error):
            raise
        with pq.ParquetFile(path) as file:
            found = file.iter_batches(n_rows, row_groups=groups, columns=columns)
            yield from _beyond(_tables(found), done)


def _tables(found: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    return (pa.Table.from_batches([batch]) for batch in found)


def _beyond(tables: Iterator[pa.Table], done: int) -> Iterator[pa.Table]:
    """What follows the first rows."""
    for table in tables:
        if table.num_rows > done:
            yield table.slice(done)
        done = max(done - table.num_rows, 0)


def _largest(file: pq.ParquetFile, groups: Sequence[int], columns: set[str]) -> int:
    """Packed bytes of the columns in the largest row group."""
    sizes = [0]
    for number in groups:
        group = file.metadata.row_group(number)
        chunks = (group.column(place) for place in range(group.num_columns))
        sizes.append(
            sum(
                int(chunk.total_compressed_size)
                for chunk in chunks
                if chunk.path_in_schema.split(".")[0] in columns
            )
        )
    return max(sizes)
