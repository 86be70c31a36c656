"""Row groups of every size are read some rows at a time, also where Arrow's buffers fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from falconer.pipelines.etl.sources import batches as module
from falconer.pipelines.etl.sources.batches import batches

ROWS = pa.table({"x": np.random.default_rng(0).random(20_000), "y": np.arange(20_000)})


@pytest.mark.parametrize(
    ("page", "small", "buffer"),
    [(1 << 16, 1 << 30, 4096), (1 << 16, 0, 4096), (16_384, 0, 160_000)],
    ids=["at once", "by a buffer", "a column ends near a buffer's end"],
)
def test_all_rows_come_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int, small: int, buffer: int
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(ROWS, path, data_page_size=page, use_dictionary=False, row_group_size=20_000)
    monkeypatch.setattr(module, "SMALL", small)
    monkeypatch.setattr(module, "BUFFER", buffer)
    found = list(batches(path, 1000, ["x", "y"], None))
    assert pa.concat_tables(found).equals(ROWS)
    assert max(table.num_rows for table in found) <= 1000


@pytest.mark.parametrize("after", [0, 1, 7])
def test_where_arrow_cannot_read_by_a_buffer_the_rest_comes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Whether Arrow fails hangs on more than the file, so it is made to."""
    path = tmp_path / "rows.parquet"
    pq.write_table(ROWS, path, row_group_size=20_000)
    asked = []

    class Failing(pq.ParquetFile):  # type: ignore[misc]
        def __init__(self, source: Path, buffer_size: int = 0) -> None:
            super().__init__(source)
            asked.append(buffer_size)

        def iter_batches(self, *arguments: Any, **named: Any) -> Iterator[pa.RecordBatch]:
            for number, batch in enumerate(super().iter_batches(*arguments, **named)):
                if asked[-1] and number == after:
                    raise pa.ArrowInvalid(f"{module.ARROW_FAULT} if buffered data remains")
                yield batch

    monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(pq, "ParquetFile", Failing)
    found = list(batches(path, 1000, ["x", "y"], None))
    assert asked == [0, module.BUFFER, 0]
    assert pa.concat_tables(found).equals(ROWS)


def test_some_row_groups_of_some_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(ROWS, path, row_group_size=3000)
    found = pa.concat_tables(batches(path, 1000, ["y"], [1, 2]))
    assert found.equals(ROWS.slice(3000, 6000).select(["y"]))
