"""Ids from the train events of all buckets: items counted in memory, users sorted on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from falconer.pipelines.data.schema import IdSpace
from falconer.pipelines.data.table_files import TableFile
from falconer.pipelines.etl.buckets.frequent import frequent_items, keep_frequent_bucket
from falconer.pipelines.etl.buckets.runs import Runs
from falconer.pipelines.etl.buckets.spill import OLDEST, Spill
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

USERS, ITEMS = "vocab/user.parquet", "vocab/item.parquet"


@dataclass(frozen=True)
class Vocabularies:
    """`items` by id; `users` are in the dataset's file, and those of each bucket, with their ids,
    in a spill (`value`, `id`)."""

    root: Path
    id_space: IdSpace
    items: pl.Series
    n_users: int
    users: Spill

    def user_pieces(self) -> Iterator[pl.Series]:
        """The users by id."""
        return _values(self.root / USERS)


def fit(spill: Spill, folder: Path, root: Path, config: CatalogueConfig, size: int) -> Vocabularies:
    """Fit the vocabularies on the train events, and write them below `root`; raises `DataError`
    where nothing is left."""
    train = int(Part.TRAIN)
    kept = (
        frequent_items(spill, folder, config, part=train) if config.counted_on == "train" else None
    )
    users = Runs(folder / "user-counts", ("rank", "value"))
    items: pl.DataFrame | None = None
    n_train = 0
    for bucket in range(spill.n):
        events = spill.read(bucket).filter(pl.col("part") == train)
        if config.counted_on == "train":
            events = keep_frequent_bucket(events, kept, config)
        n_train += len(events)
        counts = _counts(events, "user").with_columns(
            rank=-pl.col("frequency"), bucket=pl.lit(bucket, pl.UInt32)
        )
        users.add(counts)
        found = _counts(events, "item")
        items = found if items is None else _summed(items, found)
    assert items is not None
    if not n_train:
        raise nothing_left()
    item_rows = entries(items.sort(*ORDER, descending=[True, False]), 0, 0)
    _write(root, ITEMS, item_rows)
    ids = _write_users(users, root, Spill(folder / "user-ids", spill.n), size)
    users.remove()
    values = Values.of(item_rows["value"])
    user_values = Values(counts.schema["value"], len(users), lambda: _values(root / USERS))
    id_space = IdSpace(generations=(values_hash([user_values, values]),))
    return Vocabularies(root, id_space, item_rows["value"], len(users), ids)


def _counts(events: pl.DataFrame, kind: Kind) -> pl.DataFrame:
    """`value` and `frequency`; none where the source has no such column."""
    if kind not in KINDS or kind not in events.columns:
        return pl.DataFrame(schema={"value": pl.String, "frequency": pl.Int64})
    counts = events[kind].alias("value").value_counts(name="frequency")
    return counts.cast({"frequency": pl.Int64})


def _summed(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([one, other]).group_by("value").agg(pl.col("frequency").sum())


def _write_users(counts: Runs, root: Path, ids: Spill, size: int) -> Spill:
    """Write the users in the order of their ids; the ids by bucket."""
    first = 0
    with TableFile(root, USERS) as file:
        for piece in counts.merged(size):
            rows = entries(piece, first, 0)
            file.add(rows.to_arrow(compat_level=OLDEST))
            ids.scatter(rows.select("value", "id"), piece["bucket"])
            first += len(rows)
    ids.close()
    return ids


def _write(root: Path, name: str, rows: pl.DataFrame) -> None:
    with TableFile(root, name) as file:
        file.add(rows.to_arrow(compat_level=OLDEST))


def _values(path: Path) -> Iterator[pl.Series]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=["value"])
            yield pl.Series("value", pl.from_arrow(rows.column("value")))
