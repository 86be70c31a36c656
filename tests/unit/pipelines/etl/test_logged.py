"""What a recommender logged as it chose by chance, from its file to the dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError, ExhaustedError
from falconer.pipelines.etl.build import build
from tests.support import shop
from tests.support.shop import DAY, START

COLUMNS = {"user": "who", "item": "sku", "time": "at", "reward": "clicked", "propensity": "p"}
TEST_FROM = START + 26 * DAY + 1
"""Of the shop's temporal split: four days, the last event included."""
ROWS = [
    (3, "i1", TEST_FROM - 1, 1.0, 0.5),  # before the window
    (3, "i2", TEST_FROM, 1.0, 0.25),
    (77, "i1", TEST_FROM + DAY, 0.0, 0.5),  # who never bought anything
    (3, "unheard-of", TEST_FROM + 2, 0.0, 1.0),
    (4, "i3", START + 30 * DAY, 0.0, 0.1),  # in the window's last second
    (4, "i3", START + 30 * DAY + 1, 1.0, 0.1),  # behind it
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop.write(tmp_path_factory.mktemp("shop"), shop.events())


def log_of(rows: list[tuple[Any, ...]], path: Path) -> dict[str, Any]:
    pl.DataFrame(rows, schema=list(COLUMNS.values()), orient="row").write_csv(path)
    return {"events": str(path), "columns": COLUMNS}


def built(folder: Path, tmp_path: Path, rows: list[tuple[Any, ...]], **changes: Any) -> Dataset:
    recipe = shop.recipe(folder, logged=log_of(rows, tmp_path / "log.csv"), **changes)
    return Dataset.open(build(recipe, tmp_path / "data"))


def test_rows_of_the_window_stand_beside_the_queries(folder: Path, tmp_path: Path) -> None:
    data = built(folder, tmp_path, ROWS)
    log = data.logged("test")
    assert log is not None
    keys = data.query_keys("test").to_pylist()
    items = data.items["key"].to_pylist()
    found = [
        (keys[query], items[item] if item >= 0 else None, reward, propensity)
        for query, item, reward, propensity in zip(
            log.query, log.item, log.reward, log.propensity, strict=True
        )
    ]
    assert found == [
        (3, "i2", 1.0, 0.25),
        (3, None, 0.0, 1.0),
        (4, "i3", 0.0, 0.1),
        (77, "i1", 0.0, 0.5),
    ]
    assert (np.diff(log.query) >= 0).all()
    counts = data.card.counts
    assert (counts["logged_read"], counts["logged_rows"]) == (6, 4)
    assert counts["logged outside the test window"] == 2
    assert data.logged("valid") is None


def test_who_was_shown_something_is_asked_about(folder: Path, tmp_path: Path) -> None:
    data = built(folder, tmp_path, ROWS)
    plain = Dataset.open(build(shop.recipe(folder), tmp_path / "plain"))
    keys, asked = (one.query_keys("test").to_pylist() for one in (data, plain))
    assert keys == sorted([*asked, 77])
    new = keys.index(77)
    assert data.truth("test").items.lengths[new] == 0
    assert data.queries("test").user[new] == -1
    assert (data.queries("test").time == data.queries("test").time[0]).all()
    others = [row for row in range(len(keys)) if row != new]
    for part in ("history", "user"):
        mine, theirs = (getattr(one.queries("test"), part) for one in (data, plain))
        assert [list(np.ravel(mine[row])) for row in others] == [
            list(np.ravel(theirs[row])) for row in range(len(asked))
        ]


@pytest.mark.parametrize(
    ("propensity", "reason"),
    [
        ("", "propensity is null"),
        ("0", "propensity is 0 or less"),
        ("-0.5", "propensity is 0 or less"),
        ("1e-300", "propensity is below 1e-12"),
        ("1.5", "propensity is above 1"),
        ("nan", "propensity is not finite"),
        ("often", "propensity is not a number"),
    ],
)
def test_bad_propensities_are_set_aside(
    folder: Path, tmp_path: Path, propensity: str, reason: str
) -> None:
    rows = [(3, "i2", TEST_FROM, "1", "0.5"), (4, "i2", TEST_FROM, "1", propensity)]
    data = built(folder, tmp_path, rows, contract={"max_rejected_share": 0.5})
    assert data.card.counts[f"logged rejected: {reason}"] == 1
    assert data.card.counts["logged_rows"] == 1
    rejected = data.table("rejected/logged.parquet")
    assert rejected["reason"].to_pylist() == [reason]
    assert rejected["row"].to_pylist() == [1]


def test_too_many_bad_rows_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    rows = [(3, "i2", TEST_FROM, 1.0, 0.5), (4, "i2", TEST_FROM, 1.0, 0.0)]
    with pytest.raises(DataError, match=r"logged: 1 of 2 rows are bad") as caught:
        built(folder, tmp_path, rows)
    assert "log.csv, row 1" in str(caught.value)
    assert "propensity is 0 or less" in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_the_clock_decides_nothing(folder: Path, tmp_path: Path) -> None:
    rows = [(3, "i2", TEST_FROM, 1.0, 0.5), (3, "i2", 4_000_000_000, 1.0, 0.5)]
    data = built(folder, tmp_path, rows)
    assert data.card.counts["logged outside the test window"] == 1


def test_a_window_in_which_nothing_was_logged_has_no_rows(folder: Path, tmp_path: Path) -> None:
    data = built(folder, tmp_path, [(3, "i2", START, 1.0, 0.5)])
    log = data.logged("test")
    assert log is not None
    assert len(log) == 0
    assert any(
        "Nothing was logged in the test window" in note and "only from 2020-09-13" in note
        for note in data.card.notes
    )


def test_ids_of_another_type_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="logged: user ids are text"):
        built(folder, tmp_path, [("c3", "i2", TEST_FROM, 1.0, 0.5)])


