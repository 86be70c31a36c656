"""An exported workflow is loaded by NVTabular alone, and gives a dataset's own ids and values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from falconer.pipelines.cli import app
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import column_of
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.workflow import export_workflow
from tests.support import shop

FEATURES: dict[str, Any] = {
    "event": {
        "store": {"kind": "categorical", "min_count": 20},
        "order": {"kind": "categorical"},
        "price": {"kind": "continuous", "clip": [0, 1000], "log": True},
        "plain": {"kind": "continuous", "column": "price", "fill": "median", "normalize": False},
        "part": {"kind": "min_max", "column": "price"},
        "step": {"kind": "bucketize", "column": "discount", "boundaries": [0.5, 1.0]},
        "hour": {"kind": "time_part", "part": "hour"},
        "usual": {"kind": "group_statistic", "statistic": "count", "by": ["store"]},
    },
    "user": {"age": {"kind": "continuous", "fill": 40}},
    "item": {"department": {"kind": "categorical"}},
}
LEFT_OUT = {"hour", "usual"}
ALONE = """
import os, sys, warnings
os.environ["DASK_DATAFRAME__QUERY_PLANNING"] = "False"
for name in ("falconer", "tensorflow", "torch"):
    sys.modules[name] = None
warnings.simplefilter("ignore")
import pandas
from merlin.io import Dataset
from nvtabular import Workflow
for table in ("event", "user", "item"):
    loaded = Workflow.load(f"{sys.argv[1]}/workflow-{table}")
    rows = pandas.read_parquet(f"rows-{table}.parquet")
    frame = loaded.transform(rows.copy())
    frame.to_parquet(f"made-{table}.parquet")
    lazily = loaded.transform(Dataset(rows.copy(), cpu=True)).to_ddf().compute()
    assert lazily.equals(frame[lazily.columns]), "a Dataset gives what a frame gives"
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The raw tables' folder, and the dataset."""
    folder = tmp_path_factory.mktemp("shop")
    events = shop.events().with_columns(
        order=pl.when(pl.int_range(pl.len()) % 7 > 0).then(pl.int_range(pl.len()) % 5)
    )
    shop.write(folder, events)
    return folder, build(shop.recipe_with(folder, FEATURES), tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def exported(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "workflow"
    result = CliRunner().invoke(app, ["export-workflow", str(built[1]), str(out)])
    assert result.exit_code == 0, result.output
    for name in LEFT_OUT:
        assert f"left out        event feature {name}: NVTabular has no operator" in result.output
    return out


def assert_equal(found: pl.DataFrame, wanted: pl.DataFrame, names: list[str]) -> None:
    for name in names:
        if wanted[name].dtype.is_float():
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, atol=1e-7)
        else:
            assert found[name].dtype == pl.Int32
            assert found[name].to_list() == wanted[name].to_list()


@pytest.fixture(scope="module")
def transformed(
    built: tuple[Path, Path], exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, pl.DataFrame]:
    """What a process that has NVTabular, and cannot import us, makes of the raw rows of train and
    one of strangers, of users and of items."""
    folder = tmp_path_factory.mktemp("rows")
    for table, rows in raw_rows(*built).items():
        rows.write_parquet(folder / f"rows-{table}.parquet")
    command = [sys.executable, "-c", ALONE, str(exported)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {table: pl.read_parquet(folder / f"made-{table}.parquet") for table in ("event", *KEYS)}


KEYS = {"user": "customer", "item": "sku"}


def raw_rows(folder: Path, dataset: Path) -> dict[str, pl.DataFrame]:
    data = Dataset.open(dataset)
    source = pl.read_parquet(folder / "events.parquet").with_row_index("ordinal")
    ordinals = pl.DataFrame(data.train).select("ordinal")
    events = ordinals.join(source, on="ordinal", how="left", maintain_order="left")
    stranger = {"customer": 999, "sku": "never", "store": "never", "order": 77}
    new = events.head(1).with_columns(pl.lit(value).alias(n) for n, value in stranger.items())
    rows = {"event": pl.concat([events, new], how="vertical_relaxed").drop("ordinal", "at")}
    for kind, key in KEYS.items():
        known = pl.DataFrame(getattr(data, f"{kind}s")).select("key")
        raw = pl.read_parquet(folder / f"{kind}s.parquet").rename({key: "key"})
        rows[kind] = known.join(raw, on="key", how="left", maintain_order="left").drop("key")
    return rows


def test_raw_events_get_the_ids_and_values_of_train(
    built: tuple[Path, Path], transformed: dict[str, pl.DataFrame]
) -> None:
    train, found = pl.DataFrame(Dataset.open(built[1]).train), transformed["event"]
    names = ["user", "item", *(column_of(n) for n in FEATURES["event"] if n not in LEFT_OUT)]
    assert sorted(found.columns) == sorted(names)
    assert_equal(found.head(len(train)), train, names)
    assert [found[n][-1] for n in ("user", "item", "store", "order")] == [-1] * 4


@pytest.mark.parametrize(("kind", "feature"), [("user", "age"), ("item", "department")])
def test_the_tables_of_items_and_users_too(
    built: tuple[Path, Path], transformed: dict[str, pl.DataFrame], kind: str, feature: str
) -> None:
    known = pl.DataFrame(getattr(Dataset.open(built[1]), f"{kind}s"))
    assert_equal(transformed[kind], known, [feature])


def test_the_schema_is_that_of_the_train_files(built: tuple[Path, Path], exported: Path) -> None:
    text = (exported / "schema.pbtxt").read_text(encoding="utf-8")
    for name in Dataset.open(built[1]).train.schema.names:
        assert f'name: "{name}"' in text


def test_a_dataset_without_anything_to_export_is_refused(tmp_path: Path) -> None:
    events = shop.events().with_columns(liked=pl.lit(1) - pl.int_range(pl.len()) % 2)
    source = {
        "kind": "files",
        "events": str(shop.write(tmp_path / "in", events) / "events.parquet"),
        "columns": {"label": "liked"},
    }
    recipe = shop.recipe(
        tmp_path,
        source=source,
        task="labels",
        target={"kind": "binary"},
        split={"protocol": "random", "seed": 1, "test_share": 0.2, "valid_share": 0.0},
        features={"engine": "polars", "event": {"store": {"kind": "hashed", "size": 9}}},
    )
    path = build(recipe, tmp_path / "out")
    with pytest.raises(DataError, match="neither users, items nor a feature that NVTabular has"):
        export_workflow(path, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
