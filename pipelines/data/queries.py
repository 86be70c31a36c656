"""A query holds everything known at prediction time, and never the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths in two arrays: row i is `values[offsets[i]:offsets[i + 1]]`.

    `offsets` int64[n + 1], starts at 0, never falls, ends at `len(values)`; `ValueError` otherwise.
    """

    offsets: Int64
    values: NDArray[np.generic]

    def __post_init__(self) -> None:
        offsets = self.offsets
        if (
            len(offsets) == 0
            or offsets[0] != 0
            or offsets[-1] != len(self.values)
            or (np.diff(offsets) < 0).any()
        ):
            raise ValueError("offsets must start at 0, never fall and end at the number of values")

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], dtype: type[np.generic] = np.int32) -> Ragged:
        """From a list of rows."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        flat = np.array([value for row in rows for value in row], dtype=dtype)
        return cls.from_lengths(lengths, flat)

    @classmethod
    def from_lengths(cls, lengths: NDArray[np.integer[Any]], values: NDArray[np.generic]) -> Ragged:
        """From the number of values in each row, and all of them, row after row."""
        return cls(offsets_of(lengths), values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.generic]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Int64:
        """int64[n]: number of values in each row."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> Int64:
        """int64[len(values)]: the row that each value belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def slice(self, start: int, stop: int) -> Ragged:
        """Rows `start` to `stop` (a view on the values)."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(offsets - offsets[0], self.values[offsets[0] : offsets[-1]])

    def take(self, rows: NDArray[np.integer[Any]]) -> Ragged:
        """The given rows, in the given order."""
        lengths = self.lengths[rows]
        offsets = offsets_of(lengths)
        source = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(offsets, self.values[source])

    def keep(self, kept: NDArray[np.bool_]) -> Ragged:
        """The same rows with those values only that `kept` bool[len(values)] says."""
        lengths = np.bincount(self.rows[kept], minlength=len(self))
        return Ragged.from_lengths(lengths, self.values[kept])


def offsets_of(lengths: NDArray[np.integer[Any]]) -> Int64:
    """int64[n + 1]: where each row begins among the values of all, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


@dataclass(frozen=True)
class Queries:
    """Q questions "what next for this user?", with all that is known when they are asked.

    user           int32[Q]   id in the user vocabulary, -1 = not in it
    history        Ragged     int32 item ids, oldest first, repeats kept, only items of the
                              catalogue
    history_times  Ragged     int64 seconds since 1970 UTC beside `history`, or None where the data
                              has no times
    time           int64[Q]   seconds since 1970 UTC at which the question is asked, or None
                              likewise
    features       name -> array[Q]: encoded user and context features
    candidates     Ragged     int32 item ids to rank, where the protocol gives them; None = the
                              whole catalogue
    """

    user: Int32
    history: Ragged
    history_times: Ragged | None = None
    time: Int64 | None = None
    features: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    candidates: Ragged | None = None

    def __post_init__(self) -> None:
        for name in ("history", "history_times", "time", "candidates"):
            part = getattr(self, name)
            if part is not None and len(part) != len(self.user):
                raise ValueError(f"{name} has {len(part)} rows, user has {len(self.user)}")

    def __len__(self) -> int:
        return len(self.user)

    def slice(self, start: int, stop: int) -> Queries:
        """Queries `start` to `stop`."""
        return self._each(lambda part: part.slice(start, stop), lambda column: column[start:stop])

    def take(self, rows: NDArray[np.integer[Any]]) -> Queries:
        """The given queries, in the given order."""
        return self._each(lambda part: part.take(rows), lambda column: column[rows])

    def _each(
        self, cut: Callable[[Ragged], Ragged], pick: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> Queries:
        def cut_known(part: Ragged | None) -> Ragged | None:
            return None if part is None else cut(part)

        return replace(
            self,
            user=pick(self.user),
            history=cut(self.history),
            history_times=cut_known(self.history_times),
            time=None if self.time is None else pick(self.time),
            features={name: pick(column) for name, column in self.features.items()},
            candidates=cut_known(self.candidates),
        )


@dataclass(frozen=True)
class Pairs:
    """Pairs of a query and an item: `query` int64[P] is a row of `queries`, `item` int32[P] (-1:
    not in the catalogue).

    In the task `labels` each pair has a query of its own, with an empty history, and with the row's
    event features beside the user's; `item_features` has name -> array[P]: the encoded features of
    the item, of one that has no id too where the source's table of items has them.
    """

    queries: Queries
    query: Int64
    item: Int32
    item_features: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.item)

    def take(self, rows: NDArray[np.integer[Any]]) -> Pairs:
        """The given pairs, in the given order, with their queries alone."""
        used, query = np.unique(self.query[rows], return_inverse=True)
        features = {name: column[rows] for name, column in self.item_features.items()}
        return Pairs(self.queries.take(used), query.astype(np.int64), self.item[rows], features)


@dataclass(frozen=True)
class Logged:
    """R rows of what another recommender showed, by ascending query.

    query       int64[R]    the row of the fold's queries whose user was asked
    item        int32[R]    what was shown, -1 = not in the catalogue
    reward      float64[R]  what came of it, such as 1 for a click
    propensity  float64[R]  with which probability it was chosen, above 0 and at most 1
    """

    query: Int64
    item: Int32
    reward: NDArray[np.float64]
    propensity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.query)

    def slice(self, start: int, stop: int) -> Logged:
        """Rows `start` to `stop`."""
        rows = slice(start, stop)
        return Logged(self.query[rows], self.item[rows], self.reward[rows], self.propensity[rows])


@dataclass(frozen=True)
class Truth:
    """What happened after each query was asked: known to evaluation only.

    items      Ragged     int32 distinct item ids of the catalogue, in order of first occurrence
    n_outside  int64[Q]   distinct relevant items that are not in the catalogue, so that none could
                          recommend them
    """

    items: Ragged
    n_outside: Int64

    def __len__(self) -> int:
        return len(self.items)

    @property
    def some(self) -> NDArray[np.bool_]:
        """bool[Q]: whether anything happened, which of users who were shown something need not."""
        return np.asarray(self.items.lengths + self.n_outside > 0)
