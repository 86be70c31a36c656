"""Merlin reads the schema of our train files, and other readers the files themselves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow.parquet as pq

from falconer.pipelines.compat import importing_nvtabular
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.merlin_schema import write_schema
from falconer.pipelines.etl.build import build
from tests.support import shop

with importing_nvtabular():
    from merlin.schema import Tags
    from merlin.schema.io.tensorflow_metadata import TensorflowMetadata


def test_merlin_reads_the_schema_and_others_the_files(tmp_path: Path) -> None:
    path = build(shop.recipe(shop.write(tmp_path / "shop", shop.events())), tmp_path / "out")
    data = Dataset.open(path)
    out = write_schema(path, tmp_path / "schema.pbtxt")
    schema = TensorflowMetadata.from_proto_text(out.read_text()).to_merlin_schema()
    assert schema.column_names == data.train.schema.names
    assert schema.select_by_tag(Tags.ITEM_ID).column_names == ["item"]
    assert schema["item"].properties["domain"]["max"] == data.n_items - 1
    part = path / "train" / "part-00000.parquet"
    n = data.card.counts["train_events"]
    heights = [len(pd.read_parquet(part)), len(pl.read_parquet(part)), pq.read_table(part).num_rows]
    assert heights == [n, n, n]
