"""`predictions.parquet`: what stands between predicting and judging in the task `labels`, ours or
anybody's.

Ours has the columns ordinal (the row's number in the source), user (the source's own id, where
there are users) and score float32. Judging takes any parquet or CSV file with ordinal and score.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from falconer.pipelines import parquet
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Fold
from falconer.pipelines.errors import DataError
from falconer.pipelines.files import atomic_file
from falconer.recsys.contracts import PairScorer

FILE = "predictions.parquet"
ABOUT_KEY = b"falconer"
ROWS_AT_ONCE = 2**16


def write(
    target: Path, scorer: PairScorer, data: Dataset, fold: Fold, about: Mapping[str, Any]
) -> int:
    """Score the fold's rows, block by block, and write them; returns how many.

    `about` (JSON values) goes into the file's metadata. Raises `DataError` where a score is no
    finite number.
    """
    ordinals, users = data.pair_ordinals(fold), data.pair_users(fold)
    columns = {"ordinal": pa.array(ordinals), **({} if users is None else {"user": users})}
    table = pa.table(columns).append_column(
        "score", pa.array(_scores(scorer, data, fold, ordinals))
    )
    metadata = {ABOUT_KEY: json.dumps(dict(about), sort_keys=True).encode()}
    with atomic_file(target) as partial:
        pq.write_table(table.replace_schema_metadata(metadata), partial, compression="zstd")
    return int(table.num_rows)


def _scores(
    scorer: PairScorer, data: Dataset, fold: Fold, ordinals: NDArray[np.int64]
) -> NDArray[np.float32]:
    pairs = data.pairs(fold)
    blocks = (
        np.arange(start, min(start + ROWS_AT_ONCE, len(pairs)))
        for start in range(0, len(pairs), ROWS_AT_ONCE)
    )
    parts = [scorer.score_pairs(pairs.take(rows)) for rows in blocks]
    scores: NDArray[np.float32] = np.concatenate([np.empty(0, np.float32), *parts])
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise DataError(
            f"the model's score of row {ordinals[wrong[0]]} of fold {fold} is {scores[wrong[0]]}, "
            "and so are or alike "
            f"{len(wrong)} of {len(scores)} in all; the training has gone wrong: lower its "
            "learning rate"
        )
    return scores


def about(path: Path) -> dict[str, Any]:
    """What `write` was told about the file; empty for a file from elsewhere. Raises `DataError` for
    no parquet."""
    if path.suffix == ".csv":
        return {}
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not a parquet file ({str(error).splitlines()[0]}); predict anew"
        ) from error
    return parquet.facts_of(schema, ABOUT_KEY, path)


def read(path: Path, data: Dataset, fold: Fold) -> NDArray[np.float64]:
    """float64[P]: the file's score for each row of the fold, whatever the order of the file.

    Raises `DataError` where the file is not readable, lacks a column, has a score that is no finite
    number, names a row twice, or lacks a row of the fold. Rows of elsewhere are passed over.
    """
    table = _table(path)
    ordinal, score = _numbers(path, table, "ordinal"), _numbers(path, table, "score")
    order = np.argsort(ordinal, kind="stable")
    ordinal, score = ordinal[order], score[order]
    twice = np.flatnonzero(np.diff(ordinal) == 0)
    if len(twice):
        raise DataError(f"{path}: row {int(ordinal[twice[0]])} has more than one score; keep one")
    wanted = data.pair_ordinals(fold).astype(np.float64)
    place = np.searchsorted(ordinal, wanted)
    missing = np.flatnonzero(np.append(ordinal, np.nan)[place] != wanted)
    if len(missing):
        raise DataError(
            f"{path}: {len(missing)} of the {len(wanted)} rows of fold {fold} have no score, first "
            f"row {int(wanted[missing[0]])}; give a score for each `ordinal` of "
            f"{data.path / f'pairs/{fold}.parquet'}"
        )
    return np.asarray(score[place])


def _table(path: Path) -> pa.Table:
    try:
        table = csv.read_csv(path) if path.suffix == ".csv" else parquet.read(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: neither parquet nor CSV ({str(error).splitlines()[0]})"
        ) from error
    missing = [name for name in ("ordinal", "score") if name not in table.column_names]
    if missing:
        raise DataError(
            f"{path}: no column {' and no column '.join(missing)}, only "
            f"{', '.join(table.column_names)}; predictions "
            "have the columns ordinal and score"
        )
    return table


def _numbers(path: Path, table: pa.Table, name: str) -> NDArray[np.float64]:
    column = table.column(name)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"{path}: column {name} holds {column.type}, where numbers are wanted")
    try:
        values = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    except pa.ArrowInvalid as error:  # whole numbers that float64 has not all of
        raise DataError(f"{path}: column {name}: {error}") from error
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise DataError(
            f"{path}: {name} of line {wrong[0]} (counted from 0) is {values[wrong[0]]}, and so on "
            f"{len(wrong)} lines; "
            "each must be a finite number"
        )
    return values
