"""The small shop's tables, and the dataset made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.etl.build import build
from tests.support import shop


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop.write(tmp_path_factory.mktemp("shop"), shop.events())


@pytest.fixture(scope="session")
def data(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(build(shop.recipe(tables), tmp_path_factory.mktemp("out")))
