"""Inputs of models of fields: ids, categories and numbers as they reach a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs, Queries, Ragged
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError
from falconer.pipelines.training.shard import Shard
from falconer.recsys.backends.torch.events import EventBatches, TrainEvents
from falconer.recsys.backends.torch.negatives import NegativeSampler, WithNegatives
from falconer.recsys.backends.torch.pairs.batches import (
    LabelledBatches,
    LabelledEvents,
    NegativeBatches,
)
from falconer.recsys.backends.torch.pairs.inputs import FieldEncoder, Inputs, fields_of
from tests.support.datasets import checkerboard, write_labels_dataset

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_labels_dataset(tmp_path_factory.mktemp("fields") / "clicks", n_rows=400)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_labels_dataset(
        tmp_path_factory.mktemp("fields") / "log", n_rows=400, entities=False
    )


def encoder_of(data: Dataset, chosen: tuple[str, ...] | None = None) -> FieldEncoder:
    return FieldEncoder(fields_of(data, chosen, model="dlrm"), data, CPU)


def test_all_inputs_of_a_dataset_of_lists(board: Dataset) -> None:
    fields = fields_of(board, None, model="dlrm")
    assert [(field.name, field.side, field.cardinality) for field in fields.categorical] == [
        ("user", "user", board.n_users),
        ("segment", "user", 4),
        ("item", "item", board.n_items),
        ("category", "item", 5),
    ]
    assert [(field.name, field.side) for field in fields.numeric] == [
        ("age", "user"),
        ("price", "item"),
    ]
    assert fields.target is None
    assert fields.of("item").sizes == (board.n_items, 5)


def test_features_of_events_are_inputs_for_labels_only(clicks: Dataset, log: Dataset) -> None:
    context = fields_of(clicks, None, model="dlrm").of("context")
    assert context.names == ("device", "hour")
    of_log = fields_of(log, None, model="dlrm")
    assert of_log.of("context") == of_log
    assert set(of_log.names) == {"segment", "age", "category", "price", "device", "hour"}


def test_chosen_inputs_only(board: Dataset) -> None:
    assert fields_of(board, ("price", "user"), model="dlrm").names == ("user", "price")


@pytest.mark.parametrize(
    ("chosen", "message"), [(("pice",), "did you mean 'price'"), (("zip",), "its inputs are user")]
)
def test_an_input_that_is_not_there_is_refused(
    board: Dataset, chosen: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fields_of(board, chosen, model="dlrm")


def test_a_dataset_without_features_is_refused_unless_ids_are_asked_for(tmp_path: Path) -> None:
    bare = checkerboard(tmp_path / "bare", n=6, features=())
    with pytest.raises(
        DataError, match=r"dlrm learns from them.*\[features.user\].*model.fields"
    ) as caught:
        fields_of(bare, None, model="dlrm")
    assert str(bare.path) in str(caught.value)
    assert fields_of(bare, ("user", "item"), model="dlrm").names == ("user", "item")


def test_a_dataset_that_lacks_an_input_of_the_model_is_refused(
    board: Dataset, clicks: Dataset, tmp_path: Path
) -> None:
    bare = checkerboard(tmp_path / "bare", n=6, features=())
    with pytest.raises(ArtifactError, match="segment, category, age, price"):
        FieldEncoder(fields_of(board, None, model="dlrm"), bare, CPU)
    with pytest.raises(ArtifactError, match="target binary"):
        FieldEncoder(fields_of(clicks, ("user",), model="dlrm"), board, CPU)


def test_users_are_looked_up_and_the_unknown_one_is_all_unknown(board: Dataset) -> None:
    inputs = encoder_of(board).query(torch.tensor([3, -1, board.n_users, 0]))
    segment, age = (board.users.column(name).to_numpy() for name in ("segment", "age"))
    assert inputs.ids.tolist() == [[3, segment[3]], [-1, -1], [-1, -1], [0, segment[0]]]
    np.testing.assert_array_equal(
        inputs.numbers[:, 0], np.array([age[3], 0, 0, age[0]], np.float32)
    )


def test_items_are_looked_up(board: Dataset) -> None:
    encoder = encoder_of(board)
    rows = encoder.item_rows(torch.tensor([[5, -1], [board.n_items, 0]]))
    assert rows.tolist() == [[6, 0], [0, 1]]
    inputs = encoder.items.rows(rows)
    category = board.items.column("category").to_numpy()
    assert inputs.ids.tolist() == [[[5, category[5]], [-1, -1]], [[-1, -1], [0, category[0]]]]
    assert inputs.numbers.shape == (2, 2, 1)


def test_what_came_later_is_unknown_and_other_features_of_it_are_read(
    board: Dataset, tmp_path: Path
) -> None:
    later = checkerboard(tmp_path / "later", n=30, generations=("first", "second"))
    fields = fields_of(board, None, model="dlrm")
    narrow = (
        *fields.categorical[:-1],
        fields.categorical[-1].model_copy(update={"cardinality": 2}),
    )
    encoder = FieldEncoder(fields.model_copy(update={"categorical": narrow}), later, CPU)
    category = later.items.column("category").to_numpy()
    ids = encoder.items.ids[1:]
    assert ids[:, 0].tolist() == [*range(board.n_items), *[-1] * 6]
    np.testing.assert_array_equal(ids[:, 1], np.where(category < 2, category, -1))
    np.testing.assert_array_equal(
        encoder.items.numbers[1:, 0], later.items.column("price").to_numpy()
    )


def test_queries_for_labels_bring_the_features_of_the_event(clicks: Dataset) -> None:
    pairs = clicks.pairs("test")
    inputs = encoder_of(clicks).query_of(pairs.queries)
    assert inputs.ids[:, -1].tolist() == pairs.queries.features["device"].tolist()
    np.testing.assert_array_equal(inputs.numbers[:, -1], pairs.queries.features["hour"])
    assert (pairs.queries.features["device"] == -1).any()


def test_a_missing_number_is_zero(log: Dataset) -> None:
    queries = log.pairs("test").queries
    missing = np.isnan(queries.features["age"])
    inputs = encoder_of(log).query_of(queries)
    place = encoder_of(log).fields.names.index("age") - len(encoder_of(log).fields.categorical)
    assert missing.any()
    assert (inputs.numbers[:, place].numpy()[missing] == 0).all()
    assert torch.isfinite(inputs.numbers).all()


def test_no_queries(board: Dataset) -> None:
    inputs = encoder_of(board).query_of(Queries(np.empty(0, np.int32), Ragged.of([])))
    assert (inputs.ids.shape, inputs.numbers.shape) == ((0, 2), (0, 1))


def labelled(data: Dataset, **options: Any) -> LabelledBatches:
    encoder = encoder_of(data)
    events = EventBatches(LabelledEvents(data, encoder), batch_size=64, seed=1, device=CPU)
    return LabelledBatches(events, encoder, **options)


def rows_seen(batches: LabelledBatches) -> list[tuple[Any, ...]]:
    return sorted(
        (*query.tolist(), *numbers.tolist(), int(item), float(label))
        for batch in batches.epoch(0)
        for query, numbers, (item,), (label,) in zip(
            batch.query.ids, batch.query.numbers, batch.items, batch.labels, strict=True
        )
    )


@pytest.mark.parametrize("kind", ["clicks", "log"])
def test_an_epoch_has_every_labelled_row_once(kind: str, request: pytest.FixtureRequest) -> None:
    data: Dataset = request.getfixturevalue(kind)
    encoder = encoder_of(data)
    train = {name: data.train.column(name).to_numpy() for name in data.train.column_names}
    users = torch.tensor(train.get("user", np.full(data.train.num_rows, -1)))
    query = encoder.query(
        users, Inputs(*(torch.tensor(part) for part in encoder.context(train, len(users))))
    )
    items = train["item"] + 1 if "item" in train else np.zeros(len(users))
    expected = sorted(
        (*ids.tolist(), *numbers.tolist(), int(item), float(label))
        for ids, numbers, item, label in zip(
            query.ids, query.numbers, items, train["label"], strict=True
        )
    )
    assert rows_seen(labelled(data)) == expected


def test_labelled_batches_begin_anywhere_and_differ_between_epochs(clicks: Dataset) -> None:
    batches = labelled(clicks)
    whole, tail = list(batches.epoch(2)), list(batches.epoch(2, start=3))
    assert len(whole) == len(batches)
    for first, second in zip(whole[3:], tail, strict=True):
        assert torch.equal(first.query.ids, second.query.ids)
        assert torch.equal(first.labels, second.labels)
    assert not torch.equal(next(batches.epoch(3)).query.ids, whole[0].query.ids)


def test_processes_share_each_labelled_batch(clicks: Dataset) -> None:
    whole = next(labelled(clicks).epoch(0))
    halves = [next(labelled(clicks, shard=Shard(rank, 2)).epoch(0)) for rank in range(2)]
    assert torch.equal(halves[0].query.numbers, whole.query.numbers[0::2])
    assert torch.equal(halves[1].items, whole.items[1::2])


def test_events_with_negatives_are_encoded(board: Dataset) -> None:
    encoder = encoder_of(board)
    events = EventBatches(TrainEvents(board), batch_size=16, seed=0, device=CPU)
    sampler = NegativeSampler(np.ones(board.n_items, np.int64), alpha=0, seen=None, device=CPU)
    plain = WithNegatives(events, sampler, n=3, seed=0)
    for batch, source in zip(NegativeBatches(plain, encoder).epoch(0), plain.epoch(0), strict=True):
        assert torch.equal(batch.query.ids[:, 0], source.users)
        assert torch.equal(encoder.items.ids[batch.items][..., 0], source.items.int())
        assert torch.equal(batch.labels, source.labels)


def test_a_dataset_whose_features_are_encoded_otherwise_is_refused(board: Dataset) -> None:
    def of_lineage(*lineage: str) -> Dataset:
        features = tuple(f.model_copy(update={"lineage": lineage}) for f in board.card.features)
        return Dataset(board.path, board.card.model_copy(update={"features": features}))

    fields = fields_of(of_lineage("first"), None, model="m")
    FieldEncoder(fields, of_lineage("first", "second"), CPU)
    with pytest.raises(
        ArtifactError, match=r"segment, age, category, price are encoded otherwise(.|\n)*extends"
    ):
        FieldEncoder(fields, of_lineage("another"), CPU)


def test_the_table_of_items_is_as_long_as_the_pairs_where_they_tell_of_a_new_item(
    board: Dataset,
) -> None:
    encoder = encoder_of(board)
    queries = Queries(np.zeros(3, np.int32), Ragged.of([[]] * 3))
    item = np.array([5, -1, 5], np.int32)
    told = {"category": np.array([0, 1, 0]), "price": np.array([np.nan, 0.5, np.nan])}
    pairs = Pairs(queries, np.arange(3), item, told)
    table, rows = encoder.items_of(pairs)
    assert rows.tolist() == [0, 1, 2]
    assert len(table) == 3
    of_five = encoder.items.rows(torch.tensor([6, 6]))
    assert table.ids[[0, 2]].tolist() == of_five.ids.tolist(), "an item with an id is as it was"
    assert table.numbers[[0, 2]].tolist() == of_five.numbers.tolist()
    assert (table.ids[1].tolist(), table.numbers[1].tolist()) == ([-1, 1], [0.5])
    known, rows = encoder.items_of(Pairs(queries, np.arange(3), item))
    assert known is encoder.items
    assert rows.tolist() == [6, 0, 6]
