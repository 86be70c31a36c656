"""Rows on disk: a frame a file, and rows parted into a file for each bucket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

OLDEST = pl.CompatLevel.oldest()
ROWS, EMPTY = "rows.arrow", "empty.arrow"


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame; one without rows keeps its columns."""
    table = frame.to_arrow(compat_level=OLDEST).combine_chunks()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_frame(path: Path) -> pl.DataFrame:
    """Read what `write_frame` or `Scatter` wrote."""
    with pa.OSFile(str(path), "rb") as source:
        return as_frame(pa.ipc.open_file(source).read_all())


def as_frame(table: pa.Table) -> pl.DataFrame:
    """An Arrow table as a frame."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


class Scatter:
    """Appends rows to `n` files below `folder`, each of which is there if it has a row; a folder
    that is there already must be empty."""

    def __init__(self, folder: Path, n: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.n = folder, n
        self._writers: dict[int, tuple[pa.NativeFile, pa.RecordBatchFileWriter]] = {}

    def add(self, frame: pl.DataFrame, buckets: pl.Series) -> None:
        """Append each row to the bucket that stands beside it; all rows have the same columns."""
        order = buckets.arg_sort()
        starts = buckets.gather(order).search_sorted(pl.Series(range(self.n + 1)).cast(pl.UInt32))
        sorted_rows = frame[order]
        for bucket in range(self.n):
            start, end = starts[bucket], starts[bucket + 1]
            if end > start:
                self._append(bucket, sorted_rows[start:end])

    def _append(self, bucket: int, rows: pl.DataFrame) -> None:
        table = rows.to_arrow(compat_level=OLDEST)
        if bucket not in self._writers:
            sink = pa.OSFile(str(bucket_file(self.folder, bucket)), "wb")
            self._writers[bucket] = sink, pa.ipc.new_file(sink, table.schema)
        self._writers[bucket][1].write_table(table)

    def close(self) -> None:
        """Bring what was added to its files: nothing more comes."""
        for sink, writer in self._writers.values():
            writer.close()
            sink.close()
        self._writers.clear()


def bucket_file(folder: Path, bucket: int) -> Path:
    """Where the rows of a bucket are."""
    return folder / f"{bucket:05}.arrow"


def read_bucket(folder: Path, bucket: int, empty: pl.DataFrame) -> pl.DataFrame:
    """The rows of a bucket in the order in which they were added; `empty` where it has none."""
    path = bucket_file(folder, bucket)
    return read_frame(path) if path.exists() else empty


def write_rows(folder: Path, rows: pl.DataFrame) -> None:
    """Write a bucket's rows into the folder of its task."""
    write_frame(folder / ROWS, rows)
    write_frame(folder / EMPTY, rows.clear())


@dataclass(frozen=True)
class Rows:
    """The rows of `n` buckets, each in the folder of the task that wrote it."""

    folder: Path
    n: int

    def read(self, bucket: int) -> pl.DataFrame:
        """All rows of one bucket."""
        return read_frame(self._file(bucket))

    def empty(self) -> pl.DataFrame:
        """No rows, with the columns of all, though the rows were removed."""
        return read_frame(task_folder(self.folder, 0) / EMPTY)

    def remove(self) -> None:
        """Take the rows away; what else their tasks wrote stays."""
        for bucket in range(self.n):
            self._file(bucket).unlink(missing_ok=True)

    def _file(self, bucket: int) -> Path:
        return task_folder(self.folder, bucket) / ROWS


def task_folder(folder: Path, number: int) -> Path:
    """Where a stage's task writes its files."""
    return folder / f"{number:05}"


def files_of(folder: Path, n: int, name: str) -> Sequence[Path]:
    """The file of that name of each of a stage's `n` tasks."""
    return [task_folder(folder, number) / name for number in range(n)]
