"""A feature may have any name: none of ours, of an engine's or of a library's is in its way."""

from __future__ import annotations

import ast
import keyword
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.etl.build import build
from tests.support import shop
from tests.support.features import ENGINES

ROOT = Path(__file__).resolve().parents[4]
CLASHED = (
    *("order", "labels", "part", "user_id", "item_id", "key", "id", "ordinal", "index", "row"),
    *("reason", "source_text", "user", "item", "time", "rating", "weight", "label", "value"),
    *("frequency", "generation", "history", "history_times", "candidates", "user_key", "in_test"),
    *("named", "held_row", "held_clock", "place", "chance", "given", "n", "len", "literal", "f0"),
    *("feature:f0", "feature:", "", " ", ".", "..", "a/b", "a\\b", "*", "^.*$", "^f.*$", "a.b"),
    *(
        "None",
        "nan",
        "level_0",
        "__index_level_0__",
        "0",
        "A",
        "a",
        "é",
        "e\u0301",
        "🎬",
        "x" * 250,
    ),
    *('say "hi"', "a,b", "x_size", "x_count", "count", "sum", "__null_dask_index__"),
)
"""Names that meant something once, or that some tool takes for a pattern or an escape."""


def words_of(folder: Path) -> set[str]:
    """Every string of a package's source that could name a column."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            if isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
    return {word for word in found if word.isidentifier()}


def library_words() -> set[str]:
    """Every string that could name a column in NVTabular and merlin-core, and the attributes of
    frames of Polars and pandas."""
    specs = [find_spec(name) for name in ("nvtabular", "merlin.core", "merlin.io")]
    folders = [Path(str(spec.origin)).parent for spec in specs if spec]
    assert len(folders) == 3
    attributes = {*dir(pl.DataFrame), *dir(pl.Expr), *dir(pd.DataFrame), *dir(pd.Series)}
    return set().union(*(words_of(folder) for folder in folders)) | attributes


def reserved() -> list[str]:
    """All words, in one order."""
    words = words_of(ROOT / "pipelines") | library_words() | set(keyword.kwlist)
    return sorted({*CLASHED, *words})


def made(tmp_path: Path, names: list[str], engine: str) -> tuple[Dataset, pl.DataFrame]:
    """A dataset whose event features, one categorical and continuous in turn, have these names, and
    its source's rows."""
    events = shop.events(120)
    values = {
        name: (pl.Series([f"v{(row * (place + 3)) % 5}" for row in range(120)]))
        if place % 2 == 0
        else pl.Series([float((row * (place + 5)) % 7) for row in range(120)])
        for place, name in enumerate(names)
    }
    ids = {"\tu": events["customer"], "\ti": events["sku"], "\tt": events["at"]}
    table = pl.DataFrame(ids | values)
    tmp_path.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.to_arrow(), tmp_path / "events.parquet")
    plan: dict[str, Any] = {
        name: {"kind": "categorical"}
        if place % 2 == 0
        else {"kind": "continuous", "normalize": False}
        for place, name in enumerate(names)
    }
    source = {
        "kind": "files",
        "events": str(tmp_path / "events.parquet"),
        "columns": {"user": "\tu", "item": "\ti", "time": "\tt"},
    }
    recipe = shop.recipe(
        tmp_path, source=source, features={"engine": engine, "event": plan}, split="random"
    )
    return Dataset.open(build(recipe, tmp_path / "out")), table


def assert_decoded(data: Dataset, table: pl.DataFrame, names: list[str]) -> None:
    """Every train row has its own source row's values, under the feature's name."""
    features = {feature.name: feature for feature in data.card.features}
    assert list(features) == names
    rows = data.train_column("ordinal")
    assert (
        data.users["key"].to_numpy()[data.train_column("user")] == table["\tu"].to_numpy()[rows]
    ).all()
    for name in names:
        feature, source = features[name], table[name].to_numpy()[rows]
        found = data.train_column(feature.column)
        if feature.kind == "categorical":
            found = data.table(feature.vocabulary_file)["value"].to_numpy()[found]
        assert (found == source).all(), name


@pytest.mark.parametrize("engine", ENGINES)
def test_every_reserved_word_may_name_a_feature(tmp_path: Path, engine: str) -> None:
    words = reserved()
    assert len(words) > 1000
    # A few columns at a time for NVTabular, whose work grows faster than their number.
    size = 400 if engine == "polars" else 60
    words = words if engine == "polars" else [*CLASHED, *words[:: len(words) // 60]]
    words = list(dict.fromkeys(words))
    for start in range(0, len(words), size):
        names = words[start : start + size]
        data, table = made(tmp_path / str(start), names, engine)
        assert_decoded(data, table, names)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_any_text_may_name_a_feature(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    data, table = made(tmp_path_factory.mktemp("names"), names, "polars")
    assert_decoded(data, table, names)


def test_features_of_users_and_items_may_be_called_as_our_columns(tmp_path: Path) -> None:
    folder = shop.write(tmp_path / "shop", shop.events())
    for table, names in (("users", ("id", "label")), ("items", ("key", "item"))):
        frame = pl.read_parquet(folder / f"{table}.parquet", hive_partitioning=False)
        frame.with_columns(
            pl.Series(name, [f"{name}{row % 3}" for row in range(len(frame))]) for name in names
        ).write_parquet(folder / f"{table}.parquet")
    plan = {
        "engine": "polars",
        "user": {name: {"kind": "categorical"} for name in ("id", "label")},
        "item": {name: {"kind": "categorical"} for name in ("key", "item")},
    }
    data = Dataset.open(build(shop.recipe(folder, features=plan), tmp_path / "out"))
    assert data.items["id"].to_pylist() == list(range(data.n_items))
    for table, kinds in ((data.users, ("id", "label")), (data.items, ("key", "item"))):
        for feature in data.card.features:
            if feature.name in kinds:
                values = data.table(feature.vocabulary_file)["value"].to_pylist()
                codes = table[feature.column].to_pylist()
                assert {values[code][:-1] for code in codes if code >= 0} == {feature.name}


def test_a_column_of_a_csv_may_be_called_ordinal(tmp_path: Path) -> None:
    rows = "\n".join(f"u{row % 3},i{row % 5},{1_600_000_000 + row},o{row % 4}" for row in range(60))
    (tmp_path / "e.csv").write_text(f"row,user,time,ordinal\n{rows}\n")
    source = {
        "kind": "files",
        "events": str(tmp_path / "e.csv"),
        "columns": {"user": "row", "item": "user", "time": "time"},
    }
    plan = {"engine": "polars", "event": {"ordinal": {"kind": "categorical"}}}
    recipe = shop.recipe(tmp_path, source=source, features=plan, split="leave_last")
    data = Dataset.open(build(recipe, tmp_path / "out"))
    (feature,) = data.card.features
    values = data.table(feature.vocabulary_file)["value"].to_pylist()
    found = [values[code] for code in data.train_column(feature.column)]
    assert found == [f"o{row % 4}" for row in data.train_column("ordinal").tolist()]
