"""Encoding and writing bucket by bucket: users and items, train, and the folds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import polars as pl
import pyarrow as pa

from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.data.schema import FEATURE, VALID_EVENTS, Fold
from falconer.pipelines.data.table_files import TableFile
from falconer.pipelines.etl import raw
from falconer.pipelines.etl.buckets import features
from falconer.pipelines.etl.buckets.features import Features
from falconer.pipelines.etl.buckets.runs import Runs
from falconer.pipelines.etl.buckets.spill import OLDEST, Spill
from falconer.pipelines.etl.buckets.vocabularies import Vocabularies
from falconer.pipelines.etl.catalogue import Kind
from falconer.pipelines.etl.encode import (
    IDS,
    beside,
    entities_of,
    known_validation,
    train_columns,
    with_ids,
)
from falconer.pipelines.etl.engines import Engine
from falconer.pipelines.etl.features import Table
from falconer.pipelines.etl.folds import FoldTables, fold_of
from falconer.pipelines.etl.in_memory import ROWS_PER_FILE
from falconer.pipelines.etl.looking_back import with_place
from falconer.pipelines.etl.newcomers import UserFeatures
from falconer.pipelines.etl.raw import order_of
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.rows import of_listed_items, rows_of
from falconer.pipelines.etl.split import FoldRule, Part

FRACTION, LABEL = f"{FEATURE} fraction", f"{FEATURE} label"
"""Columns beside a dataset's own, of which none is called so (`schema.column_of`)."""
IDS_LIST = pa.list_(pa.int32())
LISTS = {"history": IDS_LIST, "items": IDS_LIST, "history_times": pa.list_(pa.int64())}
QUERY = ("user", "user_key", "history", "history_times", "time")
TRUTH = ("items", "n_outside")


