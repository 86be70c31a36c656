"""A query for every user that a source knows, with all that happened before a day: what lists for
everybody are made of."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from falconer.pipelines.data.asked import Asked
from falconer.pipelines.data.dataset import Dataset, write_table
from falconer.pipelines.data.fold_tables import query_columns
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.etl.at_hand import at_hand
from falconer.pipelines.etl.clean import clean
from falconer.pipelines.etl.contract import check
from falconer.pipelines.etl.expectations import expect
from falconer.pipelines.etl.folds import OUTSIDE, fold_of
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.split import FoldRule, Part
from falconer.pipelines.etl.split.config import seconds
from falconer.pipelines.files import atomic_directory


def everybody(recipe: EtlRecipe, data: Dataset, until: date, out: Path) -> Asked:
    """Write the folder `out` (see `Asked`): a query for each user with an event before `until`, and
    the last event before it of each item.

    Events are cleaned as the recipe says; ids are those of `data`, -1 for users that it does not
    know, and items outside its catalogue are left out. Raises `ConfigError` for a source without
    times.
    """
    events = _events(recipe, data)
    if "time" not in events.columns:
        raise ConfigError("lists for everybody need a source with times")
    stop = seconds(until)
    events = events.filter(pl.col("time") < stop).with_columns(
        pl.lit(int(Part.TEST), pl.Int8).alias("part")
    )
    events = _encoded(events, data)
    rule = FoldRule(Part.TEST, (Part.TEST,), asked_at=stop)
    found = fold_of(events, rule, items=pl.Series(data.items.column("key")))
    inside = events.filter(pl.col("item_id") != OUTSIDE)
    last = inside.group_by("item_id").agg(pl.col("time").max()).sort("item_id")
    with atomic_directory(out) as partial:
        new = Asked(partial)
        columns = query_columns(found.queries, found.keys.to_arrow())
        write_table(partial, new.queries.name, columns)
        write_table(partial, new.last_events.name, last.to_arrow())
    return Asked(out)


def _events(recipe: EtlRecipe, data: Dataset) -> pl.DataFrame:
    types = {
        kind: pl.Series(table.column("key")).dtype
        for kind, table in (("user", data.users), ("item", data.items))
    }
    with at_hand(recipe) as local:
        raw, numeric = local.source.read(), recipe.features.numeric()
        checked = check(raw, recipe.contract, numeric=numeric, id_types=types)
        checked = expect(raw, checked, recipe.expect, recipe.contract.max_rejected_share)
    return clean(checked.raw.events, recipe.clean)[0]


def _encoded(events: pl.DataFrame, data: Dataset) -> pl.DataFrame:
    """With the columns `user_id` and `item_id`; the order stays."""
    for kind, table in (("user", data.users), ("item", data.items)):
        known = pl.DataFrame(table.select(["id", "key"])).rename({"id": f"{kind}_id", "key": kind})
        events = events.join(known, on=kind, how="left", maintain_order="left")
    ids = [pl.col(f"{kind}_id").fill_null(OUTSIDE) for kind in ("user", "item")]
    return events.with_columns(ids)
