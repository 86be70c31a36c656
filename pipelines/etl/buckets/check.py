"""The tables of users and items, which are checked as a whole, and the types of ids in all
tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from falconer.pipelines.etl.buckets.scatter import Pass
from falconer.pipelines.etl.catalogue import KINDS
from falconer.pipelines.etl.common_ids import id_type, whole
from falconer.pipelines.etl.contract import Rules, check_table, counts_of
from falconer.pipelines.etl.outcome import stated_id_types
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import Files

TABLES = {"user": "users", "item": "items"}


@dataclass(frozen=True)
class Entities:
    """The sound rows of the tables that there are ("users", "items"), the rejected ones, the rows
    read and the counts for the card."""

    tables: dict[str, pl.DataFrame]
    rejected: dict[str, pl.DataFrame]
    read: dict[str, int]
    counts: dict[str, int]


def check_entities(recipe: EtlRecipe) -> Entities:
    """Read and check the tables of users and items; raises `DataError` as `contract.check`."""
    assert isinstance(recipe.source, Files)
    found = Entities({}, {}, {}, {})
    for name, table in zip(TABLES.values(), recipe.source.entities(), strict=True):
        if table is None:
            continue
        malformed = {name: table.malformed} if table.malformed.height else {}
        raw = Raw(pl.DataFrame(), time_unit=recipe.source.time_unit, malformed=malformed)
        rules = Rules((), recipe.features.numeric()[name], ())
        part = check_table(name, table.rows, raw, recipe.contract, rules)
        found.tables[name] = part.kept
        found.read[name] = len(table.rows)
        found.counts.update(counts_of(name, part))
        if part.rejected.height:
            found.rejected[name] = part.rejected
    return found


def typed(found: Pass, entities: Entities, recipe: EtlRecipe) -> Raw:
    """The tables of users and items with ids of the types that events have too, and events without
    a row that have them."""
    events, tables = found.empty, dict(entities.tables)
    stated = stated_id_types(recipe)
    for kind in KINDS:
        if kind not in events.columns:
            continue
        all_whole = found.all_whole[kind] and all(map(whole, _ids(tables, kind)))
        dtype = id_type(kind, stated.get(kind), all_whole=all_whole)
        events = events.with_columns(pl.col(kind).cast(dtype))
        if (table := tables.get(TABLES[kind])) is not None:
            tables[TABLES[kind]] = table.with_columns(pl.col(kind).cast(dtype))
    return Raw(events, tables.get("users"), tables.get("items"))


def _ids(tables: dict[str, pl.DataFrame], kind: str) -> Iterator[pl.Series]:
    if (table := tables.get(TABLES[kind])) is not None:
        yield table[kind]
