"""Rows and labels of one fold of the task `labels`, from the split events."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from falconer.pipelines.data.schema import Target, column_of

UNKNOWN = -1
LISTED = "rows_of_unknown_items_with_features"


@dataclass(frozen=True)
class RowTables:
    """One fold: `pairs` as `pairs/<fold>.parquet` has them, `labels` float32 row by row beside it;
    counts for the card."""

    pairs: pl.DataFrame
    labels: NDArray[np.float32]
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.pairs)

    def beside(self, features: pl.DataFrame) -> RowTables:
        """With more columns, row by row."""
        return replace(self, pairs=self.pairs.with_columns(features.get_columns()))


def rows_of(events: pl.DataFrame, features: pl.DataFrame, target: Target) -> RowTables:
    """The fold of these events, which are in order and have `label`, and the encoded `user_id` and
    `item_id` where the source has users and items; `features` are their encoded event features.
    """
    columns = {
        "user": "user_id",
        "item": "item_id",
        "ordinal": "ordinal",
        "user_key": "user",
        "time": "time",
    }
    present = {ours: pl.col(theirs) for ours, theirs in columns.items() if theirs in events.columns}
    pairs = events.select(**present).with_columns(features.rename(column_of).get_columns())
    labels = events["label"].cast(pl.Float32).to_numpy()
    counts = {"rows": len(pairs)} | ({"positives": int(labels.sum())} if target == "binary" else {})
    counts |= {
        f"rows_of_unknown_{kind}s": _unknown(pairs, kind)
        for kind in ("user", "item")
        if kind in pairs.columns
    }
    return RowTables(pairs, labels, counts)


def of_listed_items(rows: pl.DataFrame, items: pl.DataFrame | None) -> dict[str, int]:
    """How many rows are of items without an id that the source's table `items` has features of."""
    if items is None or "item_id" not in rows.columns:
        return {}
    new = rows.filter(pl.col("item_id") == UNKNOWN)["item"]
    return {LISTED: int(new.is_in(items["item"].implode()).sum())}


def notes(fold: str, counts: dict[str, int]) -> list[str]:
    """What a reader must know of a fold: the share of rows whose user or item was not in train."""
    shares = [
        f"{counts[key] / counts['rows']:.1%} of the {fold} rows ({counts[key]:,} of "
        f"{counts['rows']:,}) are of {kind}s "
        "that train does not have."
        for kind in ("user", "item")
        if counts.get(key := f"rows_of_unknown_{kind}s")
    ]
    listed = [
        f"{n:,} of the {fold} rows are of items that train does not have and the table of items "
        "does: models of features read what it says of them."
        for n in [counts.get(LISTED)]
        if n
    ]
    return shares + listed


def _unknown(pairs: pl.DataFrame, kind: str) -> int:
    return int((pairs[kind] == UNKNOWN).sum())
