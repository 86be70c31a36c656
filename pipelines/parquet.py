"""The project's one reader of parquet files: a path is only a place, and never tells a column. And
how tables are written.

pyarrow's `read_table`, and the readers of Polars and pandas, take a folder called `key=value` for a
column of the table, so nothing in the project may call them (tests/architecture/test_parquet.py).
`ParquetFile`, which reads a file a part at a time, never does that: whoever streams may use it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines.errors import DataError, PipelineError
from falconer.pipelines.exhaustion import named

ROWS_AT_ONCE = 2**16


def read(
    source: Path | BinaryIO, columns: Sequence[str] | None = None, *, memory_map: bool = False
) -> pa.Table:
    """The named columns of a file, or all, of which each may have nulls whatever its file says;
    raises `OSError` or `pa.ArrowException`, and `KeyError` for a column that is not there.
    """
    with pq.ParquetFile(source, memory_map=memory_map, page_checksum_verification=True) as file:
        if columns is not None and (absent := set(columns) - set(file.schema_arrow.names)):
            raise KeyError(f"no column {', '.join(sorted(absent))}")
        table = file.read(columns=None if columns is None else list(columns))
        return table.cast(with_nulls(table.schema))


def with_nulls(schema: pa.Schema) -> pa.Schema:
    """The same types, of which each may have nulls."""
    fields = [pa.field(field.name, field.type, metadata=field.metadata) for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def column(values: NDArray[Any]) -> pa.Array:
    """An Arrow array of numbers, without a copy. (`pyarrow.array` imports pandas first, which takes
    half a second.)"""
    whole = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(whole.dtype)
    return pa.Array.from_buffers(kind, len(whole), [None, pa.py_buffer(whole)])


def writing(schema: pa.Schema) -> dict[str, Any]:
    """How tables are written, packed by zstd. Integers of 64 bits, which are times, numbers of rows
    and sorted hashes, by their differences; those of 32 bits, which are ids, byte by byte, which
    takes half of the time of dictionaries and less room; and fractions as they are, as few repeat.
    """
    kinds = {
        f"{field.name}.list.element" if is_list(field.type) else field.name: (
            field.type.value_type if is_list(field.type) else field.type
        )
        for field in schema
    }
    long = [path for path, kind in kinds.items() if kind in (pa.int64(), pa.uint64())]
    short = [path for path, kind in kinds.items() if kind == pa.int32()]
    floating = [path for path, kind in kinds.items() if pa.types.is_floating(kind)]
    return {
        "compression": "zstd",
        "use_dictionary": [path for path in kinds if path not in {*long, *short, *floating}],
        "column_encoding": {
            **dict.fromkeys(long, "DELTA_BINARY_PACKED"),
            **dict.fromkeys(short, "BYTE_STREAM_SPLIT"),
        },
    }


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of that type holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


@contextmanager
def damage_named(path: Path, kind: type[PipelineError], advice: str) -> Iterator[None]:
    """Turn what a damaged or missing file raises within into `kind`, which names it; a full memory
    is named as such."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise named(error, path) or kind(
            f"{path}: missing or damaged ({reason}); {advice}"
        ) from error


def read_where(path: Path, columns: Sequence[str], condition: pc.Expression) -> pa.Table:
    """The named columns of the rows for which `condition` holds, in memory that those rows need."""
    with pq.ParquetFile(path) as file:
        schema = with_nulls(pa.schema([file.schema_arrow.field(name) for name in columns]))
        batches = file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(columns))
        return pa.concat_tables([schema.empty_table(), *_chosen(batches, columns, condition)])


def _chosen(
    batches: Iterable[pa.RecordBatch], columns: Sequence[str], condition: pc.Expression
) -> Iterator[pa.Table]:
    for batch in batches:
        table = pa.Table.from_batches([batch]).select(list(columns))
        yield table.cast(with_nulls(table.schema)).filter(condition)


def facts_of(schema: pa.Schema, key: bytes, path: Path) -> dict[str, Any]:
    """What the writer of a file noted under `key` of its metadata, as JSON; empty without it.

    Raises `DataError` where it is no JSON object: the file was changed since.
    """
    try:
        facts = json.loads((schema.metadata or {}).get(key, b"{}"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: its notes are damaged ({error}); write it anew") from error
    if not isinstance(facts, dict):
        raise DataError(f"{path}: its notes are damaged (no table of names); write it anew")
    return facts
