"""Fitting on train and encoding: the catalogue, the features and the folds of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from falconer.pipelines.data.schema import Fold, IdSpace, View, column_of
from falconer.pipelines.etl import catalogue as catalogues
from falconer.pipelines.etl import features as plans
from falconer.pipelines.etl.catalogue import KINDS, Catalogue, Kind
from falconer.pipelines.etl.chosen import Chosen, Columns
from falconer.pipelines.etl.describe import Counted
from falconer.pipelines.etl.engines import Engine, encoded, fitted, groups_of
from falconer.pipelines.etl.features import Encoder, Encoding
from falconer.pipelines.etl.folds import Asking, FoldTables, folds_of
from falconer.pipelines.etl.inputs import canonical, continued
from falconer.pipelines.etl.logged import rows_of as logged_rows
from falconer.pipelines.etl.looking_back import with_place
from falconer.pipelines.etl.newcomers import NewcomerFeatures
from falconer.pipelines.etl.operators import AnyFeature, Categorical, columns_of
from falconer.pipelines.etl.raw import Raw, feature_column
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.rows import RowTables, of_listed_items, rows_of
from falconer.pipelines.etl.side_by_side import side_by_side
from falconer.pipelines.etl.split import Part, Split
from falconer.pipelines.etl.stopwatch import Stopwatch

IDS = {"user": "user_id", "item": "item_id"}
FLOATS = ("rating", "weight")


@dataclass(frozen=True)
class Parent:
    """What a dataset that extends another one takes over from it."""

    dataset_id: str
    catalogue: Catalogue
    encoder: Encoder
    entities: Mapping[Kind, pl.DataFrame]
    """Its users and items as written: `id`, `key`, `label` and encoded features."""
    earlier: pl.DataFrame | None = None
    """Train events that are written already, where days are appended: `user`, `user_id`, `item_id`,
    `time` and `part`, before all others."""
    views: tuple[View, ...] = ()
    """The first one is what its models were selected on."""


@dataclass(frozen=True)
class Encoded:
    """The content of a dataset: `train` and `entities` ("user", "item") as they will be written.

    The task top_n has `folds`, the task labels has `rows`; the other one is empty.
    """

    catalogue: Catalogue
    encoder: Encoder
    train: pl.DataFrame
    entities: Mapping[Kind, pl.DataFrame]
    folds: Mapping[Fold, FoldTables]
    rows: Mapping[Fold, RowTables]
    valid: pl.DataFrame | None
    """The validation events of known users and items, as train has them; None without any."""
    counted: Counted
    """The values of the source's columns, as far as features of train counted them."""
    logged: pl.DataFrame | None = None
    """As the schema has it; None where nothing was logged."""


def encode(
    raw: Raw,
    divided: Split,
    recipe: EtlRecipe,
    *,
    engine: Engine,
    parent: Parent | None,
    watch: Stopwatch,
) -> Encoded:
    """Fit everything on the split's train events only, and encode all of them."""
    with watch("fit"):
        catalogue = _catalogue(divided, recipe, parent)
    with watch("encode"):
        values = {kind: catalogue.of(kind).values for kind in KINDS}
        events = with_ids(divided.events, values, engine)
        logged = None if raw.logged is None else with_ids(raw.logged, values, engine)
        events = with_place(events, recipe.features.event)
    in_train = events.select(of_train(recipe)).to_series()
    train = Chosen.of(events, in_train)
    entities = {
        "user": entities_of(catalogue.users.values, raw.users, "user"),
        "item": entities_of(catalogue.items.values, raw.items, "item"),
    }
    tables: dict[str, Columns] = {"event": train, **entities}
    encodings, columns, counts = _features(recipe, engine, tables, parent, watch)
    known = _by_column(events.schema, recipe.features.event, counts)
    with watch("encode"):
        of_labels = recipe.task == "labels"
        listed = {"user": raw.users, "item": raw.items}
        written = {
            kind: _inherited(
                beside(entities[kind].select("id", "key", "label"), columns[kind]),
                listed[kind],
                kind,
                parent,
            )
            for kind in KINDS
        }
        users, items = (
            NewcomerFeatures(
                kind, written[kind], listed[kind], engine, recipe.features.of(kind), encodings[kind]
            )
            for kind in KINDS
        )
        earlier = _whole(events, parent)
        folds = {} if of_labels else _folds(earlier, divided, raw, catalogue, users, logged)
        return Encoded(
            with_lineage(catalogue, Encoder(encodings), parent),
            Encoder(encodings),
            beside(train_columns(train, recipe), columns["event"]),
            written,
            folds,
            _rows(events, divided, recipe, raw, engine, encodings["event"], (users, items))
            if of_labels
            else {},
            _valid(events, recipe, engine, encodings["event"]),
            Counted(known, (~in_train).arg_true()),
            None if logged is None else logged_rows(logged, folds["test"].keys),
        )


