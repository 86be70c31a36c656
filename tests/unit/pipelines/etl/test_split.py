"""One property suite over every split protocol, and each protocol's own rule on small cases."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.raw import order_of
from falconer.pipelines.etl.split import Part, Split, split
from falconer.pipelines.etl.split.config import OWN, Given, Temporal
from falconer.pipelines.etl.split.protocols import PROTOCOLS
from tests.support.splits import ADAPTER, BY_TIME, CONFIGS, DAY, frame


def config_of(name: str) -> Any:
    return ADAPTER.validate_python(CONFIGS[name])


def candidates_of(events: pl.DataFrame) -> pl.DataFrame:
    """Each user's last event as the held-out positive."""
    last = events.sort(order_of(events)).group_by("user", maintain_order=True).last()
    return last.select("user", "item", candidates=pl.concat_list("item", pl.lit(999, pl.Int64)))


@st.composite
def event_frames(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 12 * DAY)),
            min_size=20,
            max_size=60,
        )
    )
    return frame(rows)


def parts_of(config: Any, n: int) -> list[tuple[str, int]]:
    """Files of five parts, where the protocol wants them."""
    if not isinstance(config, Given):
        return []
    heights = {"train": n // 2, "valid": n // 8, "test": n // 8, "valid_history": n // 8}
    return [*heights.items(), ("test_history", n - sum(heights.values()))]


def try_split(events: pl.DataFrame, config: Any) -> Split | None:
    """The split, or None where the data leaves a promised part empty, which is refused."""
    try:
        return split(events, config, candidates_of(events), parts=parts_of(config, len(events)))
    except DataError:
        return None


def test_every_protocol_is_in_the_property_suite() -> None:
    assert {type(config_of(name)) for name in CONFIGS} == set(PROTOCOLS) == set(OWN)


@pytest.mark.parametrize("name", CONFIGS)
@given(events=event_frames())
@settings(max_examples=12, deadline=None)
def test_parts_partition_the_events(name: str, events: pl.DataFrame) -> None:
    done = try_split(events, config_of(name))
    if done is None:
        return
    assert sorted(done.events["ordinal"]) == sorted(events["ordinal"])
    assert done.events["part"].is_in([int(part) for part in Part]).all()
    assert sum(done.counts.values()) == len(events)
    assert {part.name.lower(): int((done.events["part"] == part).sum()) for part in Part} == dict(
        done.counts
    )


@pytest.mark.parametrize("name", CONFIGS)
@given(events=event_frames(), seed=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_row_order_does_not_matter(name: str, events: pl.DataFrame, seed: int) -> None:
    done = try_split(events, config_of(name))
    shuffled = try_split(events.sample(fraction=1.0, shuffle=True, seed=seed), config_of(name))
    assert (done is None) == (shuffled is None)
    assert done is None or shuffled is None or done.events.equals(shuffled.events)


@pytest.mark.parametrize("name", CONFIGS)
@given(events=event_frames())
@settings(max_examples=12, deadline=None)
def test_truth_is_in_no_history_and_no_query_is_asked_before_its_history(
    name: str, events: pl.DataFrame
) -> None:
    done = try_split(events, config_of(name))
    if done is None:
        return
    for rule in done.folds.values():
        assert rule.truth not in rule.history
        truth = done.events.filter(pl.col("part") == rule.truth)
        asked = truth.group_by("user").agg(first=pl.col("time").min())
        known = done.events.filter(pl.col("part").is_in(list(rule.history))).join(asked, on="user")
        limit = pl.col("first") if rule.asked_at is None else pl.lit(rule.asked_at)
        assert (known.select(pl.col("time") <= limit).to_series()).all()


@pytest.mark.parametrize("name", BY_TIME)
@given(events=event_frames())
@settings(max_examples=12, deadline=None)
def test_history_is_not_later_than_truth(name: str, events: pl.DataFrame) -> None:
    done = try_split(events, config_of(name))
    if done is None:
        return
    for rule in done.folds.values():
        first = (
            done.events.filter(pl.col("part") == rule.truth)
            .group_by("user")
            .agg(first=pl.col("time").min())
        )
        known = done.events.filter(pl.col("part").is_in(list(rule.history))).join(first, on="user")
        assert (known["time"] <= known["first"]).all()


@pytest.mark.parametrize("name", ["temporal", "temporal without validation", "rolling"])
@given(events=event_frames())
@settings(max_examples=12, deadline=None)
def test_nothing_in_train_is_later_than_the_boundary_of_any_user(
    name: str, events: pl.DataFrame
) -> None:
    done = try_split(events, config_of(name))
    if done is None:
        return
    train = done.events.filter(pl.col("part") == Part.TRAIN)["time"]
    for rule in done.folds.values():
        assert rule.asked_at is not None
        truth = done.events.filter(pl.col("part") == rule.truth)["time"]
        assert train.max() < rule.asked_at <= truth.min()  # type: ignore[operator]


@pytest.mark.parametrize(
    "name", ["held_out_users", "held_out_users by time", "held_out_users by share"]
)
@given(events=event_frames())
@settings(max_examples=12, deadline=None)
def test_held_out_users_are_not_in_train(name: str, events: pl.DataFrame) -> None:
    done = try_split(events, config_of(name))
    if done is None:
        return
    parts = (
        done.events.group_by("user").agg(parts=pl.col("part").unique().sort())["parts"].to_list()
    )
    allowed = [[Part.TRAIN], [Part.VALID, Part.VALID_HISTORY], [Part.TEST, Part.TEST_HISTORY]]
    assert all(found in allowed for found in parts)


@pytest.mark.parametrize("name", ["held_out_users", "random", "user_share by chance"])
def test_a_seed_changes_the_choice_and_repeats_it(name: str) -> None:
    rng = np.random.default_rng(0)
    events = frame([(int(u), int(i), int(t)) for u, i, t in rng.integers(0, 50, (400, 3))])
    first, again, other = (
        split(events, config_of(name).model_copy(update={"seed": seed})).events["part"]
        for seed in (1, 1, 2)
    )
    assert first.equals(again)
    assert not first.equals(other)


def test_temporal_counts_days_back_from_the_last_event() -> None:
    events = frame([(0, 0, 0), (0, 1, 7 * DAY), (0, 2, 8 * DAY), (0, 3, 9 * DAY), (0, 4, 10 * DAY)])
    done = split(
        events, ADAPTER.validate_python({"protocol": "temporal", "test_days": 1, "valid_days": 2})
    )
    assert done.events["part"].to_list() == [
        Part.TRAIN,
        Part.TRAIN,
        Part.VALID,
        Part.VALID,
        Part.TEST,
    ]


def test_temporal_takes_boundaries_as_given() -> None:
    noon = int(datetime(2020, 1, 2, 12, tzinfo=UTC).timestamp())
    events = frame([(0, 0, noon - DAY), (0, 1, noon - 1), (0, 2, noon), (0, 3, noon + DAY)])
    values = {
        "protocol": "temporal",
        "valid_from": date(2020, 1, 2),
        "test_from": datetime(2020, 1, 2, 12),
    }
    done = split(events, ADAPTER.validate_python(values))
    assert done.events["part"].to_list() == [Part.TRAIN, Part.VALID, Part.TEST, Part.TEST]
    assert "2020-01-02 12:00:00 UTC" in done.card.description


def test_rolling_window_zero_is_temporal_and_older_windows_end_earlier() -> None:
    events = frame([(0, 0, day * DAY) for day in range(11)])
    parts = {
        window: split(
            events,
            ADAPTER.validate_python(
                {"protocol": "rolling", "days": 2, "windows": 3, "window": window}
            ),
        )
        for window in (0, 1)
    }
    newest = split(
        events, ADAPTER.validate_python({"protocol": "temporal", "test_days": 2, "valid_days": 2})
    )
    assert parts[0].events.equals(newest.events)
    assert parts[1].counts["dropped"] == 2
    assert parts[1].events["part"].to_list()[:9] == newest.events["part"].to_list()[2:]


def test_leave_last_breaks_ties_by_ordinal_and_leaves_short_users_in_train() -> None:
    events = frame([(0, 5, 9), (0, 6, 9), (0, 7, 9), (0, 8, 3), (1, 1, 1), (1, 2, 2)])
    done = split(events, config_of("leave_last"))
    by_item = dict(zip(done.events["item"], done.events["part"], strict=True))
    assert by_item == {
        5: Part.TRAIN,
        6: Part.VALID,
        7: Part.TEST,
        8: Part.TRAIN,
        1: Part.TRAIN,
        2: Part.TRAIN,
    }


def test_leave_last_without_times_follows_the_source() -> None:
    done = split(frame([(0, 5, 0), (0, 6, 0), (0, 7, 0)], times=False), config_of("leave_last"))
    assert done.events["part"].to_list() == [Part.TRAIN, Part.VALID, Part.TEST]


def test_given_candidates_drops_what_came_after_the_held_out_event() -> None:
    events = frame([(0, 1, 1), (0, 2, 2), (0, 3, 5), (0, 4, 5), (0, 5, 6)])
    candidates = pl.DataFrame({"user": [0], "item": [3], "candidates": [[3, 9]]})
    done = split(events, config_of("given_candidates"), candidates)
    assert done.events["part"].to_list() == [
        Part.TRAIN,
        Part.TRAIN,
        Part.TEST,
        Part.VALID,
        Part.DROPPED,
    ]
    assert done.card.sampled


def test_held_out_users_by_time_gives_the_earliest_events() -> None:
    events = frame([(user, item, item) for user in range(3) for item in range(5)])
    values = {
        "protocol": "held_out_users",
        "valid_users": 0,
        "test_users": 1,
        "given_share": 0.6,
        "given_by": "time",
    }
    done = split(events, ADAPTER.validate_python(values))
    held_out = done.events.filter(pl.col("part") != Part.TRAIN)
    assert held_out.filter(pl.col("part") == Part.TEST_HISTORY)["time"].to_list() == [0, 1, 2]
    assert held_out.filter(pl.col("part") == Part.TEST)["time"].to_list() == [3, 4]
    assert "valid" not in done.folds


def test_views_default_to_novel_only_where_no_pair_repeats() -> None:
    once = frame([(0, 1, 1), (0, 2, 2), (0, 3, 3)])
    twice = frame([(0, 1, 1), (0, 2, 2), (0, 1, 3)])
    assert split(once, config_of("leave_last")).card.views == ("novel",)
    assert split(twice, config_of("leave_last")).card.views == ("all", "repeat", "novel")
    chosen = ADAPTER.validate_python({"protocol": "leave_last", "views": ["repeat"]})
    assert split(twice, chosen).card.views == ("repeat",)


@pytest.mark.parametrize(
    ("name", "events", "message"),
    [
        ("temporal", frame([(0, 1, 1), (0, 2, 2)], times=False), "needs times"),
        ("temporal", frame([(0, 1, 1), (0, 2, 2)]), "leaves train and valid without events"),
        ("leave_last", frame([(0, 1, 1), (1, 2, 2)]), "without events"),
        (
            "held_out_users",
            frame([(0, 1, 1), (0, 2, 2), (1, 1, 1)]),
            "1 users have two events or more",
        ),
        ("random", frame([(0, 1, 1)]), "without events"),
        ("given_candidates", frame([(0, 1, 1)]), "gives no candidates"),
        ("random", frame([(0, 1, 1)]).clear(), "no events are left"),
    ],
)
def test_data_that_cannot_be_split_is_refused(
    name: str, events: pl.DataFrame, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        split(events, config_of(name))


@pytest.mark.parametrize(
    "values",
    [
        {"protocol": "rolling", "windows": 2, "window": 2},
        {"protocol": "random", "test_share": 0.6, "valid_share": 0.5},
        {"protocol": "random", "test_share": 0.5, "valid_share": 0.5},
        {"protocol": "user_share", "test_share": 0.5, "valid_share": 0.5},
        {"protocol": "temporal", "test_share": 0.5, "valid_share": 0.5},
        {"protocol": "temporal", "valid_from": date(2020, 2, 1), "test_from": date(2020, 1, 1)},
        {"protocol": "temporal", "test_days": 0},
        {"protocol": "nothing"},
    ],
)
def test_wrong_configurations_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(values)


@given(st.lists(st.integers(0, 40), min_size=20, max_size=60), st.integers(0, 2))
def test_shares_of_global_time_are_never_exceeded(times: list[int], tenths: int) -> None:
    events = frame([(0, place, time) for place, time in enumerate(times)])
    config = {"protocol": "temporal", "test_share": 0.2, "valid_share": tenths / 10}
    try:
        done = split(events, Temporal.model_validate(config))
    except DataError:
        return
    test = done.events.filter(pl.col("part") == int(Part.TEST))["time"]
    rest = done.events.filter(pl.col("part") != int(Part.TEST))["time"]
    assert len(test) <= round(0.2 * len(times))
    assert int(rest.max()) < int(test.min())  # type: ignore[arg-type]
    assert ("valid" in done.folds) == (tenths > 0)


def test_a_validation_share_that_equal_times_swallow_is_refused() -> None:
    events = frame([(0, row, min(row, 70)) for row in range(100)] + [(0, 200, 71)])
    with pytest.raises(DataError, match="no validation fold is left"):
        split(
            events,
            Temporal.model_validate(
                {"protocol": "temporal", "test_share": 0.1, "valid_share": 0.1}
            ),
        )


def test_shares_of_distinct_times_are_exact() -> None:
    events = frame([(row % 7, row, 10 * row) for row in range(100)])
    config = {"protocol": "temporal", "test_share": 0.1, "valid_share": 0.1}
    done = split(events, Temporal.model_validate(config))
    assert [done.counts[part] for part in ("train", "valid", "test")] == [80, 10, 10]


@pytest.mark.parametrize(
    "values",
    [
        {"test_days": 1e300},
        {"test_share": 0.1},
        {"test_share": 0.1, "valid_share": 0.95},
        {"test_share": 0.1, "valid_share": 0.1, "test_days": 3},
    ],
)
def test_a_temporal_split_of_no_meaning_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Temporal.model_validate({"protocol": "temporal", **values})
