"""A hash of each event's content, for draws and for telling whether two datasets share an event."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from falconer.pipelines.etl.raw import FRACTION
from falconer.pipelines.etl.side_by_side import blocks, side_by_side
from falconer.pipelines.etl.split.parts import mix, mixed

KEYS = ("user", "item", "time", FRACTION)
HASH = "event_hash"
LARGE = (pl.UInt64, pl.Int128)
_NULL = np.uint64(0x9AE16A3B2F90404F)

Hashes = NDArray[np.uint64]


def event_hashes(events: pl.DataFrame) -> Hashes:
    """uint64[n] of user, item, time and the number of the repeat among events that agree in these:
    so that a row that comes or goes changes no other's. Where a source has neither users nor items
    every column counts. The events are in order.
    """
    names = [name for name in KEYS if name in events.columns]
    if not {"user", "item"} & set(names):
        names = sorted(name for name in events.columns if name != "ordinal")
    hashes = np.zeros(len(events), np.uint64)
    columns = [_Bits.of(_numbers(events[name])) for name in names]

    def fill(rows: slice) -> None:
        some = hashes[rows]
        room = np.empty_like(some)
        for place, column in enumerate(columns, start=1):
            some ^= column.part(rows)
            mix(some, place, room)

    side_by_side(fill, blocks(len(events)))
    places = np.flatnonzero(repeated(pl.Series(hashes)).to_numpy())
    numbers = pl.DataFrame({"hash": hashes[places]}).select(pl.int_range(pl.len()).over("hash"))
    # How many equal ones came before each: of most none.
    earlier = numbers.to_series().cast(pl.UInt64).to_numpy()
    counted = hashes[places] ^ mixed(earlier, 0)
    hashes ^= mixed(np.zeros(1, np.uint64), 0)
    hashes[places] = counted

    def finish(rows: slice) -> None:
        some = hashes[rows]
        mix(some, len(names) + 1, np.empty_like(some))

    side_by_side(finish, blocks(len(events)))
    return hashes


def repeated(hashes: pl.Series) -> pl.Series:
    """Whether there is another equal one, for each; where few are, sorting tells soonest."""
    ordered = hashes.sort()
    twice = ordered.filter(ordered == ordered.shift()).unique()
    return hashes.is_in(twice.implode())


def text_hashes(values: pl.Series) -> Hashes:
    """uint64[n]: 8 bytes of the BLAKE2b of each text."""
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
            for text in values.cast(pl.String)
        ],
        dtype=np.uint64,
    )


def _numbers(column: pl.Series) -> pl.Series:
    """Of texts and what else is no number the hashes, null for null."""
    if column.dtype.is_float() or (column.dtype.is_integer() and column.dtype not in LARGE):
        return column
    texts = column.cast(pl.String).alias("text").to_frame()
    known = texts.drop_nulls().unique()
    hashes = text_hashes(known["text"]).view(np.int64)
    known = known.with_columns(hash=pl.Series(hashes, dtype=pl.Int64))
    return texts.join(known, on="text", how="left", maintain_order="left")["hash"]


@dataclass(frozen=True)
class _Bits:
    """The numbers of a column, in which nulls are anything, and where these are."""

    values: NDArray[Any]
    nulls: NDArray[np.bool_] | None

    @classmethod
    def of(cls, column: pl.Series) -> _Bits:
        nulls = column.is_null().to_numpy() if column.null_count() else None
        return cls((column if nulls is None else column.fill_null(0)).to_numpy(), nulls)

    def part(self, rows: slice) -> Hashes:
        """64 bits of each of these rows."""
        part = self.values[rows]
        if part.dtype.kind == "f":
            # + 0.0 makes one zero of the two.
            found = (part.astype(np.float64, copy=False) + 0.0).view(np.uint64)
        else:
            found = part.astype(np.int64, copy=False).view(np.uint64)
        if self.nulls is None:
            return found
        return np.where(self.nulls[rows], _NULL, found)
