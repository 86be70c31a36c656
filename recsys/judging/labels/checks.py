"""Checks of the protocol of the task `labels`: what a reader must know before believing the
figures.

As in `falconer.recsys.judging.lists.checks`: a check looks at the dataset as it was written, and
says nothing where it finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs
from falconer.pipelines.data.schema import Feature, Fold
from falconer.recsys.metrics.labels import auc

Float64 = NDArray[np.float64]

TELLING = 0.999
"""A single feature that reaches this AUC, or explains this share of a rating's variance, holds the
label."""
SUSPECT, LEFT = 0.85, 0.5
"""A feature that reaches so much, and leaves less than this share of the error that all features
below that leave together, is asked about: a label copied with 10 % of it flipped has an AUC of
0.90, whatever the share of positives."""
CUTS = np.linspace(0, 1, 1001)[1:-1]
MORE_THAN_CHANCE = 4.0
"""Standard deviations above what train itself shows."""
AT_LEAST = 5


@dataclass(frozen=True)
class Checked:
    """What the checks look at."""

    data: Dataset
    fold: Fold

    @cached_property
    def labels(self) -> tuple[Float64, Float64]:
        """Labels of train and of the fold."""
        train = self.data.train_column("label").astype(np.float64)
        return train, self.data.labels(self.fold).astype(np.float64)

    @cached_property
    def pairs(self) -> Pairs:
        """The fold's rows."""
        return self.data.pairs(self.fold)

    def values(self, feature: Feature) -> tuple[NDArray[Any], NDArray[Any]]:
        """A feature's values beside the rows of train and of the fold; -1 or NaN for unknown users
        and items."""
        asked = {**self.pairs.queries.features, **self.pairs.item_features}
        if feature.table == "event":
            return self.data.train_column(feature.column), asked[feature.name]
        table = self.data.users if feature.table == "user" else self.data.items
        column = table.column(feature.column).to_numpy()
        return _looked_up(column, self.data.train_column(feature.table)), asked[feature.name]


def _looked_up(column: NDArray[Any], ids: NDArray[np.int32]) -> NDArray[Any]:
    unknown = column.dtype.type(-1 if np.issubdtype(column.dtype, np.integer) else np.nan)
    return (
        np.where(ids >= 0, column[ids.clip(0)], unknown)
        if len(column)
        else np.full(len(ids), unknown)
    )


def warnings_of(data: Dataset, fold: Fold) -> tuple[str, ...]:
    """What every check finds, in words; empty where nothing speaks against the figures."""
    checked = Checked(data, fold)
    return tuple(text for check in CHECKS for text in check(checked))


def synthetic(checked: Checked) -> Iterator[str]:
    """Data that was made, which every report must say."""
    yield from (note for note in checked.data.card.notes if note.startswith("SYNTHETIC"))


def target_in_features(checked: Checked) -> Iterator[str]:
    """A feature that tells the label all by itself, by its categories or by ranges of its values
    (missing apart), or that tells far more of it than all ordinary features together: a copy of the
    label with noise."""
    train_label, label = checked.labels
    if len(np.unique(label)) < 2:
        return
    binary = checked.data.card.target == "binary"
    alone: dict[str, float] = {}
    together, rest = np.zeros(len(label)), 0.5 if binary else 0.0
    for feature in checked.data.card.features:
        train, values = checked.values(feature)
        if feature.kind == "continuous":
            train, values = _ranges(train, values)
        means = _means(train + 1, values + 1, train_label)
        told = alone[f"{feature.table} feature {feature.name}"] = _told(means, label, binary=binary)
        if told < SUSPECT:
            together += means - train_label.mean()
            rest = max(rest, told)
    rest = max(rest, _told(together + train_label.mean(), label, binary=binary))
    measure = "an AUC" if binary else "a share of explained variance"
    for name, told in alone.items():
        if told > TELLING:
            yield f"leakage: {name} alone reaches {measure} of {told:.4f}; is it known beforehand?"
        elif told >= SUSPECT and 1 - told < LEFT * (1 - rest):
            yield (
                f"possible leakage: {name} alone reaches {measure} of {told:.4f}, all ordinary "
                f"features together {rest:.4f}; is it known beforehand?"
            )


