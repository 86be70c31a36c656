from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from tests.support import tiny
from tests.support.datasets import checkerboard, cycle, skewed, write_labels_dataset

Trained = Callable[[str, str, Dataset], Run]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contracts")


@pytest.fixture(scope="session")
def board(workspace: Path) -> Dataset:
    return checkerboard(workspace / "board")


@pytest.fixture(scope="session")
def hits(workspace: Path) -> Dataset:
    return skewed(workspace / "hits")


@pytest.fixture(scope="session")
def wheel(workspace: Path) -> Dataset:
    return cycle(workspace / "wheel")


@pytest.fixture(scope="session")
def clicks(workspace: Path) -> Dataset:
    return write_labels_dataset(workspace / "clicks")


@pytest.fixture(scope="session")
def stars(workspace: Path) -> Dataset:
    return write_labels_dataset(workspace / "stars", target="rating")


@pytest.fixture(scope="session")
def trained(workspace: Path) -> Trained:
    """The tiny form of a model, trained once on each dataset."""
    known: dict[tuple[str, str, Path], Run] = {}

    def get(name: str, backend: str, data: Dataset) -> Run:
        key = (name, backend, data.path)
        if key not in known:
            known[key] = tiny.train(name, backend, data, workspace / "runs")
        return known[key]

    return get
