from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.workflows.retraining import drift
from falconer.workflows.retraining.config import Limits

COUNTS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2), st.integers(0, 1000), min_size=1, max_size=30
)


def profile(**changes: object) -> dict[str, object]:
    usual = {"events": 1000, "doubled": 0, "new_items": 10}
    hours = {str(hour): 40 for hour in range(24)}
    return {**usual, "distributions": {"hour": hours}, **changes}


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
    ],
)
def test_a_strange_window_is_named(changes: dict[str, object], name: str) -> None:
    assert failed(profile(**changes)) == [name]
