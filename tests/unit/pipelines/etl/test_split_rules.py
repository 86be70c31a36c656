"""The rules of the splits of each user's own events, of targets in global time, and of given
files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.split import REPEATS_MATTER, Split, card_of, repeat_share, split
from falconer.pipelines.etl.split.config import Temporal
from falconer.pipelines.etl.split.parts import Assignment
from tests.support.splits import ADAPTER, frame

TRAIN, VALID, VALID_HISTORY, TEST, TEST_HISTORY, DROPPED = range(6)
DAY = 86_400
Rows = list[tuple[int, int, int]]


def parts(rows: Rows, *given: tuple[str, int], **config: Any) -> list[int]:
    """The part of each row, in the rows' order."""
    done = done_with(rows, *given, **config)
    return done.events.sort("ordinal")["part"].to_list()


def done_with(rows: Rows, *given: tuple[str, int], **config: Any) -> Split:
    return split(frame(rows), ADAPTER.validate_python(config), parts=given)


ONE_USER = [(0, item, item * DAY) for item in range(10)]


def test_leave_k_out_takes_the_last_events_and_leaves_short_users_in_train() -> None:
    rows = ONE_USER[:5] + [(1, item, item * DAY) for item in range(3)]
    config = {"protocol": "leave_last", "test_events": 2, "valid_events": 1}
    assert parts(rows, **config) == [TRAIN, TRAIN, VALID, TEST, TEST, TRAIN, TRAIN, TRAIN]
    card = done_with(rows, **config).card
    assert card.targets == "a user's last 2 events"
    assert card.validation == "each user's last event before test"
    assert "fewer than 4 events" in card.description


def test_without_validation_the_last_but_one_event_is_trained_on() -> None:
    config = {"protocol": "leave_last", "valid_events": 0}
    assert parts(ONE_USER[:3], **config) == [TRAIN, TRAIN, TEST]
    done = done_with(ONE_USER[:3], **config)
    assert "valid" not in done.folds
    assert done.card.validation == "none"


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (2, [TRAIN] * 2),
        (3, [TRAIN, VALID, TEST]),
        (5, [TRAIN, TRAIN, TRAIN, VALID, TEST]),
        (10, [TRAIN] * 7 + [VALID] + [TEST] * 2),
    ],
    ids=["two events", "three", "five", "ten"],
)
def test_a_share_of_each_user_is_the_latest_and_leaves_one_event_in_each_part(
    n: int, expected: list[int]
) -> None:
    others = [(1, item, item * DAY) for item in range(10)]
    rows = ONE_USER[:n] + others
    assert parts(rows, protocol="user_share")[:n] == expected


def test_a_share_by_chance_has_the_same_sizes() -> None:
    found = parts(ONE_USER, protocol="user_share", by="random", seed=1)
    assert sorted(found) == sorted([TRAIN] * 7 + [VALID] + [TEST] * 2)
    assert found != parts(ONE_USER, protocol="user_share")


def test_even_great_shares_leave_every_user_an_event_in_train() -> None:
    shares = {"test_share": 0.5, "valid_share": 0.45}
    assert parts(ONE_USER[:3], protocol="user_share", **shares) == [TRAIN, VALID, TEST]


def test_sessions_are_parted_by_a_gap_and_held_out_whole() -> None:
    minutes = [0, 10, 41, 60, 90, 91, 300]
    rows = [(0, place, 60 * minute) for place, minute in enumerate(minutes)]
    found = parts(rows, protocol="last_sessions", gap_minutes=30)
    assert found == [TRAIN, TRAIN, VALID, VALID, VALID, VALID, TEST]
    apart = parts(rows, protocol="last_sessions", gap_minutes=29)
    assert apart == [TRAIN, TRAIN, TRAIN, TRAIN, VALID, VALID, TEST]


@pytest.mark.parametrize(("pause", "begins"), [(1800, False), (1801, True)])
def test_a_session_goes_on_at_the_gap_and_ends_a_second_later(pause: int, *, begins: bool) -> None:
    rows = [(0, 0, 0), (0, 1, 90_000), (0, 2, 180_000), (0, 3, 180_000 + pause)]
    found = parts(rows, protocol="last_sessions", gap_minutes=30)
    assert found == [TRAIN, *([TRAIN, VALID, TEST] if begins else [VALID, TEST, TEST])]


