"""The catalogue: which users and items have an id, and which id; fitted on train only, unchanged
within a lineage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import polars as pl
from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import IdSpace
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl import dense

Kind = Literal["user", "item"]
KINDS: tuple[Kind, Kind] = ("user", "item")


class CatalogueConfig(Config):
    """Who gets an id: minimum counts of distinct partners, applied again and again until nothing
    more falls out."""

    min_item_users: int = Field(default=1, ge=1)
    """Distinct users that an item must have."""
    min_user_items: int = Field(default=1, ge=1)
    """Distinct items that a user must have."""
    counted_on: Literal["train", "all"] = "train"
    """`all` counts before the split, test included: only for recipes that repeat a published
    protocol."""


@dataclass(frozen=True)
class Vocabulary:
    """id int32 (0..n-1), value (int64 or string), generation int32, frequency int64: train events
    of the generation in which the value came in."""

    table: pl.DataFrame

    @property
    def values(self) -> pl.Series:
        """The values, by id."""
        return self.table["value"]

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class Catalogue:
    """The vocabularies of users and items, and their lineage. A source of the task `labels` may
    have neither."""

    users: Vocabulary
    items: Vocabulary
    id_space: IdSpace

    def of(self, kind: Kind) -> Vocabulary:
        """The vocabulary of users or of items."""
        return self.users if kind == "user" else self.items


def keep_frequent(
    events: pl.DataFrame, config: CatalogueConfig, *, known: Catalogue | None = None
) -> pl.DataFrame:
    """The events whose item has enough distinct users and whose user has enough distinct items,
    among the kept ones.

    Users and items of `known` stay whatever their counts.
    """
    kept = events
    while True:
        before = len(kept)
        kept = _enough(kept, "item", "user", config.min_item_users, known.items if known else None)
        kept = _enough(kept, "user", "item", config.min_user_items, known.users if known else None)
        if len(kept) == before:
            return kept


def _enough(
    events: pl.DataFrame, kind: Kind, partner: Kind, minimum: int, known: Vocabulary | None
) -> pl.DataFrame:
    if minimum == 1:
        return events
    if not {kind, partner} <= set(events.columns):
        raise DataError(
            f"catalogue.min_{kind}_{partner}s needs users and items, and the source has not both; "
            "leave it out"
        )
    counts = events.group_by(kind).agg(pl.col(partner).n_unique().alias("partners"))
    frequent = counts.filter(pl.col("partners") >= minimum)[kind]
    if known is not None:
        frequent = pl.concat([frequent, known.values.alias(kind)])
    return events.join(frequent.unique().to_frame(), on=kind, how="semi", maintain_order="left")


def fit(
    train: pl.DataFrame, config: CatalogueConfig, *, parent: Catalogue | None = None
) -> Catalogue:
    """Fit the vocabularies on train events: ids by (generation, train frequency descending, value
    ascending).

    With a `parent`, its ids stay and new values follow as the next generation. Raises `DataError`
    where nothing is left, or where the values are of another type than the parent's.
    """
    if parent is not None:
        _refuse_other_types(train, parent)
    kept = keep_frequent(train, config, known=parent) if config.counted_on == "train" else train
    if kept.is_empty():
        raise nothing_left()
    generation = len(parent.id_space.generations) if parent else 0
    users = _extend(_values(kept, "user"), generation, parent.users if parent else None)
    items = _extend(_values(kept, "item"), generation, parent.items if parent else None)
    return Catalogue(users, items, _id_space(users, items, parent))


def nothing_left() -> DataError:
    """The refusal where no train event has an id."""
    return DataError(
        "no train event is left in the catalogue; lower catalogue.min_item_users and "
        "catalogue.min_user_items"
    )


def _values(events: pl.DataFrame, kind: Kind) -> pl.Series:
    """The events' users or items; none where the source has no such column."""
    return events[kind] if kind in events.columns else pl.Series(kind, [], dtype=pl.String)


def of_dataset(data: Dataset) -> Catalogue:
    """The catalogue of an existing dataset."""
    users, items = (pl.DataFrame(data.table(f"vocab/{kind}.parquet")) for kind in KINDS)
    return Catalogue(Vocabulary(users), Vocabulary(items), data.card.id_space)


def _extend(values: pl.Series, generation: int, parent: Vocabulary | None) -> Vocabulary:
    counts = dense.counts(values)
    if counts is None:
        counts = values.alias("value").value_counts(name="frequency").cast({"frequency": pl.Int64})
    if parent is not None:
        counts = counts.join(parent.table, on="value", how="anti")
    n_old = len(parent) if parent else 0
    new = entries(counts.sort(*ORDER, descending=[True, False]), n_old, generation)
    return Vocabulary(pl.concat([parent.table, new]) if parent else new)


ORDER = ("frequency", "value")
"""What tells the ids of a generation: the frequency descending, then the value ascending."""


def entries(counts: pl.DataFrame, first: int, generation: int) -> pl.DataFrame:
    """A vocabulary's rows of `value` and `frequency` in the order of their ids, from `first` on."""
    return counts.select(
        id=pl.int_range(first, first + pl.len(), dtype=pl.Int32),
        value="value",
        generation=pl.lit(generation, pl.Int32),
        frequency=pl.col("frequency").cast(pl.Int64),
    )


def _id_space(users: Vocabulary, items: Vocabulary, parent: Catalogue | None) -> IdSpace:
    """The parent's lineage, longer by one where there is anything new."""
    if parent is None:
        return IdSpace(generations=(_hash(users, items),))
    if len(users) == len(parent.users) and len(items) == len(parent.items):
        return parent.id_space
    return IdSpace(generations=(*parent.id_space.generations, _hash(users, items)))


def _hash(users: Vocabulary, items: Vocabulary) -> str:
    return values_hash([Values.of(users.values), Values.of(items.values)])


@dataclass(frozen=True)
class Values:
    """The values of a vocabulary by id, a piece at a time and as often as wanted."""

    dtype: pl.DataType
    n: int
    pieces: Callable[[], Iterable[pl.Series]]

    @classmethod
    def of(cls, values: pl.Series) -> Values:
        """Values that are in memory."""
        return cls(values.dtype, len(values), lambda: [values])


def values_hash(vocabularies: Iterable[Values]) -> str:
    """16 hex digits of the sha256 of all values in the order of their ids, users first; types and
    lengths count."""
    digest = hashlib.sha256()
    for values in vocabularies:
        digest.update(f"{values.dtype} {values.n}\n".encode())
        for piece in values.pieces():
            lengths = piece.cast(pl.String).str.len_bytes().cast(pl.Int64)
            digest.update(lengths.to_numpy().tobytes())
        for piece in values.pieces():
            digest.update((piece.cast(pl.String).str.join("").item() or "").encode())
    return digest.hexdigest()[:16]


def _refuse_other_types(train: pl.DataFrame, parent: Catalogue) -> None:
    for kind in KINDS:
        here, there = _values(train, kind).dtype, parent.of(kind).values.dtype
        if here != there:
            raise DataError(
                f"{kind} ids are {here} here and {there} in the dataset that this one extends; "
                "bring them to one type, "
                "or leave out `extends` to open a new lineage"
            )
