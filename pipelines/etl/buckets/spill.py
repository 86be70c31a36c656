"""Rows on disk: a file for each bucket."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

OLDEST = pl.CompatLevel.oldest()


class Spill:
    """`n` files of rows below `folder`, appended to in any order and read one at a time."""

    def __init__(self, folder: Path, n: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.n = folder, n
        self.rows = [0] * n
        self._writers: dict[int, tuple[pa.NativeFile, pa.RecordBatchStreamWriter]] = {}
        self.empty = pl.DataFrame()
        """No rows, with the columns of all."""

    def add(self, bucket: int, frame: pl.DataFrame) -> None:
        """Append rows to one bucket; all rows have the same columns."""
        self.empty = frame.clear()
        if frame.is_empty():
            return
        table = frame.to_arrow(compat_level=OLDEST)
        if bucket not in self._writers:
            sink = pa.OSFile(str(self._path(bucket)), "wb")
            self._writers[bucket] = sink, pa.ipc.new_stream(sink, table.schema)
        self._writers[bucket][1].write_table(table)
        self.rows[bucket] += len(frame)

    def scatter(self, frame: pl.DataFrame, buckets: pl.Series) -> None:
        """Append each row to the bucket that stands beside it."""
        self.empty = frame.clear()
        order = buckets.arg_sort()
        starts = buckets.gather(order).search_sorted(pl.Series(range(self.n + 1)).cast(pl.UInt32))
        sorted_rows = frame[order]
        for bucket in range(self.n):
            start, end = starts[bucket], starts[bucket + 1]
            self.add(bucket, sorted_rows[start:end])

    def close(self) -> None:
        """Bring what was added to its files: nothing more comes."""
        for sink, writer in self._writers.values():
            writer.close()
            sink.close()
        self._writers.clear()

    def read(self, bucket: int) -> pl.DataFrame:
        """All rows of one bucket, in the order in which they were added."""
        if not self.rows[bucket]:
            return self.empty
        with pa.OSFile(str(self._path(bucket)), "rb") as source:
            table = pa.ipc.open_stream(source).read_all()
        frame = pl.from_arrow(table, schema=self.empty.schema)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def remove(self) -> None:
        """Take the files away."""
        for bucket in range(self.n):
            self._path(bucket).unlink(missing_ok=True)
        self.folder.rmdir()

    def _path(self, bucket: int) -> Path:
        return self.folder / f"{bucket:05}.arrow"
