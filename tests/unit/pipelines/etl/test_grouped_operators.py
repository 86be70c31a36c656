"""Target encoding, statistics of groups, lags: known answers, engines, buckets, leakage, days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.append import append
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.features import Encoder
from falconer.pipelines.etl.grouped_operators import GroupStatistic, TargetEncoding
from tests.support import shop
from tests.unit.pipelines.etl import test_append
from tests.unit.pipelines.etl.test_buckets import SEVEN, assert_equal

STATISTICS = ("count", "mean", "sum", "std", "min", "max")
FEATURES: dict[str, Any] = {
    "event": {
        "liked_there": {"kind": "target_encoding", "by": ["store"], "normalize": False},
        "liked": {"kind": "target_encoding", "by": ["store", "sku"], "folds": 3, "smoothing": 2},
        "mean_scaled": {"kind": "group_statistic", "statistic": "mean", "by": ["sku"],
                        "column": "price"},
        "popular": {"kind": "group_statistic", "statistic": "count", "by": ["sku"], "log": True},
        **{
            f"{name} of price": {
                "kind": "group_statistic", "statistic": name, "by": ["store"], "normalize": False,
                **({} if name == "count" else {"column": "price"}),
            }
            for name in STATISTICS
        },
        "cheaper": {"kind": "difference_lag", "column": "price", "normalize": False, "fill": -99},
        "waited": {"kind": "difference_lag", "of": "time", "shift": 2, "normalize": False},
    },
    "item": {
        "crowd": {"kind": "group_statistic", "statistic": "count", "by": ["department"]},
    },
}  # fmt: skip


def rows(seed: int = 0) -> pl.DataFrame:
    frame = shop.events(seed=seed)
    liked = np.random.default_rng(seed + 1).integers(0, 2, len(frame))
    return frame.with_columns(liked=liked)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop.write(tmp_path_factory.mktemp("shop"), rows())


def recipe(folder: Path, *, engine: str = "polars", **changes: Any) -> Any:
    settings = {
        "task": "labels",
        "target": {"kind": "binary"},
        "features": {"engine": engine, **FEATURES},
    }
    plain = shop.recipe(folder, engine=engine).model_dump(mode="json", exclude={"source", "target"})
    source = shop.recipe(folder).source.model_dump(mode="json")
    source |= {"features": [], "columns": source["columns"] | {"label": "liked"}}
    return type(shop.recipe(folder)).model_validate(
        {**plain, "source": source, **settings, **changes}
    )


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(recipe(folder), tmp_path_factory.mktemp("out"))


def table(path: Path, fold: str) -> pl.DataFrame:
    """A fold's rows with the source's columns beside them."""
    data = Dataset.open(path)
    found = data.train if fold == "train" else data.table(f"pairs/{fold}.parquet")
    return pl.DataFrame(found)


def beside(path: Path, folder: Path, fold: str) -> pl.DataFrame:
    source = pl.read_parquet(folder / "events.parquet").with_row_index("ordinal")
    ordinals = table(path, fold).select("ordinal")
    return ordinals.join(source, on="ordinal", how="left", maintain_order="left")


def test_engines_and_buckets_give_equal_tables(folder: Path, built: Path, tmp_path: Path) -> None:
    assert_equal(build(recipe(folder), tmp_path / "n", buckets=SEVEN), built)
    other = build(recipe(folder, engine="nvtabular"), tmp_path / "other")
    for fold in ("train", "test"):
        for column in table(other, fold):
            here = table(built, fold)[column.name]
            if column.dtype.is_float():
                np.testing.assert_allclose(column, here, rtol=1e-6, atol=1e-6)
            else:
                assert column.equals(here)


def test_held_out_rows_get_the_smoothed_mean_of_train(folder: Path, built: Path) -> None:
    train, test = (beside(built, folder, fold) for fold in ("train", "test"))
    mean = train["liked"].mean()
    groups = {key: part["liked"] for (key,), part in train.group_by("store")}
    expected = [
        mean
        if store is None or store not in groups
        else (groups[store].sum() + 20 * mean) / (len(groups[store]) + 20)
        for store in test["store"]
    ]
    np.testing.assert_allclose(table(built, "test")["liked_there"], expected, rtol=1e-6)


def test_train_rows_get_the_smoothed_mean_of_the_other_folds(folder: Path, built: Path) -> None:
    """By hand: whatever fold a row is in, its value is that of some four of the five folds."""
    encoding = Encoder.of_dataset(Dataset.open(built)).encodings["event"]["liked_there"]
    cells = {(key, fold): (n, total) for key, fold, n, total in encoding.state.rows()}
    train = beside(built, folder, "train")
    assert sum(n for n, _ in cells.values()) == len(train)
    possible: dict[str | None, set[float]] = {}
    for store in train["store"].unique():
        for left_out in range(5):
            others = {cell: found for cell, found in cells.items() if cell[1] != left_out}
            mean = sum(t for _, t in others.values()) / sum(n for n, _ in others.values())
            own = [found for (key, _), found in others.items() if key == store]
            n, total = (sum(column) for column in zip(*own, strict=True))
            value = mean if store is None else (total + 20 * mean) / (n + 20)
            possible.setdefault(store, set()).add(round(value, 5))
    for store, value in zip(train["store"], table(built, "train")["liked_there"], strict=True):
        assert any(abs(value - one) < 2e-5 for one in possible[store])


def test_a_label_changes_no_row_of_its_own_fold(folder: Path, built: Path, tmp_path: Path) -> None:
    """The row's own least of all: with one label turned, its encodings are bit by bit what they
    were."""
    source = pl.read_parquet(folder / "events.parquet")
    train = table(built, "train")
    for ordinal in train["ordinal"][::60]:
        turned = source.with_row_index("n").with_columns(
            liked=pl.when(pl.col("n") == ordinal).then(1 - pl.col("liked")).otherwise("liked")
        )
        changed = shop.write(tmp_path / str(ordinal), turned.drop("n"))
        features = {"event": {"x": FEATURES["event"]["liked_there"]}, "engine": "polars"}
        before = build(recipe(folder, features=features), tmp_path / "before")
        after = build(recipe(changed, features=features), tmp_path / "after")
        rows = [table(one, "train") for one in (before, after)]
        own, other = (one.filter(pl.col("ordinal") == ordinal)["x"].item() for one in rows)
        assert own == other
        same = (rows[0]["x"] == rows[1]["x"]).mean()
        assert same is not None
        assert 0.05 < same < 0.5, "only its fold, a fifth of the rows, does not see it"


@pytest.mark.parametrize("statistic", STATISTICS)
def test_statistics_are_those_of_pandas(folder: Path, built: Path, statistic: str) -> None:
    train = beside(built, folder, "train").to_pandas()
    groups = train.groupby("store")["price"]
    known = (
        train.groupby("store").size() if statistic == "count" else groups.agg(statistic)
    ).to_dict()
    fill = 0.0 if statistic in ("count", "sum") else train["store"].map(known).mean()
    for fold in ("train", "test"):
        stores = beside(built, folder, fold)["store"]
        expected = [known.get(store, fill) for store in stores]
        found = table(built, fold)[f"{statistic} of price"]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_train_gets_is_scaled(built: Path) -> None:
    train = table(built, "train")
    for name in ("liked", "mean_scaled", "popular"):
        values = train[name].to_numpy().astype(np.float64)
        assert abs(values.mean()) < 1e-5
        assert abs(values.std(ddof=1) - 1) < 1e-5
    crowd = pl.DataFrame(Dataset.open(built).items)["crowd"]
    assert abs(crowd.to_numpy().mean()) < 1e-5


def test_a_lag_is_of_the_users_own_past(folder: Path, built: Path) -> None:
    source = pl.read_parquet(folder / "events.parquet").with_row_index("ordinal")
    ordered = source.sort("at", "ordinal").to_pandas()
    users = ordered.groupby("customer")
    ordered["cheaper"] = users["price"].diff().fillna(-99)
    ordered["waited"] = users["at"].diff(2).fillna(0)
    expected = pl.from_pandas(ordered[["ordinal", "cheaper", "waited"]])
    for fold in ("train", "valid", "test"):
        found = table(built, fold)
        wanted = found.select("ordinal").join(
            expected.cast({"ordinal": pl.Int64}), on="ordinal", how="left", maintain_order="left"
        )
        np.testing.assert_allclose(found["cheaper"], wanted["cheaper"], rtol=1e-5)
        np.testing.assert_allclose(found["waited"], wanted["waited"], rtol=1e-6)


def test_with_rows_drawn_by_chance_train_looks_back_at_train(folder: Path, tmp_path: Path) -> None:
    features = {"event": {"waited": FEATURES["event"]["waited"] | {"shift": 1}}, "engine": "polars"}
    path = build(recipe(folder, features=features, split=shop.SPLITS["random"]), tmp_path)
    train = beside(path, folder, "train").sort("at", "ordinal").to_pandas()
    train["waited"] = train.groupby("customer")["at"].diff().fillna(0)
    found = dict(table(path, "train").select("ordinal", "waited").rows())
    assert {n: float(found[n]) for n in train["ordinal"]} == dict(
        zip(train["ordinal"], train["waited"].astype(np.float32), strict=True)
    )


def test_a_source_without_users_has_folds_that_no_label_decides(tmp_path: Path) -> None:
    source = {"kind": "files", "columns": {"label": "liked", "time": "at"}}
    features = {"event": {"store": {"kind": "target_encoding", "normalize": False}}}
    found = []
    for turn in (0, 1):
        frame = (
            rows()
            .drop("customer", "sku")
            .with_columns(liked=pl.when(pl.int_range(pl.len()) == 7).then(turn).otherwise("liked"))
        )
        events = shop.write(tmp_path / f"in{turn}", frame.with_columns(customer=1).drop("customer"))
        path = build(
            recipe(
                events,
                source=source | {"events": str(events / "events.parquet")},
                features=features | {"engine": "polars"},
            ),
            tmp_path / "out",
        )
        train = table(path, "train").filter(pl.col("ordinal") == 7)
        found.append(train["store"].to_list())
    assert found[0] == found[1]


def test_what_is_learnt_is_kept_by_days_that_follow(
    folder: Path, built: Path, tmp_path: Path
) -> None:
    later = rows(seed=5).with_columns(at=pl.col("at") + 90 * shop.DAY, liked=pl.lit(1))
    both = pl.concat([rows(), later], how="vertical_relaxed")
    child = build(recipe(shop.write(tmp_path / "in", both), extends=str(built)), tmp_path / "out")
    before, after = (
        Encoder.of_dataset(Dataset.open(one)).encodings["event"] for one in (built, child)
    )
    assert before.keys() == after.keys()
    for name in ("liked", "liked_there", "mean_scaled"):
        assert after[name].state.equals(before[name].state)
        assert after[name].lineage == before[name].lineage
    both_have = table(built, "train").join(table(child, "train"), on="ordinal")
    assert both_have["liked"].equals(both_have["liked_right"], check_names=False)


PARTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(-9, 9), st.integers(0, 1)),
    max_size=9,
)


@settings(max_examples=15, deadline=None)
@given(one=PARTS, other=PARTS)
def test_what_parts_teach_is_what_the_whole_teaches(one: list[Any], other: list[Any]) -> None:
    schema = {"key": pl.String, "value": pl.Float64, "fold": pl.Int64}
    parts = [
        pl.DataFrame(part, schema=schema, orient="row").to_struct("x") for part in (one, other)
    ]
    whole = pl.concat(parts)
    for operator in (
        TargetEncoding(kind="target_encoding", folds=2),
        *(
            GroupStatistic(
                kind="group_statistic",
                statistic=name,  # type: ignore[arg-type]
                column=None if name == "count" else "x",
            )
            for name in STATISTICS
        ),
    ):
        state = operator.fit(whole)
        pooled = operator.pooled(*map(operator.fit, parts))
        assert state.schema == pooled.schema
        found, wanted = (operator.apply(whole, learnt) for learnt in (pooled, state))
        assert len(found) == len(whole)
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
        assert np.isfinite(wanted.to_numpy()).all()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"user": {"x": {"kind": "target_encoding"}}}, "only events have a time and a label"),
        ({"item": {"x": {"kind": "difference_lag"}}}, "only events have a time and a label"),
        ({"event": {"x": {"kind": "group_statistic", "statistic": "mean"}}}, "others need one"),
        (
            {"event": {"x": {"kind": "group_statistic", "statistic": "max", "column": "price",
                             "log": True}}},
            "others may be below 0",
        ),
        ({"event": {"x": {"kind": "group_statistic", "statistic": "mean", "column": "liked"}}},
         "this column is the target"),
        ({"event": {"x": {"kind": "target_encoding", "folds": 1}}}, "greater than or equal to 2"),
    ],
    ids=["user", "item", "no column", "log", "target", "folds"],
)  # fmt: skip
def test_a_wrong_table_is_refused(folder: Path, features: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        recipe(folder, features={"engine": "polars", **features})


def test_events_without_what_a_feature_looks_at_are_refused(folder: Path, tmp_path: Path) -> None:
    source = {
        "kind": "files",
        "events": str(folder / "events.parquet"),
        "columns": {"label": "liked"},
    }
    split = {"protocol": "random", "seed": 1, "test_share": 0.2, "valid_share": 0.0}
    for config, message in (
        ({"kind": "difference_lag", "column": "price"}, "have no user"),
        ({"kind": "target_encoding", "by": ["store"], "target": "rating"}, "target.rating"),
    ):
        features = {"engine": "polars", "event": {"x": config}}
        with pytest.raises(DataError, match=message):
            build(recipe(folder, source=source, split=split, features=features), tmp_path)


APPENDED: dict[str, Any] = {
    "event": {
        "rated": {"kind": "target_encoding", "by": ["store"], "target": "rating"},
        "usual": {"kind": "group_statistic", "statistic": "mean", "by": ["sku"], "column": "price"},
        "price": {"kind": "continuous", "fill": "median"},
        "shop": {"kind": "categorical", "column": "store", "max_size": 3},
    },
}


def by_days(folder: Path, features: dict[str, Any]) -> Any:
    plain = test_append.recipe(folder, features={"engine": "polars", **features})
    columns = plain.source.columns.model_copy(update={"rating": "discount"})  # type: ignore[union-attr]
    return plain.model_copy(update={"source": plain.source.model_copy(update={"columns": columns})})


def test_an_appended_day_gets_what_the_first_days_taught(tmp_path: Path) -> None:
    folder = shop.write(tmp_path / "shop", shop.events())
    test_append.write_days(folder, 0, 25)
    first = build(by_days(folder, APPENDED), tmp_path / "out")
    test_append.write_days(folder, 25, 26)
    ours = Dataset.open(append(by_days(folder, APPENDED), first, tmp_path / "out"))
    extended = by_days(folder, APPENDED).model_copy(update={"extends": first})
    theirs = Dataset.open(build(extended, tmp_path / "full"))
    assert len(ours.train) > len(Dataset.open(first).train)
    assert pl.DataFrame(ours.train).equals(pl.DataFrame(theirs.train))
    assert ours.card.features == theirs.card.features == Dataset.open(first).card.features


def test_a_lag_across_appended_days_is_refused_by_name(tmp_path: Path) -> None:
    folder = shop.write(tmp_path / "shop", shop.events())
    test_append.write_days(folder, 0, 25)
    lagged = {"event": {"waited": FEATURES["event"]["waited"]}}
    first = build(by_days(folder, lagged), tmp_path / "out")
    test_append.write_days(folder, 25, 26)
    with pytest.raises(ConfigError, match=r"kind difference_lag \(waited\).*in full"):
        append(by_days(folder, lagged), first, tmp_path / "out")
