"""Cleaning: thresholds, repeats and order, each drop counted."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.clean import CleanConfig, clean

EVENTS = pl.DataFrame(
    {
        "ordinal": [0, 1, 2, 3, 4],
        "user": [1, 1, 1, 2, 1],
        "item": [7, 7, 7, 7, 8],
        "time": [30, 20, 20, 10, 20],
        "rating": [5.0, 3.0, 3.0, 4.0, 1.0],
        "weight": [1.0, 2.0, 2.0, 0.0, 1.0],
    }
)


def ordinals(config: CleanConfig, events: pl.DataFrame = EVENTS) -> list[int]:
    return clean(events, config)[0]["ordinal"].to_list()


def test_order_is_time_then_ordinal_and_repeats_that_stay_are_counted() -> None:
    events, counts = clean(EVENTS[[4, 2, 0, 1, 3]], CleanConfig())
    assert events["ordinal"].to_list() == [3, 1, 2, 4, 0]
    assert counts == {"duplicate events kept": 1}


def test_without_times_order_is_the_ordinal() -> None:
    assert ordinals(CleanConfig(), EVENTS[[4, 2, 0, 1, 3]].drop("time")) == [0, 1, 2, 3, 4]


def test_thresholds_keep_what_is_equal_and_count_what_goes() -> None:
    events, counts = clean(EVENTS, CleanConfig(min_rating=3, min_weight=1))
    assert events["ordinal"].to_list() == [1, 2, 0]
    assert counts == {
        "dropped: rating below 3": 1,
        "dropped: weight below 1": 1,
        "duplicate events kept": 1,
    }


@pytest.mark.parametrize(
    ("rule", "kept", "name", "count"),
    [
        ("events", [3, 1, 4, 0], "dropped: duplicate event", 1),
        ("pairs_first", [3, 1, 4], "dropped: later event of a pair", 2),
        ("pairs_last", [3, 4, 0], "dropped: earlier event of a pair", 2),
    ],
)
def test_repeats(rule: str, kept: list[int], name: str, count: int) -> None:
    config = CleanConfig.model_validate({"deduplicate": rule})
    events, counts = clean(EVENTS, config)
    assert events["ordinal"].to_list() == kept
    assert counts == {name: count}


def test_equal_times_leave_the_order_of_a_pair_to_the_ordinal() -> None:
    tied = pl.DataFrame(
        {"ordinal": [1, 0], "user": [1, 1], "item": [7, 7], "time": [5, 5], "rating": [1.0, 2.0]}
    )
    assert ordinals(CleanConfig(deduplicate="pairs_first"), tied) == [0]
    assert ordinals(CleanConfig(deduplicate="pairs_last"), tied) == [1]


def test_weights_that_are_dropped_served_the_threshold_first() -> None:
    events, _ = clean(EVENTS, CleanConfig(min_weight=1, weights="drop"))
    assert events["ordinal"].to_list() == [1, 2, 4, 0]
    assert "weight" not in events.columns
    assert "weight" in clean(EVENTS, CleanConfig(min_weight=1))[0].columns
    without = EVENTS.drop("weight")
    assert clean(without, CleanConfig(weights="drop"))[0].columns == without.columns


def test_threshold_without_its_column_is_an_error() -> None:
    with pytest.raises(DataError, match=r"clean\.min_weight is set, but the events have no weight"):
        clean(EVENTS.drop("weight"), CleanConfig(min_weight=1))


def test_nothing_left_is_an_error_that_says_what_went() -> None:
    with pytest.raises(
        DataError, match=r"no event is left after cleaning \(dropped: rating below 6: 5\)"
    ):
        clean(EVENTS, CleanConfig(min_rating=6))


@pytest.mark.parametrize("values", [["5", "1"], ["5.0", "1.0"]], ids=["whole", "points"])
def test_numbers_are_kept_by_value_with_or_without_their_point(values: list[str]) -> None:
    config = CleanConfig.model_validate({"keep": {"rating": {"values": values}}})
    events, counts = clean(EVENTS, config)
    assert sorted(events["ordinal"]) == [0, 4]
    assert counts == {"dropped: rating is another value": 3}


@pytest.mark.parametrize(
    ("keep", "complaint"),
    [({"least": 2, "most": 1}, "least is above most"), ({}, "says nothing")],
    ids=["least above most", "empty"],
)
def test_a_filter_that_keeps_none_or_all_is_refused(keep: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        CleanConfig.model_validate({"keep": {"rating": keep}})


rows = st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=40)


@settings(deadline=None)
@given(
    rows=rows,
    rule=st.sampled_from(["none", "events", "pairs_first", "pairs_last"]),
    timed=st.booleans(),
)
def test_every_drop_is_counted_and_the_rest_is_what_a_loop_would_keep(
    rows: list[tuple[int, ...]], rule: str, timed: bool
) -> None:
    names = ["user", "item", "time", "weight"]
    events = pl.DataFrame(rows, schema=names, orient="row").with_row_index("ordinal").cast(pl.Int64)
    events = events if timed else events.drop("time")
    kept, counts = clean(events, CleanConfig.model_validate({"deduplicate": rule}))
    dropped = sum(count for name, count in counts.items() if name.startswith("dropped"))
    assert kept.height + dropped == events.height
    assert kept["ordinal"].to_list() == expected_ordinals(events, rule)


def expected_ordinals(events: pl.DataFrame, rule: str) -> list[int]:
    ordered = sorted(
        events.iter_rows(named=True), key=lambda row: (row.get("time", 0), row["ordinal"])
    )
    if rule == "none":
        return [row["ordinal"] for row in ordered]
    if rule == "events":
        keys = [tuple(value for name, value in row.items() if name != "ordinal") for row in ordered]
    else:
        keys = [(row["user"], row["item"]) for row in ordered]
    places = {}
    for place, key in enumerate(keys):
        if rule == "pairs_last" or key not in places:
            places[key] = place
    return [ordered[place]["ordinal"] for place in sorted(places.values())]
