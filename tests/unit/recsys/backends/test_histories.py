from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.data.queries import Queries, Ragged
from falconer.recsys.backends.numpy.histories import (
    NEGLIGIBLE,
    distinct_items,
    history_counts,
    pair_counts,
    pairs,
    recency_weights,
)
from tests.support.tiny import random_dataset

histories = st.lists(st.lists(st.integers(0, 7), max_size=12), max_size=6)


def queries_of(rows: list[list[int]]) -> Queries:
    return Queries(user=np.full(len(rows), -1, dtype=np.int32), history=Ragged.of(rows))


@given(histories, st.integers(1, 9))
def test_distinct_items_are_numbered_from_the_newest(rows: list[list[int]], n_items: int) -> None:
    expected = {}
    for row, history in enumerate(rows):
        newest_first = list(dict.fromkeys(item for item in reversed(history) if item < n_items))
        expected |= {(row, item): place for place, item in enumerate(newest_first)}
    row, item, position = distinct_items(Ragged.of(rows), n_items)
    assert (
        dict(zip(zip(row.tolist(), item.tolist(), strict=True), position.tolist(), strict=True))
        == expected
    )
    assert list(zip(row.tolist(), item.tolist(), strict=True)) == sorted(expected)


def test_weights_fall_with_the_position() -> None:
    weights = recency_weights(queries_of([[3, 1, 3, 0], [], [2]]), 4, decay=0.5).toarray()
    np.testing.assert_array_equal(
        weights, np.array([[1, 0.25, 0, 0.5], [0, 0, 0, 0], [0, 0, 1, 0]], dtype=np.float32)
    )
    assert weights.dtype == np.float32


def test_weights_that_vanish_are_left_out() -> None:
    weights = recency_weights(queries_of([list(range(100))]), 100, decay=0.5)
    assert weights.nnz == 1 + int(np.log(NEGLIGIBLE) / np.log(0.5))
    assert recency_weights(queries_of([list(range(100))]), 100, decay=1.0).nnz == 100


def test_train_events_are_counted_by_pair(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data")
    expected = np.zeros((data.n_users, data.n_items), dtype=np.float32)
    np.add.at(expected, (data.train_column("user"), data.train_column("item")), 1)
    assert expected.max() > 1
    np.testing.assert_array_equal(pair_counts(data).toarray(), expected)
    np.testing.assert_array_equal(pairs(data).toarray(), expected > 0)


def test_history_events_are_counted_by_item() -> None:
    counts = history_counts(queries_of([[3, 1, 3, 0, 3], [], [2, 9]]), 4)
    np.testing.assert_array_equal(counts.toarray(), [[1, 1, 0, 3], [0, 0, 0, 0], [0, 0, 1, 0]])
    assert counts.indices.tolist() == [0, 1, 3, 2]