@dataclass(frozen=True)
class Encoder:
    """Writes the tables of one dataset below `root`, about `size` bytes at a time; `folder` is for
    what lies on disk meanwhile."""

    recipe: EtlRecipe
    engine: Engine
    vocabularies: Vocabularies
    root: Path
    folder: Path
    size: int

    def entities(self, kind: Kind, table: pl.DataFrame | None) -> Features:
        """Fit the features of users or items, and write their table."""
        wanted = self.recipe.features.of(kind)
        fitted = features.fit(self.engine, kind, wanted, lambda: self._entities(kind, table))
        with TableFile(self.root, f"{kind}s.parquet") as file:
            for piece in self._entities(kind, table):
                rows = beside(piece.select("id", "key", "label"), fitted.of(piece))
                file.add(rows.to_arrow(compat_level=OLDEST))
        return fitted

    def _entities(self, kind: Kind, table: pl.DataFrame | None) -> Iterator[pl.DataFrame]:
        items = [self.vocabularies.items]
        first = 0
        for values in self.vocabularies.user_pieces() if kind == "user" else items:
            yield entities_of(values, table, kind, first)
            first += len(values)
        if first == 0:
            yield entities_of(pl.Series("key", [], dtype=pl.String), table, kind)

    def fit_events(self, spill: Spill) -> Features:
        """Fit the features of the train events."""
        wanted = self.recipe.features.event

        def pieces() -> Iterator[pl.DataFrame]:
            for bucket in range(spill.n):
                yield self._train(self._with_ids(spill, bucket))

        return features.fit(self.engine, "event", wanted, pieces)

    def _with_ids(self, spill: Spill, bucket: int) -> pl.DataFrame:
        """The events of a bucket with `user_id` and `item_id`."""
        users = self.vocabularies.users.read(bucket)
        values: dict[Kind, pl.Series] = {"user": users["value"], "item": self.vocabularies.items}
        events = with_ids(spill.read(bucket), values, self.engine)
        events = with_place(events, self.recipe.features.event)
        if "user" not in events.columns:
            return events
        # The engine's ids are places among the bucket's users.
        ids = pl.concat([users["id"], pl.Series("id", [-1], dtype=pl.Int32)])
        places = events["user_id"].to_numpy()
        return events.with_columns(ids.gather(places % len(ids)).alias("user_id"))

    def _train(self, events: pl.DataFrame) -> pl.DataFrame:
        train = events.filter(pl.col("part") == int(Part.TRAIN))
        if self.recipe.task == "labels":
            return train
        return train.filter(*(pl.col(name) >= 0 for name in IDS.values()))

    def events(
        self,
        spill: Spill,
        fitted: Mapping[Table, Features],
        rules: Mapping[Fold, FoldRule],
        users: pl.DataFrame | None,
        items: pl.DataFrame | None,
    ) -> tuple[int, dict[Fold, dict[str, int]]]:
        """Write train, validation's events and the folds; the number of train rows, and each fold's
        counts. `users` and `items` are the source's tables."""
        of_labels = self.recipe.task == "labels"
        by = [FRACTION if name == raw.FRACTION else name for name in order_of(spill.empty)]
        train, valid = Runs(self.folder / "train", by), Runs(self.folder / "validation", by)
        folds = {
            fold: _FoldRuns(Runs(self.folder / fold, by if of_labels else ("user_key",)))
            for fold in rules
        }
        for bucket in range(spill.n):
            events = self._with_ids(spill, bucket)
            train.add(self._train_rows(self._train(events), fitted["event"]))
            valid.add(self._train_rows(known_validation(events), fitted["event"]))
            of_users = self._user_features(bucket, fitted["user"], users)
            for fold, rule in rules.items():
                if of_labels:
                    rows = events.filter(pl.col("part") == int(rule.truth))
                    found, counts, context = self._labelled(rows, fitted["event"], of_users)
                    listed = of_listed_items(rows, items) if self.recipe.features.item else {}
                    folds[fold].add(found, counts | listed, context)
                else:
                    folds[fold].add(*self._queries(events, rule, of_users))
        self._write_train(train)
        self._write_validation(valid)
        for fold, runs in folds.items():
            write = self._write_rows if of_labels else self._write_queries
            write(fold, runs)
        return len(train), {fold: runs.counts for fold, runs in folds.items()}

    def _user_features(
        self, bucket: int, fitted: Features, users: pl.DataFrame | None
    ) -> UserFeatures:
        """What is known of the users of a bucket."""
        values = self.vocabularies.users.read(bucket)["value"]
        entities = entities_of(values, users, "user")
        known = beside(entities.select("key"), fitted.of(entities))
        return UserFeatures(known, users, self.engine, fitted.wanted, fitted.encodings)

    def _train_rows(self, train: pl.DataFrame, fitted: Features) -> pl.DataFrame:
        rows = beside(train_columns(train, self.recipe), fitted.of(train))
        return _with_fraction(rows, train)

    def _write_train(self, runs: Runs) -> None:
        pieces = runs.merged(self.size)
        tables = (_without_fraction(piece).to_arrow(compat_level=OLDEST) for piece in pieces)
        for number, parts in groupby(_parted(tables), key=itemgetter(0)):
            with TableFile(self.root, f"train/part-{number:05}.parquet") as file:
                for _, table in parts:
                    file.add(table)
        runs.remove()

    def _write_validation(self, runs: Runs) -> None:
        if len(runs):
            with TableFile(self.root, VALID_EVENTS) as file:
                for piece in runs.merged(self.size):
                    file.add(_without_fraction(piece).to_arrow(compat_level=OLDEST))
        runs.remove()

    def _labelled(
        self, rows: pl.DataFrame, fitted: Features, users: UserFeatures
    ) -> tuple[pl.DataFrame, dict[str, int], _Context]:
        assert self.recipe.target is not None
        found = rows_of(rows, fitted.of(rows), self.recipe.target.kind)
        context = _Context()
        if "user" in rows.columns:
            context = _context(users, rows["user"], rows[IDS["user"]])
        pairs = found.pairs.with_columns(context.columns)
        pairs = pairs.with_columns(pl.Series(LABEL, found.labels))
        return _with_fraction(pairs, rows), found.counts, context

    def _write_rows(self, fold: Fold, found: _FoldRuns) -> None:
        with (
            TableFile(self.root, f"pairs/{fold}.parquet") as pairs,
            TableFile(self.root, f"labels/{fold}.parquet") as labels,
        ):
            for piece in found.runs.merged(self.size):
                rows = _without_fraction(piece).drop(found.dropped())
                pairs.add(rows.drop(LABEL).to_arrow(compat_level=OLDEST))
                labels.add(pa.table({"label": rows[LABEL].to_arrow()}))
        found.runs.remove()

    def _queries(
        self, events: pl.DataFrame, rule: FoldRule, users: UserFeatures
    ) -> tuple[pl.DataFrame, dict[str, int], _Context]:
        found = fold_of(events, rule, items=self.vocabularies.items)
        context = _context(users, found.keys, pl.Series(found.queries.user))
        return _query_rows(found).with_columns(context.columns), found.counts, context

    def _write_queries(self, fold: Fold, found: _FoldRuns) -> None:
        with (
            TableFile(self.root, f"queries/{fold}.parquet") as queries,
            TableFile(self.root, f"truth/{fold}.parquet") as truth,
        ):
            for piece in found.runs.merged(self.size):
                own = [name for name in QUERY if name in piece.columns]
                beside_them = [] if found.dropped() else found.names
                queries.add(_listed(piece.select(*own, *beside_them)))
                truth.add(_listed(piece.select(TRUTH)))
        found.runs.remove()


