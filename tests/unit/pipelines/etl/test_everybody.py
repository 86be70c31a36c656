"""Everybody's queries hold all that happened before a day, and nothing later."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.data.asked import NEVER
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.etl.everybody import everybody
from tests.support import shop

UNTIL = date(2020, 10, 8)
STOP = int(datetime(2020, 10, 8, tzinfo=UTC).timestamp())


def test_each_user_has_all_events_before_the_day(
    tables: Path, data: Dataset, tmp_path: Path
) -> None:
    asked = everybody(shop.recipe(tables), data, UNTIL, tmp_path / "asked")
    events = pl.read_parquet(tables / "events.parquet").with_row_index("ordinal")
    events = events.filter(pl.col("at") < STOP).sort("at", "ordinal")
    known = {key: number for number, key in enumerate(data.items.column("key").to_pylist())}
    keys, queries = next(data.query_blocks_of(asked.queries, 1000))
    assert keys.to_pylist() == sorted(events["customer"].unique().to_list())
    for row, key in enumerate(keys.to_pylist()):
        mine = events.filter(pl.col("customer") == key)
        wanted = [known[item] for item in mine["sku"] if item in known]
        assert queries.history[row].tolist() == wanted
        assert queries.history_times is not None
        assert (queries.history_times[row] < STOP).all()
    assert queries.time is not None
    assert set(queries.time.tolist()) == {STOP}
    last = asked.last_event(data.n_items)
    for item, number in known.items():
        times = events.filter(pl.col("sku") == item)["at"]
        assert last[number] == (times.max() if len(times) else NEVER)


def test_users_whom_the_dataset_does_not_know_are_asked_about_too(
    tables: Path, data: Dataset, tmp_path: Path
) -> None:
    more = pl.DataFrame(
        {"customer": [777], "sku": ["i1"], "at": [shop.START], "price": [1.0], "store": ["s1"]}
    ).with_columns(pl.lit(0.1).alias("discount"))
    events = pl.concat([pl.read_parquet(tables / "events.parquet"), more], how="vertical_relaxed")
    folder = shop.write(tmp_path / "more", events)
    asked = everybody(shop.recipe(folder), data, UNTIL, tmp_path / "asked")
    keys, queries = next(data.query_blocks_of(asked.queries, 1000))
    assert keys.to_pylist()[-1] == 777
    assert queries.user[-1] == -1
    assert len(queries.history[len(keys) - 1]) == 1
    assert np.array_equal(np.flatnonzero(queries.user < 0), [len(keys) - 1])


def test_a_source_without_times_is_refused(tables: Path, data: Dataset, tmp_path: Path) -> None:
    recipe = shop.recipe(tables)
    columns = recipe.source.columns.model_copy(update={"time": None})  # type: ignore[union-attr]
    source = recipe.source.model_copy(update={"columns": columns})
    with pytest.raises(ConfigError, match="source with times"):
        everybody(recipe.model_copy(update={"source": source}), data, UNTIL, tmp_path / "asked")
    assert not (tmp_path / "asked").exists()
