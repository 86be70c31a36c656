"""Engines against the reference engine, and all of them against known answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.errors import MissingExtraError
from falconer.pipelines.etl import engines
from falconer.pipelines.etl.engines import Engine, engine_of
from falconer.pipelines.etl.features import Encoding, Moments, fit
from falconer.pipelines.etl.operators import Bucketize, Categorical, Continuous
from tests.support.engines import ON_CPU, ROW, assert_parity, column, frame, many_rows


@pytest.fixture(scope="module", params=["nvtabular", "polars-gpu"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return ON_CPU[request.param]()


@pytest.fixture(scope="module")
def reference() -> Engine:
    return engine_of("polars")


@given(train=st.lists(ROW, max_size=25).map(frame), other=st.lists(ROW, max_size=10).map(frame))
@settings(max_examples=15, deadline=None)
def test_engines_agree(
    engine: Engine, reference: Engine, train: pl.DataFrame, other: pl.DataFrame
) -> None:
    assert_parity(engine, reference, train, other)


NOTHING = (None,) * 6
SAME = ("a", 1, 0.1, 0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("train", "other"),
    [
        ([], [SAME]),
        ([SAME], [NOTHING]),
        ([NOTHING] * 3, [SAME]),
        ([SAME] * 1000, [("b", 2, 9.0, 9.0, 9.0, 9.0)]),
        (
            [("a", 1, 0.0, 0.0, 0.0, 0.0), NOTHING, ("b", 1, 1.0, 1.0, 1.0, 1.0)],
            [NOTHING, ("c", 9, -5.0, 5.0, -5.0, 5.0)],
        ),
    ],
    ids=["no rows", "one row", "only nulls", "constant", "nulls between"],
)
def test_engines_agree_on_degenerate_tables(
    engine: Engine, reference: Engine, train: list[tuple[Any, ...]], other: list[tuple[Any, ...]]
) -> None:
    assert_parity(engine, reference, frame(train), frame(other))


def test_engines_agree_on_many_rows(engine: Engine, reference: Engine) -> None:
    rows = many_rows()
    assert_parity(engine, reference, rows[:10_000], rows[10_000:])


@pytest.mark.parametrize("name", ON_CPU)
def test_moments_keep_their_digits_where_the_mean_is_large(name: str) -> None:
    values = 1e9 + np.array([0.0, 1.0, 2.0, 3.0] * 250)
    plan = {"clipped": Continuous(kind="continuous")}
    moments = ON_CPU[name]().fit(column("clipped", values.tolist()), plan).moments["clipped"]
    assert math.isclose(moments.mean, 1e9 + 1.5, rel_tol=1e-15)
    assert math.isclose(moments.std, math.sqrt(1.25 * 1000 / 999), rel_tol=1e-9)


@pytest.mark.parametrize("name", ON_CPU)
def test_categories_get_ids_by_frequency_then_value(name: str) -> None:
    engine = ON_CPU[name]()
    table = column("text", ["b", "a", None, "c", "b", "a", "rare", "c", "c"])
    plan = {"text": Categorical(kind="categorical", min_count=2)}
    encodings = fit(engine.fit(table, plan), plan, {})
    assert encodings["text"].values is not None
    assert encodings["text"].values.to_list() == ["c", "a", "b"]
    encoded = engine.apply(column("text", ["a", "b", "c", None, "rare", "never seen"]), encodings)
    assert encoded["text"].to_list() == [1, 2, 0, -1, -1, -1]
    assert encoded.schema["text"] == pl.Int32


@pytest.mark.parametrize("name", ON_CPU)
def test_continuous_steps_are_fill_clip_log_normalize(name: str) -> None:
    config = Continuous(kind="continuous", fill=3.0, clip=(0.0, 7.0), log=True)
    moments = Moments(4, 1.0, 2.0)
    encoded = ON_CPU[name]().apply(
        column("logged", [None, -5.0, 100.0, 0.0]), {"logged": Encoding(config, None, moments)}
    )
    expected = [(math.log(1 + x) - 1.0) / 2.0 for x in (3.0, 0.0, 7.0, 0.0)]
    assert encoded["logged"].to_list() == pytest.approx(expected, rel=1e-6)
    assert encoded.schema["logged"] == pl.Float32


@pytest.mark.parametrize("name", ON_CPU)
def test_a_constant_column_is_centred_and_not_scaled(name: str) -> None:
    engine = ON_CPU[name]()
    plan = {"clipped": Continuous(kind="continuous")}
    encodings = fit(engine.fit(column("clipped", [0.1] * 100), plan), plan, {})
    assert encodings["clipped"].moments == Moments(100, pytest.approx(0.1), 0.0)  # type: ignore[arg-type]
    assert engine.apply(column("clipped", [0.1, 1.1]), encodings)[
        "clipped"
    ].to_list() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("name", ON_CPU)
def test_buckets_are_closed_on_the_left_and_null_is_in_none(name: str) -> None:
    encoding = Encoding(Bucketize(kind="bucketize", boundaries=(0.0, 1.0)))
    encoded = ON_CPU[name]().apply(
        column("bucket", [-1e300, -0.1, 0.0, 0.5, 1.0, 1e300, None]), {"bucket": encoding}
    )
    assert encoded["bucket"].to_list() == [0, 0, 1, 1, 2, 2, -1]
    assert encoding.cardinality == 3


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.MODULES, "nvtabular", "a_package_that_is_not_there.engine")  # type: ignore[arg-type]
    with pytest.raises(MissingExtraError, match="falconer doctor"):
        engine_of("nvtabular")
