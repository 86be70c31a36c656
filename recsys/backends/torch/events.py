"""Train events as torch batches, negatives for them, and scores of whole catalogues.

All that is random here is a pure function of (seed, epoch, step), so a training can go on from any
step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.recsys.configs.pairs import PairsConfig

SHUFFLE_ROWS = 2**24
"""Rows that are held and shuffled together: 16.8 million events of user and item take about 200
MB."""
REDRAWS = 8
"""Times that a popularity-weighted negative is drawn anew where the user has the item."""
ITEMS_AT_ONCE = 2**14
"""Items that one query is scored against at a time."""

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


class SeenItems:
    """The distinct train items of each user, laid out so that one binary search answers a question
    about a pair.

    With a user's items sorted, s_0 < s_1 < ..., there are s_j - j items below s_j that the user has
    not seen. So the r-th unseen item (from 0) is r + (number of j with s_j - j <= r).
    """

    def __init__(
        self, events: TrainEvents, *, n_users: int, n_items: int, device: torch.device
    ) -> None:
        pairs = distinct_pairs(events, n_items)
        counts = np.bincount(pairs // n_items, minlength=n_users)
        first = np.cumsum(counts) - counts
        unseen_below = pairs - np.arange(len(pairs))
        unseen_below += np.repeat(first, counts)
        self.n_items = n_items
        self._pairs, self._unseen_below, self._first, self._n_unseen = (
            torch.from_numpy(array).to(device)
            for array in (pairs, unseen_below, first, n_items - counts)
        )
        if (counts == n_items).any():
            raise DataError(
                f"user {int(counts.argmax())} has every item in train, so no negative can be drawn "
                "that the user has "
                "not seen; set model.reject_seen = false, or for a sequence model another "
                "model.loss than bce"
            )

    def contains(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """bool, of the shape that both broadcast to: whether the user has the item in train."""
        pairs = users.long() * self.n_items + items
        place = torch.searchsorted(self._pairs, pairs).clamp_(max=len(self._pairs) - 1)
        return self._pairs[place] == pairs

    def unseen(self, users: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
        """int64, of the shape that both broadcast to: for each `chance` (float64, in [0, 1)) the
        item that is so far along the user's unseen items. All are equally likely where `chance` is
        uniform."""
        users = users.long()
        rank = (chance * self._n_unseen[users]).long()
        place = torch.searchsorted(self._unseen_below, users * self.n_items + rank, right=True)
        return rank + place - self._first[users]


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


class NegativeSampler:
    """Draws items at random in proportion to (train events of the item) ^ alpha; alpha 0 is
    uniform.

    With `seen`, no item that the user has in train: uniform draws are uniform over the user's
    unseen items. Weighted ones are drawn again up to `REDRAWS` times, and what is then still seen
    (of a user whose items have 70 % of all weight: one draw in 25) is replaced by a uniform unseen
    item.
    """

    def __init__(
        self,
        counts: NDArray[np.int64],
        *,
        alpha: float,
        seen: SeenItems | None,
        device: torch.device,
    ) -> None:
        self._n_items, self._seen, self._device = len(counts), seen, device
        cumulative = np.cumsum(counts.astype(np.float64) ** alpha)
        self._cumulative = (
            None if alpha == 0 else torch.tensor(cumulative / cumulative[-1], device=device)
        )

    def draw(self, users: torch.Tensor, n: int, random: torch.Generator) -> torch.Tensor:
        """int64[B, n]: n items for each of users[B], with replacement."""
        if self._cumulative is not None:
            return self._weighted(users.repeat_interleave(n), random).view(-1, n)
        chance = self._chance((len(users), n), random)
        return (
            (chance * self._n_items).long()
            if self._seen is None
            else self._seen.unseen(users[:, None], chance)
        )

    def _weighted(self, users: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        """int64[P]: one item for each of users[P]."""
        items = self._by_weight(users.shape, random)
        if self._seen is None:
            return items
        refused = self._seen.contains(users, items).nonzero()[:, 0]
        for _ in range(REDRAWS):
            items[refused] = self._by_weight(refused.shape, random)
            refused = refused[self._seen.contains(users[refused], items[refused])]
        items[refused] = self._seen.unseen(users[refused], self._chance(refused.shape, random))
        return items

    def _by_weight(self, shape: tuple[int, ...], random: torch.Generator) -> torch.Tensor:
        """Inverse of the cumulative distribution."""
        assert self._cumulative is not None
        return torch.searchsorted(self._cumulative, self._chance(shape, random), right=True)

    def _chance(self, shape: tuple[int, ...], random: torch.Generator) -> torch.Tensor:
        return torch.rand(shape, generator=random, device=self._device, dtype=torch.float64)


@dataclass(frozen=True)
class LabelledItems:
    """B users with K items each: users int[B], items int64[B, K], labels float32[B, K] (1 = a train
    event)."""

    users: torch.Tensor
    items: torch.Tensor
    labels: torch.Tensor


class WithNegatives:
    """Batches of user and item, each event followed by `n` negatives: K = 1 + n items, the event's
    own first.

    Negatives are drawn for the batch of all processes, and each process takes its `shard` of both.
    """

    def __init__(
        self,
        events: EventBatches,
        sampler: NegativeSampler,
        *,
        n: int,
        seed: int,
        shard: Shard | None = None,
    ) -> None:
        self._events, self._sampler, self._n, self._seed = events, sampler, n, seed
        self._shard = shard or current_shard()

    def __len__(self) -> int:
        return len(self._events)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[LabelledItems]:
        """Batches `start`, `start` + 1, ... of epoch `number`."""
        for step, (users, items) in enumerate(self._events.epoch(number, start=start), start=start):
            random = generator(items.device, "negatives", self._seed, number, step)
            drawn = self._sampler.draw(users, self._n, random)
            own = self._shard.rows(len(users))
            chosen = torch.cat([items[own, None].long(), drawn[own]], dim=1)
            labels = torch.zeros(chosen.shape, device=items.device)
            labels[:, 0] = 1
            yield LabelledItems(users[own], chosen, labels)


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


def negative_batches(
    config: PairsConfig,
    events: TrainEvents,
    counts: NDArray[np.int64],
    *,
    n_users: int,
    device: torch.device,
) -> WithNegatives:
    """Train events with negatives, as configured; `counts` int64[n_items] are the items' train
    events."""
    seen = (
        SeenItems(events, n_users=n_users, n_items=len(counts), device=device)
        if config.reject_seen
        else None
    )
    sampler = NegativeSampler(counts, alpha=config.negative_alpha, seen=seen, device=device)
    batches = event_batches(config, events, device=device)
    return WithNegatives(batches, sampler, n=config.n_negatives, seed=config.seed)


def rows_of(table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Rows `ids` of any shape [...] of `table` [n, d] -> [..., d], as
    `torch.nn.functional.embedding`.

    On a CPU its gradient takes a third of the time: `index_add_` goes through the ids once.
    """
    return table.index_select(0, ids.flatten()).view(*ids.shape, table.shape[1])


