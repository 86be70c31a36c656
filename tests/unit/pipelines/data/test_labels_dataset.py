from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.recsys import stages
from tests.support.datasets import checkerboard, label_signal, write_labels_dataset


def test_pairs_and_labels_are_what_was_written(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clicks", n_rows=400)
    assert (data.card.task, data.card.target) == ("labels", "binary")
    assert data.has_fold("valid")
    assert data.has_fold("test")
    pairs, labels = data.pairs("test"), data.labels("test")
    assert len(pairs) == len(labels) == len(pairs.queries) == len(data.pair_ordinals("test"))
    assert pairs.query.tolist() == list(range(len(pairs)))
    assert set(np.unique(labels)) == {0.0, 1.0}
    assert labels.dtype == np.float32
    assert (pairs.queries.history.lengths == 0).all()
    assert pairs.queries.user.min() == pairs.item.min() == -1
    assert pairs.queries.time is not None
    assert set(pairs.queries.features) == {"segment", "age", "device", "hour"}
    unknown = pairs.queries.user < 0
    assert (pairs.queries.features["segment"][unknown] == -1).all()
    assert np.isnan(pairs.queries.features["age"][unknown].astype(float)).all()
    keys = data.pair_users("test")
    assert keys is not None
    assert [key.startswith("u") for key in keys.to_pylist()] == (~unknown).tolist()
    data.verify()


def test_a_source_without_users_and_items_has_event_features_only(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "rows", n_rows=400, entities=False, has_time=False)
    pairs = data.pairs("valid")
    assert data.n_users == data.n_items == data.users.num_rows == data.items.num_rows == 0
    assert (pairs.queries.user == -1).all()
    assert (pairs.item == -1).all()
    assert pairs.queries.time is None
    assert set(pairs.queries.features) == {"segment", "age", "category", "price", "device", "hour"}
    assert data.pair_users("valid") is None
    assert "user" not in data.train.column_names


def test_the_planted_signal_tells_labels_apart(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clicks")
    users, items = (
        {name: table.column(name).to_numpy() for name in table.column_names[3:]}
        for table in (data.users, data.items)
    )
    rows = {name: data.train_column(name) for name in ("user", "item", "device")}
    label, signal = data.train_column("label"), label_signal(users, items, rows)
    assert label[signal > 1].mean() > 0.8 > 0.2 > label[signal < -1].mean()


def test_taken_pairs_bring_their_own_queries(tmp_path: Path) -> None:
    pairs = write_labels_dataset(tmp_path / "clicks", n_rows=400).pairs("test")
    rows = np.array([5, 1, 5])
    taken = pairs.take(rows)
    assert taken.item.tolist() == pairs.item[rows].tolist()
    assert taken.queries.user[taken.query].tolist() == pairs.queries.user[rows].tolist()
    assert len(taken.queries) == 2


def test_each_task_has_files_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="task labels has no queries"):
        write_labels_dataset(tmp_path / "clicks").queries("test")
    with pytest.raises(ArtifactError, match="task top_n has no pairs"):
        checkerboard(tmp_path / "board").pairs("test")


def test_a_model_for_another_task_is_refused_before_a_run_is_begun(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clicks", n_rows=400)
    with pytest.raises(ConfigError, match="ease is a model for the task top_n"):
        stages.train("ease", data.path, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
