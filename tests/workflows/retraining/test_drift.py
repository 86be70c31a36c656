from __future__ import annotations

import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.workflows.retraining import drift
from falconer.workflows.retraining.config import Limits

COUNTS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2), st.integers(0, 1000), min_size=1, max_size=30
)

DAYS = {"2026-01-05": 480, "2026-01-06": 480, "2026-01-07": 19, "2026-01-08": 0}


def profile(**changes: object) -> dict[str, object]:
    usual = {"events": 1000, "doubled": 0, "new_items": 10}
    hours = {str(hour): 40 for hour in range(24)}
    return {**usual, "days": DAYS, "distributions": {"hour": hours}, **changes}


def failed(new: dict[str, object]) -> list[str]:
    found = drift.checks(new, [profile(), profile(), profile()], Limits())
    return [check.name for check in found if not check.holds]


def test_psi_of_known_shares() -> None:
    """Siddiqi's sum, by hand: shares 1/2, 1/2 and 1/4, 3/4; large counts make the floor vanish."""
    n = 10**9
    wanted = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5)
    assert drift.psi({"a": n, "b": n}, {"a": n, "b": 3 * n}) == pytest.approx(wanted, abs=1e-6)


def test_jensen_shannon_of_disjoint_values_is_one_bit() -> None:
    n = 10**9
    assert drift.jensen_shannon({"a": n}, {"b": n}) == pytest.approx(1, abs=1e-6)


@given(COUNTS, COUNTS)
def test_divergences_are_bounded_and_vanish_at_home(
    one: dict[str, int], two: dict[str, int]
) -> None:
    assert drift.psi(one, one) == pytest.approx(0, abs=1e-12)
    assert drift.psi(one, two) >= -1e-12
    assert 0 <= drift.jensen_shannon(one, two) <= 1 + 1e-12


def test_a_window_like_the_others_passes() -> None:
    assert failed(profile()) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"events": 0}, "events"),
        ({"events": 2000}, "volume"),
        ({"events": 400}, "volume"),
        ({"doubled": 60}, "doubled"),
        ({"new_items": 400}, "new items"),
        ({"distributions": {"hour": {"3": 960}}}, "drift of hour"),
        ({"days": DAYS | {"2026-01-06": 0}}, "empty days"),
    ],
)
def test_a_strange_window_is_named(changes: dict[str, object], name: str) -> None:
    assert failed(profile(**changes)) == [name]


@pytest.mark.parametrize(
    "days",
    [
        DAYS | {"2026-01-07": 0},
        DAYS | {"2026-01-06": 1},
        {"2026-01-05": 0},
        {"2026-01-09": 0, "2026-01-10": 0, "2026-01-11": 0},
    ],
    ids=["usually has few", "has one", "windows of a day", "no such days before"],
)
def test_a_day_that_may_be_empty_is_no_fault(days: dict[str, int]) -> None:
    assert "empty days" not in failed(profile(days=days))


@pytest.mark.parametrize("length", [2, 3, 5, 7, 10])
def test_a_shop_may_be_shut_on_sundays(length: int) -> None:
    """Whatever the place of the Sunday is among the days of a window."""
    start = date(2026, 1, 5)

    def window(number: int) -> dict[str, object]:
        days = [start + timedelta(number * length + day) for day in range(length)]
        counts = {day.isoformat(): 0 if day.weekday() == 6 else 480 for day in days}
        return profile(days=counts, events=1000)

    history = [window(number) for number in range(8)]
    for number in range(8, 15):
        (found,) = [
            one
            for one in drift.checks(window(number), history, Limits())
            if one.name == "empty days"
        ]
        assert found.holds, found.text
        history = [*history[1:], window(number)]


def test_a_window_of_other_length_is_held_against_so_many_days() -> None:
    """An edit of `days` would refuse every window since, by their volume."""
    half = profile(events=500, days={"2026-01-05": 250, "2026-01-06": 250})
    assert failed(half) == []
    assert failed({**half, "events": 200}) == ["volume"]


def test_windows_of_before_may_have_no_days() -> None:
    """Their profiles were written by an earlier release."""
    old = profile()
    del old["days"]
    names = [check.name for check in drift.checks(profile(), [old], Limits())]
    assert "empty days" not in names


def test_an_empty_day_is_named_and_can_be_allowed() -> None:
    new = profile(days=DAYS | {"2026-01-05": 0})
    (found,) = [
        one
        for one in drift.checks(new, [profile()], Limits(max_empty_days=1))
        if one.name == "empty days"
    ]
    assert found.holds
    assert "no event on 2026-01-05, usually 480; at most 1" in found.text
