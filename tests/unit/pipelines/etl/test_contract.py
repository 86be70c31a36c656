"""The contract: canonical types, one reason a rejected row, and nothing lost."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.contract import Checked, ContractConfig, check
from falconer.pipelines.etl.raw import Raw

NOW = 1_700_000_000
LENIENT = ContractConfig(max_rejected_share=1.0)


def events(n: int = 1, **columns: Any) -> pl.DataFrame:
    values = {"user": [1] * n, "item": [2] * n, **columns}
    return pl.DataFrame({"ordinal": range(n), **values}, strict=False)


def reasons(result: Checked, table: str = "events") -> dict[int, str]:
    frame = result.rejected.get(table)
    return {} if frame is None else dict(zip(frame["row"], frame["reason"], strict=True))


def test_sound_events_pass_unchanged() -> None:
    frame = events(
        2,
        time=[NOW, NOW + 1],
        rating=[1.0, 5.0],
        weight=[0.0, -2.0],
        price=[0.5, None],
        city=["a", None],
    )
    result = check(Raw(frame), ContractConfig())
    assert result.raw.events.equals(frame)
    assert result.rejected == {}
    assert result.counts == {"rows_read": 2}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a", None], "user is null"),
        (["a", ""], "user is empty"),
        (["a", "  "], "user is empty"),
        (["a", "NaN"], "user is NaN"),
        ([1.0, float("nan")], "user is NaN"),
        ([1.0, 1.5], "user is not a whole number"),
        ([1.0, float("inf")], "user is too large to be exact in 64 bits"),
        ([1.0, 1e18], "user is too large to be exact in 64 bits"),
        ([1, None], "user is null"),
    ],
)
def test_bad_ids(values: Any, reason: str) -> None:
    frame = events(2, user=values)
    result = check(Raw(frame), LENIENT)
    assert reasons(result) == {1: reason}
    assert result.counts == {"rows_read": 2, f"rejected: {reason}": 1}
    assert result.raw.events["ordinal"].to_list() == [0]
    assert (
        result.rejected["events"]
        .select("user", "item")
        .equals(frame[1:].select("user", "item"), null_equal=True)
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "time is null"),
        (float("nan"), "time is null"),
        (float("inf"), "time is not a time"),
        (10, "time is before 1980-01-01"),
        (NOW * 10, "time is in the future"),
        (NOW * 1000, "time looks like milliseconds"),
        (NOW * 10**6, "time looks like microseconds"),
        (NOW * 10**9, "time looks like nanoseconds"),
    ],
)
def test_bad_times(value: Any, reason: str) -> None:
    result = check(Raw(events(2, time=[NOW, value])), LENIENT)
    assert reasons(result) == {1: reason}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("text", [False, True])
def test_numbers_are_read_in_their_unit_fractions_cut_off(unit: str, text: bool) -> None:
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    values: list[Any] = [NOW * factor, NOW * factor + factor // 2]
    if text:
        values = [str(value) for value in values]
    times = check(Raw(events(2, time=values), time_unit=unit), ContractConfig()).raw.events["time"]
    assert times.to_list() == [NOW, NOW]
    assert times.dtype == pl.Int64


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-05-31", 1717113600),
        ("2024-05-31 12:00", 1717156800),
        ("2024-05-31T12:00:00", 1717156800),
        ("2024-05-31 12:00:00.999", 1717156800),
        ("2024-05-31T12:00:00Z", 1717156800),
        ("2024-05-31t12:00:00.5z", 1717156800),
        ("2024-05-31T14:00:00+02:00", 1717156800),
        ("2024-05-31T14:00+0200", 1717156800),
        ("  2024-05-31 12:00:00 ", 1717156800),
    ],
)
def test_iso_times_of_every_form_mix_in_one_column(text: str, seconds: int) -> None:
    frame = events(3, time=["2024-05-31 12:00:00", text, "yesterday"])
    result = check(Raw(frame, time_unit="iso"), LENIENT)
    assert result.raw.events["time"].to_list() == [1717156800, seconds]
    assert reasons(result) == {2: "time is not a time"}


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([datetime(2024, 5, 31, 12)], "s"),
        (pl.Series([datetime(2024, 5, 31, 12)], dtype=pl.Datetime("ns")), "iso"),
        (
            pl.Series([datetime(2024, 5, 31, 12, tzinfo=UTC)]).dt.convert_time_zone("Europe/Paris"),
            "ms",
        ),
        (["31/05/2024 12:00"], "%d/%m/%Y %H:%M"),
        (["1717156800.0"], "s"),
        ([1717156800.7], "s"),
    ],
)
def test_every_way_to_write_one_moment(values: Any, unit: str) -> None:
    times = check(Raw(events(1, time=values), time_unit=unit), ContractConfig()).raw.events["time"]
    assert times.to_list() == [1717156800]


def test_dates_are_midnight_utc() -> None:
    times = check(Raw(events(1, time=[date(2024, 5, 31)])), ContractConfig()).raw.events["time"]
    assert times.to_list() == [1717113600]


@pytest.mark.parametrize("moment", ["2024-01-02T00:00:00", "2024-01-02T02:00:00+02:00"])
@pytest.mark.parametrize("name", ["earliest", "latest"])
def test_a_moment_without_a_zone_is_of_utc_and_one_with_a_zone_of_that(
    name: str, moment: str
) -> None:
    found = getattr(ContractConfig.model_validate({name: moment}), name)
    assert found == datetime(2024, 1, 2, tzinfo=UTC)


def test_latest_and_earliest_are_inclusive_and_utc() -> None:
    config = ContractConfig.model_validate(
        {
            "max_rejected_share": 1.0,
            "earliest": datetime(2024, 1, 1),
            "latest": "2024-01-02T00:00:00",
        }
    )
    first = 1704067200
    result = check(Raw(events(4, time=[first - 1, first, first + 86400, first + 86401])), config)
    assert reasons(result) == {0: "time is before 2024-01-01", 3: "time is in the future"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x", "not a number"),
        (None, "null"),
        ("", "null"),
        ("inf", "not finite"),
        ("NaN", "not finite"),
    ],
)
@pytest.mark.parametrize("name", ["rating", "weight"])
def test_bad_numbers(name: str, value: str | None, reason: str) -> None:
    result = check(Raw(events(3, **{name: ["1", " 2.5 ", value]})), LENIENT)
    assert reasons(result) == {2: f"{name} is {reason}"}
    assert result.raw.events[name].to_list() == [1.0, 2.5]


def test_infinite_features_are_rejected_and_nan_is_absent() -> None:
    result = check(Raw(events(3, price=[float("nan"), 1.0, float("-inf")])), LENIENT)
    assert reasons(result) == {2: "price is not finite"}
    assert result.raw.events["price"].to_list() == [None, 1.0]


def test_features_that_must_be_numbers_are_converted_and_others_are_not() -> None:
    frame = events(4, price=["1.5", "", "cheap", None], code=["01", "1", "1", "1"])
    result = check(Raw(frame), LENIENT, numeric={"events": ["price"]})
    assert reasons(result) == {2: "price is not a number"}
    assert result.raw.events["price"].to_list() == [1.5, None, None]
    assert result.raw.events["code"].to_list() == ["01", "1", "1"]
    with pytest.raises(DataError, match="events: no column 'cost'; it has: ordinal, user"):
        check(Raw(frame), LENIENT, numeric={"events": ["cost"]})


def test_encoded_text_becomes_text_and_labels_too() -> None:
    frame = events(2, item=["a", "b"], city=["x", "y"]).with_columns(
        pl.col("item", "city").cast(pl.Categorical)
    )
    checked = check(
        Raw(frame, items=pl.DataFrame({"item": ["a"], "label": [5]})), ContractConfig()
    ).raw
    assert [checked.events[name].dtype for name in ("item", "city")] == [pl.String, pl.String]
    assert checked.items is not None
    assert checked.items.rows() == [("a", "5")]
    with pytest.raises(DataError, match="items: column 'label' holds List"):
        check(Raw(events(), items=pl.DataFrame({"item": [1], "label": [[5]]})), ContractConfig())


def test_the_first_reason_wins() -> None:
    result = check(Raw(events(2, user=["a", None], item=["b", ""], time=[NOW, None])), LENIENT)
    assert reasons(result) == {1: "user is null"}


@pytest.mark.parametrize("column", ["user", "item", "time", "rating"])
def test_a_type_that_cannot_hold_the_values_is_refused(column: str) -> None:
    with pytest.raises(
        DataError, match=rf"events: column '{column}' holds List\(Int64\), where .* is wanted"
    ):
        check(Raw(events(1, **{column: [[1]]})), LENIENT)


def test_limit_names_counts_first_rows_and_remedy() -> None:
    frame = events(100, user=[None] * 3 + [1] * 97, time=[NOW] * 50 + [NOW * 1000] * 50)
    raw = Raw(frame, files=(("a.csv", 40), ("b.csv", 60)))
    with pytest.raises(DataError) as caught:
        check(raw, ContractConfig(max_rejected_share=0.5))
    message = str(caught.value)
    assert "events: 53 of 100 rows are bad (53.0%)" in message
    assert (
        "50 x time looks like milliseconds; first in b.csv, row 10 (counted from 0): user=1, item=2"
        in message
    )
    assert 'set time_unit = "ms" under [source]' in message
    assert "3 x user is null; first in a.csv, row 0 (counted from 0)" in message


def test_limit_is_inclusive() -> None:
    frame = events(100, user=[None] + [1] * 99)
    assert reasons(check(Raw(frame), ContractConfig(max_rejected_share=0.01))) == {
        0: "user is null"
    }
    with pytest.raises(DataError, match="2 of 100 rows are bad"):
        check(
            Raw(frame.with_columns(user=pl.Series([None, None, *[1] * 98]))),
            ContractConfig(max_rejected_share=0.01),
        )


def test_no_event_left_is_an_error_even_without_a_limit() -> None:
    with pytest.raises(DataError, match=r"(?s)no row is left.*1 x user is null"):
        check(Raw(events(1, user=[None])), LENIENT)
    with pytest.raises(DataError, match="no row is left"):
        check(Raw(events(1)[:0]), LENIENT)


def test_of_repeated_keys_the_first_sound_row_is_kept() -> None:
    items = pl.DataFrame(
        {"item": [5, 5, 6, 5, None], "label": ["", "first", "x", "second", "none"]}
    )
    items = items.with_columns(price=pl.Series([float("inf"), 1.0, 1.0, 1.0, 1.0]))
    result = check(Raw(events(), items=items), LENIENT)
    assert result.raw.items is not None
    assert result.raw.items.rows() == [(5, "first", 1.0), (6, "x", 1.0)]
    assert reasons(result, "items") == {
        0: "price is not finite",
        3: "item is a duplicate of an earlier row",
        4: "item is null",
    }
    assert result.counts["items_read"] == 5
    assert result.counts["items rejected: item is a duplicate of an earlier row"] == 1


def test_repeated_keys_do_not_count_against_the_limit_but_bad_rows_do() -> None:
    users = pl.DataFrame({"user": [1, 1, 1]})
    result = check(Raw(events(), users=users), ContractConfig())
    assert result.raw.users is not None
    assert result.raw.users.height == 1
    with pytest.raises(DataError, match="users: 1 of 2 rows are bad"):
        check(Raw(events(), users=pl.DataFrame({"user": [1, None]})), ContractConfig())


@pytest.mark.parametrize(
    ("in_events", "in_items", "expected"),
    [
        ([7], ["7"], [7]),
        (["7"], [7], [7]),
        (["7"], ["007"], ["7"]),
        ([7], ["x"], ["7"]),
        ([7.0], [7], [7]),
        (["-0"], ["0"], ["-0"]),
        (["9223372036854775808"], ["1"], ["9223372036854775808"]),
    ],
)
def test_ids_have_one_type_in_all_tables(
    in_events: list[Any], in_items: list[Any], expected: list[Any]
) -> None:
    candidates = pl.DataFrame({"user": [1], "item": [7], "candidates": [[7, 8]]})
    raw = Raw(
        events(1, item=in_events), items=pl.DataFrame({"item": in_items}), candidates=candidates
    )
    checked = check(raw, ContractConfig()).raw
    assert checked.events["item"].to_list() == expected
    assert checked.items is not None
    assert checked.candidates is not None
    dtype = checked.events["item"].dtype
    assert checked.items["item"].dtype == checked.candidates["item"].dtype == dtype
    assert checked.candidates["candidates"].dtype == pl.List(dtype)


def test_events_that_a_table_does_not_list_stay_and_are_counted() -> None:
    raw = Raw(events(3, item=["1", "2", "3.0"]), items=pl.DataFrame({"item": [1, 3]}))
    result = check(raw, ContractConfig())
    assert result.raw.events.height == 3
    assert result.counts == {"rows_read": 3, "items_read": 2, "events without a row in items": 2}


def test_a_rejected_row_does_not_decide_the_type_of_ids() -> None:
    result = check(Raw(events(2, user=["1", "total"], time=[NOW, None])), LENIENT)
    assert result.raw.events["user"].to_list() == [1]


anything = st.one_of(
    st.none(),
    st.just(""),
    st.just("nan"),
    st.just("x"),
    st.integers(-5, 5).map(str),
    st.just(str(NOW)),
    st.just("1e999"),
)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(anything, anything, anything, anything), max_size=30))
def test_rows_in_are_rows_kept_and_rows_rejected(rows: list[tuple[Any, ...]]) -> None:
    rows = [*rows, ("u", "i", str(NOW), "1")]
    frame = pl.DataFrame(
        rows, schema=dict.fromkeys(("user", "item", "time", "rating"), pl.String), orient="row"
    )
    result = check(Raw(frame.with_row_index("ordinal")), LENIENT)
    kept = result.raw.events["ordinal"].to_list()
    rejected = reasons(result)
    assert sorted([*kept, *rejected]) == list(range(len(rows)))
    assert sum(
        count for name, count in result.counts.items() if name.startswith("rejected: ")
    ) == len(rejected)
    assert result.raw.events.null_count().sum_horizontal().item() == 0
    if rejected:
        came = result.rejected["events"].select("user", "item", "time", "rating").rows()
        assert came == [rows[row] for row in rejected]
