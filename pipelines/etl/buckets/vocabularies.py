"""Ids from the train events of all buckets: items counted in memory, users sorted on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from falconer.pipelines.data.schema import IdSpace
from falconer.pipelines.data.table_files import TableFile
from falconer.pipelines.etl.buckets.frames import (
    OLDEST,
    Rows,
    Scatter,
    files_of,
    read_bucket,
)
from falconer.pipelines.etl.buckets.frequent import frequent_items, keep_frequent_bucket
from falconer.pipelines.etl.buckets.runs import Runs, write_run
from falconer.pipelines.etl.catalogue import (
    KINDS,
    ORDER,
    CatalogueConfig,
    Kind,
    Values,
    entries,
    nothing_left,
    values_hash,
)
from falconer.pipelines.etl.split import Part
from falconer.pipelines.etl.workers.tasks import Stages

USERS, ITEMS = "vocab/user.parquet", "vocab/item.parquet"


USER_COUNTS = "users.arrow"


@dataclass(frozen=True)
class Vocabularies:
    """`items` by id; `users` are in the dataset's file, and those of each bucket, with their ids,
    in the folder `by_bucket` (`value`, `id`)."""

    root: Path
    id_space: IdSpace
    items: pl.Series
    n_users: int
    by_bucket: Path
    no_users: pl.DataFrame

    def user_pieces(self) -> Iterator[pl.Series]:
        """The users by id."""
        return _values(self.root / USERS)

    def users_of(self, bucket: int) -> pl.DataFrame:
        """The users of a bucket: `value` and `id`."""
        return read_bucket(self.by_bucket, bucket, self.no_users)


@dataclass(frozen=True)
class _Counting:
    rows: Rows
    config: CatalogueConfig
    kept: pl.Series | None


def fit(rows: Rows, stages: Stages, root: Path, config: CatalogueConfig, size: int) -> Vocabularies:
    """Fit the vocabularies on the train events, and write them below `root`; raises `DataError`
    where nothing is left."""
    on_train = config.counted_on == "train"
    kept = frequent_items(rows, stages, config, part=int(Part.TRAIN)) if on_train else None
    items: pl.DataFrame | None = None
    n_train = 0
    context = _Counting(rows, config, kept)
    for n, found in stages.run("count", count_bucket, context, rows.n):
        n_train += n
        items = found if items is None else _summed(items, found)
    assert items is not None
    if not n_train:
        raise nothing_left()
    item_rows = entries(items.sort(*ORDER, descending=[True, False]), 0, 0)
    _write(root, ITEMS, item_rows)
    counts = Runs(files_of(stages.folder / "count", rows.n, USER_COUNTS), ("rank", "value"))
    ids = Scatter(stages.folder / "user-ids", rows.n)
    empty = _write_users(counts, root, ids, size)
    values = Values.of(item_rows["value"])
    user_values = Values(empty.schema["value"], len(counts), lambda: _values(root / USERS))
    id_space = IdSpace(generations=(values_hash([user_values, values]),))
    return Vocabularies(root, id_space, item_rows["value"], len(counts), ids.folder, empty)


def count_bucket(counting: _Counting, bucket: int, folder: Path) -> tuple[int, pl.DataFrame]:
    """The task: the train events of one bucket, their items' counts, and a run of its users."""
    events = counting.rows.read(bucket).filter(pl.col("part") == int(Part.TRAIN))
    if counting.config.counted_on == "train":
        events = keep_frequent_bucket(events, counting.kept, counting.config)
    users = _counts(events, "user").with_columns(
        rank=-pl.col("frequency"), bucket=pl.lit(bucket, pl.UInt32)
    )
    write_run(folder / USER_COUNTS, users, ("rank", "value"))
    return len(events), _counts(events, "item")


def _counts(events: pl.DataFrame, kind: Kind) -> pl.DataFrame:
    """`value` and `frequency`; none where the source has no such column."""
    if kind not in KINDS or kind not in events.columns:
        return pl.DataFrame(schema={"value": pl.String, "frequency": pl.Int64})
    counts = events[kind].alias("value").value_counts(name="frequency")
    return counts.cast({"frequency": pl.Int64})


def _summed(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([one, other]).group_by("value").agg(pl.col("frequency").sum())


def _write_users(counts: Runs, root: Path, ids: Scatter, size: int) -> pl.DataFrame:
    """Write the users in the order of their ids, and the ids by bucket; returns none of them."""
    first = 0
    with TableFile(root, USERS) as file:
        for piece in counts.merged(size):
            rows = entries(piece, first, 0)
            file.add(rows.to_arrow(compat_level=OLDEST))
            ids.add(rows.select("value", "id"), piece["bucket"])
            first += len(rows)
    ids.close()
    return rows.select("value", "id").clear()


def _write(root: Path, name: str, rows: pl.DataFrame) -> None:
    with TableFile(root, name) as file:
        file.add(rows.to_arrow(compat_level=OLDEST))


def _values(path: Path) -> Iterator[pl.Series]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=["value"])
            yield pl.Series("value", pl.from_arrow(rows.column("value")))
