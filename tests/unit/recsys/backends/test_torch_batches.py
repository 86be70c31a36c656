"""Train events as torch batches, and negatives for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from falconer.pipelines.data.dataset import Dataset, checksums
from falconer.pipelines.errors import ArtifactError, DataError
from falconer.pipelines.training.shard import Shard
from falconer.recsys.backends.torch.events import (
    EventBatches,
    RowGroup,
    TrainEvents,
    generator,
    item_counts,
    windows,
)
from falconer.recsys.backends.torch.negatives import (
    LabelledItems,
    NegativeSampler,
    SeenItems,
    WithNegatives,
)
from falconer.recsys.backends.torch.scoring import catalogue_scores, rows_of
from tests.support.datasets import write_dataset

CPU = torch.device("cpu")
N_EVENTS, N_USERS, N_ITEMS = 103, 7, 23
GROUP_ROWS = 10


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """103 events in two files of row groups of ten rows, the last ones shorter."""
    root = tmp_path_factory.mktemp("batches") / "data"
    rng = np.random.default_rng(0)
    train = [
        (int(rng.integers(N_USERS)), int(rng.integers(N_ITEMS)), day) for day in range(N_EVENTS)
    ]
    written = write_dataset(root, train=train, n_users=N_USERS, n_items=N_ITEMS, folds={})
    table = pq.read_table(root / "train/part-00000.parquet")
    for number, part in enumerate([table.slice(0, 64), table.slice(64)]):
        pq.write_table(part, root / f"train/part-{number:05d}.parquet", row_group_size=GROUP_ROWS)
    return Dataset(root, written.card.model_copy(update={"content": checksums(root)}))


@pytest.fixture(scope="module")
def events(data: Dataset) -> TrainEvents:
    return TrainEvents(data, ("user", "item", "ordinal"))


def batches(
    events: TrainEvents, *, batch_size: int = 8, seed: int = 5, shuffle_rows: int = 1000
) -> EventBatches:
    return EventBatches(
        events, batch_size=batch_size, seed=seed, device=CPU, shuffle_rows=shuffle_rows
    )


def ordinals(source: EventBatches, epoch: int, *, start: int = 0) -> list[list[int]]:
    return [batch[2].tolist() for batch in source.epoch(epoch, start=start)]


streamed_or_not = pytest.mark.parametrize(
    "shuffle_rows", [1000, 30, 1], ids=["in memory", "windows of 3", "of 1"]
)
sizes = st.integers(1, N_EVENTS + 20)


@streamed_or_not
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batch_size=sizes, epoch=st.integers(0, 5))
def test_an_epoch_has_every_event_once(
    events: TrainEvents, shuffle_rows: int, batch_size: int, epoch: int
) -> None:
    source = batches(events, batch_size=batch_size, shuffle_rows=shuffle_rows)
    found = ordinals(source, epoch)
    assert sorted(place for batch in found for place in batch) == list(range(N_EVENTS))
    assert len(found) == len(source) == -(-N_EVENTS // batch_size)
    lengths = [len(batch) for batch in found]
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) <= batch_size


@streamed_or_not
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batch_size=sizes, share=st.floats(0, 1))
def test_a_start_in_the_middle_gives_the_rest(
    events: TrainEvents, shuffle_rows: int, batch_size: int, share: float
) -> None:
    source = batches(events, batch_size=batch_size, shuffle_rows=shuffle_rows)
    start = round(share * len(source))
    assert ordinals(source, 3, start=start) == ordinals(source, 3)[start:]


@streamed_or_not
def test_the_order_is_a_function_of_seed_and_epoch(events: TrainEvents, shuffle_rows: int) -> None:
    orders = {
        (seed, epoch): str(ordinals(batches(events, seed=seed, shuffle_rows=shuffle_rows), epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert str(ordinals(batches(events, seed=1, shuffle_rows=shuffle_rows), 1)) == orders[1, 1]


@streamed_or_not
def test_columns_stay_together(events: TrainEvents, data: Dataset, shuffle_rows: int) -> None:
    user, item = data.train_column("user"), data.train_column("item")
    for users, items, places in batches(events, shuffle_rows=shuffle_rows).epoch(0):
        assert (users.numpy() == user[places.numpy()]).all()
        assert (items.numpy() == item[places.numpy()]).all()


def test_every_event_is_as_likely_at_each_place(data: Dataset) -> None:
    """Chi-square over 200 epochs of the place, in tenths of the epoch, that each event is at."""
    source = batches(TrainEvents(data, ("ordinal",)), batch_size=N_EVENTS)
    found = np.zeros((N_EVENTS, 10))
    for epoch in range(200):
        (order,) = next(source.epoch(epoch))
        found[order.numpy(), np.arange(N_EVENTS) * 10 // N_EVENTS] += 1
    expected = np.bincount(np.arange(N_EVENTS) * 10 // N_EVENTS) * 200 / N_EVENTS
    assert chisquare(found.ravel(), np.tile(expected, N_EVENTS)).pvalue > 0.01


def test_streaming_holds_one_window(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    events = TrainEvents(data)
    read: list[int] = []
    inner = events.read

    def counted(groups):  # type: ignore[no-untyped-def]
        read.append(sum(group.n_rows for group in groups))
        return inner(groups)

    monkeypatch.setattr(events, "read", counted)
    source = batches(events, shuffle_rows=30)
    assert read == []
    list(source.epoch(0))
    assert max(read) <= 30
    assert sum(read) == N_EVENTS
    read.clear()
    next(source.epoch(0, start=len(source) - 1))
    assert len(read) == 1


@given(st.lists(st.integers(1, 20), max_size=12), st.integers(1, 40))
def test_windows_keep_the_order_and_the_bound(rows: list[int], bound: int) -> None:
    groups = [RowGroup(Path("x"), number, n) for number, n in enumerate(rows)]
    found = windows(groups, bound)
    assert [group for window in found for group in window] == groups
    assert all(
        sum(group.n_rows for group in window) <= bound or len(window) == 1 for window in found
    )


def test_too_few_events_for_the_processes(
    events: TrainEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "9")
    with pytest.raises(DataError, match="too few for 9 processes"):
        batches(events, batch_size=8)


def test_a_damaged_file_is_refused(data: Dataset, tmp_path: Path) -> None:
    card = data.card.model_copy(
        update={"content": {**data.card.content, "train/part-00001.parquet": "0" * 64}}
    )
    with pytest.raises(ArtifactError, match=r"part-00001\.parquet: damaged"):
        TrainEvents(Dataset(data.path, card))


def test_item_counts(data: Dataset) -> None:
    expected = np.bincount(data.train_column("item"), minlength=N_ITEMS)
    assert (item_counts(TrainEvents(data), N_ITEMS) == expected).all()


# Negatives


@pytest.fixture(scope="module")
def seen(data: Dataset) -> SeenItems:
    return SeenItems(TrainEvents(data), n_users=N_USERS, n_items=N_ITEMS, device=CPU)


def table_of(data: Dataset) -> NDArray[np.bool_]:
    """bool[n_users, n_items]: what each user has in train."""
    table = np.zeros((N_USERS, N_ITEMS), np.bool_)
    table[data.train_column("user"), data.train_column("item")] = True
    return table


def test_contains(data: Dataset, seen: SeenItems) -> None:
    users, items = torch.arange(N_USERS, dtype=torch.int32)[:, None], torch.arange(N_ITEMS)
    assert (seen.contains(users, items).numpy() == table_of(data)).all()


def test_every_unseen_item_of_a_user_has_its_own_share(data: Dataset, seen: SeenItems) -> None:
    for user, row in enumerate(table_of(data)):
        unseen = np.flatnonzero(~row)
        chance = torch.tensor((np.arange(len(unseen)) + 0.5) / len(unseen))
        assert seen.unseen(torch.tensor([user]), chance).tolist() == unseen.tolist()


def test_a_user_who_has_everything_is_refused(tmp_path: Path) -> None:
    train = [(0, item, 0) for item in range(3)] + [(1, 0, 0)]
    data = write_dataset(tmp_path / "all", train=train, n_users=2, n_items=3, folds={})
    with pytest.raises(DataError, match="user 0 has every item"):
        SeenItems(TrainEvents(data), n_users=2, n_items=3, device=CPU)


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_negatives_are_never_seen_items_where_asked(
    data: Dataset, seen: SeenItems, alpha: float
) -> None:
    sampler = NegativeSampler(
        item_counts(TrainEvents(data), N_ITEMS), alpha=alpha, seen=seen, device=CPU
    )
    users = torch.arange(N_USERS).repeat(50)
    items = sampler.draw(users, 20, generator(CPU, 1))
    assert items.shape == (350, 20)
    assert not table_of(data)[users.numpy()[:, None], items.numpy()].any()


def draws(counts: list[int], alpha: float, n: int = 20_000) -> NDArray[np.int64]:
    sampler = NegativeSampler(np.array(counts), alpha=alpha, seen=None, device=CPU)
    drawn = sampler.draw(torch.zeros(n, dtype=torch.int32), 2, generator(CPU, 3))
    return np.bincount(drawn.numpy().ravel(), minlength=len(counts))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.75, 1.0])
def test_negatives_follow_popularity_to_the_power_alpha(alpha: float) -> None:
    counts = [1, 100, 7, 30, 3]
    weight = np.array(counts) ** alpha
    found = draws(counts, alpha)
    assert chisquare(found, weight / weight.sum() * found.sum()).pvalue > 0.01


def test_an_item_that_nobody_has_is_drawn_by_uniform_draws_only() -> None:
    assert draws([5, 0, 5, 0], 0.5)[[1, 3]].sum() == 0
    assert (draws([5, 0, 5, 0], 0.0) > 0).all()


def test_uniform_unseen_negatives_are_uniform_over_what_the_user_has_not(
    data: Dataset, seen: SeenItems
) -> None:
    sampler = NegativeSampler(np.ones(N_ITEMS, np.int64), alpha=0.0, seen=seen, device=CPU)
    unseen = np.flatnonzero(~table_of(data)[2])
    drawn = sampler.draw(torch.full((5000,), 2), 4, generator(CPU, 4))
    assert chisquare(np.bincount(drawn.numpy().ravel(), minlength=N_ITEMS)[unseen]).pvalue > 0.01


# Both together


def labelled(data: Dataset, *, shard: Shard | None = None) -> WithNegatives:
    events = TrainEvents(data)
    sampler = NegativeSampler(item_counts(events, N_ITEMS), alpha=0.0, seen=None, device=CPU)
    return WithNegatives(batches(events), sampler, n=3, seed=5, shard=shard or Shard())


def as_lists(batch: LabelledItems) -> tuple[list[int], list[list[int]], list[list[float]]]:
    return batch.users.tolist(), batch.items.tolist(), batch.labels.tolist()


def test_each_event_comes_first_with_its_negatives(data: Dataset) -> None:
    events = TrainEvents(data)
    for (users, items), batch in zip(
        batches(events).epoch(2), labelled(data).epoch(2), strict=True
    ):
        assert batch.users.tolist() == users.tolist()
        assert batch.items[:, 0].tolist() == items.tolist()
        assert batch.items.shape == (len(users), 4)
        assert batch.labels.tolist() == [[1.0, 0.0, 0.0, 0.0]] * len(users)


def test_negatives_are_a_function_of_the_position(data: Dataset) -> None:
    whole = [as_lists(batch) for batch in labelled(data).epoch(1)]
    assert [as_lists(batch) for batch in labelled(data).epoch(1)] == whole
    assert [as_lists(batch) for batch in labelled(data).epoch(1, start=9)] == whole[9:]
    drawn = {str(items[0][1:]) for _, items, _ in whole}
    assert len(drawn) > 1, "each step draws its own"


def test_the_processes_batches_are_the_single_ones(data: Dataset) -> None:
    parts = zip(*(labelled(data, shard=Shard(rank, 3)).epoch(0) for rank in range(3)), strict=True)
    for whole, shares in zip(labelled(data).epoch(0), parts, strict=True):
        rows = sorted((u, i) for part in shares for u, i in zip(*as_lists(part)[:2], strict=True))
        assert rows == sorted(zip(*as_lists(whole)[:2], strict=True))
        assert all(len(part.users) for part in shares)


# Look-ups and scores


def test_rows_of_is_an_embedding_and_so_is_its_gradient() -> None:
    ids = torch.tensor([[3, 0], [3, 3], [1, 2]])
    tables = [
        torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        for _ in range(2)
    ]
    weights = torch.arange(24.0).view(3, 2, 4)
    found = [rows_of(tables[0], ids), torch.nn.functional.embedding(ids, tables[1])]
    for rows in found:
        (rows * weights).sum().backward()
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(tables[0].grad, tables[1].grad)


def test_catalogue_scores_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("falconer.recsys.backends.torch.scoring.ITEMS_AT_ONCE", 3)
    expected = torch.arange(14.0).view(2, 7)
    scores = catalogue_scores(
        lambda query, items: expected[query, items], n_queries=2, n_known=7, n_items=9, device=CPU
    )
    assert scores.dtype == np.float32
    assert (scores[:, :7] == expected.numpy()).all()
    assert (scores[:, 7:] == -np.inf).all()


def test_catalogue_scores_are_the_same_on_any_number_of_threads() -> None:
    items = torch.randn(5000, 24, generator=torch.Generator().manual_seed(0))
    users = torch.randn(9, 24, generator=torch.Generator().manual_seed(1))

    def of(threads: int, first: int, stop: int) -> bytes:
        torch.set_num_threads(threads)
        found = catalogue_scores(
            lambda query, part: torch.mv(items[part], users[first + query]),
            n_queries=stop - first,
            n_known=5000,
            n_items=5000,
            device=CPU,
        )
        assert torch.get_num_threads() == threads
        return found.tobytes()

    before = torch.get_num_threads()
    try:
        whole = of(1, 0, 9)
        assert of(3, 0, 9) == whole
        assert b"".join(of(3, query, query + 1) for query in range(9)) == whole
    finally:
        torch.set_num_threads(before)


def test_an_error_while_a_catalogue_is_scored_is_passed_on() -> None:
    def fails(query: int, part: slice) -> torch.Tensor:
        raise DataError("no such user")

    before = torch.get_num_threads()
    with pytest.raises(DataError, match="no such user"):
        catalogue_scores(fails, n_queries=3, n_known=2, n_items=2, device=CPU)
    assert torch.get_num_threads() == before


def test_the_table_is_what_pyarrow_wrote(data: Dataset) -> None:
    """The fixture itself: several files and row groups, or the tests above would prove little."""
    groups = TrainEvents(data).groups
    assert len({group.path for group in groups}) == 2
    assert len(groups) == 7 + 4
    assert isinstance(data.train, pa.Table)
    assert data.train.num_rows == N_EVENTS
