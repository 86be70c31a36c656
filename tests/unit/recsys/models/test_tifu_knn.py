"""TIFU-KNN beside the equations written out, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.errors import ArtifactError, DataError
from falconer.recsys.models import registry
from falconer.recsys.models.tifu_knn.config import TifuKnnConfig
from tests.support.datasets import DAY, write_dataset
from tests.support.tiny import model, random_dataset, scorer_of, train, with_histories


def frequency(
    items: list[int], times: list[int] | None, n_items: int, half_life: float | None
) -> np.ndarray:
    """The share of a history's baskets that hold an item, newer baskets counting more."""
    keys = list(range(len(items))) if times is None else times
    baskets: dict[int, set[int]] = {}
    for key, item in zip(keys, items, strict=True):
        baskets.setdefault(key, set()).add(item)
    found, total = np.zeros(n_items), 0.0
    for key, basket in baskets.items():
        weight = 0.5 ** ((max(baskets) - key) / DAY / half_life) if half_life else 1.0
        total += weight
        for item in basket:
            found[item] += weight
    return found / total if total else found


@pytest.mark.parametrize(
    ("knobs", "has_time"),
    [
        ({}, True),
        ({}, False),
        ({"neighbours": 3, "own_weight": 0.4}, True),
        ({"half_life_days": 3.5, "neighbours": 4}, True),
    ],
)
def test_the_equations(knobs: dict[str, float], has_time: bool, tmp_path: Path) -> None:
    half_life = knobs.get("half_life_days")
    data = random_dataset(tmp_path / "data", has_time=has_time)
    user, item = data.train_column("user"), data.train_column("item")
    time = data.train_column("time") if has_time else None
    users = np.stack(
        [
            frequency(
                item[user == one].tolist(),
                None if time is None else time[user == one].tolist(),
                data.n_items,
                half_life,
            )
            for one in range(data.n_users)
        ]
    )
    config, queries = TifuKnnConfig(**knobs), data.queries("test")
    expected = np.zeros((len(queries), data.n_items))
    for row in range(len(queries)):
        times = queries.history_times
        own = frequency(
            queries.history[row].tolist(),
            None if times is None else times[row].tolist(),
            data.n_items,
            half_life,
        )
        length = np.linalg.norm(own) * np.linalg.norm(users, axis=1)
        cosine = np.divide(users @ own, length, out=np.zeros(len(users)), where=length > 0)
        near = [one for one in np.argsort(-cosine, kind="stable") if cosine[one] > 0]
        near = near[: config.neighbours]
        others = users[near].mean(axis=0) if near else np.zeros(data.n_items)
        expected[row] = config.own_weight * own + (1 - config.own_weight) * others
    scores = model("tifu_knn", data, tmp_path, **knobs).score(queries)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)


def test_an_item_counts_once_in_a_basket(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data",
        train=[(0, 0, 1), (0, 0, 1), (0, 1, 1), (0, 1, 2), (1, 2, 2)],
        n_users=2,
        n_items=3,
        folds={"test": [(0, [0], [1])]},
    )
    scorer = model("tifu_knn", data, tmp_path, neighbours=1, own_weight=0.0)
    scores = scorer.score(with_histories(data.queries("test"), [[0], [2]]))
    np.testing.assert_allclose(scores, [[0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])


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
    scorer = model("tifu_knn", data, tmp_path, half_life_days=0.7)
    np.testing.assert_allclose(scorer.score(shuffled), scorer.score(queries), rtol=1e-6)


def test_a_half_life_needs_times(tmp_path: Path) -> None:
    timeless = random_dataset(tmp_path / "timeless", has_time=False)
    with pytest.raises(DataError, match="no times"):
        model("tifu_knn", timeless, tmp_path / "runs", half_life_days=3)
    timed = random_dataset(tmp_path / "timed")
    scorer = model("tifu_knn", timed, tmp_path / "runs", half_life_days=3)
    with pytest.raises(DataError, match="no times"):
        scorer.score(timeless.queries("test"))


def test_a_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data")
    run = train("tifu_knn", "numpy", data, tmp_path / "runs")
    scorer_of(run, data)
    knn = train("item_knn", "numpy", data, tmp_path / "runs")
    with pytest.raises(ArtifactError, match="n_items"):
        registry.resolve("tifu_knn").load(knn.model_directory, TifuKnnConfig(), data)
