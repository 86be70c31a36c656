"""Inside each bucket: ids of one type, cleaning and labels; and what is of all events, put
together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from falconer.pipelines.etl import describe
from falconer.pipelines.etl.buckets.check import TABLES
from falconer.pipelines.etl.buckets.frequent import frequent_items, keep_frequent_bucket
from falconer.pipelines.etl.buckets.scatter import Pass
from falconer.pipelines.etl.buckets.spill import Spill
from falconer.pipelines.etl.catalogue import KINDS
from falconer.pipelines.etl.clean import cleaned, nothing_left
from falconer.pipelines.etl.columns import look_alikes
from falconer.pipelines.etl.contract import look_alike_note
from falconer.pipelines.etl.outcome import RARE
from falconer.pipelines.etl.raw import FRACTION, Raw
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.split.facts import Facts, facts_of, together
from falconer.pipelines.etl.target import refuse_constant, with_label


@dataclass
class Whole:
    """What is known of all events: `unlisted` and `drops` by name, the protocol's `facts`, the
    `columns`, the number of different (user, item) `pairs`, and notes on ids that look alike."""

    unlisted: dict[str, int] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    n_events: int = 0
    n_pairs: int = 0
    facts: list[Facts] = field(default_factory=list)
    columns: list[describe.ColumnFacts] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def gather(self, events: pl.DataFrame, recipe: EtlRecipe) -> None:
        """Note what these events, which count, say."""
        if events.is_empty():
            return
        self.n_events += len(events)
        if set(KINDS) <= set(events.columns):
            self.n_pairs += events.select(KINDS).n_unique()
        found = [*self.facts, facts_of(recipe.split, events)]
        self.facts = [together(recipe.split, found)]
        columns = describe.facts_of(events)
        self.columns = describe.together(self.columns, columns) if self.columns else columns

    @property
    def repeats(self) -> float:
        """The share of events whose user had the item before."""
        return 1 - self.n_pairs / self.n_events


def clean_buckets(
    spill: Spill, folder: Path, recipe: EtlRecipe, found: Pass, raw: Raw
) -> tuple[Spill, Whole]:
    """The events that count, bucket by bucket; `raw` has the tables of users and items, and the
    types of ids are those of its empty events. Raises `DataError` as a build in memory does."""
    whole, labels, alike = Whole(), set[float](), _Alike()
    out = Spill(folder / "clean", spill.n)
    for bucket, events in _typed(spill, found, raw):
        alike.gather(events)
        _count_unlisted(whole.unlisted, events, raw)
        events, drops = cleaned(events, recipe.clean)
        if recipe.target is not None:
            events, more = with_label(events, recipe.target)
            labels |= set(events["label"].unique().head(2))
            drops |= more
        _add(whole.drops, drops)
        out.add(bucket, events)
        if recipe.catalogue.counted_on == "train":
            whole.gather(events, recipe)
    out.close()
    spill.remove()
    if not any(out.rows):
        raise nothing_left(whole.drops)
    if recipe.target is not None:
        refuse_constant(len(labels), recipe.target)
    if recipe.catalogue.counted_on == "all":
        out = _without_rare(out, folder, recipe, whole)
    whole.notes = tuple(alike.notes())
    whole.unlisted = {name: n for name, n in whole.unlisted.items() if n}
    whole.drops = {name: n for name, n in whole.drops.items() if n}
    return out, whole


def _typed(spill: Spill, found: Pass, raw: Raw) -> Iterator[tuple[int, pl.DataFrame]]:
    """The events of each bucket, in the order in which they were read, with ids of one type."""
    types: dict[Any, pl.DataType] = {
        kind: dtype for kind, dtype in raw.events.schema.items() if kind in KINDS
    }
    for bucket in range(spill.n):
        events = spill.read(bucket).cast(types)
        yield bucket, events if found.fractions else events.drop(FRACTION, strict=False)


def _count_unlisted(counts: dict[str, int], events: pl.DataFrame, raw: Raw) -> None:
    for kind, name in TABLES.items():
        table = getattr(raw, name)
        if table is not None:
            absent = events.join(table, on=kind, how="anti").height
            _add(counts, {f"events without a row in {name}": absent})


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, n in more.items():
        counts[name] = counts.get(name, 0) + n


def _without_rare(spill: Spill, folder: Path, recipe: EtlRecipe, whole: Whole) -> Spill:
    items = frequent_items(spill, folder, recipe.catalogue)
    out = Spill(folder / "frequent", spill.n)
    for bucket in range(spill.n):
        events = keep_frequent_bucket(spill.read(bucket), items, recipe.catalogue)
        out.add(bucket, events)
        whole.gather(events, recipe)
    out.close()
    whole.drops[RARE] = sum(spill.rows) - sum(out.rows)
    spill.remove()
    return out


@dataclass
class _Alike:
    """Ids of text that look like another: those of users share a bucket, items are all kept."""

    n: dict[str, int] = field(default_factory=dict)
    first: dict[str, pl.DataFrame] = field(default_factory=dict)
    items: pl.Series | None = None

    def gather(self, events: pl.DataFrame) -> None:
        """Note the ids of one bucket."""
        types = events.schema
        if types.get("user") == pl.String:
            self._note("user", look_alikes(events["user"]))
        if types.get("item") == pl.String:
            found = events["item"].unique()
            self.items = found if self.items is None else pl.concat([self.items, found]).unique()

    def _note(self, kind: str, alike: pl.DataFrame) -> None:
        self.n[kind] = self.n.get(kind, 0) + len(alike)
        known = [self.first[kind]] if kind in self.first else []
        self.first[kind] = pl.concat([*known, alike.head(2)]).sort("form", "value").head(2)

    def notes(self) -> Iterator[str]:
        """The notes for the dataset's card."""
        if self.items is not None:
            self._note("item", look_alikes(self.items))
        for kind in self.n:
            yield from look_alike_note(kind, self.n[kind], self.first[kind]["value"].to_list())
