from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.errors import DataError
from tests.support.datasets import DAY
from tests.support.tiny import model, random_dataset, with_histories


@pytest.mark.parametrize("half_life_days", [None, 3.5])
def test_the_formula(tmp_path: Path, half_life_days: float | None) -> None:
    data = random_dataset(tmp_path / "data")
    queries = data.queries("test")
    assert queries.history_times is not None
    assert queries.time is not None
    counts = np.bincount(data.train_column("item"), minlength=data.n_items)
    expected = np.repeat(-1.0 / (1 + counts)[None, :], len(queries), axis=0)
    for row in range(len(queries)):
        own: dict[int, float] = {}
        for item, time in zip(queries.history[row], queries.history_times[row], strict=True):
            age = (queries.time[row] - int(time)) / DAY
            own[int(item)] = own.get(int(item), 0.0) + (
                0.5 ** (age / half_life_days) if half_life_days else 1.0
            )
        for item, value in own.items():
            expected[row, item] = value
    scores = model("personal_popularity", data, tmp_path, half_life_days=half_life_days).score(
        queries
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_own_items_stand_above_all_others_however_old(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data")
    queries = with_histories(data.queries("test"), [[4] + [2] * 400])
    scores = model("personal_popularity", data, tmp_path, half_life_days=0.5).score(queries)[0]
    assert scores[2] > scores[4] > 0 > np.delete(scores, [2, 4]).max()


def test_events_of_one_history_may_come_in_any_order(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data")
    queries = with_histories(data.queries("test"), [[1, 2, 1, 1, 3, 2, 1]])
    assert queries.history_times is not None
    order = np.array([3, 0, 6, 2, 5, 1, 4])
    shuffled = replace(
        queries,
        history=replace(queries.history, values=queries.history.values[order]),
        history_times=replace(queries.history_times, values=queries.history_times.values[order]),
    )
    scorer = model("personal_popularity", data, tmp_path, half_life_days=0.7)
    np.testing.assert_allclose(scorer.score(shuffled), scorer.score(queries), rtol=1e-6)


def test_a_half_life_needs_times(tmp_path: Path) -> None:
    timeless = random_dataset(tmp_path / "timeless", has_time=False)
    with pytest.raises(DataError, match="no times"):
        model("personal_popularity", timeless, tmp_path / "runs", half_life_days=3)
    timed = random_dataset(tmp_path / "timed")
    scorer = model("personal_popularity", timed, tmp_path / "runs", half_life_days=3)
    with pytest.raises(DataError, match="no times"):
        scorer.score(timeless.queries("test"))
