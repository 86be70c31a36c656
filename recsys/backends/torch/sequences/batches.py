"""Users' train events as sequences: cut into rows, batched by like length, and turned into
questions and answers.

All that is random here is a pure function of (seed, epoch, step), so a training can go on from any
step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from falconer.pipelines.data.queries import Ragged, offsets_of
from falconer.pipelines.errors import DataError
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.recsys.backends.torch.events import TrainEvents, generator
from falconer.recsys.backends.torch.negatives import NegativeSampler

BATCHES_SORTED = 32
"""Rows of so many batches are sorted by length together: then little of a batch is padding, and
rows still meet others in each epoch."""


def user_sequences(events: TrainEvents, n_users: int) -> Ragged:
    """Row u holds the train items of user u, oldest first, int32.

    Events are read twice, a block at a time; four bytes an event stay in memory. `events` holds
    user and item.
    """
    counts = np.zeros(n_users, np.int64)
    for users, _ in events.blocks():
        counts += np.bincount(users, minlength=n_users)
    offsets = offsets_of(counts)
    values = np.empty(events.n_rows, np.int32)
    free = offsets[:-1].copy()
    for users, items in events.blocks():
        order = np.argsort(users, kind="stable")
        here = np.bincount(users, minlength=n_users)
        first = np.cumsum(here) - here
        values[(free - first)[users[order]] + np.arange(len(users))] = items[order]
        free += here
    return Ragged(offsets, values)


@dataclass(frozen=True)
class Rows:
    """R rows of users' sequences: row r is `items[starts[r] : starts[r] + lengths[r]]`, of user
    `users[r]`."""

    items: NDArray[np.int32]
    users: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


def cut(sequences: Ragged, *, size: int, overlap: int, whole: bool) -> Rows:
    """Rows of up to `size` items from the end of each sequence backwards, each beginning with the
    last `overlap` items of the one before it; without `whole` the newest row only. A row has more
    than `overlap` items, and a sequence without so many has none.
    """
    lengths = sequences.lengths
    step = size - overlap
    n_rows = -(-np.maximum(lengths - overlap, 0) // step)
    n_rows = n_rows if whole else np.minimum(n_rows, 1)
    users = np.repeat(np.arange(len(lengths)), n_rows)
    back = np.arange(len(users)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    stops = lengths[users] - back * step
    starts = np.maximum(stops - size, 0)
    return Rows(
        np.asarray(sequences.values, np.int32),
        users,
        sequences.offsets[users] + starts,
        stops - starts,
    )


@dataclass(frozen=True)
class PaddedRows:
    """B rows of a batch: users int64[B], items int64[B, L] with 0 behind a row's end, lengths
    int64[B]."""

    users: Tensor
    items: Tensor
    lengths: Tensor

    @property
    def inside(self) -> Tensor:
        """bool[B, L]: False behind a row's end."""
        return within(self.lengths, self.items.shape[1])


