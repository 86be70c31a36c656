"""What a split says: the part that each event is in, and how each fold's queries are made of the
parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from falconer.pipelines.data.schema import Fold

NO_VALIDATION = "none"
"""What a split card says of a split without a validation fold."""


class Part(IntEnum):
    """Every event is in exactly one part."""

    TRAIN = 0
    VALID = 1
    VALID_HISTORY = 2
    TEST = 3
    TEST_HISTORY = 4
    DROPPED = 5


@dataclass(frozen=True)
class FoldRule:
    """How a fold's queries are made: one for each user with an event in `truth`.

    `asked_at` is the time of every query in seconds since 1970 UTC; None = the time of the user's
    first truth event. `until` is the end of the span that the fold asks about, where it has one.
    """

    truth: Part
    history: tuple[Part, ...]
    asked_at: int | None = None
    until: int | None = None


@dataclass(frozen=True)
class Assignment:
    """A protocol's answer: `part` int8 beside the events, the folds' rules, and the protocol in one
    sentence; which of a user's held-out events are asked for, and how validation is told apart, in
    words."""

    part: pl.Series
    folds: Mapping[Fold, FoldRule]
    description: str
    sampled: bool = False
    targets: str = "all held-out events of a user"
    validation: str = ""


def mixed(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """uint64[n]: SplitMix64 (Steele, Lea and Flood 2014), a bijection: two numbers never get the
    same one."""
    found = np.array(numbers, np.uint64)
    mix(found, seed, np.empty_like(found))
    return found


def mix(numbers: NDArray[np.uint64], seed: int, room: NDArray[np.uint64]) -> None:
    """As `mixed`, of uint64[n] in their place: of many rows new arrays would take most of the time.
    What stands in `room`, uint64[n] too, is lost."""
    numbers += np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        np.right_shift(numbers, np.uint64(shift), out=room)
        numbers ^= room
        numbers *= np.uint64(factor)
    np.right_shift(numbers, np.uint64(31), out=room)
    numbers ^= room


FIRST, LATEST = -62_135_596_800, 253_402_300_799
"""The first and the last second that dates of four digits can name."""


def written(moment: int) -> str:
    """Seconds since 1970 UTC as a person reads them; what no calendar has is at its end."""
    moment = min(max(moment, FIRST), LATEST)
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def part_column(events: pl.DataFrame, part: pl.Expr) -> pl.Series:
    """int8[n]: the part that the expression names for each event."""
    return events.select(part.cast(pl.Int8).alias("part"))["part"]


def last_to_valid(events: pl.DataFrame) -> pl.Series:
    """int8[n]: `part`, with the last train event of each `user` who has two or more moved to
    validation; the events are in order."""
    in_train = pl.col("part") == int(Part.TRAIN)
    row = pl.int_range(pl.len())
    counted = events.with_columns(row=row).select(
        "part",
        "row",
        last=pl.when(in_train).then("row").max().over("user"),
        n=in_train.sum().over("user"),
    )
    chosen = in_train & (pl.col("row") == pl.col("last")) & (pl.col("n") >= 2)
    return part_column(counted, pl.when(chosen).then(int(Part.VALID)).otherwise("part"))
