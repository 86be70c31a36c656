"""Embedding tables side by side, their gradients, and row-wise Adagrad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from falconer.pipelines.config import parse
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.training.config import TrainingConfig
from falconer.pipelines.training.optimizers import Optimizers, clip
from falconer.pipelines.training.row_wise_adagrad import RowWiseAdagrad, summed_rows
from falconer.recsys.backends.torch.pairs import tables as module
from falconer.recsys.backends.torch.pairs.tables import (
    MixedTables,
    Tables,
    parameter_groups,
    tables_of,
)
from falconer.recsys.configs.tables import TablesConfig
from falconer.recsys.models import registry, saved
from tests.support import tiny
from tests.support.datasets import write_labels_dataset

SPARSE = TablesConfig(gradients="sparse")
lookups = st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 4)), min_size=1, max_size=30)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_field_has_rows_of_its_own() -> None:
    tables = Tables([2, 3], 4)
    nn.init.normal_(tables.weight)
    every = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 3))  # 12 rows of both fields
    found = tables(every)
    assert found.shape == (12, 2, 4)
    assert len(found[:, 0].unique(dim=0)) == 3
    assert len(found[:, 1].unique(dim=0)) == 4
    assert len(found.flatten(0, 1).unique(dim=0)) == 7 == len(tables.weight)


@settings(deadline=None)
@given(lookups)
def test_one_lookup_is_that_of_tables_apart(rows: list[tuple[int, int]]) -> None:
    together, ids = Tables([3, 5], 4), torch.tensor(rows, dtype=torch.int32)
    apart = [nn.Embedding.from_pretrained(part) for part in together.weight.detach().split([4, 6])]
    expected = torch.stack(
        [table(column + 1) for table, column in zip(apart, ids.T, strict=True)], dim=1
    )
    assert torch.equal(together(ids), expected)
    assert torch.equal(together(ids[:, None])[:, 0], expected), "any shape before the fields"


@pytest.mark.parametrize("bad", [-2, 5])
def test_an_id_outside_all_tables_is_refused(bad: int) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        Tables([5], 2)(torch.tensor([[bad]]))


def test_first_values_do_not_depend_on_the_blocks_they_are_drawn_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drawn() -> Tensor:
        torch.manual_seed(3)
        return Tables([1000], 16, std=0.5).weight.detach()

    whole = drawn()
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 64)
    assert torch.equal(drawn(), whole)
    assert whole[1:].std() == pytest.approx(0.5, rel=0.02)


def test_the_unknown_start_as_zeros() -> None:
    found = Tables([2, 3], 4)(torch.tensor([[-1, -1], [1, 2]]))
    assert (found[0] == 0).all()
    assert (found[1] != 0).all()


@settings(deadline=None)
@given(lookups, st.booleans())
def test_sparse_gradients_are_the_dense_ones(rows: list[tuple[int, int]], coalesced: bool) -> None:
    ids, gradients = torch.tensor(rows), []
    for sparse in (False, True):
        tables = Tables([3, 5], 4, sparse=sparse)
        (tables(ids) * torch.randn(len(ids), 2, 4, generator=seeded())).sum().backward()
        assert tables.weight.grad is not None
        assert tables.weight.grad.is_sparse == sparse
        gradients.append(tables.weight.grad)
    dense, sparse_one = gradients
    found, values = summed_rows(sparse_one.coalesce() if coalesced else sparse_one)
    assert found.tolist() == sorted(
        {row for pair in (ids + torch.tensor([1, 5])).tolist() for row in pair}
    )
    torch.testing.assert_close(torch.zeros(10, 4).index_add(0, found, values), dense)


def test_row_wise_adagrad_by_hand() -> None:
    table = nn.Parameter(torch.tensor([[1.0, 1.0], [5.0, 5.0], [2.0, 2.0]]))
    optimizer = RowWiseAdagrad([table], lr=0.1)
    table.grad = torch.sparse_coo_tensor(
        [[0, 2, 0]], [[1.0, 0.0], [3.0, 3.0], [2.0, 4.0]], (3, 2), check_invariants=True
    )
    optimizer.step()  # row 0: the two entries are added up first: (3, 4), mean square 12.5
    expected = [[1 - 0.1 * 3 / 12.5**0.5, 1 - 0.1 * 4 / 12.5**0.5], [5.0, 5.0], [1.9, 1.9]]
    torch.testing.assert_close(table.data, torch.tensor(expected))
    table.grad = torch.sparse_coo_tensor([[2]], [[4.0, 4.0]], (3, 2), check_invariants=True)
    optimizer.step()  # 9 + 16
    assert table[2, 0].item() == pytest.approx(1.9 - 0.1 * 4 / 5)


@settings(deadline=None)
@given(st.lists(lookups, min_size=1, max_size=5))
def test_sparse_and_dense_gradients_train_alike(batches: list[list[tuple[int, int]]]) -> None:
    """With repeated ids in a batch; the rows of no batch keep their bits."""
    trained = []
    for sparse in (False, True):
        torch.manual_seed(1)
        tables = Tables([3, 5], 4, sparse=sparse)
        optimizers = Optimizers(
            [{"params": [tables.weight]}], TrainingConfig(optimizer="row_wise_adagrad")
        )
        first = tables.weight.detach().clone()
        for rows in batches:
            (tables(torch.tensor(rows)) - 1).square().sum().backward()
            optimizers.step()
        trained.append(tables.weight.detach())
    torch.testing.assert_close(trained[0], trained[1])
    seen = {
        pair
        for rows in batches
        for pair in (torch.tensor(rows) + torch.tensor([1, 5])).flatten().tolist()
    }
    unseen = [row for row in range(10) if row not in seen]
    assert torch.equal(trained[1][unseen], first[unseen])


def test_with_one_column_it_is_adagrad() -> None:
    ours, theirs = nn.Parameter(torch.ones(5, 1)), nn.Parameter(torch.ones(5, 1))
    pair = (RowWiseAdagrad([ours], lr=0.1, eps=1e-10), torch.optim.Adagrad([theirs], lr=0.1))
    for step in range(4):
        for weight, optimizer in zip((ours, theirs), pair, strict=True):
            weight.grad = torch.randn(5, 1, generator=seeded(step))
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_summing_is_the_same_to_the_bit_each_time() -> None:
    rows = torch.randint(0, 50, (1, 4000), generator=seeded())
    gradient = torch.sparse_coo_tensor(
        rows, torch.randn(4000, 8, generator=seeded()), (50, 8), check_invariants=True
    )
    assert torch.equal(summed_rows(gradient)[1], summed_rows(gradient)[1])
    torch.testing.assert_close(summed_rows(gradient)[1], gradient.coalesce().values())


@pytest.mark.parametrize(
    ("name", "config"),
    [("dlrm", SPARSE), ("wide_deep", SPARSE.model_copy(update={"head_rows": 3, "tail_dim": 2}))],
)
def test_a_model_learns_with_each_kind_of_table(
    name: str, config: TablesConfig, tmp_path: Path
) -> None:
    """Twice to the same bytes; one row in two is right by chance."""
    data = write_labels_dataset(tmp_path / "data", n_rows=2000)
    knobs = {**tiny.TINY[name], "tables": config.model_copy(update={"learning_rate": 0.05})}
    model: Any = registry.MODELS[name].config(**knobs)
    runs = [
        tiny.train(name, "torch", data, tmp_path / place, model) for place in ("first", "second")
    ]
    first, second = ((run.model_directory / "model.safetensors").read_bytes() for run in runs)
    assert first == second
    scorer: Any = saved.load_model(runs[0].model_directory, data)
    scores, labels = scorer.score_pairs(data.pairs("test")), data.labels("test")
    ones, zeros = scores[labels == 1], scores[labels == 0]
    assert (ones[:, None] > zeros).mean() > 0.75, "area under the ROC curve"


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # torch's own
def test_sparse_tables_can_be_in_a_compiled_model() -> None:
    """The compiler leaves the lookup out; a backend that compiles nothing tells it as well."""
    torch.manual_seed(0)
    model = Model(SPARSE)
    ids = torch.tensor([[0, 4], [2, -1]])
    expected = model(ids).detach()
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(ids), expected)
    compiled(ids).sum().backward()
    assert model.tables.weight.grad is not None
    assert model.tables.weight.grad.is_sparse


class Model(nn.Module):
    def __init__(self, config: TablesConfig) -> None:
        super().__init__()
        self.tables, self.layer = tables_of([3, 5], 4, config), nn.Linear(4, 1)

    def forward(self, ids: Tensor) -> Tensor:
        return torch.as_tensor(self.layer(self.tables(ids)))


def test_sparse_tables_have_an_optimizer_of_their_own() -> None:
    model = Model(SPARSE.model_copy(update={"learning_rate": 0.5}))
    rest, tables = parameter_groups(model, TablesConfig(gradients="sparse", learning_rate=0.5))
    assert (tables["optimizer"], tables["lr"]) == ("row_wise_adagrad", 0.5)
    assert len(tables["params"]) == 1
    assert tables["params"][0] is model.tables.weight
    assert {id(parameter) for parameter in rest["params"]} == {
        id(value) for value in model.layer.parameters()
    }
    (everything,) = parameter_groups(Model(TablesConfig()), TablesConfig())
    assert len(everything["params"]) == 3


def test_sparse_tables_train_in_a_model_and_go_on_from_their_state() -> None:
    def trained(stop: int) -> list[Tensor]:
        torch.manual_seed(0)
        model, config = Model(SPARSE), TrainingConfig(learning_rate=0.1)
        optimizers = Optimizers(parameter_groups(model, SPARSE), config)
        for step in range(6):
            if step == stop:
                entries = {**optimizers.tensors(), **optimizers.numbers()}
                optimizers = Optimizers(parameter_groups(model, SPARSE), config)
                optimizers.load(entries)
            model(torch.tensor([[step % 3, 4], [step % 3, -1]])).square().sum().backward()
            clip(optimizers.parameters, 0.5)
            optimizers.step()
        return [value.detach() for value in model.parameters()]

    for ours, theirs in zip(trained(-1), trained(3), strict=True):
        assert torch.equal(ours, theirs)


@settings(deadline=None)
@given(lookups)
def test_frequent_ids_have_the_whole_vector_and_rare_ones_a_lengthened_one(
    rows: list[tuple[int, int]],
) -> None:
    """Tables of 3 and 5 ids, of which the first two of each are frequent."""
    mixed, ids = MixedTables([3, 5], 4, head_rows=2, tail_dim=2, std=0.5), torch.tensor(rows)
    found = mixed(ids)
    head, tail = (
        mixed.head.weight,
        mixed.tail.weight,
    )  # rows: unknown, 0, 1, unknown, 0, 1; unknown, 2, unknown, 2, 3, 4
    for (first, second), vectors in zip(rows, found, strict=True):
        expected = [head[first + 1] if first < 2 else tail[first - 1] @ mixed.lengthen[0]]
        expected += [head[second + 4] if second < 2 else tail[second + 1] @ mixed.lengthen[1]]
        torch.testing.assert_close(vectors, torch.stack(expected))


def test_a_side_without_categories_has_no_vectors() -> None:
    """The items of a dataset whose events have none."""
    mixed = tables_of([], 4, TablesConfig(head_rows=2, tail_dim=2), lengths=())
    assert mixed(torch.zeros(3, 0, dtype=torch.int32)).shape == (3, 0, 4)


def test_both_parts_learn_and_only_where_they_are_used() -> None:
    mixed = tables_of([6], 4, TablesConfig(gradients="sparse", head_rows=2, tail_dim=2))
    assert isinstance(mixed, MixedTables)
    target = torch.randn(7, 1, 4, generator=seeded())
    optimizers = Optimizers(parameter_groups(mixed, SPARSE), TrainingConfig(learning_rate=0.1))
    first = mixed.head.weight.detach().clone()
    ids = torch.tensor([[0], [2], [3], [4], [5]])
    before = (mixed(ids) - target[ids[:, 0]]).square().mean().item()
    for _ in range(100):
        (mixed(ids) - target[ids[:, 0]]).square().mean().backward()
        optimizers.step()
    assert (mixed(ids) - target[ids[:, 0]]).square().mean().item() < before / 2
    assert torch.equal(mixed.head.weight[[0, 2]], first[[0, 2]]), (
        "the unknown id and id 1 were in no batch"
    )
    assert not torch.equal(mixed.head.weight[1], first[1])
    assert (mixed.tail.weight[0] == 0).all()


def test_mixed_tables_start_with_the_spread_of_others_and_have_fewer_weights() -> None:
    torch.manual_seed(0)
    config = TablesConfig(head_rows=100, tail_dim=4)
    mixed = tables_of([50, 5000], 16, config, std=0.1)
    found = mixed(torch.stack([torch.arange(4000) % 50, torch.arange(1000, 5000)], dim=1)).detach()
    assert found[:, 0].std() == pytest.approx(0.1, rel=0.1)
    assert found[:, 1].std() == pytest.approx(0.1, rel=0.3)
    assert (
        sum(parameter.numel() for parameter in mixed.parameters())
        < sum(Tables([50, 5000], 16).weight.shape) * 5
    )


def test_shorter_vectors_that_are_not_shorter_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="tail_dim is 16, and the vectors of frequent values have length 16"
    ):
        tables_of([9], 16, TablesConfig(head_rows=2, tail_dim=16))


@pytest.mark.parametrize("knobs", [{"gradients": "dense"}, {"gradients": "sparse", "head_rows": 5}])
def test_sharded_tables_want_sparse_gradients_and_one_length(knobs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="sharded tables want"):
        parse(TablesConfig, {"sharded": True, **knobs}, "recipe")
