"""Fitting on train and encoding: the catalogue, the features and the folds of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipelines.data.schema import Fold
from pipelines.etl import catalogue as catalogues
from pipelines.etl import features as plans
from pipelines.etl.catalogue import Catalogue, Kind
from pipelines.etl.engines import Engine
from pipelines.etl.features import Categorical, Encoder, Encoding
from pipelines.etl.folds import FoldTables, fold_of
from pipelines.etl.raw import Raw
from pipelines.etl.recipe import EtlRecipe
from pipelines.etl.split import Part, Split
from pipelines.etl.stopwatch import Stopwatch

IDS = {"user": "user_id", "item": "item_id"}
FLOATS = ("rating", "weight")


@dataclass(frozen=True)
class Parent:
    """What a dataset that extends another one takes over from it."""

    dataset_id: str
    catalogue: Catalogue
    encoder: Encoder


@dataclass(frozen=True)
class Encoded:
    """The content of a dataset: `train` and `entities` ("user", "item") as they will be written."""

    catalogue: Catalogue
    encoder: Encoder
    train: pl.DataFrame
    entities: Mapping[Kind, pl.DataFrame]
    folds: Mapping[Fold, FoldTables]


def encode(
    raw: Raw, divided: Split, recipe: EtlRecipe, *, engine: Engine, parent: Parent | None, watch: Stopwatch
) -> Encoded:
    """Fit everything on the split's train events only, and encode all of them."""
    with watch("fit"):
        in_train = divided.events.filter(pl.col("part") == int(Part.TRAIN))
        catalogue = catalogues.fit(in_train, recipe.catalogue, parent=parent.catalogue if parent else None)
    with watch("encode"):
        events = _with_ids(divided.events, catalogue, engine)
    train = events.filter(pl.col("part") == int(Part.TRAIN), *(pl.col(name) >= 0 for name in IDS.values()))
    entities = {
        "user": _entities(catalogue.users.values, raw.users, "user"),
        "item": _entities(catalogue.items.values, raw.items, "item"),
    }
    encodings, encoded = _features(recipe, engine, {"event": train, **entities}, parent, watch)
    with watch("encode"):
        return Encoded(
            catalogue,
            Encoder(encodings),
            _beside(_train_columns(train), encoded["event"]),
            {kind: _beside(entities[kind].select("id", "key", "label"), encoded[kind]) for kind in catalogues.KINDS},
            _folds(events, divided, raw.candidates, catalogue),
        )


def _with_ids(events: pl.DataFrame, catalogue: Catalogue, engine: Engine) -> pl.DataFrame:
    """The events with `user_id` and `item_id`, encoded by the engine; -1 = outside the vocabulary."""
    plain = Categorical(kind="categorical")
    encodings = {
        "user": Encoding(plain, catalogue.users.values),
        "item": Encoding(plain, catalogue.items.values),
    }
    ids = engine.apply(events.select("user", "item"), encodings)
    return events.with_columns(ids.rename(IDS))


def _entities(values: pl.Series, table: pl.DataFrame | None, kind: Kind) -> pl.DataFrame:
    """One row an id: `id`, `key`, `label` (the source's, else the key as text), and the source's other columns."""
    entities = pl.DataFrame({"key": values}).with_row_index("id").cast({"id": pl.Int32})
    if table is not None:
        entities = entities.join(table.rename({kind: "key"}), on="key", how="left", maintain_order="left")
    label = pl.col("key").cast(pl.String)
    return entities.with_columns(label=pl.coalesce("label", label) if "label" in entities.columns else label)


def _features(
    recipe: EtlRecipe, engine: Engine, tables: Mapping[str, pl.DataFrame], parent: Parent | None, watch: Stopwatch
) -> tuple[dict[plans.Table, dict[str, Encoding]], dict[str, pl.DataFrame]]:
    """Each table's encodings, fitted on its rows, and its encoded columns."""
    encodings: dict[plans.Table, dict[str, Encoding]] = {}
    encoded: dict[str, pl.DataFrame] = {}
    for table in plans.TABLES:
        wanted = recipe.features.of(table)
        frame = plans.canonical(tables[table], wanted, table)
        with watch("fit"):
            known = parent.encoder.encodings[table] if parent else {}
            encodings[table] = plans.fit(engine.fit(frame, wanted), wanted, known)
        with watch("encode"):
            encoded[table] = engine.apply(frame, encodings[table])
    return encodings, encoded


def _beside(columns: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    return columns.with_columns(features.get_columns())


def _train_columns(train: pl.DataFrame) -> pl.DataFrame:
    optional = [name for name in ("time", *FLOATS) if name in train.columns]
    columns = train.select("ordinal", *optional, user="user_id", item="item_id")
    return columns.select("user", "item", "ordinal", *optional).cast(
        {name: pl.Float32 for name in FLOATS if name in optional}
    )


def _folds(
    events: pl.DataFrame, divided: Split, candidates: pl.DataFrame | None, catalogue: Catalogue
) -> dict[Fold, FoldTables]:
    """The folds' queries and truth; given candidates are for the test fold of a protocol that ranks among them."""
    given = candidates if divided.card.sampled else None
    return {
        fold: fold_of(events, rule, candidates=given if fold == "test" else None, items=catalogue.items.values)
        for fold, rule in divided.folds.items()
    }
