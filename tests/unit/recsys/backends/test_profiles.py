"""Users as sets of items: the sets, their batches, and the multinomial likelihood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from falconer.pipelines.errors import DataError
from falconer.pipelines.training.shard import Shard
from falconer.recsys.backends.torch.events import TrainEvents
from falconer.recsys.backends.torch.item_sets.batches import (
    ProfileBatches,
    Profiles,
    train_profiles,
)
from falconer.recsys.backends.torch.item_sets.likelihood import negative_log_likelihood
from tests.support.datasets import write_dataset

CPU = torch.device("cpu")
SETS = st.lists(st.sets(st.integers(0, 9), max_size=6).map(sorted), min_size=1, max_size=8)


def profiles_of(sets: list[list[int]]) -> Profiles:
    offsets = np.cumsum([0, *(len(items) for items in sets)])
    return Profiles(
        torch.tensor(offsets),
        torch.tensor([item for items in sets for item in items], dtype=torch.int32),
    )


def sets_of(profiles: Profiles) -> list[list[int]]:
    bounds = profiles.offsets.tolist()
    return [profiles.items[bounds[row] : bounds[row + 1]].tolist() for row in range(len(profiles))]


@given(SETS, st.data())
def test_users_are_taken_in_any_order(sets: list[list[int]], data: st.DataObject) -> None:
    users = data.draw(st.lists(st.integers(0, len(sets) - 1), max_size=10))
    taken = profiles_of(sets).take(torch.tensor(users, dtype=torch.int64))
    assert sets_of(taken) == [sets[user] for user in users]
    assert taken.rows.tolist() == [row for row, user in enumerate(users) for _ in sets[user]]


@given(SETS, st.data())
def test_items_are_left_out_one_by_one(sets: list[list[int]], data: st.DataObject) -> None:
    n = sum(len(items) for items in sets)
    kept = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    flags = iter(kept)
    expected = [[item for item in items if next(flags)] for items in sets]
    assert sets_of(profiles_of(sets).only(torch.tensor(kept, dtype=torch.bool))) == expected


def test_train_events_become_sets_of_users_who_have_some(tmp_path: Path) -> None:
    train = [(3, 5, 0), (0, 2, 1), (3, 1, 2), (3, 5, 3), (0, 2, 4)]
    data = write_dataset(tmp_path / "data", train=train, n_users=5, n_items=6, folds={})
    profiles = train_profiles(TrainEvents(data), n_users=5, n_items=6, device=CPU)
    assert sets_of(profiles) == [[2], [1, 5]]
    assert profiles.items.dtype == torch.int32


ALL_USERS = profiles_of([[user] for user in range(23)])


def users_of(batches: ProfileBatches, epoch: int, start: int = 0) -> list[list[int]]:
    return [batch.profiles.items.tolist() for batch in batches.epoch(epoch, start=start)]


def test_every_user_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    batches = ProfileBatches(ALL_USERS, batch_size=5, seed=1)
    first, second = users_of(batches, 0), users_of(batches, 1)
    assert len(batches) == len(first) == 5
    assert {len(batch) for batch in first} == {4, 5}
    for epoch in (first, second):
        assert sorted(user for batch in epoch for user in batch) == list(range(23))
    assert first != second
    assert first != users_of(ProfileBatches(ALL_USERS, batch_size=5, seed=2), 0)


def test_an_epoch_goes_on_anywhere_and_counts_its_batches_from_the_first_epoch() -> None:
    batches = ProfileBatches(ALL_USERS, batch_size=5, seed=1)
    assert users_of(batches, 3, start=2) == users_of(batches, 3)[2:]
    assert [batch.number for batch in batches.epoch(3, start=2)] == [17, 18, 19]


def test_the_shares_of_two_processes_are_one_batch() -> None:
    whole = users_of(ProfileBatches(ALL_USERS, batch_size=5, seed=1), 0)
    shares = [
        users_of(ProfileBatches(ALL_USERS, batch_size=5, seed=1, shard=Shard(rank, 2)), 0)
        for rank in (0, 1)
    ]
    assert [sorted(own + other) for own, other in zip(*shares, strict=True)] == [
        sorted(batch) for batch in whole
    ]


def test_too_few_users_are_refused() -> None:
    with pytest.raises(DataError, match="2 users with train events"):
        ProfileBatches(profiles_of([[1], [2]]), batch_size=2, seed=0, shard=Shard(0, 3))
    with pytest.raises(DataError, match="0 users with train events"):
        ProfileBatches(profiles_of([]), batch_size=2, seed=0)


@given(SETS, st.integers(0, 1000))
def test_the_likelihood_and_its_gradient_are_those_of_log_softmax(
    sets: list[list[int]], seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(sets), 10, generator=random, requires_grad=True)
    weight = torch.rand(len(sets), generator=random)
    x = torch.tensor([[float(item in items) for item in range(10)] for items in sets])
    found = negative_log_likelihood(logits, profiles_of(sets))
    expected = -(x * torch.log_softmax(logits, 1)).sum(1)
    torch.testing.assert_close(found, expected)
    gradients = [
        torch.autograd.grad((weight * loss).sum(), logits)[0] for loss in (found, expected)
    ]
    torch.testing.assert_close(*gradients)
