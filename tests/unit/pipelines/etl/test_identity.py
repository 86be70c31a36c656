"""The id of a dataset: equal ids mean equal bytes, and where a file lies does not count."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl import build as stage
from falconer.pipelines.etl import identity
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.recipe import EtlRecipe
from tests.support import shop
from tests.unit.pipelines.etl.test_build import contents


def events(start: int = shop.START, n: int = 60) -> pl.DataFrame:
    rows = range(n)
    return pl.DataFrame(
        {
            "user": [row % 5 for row in rows],
            "item": [row % 7 for row in rows],
            "time": [start + row for row in rows],
        }
    )


def recipe(path: Any, **changes: Any) -> EtlRecipe:
    columns = {"user": "user", "item": "item", "time": "time"}
    source = {"kind": "files", "events": path, "columns": columns}
    return shop.recipe(
        Path(), source=source, features={"engine": "polars"}, split="leave_last", **changes
    )


def test_paths_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").mkdir()
    events().write_parquet(tmp_path / "a.parquet")
    shutil.copy(tmp_path / "a.parquet", tmp_path / "x/b.parquet")
    monkeypatch.chdir(tmp_path)
    spelled: list[Any] = [
        str(tmp_path / "a.parquet"),
        "a.parquet",
        "./a.parquet",
        ["a.parquet"],
        "a.par*",
        "x/../a.parquet",
    ]
    whole = [contents(build(recipe(one), tmp_path / str(n))) for n, one in enumerate(spelled)]
    assert all(one == whole[0] for one in whole)
    other = build(recipe("x/b.parquet"), tmp_path / "other")
    assert other.name == build(recipe("a.parquet"), tmp_path / "0").name


def test_content_versions_and_parent_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events().write_parquet(tmp_path / "a.parquet")
    events(n=61).write_parquet(tmp_path / "b.parquet")
    one = recipe(str(tmp_path / "a.parquet"))
    first = build(one, tmp_path / "out")
    assert build(recipe(str(tmp_path / "b.parquet")), tmp_path / "out").name != first.name
    child = recipe(str(tmp_path / "a.parquet"), extends=str(first))
    assert build(child, tmp_path / "out").name != first.name
    monkeypatch.setattr(identity, "version", lambda name: f"another {name}")
    assert build(one, tmp_path / "out").name != first.name


def test_the_clock_is_part_of_the_id_where_it_decides(tmp_path: Path) -> None:
    soon = int(time.time()) + 5
    table = events(n=400)
    late = pl.int_range(pl.len()) >= 398
    table.with_columns(time=pl.when(late).then(soon).otherwise("time")).write_parquet(
        tmp_path / "e.parquet"
    )
    one = recipe(str(tmp_path / "e.parquet"))
    early = Dataset.open(build(one, tmp_path / "a"))
    assert early.card.counts["rejected: time is in the future"] == 2
    assert early.card.config["contract"]["latest"] is not None
    again = Dataset.open(build(one, tmp_path / "b"))
    if time.time() < soon - 1:
        assert contents(again.path) == contents(early.path)
    while time.time() <= soon + 1:
        time.sleep(0.2)
    later = Dataset.open(build(one, tmp_path / "a"))
    assert later.card.counts["events_kept"] == 400
    assert later.card.dataset_id != early.card.dataset_id
    stated = one.contract.model_validate({"latest": early.card.config["contract"]["latest"]})
    repeated = build(one.model_copy(update={"contract": stated}), tmp_path / "c")
    assert contents(repeated) == contents(early.path)


def test_a_file_that_comes_while_reading_is_read_or_nothing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drop").mkdir()
    events().write_csv(tmp_path / "drop/a.csv")
    engine_of = stage.engine_of

    def arrival(*asked: Any) -> Any:
        if not (tmp_path / "drop/b.csv").exists():
            events(shop.START + 10_000).write_csv(tmp_path / "drop/b.csv")
        return engine_of(*asked)

    monkeypatch.setattr(stage, "engine_of", arrival)
    data = Dataset.open(build(recipe(str(tmp_path / "drop/*.csv")), tmp_path / "out"))
    assert list(data.card.sources) == ["a.csv", "b.csv"]
    assert data.card.counts["rows_read"] == 120


def test_a_file_that_never_rests_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events().write_csv(tmp_path / "a.csv")
    engine_of = stage.engine_of

    def growing(*asked: Any) -> Any:
        with (tmp_path / "a.csv").open("a") as stream:
            stream.write(f"1,1,{shop.START}\n")
        return engine_of(*asked)

    monkeypatch.setattr(stage, "engine_of", growing)
    with pytest.raises(DataError, match=r"a\.csv: changed while it was read"):
        build(recipe(str(tmp_path / "a.csv")), tmp_path / "out")
    assert not (tmp_path / "out").exists()
