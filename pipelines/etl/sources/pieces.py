"""The events of files, read a piece at a time, by anyone who is told which of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from falconer.pipelines.etl.sources.files import Files, comparable, stack
from falconer.pipelines.etl.sources.tables import PARQUET, Table

MOST_TASKS = 32
"""About as many as a source is parted into: enough that several workers are busy, few enough that
their pieces of a bucket are."""


@dataclass(frozen=True)
class Share:
    """A file, or some row groups of a parquet file, and about how many bytes they are."""

    path: Path
    row_groups: tuple[int, ...] | None
    size: int


@dataclass(frozen=True)
class Pieces:
    """A source's events, `n_rows` at a time; `typed` has a first piece of each file, and `empty` no
    rows in the types of all."""

    source: Files
    n_rows: int
    typed: Sequence[Table]
    empty: pl.DataFrame

    def of(self, shares: Iterable[Share]) -> Iterator[tuple[Path, Table]]:
        """The pieces of some files; rows are numbered from 0, and on from file to file."""
        first = 0
        for share in shares:
            height = 0
            for piece in self.source.table_pieces(share.path, self.n_rows, share.row_groups):
                rows = comparable(piece.rows, self.typed).cast(self.empty.schema)
                numbered = piece.malformed.with_columns(pl.col("row") + first)
                yield share.path, Table(rows.with_columns(pl.col("ordinal") + first), numbered)
                height += piece.height
            first += height


def in_pieces(source: Files, n_rows: int) -> Pieces:
    """The events that `source.read` reads, in the same types, to be read piece by piece."""
    paths = source.event_paths()
    firsts = [next(source.table_pieces(path, n_rows)) for path in paths]
    typed = [Table(first.rows.clear(), first.malformed) for first in firsts]
    return Pieces(source, n_rows, typed, stack(paths, typed).rows)


def shared(paths: Sequence[Path]) -> list[list[Share]]:
    """The files in their order, parted into tasks of about equal size, the same whoever reads them;
    only parquet files are parted themselves."""
    most = max(sum(path.stat().st_size for path in paths) // MOST_TASKS, 1)
    tasks: list[list[Share]] = []
    filled = most
    for share in (share for path in paths for share in _shares(path, most)):
        if filled + share.size > most:
            tasks.append([])
            filled = 0
        tasks[-1].append(share)
        filled += share.size
    return tasks


def _shares(path: Path, most: int) -> Iterator[Share]:
    size = path.stat().st_size
    if path.suffix.lower() not in PARQUET or size <= most:
        yield Share(path, None, size)
        return
    file = pq.read_metadata(path)
    rows = [file.row_group(number).num_rows for number in range(file.num_row_groups)]
    each = size / max(sum(rows), 1)
    groups: list[int] = []
    filled = 0
    for number, n in enumerate(rows):
        if groups and (filled + n) * each > most:
            yield Share(path, tuple(groups), int(filled * each))
            groups, filled = [], 0
        groups.append(number)
        filled += n
    yield Share(path, tuple(groups), int(filled * each))
