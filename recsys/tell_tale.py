"""Features that give the target away: an event feature from which the item or the rating can simply be read.

Narrow on purpose. The rows of one value of the feature are looked at together: where nearly all of them have the same
target, and the commonest target alone would not explain it, the feature tells the target. Rows without a value, and
values that occur once, say nothing. A number with many values is cut into quantiles, so that a little noise hides
nothing from a target of few values; of a target of many values (an item) only an exact copy is found.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.data.dataset import Dataset
from pipelines.data.queries import Queries, Truth
from pipelines.data.schema import Feature

TOLD = 0.95
"""Share of rows that must be told."""
EXPLAINED = 0.8
"""Above this share of the commonest target there is nothing to tell."""
ENOUGH_ROWS = 20
TOGETHER, TOGETHER_OF_SETS = 2, 5
"""Rows of one value that are looked at: more where a row has several targets, since two long lists often meet."""
BINS, ROWS_A_BIN = 256, 4
MOST_ROWS = 100_000
"""Of more train events a sample is looked at, always the same."""


def tell_tale_features(data: Dataset, queries: Queries, truth: Truth) -> Iterator[tuple[str, str, float]]:
    """(feature, target, share of rows that it tells) of each event feature that tells a target."""
    for feature in data.card.features:
        if feature.table != "event":
            continue
        if feature.name in data.train.column_names:
            yield from _in_train(data, feature)
        if feature.name in queries.features:
            rows = truth.items.rows
            codes = _codes(queries.features[feature.name], feature)
            share = told(codes[rows], truth.items.values, row=rows)
            if share is not None:
                yield feature.name, "relevant item", share


def _in_train(data: Dataset, feature: Feature) -> Iterator[tuple[str, str, float]]:
    rows = _sample(len(data.train))
    codes = _codes(data.train_column(feature.name)[rows], feature)
    for target in ("item", "rating"):
        if target not in data.train.column_names or target == feature.name:
            continue
        share = told(codes, np.unique(data.train_column(target)[rows], return_inverse=True)[1])
        if share is not None:
            yield feature.name, target, share


def _sample(n: int) -> slice | NDArray[np.int64]:
    return slice(None) if n <= MOST_ROWS else np.sort(np.random.default_rng(0).choice(n, MOST_ROWS, replace=False))


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


def told(codes: NDArray[np.int64], targets: NDArray[np.generic], row: NDArray[np.int64] | None = None) -> float | None:
    """Share of rows whose target follows from the other rows of their value; None where that is not remarkable.

    `codes` and `targets` are beside each other; `row` names the row of each where a row has several targets.
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
