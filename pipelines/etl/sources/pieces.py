"""The events of files, read a piece at a time, by anyone who is told which of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from falconer.pipelines.etl.sources.files import Files, comparable, stack
from falconer.pipelines.etl.sources.tables import Table


@dataclass(frozen=True)
class Pieces:
    """A source's events, `n_rows` at a time; `typed` has a first piece of each file, and `empty` no
    rows in the types of all."""

    source: Files
    n_rows: int
    typed: Sequence[Table]
    empty: pl.DataFrame

    def of(self, paths: Iterable[Path]) -> Iterator[tuple[Path, Table]]:
        """The pieces of some files; rows are numbered from 0, and on from file to file."""
        first = 0
        for path in paths:
            height = 0
            for piece in self.source.table_pieces(path, self.n_rows):
                rows = comparable(piece.rows, self.typed).cast(self.empty.schema)
                numbered = piece.malformed.with_columns(pl.col("row") + first)
                yield path, Table(rows.with_columns(pl.col("ordinal") + first), numbered)
                height += piece.height
            first += height


def in_pieces(source: Files, n_rows: int) -> Pieces:
    """The events that `source.read` reads, in the same types, to be read piece by piece."""
    paths = source.event_paths()
    firsts = [next(source.table_pieces(path, n_rows)) for path in paths]
    typed = [Table(first.rows.clear(), first.malformed) for first in firsts]
    return Pieces(source, n_rows, typed, stack(paths, typed).rows)
