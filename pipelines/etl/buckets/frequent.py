"""Minimum counts over buckets: rounds inside the buckets, with the items' counts put together
between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from falconer.pipelines.etl.buckets.frames import Rows, write_rows
from falconer.pipelines.etl.catalogue import KINDS, CatalogueConfig, keep_frequent
from falconer.pipelines.etl.workers.tasks import Stages


@dataclass(frozen=True)
class _Round:
    """`rows` are the events of the first stage, whose `part` alone counts (None = all), and the
    pairs of the others; `items` are those that are left, None = all."""

    config: CatalogueConfig
    rows: Rows
    items: pl.Series | None = None
    part: int | None = None


def frequent_items(
    rows: Rows, stages: Stages, config: CatalogueConfig, *, part: int | None = None
) -> pl.Series | None:
    """The items that stay when users and items with too few partners have fallen out again and
    again; None = all. With `part` only its events count.

    What stays is the largest set in which every user and item has enough, so the order of the
    rounds does not matter.
    """
    if config.min_item_users == 1 and config.min_user_items == 1:
        return None
    for _ in stages.run("pairs", pairs_of_bucket, _Round(config, rows, part=part), rows.n):
        pass
    pairs = Rows(stages.folder / "pairs", rows.n)
    items: pl.Series | None = None
    number = 0
    while True:
        found = _round(stages, f"round-{number}", _Round(config, pairs, items))
        if items is not None and len(found) == len(items):
            return found
        items, number = found, number + 1


def pairs_of_bucket(first: _Round, bucket: int, folder: Path) -> None:
    """The task: one bucket's different pairs. Raises `DataError` where events have no users or no
    items."""
    events = first.rows.read(bucket)
    if first.part is not None:
        events = events.filter(pl.col("part") == first.part)
    keep_frequent(events.head(0), first.config)
    write_rows(folder, events.select(KINDS).unique())


def _round(stages: Stages, name: str, context: _Round) -> pl.Series:
    """The items with enough users among those who have enough of the items that are left."""
    counts: pl.DataFrame | None = None
    for counted in stages.run(name, count_users, context, context.rows.n):
        both = [*([] if counts is None else [counts]), counted]
        counts = pl.concat(both).group_by("item").agg(pl.col("n").sum())
    assert counts is not None
    return counts.filter(pl.col("n") >= context.config.min_item_users)["item"]


def count_users(context: _Round, bucket: int, _: Path) -> pl.DataFrame:
    """The task: each item's users in one bucket."""
    left = keep_frequent_bucket(context.rows.read(bucket), context.items, context.config)
    return left.group_by("item").agg(n=pl.len())


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
