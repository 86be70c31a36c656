"""Features over buckets: fitted on all of them, then applied a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from falconer.pipelines.etl import features as plans
from falconer.pipelines.etl.engines import Engine, encoded, fitted
from falconer.pipelines.etl.features import Encoding, Table
from falconer.pipelines.etl.inputs import canonical
from falconer.pipelines.etl.operators import AnyFeature


@dataclass(frozen=True)
class Features:
    """The features of one table, fitted."""

    engine: Engine
    table: Table
    wanted: Mapping[str, AnyFeature]
    encodings: Mapping[str, Encoding]

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The encoded columns, row by row."""
        return encoded(rows, self.wanted, self.table, self.engine, self.encodings)


def fit(
    engine: Engine,
    table: Table,
    wanted: Mapping[str, AnyFeature],
    pieces: Callable[[], Iterable[pl.DataFrame]],
) -> Features:
    """Fit on all rows of a table, which come in pieces; they are not read where there is nothing to
    fit."""

    def inputs() -> Iterator[pl.DataFrame]:
        return (canonical(piece, wanted, table) for piece in pieces())

    encodings = plans.fit(fitted(engine, wanted, inputs), wanted, {})
    return Features(engine, table, wanted, encodings)
