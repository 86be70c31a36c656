"""Sorting more rows than memory holds: sorted runs on disk, merged a range of keys at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from falconer.pipelines import parquet
from falconer.pipelines.allocator import give_back
from falconer.pipelines.etl.buckets.frames import as_frame, write_frame

SAMPLES = 64
"""Keys of which each range of the merged rows is told."""

Key = tuple[Any, ...]


def write_run(path: Path, frame: pl.DataFrame, by: Sequence[str]) -> None:
    """Write rows as a run."""
    write_frame(path, frame.sort(by))


class Runs:
    """Rows that lie in sorted runs and leave in the order of the columns `by`, which no two rows
    share.

    To merge them the keys are parted into ranges of about equal size, and a range's slice of every
    run is read and sorted at a time.
    """

    def __init__(self, paths: Sequence[Path], by: Sequence[str]) -> None:
        self.by = list(by)
        tables = {path: _table(path) for path in paths}
        self._empty = as_frame(next(iter(tables.values())).schema.empty_table())
        self._paths = [path for path, table in tables.items() if table.num_rows]
        self.heights = [tables[path].num_rows for path in self._paths]
        self._bytes = sum(tables[path].nbytes for path in self._paths)

    def __len__(self) -> int:
        return sum(self.heights)

    def merged(self, size: int) -> Iterator[pl.DataFrame]:
        """All rows in order, about `size` bytes of them at a time, and at least one frame."""
        n = min(-(-self._bytes // max(size, 1)), len(self)) or 1
        bounds = self._bounds(n)
        cuts = [self._cuts(run, bounds) for run in range(len(self.heights))]
        for place in range(len(bounds) + 1):
            slices = [self._slice(run, cut[place], cut[place + 1]) for run, cut in enumerate(cuts)]
            piece = pl.concat([self._empty, *slices]).sort(self.by)
            del slices
            give_back()
            yield piece

    def _bounds(self, n: int) -> list[Key]:
        """The first keys of all ranges but the first."""
        step = max(1, len(self) // (n * SAMPLES))
        keys: list[Key] = []
        for run, height in enumerate(self.heights if n > 1 else []):
            places = list(range(0, height, step))
            taken = _table(self._paths[run]).select(self.by).take(pa.array(places)).to_pydict()
            keys += zip(*(taken[name] for name in self.by), strict=True)
        keys.sort()
        chosen = [keys[len(keys) * place // n] for place in range(1, n)] if keys else []
        return sorted(set(chosen))

    def _cuts(self, run: int, bounds: Sequence[Key]) -> list[int]:
        """Where the ranges begin in a run, and its end."""
        table = _table(self._paths[run])
        columns = [table.column(name) for name in self.by]

        def key(row: int) -> Key:
            return tuple(column[row].as_py() for column in columns)

        rows = range(self.heights[run])
        inner = [bisect_left(rows, bound, key=key) for bound in bounds]
        return [0, *inner, self.heights[run]]

    def _slice(self, run: int, start: int, end: int) -> pl.DataFrame:
        """A copy: what is looked at of a mapped file counts as memory of the process."""
        rows = parquet.column(np.arange(start, end))
        return as_frame(_table(self._paths[run]).take(rows))


def _table(path: Path) -> pa.Table:
    """A run's rows, which stay on disk until they are looked at."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
