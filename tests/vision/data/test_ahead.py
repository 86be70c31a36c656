"""What is made ahead comes in its order, and never farther ahead than is said."""

from __future__ import annotations

import pytest

from falconer.vision.data.ahead import AHEAD, made_ahead


@pytest.mark.parametrize(("start", "stop"), [(0, 7), (3, 7), (5, 6), (4, 4), (7, 4)], ids=str)
def test_all_come_in_their_order(start: int, stop: int) -> None:
    assert list(made_ahead(lambda place: place * 10, start, stop)) == [
        place * 10 for place in range(start, stop)
    ]


def test_no_more_is_begun_than_is_said() -> None:
    begun: list[int] = []
    made = made_ahead(begun.append, 0, 100)
    next(made)
    made.close()
    assert len(begun) <= AHEAD + 1


def test_an_error_comes_where_its_place_is() -> None:
    made = made_ahead(lambda place: 1 / (2 - place), 0, 4)
    assert [next(made), next(made)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(made)
