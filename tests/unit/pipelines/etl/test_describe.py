"""What columns hold: the same whether features counted them before, or nobody did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.schema import name_of
from falconer.pipelines.etl import describe, in_memory
from falconer.pipelines.etl.build import build
from falconer.pipelines.files import read_json
from tests.support import shop

WHOLE = st.lists(st.none() | st.integers(-3, 3) | st.integers(-(2**62), 2**62), max_size=12)
TEXT = st.lists(st.none() | st.sampled_from(["", "a", "b", "ü"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    values=WHOLE.map(lambda found: pl.Series("x", found, dtype=pl.Int64))
    | TEXT.map(lambda found: pl.Series("x", found, dtype=pl.String)),
    seed=st.integers(0, 9),
    most=st.integers(1, 4),
)
def test_what_was_counted_before_is_described_alike(
    values: pl.Series, seed: int, most: int
) -> None:
    others = pl.Series(np.flatnonzero(np.random.default_rng(seed).random(len(values)) < 0.4))
    before = values.to_frame().with_row_index().filter(~pl.col("index").is_in(others.implode()))
    counts = before["x"].drop_nulls().alias("value").value_counts(name="frequency", sort=True)
    known = describe.Counted({"x": counts}, others.cast(pl.UInt32))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(describe, "COUNTED", most)
        plain, found = (describe.describe(values.to_frame(), one) for one in (None, known))
    expected, mean = (one[0].pop("mean") for one in (plain, found))
    assert mean == (expected if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9))
    assert found == plain


def test_features_tell_what_their_columns_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`columns.json` is what describing all events gives, of columns that features counted too."""
    events = shop.events().with_columns(till=pl.col("at") % 7, size=pl.col("price").round() % 5)
    tables = shop.write(tmp_path / "shop", events)
    names = ("store", "till", "size")
    features = {"event": {name: {"kind": "categorical"} for name in names}}
    features["event"]["often"] = {"kind": "categorical", "column": "till", "min_count": 99}
    columns = {"user": "customer", "item": "sku", "time": "at"}
    source = {"kind": "files", "events": str(tables / "events.parquet"), "columns": columns}
    recipe = shop.recipe(tables, features=features, source=source)
    found = read_json(build(recipe, tmp_path / "one") / "columns.json")
    counted: list[str] = []

    def plainly(events: pl.DataFrame, known: describe.Counted) -> list[dict[str, Any]]:
        counted.extend(known.counts)
        return describe.describe(events)

    monkeypatch.setattr(in_memory, "describe", plainly)
    assert read_json(build(recipe, tmp_path / "other") / "columns.json") == found
    assert sorted(map(name_of, counted)) == ["store", "till"]


@pytest.mark.parametrize("distinct", [10, 5_000, 40_000])
def test_of_many_values_the_smallest_hashes_are_those_of_all(
    monkeypatch: pytest.MonkeyPatch, distinct: int
) -> None:
    monkeypatch.setattr(describe, "COUNTED", 1_000)
    values = pl.Series(np.random.default_rng(0).integers(0, distinct, 50_000)).hash()
    assert describe._smallest(values).tolist() == sorted(set(values))[:1_000]
