"""What a build in buckets keeps so that a later day can be appended to its dataset."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from falconer.pipelines.data.table_files import TableFile
from falconer.pipelines.etl.buckets.runs import Runs
from falconer.pipelines.etl.buckets.spill import OLDEST, Spill
from falconer.pipelines.etl.held import EVENTS, Days, held_out, write_state
from falconer.pipelines.etl.raw import order_of
from falconer.pipelines.etl.split import Part


def write_held(
    spill: Spill, folder: Path, root: Path, days: Days, rows_read: int, size: int
) -> None:
    """Write the held-out events and the state below `root`, about `size` bytes at a time; what lies
    on disk meanwhile is in `folder`."""
    runs = Runs(folder / "held", order_of(spill.empty))
    last = []
    for bucket in range(spill.n):
        events = spill.read(bucket)
        runs.add(held_out(events))
        train = events.filter(pl.col("part") == int(Part.TRAIN))["time"]
        last += [int(train.to_numpy().max())] if len(train) else []
    with TableFile(root, EVENTS) as file:
        for piece in runs.merged(size):
            file.add(piece.to_arrow(compat_level=OLDEST))
    runs.remove()
    write_state(root, days, max(last), rows_read, None)
