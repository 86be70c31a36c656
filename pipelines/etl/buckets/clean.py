"""Inside each bucket: ids of one type, cleaning and labels; and what is of all events, put
together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from falconer.pipelines.etl import describe
from falconer.pipelines.etl.buckets.check import TABLES
from falconer.pipelines.etl.buckets.frames import Rows, write_rows
from falconer.pipelines.etl.buckets.frequent import frequent_items, keep_frequent_bucket
from falconer.pipelines.etl.buckets.scatter import Pass, Scattered
from falconer.pipelines.etl.catalogue import KINDS
from falconer.pipelines.etl.clean import cleaned, nothing_left
from falconer.pipelines.etl.columns import look_alikes
from falconer.pipelines.etl.contract import look_alike_note
from falconer.pipelines.etl.outcome import RARE
from falconer.pipelines.etl.raw import FRACTION, Raw
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.split.facts import Facts, facts_of, together
from falconer.pipelines.etl.target import refuse_constant, with_label
from falconer.pipelines.etl.workers.tasks import Stages


@dataclass
class Whole:
    """What is known of some or all events: `unlisted` and `drops` by name, two of the `labels`, the
    rows that cleaning left, the number of events that count and of their different (user, item)
    pairs, the protocol's `facts`, the `columns`, and the ids that look alike."""

    unlisted: dict[str, int] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    labels: list[float] = field(default_factory=list)
    n_kept: int = 0
    n_events: int = 0
    n_pairs: int = 0
    facts: list[Facts] = field(default_factory=list)
    columns: list[describe.ColumnFacts] = field(default_factory=list)
    alike: Alike = field(default_factory=lambda: Alike())

    def gather(self, events: pl.DataFrame, recipe: EtlRecipe) -> None:
        """Note what these events, which count, say."""
        if events.is_empty():
            return
        self.n_events += len(events)
        if set(KINDS) <= set(events.columns):
            self.n_pairs += events.select(KINDS).n_unique()
        self.facts = [facts_of(recipe.split, events)]
        self.columns = describe.facts_of(events)

    def add(self, other: Whole, recipe: EtlRecipe) -> None:
        """Take in what is known of the events of another bucket."""
        _add(self.unlisted, other.unlisted)
        _add(self.drops, other.drops)
        self.labels = sorted({*self.labels, *other.labels})[:2]
        self.n_kept += other.n_kept
        self.n_events += other.n_events
        self.n_pairs += other.n_pairs
        if other.facts:
            self.facts = [together(recipe.split, [*self.facts, *other.facts])]
        columns = other.columns
        both = self.columns and columns
        self.columns = describe.together(self.columns, columns) if both else self.columns or columns
        self.alike.add(other.alike)

    @property
    def repeats(self) -> float:
        """The share of events whose user had the item before."""
        return 1 - self.n_pairs / self.n_events


@dataclass
class Alike:
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
            self.items = events["item"].unique()

    def add(self, other: Alike) -> None:
        """Take in the ids of another bucket."""
        for kind, first in other.first.items():
            self._take(kind, other.n[kind], first)
        if other.items is not None:
            both = [*([] if self.items is None else [self.items]), other.items]
            self.items = pl.concat(both).unique()

    def _note(self, kind: str, alike: pl.DataFrame) -> None:
        self._take(kind, len(alike), alike.head(2))

    def _take(self, kind: str, n: int, first: pl.DataFrame) -> None:
        self.n[kind] = self.n.get(kind, 0) + n
        known = [self.first[kind]] if kind in self.first else []
        self.first[kind] = pl.concat([*known, first]).sort("form", "value").head(2)

    def notes(self) -> Iterator[str]:
        """The notes for the dataset's card."""
        if self.items is not None:
            self._note("item", look_alikes(self.items))
        for kind in self.n:
            yield from look_alike_note(kind, self.n[kind], self.first[kind]["value"].to_list())


RESULTS = (Whole, Alike, Facts, describe.ColumnFacts)
"""What the tasks below return."""


