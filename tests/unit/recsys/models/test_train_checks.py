"""Weights count where they are read; what is not used is said, what makes no sense refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.pipelines.errors import DataError
from falconer.recsys import stages
from falconer.recsys.backends.numpy.histories import pair_counts, pairs, strongest_pairs
from falconer.recsys.models.registry import MODELS
from falconer.recsys.models.train_checks import refuse_or_note
from tests.support.datasets import write_dataset
from tests.support.tiny import model, random_dataset, tiny_config


def with_columns(data: Dataset, **columns: Any) -> Dataset:
    """The dataset with these columns beside its train events'."""
    table = {name: data.train.column(name).to_numpy() for name in data.train.column_names}
    write_table(data.path, "train/part-00000.parquet", table | columns)
    write_card(data.path, data.card.model_copy(update={"content": checksums(data.path)}))
    return Dataset.open(data.path)


def weighted(root: Path, weight: Any = None, **options: Any) -> Dataset:
    data = random_dataset(root, **options)
    random = np.random.default_rng(1).integers(0, 5, data.train.num_rows)
    weight = random if weight is None else np.full(data.train.num_rows, weight)
    return with_columns(data, weight=weight.astype(np.float32))


READERS = [name for name, one in MODELS.items() if one.config.reads_weights]


def test_those_that_read_weights_say_so() -> None:
    assert READERS == ["popularity", "item_knn", "ease", "als"]


@pytest.mark.parametrize("name", READERS)
def test_weights_of_one_are_no_weights_and_others_count(name: str, tmp_path: Path) -> None:
    plain = random_dataset(tmp_path / "plain", n_users=30)
    ones = weighted(tmp_path / "ones", 1, n_users=30)
    other = weighted(tmp_path / "other", n_users=30)
    queries = plain.queries("test")
    scores = [
        model(name, data, tmp_path / data.path.name / "runs").score(queries)
        for data in (plain, ones, other)
    ]
    assert scores[0].tobytes() == scores[1].tobytes()
    assert not np.allclose(scores[0], scores[2])


def test_a_pairs_weights_are_summed_or_the_strongest_counts(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data",
        train=[(0, 0, 1), (0, 1, 2), (0, 0, 3), (1, 1, 4), (1, 0, 5)],
        n_users=2,
        n_items=3,
        folds={"test": [(0, [0], [1])]},
    )
    data = with_columns(data, weight=np.array([2, 3, 0.5, 1, 0], np.float32))
    assert pair_counts(data).toarray().tolist() == [[2.5, 3, 0], [0, 1, 0]]
    assert strongest_pairs(data).toarray().tolist() == [[2, 3, 0], [0, 1, 0]]
    assert pairs(data).toarray().tolist() == [[1, 1, 0], [1, 1, 0]]
    scores = model("popularity", data, tmp_path).score(data.queries("test"))
    assert scores.tolist() == [[2.5, 4, 0]]


def test_weights_in_ease_are_those_of_the_equation(tmp_path: Path) -> None:
    data = weighted(tmp_path / "data", n_users=30)
    x = np.zeros((data.n_users, data.n_items))
    columns = (data.train_column(name) for name in ("user", "item", "weight"))
    for user, item, weight in zip(*columns, strict=True):
        x[user, item] = max(x[user, item], weight)
    p = np.linalg.inv(x.T @ x + 3.0 * np.eye(data.n_items))
    b = np.eye(data.n_items) - p / np.diag(p)
    found = model("ease", data, tmp_path, l2=3.0)._weights  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["als", "bpr", "sasrec"])
def test_negative_weights_are_refused_before_a_run_begins(name: str, tmp_path: Path) -> None:
    data = weighted(tmp_path / "data", -5)
    with pytest.raises(DataError, match=r"90 train events have a weight below 0.*min_weight = 0"):
        stages.train(name, data.path, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_weights_and_ratings_that_are_not_read_are_said(tmp_path: Path) -> None:
    data = weighted(tmp_path / "data", 2)
    data = with_columns(data, rating=np.full(data.train.num_rows, 4, np.float32))
    for name, said in (("popularity", 1), ("bpr", 2), ("personal_popularity", 2)):
        notes = refuse_or_note(name, tiny_config(name), data)
        assert len(notes) == said
        assert "no model of lists reads ratings" in notes[-1]
        assert ("does not read the events' weights" in notes[0]) == (said == 2)
    run = stages.train("personal_popularity", data.path, tmp_path / "runs")
    assert "note: personal_popularity does not read" in (run / "log.txt").read_text()


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_times_that_are_all_equal_give_no_order(name: str, tmp_path: Path) -> None:
    events = [(user, (user + step) % 5, user) for user in range(6) for step in range(4)]
    data = write_dataset(
        tmp_path / "data", train=events, n_users=6, n_items=5, folds={"test": [(0, [0], [1])]}
    )
    with pytest.raises(DataError, match="no user has two events at different times"):
        stages.train(name, data.path, tmp_path / "runs")
    assert not refuse_or_note("ease", tiny_config("ease"), data)


def test_a_monitor_without_a_validation_fold_is_said(tmp_path: Path) -> None:
    events = [(user, (user + step) % 5, step) for user in range(6) for step in range(4)]
    data = write_dataset(
        tmp_path / "data", train=events, n_users=6, n_items=5, folds={"test": [(0, [0], [1])]}
    )
    (note,) = refuse_or_note("sasrec", MODELS["sasrec"].config(), data)
    assert "no fold valid" in note
    assert "all 30 epochs" in note
    assert refuse_or_note("sasrec", tiny_config("sasrec"), data) == []
