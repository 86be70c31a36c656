"""Every model of the training loop goes on exactly from a checkpoint, and refuses one of another
dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from falconer.pipelines import runs
from falconer.pipelines.config import to_toml
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError
from falconer.recsys import stages
from tests.support import tiny
from tests.support.datasets import checkerboard, write_labels_dataset
from tests.support.tiny import ALL, LABELS

LOOPS = {"torch", "tensorflow"}
"""Backends with a training loop of ours."""

TRAINED = [(*pair, "top_n") for pair in ALL if pair[1] in LOOPS]
TRAINED += [(*pair, "labels") for pair in LABELS if pair[1] in LOOPS]

every_model = pytest.mark.parametrize(("name", "backend", "task"), TRAINED)


@pytest.fixture
def data(task: str, board: Dataset, clicks: Dataset) -> Dataset:
    return board if task == "top_n" else clicks


@pytest.fixture
def recipe(name: str, backend: str, tmp_path: Path) -> str:
    """The tiny form for two epochs of many steps, with a checkpoint at every second one."""
    config = tiny.tiny_config(name)
    budget = {"epochs": 2, "validate_every": 1.0, "checkpoint_every": 2}
    training = config.training.model_copy(update=budget)  # type: ignore[attr-defined]
    values = config.model_copy(update={"training": training}).model_dump(mode="json")
    path = tmp_path / "tiny.toml"
    path.write_text(to_toml({"name": name, "backend": backend, "model": values}), encoding="utf-8")
    return str(path)


def stop(step: int, values: Mapping[str, float]) -> None:
    """End the run at its first validation, before that is in a checkpoint."""
    raise runs.StoppedError("enough")


def stopped_run(recipe: str, data: Dataset, root: Path) -> Path:
    with pytest.raises(runs.StoppedError):
        stages.train(recipe, data.path, root, watch=stop)
    (path,) = root.iterdir()
    return path


def bytes_of(run: Path) -> dict[str, bytes]:
    files = [*(run / "model").iterdir(), run / "metrics.jsonl"]
    return {path.name: path.read_bytes() for path in files}


@every_model
def test_a_stopped_training_goes_on_to_the_same_bytes(
    recipe: str, data: Dataset, tmp_path: Path
) -> None:
    whole = stages.train(recipe, data.path, tmp_path / "whole")
    path = stopped_run(recipe, data, tmp_path / "stopped")
    stages.resume(path)
    assert "goes on at step" in (path / "log.txt").read_text(encoding="utf-8")
    assert "goes on at step 0 " not in (path / "log.txt").read_text(encoding="utf-8")
    assert bytes_of(path) == bytes_of(whole)


@every_model
def test_a_checkpoint_of_another_lineage_is_refused(
    task: str, recipe: str, data: Dataset, tmp_path: Path
) -> None:
    path = stopped_run(recipe, data, tmp_path / "stopped")
    other = tmp_path / "other"
    make = checkerboard if task == "top_n" else write_labels_dataset
    make(other, generations=("another",))
    with pytest.raises(ArtifactError, match=r"cannot go on exactly(.|\n)*id_space"):
        stages.resume(path, data_path=other)
    assert runs.Run.open(path).info["status"] == "stopped"
