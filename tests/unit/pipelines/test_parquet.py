"""Reading parquet: a folder's name never matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from falconer.pipelines import parquet
from falconer.pipelines.errors import DataError

TABLE = pa.table({"user": ["a", "b", "c"], "rank": [1, 2, 3]})
ODD = ("user=u0", "rank=1", "id=7", "100% off", "what?", "a#b", "a b", "%20", "x=1/user=2", "ü")


@pytest.mark.parametrize("folder", ODD)
def test_a_folders_name_never_matters(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "t.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(TABLE, path)
    assert parquet.read(path).equals(TABLE)
    assert parquet.read(path, ["user"], memory_map=True).equals(TABLE.select(["user"]))
    assert parquet.read_where(path, ["user"], pc.field("user") == "b").to_pydict() == {
        "user": ["b"]
    }


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    with pytest.raises(KeyError, match="no column item"):
        parquet.read(tmp_path / "t.parquet", ["item"])


def test_rows_that_no_condition_fits_keep_their_types(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    none = parquet.read_where(tmp_path / "t.parquet", ["user"], pc.field("user") == "z")
    assert none.schema == TABLE.select(["user"]).schema
    assert none.num_rows == 0


@pytest.mark.parametrize("notes", [b"{", b"[1]", b'"x"', b"\xff"])
def test_damaged_notes_are_named_with_their_file(notes: bytes) -> None:
    schema = pa.schema([("a", pa.int32())], metadata={b"notes": notes})
    with pytest.raises(DataError, match=r"lists\.parquet: its notes are damaged"):
        parquet.facts_of(schema, b"notes", Path("lists.parquet"))
    assert parquet.facts_of(schema, b"others", Path("lists.parquet")) == {}


def test_every_type_that_datasets_have_is_written_and_comes_back(tmp_path: Path) -> None:
    lists = {"short": pa.list_(pa.int32()), "long": pa.list_(pa.int64())}
    table = pa.table(
        {
            "ids": pa.array([1, 2, -1], pa.int32()),
            "time": pa.array([2**62, None, -(2**63)], pa.int64()),
            "x.y": pa.array([0.5, float("nan"), None], pa.float32()),
            "text": ["a", None, ""],
            **{name: pa.array([[1, 2], [], None], kind) for name, kind in lists.items()},
            "far": pa.array([[2**40], [], None], pa.large_list(pa.int64())),
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, **parquet.writing(table.schema))
    assert parquet.read(path).to_pydict().__repr__() == table.to_pydict().__repr__()
    columns = pq.ParquetFile(path).metadata.row_group(0)
    found = {columns.column(n).path_in_schema: columns.column(n).encodings for n in range(7)}
    long = {"time", "long.list.element", "far.list.element"}
    assert {name for name, used in found.items() if "DELTA_BINARY_PACKED" in used} == long
    ids = {"ids", "short.list.element"}
    assert {name for name, used in found.items() if "BYTE_STREAM_SPLIT" in used} == ids
    with_dictionary = {name for name, used in found.items() if "RLE_DICTIONARY" in used}
    assert with_dictionary == {"text"}
    assert pl.read_parquet(path)["ids"].to_list() == [1, 2, -1]
    assert pd.read_parquet(path)["ids"].to_list() == [1, 2, -1]


def test_numbers_become_an_arrow_array_as_they_are() -> None:
    for kind in (np.int32, np.int64, np.uint64, np.float32, np.float64):
        values = np.arange(6, dtype=kind)[::2]
        assert parquet.column(values).equals(pa.array(values))
