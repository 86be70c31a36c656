from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.data.queries import Queries, Ragged

_rows = st.lists(st.lists(st.integers(0, 100), max_size=5), max_size=8)


@given(_rows, st.data())
def test_ragged_slices_and_takes_as_a_list_of_rows_does(
    rows: list[list[int]], draw: st.DataObject
) -> None:
    ragged = Ragged.of(rows)
    assert [list(ragged[i]) for i in range(len(ragged))] == rows
    start = draw.draw(st.integers(0, len(rows)))
    stop = draw.draw(st.integers(start, len(rows)))
    assert [list(r) for r in _lists(ragged.slice(start, stop))] == rows[start:stop]
    chosen = draw.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    assert _lists(ragged.take(np.array(chosen, dtype=np.int64))) == [rows[i] for i in chosen]
    assert list(ragged.rows) == [i for i, row in enumerate(rows) for _ in row]


def _lists(ragged: Ragged) -> list[list[int]]:
    return [ragged[i].tolist() for i in range(len(ragged))]


@pytest.mark.parametrize("offsets", [[], [1, 2], [0, 2, 1, 2], [0, 1]])
def test_offsets_that_do_not_cover_the_values_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        Ragged(np.array(offsets, dtype=np.int64), np.zeros(2, dtype=np.int32))


def test_queries_with_parts_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="history has 1 rows, user has 2"):
        Queries(user=np.zeros(2, dtype=np.int32), history=Ragged.of([[1]]))


def test_queries_are_sliced_in_all_their_parts() -> None:
    queries = Queries(
        user=np.array([0, 1, -1], dtype=np.int32),
        history=Ragged.of([[1], [2, 3], []]),
        history_times=Ragged.of([[10], [20, 30], []], np.int64),
        time=np.array([11, 31, 5], dtype=np.int64),
        features={"age": np.array([7, 8, 9])},
        candidates=Ragged.of([[0], [1], [2, 3]]),
    )
    part = queries.slice(1, 3)
    assert part.user.tolist() == [1, -1]
    assert _lists(part.history) == [[2, 3], []]
    assert part.history_times is not None
    assert _lists(part.history_times) == [[20, 30], []]
    assert part.time is not None
    assert part.time.tolist() == [31, 5]
    assert part.features["age"].tolist() == [8, 9]
    assert part.candidates is not None
    assert _lists(part.candidates) == [[1], [2, 3]]


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=4), max_size=5))
def test_kept_values_stay_in_their_rows(rows: list[list[tuple[int, bool]]]) -> None:
    ragged = Ragged.of([[value for value, _ in row] for row in rows])
    kept = ragged.keep(np.array([keep for row in rows for _, keep in row], np.bool_))
    assert [kept[n].tolist() for n in range(len(kept))] == [
        [value for value, keep in row if keep] for row in rows
    ]
    again = Ragged.from_lengths(kept.lengths, kept.values)
    assert again.offsets.tolist() == kept.offsets.tolist()
    assert again.offsets.dtype == np.int64