def test_sessions_need_times() -> None:
    with pytest.raises(DataError, match="last_sessions needs times"):
        split(frame(ONE_USER, times=False), ADAPTER.validate_python({"protocol": "last_sessions"}))


SPANS = {"protocol": "temporal", "test_days": 3, "valid_days": 3}


def test_the_first_event_of_a_span_is_asked_for_and_what_follows_is_not_known() -> None:
    found = parts(ONE_USER, **SPANS, targets="first")
    assert found == [TRAIN] * 4 + [VALID, VALID_HISTORY, VALID_HISTORY] + [TEST, DROPPED, DROPPED]
    folds = done_with(ONE_USER, **SPANS, targets="first").folds
    assert folds["valid"].history == (TRAIN,)
    assert folds["test"].history == (TRAIN, VALID, VALID_HISTORY)


def test_the_last_event_of_a_span_is_asked_for_and_what_precedes_is_known() -> None:
    found = parts(ONE_USER, **SPANS, targets="last")
    expected = [TRAIN] * 4 + [VALID_HISTORY, VALID_HISTORY, VALID]
    assert found == [*expected, TEST_HISTORY, TEST_HISTORY, TEST]
    done = done_with(ONE_USER, **SPANS, targets="last")
    assert done.folds["valid"].history == (TRAIN, VALID_HISTORY)
    assert done.folds["test"].history == (TRAIN, VALID, VALID_HISTORY, TEST_HISTORY)
    assert "last event" in done.card.targets


def test_validation_by_each_users_last_event_before_test() -> None:
    rows = [*ONE_USER, (1, 0, 0), (2, 0, 0), (2, 1, DAY)]
    config = {"protocol": "temporal", "test_days": 3, "valid_by": "last_event"}
    expected = [TRAIN] * 6 + [VALID] + [TEST] * 3 + [TRAIN] + [TRAIN, VALID]
    assert parts(rows, **config) == expected
    assert "two or more" in done_with(rows, **config).card.validation


@pytest.mark.parametrize(
    "more",
    [{"valid_days": 3}, {"test_share": 0.1, "valid_share": 0.1}],
    ids=["days", "share"],
)
def test_a_span_of_validation_beside_users_own_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs no span"):
        Temporal.model_validate({"protocol": "temporal", "valid_by": "last_event", **more})


def test_users_are_held_out_by_share() -> None:
    rows = [(user, item, item) for user in range(20) for item in range(5)]
    config = {
        "protocol": "held_out_users", "test_users_share": 0.2, "valid_users_share": 0.1
    }  # fmt: skip
    events = done_with(rows, **config).events
    users = {part: events.filter(part=part)["user"].n_unique() for part in range(5)}
    assert users == {TRAIN: 14, VALID: 2, VALID_HISTORY: 2, TEST: 4, TEST_HISTORY: 4}


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"test_users": 3},
        {"test_users": 3, "valid_users": 1, "test_users_share": 0.1, "valid_users_share": 0.1},
        {"test_users": 3, "valid_users_share": 0.1},
        {"test_users_share": 0.6, "valid_users_share": 0.4},
    ],
    ids=["none", "one number", "both", "mixed", "nobody left"],
)
def test_held_out_users_are_numbers_or_shares(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="test_users"):
        ADAPTER.validate_python({"protocol": "held_out_users", **numbers})


def test_users_are_held_out_by_name(tmp_path: Path) -> None:
    rows = [(user, item, item) for user in range(20) for item in range(1 if user == 9 else 5)]
    listed = tmp_path / "valid.txt"
    listed.write_bytes(b"\xef\xbb\xbf7\r\n\r\n 8 \n9\n33\n")
    config: dict[str, Any] = {
        "protocol": "held_out_users",
        "test_user_ids": [3, "5"],
        "valid_user_ids": str(listed),
    }
    done = done_with(rows, **config)
    users = {part: sorted(done.events.filter(part=part)["user"].unique()) for part in range(5)}
    assert users == {
        TRAIN: [0, 1, 2, 4, 6, 9, *range(10, 20)],
        VALID: [7, 8],
        VALID_HISTORY: [7, 8],
        TEST: [3, 5],
        TEST_HISTORY: [3, 5],
    }
    assert "2 others have no two events" in done.card.description
    assert done.card.parameters["test_user_ids"] == "2 ids"
    with pytest.raises(DataError, match="of the 1 users of test_user_ids none has two events"):
        done_with(rows, protocol="held_out_users", test_user_ids=["x"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"valid_user_ids": ["1"]}, "need test_user_ids"),
        ({"test_user_ids": []}, "names nobody"),
        ({"test_user_ids": ["1"], "test_users": 3}, "instead of numbers"),
        ({"test_user_ids": ["1"], "valid_user_ids": ["1"]}, "'1' is in test_user_ids and in"),
        ({"test_user_ids": "absent.txt"}, "absent.txt: cannot be read"),
    ],
    ids=["no test", "nobody", "numbers too", "twice", "no file"],
)
def test_lists_of_held_out_users_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python({"protocol": "held_out_users", **values})


