"""A table and its change make the other table, whatever came, went or changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import CARD, Dataset
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.etl import changes
from falconer.pipelines.etl.changes import change_of
from falconer.pipelines.files import read_json, write_json
from tests.unit.pipelines.etl.test_append import append, build, folder, recipe, write_days

__all__ = ["folder"]

LISTS = st.lists(st.integers(0, 3), max_size=6)
ROWS = st.dictionaries(
    st.integers(0, 12), st.tuples(st.none() | st.integers(0, 2), st.floats(), LISTS), max_size=10
)
OLDEST = pl.CompatLevel.oldest()


def table_of(rows: dict[int, tuple[Any, ...]], *, ordered: bool) -> pl.DataFrame:
    keys = sorted(rows) if ordered else list(rows)
    columns = list(zip(*(rows[key] for key in keys), strict=True)) or [(), (), ()]
    types = (pl.Int64, pl.Float64, pl.List(pl.Int32))
    named = dict(zip(("flat", "number", "list"), columns, strict=True))
    data = {
        name: pl.Series(values, dtype=dtype)
        for (name, values), dtype in zip(named.items(), types, strict=True)
    }
    return pl.DataFrame({"key": pl.Series(keys, dtype=pl.Int64), **data})


@settings(max_examples=200, deadline=None)
@given(old=ROWS, new=ROWS, kept=ROWS, ordered=st.booleans())
def test_the_change_makes_the_new_table_of_the_old_one(
    old: dict[int, Any], new: dict[int, Any], kept: dict[int, Any], ordered: bool
) -> None:
    before, after = (table_of(rows | kept, ordered=ordered) for rows in (old, new))
    tables = [frame.to_arrow(compat_level=OLDEST) for frame in (before, after)]
    change = change_of(*tables, before["key"], after["key"])
    assert change is not None or not ordered
    if change is not None:
        made = pl.DataFrame(change.applied(tables[0]))
        assert made.equals(after)


def test_what_grew_is_told_by_what_was_added() -> None:
    old = table_of({1: (1, 0.5, [1, 2, 3]), 2: (1, 0.5, [4]), 4: (1, 0.5, [])}, ordered=True)
    new = table_of(
        {1: (1, 0.5, [2, 3, 9]), 2: (1, 0.5, [4]), 3: (1, 0.5, [7]), 4: (2, 0.5, [])}, ordered=True
    )
    tables = [frame.to_arrow(compat_level=OLDEST) for frame in (old, new)]
    change = change_of(*tables, old["key"], new["key"])
    assert change is not None
    assert change.gone.tolist() == [2]
    assert change.rows.column("key").to_pylist() == [3, 4]
    assert change.lists.column("list").to_pylist() == [[9]]
    assert change.columns.num_columns == 0


def test_lists_with_nulls_or_too_many_values_are_told_by_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = table_of({1: (1, 0.5, [1]), 2: (1, 0.5, [4])}, ordered=True)
    new = table_of({1: (1, 0.5, [1, 2]), 2: (1, 0.5, None)}, ordered=True)
    for frame, most in ((new, 100), (new.head(1), 0)):
        monkeypatch.setattr(changes, "MOST_VALUES", most)
        tables = [one.to_arrow(compat_level=OLDEST) for one in (old, frame)]
        change = change_of(*tables, old["key"], frame["key"])
        assert change is not None
        assert change.rows.num_rows == len(frame)
        assert change.lists.num_rows == 0


def test_a_column_that_changed_everywhere_is_told_as_a_whole() -> None:
    rows = {key: (1, 0.5, [key]) for key in range(9)}
    old, new = (
        table_of(rows, ordered=True),
        table_of({k: (2, *v[1:]) for k, v in rows.items()}, ordered=True),
    )
    tables = [frame.to_arrow(compat_level=OLDEST) for frame in (old, new)]
    change = change_of(*tables, old["key"], new["key"])
    assert change is not None
    assert change.columns.column_names == ["flat"]
    assert (len(change.gone), change.rows.num_rows) == (0, 0)


@pytest.fixture
def appended(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("falconer.pipelines.etl.layering.WORTH", 1e9)
    first = build(recipe(folder), tmp_path / "out")
    write_days(folder, 25, 26)
    return append(recipe(folder), first, tmp_path / "out")


def test_a_change_that_is_damaged_or_gone_is_named(appended: Path) -> None:
    file = appended / "layers/00001/events/test.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match=r"layers/00001/events/test\.parquet: damaged"):
        Dataset.open(appended).table("events/test.parquet")
    file.unlink()
    with pytest.raises(ArtifactError, match=r"layers/00001/events/test\.parquet: missing"):
        Dataset.open(appended).table("events/test.parquet")


def test_what_came_from_the_parent_is_linked_and_stays_without_it(appended: Path) -> None:
    files = [path for path in (appended / "layers/00000").rglob("*") if path.is_file()]
    assert all(path.stat().st_nlink > 1 for path in files)
    for other in appended.parent.iterdir():
        if other != appended:
            (other / CARD).unlink()
            (other / "items.parquet").unlink()
    assert Dataset.open(appended).items.num_rows == Dataset.open(appended).n_items


def test_another_format_is_refused_by_its_number(appended: Path) -> None:
    card = read_json(appended / CARD)
    assert card["format_version"] == 3
    write_json(appended / CARD, card | {"format_version": 4})
    with pytest.raises(ArtifactError, match="format version 4, this release reads 2 and 3"):
        Dataset.open(appended)
