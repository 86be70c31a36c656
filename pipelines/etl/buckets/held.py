"""What a build in buckets keeps so that a later day can be appended to its dataset."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from falconer.pipelines.data.table_files import TableFile
from falconer.pipelines.etl.buckets.frames import OLDEST, Rows, files_of
from falconer.pipelines.etl.buckets.runs import Runs, write_run
from falconer.pipelines.etl.held import EVENTS, Days, held_out, write_state
from falconer.pipelines.etl.raw import order_of
from falconer.pipelines.etl.split import Part
from falconer.pipelines.etl.workers.tasks import Stages

HELD = "held.arrow"


def write_held(
    rows: Rows, stages: Stages, root: Path, days: Days, rows_read: int, size: int
) -> None:
    """Write the held-out events and the state below `root`, about `size` bytes at a time."""
    last = [time for time in stages.run("held", held_of_bucket, rows, rows.n) if time is not None]
    runs = Runs(files_of(stages.folder / "held", rows.n, HELD), order_of(rows.empty()))
    with TableFile(root, EVENTS) as file:
        for piece in runs.merged(size):
            file.add(piece.to_arrow(compat_level=OLDEST))
    write_state(root, days, max(last), rows_read, None)


def held_of_bucket(rows: Rows, bucket: int, folder: Path) -> int | None:
    """The task: one bucket's held-out events; the time of its last train event."""
    events = rows.read(bucket)
    write_run(folder / HELD, held_out(events), order_of(events))
    train = events.filter(pl.col("part") == int(Part.TRAIN))["time"]
    return int(train.to_numpy().max()) if len(train) else None
