from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.errors import ConfigError, DataError
from falconer.recsys.models.ease import on_numpy
from falconer.recsys.models.recipe import load_recipe
from tests.support.tiny import model, random_dataset


@pytest.mark.parametrize("block", [2, 512])
@pytest.mark.parametrize("decay", [1.0, 0.7])
def test_the_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, decay: float
) -> None:
    monkeypatch.setattr(on_numpy, "BLOCK", block)
    data = random_dataset(tmp_path / "data")
    x = np.zeros((data.n_users, data.n_items))
    x[data.train_column("user"), data.train_column("item")] = 1
    p = np.linalg.inv(x.T @ x + 3.0 * np.eye(data.n_items))
    b = np.eye(data.n_items) - p @ np.diag(1 / np.diag(p))
    queries = data.queries("test")
    expected = np.zeros((len(queries), data.n_items))
    for row in range(len(queries)):
        for place, item in enumerate(dict.fromkeys(queries.history[row][::-1].tolist())):
            expected[row] += decay**place * b[item]
    scores = model("ease", data, tmp_path, l2=3.0, decay=decay).score(queries)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_without_decay_the_order_of_the_history_is_nothing_to_the_last_bit(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data", n_items=40, n_users=50)
    scorer = model("ease", data, tmp_path)
    queries = data.queries("test")
    backwards = queries.history.values.copy()
    for row in range(len(queries)):
        backwards[queries.history.offsets[row] : queries.history.offsets[row + 1]] = (
            queries.history[row][::-1]
        )
    reverse = type(queries)(
        user=queries.user, history=type(queries.history)(queries.history.offsets, backwards)
    )
    assert scorer.score(reverse).tobytes() == scorer.score(queries).tobytes()


def test_a_large_catalogue_is_refused_with_the_memory_it_would_take(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data", n_items=1000)
    with pytest.raises(
        DataError, match=r"1,000 items needs about 0\.0 GB.*999.*min_item_users.*item_knn"
    ):
        model("ease", data, tmp_path, max_items=999)
    assert on_numpy.memory_gb(20_000) == pytest.approx(4.8)
    with pytest.raises(ConfigError, match="max_items"):
        load_recipe("ease", ["model.max_items=0"])


def test_in_float32_the_weights_are_nearly_the_same_in_a_third_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_numpy, "BLOCK", 16)
    data = random_dataset(tmp_path / "data", n_items=60, n_users=300)
    exact = model("ease", data, tmp_path, l2=5.0)._weights  # type: ignore[attr-defined]
    small = model("ease", data, tmp_path, l2=5.0, precision="float32")._weights  # type: ignore[attr-defined]
    assert small.dtype == np.float32
    np.testing.assert_allclose(small, exact, atol=1e-5)
    assert on_numpy.memory_gb(41_000, "float32") < 7 < on_numpy.memory_gb(41_000)
