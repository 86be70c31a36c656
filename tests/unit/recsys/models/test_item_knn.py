from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.recsys.models.item_knn import on_numpy
from tests.support.datasets import write_dataset
from tests.support.tiny import model, random_dataset


def brute_force(data: Dataset, knobs: dict[str, Any]) -> NDArray[np.float64]:
    users = [
        set(data.train_column("user")[data.train_column("item") == item])
        for item in range(data.n_items)
    ]
    queries = data.queries("test")
    scores = np.zeros((len(queries), data.n_items))
    for j in range(data.n_items):
        similarity = {}
        for i in range(data.n_items):
            common = len(users[i] & users[j])
            if common and (i != j or knobs["include_self"]):
                similarity[i] = common / (
                    np.sqrt(len(users[i]) * len(users[j])) + knobs["shrinkage"]
                )
        nearest = sorted(similarity, key=lambda i: (-np.float32(similarity[i]), i))[
            : knobs["neighbours"]
        ]
        for row in range(len(queries)):
            newest_first = list(dict.fromkeys(int(item) for item in queries.history[row][::-1]))
            scores[row, j] = sum(
                knobs["decay"] ** newest_first.index(i) * similarity[i]
                for i in nearest
                if i in newest_first
            )
    return scores


@pytest.mark.parametrize("neighbours", [1, 3, 100])
@pytest.mark.parametrize("shrinkage", [0.0, 5.0])
@pytest.mark.parametrize(("decay", "include_self"), [(1.0, False), (0.7, True)])
def test_the_formula(
    tmp_path: Path, neighbours: int, shrinkage: float, decay: float, include_self: bool
) -> None:
    data = random_dataset(tmp_path / "data")
    knobs = {
        "neighbours": neighbours,
        "shrinkage": shrinkage,
        "decay": decay,
        "include_self": include_self,
    }
    scores = model("item_knn", data, tmp_path, **knobs).score(data.queries("test"))
    np.testing.assert_allclose(scores, brute_force(data, knobs), rtol=1e-5, atol=1e-7)


def test_the_size_of_a_block_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_dataset(tmp_path / "data")
    whole = model("item_knn", data, tmp_path).score(data.queries("test"))
    monkeypatch.setattr(on_numpy, "BLOCK_BYTES", 8 * data.n_items * 2)
    assert (
        model("item_knn", data, tmp_path).score(data.queries("test")).tobytes() == whole.tobytes()
    )


def test_an_item_without_users_is_nobodys_neighbour(tmp_path: Path) -> None:
    query = [(0, [0, 2], [1])]
    train = [(0, 0, 0), (0, 1, 1), (1, 0, 1)]
    data = write_dataset(
        tmp_path / "data", train=train, n_users=2, n_items=3, folds={"test": query}
    )
    scores = model("item_knn", data, tmp_path, shrinkage=0.0).score(data.queries("test"))
    np.testing.assert_allclose(scores, [[0, 1 / np.sqrt(2), 0]], rtol=1e-6)


def test_the_neighbours_are_those_of_the_scored_item_or_of_the_historys(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data", n_items=30, n_users=60)
    whole = model("item_knn", data, tmp_path, neighbours=30)._similarity.toarray()  # type: ignore[attr-defined]
    kept = {}
    for side in ("scored", "history"):
        scorer = model("item_knn", data, tmp_path, neighbours=3, neighbours_of=side)
        kept[side] = scorer._similarity.toarray()  # type: ignore[attr-defined]
        assert (kept[side][kept[side] > 0] == whole[kept[side] > 0]).all()
    assert (np.count_nonzero(kept["scored"], axis=0) <= 3).all()
    assert (np.count_nonzero(kept["history"], axis=1) <= 3).all()
    assert (np.count_nonzero(kept["history"], axis=0) > 3).any()
    assert (kept["history"] == kept["scored"].T).all()
