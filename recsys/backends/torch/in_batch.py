"""Softmax over the items of the batch: the other events' items serve as negatives, and nothing is
drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from falconer.pipelines.errors import DataError
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.recsys.backends.torch.events import EventBatches


@dataclass(frozen=True)
class SharedItems:
    """b events whose negatives are the items of all B events of the batch.

    users  int[b]
    items  int64[B]   of all processes
    place  int64[b]   each event's own item among `items`
    """

    users: Tensor
    items: Tensor
    place: Tensor


class InBatch:
    """Batches of events that share their items. Each process takes its `shard` of the users, and
    all of the items."""

    def __init__(self, events: EventBatches, *, shard: Shard | None = None) -> None:
        self._events, self._shard = events, shard or current_shard()

    def __len__(self) -> int:
        return len(self._events)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[SharedItems]:
        """Batches `start`, `start` + 1, ... of epoch `number`. Raises `DataError` for a batch of
        one event."""
        for users, items in self._events.epoch(number, start=start):
            if len(users) < 2:
                raise DataError(
                    "a batch of one event has no other item to learn from; set a larger "
                    "model.batch_size"
                )
            own = self._shard.rows(len(users))
            place = torch.arange(len(users), device=users.device)[own]
            yield SharedItems(users[own], items.long(), place)


def log_chances(counts: NDArray[Any]) -> Tensor:
    """float32[n]: log of the chance of each item to be that of an event, from the events of each;
    -inf for none."""
    with np.errstate(divide="ignore"):
        return torch.tensor(np.log(counts / counts.sum()), dtype=torch.float32)


def in_batch_softmax(scores: Tensor, batch: SharedItems, log_chance: Tensor) -> Tensor:
    """The mean over b events of the softmax over the items of the batch, corrected for how often an
    item is there.

    With s[e, j] the `scores` [b, B] of an event's user with the items, and q_j the chance of item j
    to be in an event:

        log(exp s[e, e] + sum over j of the B - 1 others of exp(s[e, j] - log((B - 1) q_j))) - s[e,
        e]

    where the others that are the event's own item again are left out. In the mean over batches the
    sum is then that over all other items of the catalogue. The correction is that of Yi et al.
    2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations", equation
    3 ("logQ"). They subtract it from the event's own score too, though its own item is no draw: it
    is in the sum for sure.
    """
    own = scores.gather(1, batch.place[:, None]).float()
    chance = log_chance.to(scores.device)[batch.items] + math.log(len(batch.items) - 1)
    again = batch.items == batch.items[batch.place][:, None]
    others = (scores.float() - chance).masked_fill(again, -torch.inf)
    return (torch.logsumexp(torch.cat([own, others], dim=1), dim=1) - own[:, 0]).mean()


def smoothed(labels: Tensor, smoothing: float) -> Tensor:
    """Labels between 0 and 1, moved towards 1/2 (Szegedy et al. 2016, section 7): y (1 - s) + s /
    2."""
    return labels * (1 - smoothing) + smoothing / 2
