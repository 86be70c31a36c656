"""Bootstrap over queries: Efron and Tibshirani 1993, chapter 6, in memory that does not grow with
the queries.

Rows are drawn with replacement, block of `ROWS` rows by block of `ROWS` rows: first how many of the
n draws fall into each block (multinomial), then which rows of the block they are. That is the same
as n draws from all rows at once. The draws depend on n, the number of resamples and the seed only,
so tables of the same queries are resampled alike, and their differences are paired.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

ROWS = 2**16
"""Rows of a block. Another number means other draws: it is part of what a seed stands for."""
DRAWS_AT_ONCE = 2**20


class Resampling:
    """Means of the columns of float64[n, n_columns] over resampled rows; the rows come in any
    parts, in their order."""

    def __init__(self, n: int, n_columns: int, *, resamples: int, seed: int) -> None:
        self._n, self._seed = n, seed
        self._sums, self._counts = np.zeros((2, resamples, n_columns))
        self._all, self._present = np.zeros((2, n_columns))
        self._draws = _draws_in_blocks(n, resamples, seed)
        self._waiting: list[Float64] = []
        self._n_waiting = self._block = 0

    def add(self, values: Float64) -> None:
        """Take in the next rows, float64[R, n_columns]; NaN = the row has no value in the
        column."""
        for start in range(0, len(values), ROWS):
            part = values[start : start + ROWS]
            room = self._rows(self._block) - self._n_waiting
            self._wait(part[:room])
            self._wait(part[room:])

    def means(self) -> Float64:
        """float64[resamples, n_columns]: mean over the drawn rows that have a value.

        Where no such row was drawn it is the mean of all rows; NaN where none has a value.
        """
        whole = self.mean()
        sums, share = self._sums / self._n, self._counts / self._n
        return np.divide(sums, share, out=np.tile(whole, (len(sums), 1)), where=share > 0)

    def mean(self) -> Float64:
        """float64[n_columns]: mean of all rows that have a value; NaN where there are none."""
        return np.divide(
            self._all, self._present, out=np.full(len(self._all), np.nan), where=self._present > 0
        )

    @property
    def present(self) -> Int64:
        """int64[n_columns]: rows that have a value."""
        return np.asarray(self._present, np.int64)

    def _rows(self, block: int) -> int:
        return min(ROWS, self._n - block * ROWS)

    def _wait(self, part: Float64) -> None:
        """Keep rows of the block that is under way, and draw from it when it is whole."""
        if not len(part):
            return
        self._waiting.append(part)
        self._n_waiting += len(part)
        if self._n_waiting == self._rows(self._block):
            self._draw(
                self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
            )
            self._waiting, self._n_waiting, self._block = [], 0, self._block + 1

    def _draw(self, values: Float64) -> None:
        there = ~np.isnan(values)
        gaps = np.flatnonzero(~there.all(axis=0))
        whole, present = np.nan_to_num(values), there[:, gaps].astype(np.float64)
        self._all += whole.sum(axis=0)
        self._present += there.sum(axis=0)
        draws = self._draws[:, self._block]
        self._counts += draws[:, None]
        self._counts[:, gaps] -= draws[:, None]
        rng = np.random.default_rng(self._seed if self._block == 0 else (self._seed, self._block))
        step = max(1, DRAWS_AT_ONCE // len(values))
        for start in range(0, len(draws), step):
            weights = _times_drawn(rng, draws[start : start + step], len(values))
            self._sums[start : start + step] += weights @ whole
            if len(gaps):
                self._counts[start : start + step, gaps] += weights @ present


def _draws_in_blocks(n: int, resamples: int, seed: int) -> Int64:
    """int64[resamples, blocks]: how many of the n draws of each resample fall into each block of
    rows."""
    sizes = np.minimum(ROWS, n - np.arange(0, max(n, 1), ROWS))
    if len(sizes) == 1:
        return np.full((resamples, 1), n)
    rng = np.random.default_rng((seed, len(sizes)))
    return np.asarray(rng.multinomial(n, sizes / n, size=resamples), np.int64)


def _times_drawn(rng: np.random.Generator, draws: Int64, n_rows: int) -> Float64:
    """float64[R, n_rows]: how often each row is drawn, with `draws` int64[R] draws."""
    row = rng.integers(0, n_rows, int(draws.sum()))
    row += np.repeat(np.arange(len(draws)) * n_rows, draws)
    return (
        np.bincount(row, minlength=len(draws) * n_rows)
        .reshape(len(draws), n_rows)
        .astype(np.float64)
    )


def resampled_means(values: Float64, *, resamples: int, seed: int) -> Float64:
    """float64[resamples, M]: means of the columns of `values` float64[n, M] over rows drawn with
    replacement.

    A column with NaN has the mean of the drawn rows that have a value.
    """
    drawn = Resampling(len(values), values.shape[1], resamples=resamples, seed=seed)
    drawn.add(values)
    return drawn.means()


def interval(means: Float64, *, level: float, n: Int64 | None = None) -> tuple[Float64, Float64]:
    """Percentile interval of each column of resampled means: low float64[M], high float64[M].

    With `n` int64[M], of how many rows each column's means are, percentiles further out are taken
    where those are few, as t's quantiles lie further out than the normal's (Hesterberg 2015,
    section 3.5, the expanded percentile interval).
    """
    outside = (1 - level) / 2
    if n is None:
        low, high = np.quantile(means, [outside, 1 - outside], axis=0)
        return low, high
    freedom = np.maximum(n - 1, 1)
    further = ndtr(np.sqrt(n / freedom) * stdtrit(freedom, outside))
    ends = [np.quantile(means[:, one], [q, 1 - q]) for one, q in enumerate(further)]
    low, high = np.stack(ends, axis=1)
    return low, high
