"""A dataset built on the Polars of requirements.lock, and on the one that cudf-polars needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import polars.testing
import pytest

from falconer.pipelines.data.dataset import Dataset
from tests.support.installing import ROOT

BUILD = """
import sys
from pathlib import Path
import polars
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import Buckets
from tests.support import shop
folder = Path(sys.argv[1])
tables = shop.write(folder / "tables", shop.events(2000))
columns = {"event": {
    "sku_at_store": {"kind": "combined", "columns": ["sku", "store"]},
    "hash": {"kind": "hashed", "size": 7, "columns": ["store"]},
    "spread": {"kind": "group_statistic", "statistic": "std", "by": ["store"], "column": "price"},
    "lag": {"kind": "difference_lag", "column": "price"},
    "median": {"kind": "continuous", "column": "price", "fill": "median"},
}}
for table, more in shop.FEATURES.items():
    columns[table] = {**columns.get(table, {}), **more}
for split in ("temporal", "leave_last"):
    recipe = shop.recipe(tables, split=split, features={"engine": "polars", **columns})
    print(build(recipe, folder / split))
    print(build(recipe, folder / f"{split}-in-buckets", buckets=Buckets(3, 500, 2**20)))
print(polars.__version__)
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Polars of requirements-gpu-polars.lock."""
    folder = tmp_path_factory.mktemp("older") / "polars"
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(
        ["scripts/gpu-polars", "--polars", folder], cwd=ROOT, env=environment, check=True
    )
    return folder


def built(folder: Path, *before: Path) -> tuple[str, list[Dataset]]:
    """The version of Polars, and the datasets that it made."""
    path = os.pathsep.join(map(str, (*before, ROOT)))
    done = subprocess.run(
        [sys.executable, "-P", "-c", BUILD, folder],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    paths = [line for line in said if line.startswith(str(folder))]
    return said[-1], [Dataset.open(Path(line)) for line in paths]


def test_both_give_the_same_dataset(older: Path, tmp_path: Path) -> None:
    """In memory the same bytes; in buckets, whose sums are Polars' own, floats to rtol 1e-6. (The
    dataset's id tells the version too.)"""
    version, datasets = built(tmp_path / "here")
    other_version, others = built(tmp_path / "there", older)
    assert (version.split(".")[0], other_version.split(".")[:2]) == ("2", ["1", "44"])
    assert len(datasets) == len(others) == 4
    for one, other in zip(datasets, others, strict=True):
        assert one.card.dataset_id != other.card.dataset_id
        assert facts(one) == facts(other)
        if "in-buckets" in str(one.path):
            assert_same_tables(one, other)
        else:
            assert one.card.content == other.card.content


def facts(data: Dataset) -> dict[str, Any]:
    """What a dataset's card tells of it: lineages, features, counts, and the files' names."""
    card = data.card
    return {
        "id_space": card.id_space,
        "features": card.features,
        "counts": card.counts,
        "files": set(card.content),
    }


def assert_same_tables(one: Dataset, other: Dataset) -> None:
    for name in one.card.content:
        if name.endswith(".parquet"):
            found, expected = (pl.read_parquet(data.path / name) for data in (one, other))
            polars.testing.assert_frame_equal(found, expected, rel_tol=1e-6, abs_tol=1e-7)
