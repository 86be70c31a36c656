"""Files that are written a piece at a time: the rows decide their row groups, not the pieces."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines import parquet
from falconer.pipelines.data import table_files
from falconer.pipelines.data.table_files import TableFile

LISTS = st.lists(st.none() | st.just([0]) | st.lists(st.integers(0, 9), max_size=9), max_size=30)


def groups_of(path: Path) -> list[int]:
    file = pq.ParquetFile(path)
    return [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "GROUP", 8)
    monkeypatch.setattr(table_files, "VALUES", 20)


@pytest.mark.usefixtures("small")
@settings(max_examples=40, deadline=None)
@given(values=LISTS, cuts=st.sets(st.integers(0, 30), max_size=5), data=st.data())
def test_the_pieces_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[list[int] | None],
    cuts: set[int],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("files")
    kind = data.draw(st.sampled_from([pa.list_(pa.int32()), pa.large_list(pa.int32())]))
    ids = [None if one == [0] else number for number, one in enumerate(values)]
    columns = {"row": pa.array(range(len(values)), pa.int32()), "id": pa.array(ids, pa.int32())}
    whole = pa.table({**columns, "values": pa.array(values, kind)})
    ends = [0, *sorted(cut for cut in cuts if cut < len(values)), len(values)]
    with TableFile(folder, "whole") as file:
        file.add(whole)
    with TableFile(folder, "parted") as file:
        for start, end in itertools.pairwise(ends):
            file.add(whole.slice(start, end - start))
    assert parquet.read(folder / "whole").to_pydict() == whole.to_pydict()
    assert (folder / "parted").read_bytes() == (folder / "whole").read_bytes()


@pytest.mark.usefixtures("small")
def test_a_column_has_nulls_from_the_first_piece_on_that_has_one(tmp_path: Path) -> None:
    """Before, its file says that it has none; a reader need not know of either."""
    pieces = [pa.array([1] * 9, pa.int32()), pa.array([2, None], pa.int32())]
    for n in (1, 2):
        with TableFile(tmp_path, "t.parquet") as file:
            for piece in pieces[:n]:
                file.add(pa.table({"x": piece, "y": piece.fill_null(0).cast(pa.float32())}))
        fields = pq.ParquetFile(tmp_path / "t.parquet").schema_arrow
        assert [field.nullable for field in fields] == [n == 2, False]
        found = parquet.read(tmp_path / "t.parquet")
        assert found.schema == pa.schema([("x", pa.int32()), ("y", pa.float32())])
        assert found["x"].to_pylist() == pa.chunked_array(pieces[:n]).to_pylist()
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.usefixtures("small")
def test_a_row_group_has_so_many_rows_or_values_of_lists(tmp_path: Path) -> None:
    long = pa.table({"row": range(6), "values": [[1] * n for n in (9, 9, 9, 50, 1, 1)]})
    short = pa.table({"row": range(20), "values": [[1]] * 20})
    for name, table in {"long": long, "short": short, "no": short.select(["row"])}.items():
        with TableFile(tmp_path, name) as file:
            file.add(table)
    assert groups_of(tmp_path / "long") == [2, 1, 1, 2]
    assert groups_of(tmp_path / "short") == groups_of(tmp_path / "no") == [8, 8, 4]