def _ranges(train: NDArray[Any], values: NDArray[Any]) -> list[NDArray[np.int64]]:
    """The range between quantiles of train that each number falls into, from 0; a quantile itself
    is one; NaN: -1."""
    known = train[~np.isnan(train)]
    cuts = np.unique(np.quantile(known, CUTS)) if len(known) else np.empty(0)
    return [
        np.where(
            np.isnan(column),
            -1,
            np.searchsorted(cuts, column) + np.searchsorted(cuts, column, side="right"),
        )
        for column in (train, values)
    ]


def _means(train: NDArray[np.int64], values: NDArray[np.int64], label: Float64) -> Float64:
    """float64[P]: mean train label of each row's category; of one that train lacks, of all."""
    size = 1 + max(int(train.max(initial=0)), int(values.max(initial=0)))
    n = np.bincount(train, minlength=size)
    mean = np.divide(
        np.bincount(train, weights=label, minlength=size),
        n,
        out=np.full(size, label.mean()),
        where=n > 0,
    )
    return np.asarray(mean[values])


def _told(score: Float64, label: Float64, *, binary: bool) -> float:
    if binary:
        return auc(label, score)
    return float(1 - np.mean((label - score) ** 2) / label.var())


def rows_in_train(checked: Checked) -> Iterator[str]:
    """Rows of the fold that train has too, in every column, by more than the rows of train repeat
    each other."""
    train, rows = _hashes(checked)
    distinct, times = np.unique(train, return_counts=True)
    repeated = float(times[times > 1].sum()) / max(len(train), 1)
    both = int(np.isin(rows, distinct).sum())
    expected = repeated * len(rows)
    spread = np.sqrt(expected * (1 - repeated))
    if both > expected + max(AT_LEAST, MORE_THAN_CHANCE * spread):
        yield (
            f"leakage: {both:,} of {len(rows):,} rows of the fold {checked.fold} are in train too, "
            "with equal values "
            f"in every column; repeats within train let {expected:,.0f} expect. Deduplicate, or "
            "mend the source"
        )


def _hashes(checked: Checked) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """A hash of each row of train and of the fold, of all the columns of both but the place in the
    source."""
    pairs = checked.data.table(f"pairs/{checked.fold}.parquet")
    both = set(pairs.column_names).intersection(checked.data.train.column_names)
    names = sorted(both - {"ordinal"})
    train = [checked.data.train_column(name) for name in (*names, "label")]
    fold = [*(pairs.column(name).to_numpy() for name in names), checked.data.labels(checked.fold)]
    return _hash(train), _hash(fold)


def _hash(columns: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    hashed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        bits = (
            column.view(np.uint32)
            if column.dtype == np.float32
            else column.astype(np.int64).view(np.uint64)
        )
        hashed = (hashed ^ bits.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(32)
    return hashed


def train_after_rows(checked: Checked) -> Iterator[str]:
    """Global time: train rows that are not earlier than the first row of the fold."""
    time = checked.pairs.queries.time
    if time is None or not len(time):
        return
    train, protocol = checked.data.train_column("time"), checked.data.card.split.protocol
    if protocol in ("temporal", "rolling"):
        late = int((train >= time.min()).sum())
        if late:
            yield (
                f"leakage: {late:,} train rows are not earlier than the first row of the fold "
                f"{checked.fold}, though "
                f"the split {protocol} promises it; rebuild the dataset"
            )
    elif share := float((time <= train.max(initial=0)).mean()):
        yield (
            f"no global time in this protocol: {share:.0%} of the rows are from before the last "
            "train row, so models "
            "have seen the future; a split by global time (temporal, rolling) shows what to expect "
            "in use"
        )


CHECKS: tuple[Callable[[Checked], Iterator[str]], ...] = (
    synthetic,
    train_after_rows,
    rows_in_train,
    target_in_features,
)
