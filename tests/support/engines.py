"""Engines beside the reference: their plan, random tables of it, and what must be equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from falconer.pipelines.etl.engines import Engine, completed, engine_of
from falconer.pipelines.etl.engines.polars_gpu import tried
from falconer.pipelines.etl.features import Statistics, fit
from falconer.pipelines.etl.gpu import USUAL
from falconer.pipelines.etl.operators import AnyFeature, Bucketize, Categorical, Continuous

CATEGORICAL = Categorical(kind="categorical")
PLAN: dict[str, AnyFeature] = {
    "text": CATEGORICAL,
    "number": Categorical(kind="categorical", min_count=2),
    "plain": Continuous(kind="continuous", normalize=False),
    "clipped": Continuous(kind="continuous", fill=0.5, clip=(-1.0, 2.0)),
    "logged": Continuous(kind="continuous", fill=1.0, clip=(0.0, 1e6), log=True),
    "bucket": Bucketize(kind="bucketize", boundaries=(-1.0, 0.0, 2.5)),
}
FLOATS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([-1.0, 0.0, 2.5, 1e-9, 0.1]))
ROW = st.tuples(
    st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=3), st.just("nan")),
    st.one_of(st.none(), st.integers(-(2**40), 2**40), st.integers(0, 3)),
    FLOATS,
    FLOATS,
    FLOATS,
    FLOATS,
)
TYPES = {"text": pl.String, "number": pl.Int64} | dict.fromkeys(
    ("plain", "clipped", "logged", "bucket"), pl.Float64
)


def frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TYPES, orient="row")


def column(name: str, values: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series(values, dtype=TYPES[name])})


def assert_same_statistics(found: Statistics, expected: Statistics) -> None:
    for name, counts in expected.counts.items():
        assert found.counts[name].sort("value").equals(counts.sort("value"))
    for name, moments in expected.moments.items():
        assert found.moments[name].n == moments.n
        assert math.isclose(found.moments[name].mean, moments.mean, rel_tol=1e-9, abs_tol=1e-9)
        assert math.isclose(found.moments[name].std, moments.std, rel_tol=1e-7, abs_tol=1e-9)


def assert_same_columns(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Integers equal to the byte, floats to rtol 1e-6 and atol 1e-7."""
    assert found.schema == expected.schema
    for name, dtype in expected.schema.items():
        if dtype.is_integer():
            assert found[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes(), name
        else:
            np.testing.assert_allclose(
                found[name], expected[name], rtol=1e-6, atol=1e-7, err_msg=name
            )


def assert_parity(
    engine: Engine, reference: Engine, train: pl.DataFrame, other: pl.DataFrame
) -> None:
    """The same statistics of `train`, and the same columns of both tables."""
    found, expected = engine.fit(train, PLAN), reference.fit(train, PLAN)
    assert_same_statistics(found, expected)
    for rows in (train, other):
        assert_same_columns(
            engine.apply(rows, fit(found, PLAN, {})),
            reference.apply(rows, fit(expected, PLAN, {})),
        )


def many_rows() -> pl.DataFrame:
    """20,000 rows of `PLAN`'s columns with a tenth of nulls."""
    rng = np.random.default_rng(0)
    n = 20_000
    return pl.DataFrame(
        {
            "text": pl.Series(rng.zipf(1.5, n)).cast(pl.String),
            "number": rng.integers(0, 500, n),
            "plain": rng.normal(0, 1, n),
            "clipped": rng.normal(0, 2, n),
            "logged": rng.exponential(50, n),
            "bucket": rng.normal(0, 3, n),
        }
    ).with_columns(pl.when(pl.Series(rng.random(n)) < 0.9).then(pl.all()))


def plans_on_cpu() -> Engine:
    """The engine polars-gpu, whose plans are run by Polars itself."""
    return completed(tried(lambda plan: plan.collect(), USUAL))


ON_CPU: Mapping[str, Callable[[], Engine]] = {
    "nvtabular": lambda: engine_of("nvtabular"),
    "polars": lambda: engine_of("polars"),
    "polars-gpu": plans_on_cpu,
}
"""Every engine as far as a machine without a GPU has it."""
