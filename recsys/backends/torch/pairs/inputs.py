"""Inputs of models of features: ids, categories and numbers of users, items and events, as rows of
torch tensors.

A *field* is one categorical input: the id of the user or the item, or a categorical feature, with
values 0, 1, ... and -1 for the unknown. A number that is missing is 0, which is the mean where the
dataset normalises.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from falconer.pipelines.config import Config
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs, Queries
from falconer.pipelines.data.schema import Feature, Target, column_of, name_of
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError

SideName = Literal["user", "context", "item"]
SIDES: tuple[SideName, ...] = ("user", "context", "item")
IDS = ("user", "item")
OURS = (*IDS, "label")
SIDE_OF: Mapping[str, SideName] = {"user": "user", "item": "item", "event": "context"}
Columns = Mapping[str, NDArray[Any]]
Encoded = tuple[NDArray[np.int32], NDArray[np.float32]]


class CategoricalField(Config):
    """An id or a categorical feature of one side, with values 0..cardinality-1."""

    name: str
    side: SideName
    cardinality: int
    lineage: tuple[str, ...] = ()
    """Of the feature's encoding; an id's is that of the dataset's id space."""
    list: str | None = None
    """The feature of lists that this is a place of: its places share one table."""


class NumericField(Config):
    """A continuous feature of one side."""

    name: str
    side: SideName
    lineage: tuple[str, ...] = ()
    """Of the feature's encoding."""


class Fields(Config):
    """The inputs of a model, in their order; what is saved beside its weights.

    The user's and the context's (the event's own features) together are the side of the query.
    """

    categorical: tuple[CategoricalField, ...]
    numeric: tuple[NumericField, ...]
    target: Target | None
    """Of the dataset; None for lists."""
    n_users: int
    n_items: int

    def of(self, *sides: SideName) -> Fields:
        """The inputs of these sides only."""
        return self.model_copy(
            update={
                "categorical": tuple(field for field in self.categorical if field.side in sides),
                "numeric": tuple(field for field in self.numeric if field.side in sides),
            }
        )

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many categorical inputs, which follow each other, each table is for: one, or the
        places of a list."""
        groups = groupby(self.categorical, lambda field: field.list or (field.name,))
        return tuple(len(list(group)) for _, group in groups)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The cardinality of each table."""
        ends = accumulate(self.lengths)
        return tuple(self.categorical[end - 1].cardinality for end in ends)

    @property
    def names(self) -> tuple[str, ...]:
        """All inputs by name, categorical ones first."""
        return (
            *(field.name for field in self.categorical),
            *(field.name for field in self.numeric),
        )


def fields_of(data: Dataset, chosen: Sequence[str] | None, *, model: str) -> Fields:
    """The inputs that `chosen` names ("user" and "item" are the ids), or all that a model can have
    of `data`.

    A query for lists knows no event, so that features of events are inputs for labels only.

    Raises `DataError` where there is no feature at all, `ConfigError` for a name that is not among
    the inputs.
    """
    ids, features = _ids(data), _features(data)
    if chosen is None and not features:
        raise DataError(
            f"{data.path}: has no features of users or items, and {model} learns from them; name "
            "columns under "
            "[features.user] or [features.item] in the dataset's recipe and build it again, or set "
            'model.fields = ["user", "item"] to learn from the ids alone'
        )
    every = sorted([*ids, *features], key=lambda field: SIDES.index(field.side))
    _refuse_unknown(data, chosen or (), list(dict.fromkeys(map(_chosen_by, every))))
    wanted = [field for field in every if chosen is None or _chosen_by(field) in chosen]
    return Fields(
        categorical=tuple(field for field in wanted if isinstance(field, CategoricalField)),
        numeric=tuple(field for field in wanted if isinstance(field, NumericField)),
        target=data.card.target,
        n_users=data.n_users,
        n_items=data.n_items,
    )


def _ids(data: Dataset) -> list[CategoricalField]:
    ids = {"user": data.n_users, "item": data.n_items}
    return [
        CategoricalField(name=name, side=SIDE_OF[name], cardinality=n)
        for name, n in ids.items()
        if n
    ]


