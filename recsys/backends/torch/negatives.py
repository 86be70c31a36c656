"""Negatives for train events: items that a user does not have, or that nobody asked about.

All that is random here is a pure function of (seed, epoch, step).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from falconer.pipelines.errors import DataError
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.recsys.backends.torch.events import (
    EventBatches,
    TrainEvents,
    distinct_pairs,
    event_batches,
    generator,
)
from falconer.recsys.configs.pairs import PairsConfig

REDRAWS = 8
"""Times that a popularity-weighted negative is drawn anew where the user has the item."""


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