GIVEN = {"protocol": "given"}
FILES = (("train", 3), ("valid", 1), ("test", 2))


def test_given_files_are_the_parts_as_they_are() -> None:
    rows = ONE_USER[:6]
    assert parts(rows, *FILES, **GIVEN) == [TRAIN] * 3 + [VALID] + [TEST] * 2
    done = done_with(rows, *FILES, **GIVEN)
    assert done.folds["test"].asked_at is None
    assert "1 of the 1 test users are in train" in done.card.description
    assert done.card.validation == "a file of its own"


def test_a_history_later_than_the_question_moves_the_question_to_the_end() -> None:
    rows = [(0, 1, 50), (0, 2, 60), (0, 3, 70), (0, 4, 10), (0, 5, 90), (0, 6, 95)]
    done = done_with(rows, *FILES, **GIVEN)
    assert done.folds["valid"].asked_at == 95
    assert done.folds["test"].asked_at is None


def test_an_answer_that_is_in_train_too_is_refused_by_name() -> None:
    rows = [*ONE_USER[:5], ONE_USER[1]]
    with pytest.raises(DataError, match=r"1 events .*item 1.*in train and test: a model"):
        parts(rows, *FILES, **GIVEN)
    kept = parts(rows, *FILES, **GIVEN, shared_events="keep")
    assert kept == [TRAIN] * 3 + [VALID] + [TEST] * 2


def test_an_event_of_two_histories_is_no_answer() -> None:
    files = (("train", 3), ("test", 1), ("test_history", 1))
    rows = [*ONE_USER[:4], ONE_USER[1]]
    assert parts(rows, *files, **GIVEN) == [TRAIN] * 3 + [TEST, TEST_HISTORY]


def test_given_without_files_is_refused() -> None:
    with pytest.raises(DataError, match="does not tell the parts"):
        parts(ONE_USER, **GIVEN)


def test_a_part_of_which_nothing_is_left_is_refused() -> None:
    events = frame(ONE_USER[:6]).filter(pl.col("ordinal") != 3)
    with pytest.raises(DataError, match="leaves valid without events"):
        split(events, ADAPTER.validate_python(GIVEN), parts=FILES)


def config() -> Temporal:
    return ADAPTER.validate_python({"protocol": "temporal", "test_days": 1})


@pytest.mark.parametrize(
    ("repeats", "views"),
    [(0.0, ("novel",)), (0.0099, ("novel",)), (0.01, ("all", "repeat", "novel"))],
)
def test_repeats_matter_from_one_event_in_a_hundred_on(repeats: float, views: tuple[str]) -> None:
    assigned = Assignment(pl.Series([], dtype=pl.Int8), {}, "in words")
    assert card_of(config(), assigned, "top_n", repeats).views == views
    assert card_of(config(), assigned, "labels", repeats).views == ()
    chosen = config().model_copy(update={"views": ("repeat",)})
    assert card_of(chosen, assigned, "top_n", repeats).views == ("repeat",)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 80)), min_size=1, max_size=300))
def test_the_share_of_repeats_is_exact_where_it_does_not_matter(
    pairs: list[tuple[int, int]],
) -> None:
    exact = (len(pairs) - len(set(pairs))) / len(pairs)
    found = repeat_share(pl.DataFrame(pairs, schema=["user", "item"], orient="row"))
    assert (found >= REPEATS_MATTER) is (exact >= REPEATS_MATTER)
    assert found <= exact
    if exact < REPEATS_MATTER:
        assert found == exact
