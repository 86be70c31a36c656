"""Times order events at the resolution of their source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.times import UNITS
from tests.support import shop

START = shop.START
BACKWARDS = [("p", 0), ("q", 1), ("r", 2), ("s", 3)]


def histories(tmp_path: Path, times: pl.Series, **source: Any) -> list[str]:
    """The order of p, q, r, s in a dataset whose source has them with these times, backwards."""
    frame = pl.DataFrame(
        {"user": ["u"] * 4 + ["v"] * 4, "item": [item for item, _ in BACKWARDS] * 2}
    ).with_columns(time=pl.concat([times, times]))
    frame = frame.reverse()
    if source.pop("text", False):
        path = tmp_path / "e.csv"
        frame.write_csv(path)
    else:
        path = tmp_path / "e.parquet"
        frame.write_parquet(path)
    columns = {"user": "user", "item": "item", "time": "time"}
    recipe = shop.recipe(
        tmp_path,
        source={"kind": "files", "events": str(path), "columns": columns, **source},
        features={"engine": "polars"},
        split="leave_last",
    )
    data = Dataset.open(build(recipe, tmp_path / "out"))
    keys = data.items["key"].to_pylist()
    queries, truth = data.queries("test"), data.truth("test")
    assert truth.n_outside.tolist() in ([0, 0], [1, 1])
    seen = [keys[item] for item in queries.history[0].tolist()]
    assert [keys[item] for item in queries.history[1].tolist()] == seen
    return [*seen, *(keys[item] for item in truth.items[0].tolist())]


def in_unit(unit: str, step: int) -> pl.Series:
    """START and three times later by one, two and three steps of 1/step s."""
    per_second = UNITS[unit]
    return pl.Series("time", [START * per_second + n * (per_second // step) for n in range(4)])


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(("unit", "step"), [("ms", 10), ("ms", 1000), ("us", 10**6), ("ns", 10**9)])
def test_numbers_finer_than_a_second_order_events(
    tmp_path: Path, unit: str, step: int, *, text: bool
) -> None:
    found = histories(tmp_path, in_unit(unit, step), time_unit=unit, text=text)
    assert found[:2] == ["p", "q"]
    assert "s" not in found[:3]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_date_times_order_events_in_their_own_unit(tmp_path: Path, unit: Any) -> None:
    times = in_unit(unit, UNITS[unit]).cast(pl.Datetime(unit))
    assert histories(tmp_path, times)[:2] == ["p", "q"]


def test_fractions_of_floats_order_events(tmp_path: Path) -> None:
    times = pl.Series("time", [START + n / 8 for n in range(4)])
    assert histories(tmp_path, times)[:2] == ["p", "q"]


@pytest.mark.parametrize("digits", [1, 3, 6, 7, 9])
def test_fractions_of_text_order_events(tmp_path: Path, digits: int) -> None:
    times = pl.Series("time", [f"2024-05-31T12:00:00.{n:0{digits}}Z" for n in range(4)])
    assert histories(tmp_path, times, time_unit="iso")[:2] == ["p", "q"]


def test_clicks_a_millisecond_apart_are_no_duplicates(tmp_path: Path) -> None:
    times = [START * 1000 + n for n in (0, 0, 1, 2, 3, 4)]
    frame = pl.DataFrame({"user": ["u"] * 6, "item": ["a"] * 6, "time": times})
    frame.write_parquet(tmp_path / "e.parquet")
    source = {
        "kind": "files",
        "events": str(tmp_path / "e.parquet"),
        "columns": {"user": "user", "item": "item", "time": "time"},
        "time_unit": "ms",
    }
    recipe = shop.recipe(
        tmp_path,
        source=source,
        features={"engine": "polars"},
        split="leave_last",
        clean={"deduplicate": "events"},
    )
    data = Dataset.open(build(recipe, tmp_path / "out"))
    assert data.card.counts["dropped: duplicate event"] == 1
    assert data.card.counts["events_kept"] == 5


def test_float32_times_are_refused_with_the_cast_to_make(tmp_path: Path) -> None:
    times = pl.Series("time", [START + n for n in range(4)]).cast(pl.Float32)
    with pytest.raises(DataError, match=r"too large to be exact in 32 bits[\s\S]*int64, float64"):
        histories(tmp_path, times)
