"""Writing a dataset's tables from the sorted runs of all buckets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import polars as pl
import pyarrow as pa

from falconer.pipelines.data.schema import VALID_EVENTS, Fold
from falconer.pipelines.data.table_files import TableFile
from falconer.pipelines.etl.buckets.encode import (
    FRACTION,
    LABEL,
    TRAIN,
    VALIDATION,
    FoldFacts,
    run_of,
)
from falconer.pipelines.etl.buckets.features import Features, fit
from falconer.pipelines.etl.buckets.frames import OLDEST, files_of
from falconer.pipelines.etl.buckets.runs import Runs
from falconer.pipelines.etl.buckets.vocabularies import Vocabularies
from falconer.pipelines.etl.catalogue import Kind
from falconer.pipelines.etl.encode import beside, entities_of
from falconer.pipelines.etl.engines import Engine
from falconer.pipelines.etl.in_memory import ROWS_PER_FILE
from falconer.pipelines.etl.operators import AnyFeature

IDS_LIST = pa.list_(pa.int32())
LISTS = {"history": IDS_LIST, "items": IDS_LIST, "history_times": pa.list_(pa.int64())}
QUERY = ("user", "user_key", "history", "history_times", "time")
TRUTH = ("items", "n_outside")


@dataclass(frozen=True)
class Writer:
    """Writes the tables of one dataset below `root`, about `size` bytes at a time."""

    engine: Engine
    vocabularies: Vocabularies
    root: Path
    size: int

    def entities(
        self, kind: Kind, wanted: Mapping[str, AnyFeature], table: pl.DataFrame | None
    ) -> Features:
        """Fit the features of users or items, and write their table."""
        features = fit(self.engine, kind, wanted, lambda: self._entities(kind, table))
        with TableFile(self.root, f"{kind}s.parquet") as file:
            for piece in self._entities(kind, table):
                rows = beside(piece.select("id", "key", "label"), features.of(piece))
                file.add(rows.to_arrow(compat_level=OLDEST))
        return features

    def _entities(self, kind: Kind, table: pl.DataFrame | None) -> Iterator[pl.DataFrame]:
        items = [self.vocabularies.items]
        first = 0
        for values in self.vocabularies.user_pieces() if kind == "user" else items:
            yield entities_of(values, table, kind, first)
            first += len(values)
        if first == 0:
            yield entities_of(pl.Series("key", [], dtype=pl.String), table, kind)

    def train(self, folder: Path, n: int, by: Sequence[str]) -> int:
        """Write train and validation's events, from the runs of `n` buckets in `folder`; the number
        of train rows."""
        runs = Runs(files_of(folder, n, TRAIN), by)
        tables = (self._table(piece) for piece in runs.merged(self.size))
        for number, parts in groupby(_parted(tables), key=itemgetter(0)):
            with TableFile(self.root, f"train/part-{number:05}.parquet", nulls=False) as file:
                for _, table in parts:
                    file.add(table)
        validation = Runs(files_of(folder, n, VALIDATION), by)
        if len(validation):
            with TableFile(self.root, VALID_EVENTS, nulls=False) as file:
                for piece in validation.merged(self.size):
                    file.add(self._table(piece))
        return len(runs)

    def _table(self, rows: pl.DataFrame) -> pa.Table:
        return rows.drop(FRACTION, strict=False).to_arrow(compat_level=OLDEST)

    def rows(self, folder: Path, n: int, by: Sequence[str], fold: Fold, facts: FoldFacts) -> None:
        """Write a fold's rows and labels."""
        runs = Runs(files_of(folder, n, run_of(fold)), by)
        left_out = [LABEL, *(name for name in facts.is_told if name not in facts.beside)]
        with (
            TableFile(self.root, f"pairs/{fold}.parquet", nulls=False) as pairs,
            TableFile(self.root, f"labels/{fold}.parquet", nulls=False) as labels,
        ):
            for piece in runs.merged(self.size):
                pairs.add(self._table(piece.drop(left_out)))
                labels.add(pa.table({"label": piece[LABEL].to_arrow()}))

    def queries(self, folder: Path, n: int, fold: Fold, facts: FoldFacts) -> None:
        """Write a fold's queries and truth."""
        runs = Runs(files_of(folder, n, run_of(fold)), ["user_key"])
        with (
            TableFile(self.root, f"queries/{fold}.parquet") as queries,
            TableFile(self.root, f"truth/{fold}.parquet") as truth,
        ):
            for piece in runs.merged(self.size):
                own = [name for name in QUERY if name in piece.columns]
                queries.add(_listed(piece.select(*own, *facts.beside)))
                truth.add(_listed(piece.select(TRUTH)))


def _parted(tables: Iterable[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    """The tables, cut where a file ends, with the number of their file; at least one."""
    first = 0
    for table in tables:
        if first == table.num_rows == 0:
            yield 0, table
        end = first + table.num_rows
        for number in range(first // ROWS_PER_FILE, -(-end // ROWS_PER_FILE)):
            start = max(number * ROWS_PER_FILE, first)
            yield number, table.slice(start - first, (number + 1) * ROWS_PER_FILE - start)
        first = end


def _listed(rows: pl.DataFrame) -> pa.Table:
    """An Arrow table with lists of the type that datasets have."""
    table = rows.to_arrow(compat_level=OLDEST)
    types = [LISTS.get(field.name, field.type) for field in table.schema]
    return pa.table(
        [column.cast(dtype) for column, dtype in zip(table.columns, types, strict=True)],
        names=table.column_names,
    )
