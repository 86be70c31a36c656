"""A build in buckets keeps to its memory, whatever the number of rows and of ids."""

from __future__ import annotations

import re
import subprocess
import sys
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


def test_freed_memory_goes_back_to_the_system() -> None:
    """By each thread that took some, and from Arrow's pool."""
    code = """
import threading
import numpy as np
import pyarrow as pa
from falconer.pipelines.allocator import give_back

def taken():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def work():
    blocks = [np.ones(10_000) for _ in range(1000)]
    barrier.wait()
    del blocks
    pinned.append(np.ones(10_000))

before, pinned, barrier = taken(), [], threading.Barrier(2)
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
pool = [pa.allocate_buffer(10_000) for _ in range(5000)]
del pool
give_back()
assert taken() - before < 40_000_000, taken() - before
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
