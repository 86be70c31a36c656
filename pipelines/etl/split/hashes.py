"""A hash of each event's content, for draws and for telling whether two datasets share an event."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from falconer.pipelines.etl.raw import FRACTION
from falconer.pipelines.etl.split.parts import mixed

KEYS = ("user", "item", "time", FRACTION)
HASH = "event_hash"
LARGE = (pl.UInt64, pl.Int128)
BLOCK = 2**15
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
    columns = [_numbers(events[name]) for name in names]
    # So many rows at once as the processor's cache holds.
    for first in range(0, len(events), BLOCK):
        block = hashes[first : first + BLOCK]
        for place, column in enumerate(columns, start=1):
            block[:] = mixed(block ^ _hashed(column.slice(first, BLOCK)), place)
    return mixed(hashes ^ mixed(_repeats(hashes), 0), len(names) + 1)


def _repeats(hashes: Hashes) -> Hashes:
    """How many equal ones came before each."""
    found = np.zeros(len(hashes), np.uint64)
    several = repeated(pl.Series(hashes)).to_numpy()
    numbers = pl.DataFrame({"hash": hashes[several]}).select(pl.int_range(pl.len()).over("hash"))
    found[several] = numbers.to_series().cast(pl.UInt64).to_numpy()
    return found


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


def _hashed(column: pl.Series) -> Hashes:
    if column.dtype.is_float():
        # + 0.0 makes one zero of the two.
        exact = column.fill_null(0.0).cast(pl.Float64).to_numpy() + 0.0
        found = exact.view(np.uint64)
    else:
        found = column.fill_null(0).cast(pl.Int64).to_numpy().view(np.uint64)
    return np.where(column.is_null().to_numpy(), _NULL, found) if column.null_count() else found
