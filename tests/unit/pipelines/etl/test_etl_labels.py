"""The ETL of the task `labels` from end to end on a small shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.recipe import EtlRecipe
from tests.support import shop
from tests.support.features import ENGINES

N = 600


def events() -> pl.DataFrame:
    """The shop's purchases with stars from 1 to 5, and whether a coupon was clicked."""
    random = np.random.default_rng(7)
    return shop.events(N).with_columns(
        stars=random.integers(1, 6, N), clicked=random.integers(0, 2, N)
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop.write(tmp_path_factory.mktemp("clicks"), events())


def recipe(folder: Path, *, columns: dict[str, str] | None = None, **changes: Any) -> EtlRecipe:
    values = shop.recipe(folder).model_dump(mode="json")
    values["source"]["columns"] = columns or {
        "user": "customer",
        "item": "sku",
        "time": "at",
        "rating": "stars",
    }
    liked = {"kind": "binary", "column": "rating", "above": 3, "drop": [3]}
    values |= {"task": "labels", "target": liked, "split": shop.SPLITS["random"]}
    return parse(EtlRecipe, values | changes, "a test's recipe")


def dataset(folder: Path, out: Path, **changes: Any) -> Dataset:
    return Dataset.open(build(recipe(folder, **changes), out))


def test_each_row_keeps_its_label_and_is_in_one_part(tables: Path, tmp_path: Path) -> None:
    data = dataset(tables, tmp_path)
    data.verify()
    stars = events()["stars"].to_numpy()
    assert (data.card.task, data.card.target, data.card.split.views) == ("labels", "binary", ())
    assert data.card.counts["dropped: rating is 3"] == int((stars == 3).sum())
    ordinals = [
        data.train_column("ordinal"),
        *(data.pair_ordinals(fold) for fold in ("valid", "test")),
    ]  # type: ignore[arg-type]
    labels = [data.train_column("label"), *(data.labels(fold) for fold in ("valid", "test"))]  # type: ignore[arg-type]
    together = np.concatenate(ordinals)
    assert sorted(together) == np.flatnonzero(stars != 3).tolist()
    assert (np.concatenate(labels) == (stars[together] > 3)).all()
    assert data.card.counts["test_positives"] == int(data.labels("test").sum())


def test_nothing_of_the_target_but_the_label_is_written(tables: Path, tmp_path: Path) -> None:
    data = dataset(tables, tmp_path)
    expected = ["user", "item", "ordinal", "time", "label", "price", "store", "discount"]
    assert data.train.column_names == expected
    columns = data.table("pairs/test.parquet").column_names
    beside = ["price", "store", "discount", "department"]
    assert columns == ["user", "item", "ordinal", "user_key", "time", *beside]


def test_event_features_of_the_folds_are_encoded_as_on_train(tables: Path, tmp_path: Path) -> None:
    data = dataset(tables, tmp_path)
    stores = data.table("encoder/vocab-store.parquet").column("value").to_pylist()
    source = events()["store"]
    for ordinal, store in zip(
        data.pair_ordinals("test"), data.pairs("test").queries.features["store"], strict=True
    ):
        assert source[int(ordinal)] == (stores[int(store)] if store >= 0 else None)


def test_rows_of_rare_users_and_items_stay_with_an_unknown_id(tables: Path, tmp_path: Path) -> None:
    data = dataset(tables, tmp_path, catalogue={"min_item_users": 3})
    item = data.train_column("item")
    assert (item == -1).any()
    assert item.max() == data.n_items - 1
    assert data.card.counts["dropped: train event outside the catalogue"] == 0
    unknown = int((data.pairs("test").item < 0).sum())
    assert data.card.counts["test_rows_of_unknown_items"] == unknown > 0
    assert any("of items that train does not have" in note for note in data.card.notes)


def test_a_source_without_users_and_items(tables: Path, tmp_path: Path) -> None:
    columns = {"label": "clicked"}
    changes: dict[str, Any] = {
        "target": {"kind": "binary"},
        "source": {
            **recipe(tables).source.model_dump(),
            "columns": columns,
            "users": None,
            "items": None,
        },
        "features": {"engine": "polars", "event": shop.FEATURES["event"]},
    }
    data = dataset(tables, tmp_path / "a", **changes)
    assert data.n_users == data.n_items == 0
    assert data.train.column_names == ["ordinal", "label", "price", "store", "discount"]
    assert data.pair_users("test") is None
    assert set(data.pairs("test").queries.features) == {"price", "store", "discount"}
    rarer = {"engine": "polars", "event": {"store": {"kind": "categorical", "min_count": 100}}}
    other = dataset(tables, tmp_path / "b", **(changes | {"features": rarer}))
    assert not other.card.id_space.descends_from(data.card.id_space), (
        "other categories, another lineage"
    )


@pytest.mark.parametrize("with_ids", [True, False])
def test_a_dataset_that_extends_another_keeps_ids_and_categories_and_appends_new_ones(
    with_ids: bool, tmp_path: Path
) -> None:
    first = shop.write(
        tmp_path / "first", events().filter(pl.col("store").is_null() | (pl.col("store") != "s4"))
    )
    second = shop.write(tmp_path / "second", events())
    changes: dict[str, Any] = {
        "features": {"engine": "polars", "event": {"store": {"kind": "categorical"}}}
    }
    columns = (
        {"user": "customer", "item": "sku", "rating": "stars"} if with_ids else {"rating": "stars"}
    )

    def source(folder: Path) -> dict[str, Any]:
        return {
            **recipe(folder).source.model_dump(),
            "columns": columns,
            "users": None,
            "items": None,
        }

    old = dataset(first, tmp_path / "out", source=source(first), **changes)
    new = dataset(second, tmp_path / "out", source=source(second), extends=str(old.path), **changes)
    same = dataset(first, tmp_path / "out", source=source(first), extends=str(old.path), **changes)
    stores = [
        one.table("encoder/vocab-store.parquet").column("value").to_pylist() for one in (old, new)
    ]
    assert stores[1] == [*stores[0], "s4"]
    assert new.card.id_space.descends_from(old.card.id_space)
    assert same.card.id_space == old.card.id_space
    if not with_ids:
        assert len(new.card.id_space.generations) == 2


@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"polars"}))
def test_engines_agree(engine: str, tables: Path, tmp_path: Path) -> None:
    features = recipe(tables).features.model_dump(mode="json")
    first = dataset(tables, tmp_path, features=features)
    second = dataset(tables, tmp_path, features=features | {"engine": engine})
    for name in (name for name in first.card.content if name.endswith(".parquet")):
        left, right = first.table(name), second.table(name)
        assert left.schema == right.schema
        for column in left.column_names:
            mine, theirs = left.column(column), right.column(column)
            if str(mine.type) in {"float", "double"}:
                np.testing.assert_allclose(mine.to_numpy(), theirs.to_numpy(), rtol=1e-6, atol=1e-7)
            else:
                assert mine.equals(theirs), (name, column)