def test_the_log_is_part_of_the_identity_and_its_path_is_not(folder: Path, tmp_path: Path) -> None:
    first = built(folder, tmp_path, ROWS).card
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert built(folder, elsewhere, ROWS).card.dataset_id == first.dataset_id
    assert "log.csv" in first.sources
    assert built(folder, tmp_path, ROWS[:3]).card.dataset_id != first.dataset_id


@pytest.mark.parametrize("split", ["leave_last", "random", "held_out_users"])
def test_other_splits_have_no_window(folder: Path, tmp_path: Path, split: str) -> None:
    with pytest.raises(ConfigError, match=r"\[logged\] is for task"):
        built(folder, tmp_path, ROWS, split=split)


def test_targets_of_one_event_have_no_window(folder: Path, tmp_path: Path) -> None:
    split = shop.SPLITS["temporal"] | {"targets": "first"}
    with pytest.raises(ConfigError, match=r"\[logged\] is for task"):
        built(folder, tmp_path, ROWS, split=split)


def test_a_rolling_window_takes_its_own_rows(folder: Path, tmp_path: Path) -> None:
    data = built(folder, tmp_path, ROWS, split="rolling")
    assert data.card.counts["logged_rows"] == 3
    log = data.logged("test")
    assert log is not None
    assert sorted(log.propensity.tolist()) == [0.25, 0.5, 1.0]


def test_buckets_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExhaustedError, match=r"\[logged\]"):
        built(folder, tmp_path, ROWS, memory_limit="300.1MB")


def test_an_absent_column_is_named(folder: Path, tmp_path: Path) -> None:
    log = log_of(ROWS, tmp_path / "log.csv")
    log["columns"] = COLUMNS | {"propensity": "probability"}
    with pytest.raises(DataError, match="no column 'probability'"):
        build(shop.recipe(folder, logged=log), tmp_path / "data")


def test_a_column_has_one_meaning(folder: Path, tmp_path: Path) -> None:
    log = log_of(ROWS, tmp_path / "log.csv")
    log["columns"] = COLUMNS | {"propensity": "clicked"}
    with pytest.raises(ConfigError, match="two of them cannot be the column 'clicked'"):
        shop.recipe(folder, logged=log)
