"""Users as the sets of their train items, in torch batches without a Python loop over rows or a
dense matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from falconer.pipelines.data.queries import offsets_of
from falconer.pipelines.errors import DataError
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.recsys.backends.torch.events import TrainEvents, distinct_pairs, generator


@dataclass(frozen=True)
class Profiles:
    """The distinct items of B users: those of user b are `items[offsets[b]:offsets[b + 1]]`,
    ascending.

    offsets  int64[B + 1]
    items    int32[N]
    """

    offsets: torch.Tensor
    items: torch.Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> torch.Tensor:
        """int64[B]: items of each user."""
        return self.offsets.diff()

    @property
    def rows(self) -> torch.Tensor:
        """int64[N]: the user that each item belongs to."""
        return torch.repeat_interleave(self.lengths, output_size=len(self.items))

    def take(self, users: torch.Tensor) -> Profiles:
        """The given users, in the given order."""
        lengths = self.lengths[users]
        offsets = _offsets(lengths)
        shift = torch.repeat_interleave(self.offsets[users] - offsets[:-1], lengths)
        return Profiles(offsets, self.items[shift + torch.arange(len(shift), device=shift.device)])

    def only(self, kept: torch.Tensor) -> Profiles:
        """The items where `kept`, bool[N], holds; a user may be left with none."""
        return Profiles(_offsets(kept)[self.offsets], self.items[kept])


def _offsets(lengths: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0))


def train_profiles(
    events: TrainEvents, *, n_users: int, n_items: int, device: torch.device
) -> Profiles:
    """Every user who has a train event, by id. `events` holds the columns user and item."""
    users, items = np.divmod(distinct_pairs(events, n_items), n_items)
    lengths = np.bincount(users, minlength=n_users)
    offsets = offsets_of(lengths[lengths > 0])
    return Profiles(
        torch.tensor(offsets, device=device), torch.tensor(items.astype(np.int32), device=device)
    )


@dataclass(frozen=True)
class ProfileBatch:
    """Users of one batch; `number` counts the batches since training began, from 0."""

    profiles: Profiles
    number: int


class ProfileBatches:
    """Batches of users: every user once an epoch, in an order of its own each epoch.

    An epoch has ceil(n_users / batch_size) batches whose sizes differ by one at most. Raises
    `DataError` where the share of one of the processes of a distributed training would be empty.
    """

    def __init__(
        self, profiles: Profiles, *, batch_size: int, seed: int, shard: Shard | None = None
    ) -> None:
        self._profiles, self._seed = profiles, seed
        self._shard = shard or current_shard()
        self._length = -(-len(profiles) // batch_size)
        if self._length == 0 or len(profiles) // self._length < self._shard.world:
            raise DataError(
                f"{len(profiles)} users with train events in batches of {batch_size} are too few "
                f"for {self._shard.world} processes"
            )

    def __len__(self) -> int:
        return self._length

    def epoch(self, number: int, *, start: int = 0) -> Iterator[ProfileBatch]:
        """Batches `start`, `start` + 1, ... of epoch `number`."""
        n, device = len(self._profiles), self._profiles.items.device
        order = torch.randperm(
            n, generator=generator(device, "users", self._seed, number), device=device
        )
        for step in range(start, self._length):
            users = order[step * n // self._length : (step + 1) * n // self._length]
            own = users[self._shard.rows(len(users))]
            yield ProfileBatch(self._profiles.take(own), number * self._length + step)