def _catalogue(divided: Split, recipe: EtlRecipe, parent: Parent | None) -> Catalogue:
    """The users and items of train."""
    ids = [kind for kind in KINDS if kind in divided.events.columns]
    in_train = divided.events.select(*ids, "part").filter(pl.col("part") == int(Part.TRAIN))
    known = parent.catalogue if parent else None
    return catalogues.fit(in_train, recipe.catalogue, parent=known)


def with_lineage(catalogue: Catalogue, encoder: Encoder, parent: Parent | None) -> Catalogue:
    """The catalogue with the lineage that `lineage_of` tells."""
    n = len(catalogue.users) + len(catalogue.items)
    return replace(catalogue, id_space=lineage_of(catalogue.id_space, n, encoder, parent))


def lineage_of(id_space: IdSpace, n: int, encoder: Encoder, parent: Parent | None) -> IdSpace:
    """The lineage of `n` users and items. Without any it is that of the features' statistics, as
    nothing else has ids."""
    if n:
        return id_space
    before = parent.catalogue.id_space.generations if parent else ()
    identity = encoder.identity()
    generations = before if before and before[-1] == identity else (*before, identity)
    return IdSpace(generations=generations)


def with_ids(
    events: pl.DataFrame, values: Mapping[Kind, pl.Series], engine: Engine
) -> pl.DataFrame:
    """The events with `user_id` and `item_id`, the places of their users and items in `values` by
    the engine, as far as the source has them.

    -1 = outside the vocabulary.
    """
    present = [kind for kind in KINDS if kind in events.columns]
    plain = Categorical(kind="categorical")
    ids = engine.apply(
        events.select(present),
        {kind: Encoding(plain, values[kind]) for kind in present},
    )
    return events.with_columns(ids.rename({kind: IDS[kind] for kind in present}).get_columns())


def entities_of(
    values: pl.Series, table: pl.DataFrame | None, kind: Kind, first: int = 0
) -> pl.DataFrame:
    """One row an id from `first` on: `id`, `key`, `label` (the source's, else the key as text), and
    the source's other columns."""
    entities = pl.DataFrame({"key": values}).with_row_index("id", first).cast({"id": pl.Int32})
    if table is not None:
        entities = entities.join(
            table.rename({kind: "key"}), on="key", how="left", maintain_order="left"
        )
    label = pl.col("key").cast(pl.String)
    return entities.with_columns(
        label=pl.coalesce("label", label) if "label" in entities.columns else label
    )


def _inherited(
    entities: pl.DataFrame, table: pl.DataFrame | None, kind: Kind, parent: Parent | None
) -> pl.DataFrame:
    """What the parent knew of users or items that the source's table does not have: a table may
    hold only what is new. Encodings continue, so its values keep their meaning."""
    if parent is None:
        return entities
    listed = pl.Series(kind, [], dtype=entities.schema["key"]) if table is None else table[kind]
    old = parent.entities[kind]
    absent = old.filter(~pl.col("key").is_in(listed.implode()))
    kept = [name for name in absent.columns if name in entities.columns and name != "key"]
    return entities.update(absent.select(kept), on="id").select(entities.columns)


def of_train(recipe: EtlRecipe) -> pl.Expr:
    """Whether an event, with its part and ids, is one of train; of lists, where both ids are
    known."""
    known = [pl.col(name) >= 0 for name in IDS.values()] if recipe.task == "top_n" else []
    return pl.all_horizontal(pl.col("part") == int(Part.TRAIN), *known)


def _features(
    recipe: EtlRecipe,
    engine: Engine,
    tables: Mapping[str, Columns],
    parent: Parent | None,
    watch: Stopwatch,
) -> tuple[
    dict[plans.Table, dict[str, Encoding]], dict[str, pl.DataFrame], dict[str, pl.DataFrame]
]:
    """Each table's encodings, fitted on its rows, and its encoded columns; and what was counted
    of the events."""
    encodings: dict[plans.Table, dict[str, Encoding]] = {}
    columns: dict[str, pl.DataFrame] = {}
    counts: dict[str, pl.DataFrame] = {}
    for table in plans.TABLES:
        wanted = recipe.features.of(table)
        known = parent.encoder.encodings[table] if parent else {}
        with watch("features"):
            fits = Fits(tables[table], table, engine, known)
            found = side_by_side(fits.of, groups_of(engine, wanted))
        encodings[table] = {name: one for fitted, *_ in found for name, one in fitted.items()}
        # By name: of a list of columns, Polars renames one that is called "".
        made = {column.name: column for _, encoded, _ in found for column in encoded}
        columns[table] = pl.DataFrame(made)
        if table == "event":
            counts = {name: one for *_, each in found for name, one in each.items()}
    return encodings, columns, counts


