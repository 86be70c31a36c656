"""Features that give the target away: an event feature from which the item or the rating can simply
be read.

Narrow on purpose. The rows of one value of the feature are looked at together: where nearly all of
them have the same target, and the commonest target alone would not explain it, the feature tells
the target. Rows without a value, and values that occur once, say nothing. A number with many values
is cut into quantiles, so that a little noise hides nothing from a target of few values; of a target
of many values (an item) only an exact copy is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.data.schema import Feature, Fold

TOLD = 0.95
"""Share of rows that must be told."""
EXPLAINED = 0.8
"""Above this share of the commonest target there is nothing to tell."""
ENOUGH_ROWS = 20
TOGETHER, TOGETHER_OF_SETS = 2, 5
"""Rows of one value that are looked at: more where a row has several targets, since two long lists
often meet."""
BINS, ROWS_A_BIN = 256, 4
MOST_ROWS = 100_000
"""Of more train events, or more queries, a sample is looked at, always the same."""
QUERIES_AT_ONCE = 2**14
TARGETS = ("item", "rating")


def tell_tale_features(data: Dataset, fold: Fold) -> Iterator[tuple[str, str, float]]:
    """(feature, target, share of rows that it tells) of each event feature that tells a target."""
    features = [feature for feature in data.card.features if feature.table == "event"]
    if not features:
        return
    train = _train_sample(data, [feature.column for feature in features])
    queries, wanted = _query_sample(data, fold)
    for feature in features:
        if feature.column in train:
            yield from _in_train(train, feature)
        if feature.name in queries:
            codes = _codes(queries[feature.name], feature)
            share = told(codes[wanted.rows], wanted.values, row=wanted.rows)
            if share is not None:
                yield feature.name, "relevant item", share


def _in_train(
    train: Mapping[str, NDArray[Any]], feature: Feature
) -> Iterator[tuple[str, str, float]]:
    codes = _codes(train[feature.column], feature)
    for target in TARGETS:
        if target not in train:
            continue
        share = told(codes, np.unique(train[target], return_inverse=True)[1])
        if share is not None:
            yield feature.name, target, share


def _train_sample(data: Dataset, features: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Columns of a sample of the train events, read a row group at a time: these features, and what
    they may tell."""
    files = data.train_files()
    names = [name for name in pq.read_schema(files[0]).names if name in (*features, *TARGETS)]
    chosen = _sample(sum(pq.read_metadata(path).num_rows for path in files))
    parts, before = [], 0
    for path in files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                n_rows = file.metadata.row_group(group).num_rows
                parts.append(
                    file.read_row_group(group, columns=names).take(_within(chosen, before, n_rows))
                )
                before += n_rows
    return {name: np.concatenate([part[name].to_numpy() for part in parts]) for name in names}


def _query_sample(data: Dataset, fold: Fold) -> tuple[dict[str, NDArray[Any]], Ragged]:
    """Features of a sample of the queries, and their relevant items."""
    chosen, before = _sample(data.n_queries(fold)), 0
    queries, truths = [], []
    for (_, block), truth in zip(
        data.query_blocks(fold, QUERIES_AT_ONCE),
        data.truth_blocks(fold, QUERIES_AT_ONCE),
        strict=True,
    ):
        rows = _within(chosen, before, len(block))
        queries.append(block.take(rows).features)
        truths.append(truth.items.take(rows))
        before += len(block)
    names = queries[0] if queries else ()
    lengths = np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in truths)])
    values = np.concatenate([np.empty(0, np.int32), *(part.values for part in truths)])
    return {name: np.concatenate([part[name] for part in queries]) for name in names}, (
        Ragged.from_lengths(lengths, values)
    )


def _sample(n: int) -> NDArray[np.int64]:
    """Rows to look at, of n: all, or `MOST_ROWS` of them, rising."""
    return (
        np.arange(n)
        if n <= MOST_ROWS
        else np.sort(np.random.default_rng(0).choice(n, MOST_ROWS, replace=False))
    )


def _within(chosen: NDArray[np.int64], before: int, n: int) -> NDArray[np.int64]:
    """Those of the rising `chosen` that are among the n rows behind the `before` first, counted
    from there."""
    start, stop = np.searchsorted(chosen, [before, before + n])
    return chosen[start:stop] - before


def _codes(values: NDArray[np.generic], feature: Feature) -> NDArray[np.int64]:
    """int64[n]: equal for rows of one value, -1 for rows without one."""
    numbers = values.astype(np.float64)
    present = np.isfinite(numbers)
    if feature.kind == "categorical":
        return np.where(present, numbers, -1).astype(np.int64)
    codes = np.full(len(numbers), -1, np.int64)
    distinct, dense = np.unique(numbers[present], return_inverse=True)
    if len(distinct) > len(dense) / TOGETHER:
        bins = max(1, min(BINS, len(dense) // ROWS_A_BIN))
        dense = np.searchsorted(
            np.quantile(numbers[present], np.arange(1, bins) / bins), numbers[present], side="right"
        )
    codes[present] = dense
    return codes


def told(
    codes: NDArray[np.int64], targets: NDArray[np.generic], row: NDArray[np.int64] | None = None
) -> float | None:
    """Share of rows whose target follows from the other rows of their value; None where that is not
    remarkable.

    `codes` and `targets` are beside each other; `row` names the row of each where a row has several
    targets.
    """
    known = codes >= 0
    codes, wanted = codes[known], targets[known].astype(np.int64)
    row = np.arange(len(codes)) if row is None else row[known]
    single = len(np.unique(row)) == len(row)
    if not len(codes):
        return None
    sizes = np.bincount(np.unique(codes + row * (codes.max() + 1)) % (codes.max() + 1))
    first, second = _commonest(codes, wanted, len(sizes))
    usable = sizes >= (TOGETHER if single else TOGETHER_OF_SETS)
    n_rows = int(sizes[usable].sum())
    if n_rows < ENOUGH_ROWS or usable.sum() < 2:
        return None
    follows = first - 1 > second if single else first > 1
    share = float(first[usable & follows].sum() / n_rows)
    overall = np.bincount(np.unique(wanted, return_inverse=True)[1]).max() / len(np.unique(row))
    return share if share >= TOLD and overall < EXPLAINED else None


def _commonest(
    codes: NDArray[np.int64], targets: NDArray[np.int64], n_codes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64[n_codes] twice: how often the commonest and the next target occur beside each code."""
    width = int(targets.max()) + 1
    pairs, counts = np.unique(codes * width + targets, return_counts=True)
    code = pairs // width
    order = np.lexsort((-counts, code))
    code, counts = code[order], counts[order]
    starts = np.searchsorted(code, np.arange(n_codes))
    lengths = np.bincount(code, minlength=n_codes)
    padded = np.concatenate([counts, np.zeros(2, np.int64)])
    return np.where(lengths > 0, padded[starts], 0), np.where(lengths > 1, padded[starts + 1], 0)
