"""Minimum counts over buckets: rounds inside the buckets, with the items' counts put together
between them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from falconer.pipelines.etl.buckets.spill import Spill
from falconer.pipelines.etl.catalogue import KINDS, CatalogueConfig, keep_frequent


def frequent_items(
    spill: Spill, folder: Path, config: CatalogueConfig, *, part: int | None = None
) -> pl.Series | None:
    """The items that stay when users and items with too few partners have fallen out again and
    again; None = all. With `part` only its events count.

    What stays is the largest set in which every user and item has enough, so the order of the
    rounds does not matter.
    """
    if config.min_item_users == 1 and config.min_user_items == 1:
        return None
    pairs = Spill(folder / "pairs", spill.n)
    for bucket in range(spill.n):
        events = spill.read(bucket)
        if part is not None:
            events = events.filter(pl.col("part") == part)
        # Raises where the events have no users or no items.
        pairs.add(bucket, keep_frequent(events.head(0), config).select(KINDS))
        pairs.add(bucket, events.select(KINDS).unique())
    pairs.close()
    items: pl.Series | None = None
    while True:
        found = _round(pairs, items, config)
        if items is not None and len(found) == len(items):
            pairs.remove()
            return found
        items = found


def _round(pairs: Spill, items: pl.Series | None, config: CatalogueConfig) -> pl.Series:
    """The items with enough users among those who have enough of `items`."""
    counts = pairs.empty.select("item", n=pl.lit(0, pl.UInt32)).clear()
    for bucket in range(pairs.n):
        left = keep_frequent_bucket(pairs.read(bucket), items, config)
        counted = left.group_by("item").agg(n=pl.len())
        counts = pl.concat([counts, counted]).group_by("item").agg(pl.col("n").sum())
    return counts.filter(pl.col("n") >= config.min_item_users)["item"]


def keep_frequent_bucket(
    events: pl.DataFrame, items: pl.Series | None, config: CatalogueConfig
) -> pl.DataFrame:
    """The events of `items` (None = all) whose user has enough of them."""
    if items is not None:
        events = events.join(items.to_frame(), on="item", how="semi", maintain_order="left")
    if config.min_user_items == 1:
        return events
    users = events.group_by("user").agg(n=pl.col("item").n_unique())
    enough = users.filter(pl.col("n") >= config.min_user_items).select("user")
    return events.join(enough, on="user", how="semi", maintain_order="left")
