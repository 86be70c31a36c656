"""Rows that break what a recipe expects are set aside as they came, or stop the build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.build import build
from tests.support import shop

LOOSE = {"max_rejected_share": 1.0}


def built(tables: Path, out: Path, expect: dict[str, Any], **contract: Any) -> Dataset:
    return Dataset.open(
        build(shop.recipe(tables, expect=expect, contract=LOOSE | contract), out / "out")
    )


@pytest.mark.parametrize(
    ("expectation", "reason", "broken"),
    [
        ({"most": 10}, "expected price of at most 10", pl.col("price") > 10),
        ({"least": 1}, "expected price of at least 1", pl.col("price") < 1),
        ({"nulls": 0}, "expected price not to be null", pl.col("price").is_null()),
    ],
)
def test_rows_that_break_it_are_set_aside_as_they_came(
    tables: Path, tmp_path: Path, expectation: dict[str, Any], reason: str, broken: pl.Expr
) -> None:
    data = built(tables, tmp_path, {"price": expectation})
    wanted = shop.events().with_row_index("row").filter(broken)
    found = pl.DataFrame(data.table("rejected/events.parquet"))
    assert found["row"].to_list() == wanted["row"].to_list()
    assert found["feature:price"].to_list() == wanted["price"].to_list()
    assert data.card.counts[f"rejected: {reason}"] == len(wanted) > 0
    assert data.card.counts["events_kept"] == 400 - len(wanted)


def test_values_and_uniqueness(tables: Path, tmp_path: Path) -> None:
    data = built(tables, tmp_path, {"store": {"values": ["s0", "s1", "s2", "s3"]}})
    wanted = shop.events().filter(pl.col("store") == "s4")
    counts = data.card.counts
    assert counts["rejected: expected store to be one of the values"] == len(wanted) > 0
    doubled = shop.events().with_columns(discount=pl.Series([0.5] * 2 + list(range(2, 400))))
    folder = shop.write(tmp_path / "doubled", doubled)
    data = built(folder, tmp_path, {"discount": {"unique": True}})
    assert data.card.counts["rejected: expected discount to be unique"] == 1


@pytest.mark.parametrize(
    ("expect", "contract", "message"),
    [
        ({"price": {"most": 10, "violation": "stop"}}, {}, "rows break what the recipe expects"),
        ({"price": {"nulls": 0.01}}, {}, "of price is null, and the recipe expects at most 1.0%"),
        ({"price": {"most": 10}}, {"max_rejected_share": 0.01}, "more than contract.max_rejected"),
        ({"store": {"most": 10}}, {}, "least and most need numbers"),
        ({"nothing": {"most": 10}}, {}, "expect.nothing: the events have no such column"),
    ],
)
def test_what_stops_a_build(
    tables: Path, tmp_path: Path, expect: dict[str, Any], contract: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        built(tables, tmp_path, expect, **contract)
    assert not (tmp_path / "out").exists()
