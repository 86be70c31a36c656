"""Synthetic clicks in Criteo's format, with a planted signal whose best possible AUC is known.

Made for tests and for measuring speed, where the published logs are not at hand. The skew is like
theirs: categories follow a power law, counts are log-normal, and many values are missing. The label
is drawn with the probability

    sigmoid(bias + effects of the frequent categories + weights of the counts + u . v of some pairs
    of columns)

so that it takes crosses of columns to tell all that can be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.etl.raw import Raw, with_features
from falconer.pipelines.etl.sources.criteo import CATEGORIES, COUNTS, SCHEMA
from falconer.pipelines.etl.split.parts import mixed

Float64 = NDArray[np.float64]
VOCABULARIES = (1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194,
27, 14992, 5461306,
                10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572)  # fmt: skip
"""Categories by column: those of the week of logs that Criteo published for a contest."""
MISSING_COUNTS = (0.45, 0.0, 0.21, 0.21, 0.02, 0.22, 0.04, 0.0, 0.04, 0.45, 0.04, 0.76, 0.21)
MISSING_CATEGORIES = {
    3: 0.03,
    4: 0.03,
    6: 0.12,
    12: 0.03,
    16: 0.03,
    19: 0.44,
    20: 0.44,
    21: 0.03,
    22: 0.76,
    25: 0.44,
}
EXPONENT = 1.1
"""Of the power law: the category of rank r is drawn in proportion to r^-1.1."""
FREQUENT = 100
"""Only so many of a column's categories bear on the label, so that a model can learn nearly all of
it."""
CROSSED = ((1, 2), (6, 8), (9, 14), (17, 20), (5, 23))
"""Pairs of columns whose categories act together."""
RANK = 3
ROWS_AT_ONCE = 2**16


class CriteoSynthetic(Config):
    """Rows of Criteo's format that follow from the seed; the first n of them do not depend on how
    many follow."""

    kind: Literal["criteo_synthetic"]
    rows: int = Field(default=1_000_000, ge=1000)
    max_categories: int = Field(default=100_000, ge=1)
    """No column has more categories than this."""
    positives: float = Field(default=0.256, gt=0, lt=1)
    """Share of rows with label 1, about."""
    strength: float = Field(default=1.0, ge=0)
    """0 = the label is pure chance, and no model can do better than an AUC of 0.5."""
    seed: int = Field(default=0, ge=0, lt=2**32)

    def files(self) -> dict[str, Path]:
        """Nothing: the rows follow from the configuration alone."""
        return {}

    def read(self) -> Raw:
        """Draw the rows, and state the best AUC and log loss that anyone can expect on them."""
        signal = _Signal(self)
        starts = range(0, self.rows, ROWS_AT_ONCE)
        parts = [
            signal.block(number, min(ROWS_AT_ONCE, self.rows - start))
            for number, start in enumerate(starts)
        ]
        probability = np.concatenate([part[1] for part in parts])
        events = pl.concat([part[0] for part in parts])
        return Raw(events=with_features(events), notes=(self._note(probability),))

    def _note(self, probability: Float64) -> str:
        return (
            f"SYNTHETIC data in Criteo's format (seed {self.seed}), no real clicks. Who knew the "
            "planted signal could "
            f"expect an AUC of {best_auc(probability):.4f} and a log loss of "
            f"{best_log_loss(probability):.4f} on these "
            f"{self.rows:,} rows; no model can expect more."
        )


def best_auc(probability: Float64) -> float:
    """The AUC that ranking rows by their true probability has on average over labels: sum of p_i (1
    - p_j) over pairs with p_i > p_j, divided by the sum over all pairs of two rows. probability
      float64[n]."""
    p = np.sort(probability)
    negatives_below = np.cumsum(1 - p) - (1 - p)
    return float((p * negatives_below).sum() / (p.sum() * (1 - p).sum() - (p * (1 - p)).sum()))


def best_log_loss(probability: Float64) -> float:
    """The log loss of the true probabilities, on average over labels: their mean entropy in
    nats."""
    p = np.clip(probability, 1e-15, 1 - 1e-15)
    return float(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean())


@dataclass(frozen=True)
class _Columns:
    """Ranks of categories int64[n, 26] (0 = the most frequent) and ln(1 + count) float64[n, 13];
    what is missing."""

    ranks: NDArray[np.int64]
    no_category: NDArray[np.bool_]
    logs: Float64
    no_count: NDArray[np.bool_]


class _Signal:
    """The planted weights, all from the seed."""

    def __init__(self, config: CriteoSynthetic) -> None:
        self._config = config
        self._sizes = np.minimum(VOCABULARIES, config.max_categories)
        random = np.random.default_rng([config.seed, 0])
        self._effects = random.normal(scale=0.22, size=(len(CATEGORIES), FREQUENT))
        self._vectors = random.normal(scale=0.6, size=(len(CATEGORIES), FREQUENT, RANK))
        self._weights = random.normal(scale=0.15, size=len(COUNTS))
        self._location = random.uniform(0.5, 4.0, size=len(COUNTS))
        self._scale = random.uniform(0.6, 1.8, size=len(COUNTS))
        self._bias = 0.0
        self._bias = self._fitting_bias()

    def block(self, number: int, n: int) -> tuple[pl.DataFrame, Float64]:
        """The first n rows of a block, and the probability that each one's label is 1."""
        random = np.random.default_rng([self._config.seed, 1, number])
        columns = self._drawn(random)
        probability = 1 / (1 + np.exp(-self._logits(columns)))
        label = random.random(ROWS_AT_ONCE) < probability
        frame = self._frame(columns, label, number * ROWS_AT_ONCE)
        return frame.head(n), probability[:n]

    def _drawn(self, random: np.random.Generator) -> _Columns:
        chance = random.random((ROWS_AT_ONCE, len(CATEGORIES)))
        missing = np.array(
            [MISSING_CATEGORIES.get(number, 0.0) for number in range(1, len(CATEGORIES) + 1)]
        )
        no_category = random.random(chance.shape) < missing
        logs = self._location + self._scale * random.normal(size=(ROWS_AT_ONCE, len(COUNTS)))
        return _Columns(
            power_law(chance, self._sizes),
            no_category,
            np.log1p(np.floor(np.expm1(logs.clip(0, 16)))),
            random.random(logs.shape) < MISSING_COUNTS,
        )

    def _logits(self, columns: _Columns) -> Float64:
        bears = (columns.ranks < FREQUENT) & ~columns.no_category
        rank = columns.ranks.clip(max=FREQUENT - 1)
        column = np.arange(len(CATEGORIES))
        logits = np.where(bears, self._effects[column, rank], 0.0).sum(axis=1)
        vectors = np.where(bears[..., None], self._vectors[column, rank], 0.0)
        for first, second in CROSSED:
            logits += (vectors[:, first - 1] * vectors[:, second - 1]).sum(axis=1)
        standard = (columns.logs - self._location) / self._scale
        logits += np.where(columns.no_count, 0.0, standard * self._weights).sum(axis=1)
        return np.asarray(self._config.strength * logits + self._bias)

    def _fitting_bias(self) -> float:
        """The bias for which the first block has the wanted share of ones on average; by
        bisection."""
        logits = self._logits(self._drawn(np.random.default_rng([self._config.seed, 1, 0])))
        low, high = -50.0, 50.0
        for _ in range(60):
            middle = (low + high) / 2
            share = (1 / (1 + np.exp(-(logits + middle)))).mean()
            low, high = (middle, high) if share < self._config.positives else (low, middle)
        return low

    def _frame(self, columns: _Columns, label: NDArray[np.bool_], first: int) -> pl.DataFrame:
        values: dict[str, Any] = {"ordinal": np.arange(first, first + len(label)), "label": label}
        for place, name in enumerate(COUNTS):
            values[name] = _with_nulls(
                np.rint(np.expm1(columns.logs[:, place])), columns.no_count[:, place]
            )
        for place, name in enumerate(CATEGORIES):
            hashed = mixed(columns.ranks[:, place].astype(np.uint64), seed=place) >> np.uint64(32)
            values[name] = _with_nulls(hashed, columns.no_category[:, place])
        return pl.DataFrame(values).cast(SCHEMA)  # type: ignore[arg-type]


def power_law(chance: Float64, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[n, C]: ranks 0..sizes - 1 from uniform numbers: the floor of a continuous power law on
    [1, sizes + 1)."""
    power = 1 - EXPONENT
    high = (sizes + 1.0) ** power
    ranks: NDArray[np.int64] = (
        np.floor((1 + chance * (high - 1)) ** (1 / power)).astype(np.int64) - 1
    ).clip(0, sizes - 1)
    return ranks


def _with_nulls(values: NDArray[Any], missing: NDArray[np.bool_]) -> pl.Series:
    return pl.select(pl.when(pl.Series(~missing)).then(pl.Series(values))).to_series()
