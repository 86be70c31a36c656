"""Train events as torch batches, negatives for them, and scores of whole catalogues.

All that is random here is a pure function of (seed, epoch, step), so a training can go on from any step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from pipelines.data.dataset import Dataset
from pipelines.errors import DataError
from pipelines.training.shard import Shard, current_shard

SHUFFLE_ROWS = 2**24
"""Rows that are held and shuffled together: 16.8 million events of user and item take about 200 MB."""
REDRAWS = 8
"""Times that a popularity-weighted negative is drawn anew where the user has the item."""
ITEMS_AT_ONCE = 2**16
"""Items that one query is scored against at a time."""

Columns = tuple[torch.Tensor, ...]


def generator(device: torch.device, *place: int) -> torch.Generator:
    """The random numbers of one place, say (seed, epoch, step); other places draw others, in whatever order."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little"))


@dataclass(frozen=True)
class RowGroup:
    """Row group `number` of a parquet file."""

    path: Path
    number: int
    n_rows: int


class TrainEvents:
    """Columns of a dataset's train events, read by row groups: never more than a caller asks for is in memory.

    Every file is checked against its checksum once. Raises `ArtifactError` where one is damaged.
    """

    def __init__(self, data: Dataset, columns: Sequence[str] = ("user", "item")) -> None:
        self.columns = tuple(columns)
        self.groups = tuple(
            RowGroup(path, number, metadata.row_group(number).num_rows)
            for path in data.train_files()
            for metadata in [pq.read_metadata(path)]
            for number in range(metadata.num_row_groups)
        )
        self.n_rows = sum(group.n_rows for group in self.groups)

    def read(self, groups: Sequence[RowGroup]) -> tuple[NDArray[np.generic], ...]:
        """The columns of `groups` in their order, each an array of all their rows."""
        parts = [self._read(group) for group in groups]
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def blocks(self, rows: int = SHUFFLE_ROWS) -> Iterator[tuple[NDArray[np.generic], ...]]:
        """All events in their order, up to `rows` at a time (a row group is never divided)."""
        return (self.read(window) for window in windows(self.groups, rows))

    def _read(self, group: RowGroup) -> list[NDArray[np.generic]]:
        with pq.ParquetFile(group.path) as file:
            table = file.read_row_group(group.number, columns=list(self.columns))
        return [table.column(name).to_numpy() for name in self.columns]


def windows(groups: Sequence[RowGroup], rows: int) -> list[tuple[RowGroup, ...]]:
    """`groups` cut, in their order, into windows of up to `rows` rows and at least one group."""
    result: list[tuple[RowGroup, ...]] = []
    held = 0
    for group in groups:
        if result and held + group.n_rows <= rows:
            result[-1] += (group,)
            held += group.n_rows
        else:
            result.append((group,))
            held = group.n_rows
    return result


class EventBatches:
    """Batches of train events: every event once an epoch, in an order of its own each epoch.

    An epoch has ceil(n_rows / batch_size) batches whose sizes differ by one at most. Up to `shuffle_rows` events are
    held on `device` and shuffled as a whole. More are streamed: each epoch permutes the row groups of the files, and
    shuffles them in windows of up to `shuffle_rows`, one window in memory at a time.

    Each process of a distributed training gets its `shard` of every batch. Raises `DataError` where a batch would
    be empty.
    """

    def __init__(
        self,
        events: TrainEvents,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        shuffle_rows: int = SHUFFLE_ROWS,
        shard: Shard | None = None,
    ) -> None:
        self._events, self._seed, self._device, self._shuffle_rows = events, seed, device, shuffle_rows
        self._shard = shard or current_shard()
        self._length = -(-events.n_rows // batch_size)
        if self._length == 0 or events.n_rows // self._length < self._shard.world:
            raise DataError(f"{events.n_rows} train events are too few for {self._shard.world} processes to train on")
        self._resident = self._load(events.groups) if events.n_rows <= shuffle_rows else None

    def __len__(self) -> int:
        return self._length

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Columns]:
        """Batches `start`, `start` + 1, ... of epoch `number`: one tensor [B] a column, of the files' types.

        To start anywhere costs the reading of one window at most.
        """
        bounds = [step * self._events.n_rows // self._length for step in range(start, self._length + 1)]
        sizes = (stop - first for first, stop in pairwise(bounds))
        pieces: list[Columns] = []
        wanted = next(sizes, 0)
        for columns, order in self._shuffled(number, bounds[0]):
            while len(order) >= wanted > 0:
                pieces.append(_take(columns, order[:wanted]))
                yield self._own(pieces)
                order, wanted, pieces = order[wanted:], next(sizes, 0), []
            pieces.append(_take(columns, order))
            wanted -= len(order)

    def _shuffled(self, epoch: int, skip: int) -> Iterator[tuple[Columns, torch.Tensor]]:
        """Each window's columns and the order of its rows, without the first `skip` rows of the epoch."""
        for place, window in enumerate(self._windows(epoch)):
            n_rows = sum(group.n_rows for group in window)
            if skip < n_rows:
                random = generator(self._device, self._seed, epoch, place)
                order = torch.randperm(n_rows, generator=random, device=self._device, dtype=torch.int32)
                yield self._resident or self._load(window), order[skip:]
            skip = max(0, skip - n_rows)

    def _windows(self, epoch: int) -> list[tuple[RowGroup, ...]]:
        if self._resident:
            return [self._events.groups]
        groups = self._events.groups
        order = np.random.default_rng((self._seed, epoch)).permutation(len(groups))
        return windows([groups[place] for place in order], self._shuffle_rows)

    def _load(self, groups: Sequence[RowGroup]) -> Columns:
        return tuple(torch.tensor(column, device=self._device) for column in self._events.read(groups))

    def _own(self, pieces: Sequence[Columns]) -> Columns:
        """This process's rows of the batch that `pieces` make."""
        columns = pieces[0] if len(pieces) == 1 else [torch.cat(parts) for parts in zip(*pieces, strict=True)]
        return tuple(column[self._shard.rows(len(column))] for column in columns)


def _take(columns: Columns, rows: torch.Tensor) -> Columns:
    return tuple(column.index_select(0, rows) for column in columns)
