"""Sorting more rows than memory holds: sorted runs on disk, merged a range of keys at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from falconer.pipelines.etl.buckets.spill import OLDEST

SAMPLES = 64
"""Keys of which each range of the merged rows is told."""

Key = tuple[Any, ...]


class Runs:
    """Rows that come in pieces and leave in the order of the columns `by`, which no two rows share.

    Each piece is sorted and written. To merge them the keys are parted into ranges of about equal
    size, and a range's slice of every run is read and sorted at a time.
    """

    def __init__(self, folder: Path, by: Sequence[str]) -> None:
        folder.mkdir(parents=True)
        self.folder, self.by = folder, list(by)
        self.heights: list[int] = []
        self._bytes = 0
        self._empty = pl.DataFrame()

    def __len__(self) -> int:
        return sum(self.heights)

    def add(self, frame: pl.DataFrame) -> None:
        """Write a piece as a run."""
        self._empty = frame.clear()
        if frame.is_empty():
            return
        self._bytes += int(frame.estimated_size())
        table = frame.sort(self.by).rechunk().to_arrow(compat_level=OLDEST)
        with (
            pa.OSFile(str(self._path(len(self.heights))), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        self.heights.append(len(frame))

    def merged(self, size: int) -> Iterator[pl.DataFrame]:
        """All rows in order, about `size` bytes of them at a time, and at least one frame."""
        n = min(-(-self._bytes // max(size, 1)), len(self)) or 1
        bounds = self._bounds(n)
        cuts = [self._cuts(run, bounds) for run in range(len(self.heights))]
        for place in range(len(bounds) + 1):
            slices = [self._slice(run, cut[place], cut[place + 1]) for run, cut in enumerate(cuts)]
            yield pl.concat([self._empty, *slices]).sort(self.by)

    def remove(self) -> None:
        """Take the files away."""
        for run in range(len(self.heights)):
            self._path(run).unlink()
        self.folder.rmdir()

    def _bounds(self, n: int) -> list[Key]:
        """The first keys of all ranges but the first."""
        step = max(1, len(self) // (n * SAMPLES))
        keys: list[Key] = []
        for run, height in enumerate(self.heights if n > 1 else []):
            places = list(range(0, height, step))
            with pa.memory_map(str(self._path(run))) as source:
                table = pa.ipc.open_file(source).read_all().select(self.by)
                taken = table.take(pa.array(places)).to_pydict()
            keys += zip(*(taken[name] for name in self.by), strict=True)
        keys.sort()
        chosen = [keys[len(keys) * place // n] for place in range(1, n)] if keys else []
        return sorted(set(chosen))

    def _cuts(self, run: int, bounds: Sequence[Key]) -> list[int]:
        """Where the ranges begin in a run, and its end."""
        with pa.memory_map(str(self._path(run))) as source:
            table = pa.ipc.open_file(source).read_all().combine_chunks()
            columns = [table.column(name) for name in self.by]

            def key(row: int) -> Key:
                return tuple(column[row].as_py() for column in columns)

            rows = range(self.heights[run])
            inner = [bisect_left(rows, bound, key=key) for bound in bounds]
        return [0, *inner, self.heights[run]]

    def _slice(self, run: int, start: int, end: int) -> pl.DataFrame:
        with pa.memory_map(str(self._path(run))) as source:
            table = pa.ipc.open_file(source).read_all().slice(start, end - start)
            frame = pl.from_arrow(table, schema=self._empty.schema, rechunk=True)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _path(self, run: int) -> Path:
        return self.folder / f"{run:05}.arrow"
