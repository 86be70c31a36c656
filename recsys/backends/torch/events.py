"""Train events as torch batches.

All that is random here is a pure function of (seed, epoch, step), so a training can go on from any
step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.pipelines.training.shard import current_shard
from falconer.recsys.configs.pairs import PairsConfig

SHUFFLE_ROWS = 2**24
"""Rows that are held and shuffled together: 16.8 million events of user and item take about 200
MB."""
Columns = tuple[torch.Tensor, ...]


def generator(device: torch.device, *place: int | str) -> torch.Generator:
    """The random numbers of one place, say (seed, epoch, step); other places draw others, in
    whatever order."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little"))


@dataclass(frozen=True)
class RowGroup:
    """Row group `number` of a parquet file."""

    path: Path
    number: int
    n_rows: int


class TrainEvents:
    """Columns of a dataset's train events, read by row groups: never more than a caller asks for is
    in memory.

    Every file is checked against its checksum once. Raises `ArtifactError` where one is damaged,
    and `DataError` where a user or an item is not in the vocabulary.
    """

    def __init__(self, data: Dataset, columns: Sequence[str] = ("user", "item")) -> None:
        self.columns = tuple(columns)
        self._sizes = {"user": data.n_users, "item": data.n_items}
        self._lowest = -1 if data.card.task == "labels" else 0
        self.groups = tuple(
            RowGroup(path, number, metadata.row_group(number).num_rows)
            for path in data.train_files()
            for metadata in [pq.read_metadata(path)]
            for number in range(metadata.num_row_groups)
        )
        self.n_rows = sum(group.n_rows for group in self.groups)

    def read(self, groups: Sequence[RowGroup]) -> tuple[NDArray[Any], ...]:
        """The columns of `groups` in their order, each an array of all their rows."""
        parts = [self._read(group) for group in groups]
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def blocks(self, rows: int = SHUFFLE_ROWS) -> Iterator[tuple[NDArray[Any], ...]]:
        """All events in their order, up to `rows` at a time (a row group is never divided)."""
        return (self.read(window) for window in windows(self.groups, rows))

    def _read(self, group: RowGroup) -> list[NDArray[Any]]:
        with pq.ParquetFile(group.path) as file:
            table = file.read_row_group(group.number, columns=list(self.columns))
        columns = {name: table.column(name).to_numpy() for name in self.columns}
        for name in columns.keys() & self._sizes.keys():
            self._refuse_unknown(group, name, columns[name])
        return list(columns.values())

    def _refuse_unknown(self, group: RowGroup, name: str, ids: NDArray[Any]) -> None:
        size = self._sizes[name]
        if len(ids) and (ids.min() < self._lowest or ids.max() >= size):
            row = int(np.flatnonzero((ids < self._lowest) | (ids >= size))[0])
            raise DataError(
                f"{group.path}: row {row} of row group {group.number}: {name} {ids[row]} is not in "
                f"the vocabulary of {size}; build the dataset anew with `falconer etl`"
            )


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

    An epoch has ceil(n_rows / batch_size) batches whose sizes differ by one at most. Up to
    `shuffle_rows` events are held on `device` and shuffled as a whole. More are streamed: each
    epoch permutes the row groups of the files, and shuffles them in windows of up to
    `shuffle_rows`, one window in memory at a time.

    Raises `DataError` where the share of one of the processes of a distributed training would be
    empty.
    """

    def __init__(
        self,
        events: TrainEvents,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        shuffle_rows: int = SHUFFLE_ROWS,
    ) -> None:
        self._events, self._seed, self._device, self._shuffle_rows = (
            events,
            seed,
            device,
            shuffle_rows,
        )
        self._length = -(-events.n_rows // batch_size)
        world = current_shard().world
        if self._length == 0 or events.n_rows // self._length < world:
            raise DataError(
                f"{events.n_rows} train events in batches of {batch_size} are too few for {world} "
                "processes"
            )
        self._resident = self._load(events.groups) if events.n_rows <= shuffle_rows else None

    def __len__(self) -> int:
        return self._length

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Columns]:
        """Batches `start`, `start` + 1, ... of epoch `number`: one tensor [B] a column, of the
        files' types.

        To start anywhere costs the reading of one window at most.
        """
        bounds = [
            step * self._events.n_rows // self._length for step in range(start, self._length + 1)
        ]
        sizes = (stop - first for first, stop in pairwise(bounds))
        pieces: list[Columns] = []
        wanted = next(sizes, 0)
        for columns, order in self._shuffled(number, bounds[0]):
            while len(order) >= wanted > 0:
                pieces.append(_take(columns, order[:wanted]))
                yield _joined(pieces)
                order, wanted, pieces = order[wanted:], next(sizes, 0), []
            pieces.append(_take(columns, order))
            wanted -= len(order)

    def _shuffled(self, epoch: int, skip: int) -> Iterator[tuple[Columns, torch.Tensor]]:
        """Each window's columns and the order of its rows, without the first `skip` rows of the
        epoch."""
        for place, window in enumerate(self._windows(epoch)):
            n_rows = sum(group.n_rows for group in window)
            if skip < n_rows:
                random = generator(self._device, "order", self._seed, epoch, place)
                order = torch.randperm(
                    n_rows, generator=random, device=self._device, dtype=torch.int32
                )
                yield self._resident or self._load(window), order[skip:]
            skip = max(0, skip - n_rows)

    def _windows(self, epoch: int) -> list[tuple[RowGroup, ...]]:
        if self._resident:
            return [self._events.groups]
        groups = self._events.groups
        order = np.random.default_rng((self._seed, epoch)).permutation(len(groups))
        return windows([groups[place] for place in order], self._shuffle_rows)

    def _load(self, groups: Sequence[RowGroup]) -> Columns:
        return tuple(
            torch.tensor(column, device=self._device) for column in self._events.read(groups)
        )


def _take(columns: Columns, rows: torch.Tensor) -> Columns:
    return tuple(column.index_select(0, rows) for column in columns)


def _joined(pieces: Sequence[Columns]) -> Columns:
    return (
        pieces[0]
        if len(pieces) == 1
        else tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))
    )


def distinct_pairs(events: TrainEvents, n_items: int) -> NDArray[np.int64]:
    """user * n_items + item of each distinct pair, ascending. `events` holds the columns user and
    item."""
    pairs = np.empty(events.n_rows, np.int64)
    start = 0
    for users, items in events.blocks():
        pairs[start : start + len(users)] = users.astype(np.int64) * n_items + items
        start += len(users)
    pairs.sort()
    first = np.ones(len(pairs), np.bool_)
    np.not_equal(pairs[1:], pairs[:-1], out=first[1:])
    return pairs[first]


def item_counts(events: TrainEvents, n_items: int) -> NDArray[np.int64]:
    """int64[n_items]: train events of each item. `events` holds the columns user and item."""
    counts = np.zeros(n_items, np.int64)
    for _, items in events.blocks():
        counts += np.bincount(items, minlength=n_items)
    return counts


def event_batches(
    config: PairsConfig, events: TrainEvents, *, device: torch.device
) -> EventBatches:
    """Train events, as configured."""
    return EventBatches(
        events,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
        shuffle_rows=config.shuffle_rows,
    )
