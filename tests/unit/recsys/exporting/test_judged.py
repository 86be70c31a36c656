"""A file that scores pairs is asked for several queries at once, and answers for each as alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from falconer.recsys.exporting import judged
from tests.support.datasets import write_dataset


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_pairs_are_scored_many_queries_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    train = [(user, item, 4 * user + item) for user in range(5) for item in range(4)]
    test = [(user, [0, 1], [2]) for user in range(5)]
    data = write_dataset(tmp_path / "d", train=train, n_users=5, n_items=4, folds={"test": test})
    asked = []

    def answer(inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        asked.append(len(inputs["user"]))
        return (10 * inputs["user"] + inputs["item"]).astype(np.float32)

    monkeypatch.setattr(judged, "ROWS_AT_ONCE", rows)
    scorer = judged.FileScorer(answer, "pairs", ("user", "item"), 3, data)
    scores = scorer.score(data.queries("test"))
    expected = 10.0 * np.arange(5)[:, None] + np.arange(3)
    np.testing.assert_array_equal(scores[:, :3], expected)
    assert np.isneginf(scores[:, 3]).all()
    assert max(asked) <= max(rows, 3)
    assert sum(asked) == 15
