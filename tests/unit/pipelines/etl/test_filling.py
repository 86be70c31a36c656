"""Medians, marks of nulls, bounded vocabularies, columns under other names, and rows kept by a
column: known answers, both engines, buckets, days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.features import Encoder
from falconer.pipelines.etl.medians import median_counts, with_medians
from falconer.pipelines.etl.operators import Continuous
from tests.support import shop
from tests.unit.pipelines.etl.test_buckets import SEVEN, assert_equal

FEATURES: dict[str, Any] = {
    "event": {
        "price": {"kind": "continuous", "fill": "median", "normalize": False},
        "scaled": {"kind": "continuous", "column": "price", "fill": "median"},
        "no_price": {"kind": "missing", "column": "price"},
        "shop": {"kind": "categorical", "column": "store", "max_size": 2},
        "step": {"kind": "bucketize", "column": "price", "boundaries": [1.0, 5.0]},
    },
    "user": {"years": {"kind": "continuous", "column": "age", "fill": "median"}},
}
CLEAN = {"keep": {"discount": {"least": 0.1, "most": 1.4}, "store": {"nulls": False}}}


def recipe(folder: Path, *, engine: str = "polars", **changes: Any) -> Any:
    return shop.recipe_with(folder, FEATURES, engine=engine, clean=CLEAN, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop.write(tmp_path_factory.mktemp("shop"), shop.events())


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(recipe(folder), tmp_path_factory.mktemp("out"))


def test_engines_and_buckets_give_equal_tables(folder: Path, built: Path, tmp_path: Path) -> None:
    assert_equal(build(recipe(folder), tmp_path / "n", buckets=SEVEN), built)
    other = Dataset.open(build(recipe(folder, engine="nvtabular"), tmp_path / "other"))
    for name in other.train.column_names:
        here, there = (pl.DataFrame(one.train)[name] for one in (other, Dataset.open(built)))
        np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-7)


def test_each_feature_is_what_its_words_say(folder: Path, built: Path) -> None:
    data = Dataset.open(built)
    train = pl.DataFrame(data.train)
    source = pl.read_parquet(folder / "events.parquet").with_row_index("ordinal")
    rows = train.select("ordinal").join(source, on="ordinal", how="left", maintain_order="left")
    assert rows["store"].null_count() == 0
    assert rows["discount"].is_between(0.1, 1.4).all()
    prices = rows["price"].drop_nulls()
    middle = prices.sort()[(len(prices) - 1) // 2]
    np.testing.assert_allclose(train["price"], rows["price"].fill_null(middle), rtol=2e-5)
    assert abs(np.mean(train["scaled"].to_numpy())) < 1e-6
    assert train["no_price"].to_list() == rows["price"].is_null().to_list()
    common = rows["store"].value_counts().sort(["count", "store"], descending=[True, False])
    ids = {value: place for place, value in enumerate(common["store"].head(2))}
    assert train["shop"].to_list() == [ids.get(value, -1) for value in rows["store"]]
    step = [-1 if p is None else (p >= 1) + (p >= 5) for p in rows["price"]]
    assert train["step"].to_list() == step


def test_what_is_dropped_is_counted_by_its_column(folder: Path, built: Path) -> None:
    source = pl.read_parquet(folder / "events.parquet")
    counts = Dataset.open(built).card.counts
    low, high = source["discount"] < 0.1, source["discount"] > 1.4
    absent = source["store"].is_null() & ~(low | high)
    found = {name: n for name, n in counts.items() if name.startswith("dropped: ") and n}
    assert found == {
        "dropped: discount below 0.1": low.sum(),
        "dropped: discount above 1.4": high.sum(),
        "dropped: store is null": absent.sum(),
    }
    assert counts["events_kept"] == len(source) - sum(found.values())


def test_a_day_that_follows_keeps_the_median_and_the_bounded_ids(
    folder: Path, built: Path, tmp_path: Path
) -> None:
    later = shop.events(seed=5).with_columns(
        pl.col("price") + 100, store=pl.lit("new"), at=pl.col("at") + 90 * shop.DAY
    )
    both = pl.concat([pl.read_parquet(folder / "events.parquet"), later])
    child = build(recipe(shop.write(tmp_path / "in", both), extends=str(built)), tmp_path / "out")
    before, after = (
        Encoder.of_dataset(Dataset.open(one)).encodings["event"] for one in (built, child)
    )
    assert after["price"].state == before["price"].state
    assert after["price"].lineage == before["price"].lineage
    assert after["shop"].values is not None
    assert after["shop"].values.to_list() == before["shop"].values.to_list()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"store": {"least": 1}}, r"clean.keep.store: least and most need numbers"),
        ({"stor": {"nulls": False}}, r"no column 'stor'|stor"),
        ({"rating": {"least": 1}}, r"clean.keep.rating: the events have no such column"),
    ],
    ids=["text", "absent", "unmapped"],
)
def test_a_column_that_cannot_be_kept_by_is_named(
    folder: Path, tmp_path: Path, keep: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        build(shop.recipe(folder, clean={"keep": keep}), tmp_path)


NUMBERS = st.lists(st.none() | st.integers(-100_000, 100_000), max_size=12)


@settings(max_examples=50, deadline=None)
@given(one=NUMBERS, other=NUMBERS)
def test_the_median_of_parts_is_that_of_the_whole(one: list[Any], other: list[Any]) -> None:
    features = {"x": Continuous(kind="continuous", fill="median")}
    parts = [pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)}) for values in (one, other)]
    filled, medians = with_medians(features, (median_counts(features, part) for part in parts))
    known = sorted(value for value in one + other if value is not None)
    assert medians == {"x": known[(len(known) - 1) // 2] if known else 0.0}
    assert filled["x"] == Continuous(kind="continuous", fill=medians["x"])