def within(lengths: Tensor, size: int) -> Tensor:
    """bool[B, size]: whether a place is before the end of its row."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


class RowBatches:
    """Batches of rows, of like length where `sort_by_length`: every row once an epoch, in an order
    of its own each epoch.

    An epoch has ceil(R / batch_size) batches whose sizes differ by one at most. Rows are held on
    `device`. Raises `DataError` where there is no row, or too few for the processes of a
    distributed training.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        sort_by_length: bool = True,
    ) -> None:
        self._seed, self._device = seed, device
        self._n_rows = len(rows.users)
        self._length = -(-self._n_rows // batch_size)
        world = current_shard().world
        if self._length == 0 or self._n_rows // self._length < world:
            raise DataError(
                f"train has {self._n_rows} sequences long enough to learn from: too few for "
                f"batches of {batch_size} "
                f"and {world} processes; users need two events or more in train"
            )
        self._items, self._users, self._starts, self._lengths = (
            torch.tensor(array, device=device)
            for array in (rows.items, rows.users, rows.starts, rows.lengths)
        )
        self._pool = batch_size * BATCHES_SORTED if sort_by_length else 1

    def __len__(self) -> int:
        return self._length

    def epoch(self, number: int, *, start: int = 0) -> Iterator[PaddedRows]:
        """Batches `start`, `start` + 1, ... of epoch `number`."""
        random = generator(self._device, "rows", self._seed, number)
        order = self._by_like_length(
            torch.randperm(self._n_rows, generator=random, device=self._device)
        )
        bounds = list(
            pairwise(place * self._n_rows // self._length for place in range(self._length + 1))
        )
        for place in torch.randperm(self._length, generator=random, device=self._device).tolist()[
            start:
        ]:
            yield self._padded(order[slice(*bounds[place])])

    def _by_like_length(self, order: Tensor) -> Tensor:
        """`order` with each run of `_pool` rows sorted by length."""
        run = torch.arange(self._n_rows, device=self._device) // self._pool
        key = run * (self._lengths.max() + 1) + self._lengths[order]
        return order[torch.sort(key, stable=True).indices]

    def _padded(self, rows: Tensor) -> PaddedRows:
        lengths = self._lengths[rows]
        size = int(lengths.max())
        places = self._starts[rows, None] + torch.arange(size, device=self._device)
        items = self._items[places.clamp_(max=len(self._items) - 1)].long()
        return PaddedRows(self._users[rows], items * within(lengths, size), lengths)


@dataclass(frozen=True)
class Questions:
    """What a model is asked about B rows: items int64[B, L], lengths int64[B]; `asked` bool[B, L]
    says at which places it must find `answers` int64[B, L]."""

    items: Tensor
    lengths: Tensor
    asked: Tensor
    answers: Tensor


Ask = Callable[[PaddedRows, torch.Generator], Questions]


def next_item(rows: PaddedRows, random: torch.Generator) -> Questions:
    """At each place of a row but the last: which item follows? (Kang and McAuley 2018, section
    3.5)"""
    lengths = rows.lengths - 1
    inputs = rows.items[:, :-1]
    return Questions(inputs, lengths, within(lengths, inputs.shape[1]), rows.items[:, 1:])


def cloze(*, mask: int, share: float, last_share: float) -> Ask:
    """Some items of a row are replaced by the token `mask`: which were they? (Sun et al. 2019,
    sections 3.5 and 3.6)

    With chance `last_share` the last item of a row alone, as when the model is used; otherwise each
    with chance `share`, and the last where chance leaves none.
    """

    def ask(rows: PaddedRows, random: torch.Generator) -> Questions:
        chance = torch.rand(rows.items.shape, generator=random, device=rows.items.device)
        last_only = (
            torch.rand(len(rows.items), generator=random, device=rows.items.device) < last_share
        )
        masked = rows.inside & (chance < share) & ~last_only[:, None]
        last = torch.arange(rows.items.shape[1], device=masked.device) == rows.lengths[:, None] - 1
        masked |= last & ~masked.any(1, keepdim=True)
        return Questions(rows.items.masked_fill(masked, mask), rows.lengths, masked, rows.items)

    return ask


@dataclass(frozen=True)
class SequenceBatch:
    """B rows and the T places where the model is asked.

    items      int64[B, L]     0 behind a row's end
    lengths    int64[B]
    places     int64[T]        row * L + place in the row, ascending
    answers    int64[T]
    negatives  int64[K], the same for all places, or int64[T, K], or None
    """

    items: Tensor
    lengths: Tensor
    places: Tensor
    answers: Tensor
    negatives: Tensor | None = None


@dataclass(frozen=True)
class Negatives:
    """Draws `n` items for a batch, or with `n` None one for each place, which the sampler may
    refuse by user."""

    sampler: NegativeSampler
    n: int | None

    def draw(self, rows: PaddedRows, shape: torch.Size, random: torch.Generator) -> Tensor:
        """int64[n], or int64 of `shape` [B, L]."""
        if self.n is None:
            return self.sampler.draw(rows.users, shape[1], random)
        return self.sampler.draw(rows.users[:1], self.n, random)[0]


class SequenceBatches:
    """Batches of rows as questions and answers, with negatives where a loss wants some.

    What is random is drawn for the batch of all processes, and each process takes its `shard` of
    the rows.
    """

    def __init__(
        self,
        rows: RowBatches,
        ask: Ask,
        *,
        seed: int,
        negatives: Negatives | None = None,
        shard: Shard | None = None,
    ) -> None:
        self._rows, self._ask, self._seed, self._negatives = rows, ask, seed, negatives
        self._shard = shard or current_shard()

    def __len__(self) -> int:
        return len(self._rows)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[SequenceBatch]:
        """Batches `start`, `start` + 1, ... of epoch `number`."""
        for step, rows in enumerate(self._rows.epoch(number, start=start), start=start):
            random = generator(rows.items.device, "questions", self._seed, number, step)
            questions = self._ask(rows, random)
            negatives = (
                self._negatives.draw(rows, questions.asked.shape, random)
                if self._negatives
                else None
            )
            yield self._own(questions, negatives)

    def _own(self, questions: Questions, negatives: Tensor | None) -> SequenceBatch:
        own = self._shard.rows(len(questions.lengths))
        places = questions.asked[own].flatten().nonzero()[:, 0]
        if negatives is not None and negatives.dim() == 2:
            negatives = negatives[own].flatten()[places, None]
        answers = questions.answers[own].flatten()[places]
        return SequenceBatch(
            questions.items[own], questions.lengths[own], places, answers, negatives
        )
