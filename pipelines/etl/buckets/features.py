"""Features over buckets: statistics put together, then applied a piece at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from falconer.pipelines.etl import features as plans
from falconer.pipelines.etl.engines import Engine, encoded, together
from falconer.pipelines.etl.features import Encoding, Statistics, Table
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


def statistics_of(
    engine: Engine, table: Table, wanted: Mapping[str, AnyFeature], rows: pl.DataFrame
) -> Statistics:
    """What some rows of a table tell."""
    return engine.fit(plans.canonical(rows, wanted, table), wanted)


def fitted(
    engine: Engine,
    table: Table,
    wanted: Mapping[str, AnyFeature],
    parts: Iterable[Statistics],
) -> Features:
    """Fitted on all rows of a table, of which each part tells some; parts are not asked for where
    there is nothing to fit."""
    statistics: Statistics | None = None
    for found in parts if wanted else ():
        statistics = found if statistics is None else together(statistics, found, wanted)
    encodings = plans.fit(statistics or Statistics({}, {}), wanted, {})
    return Features(engine, table, wanted, encodings)
