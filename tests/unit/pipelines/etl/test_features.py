"""The feature plan: what a recipe may say, types that engines take, and statistics that a child
dataset keeps."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.config import parse
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.etl.features import (
    Encoder,
    Encoding,
    FeaturesConfig,
    Moments,
    Statistics,
    fit,
)
from falconer.pipelines.etl.inputs import canonical
from falconer.pipelines.etl.operators import AnyFeature, Bucketize, Categorical, Continuous
from tests.support.features import prefixed

CATEGORICAL = Categorical(kind="categorical")
CONTINUOUS = Continuous(kind="continuous")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"event": {"x": {"kind": "continuous", "clip": [2, 1]}}}, "must not fall"),
        ({"event": {"x": {"kind": "continuous", "log": True}}}, "low above -1"),
        ({"event": {"x": {"kind": "continuous", "log": True, "clip": [-1, 5]}}}, "low above -1"),
        ({"event": {"x": {"kind": "continuous", "fill": float("nan")}}}, "finite"),
        ({"event": {"x": {"kind": "bucketize", "boundaries": [1, 1]}}}, "must rise"),
        ({"event": {"x": {"kind": "bucketize", "boundaries": []}}}, "at least 1"),
        ({"event": {"x": {"kind": "categorical", "min_count": 0}}}, "greater than or equal to 1"),
        (
            {"event": {"x": {"kind": "category"}}},
            "event.x.kind: 'category' is not known; did you mean 'categorical'",
        ),
        (
            {"user": {"x": {"kind": "categorical"}}, "item": {"x": {"kind": "categorical"}}},
            "several features, or places of a list, are called x;",
        ),
        ({"engine": "spark"}, "'polars' or 'polars-gpu'"),
    ],
)
def test_a_wrong_plan_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(FeaturesConfig, values, "recipe")


def test_columns_that_must_be_numbers_are_named_by_table() -> None:
    config = FeaturesConfig(
        event={"price": CONTINUOUS, "store": CATEGORICAL},
        user={"age": Bucketize(kind="bucketize", boundaries=(18.0,))},
    )
    assert config.numeric() == {"events": ["feature:price"], "users": ["feature:age"], "items": []}


def test_types_depend_on_the_column_type_and_never_on_values() -> None:
    frame = pl.DataFrame(
        {
            "small": pl.Series([1, None], dtype=pl.UInt8),
            "text": ["1", None],
            "real": [1.0, None],
            "day": [date(2020, 1, 2), None],
            "price": [1, None],
            "odd": [float("inf"), float("nan")],
        }
    )
    plan: dict[str, AnyFeature] = dict.fromkeys(("small", "text", "real", "day"), CATEGORICAL)
    plan |= dict.fromkeys(("price", "odd"), CONTINUOUS)
    table = canonical(prefixed(frame), plan, "event")
    assert table.schema == {
        "small": pl.Int64,
        "text": pl.String,
        "real": pl.String,
        "day": pl.String,
        "price": pl.Float64,
        "odd": pl.Float64,
    }
    assert table["odd"].to_list() == [None, None]
    assert table["day"].to_list() == ["2020-01-02", None]


def test_a_missing_column_is_named_with_the_nearest_one() -> None:
    with pytest.raises(DataError, match=r"features\.item\.departmnt: .*did you mean 'department'"):
        canonical(prefixed(pl.DataFrame({"department": ["x"]})), {"departmnt": CATEGORICAL}, "item")
    with pytest.raises(DataError, match="it has: price"):
        canonical(prefixed(pl.DataFrame({"price": [1]})), {"departmnt": CATEGORICAL}, "item")


def counts(**frequencies: int) -> Statistics:
    return Statistics(
        {"x": pl.DataFrame({"value": list(frequencies), "frequency": list(frequencies.values())})},
        {},
    )


def test_categories_of_a_child_keep_their_ids() -> None:
    parent = fit(counts(b=2, a=1), {"x": CATEGORICAL}, {})
    child = fit(counts(c=1, d=5, a=9), {"x": CATEGORICAL}, parent)
    assert parent["x"].values is not None
    assert parent["x"].values.to_list() == ["b", "a"]
    assert child["x"].values is not None
    assert child["x"].values.to_list() == ["b", "a", "d", "c"]


def test_scales_of_a_child_are_the_parents() -> None:
    parent = {"y": Encoding(CONTINUOUS, None, Moments(10, 1.0, 2.0))}
    child = fit(Statistics({}, {"y": Moments(5, 7.0, 8.0)}), {"y": CONTINUOUS}, parent)
    assert child == parent


def test_a_child_cannot_configure_a_feature_otherwise() -> None:
    parent = fit(counts(a=1), {"x": CATEGORICAL}, {})
    with pytest.raises(ConfigError, match=r"feature x: .*open a new lineage"):
        fit(counts(a=1), {"x": Categorical(kind="categorical", min_count=2)}, parent)


def test_the_card_lists_what_was_encoded() -> None:
    encodings = {
        "x": Encoding(CATEGORICAL, pl.Series(["a", "b"])),
        "y": Encoding(CONTINUOUS, None, Moments(1, 0.0, 0.0)),
        "z": Encoding(Bucketize(kind="bucketize", boundaries=(0.0, 1.0))),
    }
    listed = Encoder({"event": {}, "user": {}, "item": encodings}).features()
    assert [(f.name, f.table, f.kind, f.cardinality) for f in listed] == [
        ("x", "item", "categorical", 2),
        ("y", "item", "continuous", None),
        ("z", "item", "categorical", 3),
    ]
