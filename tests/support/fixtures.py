"""Datasets that most tests of models are asked about; who needs others has an own fixture of the
name."""

from __future__ import annotations

import pytest

from falconer.pipelines.data.dataset import Dataset
from tests.support.datasets import checkerboard, write_labels_dataset


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Lists: two classes of users and items; the item that a user must get is known."""
    return checkerboard(tmp_path_factory.mktemp("lists") / "board")


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Labels that follow from features and users, with their probability known."""
    return write_labels_dataset(tmp_path_factory.mktemp("labels") / "clicks")
