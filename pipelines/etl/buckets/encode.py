"""Encoding bucket by bucket: what each event, query and row becomes, in sorted runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa

from falconer.pipelines import parquet
from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.data.schema import FEATURE, Fold
from falconer.pipelines.etl import features as plans
from falconer.pipelines.etl import raw
from falconer.pipelines.etl.buckets.features import Features
from falconer.pipelines.etl.buckets.frames import Rows
from falconer.pipelines.etl.buckets.runs import write_run
from falconer.pipelines.etl.buckets.vocabularies import Vocabularies
from falconer.pipelines.etl.catalogue import Kind
from falconer.pipelines.etl.encode import (
    IDS,
    beside,
    entities_of,
    known_validation,
    of_train,
    train_columns,
    with_ids,
)
from falconer.pipelines.etl.engines import Engine, all_together
from falconer.pipelines.etl.features import Moments, Statistics
from falconer.pipelines.etl.folds import FoldTables, fold_of
from falconer.pipelines.etl.inputs import canonical
from falconer.pipelines.etl.looking_back import with_place
from falconer.pipelines.etl.medians import asks, median_counts, with_medians
from falconer.pipelines.etl.newcomers import NewcomerFeatures
from falconer.pipelines.etl.operators import AnyFeature
from falconer.pipelines.etl.raw import order_of
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.rows import of_listed_items, rows_of
from falconer.pipelines.etl.split import FoldRule
from falconer.pipelines.etl.workers.tasks import Stages

FRACTION, LABEL = f"{FEATURE} fraction", f"{FEATURE} label"
"""Columns beside a dataset's own, of which none is called so (`schema.column_of`)."""
TRAIN, VALIDATION = "train.arrow", "validation.arrow"


@dataclass(frozen=True)
class Events:
    """The split events, and what gives them ids."""

    recipe: EtlRecipe
    engine: Engine
    rows: Rows
    vocabularies: Vocabularies

    def of(self, bucket: int) -> pl.DataFrame:
        """The events of a bucket with `user_id` and `item_id`."""
        users = self.vocabularies.users_of(bucket)
        values: dict[Kind, pl.Series] = {"user": users["value"], "item": self.vocabularies.items}
        events = with_ids(self.rows.read(bucket), values, self.engine)
        events = with_place(events, self.recipe.features.event)
        if "user" not in events.columns:
            return events
        # The engine's ids are places among the bucket's users.
        ids = pl.concat([users["id"], pl.Series("id", [-1], dtype=pl.Int32)])
        places = events["user_id"].to_numpy()
        return events.with_columns(ids.gather(places % len(ids)).alias("user_id"))

    def train(self, events: pl.DataFrame) -> pl.DataFrame:
        """Those of `events` that train has."""
        return events.filter(of_train(self.recipe))


@dataclass(frozen=True)
class _Fitting:
    """`features` are those wanted, `filled` the same with a number for every null."""

    events: Events
    features: Mapping[str, AnyFeature]
    filled: Mapping[str, AnyFeature]

    def inputs(self, bucket: int) -> pl.DataFrame:
        """One bucket's train events, as operators are given them."""
        train = self.events.train(self.events.of(bucket))
        return canonical(train, self.features, "event")


def fit_events(events: Events, stages: Stages) -> Features:
    """Fit the features of events on train."""
    wanted, n = events.recipe.features.event, events.rows.n
    if not wanted:
        return Features(events.engine, "event", {}, {})
    fitting = _Fitting(events, wanted, wanted)
    counts = (
        stages.run("medians", medians_of_bucket, fitting, n)
        if any(map(asks, wanted.values()))
        else ()
    )
    filled, medians = with_medians(wanted, counts)
    fitting = _Fitting(events, wanted, filled)
    parts = stages.run("statistics", statistics_of_bucket, fitting, n, (Statistics, Moments))
    encodings = plans.fit(all_together(parts, filled, medians), wanted, {})
    return Features(events.engine, "event", wanted, encodings)


def medians_of_bucket(fitting: _Fitting, bucket: int, _: Path) -> dict[str, pl.DataFrame]:
    """The task: what one bucket tells of the medians that are asked for."""
    return median_counts(fitting.features, fitting.inputs(bucket))


def statistics_of_bucket(fitting: _Fitting, bucket: int, _: Path) -> Statistics:
    """The task: what one bucket's train events tell of the event features."""
    return fitting.events.engine.fit(fitting.inputs(bucket), fitting.filled)


@dataclass(frozen=True)
class Job:
    """What the encoding of a bucket needs: the features of events, users and items as they were
    fitted, and the source's tables of users and items."""

    events: Events
    event: Features
    user: Features
    item: Features
    rules: Mapping[Fold, FoldRule]
    users: pl.DataFrame | None
    items: pl.DataFrame | None

    @property
    def recipe(self) -> EtlRecipe:
        """The recipe."""
        return self.events.recipe


