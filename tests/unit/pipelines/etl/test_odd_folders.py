"""A folder's name never decides what a table holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.etl.build import build
from tests.support import shop
from tests.unit.pipelines.test_parquet import ODD


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    tables = shop.write(tmp_path_factory.mktemp("shop"), shop.events())
    return Dataset.open(build(shop.recipe(tables), tmp_path_factory.mktemp("out")))


@pytest.mark.parametrize("folder", [*ODD, "user=1", "customer=u0", "label=x", "item=3", "time=0"])
def test_a_dataset_is_the_same_from_and_in_any_folder(
    tmp_path: Path, plain: Dataset, folder: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    tables = shop.write(tmp_path / folder, shop.events())
    data = Dataset.open(build(shop.recipe(tables), tmp_path / folder / "data"))
    assert data.card.content == plain.card.content
    assert data.train.equals(plain.train)
    for fold in ("valid", "test"):
        assert data.query_keys(fold).equals(plain.query_keys(fold))
        assert data.truth(fold).items.values.tolist() == plain.truth(fold).items.values.tolist()
