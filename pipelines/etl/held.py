"""What a dataset keeps so that a later day can be appended to it: the events that train does not
have yet, and which days were read.

append/held.parquet   the held-out events after cleaning, by the source's own ids and values
append/days.parquet   the files that were read: day and name, bytes, sha256
append/state.json     the time of the last train event, and the rows read so far
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow.compute as pc
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.data import overlap
from falconer.pipelines.data.dataset import Dataset, write_table
from falconer.pipelines.data.schema import name_of
from falconer.pipelines.errors import ArtifactError, DataError
from falconer.pipelines.etl.catalogue import Catalogue
from falconer.pipelines.etl.contract import Checked
from falconer.pipelines.etl.raw import FRACTION
from falconer.pipelines.etl.split import Part, Split
from falconer.pipelines.etl.split.hashes import HASH
from falconer.pipelines.files import read_json, write_json

EVENTS = "append/held.parquet"
DAYS = "append/days.parquet"
STATE = "append/state.json"
LATE = "dropped: late event, not after the train events that are written"

OLDEST = pl.CompatLevel.oldest()

Days = dict[str, dict[str, list[Any]]]
"""Day -> file, named below the day's folder -> [bytes, sha256]."""


@dataclass(frozen=True)
class Held:
    """`data` with its held-out `events`, the `days` that were read, the second `train_until` of its
    last train event, and `rows_read`, the ordinal of the next row."""

    data: Dataset
    events: pl.DataFrame
    days: Days
    train_until: int
    rows_read: int

    @classmethod
    def of_dataset(cls, data: Dataset) -> Held:
        """Read it; raises `ArtifactError` where the dataset was built without days."""
        if not data.has_table(DAYS):
            raise ArtifactError(
                f"{data.path}: keeps nothing to append to; set source.partition in the recipe, "
                "build it once in full, and append to that"
            )
        data.check(STATE)
        days: Days = {}
        for path, *facts in pl.DataFrame(data.table(DAYS)).iter_rows():
            day, _, name = path.partition("/")
            days.setdefault(day, {})[name] = facts
        state = read_json(data.path / STATE)
        return cls(data, pl.DataFrame(data.table(EVENTS)), days, **state)

    def followed_by(self, new: Checked, max_late_share: float) -> Checked:
        """The held-out events and the new ones, whose rows are numbered on. Late events are dropped
        and counted; raises `DataError` where they are more than `max_late_share` of the new ones,
        or where a column has another type than before.
        """
        events = new.raw.events.with_columns(pl.col("ordinal") + self.rows_read)
        kept = events.filter(pl.col("time") > self.train_until)
        n_late = len(events) - len(kept)
        if n_late > max_late_share * len(events):
            raise DataError(
                f"events: {n_late} of {len(events)} new events are late (not after the last train "
                f"event of {self.data.path}), more than contract.max_rejected_share = "
                f"{max_late_share:.1%}; build the dataset in full, without --append"
            )
        rejected = {
            name: table.with_columns(pl.col("row") + self.rows_read) if name == "events" else table
            for name, table in new.rejected.items()
        }
        both = _stacked(self.events, kept)
        counts = new.counts | {LATE: n_late, "held_over_events": len(self.events)}
        return Checked(replace(new.raw, events=both), rejected, counts)

    def link_train(self, root: Path) -> dict[str, str]:
        """Put the train parts below `root`, as links where the file system has them; returns their
        names with their checksums, which `earlier` verified."""
        names = sorted(name for name in self.data.card.content if name.startswith("train/"))
        (root / "train").mkdir(exist_ok=True)
        for name in names:
            try:
                (root / name).hardlink_to(self.data.path / name)
            except OSError:
                shutil.copyfile(self.data.path / name, root / name)
        return {name: self.data.card.content[name] for name in names}

    def train_sketch(self) -> NDArray[np.uint64]:
        """The hashes that stand for the train events so far."""
        found = self.data.table(overlap.part_file("train")).column("hash").to_numpy()
        return cast(NDArray[np.uint64], found)

    def earlier(self, catalogue: Catalogue, users: pl.Series) -> pl.DataFrame:
        """The train events of these users as folds need them, from the parts that are written."""
        ids = pl.DataFrame({"user": catalogue.users.values}).with_row_index("user_id")
        asked = ids.join(users.unique().to_frame(), on="user", how="semi")["user_id"].to_arrow()
        condition = pc.field("user").isin(asked.cast("int32"))
        columns = ["user", "item", "time"]
        parts = [
            pl.DataFrame(parquet.read_where(file, columns, condition))
            for file in self.data.train_files()
        ]
        train = pl.concat(parts)
        return train.select(
            user=catalogue.users.values.gather(train["user"]),
            user_id="user",
            item_id="item",
            time="time",
            part=pl.lit(int(Part.TRAIN), pl.Int8),
        )


def _stacked(held: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    if (FRACTION in held.columns) != (FRACTION in new.columns):
        zero = pl.lit(0, pl.Int64).alias(FRACTION)
        held, new = (
            frame if FRACTION in frame.columns else frame.with_columns(zero)
            for frame in (held, new)
        )
    for name, dtype in held.schema.items():
        if (found := new.schema.get(name)) != dtype:
            raise DataError(
                f"events: column {name_of(name)!r} holds {found} in the new files and {dtype} in "
                "the dataset; bring them to one type, or build the dataset in full"
            )
    return pl.concat([held, new.select(held.columns)])


def write(root: Path, divided: Split, days: Days, rows_read: int, before: Held | None) -> None:
    """Write the held-out events and the state below `root`, continuing `before`."""
    train = pl.col("part") == int(Part.TRAIN)
    held = held_out(divided.events)
    write_table(root, EVENTS, held.to_arrow(compat_level=OLDEST))
    train_until = divided.events.filter(train)["time"].max()
    write_state(root, days, cast(int, train_until), rows_read, before)


def held_out(events: pl.DataFrame) -> pl.DataFrame:
    """Of split events those that are not train, as they will be read with a later day."""
    return events.filter(pl.col("part") != int(Part.TRAIN)).drop("part", HASH)


def write_state(
    root: Path, days: Days, train_until: int, rows_read: int, before: Held | None
) -> None:
    """Write which days were read, as `Held` says."""
    every = {**(before.days if before else {}), **days}
    files = [
        (f"{day}/{name}", *facts) for day, of_day in every.items() for name, facts in of_day.items()
    ]
    columns = {"path": pl.String, "bytes": pl.Int64, "sha256": pl.String}
    write_table(
        root, DAYS, pl.DataFrame(files, columns, orient="row").to_arrow(compat_level=OLDEST)
    )
    rows = rows_read + (before.rows_read if before else 0)
    write_json(root / STATE, {"train_until": train_until, "rows_read": rows})
