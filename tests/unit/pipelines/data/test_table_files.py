"""Files that are written a piece at a time: the rows decide their row groups, not the pieces."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines import parquet
from falconer.pipelines.data import table_files
from falconer.pipelines.data.table_files import TableFile
from falconer.pipelines.errors import DataError

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


def test_a_file_says_that_its_numbers_have_no_nulls_and_no_reader_need_know(
    tmp_path: Path,
) -> None:
    table = pa.table({"x": pa.array([1, 2], pa.int32()), "text": ["a", None]})
    with TableFile(tmp_path, "t.parquet", nulls=False) as file:
        file.add(table)
    fields = pq.read_schema(tmp_path / "t.parquet")
    assert [field.nullable for field in fields] == [False, True]
    assert parquet.read(tmp_path / "t.parquet").schema == table.schema
    some = parquet.read_where(tmp_path / "t.parquet", ["x", "text"], pc.field("x") == 1)
    assert some.equals(table.slice(0, 1))


def write(
    folder: Path, *tables: pa.Table, nulls: bool = True, then: Exception | None = None
) -> None:
    with TableFile(folder, "t.parquet", nulls=nulls) as file:
        for table in tables:
            file.add(table)
        if then is not None:
            raise then


def test_a_null_where_none_may_be_is_refused_by_name(tmp_path: Path) -> None:
    tables = [pa.table({"x": pa.array(values, pa.int64())}) for values in ([1, 2], [None, 2])]
    with pytest.raises(DataError, match=r"t\.parquet: 1 nulls in 'x'"):
        write(tmp_path, *tables, nulls=False)


def test_a_piece_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowException):
        write(tmp_path, pa.table({"x": [1, 2]}), pa.table({"x": ["3", "4"]}))


def test_what_fails_first_is_told(tmp_path: Path) -> None:
    for tables in ([], [pa.table({"x": [1]})]):
        with pytest.raises(KeyError, match="first"):
            write(tmp_path, *tables, then=KeyError("first"))


@pytest.mark.usefixtures("small")
def test_what_a_null_list_hides_counts_as_nothing(tmp_path: Path) -> None:
    offsets, values = pa.array([0, 15, 30, 45], pa.int32()), pa.array(range(45), pa.int32())
    mask = pa.array([True, True, False])
    lists = pa.ListArray.from_arrays(offsets, values, mask=mask)
    with TableFile(tmp_path, "t.parquet") as file:
        file.add(pa.table({"values": lists}))
    assert groups_of(tmp_path / "t.parquet") == [3]
    assert parquet.read(tmp_path / "t.parquet")["values"].to_pylist()[:2] == [None, None]


@pytest.mark.usefixtures("small")
def test_a_row_group_has_so_many_rows_or_values_of_lists(tmp_path: Path) -> None:
    long = pa.table({"row": range(6), "values": [[1] * n for n in (9, 9, 9, 50, 1, 1)]})
    short = pa.table({"row": range(20), "values": [[1]] * 20})
    for name, table in {"long": long, "short": short, "no": short.select(["row"])}.items():
        with TableFile(tmp_path, name) as file:
            file.add(table)
    assert groups_of(tmp_path / "long") == [2, 1, 1, 2]
    assert groups_of(tmp_path / "short") == groups_of(tmp_path / "no") == [8, 8, 4]
