"""Rows are taken by Numpy or by Polars: no type of a column comes out otherwise."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal, assert_series_equal

from falconer.pipelines.etl.chosen import taken
from falconer.pipelines.etl.raw import in_order

COLUMNS = [
    *(pl.Series([3, 1, 2], dtype=kind) for kind in (pl.Int8, pl.Int16, pl.Int32, pl.Int64)),
    *(pl.Series([3, 1, 2], dtype=kind) for kind in (pl.UInt8, pl.UInt16, pl.UInt32, pl.Int128)),
    pl.Series([0.5, -0.0, np.nan], dtype=pl.Float32),
    pl.Series([0.5, -0.0, np.inf], dtype=pl.Float64),
    pl.Series([Decimal("1.50"), Decimal("2.25"), Decimal("-3.00")], dtype=pl.Decimal(10, 2)),
    pl.Series([2**63, 2**64 - 1, 0], dtype=pl.UInt64),
    pl.Series([True, False, True]),
    pl.Series(["a", "", "ü"]),
    pl.Series([b"a", b"", b"\xff"]),
    pl.Series([date(2020, 1, 1), date(1900, 1, 1), date(2100, 1, 1)]),
    pl.Series([datetime(2020, 1, day, tzinfo=UTC) for day in (3, 1, 2)]),
    pl.Series([timedelta(days=day) for day in (3, 1, 2)]),
    pl.Series([[1], [], [2, 3]]),
    pl.Series([1, None, 3]),
    pl.Series([None, None, None], dtype=pl.Null),
]


@pytest.mark.parametrize(
    "column", COLUMNS, ids=[f"{n} {one.dtype}" for n, one in enumerate(COLUMNS)]
)
def test_a_column_of_any_type_is_taken(column: pl.Series) -> None:
    places = np.array([2, 0, 0, 1])
    assert_series_equal(taken(column, places), column.gather([2, 0, 0, 1]))


def test_events_with_a_column_of_any_type_are_put_in_order() -> None:
    columns = {f"x{n}": one for n, one in enumerate(COLUMNS)}
    events = pl.DataFrame({"time": [3, 1, 2], "ordinal": [0, 1, 2], **columns})
    assert_frame_equal(in_order(events), events[[1, 2, 0]])
