"""Sequences of train events: their rows, batches, questions and negatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.errors import DataError
from falconer.pipelines.training.shard import Shard
from falconer.recsys.backends.torch.events import TrainEvents, generator
from falconer.recsys.backends.torch.negatives import NegativeSampler, SeenItems
from falconer.recsys.backends.torch.sequences import batches as sequences
from falconer.recsys.backends.torch.sequences.batches import (
    Negatives,
    PaddedRows,
    RowBatches,
    Rows,
    SequenceBatch,
    SequenceBatches,
    cloze,
    cut,
    next_item,
    user_sequences,
)
from tests.support.tiny import random_dataset

CPU = torch.device("cpu")
sequences_of_ids = st.lists(st.integers(0, 9), max_size=12).map(
    lambda lengths: Ragged.of([list(range(n)) for n in lengths])
)


def test_user_sequences_are_the_events_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_dataset(tmp_path / "data")
    events = TrainEvents(data)
    table = data.train.to_pydict()
    expected: list[list[int]] = [[] for _ in range(data.n_users)]
    for user, item in zip(table["user"], table["item"], strict=True):
        expected[user].append(item)
    whole = user_sequences(events, data.n_users)
    assert [list(row) for row in map(whole.__getitem__, range(data.n_users))] == expected

    columns = events.read(events.groups)
    parts = [
        tuple(column[start : start + 7] for column in columns)
        for start in range(0, events.n_rows, 7)
    ]
    monkeypatch.setattr(events, "blocks", lambda: iter(parts))
    in_parts = user_sequences(events, data.n_users)
    assert (in_parts.values == whole.values).all()
    assert (in_parts.offsets == whole.offsets).all()


def rows_as_lists(rows: Rows) -> list[tuple[int, list[int]]]:
    spans = zip(rows.users, rows.starts, rows.lengths, strict=True)
    return [
        (int(user), rows.items[start : start + length].tolist()) for user, start, length in spans
    ]


@settings(deadline=None)
@given(sequences_of_ids, st.integers(2, 5), st.sampled_from([0, 1]))
def test_each_item_is_in_one_row_and_rows_share_what_overlaps(
    ragged: Ragged, size: int, overlap: int
) -> None:
    rows = rows_as_lists(cut(ragged, size=size, overlap=overlap, whole=True))
    for user in range(len(ragged)):
        oldest_first = [row for owner, row in rows if owner == user][::-1]
        assert all(overlap < len(row) <= size for row in oldest_first)
        assert all(len(row) == size for row in oldest_first[1:])
        once = [
            item
            for place, row in enumerate(oldest_first)
            for item in (row if place == 0 else row[overlap:])
        ]
        assert once == (list(ragged[user]) if len(ragged[user]) > overlap else [])


@settings(deadline=None)
@given(sequences_of_ids, st.integers(2, 5))
def test_the_newest_row_alone(ragged: Ragged, size: int) -> None:
    rows = rows_as_lists(cut(ragged, size=size, overlap=1, whole=False))
    assert rows == [
        (user, list(ragged[user])[-size:]) for user in range(len(ragged)) if len(ragged[user]) > 1
    ]


def many_rows(n: int = 100) -> Rows:
    """Rows of 1 to 9 items, all items of all rows different."""
    ragged = Ragged.of(
        [[10 * row + place for place in range(1 + (7 * row) % 9)] for row in range(n)]
    )
    return cut(ragged, size=9, overlap=0, whole=True)


def batches(rows: Rows, *, batch_size: int = 8, seed: int = 3, alike: bool = True) -> RowBatches:
    return RowBatches(rows, batch_size=batch_size, seed=seed, device=CPU, sort_by_length=alike)


def contents(batch: PaddedRows) -> list[tuple[int, list[int]]]:
    parts = zip(batch.users.tolist(), batch.items.tolist(), batch.lengths.tolist(), strict=True)
    assert not batch.items[~batch.inside].any()
    return [(user, items[:length]) for user, items, length in parts]


def test_an_epoch_has_every_row_once_in_batches_of_equal_size() -> None:
    rows = many_rows()
    made = batches(rows)
    first, second = ([contents(batch) for batch in made.epoch(number)] for number in (0, 1))
    assert len(first) == len(made) == 13
    assert {len(batch) for batch in first} == {7, 8}
    for epoch in (first, second):
        assert sorted(row for batch in epoch for row in batch) == rows_as_lists(rows)
    assert first != second


def test_batches_follow_from_seed_epoch_and_step() -> None:
    rows = many_rows()
    whole = [contents(batch) for batch in batches(rows).epoch(5)]
    assert [contents(batch) for batch in batches(rows).epoch(5, start=9)] == whole[9:]
    assert [contents(batch) for batch in batches(rows, seed=4).epoch(5)] != whole


def test_rows_of_like_length_meet_and_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = many_rows(400)
    places = sum(batch.items.numel() for batch in batches(rows).epoch(0))
    assert places < 1.1 * rows.lengths.sum()
    monkeypatch.setattr(sequences, "BATCHES_SORTED", 1)
    assert sum(batch.items.numel() for batch in batches(rows).epoch(0)) > 1.5 * rows.lengths.sum()


def test_batches_may_be_fair_draws_of_all_lengths() -> None:
    rows = many_rows(400)
    sorted_means, fair_means = (
        [batch.lengths.double().mean().item() for batch in made.epoch(0)]
        for made in (batches(rows), batches(rows, alike=False))
    )
    # lengths are 1 to 9: the mean of 8 of them deviates by 2.6 / sqrt(8)
    assert np.std(sorted_means) > 2
    assert np.std(fair_means) < 1.3
    users = torch.cat([batch.users for batch in batches(rows, alike=False).epoch(0)])
    assert sorted(users.tolist()) == sorted(rows.users.tolist())


def test_too_few_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="two events or more"):
        batches(cut(Ragged.of([[1], [], [2]]), size=5, overlap=1, whole=True))
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(DataError, match="3 processes"):
        batches(many_rows(2))


PADDED = PaddedRows(
    torch.tensor([0, 1]), torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]]), torch.tensor([4, 2])
)
RANDOM = generator(CPU, "test")


def test_next_item_asks_at_each_place_but_the_last() -> None:
    asked = next_item(PADDED, RANDOM)
    assert asked.items.tolist() == [[5, 6, 7], [9, 4, 0]]
    assert asked.lengths.tolist() == [3, 1]
    assert asked.asked.tolist() == [[True, True, True], [True, False, False]]
    assert asked.answers[asked.asked].tolist() == [6, 7, 8, 4]


def test_cloze_masks_some_items_and_asks_for_them() -> None:
    rows = next(iter(batches(many_rows(2000), batch_size=2000).epoch(0)))
    asked = cloze(mask=-5, share=0.3, last_share=0.0)(rows, RANDOM)
    assert (asked.items == -5).equal(asked.asked)
    assert asked.items[~asked.asked].equal(rows.items[~asked.asked])
    assert asked.answers[asked.asked].equal(rows.items[asked.asked])
    assert not (asked.asked & ~rows.inside).any()
    assert asked.asked.any(1).all()
    long = rows.lengths == 9
    chance = (
        asked.asked[long][:, :8].float().mean()
    )  # the last place is masked where no other is, too
    assert chance.item() == pytest.approx(0.3, abs=0.03)


def test_cloze_masks_the_last_item_alone_as_often_as_it_is_told() -> None:
    rows = next(iter(batches(many_rows(2000), batch_size=2000).epoch(0)))
    last = torch.arange(9) == rows.lengths[:, None] - 1
    always = cloze(mask=-5, share=0.9, last_share=1.0)(rows, RANDOM)
    assert always.asked.equal(last)
    half = cloze(mask=-5, share=0.9, last_share=0.5)(rows, RANDOM)
    long = rows.lengths == 9
    assert (half.asked == last)[long].all(1).float().mean().item() == pytest.approx(0.5, abs=0.1)


def asked_batches(
    negatives: Negatives | None = None, shard: Shard | None = None
) -> SequenceBatches:
    return SequenceBatches(
        batches(many_rows()),
        cloze(mask=5000, share=0.3, last_share=0.2),
        seed=1,
        negatives=negatives,
        shard=shard,
    )


def by_place(batch: SequenceBatch, rank: int, world: int) -> list[tuple[int, int, int, object]]:
    """Row of the whole batch, place in it, answer and negative of each place."""
    row, place = np.divmod(batch.places.numpy(), batch.items.shape[1])
    drawn = [None] * len(row) if batch.negatives is None else batch.negatives.tolist()
    return list(
        zip(
            (row * world + rank).tolist(),
            place.tolist(),
            batch.answers.tolist(),
            drawn,
            strict=True,
        )
    )


def uniform(n: int | None) -> Negatives:
    return Negatives(NegativeSampler(np.ones(1000, np.int64), alpha=0, seen=None, device=CPU), n)


@pytest.mark.parametrize("negatives", [None, uniform(None)])
def test_the_shares_of_the_processes_make_up_the_batch(negatives: Negatives | None) -> None:
    whole = list(asked_batches(negatives).epoch(2))
    shares = [list(asked_batches(negatives, Shard(rank, 2)).epoch(2)) for rank in range(2)]
    assert len(whole) == len(shares[0]) == len(shares[1])
    for batch, one, other in zip(whole, *shares, strict=True):
        assert sorted(by_place(one, 0, 2) + by_place(other, 1, 2)) == by_place(batch, 0, 1)
    again = list(asked_batches(negatives).epoch(2, start=4))
    assert [by_place(batch, 0, 1) for batch in again] == [
        by_place(batch, 0, 1) for batch in whole[4:]
    ]


def test_negatives_for_a_batch_are_the_same_in_every_process() -> None:
    drawn = [
        next(iter(asked_batches(uniform(6), Shard(rank, 2)).epoch(0))).negatives
        for rank in range(2)
    ]
    assert drawn[0] is not None
    assert drawn[0].shape == (6,)
    assert drawn[1] is not None
    assert drawn[0].equal(drawn[1])
    steps = [
        batch.negatives.tolist()
        for batch in asked_batches(uniform(6)).epoch(0)
        if batch.negatives is not None
    ]
    assert len({tuple(step) for step in steps}) == len(steps)


def test_negatives_of_a_place_are_items_that_its_user_does_not_have(tmp_path: Path) -> None:
    data = random_dataset(tmp_path / "data", n_items=30)
    events = TrainEvents(data)
    seen = SeenItems(events, n_users=data.n_users, n_items=data.n_items, device=CPU)
    sampler = NegativeSampler(np.ones(data.n_items, np.int64), alpha=0, seen=seen, device=CPU)
    ragged = user_sequences(events, data.n_users)
    rows = RowBatches(cut(ragged, size=5, overlap=1, whole=True), batch_size=4, seed=0, device=CPU)
    asked = SequenceBatches(rows, next_item, seed=0, negatives=Negatives(sampler, None))
    for batch, padded in zip(asked.epoch(0), rows.epoch(0), strict=True):
        assert batch.negatives is not None
        assert batch.negatives.shape == (len(batch.places), 1)
        for place, negative in zip(
            batch.places.tolist(), batch.negatives[:, 0].tolist(), strict=True
        ):
            user = int(padded.users[place // batch.items.shape[1]])
            assert negative not in set(ragged[user].tolist())
