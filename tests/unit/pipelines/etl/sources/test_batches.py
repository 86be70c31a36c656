"""Row groups of every size are read some rows at a time, also where Arrow's buffers fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from falconer.pipelines.etl.sources import batches as module
from falconer.pipelines.etl.sources.batches import batches

ROWS = pa.table({"x": np.random.default_rng(0).random(20_000), "y": np.arange(20_000)})


def fails(path: Path, buffer: int) -> bool:
    try:
        with pq.ParquetFile(path, buffer_size=buffer) as file:
            for _ in file.iter_batches(1000, use_threads=False):
                pass
    except pa.ArrowInvalid:
        return True
    return False


@pytest.mark.parametrize(
    ("page", "small", "buffer", "is_faulty"),
    [(1 << 16, 1 << 30, 4096, False), (1 << 16, 0, 4096, False), (16_384, 0, 160_000, True)],
    ids=["at once", "by a buffer", "Arrow's fault"],
)
def test_all_rows_come_in_their_order(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    page: int,
    small: int,
    buffer: int,
    is_faulty: bool,
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(ROWS, path, data_page_size=page, use_dictionary=False, row_group_size=20_000)
    monkeypatch.setattr(module, "SMALL", small)
    monkeypatch.setattr(module, "BUFFER", buffer)
    assert fails(path, buffer) == is_faulty
    found = list(batches(path, 1000, ["x", "y"], None))
    assert pa.concat_tables(found).equals(ROWS)
    assert max(table.num_rows for table in found) <= 1000


def test_some_row_groups_of_some_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(ROWS, path, row_group_size=3000)
    found = pa.concat_tables(batches(path, 1000, ["y"], [1, 2]))
    assert found.equals(ROWS.slice(3000, 6000).select(["y"]))
