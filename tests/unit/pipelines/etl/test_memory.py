"""A build in buckets keeps to its memory, whatever the number of rows and of ids."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.etl_scale import bounded


def test_half_as_many_ids_as_rows_fit_into_the_limit(tmp_path: Path) -> None:
    """Of a twentieth of 200 million rows, of which 600 MB hold a sixth."""
    rows = 10_000_000
    found = bounded(tmp_path, rows, "600MB")
    assert found.peak_mb < 500
    told = re.search(r"users ([\d,]+), .* train events ([\d,]+), .*buckets (\d+)", found.output)
    assert told is not None
    users, train, buckets = (int(text.replace(",", "")) for text in told.groups())
    assert users > 0.4 * rows
    assert train > 0.8 * rows
    assert buckets > 1


def test_what_is_merged_is_not_in_memory_at_once(tmp_path: Path) -> None:
    """Neither are the files that it is read from."""
    code = f"""
from pathlib import Path
import numpy as np
import polars as pl
from falconer.pipelines.etl.buckets.runs import Runs, write_run

def taken():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

paths = [Path({str(tmp_path)!r}) / str(number) for number in range(8)]
for number, path in enumerate(paths):
    numbers = np.arange(number, 8_000_000, 8)
    write_run(path, pl.DataFrame({{"key": numbers, "beside": -numbers}}), ["key"])
before, most, last = taken(), 0, -1
for piece in Runs(paths, ["key"]).merged(2**22):
    most = max(most, taken() - before)
    assert piece["key"][0] == last + 1
    last = piece["key"][-1]
assert last == 8_000_000 - 1
assert most < 60 * 2**20, most
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


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
