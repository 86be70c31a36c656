"""The softmax over the items of the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.errors import DataError
from falconer.pipelines.training.shard import Shard
from falconer.recsys.backends.torch.events import EventBatches, TrainEvents
from falconer.recsys.backends.torch.in_batch import (
    InBatch,
    SharedItems,
    in_batch_softmax,
    log_chances,
    smoothed,
)
from tests.support.datasets import write_dataset


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch_of(items: list[int]) -> SharedItems:
    n = len(items)
    return SharedItems(torch.zeros(n, dtype=torch.int64), torch.tensor(items), torch.arange(n))


def test_by_hand() -> None:
    """Two items with chances 1/4 and 3/4, a batch of three events; the second and third have the
    same item."""
    scores = torch.tensor([[1.0, 2.0, 2.0], [0.5, 1.5, 1.5], [0.0, 3.0, 3.0]])
    found = in_batch_softmax(scores, batch_of([0, 1, 1]), log_chances(np.array([1, 3])))
    e = np.exp
    first = np.log(e(1) + 2 * e(2) / (2 * 0.75)) - 1
    second = np.log(e(1.5) + e(0.5) / (2 * 0.25)) - 1.5
    third = np.log(e(3) + e(0) / (2 * 0.25)) - 3
    assert found.item() == pytest.approx((first + second + third) / 3, rel=1e-5)


def full(scores: torch.Tensor, answer: int) -> torch.Tensor:
    return torch.logsumexp(scores, 0) - scores[answer]


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(0, 99))
def test_every_item_once_is_the_softmax_over_all(n: int, seed: int) -> None:
    """An event of item a whose batch has every other item once, all equally likely: nothing is left
    to chance."""
    scores = random(n, seed=seed)
    batch = SharedItems(
        torch.zeros(1, dtype=torch.int64), torch.arange(n), torch.tensor([seed % n])
    )
    chance = torch.full(
        (n,), 1 / (n - 1)
    ).log()  # of the n - 1 others, each is there once in n - 1 draws
    found = in_batch_softmax(scores[None], batch, chance)
    torch.testing.assert_close(found, full(scores, seed % n), rtol=1e-5, atol=1e-5)


def test_an_item_as_often_as_its_chance_says_is_corrected_away() -> None:
    """40 others in the very proportions of their chances: the sum is exactly that over the
    catalogue."""
    counts, scores = np.array([4, 8, 12, 16]), random(4)
    answer = 4  # an item of its own, which is never among the others
    items = torch.tensor([*np.repeat(np.arange(4), counts), answer])
    all_scores = torch.cat([scores, torch.tensor([0.3])])
    chance = torch.cat([log_chances(counts), torch.tensor([-torch.inf])])
    batch = SharedItems(torch.zeros(1, dtype=torch.int64), items, torch.tensor([40]))
    found = in_batch_softmax(all_scores[items][None], batch, chance)
    torch.testing.assert_close(found, full(all_scores, answer))


def test_the_sum_is_right_in_the_mean_over_batches() -> None:
    """E[exp(loss) ] over drawn batches = sum over all items of exp(s_j - s_answer), whatever the
    popularity."""
    rng = np.random.default_rng(0)
    q, scores, answer = np.array([0.6, 0.3, 0.08, 0.02]), random(4), 2
    draws = torch.tensor(rng.choice(4, size=(1500, 8), p=q))
    items = torch.cat([torch.full((len(draws), 1), answer), draws], dim=1)
    chance = torch.tensor(np.log(q), dtype=torch.float32)
    place = torch.tensor([0])
    sums = []
    for row in items[:1500]:
        sums.append(
            in_batch_softmax(scores[row][None], SharedItems(place, row, place), chance).exp()
        )
    expected = full(scores, answer).exp().item()
    assert torch.stack(sums).mean().item() == pytest.approx(expected, rel=0.1)
    wrong = [
        in_batch_softmax(scores[r][None], SharedItems(place, r, place), torch.zeros(4)).exp()
        for r in items[:200]
    ]
    assert torch.stack(wrong).mean().item() != pytest.approx(expected, rel=0.2), (
        "and not without the correction"
    )


def pairs_of(batch: SharedItems) -> list[tuple[int, int]]:
    return list(zip(batch.users.tolist(), batch.items[batch.place].tolist(), strict=True))


def test_batches_are_the_events_and_their_shares_join(tmp_path: Path) -> None:
    train = [(user, (3 * user + k) % 7, k) for k in range(4) for user in range(5)]
    data = write_dataset(tmp_path / "data", train=train, n_users=5, n_items=7, folds={})
    events = EventBatches(TrainEvents(data), batch_size=6, seed=0, device=torch.device("cpu"))
    whole = list(InBatch(events).epoch(1))
    shares = [list(InBatch(events, shard=Shard(rank, 2)).epoch(1)) for rank in range(2)]
    assert len(whole) == len(events) == 4
    for alone, *both in zip(whole, *shares, strict=True):
        assert sorted(alone.place.tolist()) == sorted(
            place for part in both for place in part.place.tolist()
        )
        assert sorted(pairs_of(alone)) == sorted(pair for part in both for pair in pairs_of(part))
        assert all(torch.equal(part.items, alone.items) for part in both)
    assert sorted(pair for batch in whole for pair in pairs_of(batch)) == sorted(
        (user, item) for user, item, _ in train
    )


def test_the_shares_losses_are_the_batchs() -> None:
    items, chance = torch.tensor([0, 1, 1, 2]), log_chances(np.array([2, 5, 1]))
    scores, place = random(4, 4), torch.arange(4)
    whole = in_batch_softmax(scores, SharedItems(place, items, place), chance)
    parts = [
        in_batch_softmax(scores[own], SharedItems(place[own], items, place[own]), chance)
        for own in place.split(2)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_a_batch_of_one_event_is_refused(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data", train=[(0, 0, 0), (1, 1, 0)], n_users=2, n_items=2, folds={}
    )
    events = EventBatches(TrainEvents(data), batch_size=1, seed=0, device=torch.device("cpu"))
    with pytest.raises(DataError, match="set a larger"):
        next(InBatch(events).epoch(0))


def test_smoothing() -> None:
    labels = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(smoothed(labels, 0.1), torch.tensor([0.05, 0.95]))
    assert torch.equal(smoothed(labels, 0.0), labels)