@dataclass(frozen=True)
class _Context:
    """The users' features beside the rows of a fold, and whether the users' ids tell them too."""

    columns: list[pl.Series] = field(default_factory=list)
    is_told: bool = True


def _context(users: UserFeatures, keys: pl.Series, ids: pl.Series) -> _Context:
    columns, is_told = users.of_a_part(keys, ids.to_numpy())
    return _Context([] if columns is None else columns.get_columns(), is_told)


@dataclass
class _FoldRuns:
    runs: Runs
    counts: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    """Of the users' features beside the rows."""
    is_told: bool = True

    def add(self, rows: pl.DataFrame, counts: Mapping[str, int], context: _Context) -> None:
        self.runs.add(rows)
        self.names = [column.name for column in context.columns]
        self.is_told = self.is_told and context.is_told
        for name, n in counts.items():
            self.counts[name] = self.counts.get(name, 0) + n

    def dropped(self) -> list[str]:
        """The columns that say nothing which the users' ids do not tell."""
        return self.names if self.is_told else []


def _parted(tables: Iterable[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    """The tables, cut where a file ends, with the number of their file; at least one."""
    first = 0
    for table in tables:
        if first == table.num_rows == 0:
            yield 0, table
        end = first + table.num_rows
        for number in range(first // ROWS_PER_FILE, -(-end // ROWS_PER_FILE)):
            start = max(number * ROWS_PER_FILE, first)
            yield number, table.slice(start - first, (number + 1) * ROWS_PER_FILE - start)
        first = end


def _with_fraction(rows: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """The rows with what orders them beyond their own columns."""
    if raw.FRACTION not in events.columns:
        return rows
    return rows.with_columns(events[raw.FRACTION].alias(FRACTION))


def _without_fraction(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.drop(FRACTION, strict=False)


def _query_rows(found: FoldTables) -> pl.DataFrame:
    queries, truth = found.queries, found.truth
    columns = {
        "user": pl.Series(queries.user, dtype=pl.Int32),
        "user_key": found.keys,
        "history": _lists(queries.history, pl.Int32),
        "items": _lists(truth.items, pl.Int32),
        "n_outside": pl.Series(truth.n_outside, dtype=pl.Int64),
    }
    if queries.history_times is not None:
        columns["history_times"] = _lists(queries.history_times, pl.Int64)
    if queries.time is not None:
        columns["time"] = pl.Series(queries.time, dtype=pl.Int64)
    return pl.DataFrame(columns)


def _lists(ragged: Ragged, dtype: type[pl.Int32 | pl.Int64]) -> pl.Series:
    values = pa.array(ragged.values)
    lists = pa.LargeListArray.from_arrays(pa.array(ragged.offsets), values)
    return pl.Series(pl.from_arrow(lists), dtype=pl.List(dtype))


def _listed(rows: pl.DataFrame) -> pa.Table:
    """An Arrow table with lists of the type that datasets have."""
    table = rows.to_arrow(compat_level=OLDEST)
    types = [LISTS.get(field.name, field.type) for field in table.schema]
    return pa.table(
        [column.cast(dtype) for column, dtype in zip(table.columns, types, strict=True)],
        names=table.column_names,
    )