def test_a_rating_is_kept_as_a_number_and_a_split_by_time_has_no_later_train_row(
    tables: Path, tmp_path: Path
) -> None:
    data = dataset(tables, tmp_path, target={"kind": "rating"}, split=shop.SPLITS["temporal"])
    assert data.card.target == "rating"
    assert set(np.unique(data.labels("test"))) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    test_times = data.pairs("test").queries.time
    assert test_times is not None
    assert data.train_column("time").max() < test_times.min()


def test_a_label_that_is_neither_0_nor_1_is_rejected_and_counted(tmp_path: Path) -> None:
    clicked = np.where(np.arange(N) == 17, 2, events()["clicked"].to_numpy())
    folder = shop.write(tmp_path / "shop", events().with_columns(clicked=clicked))
    columns = {"user": "customer", "item": "sku", "time": "at", "label": "clicked"}
    data = dataset(folder, tmp_path / "out", columns=columns, target={"kind": "binary"})
    assert data.card.counts["rejected: label is neither 0 nor 1"] == 1
    assert data.table("rejected/events.parquet").column("row").to_pylist() == [17]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "ranking"}, 'called "labels" now: write task = "labels"'),
        ({"target": None}, r"needs a \[target\]"),
        ({"task": "top_n"}, r'\[target\] is for task = "labels"'),
        ({"split": {"protocol": "leave_last"}}, "random, temporal, rolling or given"),
        ({"split": {"protocol": "random", "views": ["all"]}}, r"split\.views"),
        ({"catalogue": {"counted_on": "all"}}, r"catalogue\.counted_on"),
        ({"target": {"kind": "binary", "drop": [3]}}, "drop without above"),
    ],
)
def test_a_recipe_that_does_not_fit_the_task_is_refused(
    changes: dict[str, Any], message: str, tables: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(tables, **changes)


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        (
            {"item": "sku", "rating": "stars"},
            {"task": "top_n", "target": None},
            "the events have no user",
        ),
        (
            {"item": "sku", "rating": "stars"},
            {"catalogue": {"min_item_users": 2}},
            "needs users and items",
        ),
        (
            {"item": "sku", "rating": "stars"},
            {"clean": {"deduplicate": "pairs_first"}},
            'use "events"',
        ),
        (
            {"item": "sku", "rating": "stars"},
            {"target": {"kind": "binary"}},
            "the events have no label",
        ),
        (
            {"item": "sku", "rating": "stars"},
            {"target": {"kind": "binary", "column": "rating"}},
            r"target\.above",
        ),
        (
            {"item": "sku", "rating": "stars"},
            {"target": {"kind": "binary", "column": "rating", "above": 9}},
            "every label is the same",
        ),
    ],
)
def test_a_source_that_lacks_what_is_asked_for_gives_one_clear_error(
    columns: dict[str, str], changes: dict[str, Any], message: str, tables: Path, tmp_path: Path
) -> None:
    source = {**recipe(tables).source.model_dump(), "columns": columns, "users": None}
    features = {"engine": "polars", "event": {"price": {"kind": "continuous"}}}
    with pytest.raises(DataError, match=message):
        dataset(tables, tmp_path, **{"source": source, "features": features, **changes})
    assert not list(tmp_path.iterdir())