@dataclass(frozen=True)
class FoldFacts:
    """Of a fold, or of one bucket of it: counts for the card, and for each feature of users and
    items beside its rows whether the ids tell it too."""

    counts: dict[str, int]
    is_told: dict[str, bool]

    @property
    def beside(self) -> list[str]:
        """The features that are written beside the rows."""
        return [name for name, told in self.is_told.items() if not told]

    def and_also(self, other: FoldFacts) -> FoldFacts:
        """Of both."""
        counts = {
            name: self.counts.get(name, 0) + other.counts.get(name, 0)
            for name in {**self.counts, **other.counts}
        }
        told = {name: self.is_told[name] and told for name, told in other.is_told.items()}
        return FoldFacts(counts, told)


def run_of(fold: Fold) -> str:
    """The file of a bucket's rows of a fold."""
    return f"{fold}.arrow"


def order_of_train(events: pl.DataFrame) -> list[str]:
    """The columns that order train rows."""
    return [FRACTION if name == raw.FRACTION else name for name in order_of(events)]


def order_of_fold(job: Job, events: pl.DataFrame) -> list[str]:
    """The columns that order a fold's rows."""
    return order_of_train(events) if job.recipe.task == "labels" else ["user_key"]


def encode_bucket(job: Job, bucket: int, folder: Path) -> dict[Fold, FoldFacts]:
    """The task: one bucket's train rows, validation's, and the folds', sorted."""
    events = job.events.of(bucket)
    by = order_of_train(events)
    write_run(folder / TRAIN, _train_rows(job, job.events.train(events)), by)
    write_run(folder / VALIDATION, _train_rows(job, known_validation(events)), by)
    users = _user_features(job, bucket)
    found = {}
    for fold, rule in job.rules.items():
        if job.recipe.task == "labels":
            truth = events.filter(pl.col("part") == int(rule.truth))
            rows, counts, context = _labelled(job, truth, users)
            counts |= of_listed_items(truth, job.items) if job.recipe.features.item else {}
        else:
            rows, counts, context = _queries(job, events, rule, users)
        write_run(folder / run_of(fold), rows, order_of_fold(job, events))
        found[fold] = FoldFacts(dict(counts), context.is_told)
    return found


def _user_features(job: Job, bucket: int) -> NewcomerFeatures:
    """What is known of the users of a bucket."""
    values = job.events.vocabularies.users_of(bucket)["value"]
    return _newcomers("user", values, job.users, job.user)


def _item_features(job: Job, items: pl.Series) -> NewcomerFeatures:
    """What is known of these items."""
    every = job.events.vocabularies.items
    return _newcomers("item", every.filter(every.is_in(items.implode())), job.items, job.item)


def _newcomers(
    kind: Kind, values: pl.Series, table: pl.DataFrame | None, fitted: Features
) -> NewcomerFeatures:
    entities = entities_of(values, table, kind)
    known = beside(entities.select("key"), fitted.of(entities))
    return NewcomerFeatures(kind, known, table, fitted.engine, fitted.wanted, fitted.encodings)


def _train_rows(job: Job, train: pl.DataFrame) -> pl.DataFrame:
    rows = beside(train_columns(train, job.recipe), job.event.of(train))
    return _with_fraction(rows, train)


def _labelled(
    job: Job, rows: pl.DataFrame, users: NewcomerFeatures
) -> tuple[pl.DataFrame, dict[str, int], _Context]:
    assert job.recipe.target is not None
    found = rows_of(rows, job.event.of(rows), job.recipe.target.kind)
    context = _Context()
    if "user" in rows.columns:
        context = _context(users, rows["user"], rows[IDS["user"]])
    if "item" in rows.columns:
        items = _item_features(job, rows["item"])
        context = context.and_also(_context(items, rows["item"], rows[IDS["item"]]))
    pairs = found.pairs.with_columns(context.columns)
    pairs = pairs.with_columns(pl.Series(LABEL, found.labels))
    return _with_fraction(pairs, rows), found.counts, context


def _queries(
    job: Job, events: pl.DataFrame, rule: FoldRule, users: NewcomerFeatures
) -> tuple[pl.DataFrame, dict[str, int], _Context]:
    found = fold_of(events, rule, items=job.events.vocabularies.items)
    context = _context(users, found.keys, pl.Series(found.queries.user))
    return _query_rows(found).with_columns(context.columns), found.counts, context


@dataclass(frozen=True)
class _Context:
    """The features of users and items beside the rows of a fold, and whether the ids tell them
    too."""

    columns: list[pl.Series] = field(default_factory=list)
    is_told: dict[str, bool] = field(default_factory=dict)

    def and_also(self, other: _Context) -> _Context:
        return _Context(self.columns + other.columns, self.is_told | other.is_told)


def _context(newcomers: NewcomerFeatures, keys: pl.Series, ids: pl.Series) -> _Context:
    frame, is_told = newcomers.of_a_part(keys, ids.to_numpy())
    columns = [] if frame is None else frame.get_columns()
    return _Context(columns, {column.name: is_told for column in columns})


def _with_fraction(rows: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """The rows with what orders them beyond their own columns."""
    if raw.FRACTION not in events.columns:
        return rows
    return rows.with_columns(events[raw.FRACTION].alias(FRACTION))


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
    values = parquet.column(ragged.values)
    lists = pa.LargeListArray.from_arrays(parquet.column(ragged.offsets), values)
    return pl.Series(pl.from_arrow(lists), dtype=pl.List(dtype))
