"""Reading parquet: a folder's name never matters."""

from __future__ import annotations

from pathlib import Path

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