def catalogue_scores(
    score: Callable[[int, slice], torch.Tensor],
    *,
    n_queries: int,
    n_known: int,
    n_items: int,
    device: torch.device,
) -> NDArray[np.float32]:
    """float32[n_queries, n_items] from `score(query, items)`, the float32 scores of one query for a
    slice of items.

    Items from `n_known` on are -inf. One query at a time, the same slices for each and one thread
    for each, so that every computation has a fixed shape and order, and a query's scores are the
    same to the bit whatever is asked beside it. As many queries as torch has threads are scored
    side by side (`score` must allow for that): two threads that share the small products of one
    query wait for each other most of the time.
    """
    scores = torch.full((n_queries, n_items), -torch.inf, device=device)
    blocks = [
        slice(start, min(start + ITEMS_AT_ONCE, n_known))
        for start in range(0, n_known, ITEMS_AT_ONCE)
    ]
    queries = iter(range(n_queries))

    def work(_: int) -> None:
        with torch.inference_mode():
            for query in queries:  # one iterator for all threads: each query goes to one of them
                for items in blocks:
                    scores[query, items] = score(query, items)

    workers = max(1, min(torch.get_num_threads(), n_queries)) if device.type == "cpu" else 1
    with _one_thread_each(), ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return scores.cpu().numpy()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """One thread for each computation of torch in this thread, and in threads that begin inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
