"""Close-lying integers are counted and found as a hash table would, and events kept in order."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from falconer.pipelines.etl import dense
from falconer.pipelines.etl.raw import in_order

CLOSE = st.lists(st.none() | st.integers(-300, 300), max_size=40)
ANY = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=10)


@settings(max_examples=60, deadline=None)
@given(values=CLOSE | ANY)
@example(values=[2**63 - 1, 2**63 - 2, None])
@example(values=[-(2**63), -(2**63) + 5])
@example(values=[-(2**63), 2**63 - 1])
def test_counts_are_those_of_a_hash_table(values: list[int | None]) -> None:
    column = pl.Series("value", values, dtype=pl.Int64)
    found = dense.counts(column)
    known = column.drop_nulls()
    if found is None:
        assert known.is_empty() or known.max() - known.min() >= dense.LEAST_SPAN  # type: ignore[operator]
        return
    expected = known.value_counts(name="frequency").sort("value")
    assert found.equals(expected.cast({"frequency": pl.Int64}))


@settings(max_examples=60, deadline=None)
@given(
    asked=CLOSE | ANY, values=st.sets(st.integers(-200, 200), min_size=1, max_size=30).map(sorted)
)
@example(asked=[-(2**63), 2**63 - 1, None, 0], values=[-1, 0, 1])
@example(asked=[2**63 - 1, -(2**63), None], values=[2**63 - 1, 2**63 - 7])
@example(asked=[2**63 - 1, -(2**63), None], values=[-(2**63), -(2**63) + 7])
def test_places_are_those_of_a_join(asked: list[int | None], values: list[int]) -> None:
    ids = {value: place for place, value in enumerate(values)}
    column = pl.Series(asked, dtype=pl.Int64)
    found = dense.places(column, pl.Series(values, dtype=pl.Int64))
    assert found is not None
    assert found.dtype == pl.Int32
    assert found.to_list() == [-1 if one is None else ids.get(one, -1) for one in asked]


@pytest.mark.parametrize(
    ("column", "values"),
    [(["a"], ["a", "b"]), ([1.0], [1.0, 2.0]), ([1], [0, 10**12])],
    ids=["text", "fractions", "far apart"],
)
def test_what_does_not_lie_close_is_left_to_others(column: list[object], values: list[int]) -> None:
    assert dense.places(pl.Series(column), pl.Series(values)) is None


@settings(max_examples=40, deadline=None)
@given(numbers=st.lists(st.integers(0, 9) | st.integers(0, 2**32 - 1), max_size=30))
def test_order_is_stable(numbers: list[int]) -> None:
    values = np.array(numbers, np.int64)
    assert dense.stable_order(values).tolist() == np.argsort(values, kind="stable").tolist()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12),
    shuffled=st.randoms(use_true_random=False),
)
def test_events_are_in_order_whatever_order_they_come_in(
    rows: list[tuple[int, int]], shuffled: object
) -> None:
    schema = {"time": pl.Int64, "fraction": pl.Int64}
    events = pl.DataFrame(rows, schema=schema, orient="row").with_row_index("ordinal")
    expected = events.sort("time", "fraction", "ordinal")
    places = list(range(len(events)))
    shuffled.shuffle(places)  # type: ignore[attr-defined]
    for table in (events, events[places], expected):
        assert in_order(table).equals(expected)
        timeless = table.drop("time", "fraction")
        assert in_order(timeless).equals(events.drop("time", "fraction"))