def _features(data: Dataset) -> list[CategoricalField | NumericField]:
    return [
        NumericField(name=input_name(feature), side=SIDE_OF[feature.table], lineage=feature.lineage)
        if feature.cardinality is None
        else CategoricalField(
            name=input_name(feature),
            side=SIDE_OF[feature.table],
            cardinality=feature.cardinality,
            lineage=feature.lineage,
            list=feature.list,
        )
        for feature in data.card.features
        if data.card.task == "labels" or feature.table != "event"
    ]


def _chosen_by(field: CategoricalField | NumericField) -> str:
    """What `fields` calls an input: of a list all places together."""
    return (isinstance(field, CategoricalField) and field.list) or field.name


def input_name(feature: Feature) -> str:
    """What a model calls a feature: its name, or its column where an id has that name."""
    return feature.column if feature.name in IDS else feature.name


def by_input(features: Columns) -> Columns:
    """Features by name -> by what a model calls them."""
    return {column_of(name) if name in IDS else name: column for name, column in features.items()}


def _refuse_unknown(data: Dataset, chosen: Sequence[str], known: Sequence[str]) -> None:
    wrong = [name for name in chosen if name not in known]
    if wrong:
        near = difflib.get_close_matches(wrong[0], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"its inputs are {', '.join(known)}"
        raise ConfigError(
            f"model.fields: {data.path} has no input {', '.join(map(repr, wrong))}; {hint}"
        )


@dataclass(frozen=True)
class Inputs:
    """Encoded inputs of one side.

    ids      int32[..., F]    values of the categorical fields, -1 = unknown
    numbers  float32[..., C]
    """

    ids: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Tensor) -> Inputs:
        """Rows `ids` of any shape [...] of a table of inputs -> [..., F] and [..., C]."""
        parts = [
            part.index_select(0, ids.flatten()).view(*ids.shape, part.shape[1])
            for part in (self.ids, self.numbers)
        ]
        return Inputs(*parts)

    def beside(self, other: Inputs) -> Inputs:
        """The inputs of both, of the same rows."""
        return Inputs(joined([self.ids, other.ids]), joined([self.numbers, other.numbers]))

    def where(self, chosen: Tensor, other: Inputs) -> Inputs:
        """These rows where `chosen` bool[n], else those of `other`."""
        return Inputs(
            torch.where(chosen[:, None], self.ids, other.ids),
            torch.where(chosen[:, None], self.numbers, other.numbers),
        )


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Tensors [..., n] side by side, without those that have no columns."""
    some = [part for part in parts if part.shape[-1]]
    return torch.cat(some, -1) if len(some) > 1 else (some or parts)[0]


class FieldEncoder:
    """Turns ids and columns of a dataset into `Inputs`; users and items are looked up in its
    tables.

    Where the dataset descends from the one that the model was trained on, users, items and
    categories that came later are unknown ids, and the features of new users and items are read as
    those of any other.

    Raises `ArtifactError` where the dataset lacks an input of `fields`.
    """

    def __init__(self, fields: Fields, data: Dataset, device: torch.device) -> None:
        self.fields, self.device = fields, device
        _refuse_missing(fields, data)
        self.users = self._of_table("user", data.users)
        self.items = self._of_table("item", data.items)

    def query(self, users: Tensor, context: Inputs | None = None) -> Inputs:
        """Inputs of queries: users int[B] (-1 or beyond the table = unknown), and the context's
        where there is one."""
        known = torch.where(users < len(self.users) - 1, users, -1)
        of_users = self.users.rows(known + 1)
        return of_users if context is None else of_users.beside(context)

    def item_rows(self, items: Tensor) -> Tensor:
        """Rows of `items` (the table, whose row 0 is the unknown item) of items int[...], -1 =
        unknown."""
        return torch.where(items < len(self.items) - 1, items, -1) + 1

    def items_of(self, pairs: Pairs) -> tuple[Inputs, Tensor]:
        """A table of items, and int[P]: the row of it that the item of each pair is. The table is
        `items`, or, where the pairs tell features of items without an id, has a row for each
        pair."""
        rows = self.item_rows(torch.tensor(pairs.item, device=self.device))
        own, columns = self.fields.of("item"), by_input(pairs.item_features)
        new = torch.tensor(pairs.item < 0, device=self.device)
        wanted = set(own.names) - {"item"}
        if not (new.any() and wanted and wanted <= columns.keys()):
            return self.items, rows
        told = self._newcomers("item", columns, len(pairs))
        return told.where(new, self.items.rows(rows)), torch.arange(len(pairs), device=self.device)

    def query_of(self, queries: Queries) -> Inputs:
        """The same of a dataset's queries, with the context's features where the model has any; of
        a user who is not in train as far as the queries tell features of them."""
        of_users = self.query(torch.tensor(queries.user, device=self.device))
        columns, n = by_input(queries.features), len(queries)
        new = torch.tensor(queries.user < 0, device=self.device)
        if new.any() and set(self.fields.of("user").names) - {"user"} <= columns.keys():
            of_users = self._newcomers("user", columns, n).where(new, of_users)
        if self.fields.target is None:
            return of_users
        return of_users.beside(self._inputs(*self.context(columns, n)))

    def _newcomers(self, side: Literal["user", "item"], columns: Columns, n: int) -> Inputs:
        """Of n users or items without an id, by what is told of them."""
        return self._inputs(*_encoded(self.fields.of(side), {**columns, side: np.full(n, -1)}, n))

    def context(self, columns: Columns, n: int) -> Encoded:
        """Ids int32[n, F] and numbers float32[n, C] of n events."""
        return _encoded(self.fields.of("context"), columns, n)

    def _of_table(self, side: SideName, table: pa.Table) -> Inputs:
        """[n + 1, ...]: row 0 is the unknown one, whose ids are -1 and whose numbers are 0."""
        fields, n = self.fields.of(side), table.num_rows
        columns = {
            name: table.column(column_of(name_of(name))).to_numpy()
            for name in fields.names
            if name != side
        }
        ids, numbers = _encoded(fields, {**columns, side: np.arange(n)}, n)
        return self._inputs(
            np.pad(ids, ((1, 0), (0, 0)), constant_values=-1), np.pad(numbers, ((1, 0), (0, 0)))
        )

    def _inputs(self, ids: NDArray[np.int32], numbers: NDArray[np.float32]) -> Inputs:
        return Inputs(
            torch.tensor(ids, device=self.device), torch.tensor(numbers, device=self.device)
        )


def _encoded(fields: Fields, columns: Columns, n: int) -> Encoded:
    ids = np.empty((n, len(fields.categorical)), np.int32)
    for place, field in enumerate(fields.categorical):
        value = columns[field.name]
        ids[:, place] = np.where((value >= 0) & (value < field.cardinality), value, -1)
    numbers = np.empty((n, len(fields.numeric)), np.float32)
    for place, numeric in enumerate(fields.numeric):
        numbers[:, place] = np.nan_to_num(columns[numeric.name], nan=0.0)
    return ids, numbers


def _refuse_missing(fields: Fields, data: Dataset) -> None:
    there = {
        (input_name(feature), SIDE_OF[feature.table], feature.kind)
        for feature in data.card.features
    }
    there |= {("user", "user", "categorical"), ("item", "item", "categorical")}
    wanted = [(field.name, field.side, "categorical") for field in fields.categorical]
    wanted += [(field.name, field.side, "continuous") for field in fields.numeric]
    missing = [name for name, side, kind in wanted if (name, side, kind) not in there]
    if missing or fields.target != data.card.target:
        what = f"features {', '.join(missing)}" if missing else f"the target {fields.target}"
        raise ArtifactError(
            f"{data.path}: lacks {what}, which the model was trained with; train it on this dataset"
        )
    _refuse_other_encodings(fields, data)


def _refuse_other_encodings(fields: Fields, data: Dataset) -> None:
    lineages = {field.name: field.lineage for field in fields.categorical}
    lineages |= {field.name: field.lineage for field in fields.numeric}
    other = [
        f.name
        for f in data.card.features
        if input_name(f) in lineages and not f.descends_from(lineages[input_name(f)])
    ]
    if other:
        raise ArtifactError(
            f"{data.path}: features {', '.join(other)} are encoded otherwise than those that the "
            "model was trained "
            "with; build the dataset with `extends` set to the model's own dataset, or train the "
            "model on this one"
        )
