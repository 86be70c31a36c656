"""Combined, hashed, min-max and time-part features: known answers, both engines, buckets, days."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.column_operators import Hashed, MinMax, TimePart
from falconer.pipelines.etl.columns import combined
from falconer.pipelines.etl.engines import engine_of, together
from falconer.pipelines.etl.features import Encoder, fit
from falconer.pipelines.etl.inputs import canonical
from falconer.pipelines.etl.operators import Combined
from tests.support import shop
from tests.unit.pipelines.etl.test_buckets import SEVEN, assert_equal

FEATURES: dict[str, Any] = {
    "event": {
        "where": {"kind": "combined", "columns": ["store", "promoted"], "min_count": 2},
        "crossed": {"kind": "hashed", "size": 50, "columns": ["store", "promoted"]},
        "store": {"kind": "hashed", "size": 3},
        "price": {"kind": "min_max", "fill": 2.5},
        "hour": {"kind": "time_part", "part": "hour", "zone": "America/New_York"},
        "weekday": {"kind": "time_part", "part": "weekday"},
    },
    "user": {"age": {"kind": "min_max"}},
    "item": {"department": {"kind": "hashed", "size": 1000}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    events = shop.events().with_columns(promoted=pl.col("customer") % 3)
    return shop.write(tmp_path_factory.mktemp("shop"), events)


def recipe(folder: Path, *, engine: str = "polars", **changes: Any) -> Any:
    return shop.recipe_with(folder, FEATURES, engine=engine, **changes)


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(recipe(folder), tmp_path_factory.mktemp("out"))


def test_engines_and_buckets_give_equal_tables(folder: Path, built: Path, tmp_path: Path) -> None:
    assert_equal(build(recipe(folder), tmp_path / "n", buckets=SEVEN), built)
    other = Dataset.open(build(recipe(folder, engine="nvtabular"), tmp_path / "other"))
    assert pl.DataFrame(other.train).equals(pl.DataFrame(Dataset.open(built).train))


def test_each_feature_is_what_its_words_say(folder: Path, built: Path) -> None:
    data = Dataset.open(built)
    train = pl.DataFrame(data.train)
    source = pl.read_parquet(folder / "events.parquet").with_row_index("ordinal")
    rows = train.select("ordinal").join(source, on="ordinal", how="left", maintain_order="left")
    found = {name.removeprefix("feature:"): train[name] for name in train.columns}

    pairs = list(rows.select("store", "promoted").iter_rows())
    whole = [pair for pair in pairs if None not in pair]
    counts = {pair: whole.count(pair) for pair in set(whole)}
    frequent = [pair for pair, n in counts.items() if n >= 2]
    ranked = sorted(frequent, key=lambda pair: (-counts[pair], f"{pair[0]}\x1f{pair[1]}"))
    ids = {pair: place for place, pair in enumerate(ranked)}
    assert found["where"].to_list() == [ids.get(pair, -1) for pair in pairs]

    assert found["store"].to_list() == [bucket(store, 3) for (store, _) in pairs]
    texts = [None if None in pair else f"{pair[0]}\x1f{pair[1]}" for pair in pairs]
    assert found["crossed"].to_list() == [bucket(text, 50) for text in texts]

    price = rows["price"].fill_null(2.5).to_numpy()
    scaled = (price - price.min()) / (price.max() - price.min())
    np.testing.assert_allclose(found["price"], scaled, rtol=1e-6)

    moments = [datetime.fromtimestamp(second, UTC) for second in rows["at"]]
    there = [moment.astimezone(ZoneInfo("America/New_York")) for moment in moments]
    assert found["hour"].to_list() == [moment.hour for moment in there]
    assert found["weekday"].to_list() == [moment.weekday() for moment in moments]
    cardinalities = {one.name: one.cardinality for one in data.card.features}
    assert cardinalities == {
        "where": len(ids), "crossed": 50, "store": 3, "price": None, "hour": 24, "weekday": 7,
        "age": None, "department": 1000,
    }  # fmt: skip


def bucket(text: str | None, size: int) -> int:
    if text is None:
        return -1
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % size


def test_what_is_learnt_comes_back(built: Path) -> None:
    encodings = Encoder.of_dataset(Dataset.open(built)).encodings["event"]
    assert encodings["store"].config == Hashed(kind="hashed", size=3)
    price = encodings["price"]
    beyond = price.config.apply(pl.Series([-1e30, 1e30, None]), price.state)  # type: ignore[union-attr]
    assert beyond.to_list()[:2] == [0.0, 1.0]
    assert 0 < beyond[2] < 1


def test_a_column_without_spread_is_0_and_no_row_teaches_nothing() -> None:
    scale = MinMax(kind="min_max")
    assert scale.fit(pl.Series([], dtype=pl.Float64)) is None
    assert scale.pooled(None, [1.0, 2.0]) == [1.0, 2.0]
    assert scale.apply(pl.Series([3.0, 7.0]), scale.fit(pl.Series([3.0]))).to_list() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("part", "expected"), [("hour", 1), ("weekday", 0), ("day", 0), ("month", 0)], ids=str
)
def test_parts_count_from_0(part: Any, expected: int) -> None:
    second = datetime(2024, 1, 1, 0, 30, tzinfo=UTC).timestamp()
    operator = TimePart(kind="time_part", part=part, zone="Europe/Berlin")
    assert operator.apply(pl.Series([int(second)]), None).to_list() == [expected]


KINDS = {
    "both": Combined(kind="combined", columns=("text", "number"), min_count=2),
    "crossed": Hashed(kind="hashed", size=7, columns=("number", "text")),
    "text": Hashed(kind="hashed", size=2),
    "scaled": MinMax(kind="min_max", fill=1.0),
    "hour": TimePart(kind="time_part", part="hour", zone="Asia/Kolkata"),
}
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "", "\x1f", None]),
        st.none() | st.integers(-2, 2),
        st.none() | st.floats(-1e30, 1e30),
        st.integers(0, 2**33),
    ),
    max_size=20,
)
ENGINES = [engine_of(name) for name in ("polars", "nvtabular")]


@settings(max_examples=8, deadline=None)
@example(train=[], more=[("a", 1, 1.0, 0)] * 2, other=[])
@given(train=ROWS, more=ROWS, other=ROWS)
def test_random_frames_are_encoded_alike_whole_and_in_parts(
    train: list[Any], more: list[Any], other: list[Any]
) -> None:
    parts = [frame(rows) for rows in (train, more)]
    whole, rows = pl.concat(parts), frame(other)
    found = []
    for engine in ENGINES:
        fitted = [engine.fit(one, KINDS) for one in (whole, *parts)]
        pooled = together(fitted[1], fitted[2], KINDS)
        assert pooled.states == fitted[0].states
        encodings = [fit(one, KINDS, {}) for one in (fitted[0], pooled)]
        tables = [engine.apply(one, encodings[0]) for one in (whole, rows)]
        assert all(
            engine.apply(one, encodings[1]).equals(table)
            for one, table in zip((whole, rows), tables, strict=True)
        )
        found.append(tables)
        values = encodings[0]["both"].values
        assert values is not None
        ids = tables[0]["both"]
        decoded = values.gather(ids.filter(ids >= 0))
        assert decoded.equals(whole["both"].filter(ids >= 0), check_names=False)
    for here, there in zip(*found, strict=True):
        assert here.equals(there)


def frame(rows: list[Any]) -> pl.DataFrame:
    """The rows as operators are given them."""
    names = {"text": pl.String, "number": pl.Int64, "scaled": pl.Float64}
    schema = {f"feature:{name}": dtype for name, dtype in names.items()} | {"time": pl.Int64}
    return canonical(pl.DataFrame(rows, schema=schema, orient="row"), KINDS, "event")


def test_a_day_that_follows_keeps_what_was_learnt(
    folder: Path, built: Path, tmp_path: Path
) -> None:
    later = shop.events(seed=5).with_columns(promoted=pl.lit(9), at=pl.col("at") + 90 * shop.DAY)
    both = pl.concat([pl.read_parquet(folder / "events.parquet"), later], how="diagonal_relaxed")
    child = build(recipe(shop.write(tmp_path / "in", both), extends=str(built)), tmp_path / "out")
    before, after = (
        Encoder.of_dataset(Dataset.open(one)).encodings["event"] for one in (built, child)
    )
    assert after["price"].state == before["price"].state
    known, values = before["where"].values, after["where"].values
    assert known is not None
    assert values is not None
    assert values.head(len(known)).equals(known)
    assert len(values) > len(known)


PIECES = st.none() | st.text(st.sampled_from("ab01\x1e\x1f"), max_size=3)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(PIECES, PIECES), max_size=20))
def test_different_combinations_have_different_texts(
    rows: list[tuple[str | None, str | None]],
) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row")
    texts = combined(frame.get_columns()).to_list()
    whole = {(row, text) for row, text in zip(rows, texts, strict=True) if None not in row}
    assert len({text for _, text in whole}) == len({row for row, _ in whole}) == len(whole)
    assert [text is None for text in texts] == [None in row for row in rows]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"user": {"x": {"kind": "time_part", "part": "hour"}}}, "only events have a time"),
        ({"event": {"x": {"kind": "time_part", "part": "hour", "zone": "Mars"}}}, "no time zone"),
        ({"event": {"x": {"kind": "combined", "columns": ["store"]}}}, "at least 2 items"),
        ({"event": {"x": {"kind": "hashed", "size": 0}}}, "greater than or equal to 1"),
    ],
    ids=["user", "zone", "one", "none"],
)
def test_a_wrong_table_is_refused(folder: Path, features: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.recipe(folder, features={"engine": "polars", **features})


def test_an_absent_column_is_named(folder: Path, tmp_path: Path) -> None:
    features = {"event": {"x": {"kind": "hashed", "size": 5, "columns": ["store", "stor"]}}}
    with pytest.raises(DataError, match="no column 'stor'"):
        build(shop.recipe(folder, features={"engine": "polars", **features}), tmp_path)
