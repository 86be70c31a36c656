"""A build in buckets keeps to its memory, whatever the number of rows and of ids."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.benchmarks.etl_scale import bounded


@pytest.mark.parametrize(
    ("rows", "limit", "most_mb"),
    [
        (2_000_000, "600MB", 600),
        pytest.param(10_000_000, "1GB", 1000, marks=pytest.mark.slow),
    ],
    ids=["a hundredth of 200 million rows", "a twentieth of 200 million rows"],
)
def test_half_as_many_ids_as_rows_fit_into_the_limit(
    tmp_path: Path, rows: int, limit: str, most_mb: int
) -> None:
    found = bounded(tmp_path, rows, limit)
    assert found.peak_mb < most_mb
    told = re.search(r"users ([\d,]+), .* train events ([\d,]+), .*buckets (\d+)", found.output)
    assert told is not None
    users, train, buckets = (int(text.replace(",", "")) for text in told.groups())
    assert users > 0.4 * rows
    assert train > 0.8 * rows
    assert buckets > 1
