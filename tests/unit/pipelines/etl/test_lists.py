"""Features of lists: ids in places, and how many values there are, wherever they come from."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.append import append
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.columns import joined
from falconer.pipelines.etl.engines import encoded, engine_of, fitted
from falconer.pipelines.etl.features import Table, fit
from falconer.pipelines.etl.inputs import canonical
from falconer.pipelines.etl.lists import parted
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.operators import Listed, ValueCount
from falconer.pipelines.etl.raw import feature_column
from falconer.pipelines.etl.recipe import EtlRecipe
from tests.support import shop
from tests.unit.pipelines.etl.test_buckets import assert_equal

TAGS = [["b", "a", "a"], [], None, ["c", None, "", "a", "b"], ["b"]]
"""Of which a is there three times, b too, c once."""
TABLE: Table = "event"


def listed(**knobs: Any) -> Listed:
    return Listed(kind="list", **{"length": 3, **knobs})


@pytest.fixture(params=["polars", "nvtabular"])
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ids_of(engine_name: str, config: Listed, rows: list[Any], train: list[Any]) -> pl.DataFrame:
    engine, features = engine_of(engine_name), {"tags": config}
    frames = [pl.DataFrame({feature_column("tags"): joined(pl.Series(r))}) for r in (train, rows)]
    encodings = fit(
        fitted(engine, features, lambda: [canonical(frames[0], features, TABLE)]), features, {}
    )
    return encoded(frames[1], features, TABLE, engine, encodings)


def test_ids_are_by_frequency_then_value_in_a_column_for_each_place(engine_name: str) -> None:
    found = ids_of(engine_name, listed(), TAGS, TAGS)
    assert found.rows() == [(1, 0, 0), (-1, -1, -1), (-1, -1, -1), (2, 0, 1), (1, -1, -1)]
    assert found.schema == {f"tags.{place}": pl.Int32 for place in (1, 2, 3)}


def test_the_last_values_and_rare_and_unseen_ones(engine_name: str) -> None:
    last = ids_of(engine_name, listed(length=2, take="last"), TAGS, TAGS)
    assert last.rows() == [(0, 0), (-1, -1), (-1, -1), (0, 1), (1, -1)]
    rare = ids_of(engine_name, listed(min_count=2), [["c", "new", "b"]], TAGS)
    assert rare.rows() == [(-1, -1, 1)]
    largest = ids_of(engine_name, listed(max_size=1), [["c", "a", "b"]], TAGS)
    assert largest.rows() == [(-1, 0, -1)]


def test_no_row_and_no_value(engine_name: str) -> None:
    assert ids_of(engine_name, listed(), [["a"]], [[], None, [None]]).rows() == [(-1, -1, -1)]
    nothing = pl.Series([], dtype=pl.List(pl.String)).to_list()
    assert ids_of(engine_name, listed(), [["a"]], [nothing]).rows() == [(-1, -1, -1)]


def test_a_text_is_parted_without_blanks_and_empty_values() -> None:
    column = pl.Series(["Drama | Comedy", "|", "", None, "Drama"])
    found = parted(column, listed(separator="|"))
    assert found.to_list() == [["Drama", "Comedy"], [], [], None, ["Drama"]]


@given(st.lists(st.none() | st.lists(st.none() | st.text(max_size=4), max_size=4), max_size=5))
def test_a_list_is_the_same_after_it_was_one_text(lists: list[list[str | None] | None]) -> None:
    found = parted(joined(pl.Series(lists, dtype=pl.List(pl.String))), listed()).to_list()
    wanted = [None if one is None else [value for value in one if value] for one in lists]
    escaped = [
        None
        if one is None
        else [value.replace("\x1e", "\x1e0").replace("\x1f", "\x1e1") for value in one]
        for one in wanted
    ]
    assert found == escaped


@pytest.mark.parametrize(
    "values",
    [[1, 2, 10], [1.0, 2.0, 10.0], ["1", "2", "10"]],
    ids=["integers", "floats", "texts"],
)
def test_numbers_are_the_texts_that_they_are_in_other_categories(values: list[Any]) -> None:
    assert parted(joined(pl.Series([values])), listed()).to_list() == [["1", "2", "10"]]


@pytest.mark.parametrize(
    "column",
    [pl.Series([[["a"]]]), pl.Series([[{"a": 1}]]), pl.Series(["a"]), pl.Series([1])],
    ids=["nested", "structures", "text", "numbers"],
)
def test_what_is_no_list_of_values_is_refused(column: pl.Series) -> None:
    with pytest.raises(DataError, match="list of numbers or texts"):
        joined(column.alias("tags"))


def table_with_lists(events: pl.DataFrame) -> pl.DataFrame:
    number = pl.int_range(pl.len())
    words = pl.concat_list("w" + (number % 3).cast(pl.String), "w" + (number % 5).cast(pl.String))
    tags = words.list.head(number % 4).list.concat(pl.lit(None, pl.String))
    return events.with_columns(tags=pl.when(number % 7 > 0).then(tags))


FEATURES: dict[str, Any] = {
    "event": {
        "tags": {"kind": "list", "length": 2},
        "last_tag": {"kind": "list", "column": "tags", "length": 1, "take": "last"},
        "n_tags": {"kind": "value_count", "column": "tags"},
        "store": {"kind": "categorical"},
    },
    "user": {"hobbies": {"kind": "list", "length": 2}},
    "item": {"genres": {"kind": "list", "length": 3, "separator": "|"}},
}


def recipe(folder: Path, events: str = "events.parquet", **changes: Any) -> EtlRecipe:
    engine = changes.pop("engine", "polars")
    features = changes.pop("features", FEATURES)
    users = {"path": str(folder / "users.parquet"), "key": "customer"}
    items = {"path": str(folder / "items.parquet"), "key": "sku", "label": "name"}
    values: dict[str, Any] = {
        "name": "shop",
        "source": {
            "kind": "files",
            "events": str(folder / events),
            "columns": {"user": "customer", "item": "sku", "time": "at"},
            "users": users,
            "items": items,
            **changes.pop("source", {}),
        },
        "split": changes.pop("split", shop.SPLITS["temporal"]),
        "features": {"engine": engine, **features},
    }
    return parse(EtlRecipe, values | changes, "a test's recipe")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    events = table_with_lists(shop.events(700, n_users=30))
    folder = shop.write(tmp_path_factory.mktemp("lists"), events)
    users = pl.read_parquet(folder / "users.parquet")
    hobbies = pl.concat_list("h" + (pl.col("age") % 3).cast(pl.String), pl.lit("walks"))
    users.with_columns(hobbies=hobbies).write_parquet(folder / "users.parquet")
    items = pl.read_parquet(folder / "items.parquet")
    genres = pl.concat_str(pl.col("department"), pl.lit("|x|"), pl.col("sku"))
    items.with_columns(genres=genres).write_parquet(folder / "items.parquet")
    with (folder / "events.jsonl").open("w") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in events.to_dicts())
    parts = events.with_columns(pl.col("tags").list.join(";"))
    parts.write_csv(folder / "events.csv")
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(recipe(folder), tmp_path_factory.mktemp("whole"))


def test_a_dataset_has_a_column_for_each_place(whole: Path) -> None:
    data = Dataset.open(whole)
    data.verify()
    of = {feature.name: feature for feature in data.card.features}
    assert [name for name, one in of.items() if one.list == "genres"] == [
        "genres.1",
        "genres.2",
        "genres.3",
    ]
    vocabulary = pl.DataFrame(data.table(of["genres.2"].vocabulary_file))["value"]
    assert vocabulary[0] == "x"
    assert of["genres.1"].cardinality == len(vocabulary)
    items = pl.DataFrame(data.items).filter(pl.col("key") == "i4")
    ids = items.select("genres.1", "genres.2", "genres.3").row(0)
    assert [vocabulary[place] for place in ids] == ["d3", "x", "i4"]
    assert of["tags.1"].lineage == of["tags.2"].lineage != of["last_tag.1"].lineage
    assert of["n_tags"].kind == "continuous"


def test_both_engines_give_the_same_tables(folder: Path, whole: Path, tmp_path: Path) -> None:
    other = Dataset.open(build(recipe(folder, engine="nvtabular"), tmp_path))
    for name in Dataset.open(whole).card.content:
        if name.endswith(".parquet"):
            here, there = (pl.DataFrame(one.table(name)) for one in (other, Dataset.open(whole)))
            floats = pl.selectors.float()
            assert here.select(~floats).equals(there.select(~floats)), name


@pytest.mark.parametrize("workers", [1, 2])
def test_buckets_give_the_same_tables(
    folder: Path, whole: Path, tmp_path: Path, workers: int
) -> None:
    buckets = Buckets(n=7, rows=11, size=900)
    assert_equal(build(recipe(folder, workers=workers), tmp_path, buckets=buckets), whole)


@pytest.mark.parametrize("events", ["events.jsonl", "events.csv"])
def test_other_files_give_the_same_ids(
    folder: Path, whole: Path, tmp_path: Path, events: str
) -> None:
    features = json.loads(json.dumps(FEATURES))
    if events.endswith("csv"):
        for name in ("tags", "last_tag", "n_tags"):
            features["event"][name]["separator"] = ";"
    found = Dataset.open(build(recipe(folder, events, features=features), tmp_path))
    here, there = (pl.DataFrame(one.train) for one in (found, Dataset.open(whole)))
    assert here.drop("n_tags").equals(there.drop("n_tags"))


def test_an_appended_day_continues_the_ids_of_lists(folder: Path, tmp_path: Path) -> None:
    events = table_with_lists(shop.events(700, n_users=30)).sort("at")
    day = (pl.col("at") - shop.START) // shop.DAY
    changed = pl.when(day == 24).then(pl.concat_list(pl.lit("new"), "tags")).otherwise("tags")
    events = events.with_columns(tags=changed)
    first_day = datetime.fromtimestamp(shop.START, UTC).date()

    def write(days: range) -> None:
        for number in days:
            path = tmp_path / "days" / f"date={first_day + timedelta(days=number)}"
            path.mkdir(parents=True)
            events.filter(day == number).write_parquet(path / "events.parquet")

    source = {"events": str(tmp_path / "days/date=*/*.parquet"), "partition": "date"}
    split = {"protocol": "temporal", "test_days": 1, "valid_days": 0}
    write(range(24))
    first = build(recipe(folder, source=source, split=split), tmp_path / "out")
    write(range(24, 26))
    ours = Dataset.open(append(recipe(folder, source=source, split=split), first, tmp_path / "out"))
    extending = recipe(folder, source=source, split=split, extends=str(first))
    theirs = Dataset.open(build(extending, tmp_path / "full"))
    assert pl.DataFrame(ours.train).equals(pl.DataFrame(theirs.train))
    known = Dataset.open(first).card.features
    new = {one.name: one for one in ours.card.features}
    assert new["tags.1"].cardinality == next(f.cardinality for f in known if f.name == "tags.1") + 1


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ({"event": {"tags": {"kind": "list", "length": 0}}}, "length"),
        (
            {"event": {"tags": {"kind": "list", "length": 1}, "tags.1": {"kind": "categorical"}}},
            "are called tags.1; give one another name",
        ),
        (
            {
                "event": {"tags": {"kind": "list", "length": 1}},
                "user": {"tags": {"kind": "categorical"}},
            },
            "are called tags; give one another name",
        ),
        (
            {
                "event": {
                    "tags": {"kind": "list", "length": 1},
                    "all": {"kind": "categorical", "column": "tags"},
                }
            },
            "features.event.all: tags holds lists for another feature",
        ),
    ],
    ids=["length", "name of a place", "name", "kind"],
)
def test_a_recipe_that_cannot_be_is_refused(
    tmp_path: Path, features: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        recipe(tmp_path, features=features)


def test_another_source_than_files_has_no_lists() -> None:
    values = {
        "name": "films",
        "source": {"kind": "movielens", "variant": "1m"},
        "split": shop.SPLITS["leave_last"],
        "features": {"item": {"genres": {"kind": "list", "length": 6}}},
    }
    with pytest.raises(ConfigError, match=r"features.item: genres needs a separator"):
        parse(EtlRecipe, values, "a test's recipe")


def test_a_text_file_needs_a_separator_and_a_line_of_json_a_list(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"a text file has no lists; .* parts the values of 'tags'"):
        build(recipe(folder, "events.csv"), tmp_path)
    lines = (folder / "events.jsonl").read_text().splitlines()
    for place, value in enumerate(('"a"', '["a", ["b"]]', '["a", {}]')):
        row = json.loads(lines[place]) | {"tags": json.loads(value)}
        lines[place] = json.dumps(row)
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    source = {"events": str(tmp_path / "events.jsonl")}
    data = Dataset.open(build(recipe(folder, source=source), tmp_path))
    rejected = pl.DataFrame(data.table("rejected/events.parquet"))
    assert rejected["reason"].to_list() == [
        "tags is no list, where one is wanted",
        "a value of tags is a list, where a number or text is wanted",
        "a value of tags is an object, where a number or text is wanted",
    ]


def test_a_count_is_scaled_like_any_number(whole: Path, folder: Path) -> None:
    data = Dataset.open(whole)
    train = pl.DataFrame(data.train)
    counts = table_with_lists(shop.events(700, n_users=30))["tags"].list.drop_nulls().list.len()
    asked = counts.gather(train["ordinal"]).fill_null(0).cast(pl.Float64)
    wanted = (asked - asked.mean()) / asked.std()
    assert (train["n_tags"] - wanted).abs().max() < 1e-5
    assert ValueCount(kind="value_count").fill == 0.0
