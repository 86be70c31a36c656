"""What an exported graph is asked with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.data.schema import name_of

Arrays = dict[str, NDArray[Any]]


def inputs_of(
    names: Sequence[str], queries: Queries, item: NDArray[np.int32], known: NDArray[np.bool_]
) -> Arrays:
    """The inputs of a graph by name, for queries [N] each with an item [N]; `known` bool[n_items]
    are the items that the model knows."""
    return {name: _input(name, queries, item, known) for name in names}


def _input(
    name: str, queries: Queries, item: NDArray[np.int32], known: NDArray[np.bool_]
) -> NDArray[Any]:
    if name == "user":
        return queries.user.astype(np.int64)
    if name == "item":
        return item.astype(np.int64)
    if name == "history":
        return padded(queries.history, known)
    column = queries.features[name_of(name)]
    return column.astype(np.int64 if np.issubdtype(column.dtype, np.integer) else np.float32)


def as_known_by_id(queries: Queries, data: Dataset) -> Queries:
    """Without features of users who have no id: a graph reads users by their ids."""
    new, features = queries.user < 0, dict(queries.features)
    for name in (feature.name for feature in data.card.features if feature.table == "user"):
        column = features[name]
        nothing = -1 if np.issubdtype(column.dtype, np.integer) else np.nan
        features[name] = np.where(new, column.dtype.type(nothing), column)
    return replace(queries, features=features)


def padded(history: Ragged, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64[N, L]: each row's known items, oldest first, then -1; L is the longest row's length and
    at least 1."""
    kept = known[history.values.astype(np.int64)]
    rows = history.rows[kept]
    lengths = np.bincount(rows, minlength=len(history))
    first = np.cumsum(lengths) - lengths
    table = np.full((len(history), max(1, int(lengths.max(initial=0)))), -1, np.int64)
    table[rows, np.arange(len(rows)) - first[rows]] = history.values[kept]
    return table
