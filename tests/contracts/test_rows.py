"""What every model must do that gives a label to each row of a dataset of the task `labels`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, ConfigError, PipelineError
from falconer.recsys import stages
from falconer.recsys.models import registry, saved
from tests.contracts.conftest import Trained
from tests.support import tiny
from tests.support.datasets import checkerboard, write_labels_dataset
from tests.support.tiny import EVERY, LABELS, ranker_of

every_model = pytest.mark.parametrize(("name", "backend"), LABELS)


@every_model
def test_scores_are_probabilities_of_the_planted_signal(
    name: str, backend: str, clicks: Dataset, trained: Trained
) -> None:
    run = trained(name, backend, clicks)
    scores = ranker_of(run, clicks).score_pairs(clicks.pairs("test"))
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert tiny.auc_of(run, clicks) >= (0.75 if registry.MODELS[name].config.discovers else 0.55)


@every_model
def test_ratings_are_nearer_than_their_mean(
    name: str, backend: str, stars: Dataset, trained: Trained
) -> None:
    scores = ranker_of(trained(name, backend, stars), stars).score_pairs(stars.pairs("test"))
    label, mean = stars.labels("test"), stars.train_column("label").mean()
    share = np.mean((scores - label) ** 2) / np.mean((mean - label) ** 2)
    assert share < (0.5 if registry.MODELS[name].config.discovers else 1.0)


@every_model
def test_a_rows_score_is_the_same_to_the_bit_in_any_batch(
    name: str, backend: str, clicks: Dataset, trained: Trained
) -> None:
    scorer, pairs = ranker_of(trained(name, backend, clicks), clicks), clicks.pairs("test")
    whole = scorer.score_pairs(pairs)
    order = np.random.default_rng(0).permutation(len(pairs))
    assert scorer.score_pairs(pairs.take(order)).tobytes() == whole[order].tobytes()
    for rows in ([7], [3, 1], [5, 5, 5], range(100)):
        chosen = np.array(list(rows))
        assert scorer.score_pairs(pairs.take(chosen)).tobytes() == whole[chosen].tobytes()


@every_model
def test_training_twice_on_rows_writes_the_same_bytes(
    name: str, backend: str, clicks: Dataset, trained: Trained, tmp_path: Path
) -> None:
    first, second = trained(name, backend, clicks), tiny.train(name, backend, clicks, tmp_path)
    for path in sorted(first.model_directory.iterdir()):
        assert path.read_bytes() == (second.model_directory / path.name).read_bytes()


@every_model
def test_a_dataset_of_rows_of_another_lineage_is_refused(
    name: str, backend: str, clicks: Dataset, trained: Trained, tmp_path: Path
) -> None:
    other = write_labels_dataset(tmp_path / "other", n_rows=200, generations=("another",))
    with pytest.raises(ArtifactError, match="lineage"):
        saved.load_model(trained(name, backend, clicks).model_directory, other)


@every_model
def test_rows_of_users_and_items_that_came_later_are_scored(
    name: str, backend: str, clicks: Dataset, trained: Trained, tmp_path: Path
) -> None:
    later = write_labels_dataset(
        tmp_path / "later", n_users=60, n_items=50, generations=("first", "second")
    )
    scores = ranker_of(trained(name, backend, clicks), later).score_pairs(later.pairs("test"))
    assert ((scores >= 0) & (scores <= 1)).all()


@every_model
def test_rows_without_users_and_items_are_scored_or_refused_by_name(
    name: str, backend: str, tmp_path: Path
) -> None:
    data = write_labels_dataset(tmp_path / "rows", entities=False)
    if name == "ncf":
        with pytest.raises(PipelineError, match="user"):
            tiny.train(name, backend, data, tmp_path / "runs")
        return
    assert tiny.auc_of(tiny.train(name, backend, data, tmp_path / "runs"), data) > 0.55


@pytest.mark.parametrize(("name", "backend"), EVERY)
def test_a_dataset_of_another_task_is_refused_in_one_sentence(
    name: str, backend: str, tmp_path: Path
) -> None:
    tasks = registry.MODELS[name].config.tasks
    if "labels" not in tasks:
        data = write_labels_dataset(tmp_path / "clicks", n_rows=200)
    elif "top_n" not in tasks:
        data = checkerboard(tmp_path / "board")
    else:
        return
    with pytest.raises(ConfigError, match=f"{name} is a model for the task .*; train one of: "):
        stages.train(name, data.path, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
