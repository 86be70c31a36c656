"""The tables of a fold as they are written: queries and truth, or pairs and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.data.dataset import write_table
from falconer.pipelines.data.queries import Queries, Ragged, Truth
from falconer.pipelines.data.schema import Fold


def ragged_column(ragged: Ragged) -> pa.ListArray:
    """A parquet list column of a `Ragged`."""
    return pa.ListArray.from_arrays(
        parquet.column(ragged.offsets.astype(np.int32)), parquet.column(ragged.values)
    )


def write_queries(
    root: Path,
    fold: Fold,
    queries: Queries,
    keys: pa.Array,
    truth: Truth,
    context: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write `queries/<fold>.parquet` and `truth/<fold>.parquet`; `keys` are the users' own ids, row
    by row."""
    columns = query_columns(queries, keys)
    write_table(root, f"queries/{fold}.parquet", columns | dict(context or {}))
    write_table(
        root,
        f"truth/{fold}.parquet",
        {"items": ragged_column(truth.items), "n_outside": truth.n_outside},
    )


def query_columns(queries: Queries, keys: pa.Array) -> dict[str, Any]:
    """The columns of a table of queries; `keys` are the users' own ids, row by row."""
    columns: dict[str, Any] = {
        "user": queries.user,
        "user_key": keys,
        "history": ragged_column(queries.history),
    }
    if queries.history_times is not None:
        columns["history_times"] = ragged_column(queries.history_times)
    if queries.time is not None:
        columns["time"] = queries.time
    if queries.candidates is not None:
        columns["candidates"] = ragged_column(queries.candidates)
    return columns


def write_pairs(
    root: Path, fold: Fold, pairs: pa.Table | Mapping[str, Any], labels: NDArray[np.float32]
) -> None:
    """Write `pairs/<fold>.parquet`, with the columns that `schema` names, and
    `labels/<fold>.parquet` beside it."""
    write_table(root, f"pairs/{fold}.parquet", pairs, nulls=False)
    write_table(root, f"labels/{fold}.parquet", {"label": labels}, nulls=False)