@dataclass(frozen=True)
class _Cleaning:
    recipe: EtlRecipe
    rows: Scattered
    raw: Raw
    fractions: bool


def clean_buckets(
    rows: Scattered, stages: Stages, recipe: EtlRecipe, found: Pass, raw: Raw
) -> tuple[Rows, Whole]:
    """The events that count, bucket by bucket; `raw` has the tables of users and items, and the
    types of ids are those of its empty events. Raises `DataError` as a build in memory does."""
    context = _Cleaning(recipe, rows, raw, found.fractions)
    whole = _together(stages.run("clean", clean_bucket, context, rows.n, RESULTS), recipe)
    out = Rows(stages.folder / "clean", rows.n)
    rows.remove()
    if not whole.n_kept:
        raise nothing_left(whole.drops)
    if recipe.target is not None:
        refuse_constant(len(whole.labels), recipe.target)
    if recipe.catalogue.counted_on == "all":
        out = _without_rare(out, stages, recipe, whole)
    whole.unlisted = {name: n for name, n in whole.unlisted.items() if n}
    whole.drops = {name: n for name, n in whole.drops.items() if n}
    return out, whole


def clean_bucket(cleaning: _Cleaning, bucket: int, folder: Path) -> Whole:
    """The task: one bucket's events, in the order in which they were read."""
    recipe, whole = cleaning.recipe, Whole()
    events = _typed(cleaning, bucket)
    whole.alike.gather(events)
    _count_unlisted(whole.unlisted, events, cleaning.raw)
    events, drops = cleaned(events, recipe.clean)
    if recipe.target is not None:
        events, more = with_label(events, recipe.target)
        whole.labels = sorted(map(float, events["label"].unique()))[:2]
        drops |= more
    _add(whole.drops, drops)
    whole.n_kept = len(events)
    write_rows(folder, events)
    if recipe.catalogue.counted_on == "train":
        whole.gather(events, recipe)
    return whole


def _typed(cleaning: _Cleaning, bucket: int) -> pl.DataFrame:
    """The events of a bucket with ids of one type."""
    types: dict[Any, pl.DataType] = {
        kind: dtype for kind, dtype in cleaning.raw.events.schema.items() if kind in KINDS
    }
    events = cleaning.rows.read(bucket).cast(types)
    return events if cleaning.fractions else events.drop(FRACTION, strict=False)


def _together(parts: Iterable[Whole], recipe: EtlRecipe) -> Whole:
    whole = Whole()
    for part in parts:
        whole.add(part, recipe)
    return whole


def _count_unlisted(counts: dict[str, int], events: pl.DataFrame, raw: Raw) -> None:
    for kind, name in TABLES.items():
        table = getattr(raw, name)
        if table is not None:
            absent = events.join(table, on=kind, how="anti").height
            _add(counts, {f"events without a row in {name}": absent})


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, n in more.items():
        counts[name] = counts.get(name, 0) + n


@dataclass(frozen=True)
class _Frequent:
    recipe: EtlRecipe
    rows: Rows
    items: pl.Series | None


def _without_rare(rows: Rows, stages: Stages, recipe: EtlRecipe, whole: Whole) -> Rows:
    items = frequent_items(rows, stages, recipe.catalogue)
    context = _Frequent(recipe, rows, items)
    found = _together(stages.run("frequent", frequent_bucket, context, rows.n, RESULTS), recipe)
    whole.drops |= found.drops
    whole.n_events, whole.n_pairs = found.n_events, found.n_pairs
    whole.facts, whole.columns = found.facts, found.columns
    rows.remove()
    return Rows(stages.folder / "frequent", rows.n)


def frequent_bucket(frequent: _Frequent, bucket: int, folder: Path) -> Whole:
    """The task: one bucket's events of users and items that are frequent enough."""
    whole, before = Whole(), frequent.rows.read(bucket)
    events = keep_frequent_bucket(before, frequent.items, frequent.recipe.catalogue)
    write_rows(folder, events)
    whole.gather(events, frequent.recipe)
    whole.drops[RARE] = len(before) - len(events)
    return whole
