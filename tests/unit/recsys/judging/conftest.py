"""A dataset of clicks and a judged run of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.recsys import stages
from tests.support.datasets import write_labels_dataset
from tests.support.judging import (
    FEW,
)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_labels_dataset(tmp_path_factory.mktemp("clicks") / "clicks", n_rows=4000)


@pytest.fixture(scope="module")
def run(clicks: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label mean by category, with predictions and a report."""
    root = tmp_path_factory.mktemp("runs")
    path = stages.train("label_mean", clicks.path, root, overrides=["model.by=category"])
    stages.predict(path)
    return stages.evaluate(path, config=FEW)