def _by_column(
    types: pl.Schema, wanted: Mapping[str, AnyFeature], counts: Mapping[str, pl.DataFrame]
) -> dict[str, pl.DataFrame]:
    """Those of features' counts that are of a column's very values, by the column."""
    found = {}
    for name, config in wanted.items():
        if isinstance(config, Categorical):
            [column] = map(feature_column, columns_of(name, config))
            own = pl.Int64 if types[column].is_integer() else types[column]
            if counts[name].schema["value"] == own:
                found[column] = counts[name]
    return found


@dataclass(frozen=True)
class Fits:
    """Fits features on the rows of one table, and applies them to these."""

    rows: Columns
    table: plans.Table
    engine: Engine
    known: Mapping[str, Encoding]
    """Those that are continued."""

    def of(
        self, wanted: Mapping[str, AnyFeature]
    ) -> tuple[dict[str, Encoding], pl.DataFrame, Mapping[str, pl.DataFrame]]:
        """The features' encodings and encoded columns, and what was counted."""
        frame = continued(canonical(self.rows, wanted, self.table), self.known)
        statistics = fitted(self.engine, wanted, lambda: [frame])
        encodings = plans.fit(statistics, wanted, self.known)
        return encodings, self.engine.apply(frame, encodings), statistics.counts


def beside(columns: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """`columns` and the encoded features, under the names that datasets have."""
    return columns.with_columns(features.rename(column_of).get_columns())


def train_columns(train: Columns, recipe: EtlRecipe) -> pl.DataFrame:
    """The columns of train without features. For labels the label is the only trace of the column
    that it is of."""
    floats = FLOATS if recipe.task == "top_n" else ("label",)
    optional = [name for name in ("time", *floats) if name in train.columns]
    ids = {kind: name for kind, name in IDS.items() if name in train.columns}
    wanted = {**ids, "ordinal": "ordinal", **{name: name for name in optional}}
    columns = pl.DataFrame({ours: train[theirs] for ours, theirs in wanted.items()})
    return columns.cast({name: pl.Float32 for name in floats if name in optional})


def _whole(events: pl.DataFrame, parent: Parent | None) -> pl.DataFrame:
    if parent is None or parent.earlier is None:
        return events
    return pl.concat([parent.earlier, events], how="diagonal")


def _folds(
    events: pl.DataFrame,
    divided: Split,
    raw: Raw,
    catalogue: Catalogue,
    users: NewcomerFeatures,
    logged: pl.DataFrame | None,
) -> dict[Fold, FoldTables]:
    """The folds' queries and truth; given candidates are for the test fold of a protocol that ranks
    among them, and those who were shown something are asked about there too."""
    given = raw.candidates if divided.card.sampled else None
    askings = [
        Asking(rule, given, logged) if fold == "test" else Asking(rule)
        for fold, rule in divided.folds.items()
    ]
    tables = folds_of(events, askings, items=catalogue.items.values)
    folds = dict(zip(divided.folds, tables, strict=True))
    return {
        fold: replace(tables, context=users.of(tables.keys, tables.queries.user))
        for fold, tables in folds.items()
    }


def known_validation(events: pl.DataFrame) -> pl.DataFrame:
    """The validation events of users and items with an id."""
    known = [pl.col(name) >= 0 for name in IDS.values() if name in events.columns]
    return events.filter(pl.col("part").is_in([int(Part.VALID), int(Part.VALID_HISTORY)]), *known)


def _valid(
    events: pl.DataFrame, recipe: EtlRecipe, engine: Engine, encodings: Mapping[str, Encoding]
) -> pl.DataFrame | None:
    """What a model that is fitted anew on train and validation learns from besides train."""
    valid = known_validation(events)
    if valid.is_empty():
        return None
    features = encoded(valid, recipe.features.event, "event", engine, encodings)
    return beside(train_columns(valid, recipe), features)


def _rows(
    events: pl.DataFrame,
    divided: Split,
    recipe: EtlRecipe,
    raw: Raw,
    engine: Engine,
    encodings: Mapping[str, Encoding],
    newcomers: Sequence[NewcomerFeatures],
) -> dict[Fold, RowTables]:
    """The folds' rows and labels, with the event features as they were fitted on train."""
    assert recipe.target is not None
    tables = {}
    for fold, rule in divided.folds.items():
        rows = events.filter(pl.col("part") == int(rule.truth))
        features = encoded(rows, recipe.features.event, "event", engine, encodings)
        found = rows_of(rows, features, recipe.target.kind)
        if recipe.features.item:
            found = replace(found, counts=found.counts | of_listed_items(rows, raw.items))
        for one in newcomers:
            if one.kind in rows.columns:
                told = one.of(rows[one.kind], rows[IDS[one.kind]].to_numpy())
                found = found if told is None else found.beside(told)
        tables[fold] = found
    return tables
