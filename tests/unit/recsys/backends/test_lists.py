"""Lists in models of fields: the mean of their values' vectors, in every kind of table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from falconer.pipelines import runs
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.training.shard import Shard
from falconer.recsys.backends.torch.pairs.inputs import fields_of
from falconer.recsys.backends.torch.pairs.tables import MixedTables, ShardedTables, Tables
from falconer.recsys.metrics.labels import auc
from falconer.recsys.models import registry
from tests.support import tagged, tiny

SIZES, LENGTHS = [3, 6, 2], [1, 3, 1]
IDS = torch.tensor([[0, 4, -1, 1, 1], [-1, -1, -1, -1, 0], [2, 5, 5, 0, -1]])


def sharded() -> ShardedTables:
    tables = ShardedTables(SIZES, 4, lengths=LENGTHS, std=1.0, shard=Shard())
    tables.hold(tables.weight.detach())
    return tables


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tagged.clicks(tmp_path_factory.mktemp("tagged") / "films")


@pytest.mark.parametrize(
    "tables",
    [
        Tables(SIZES, 4, lengths=LENGTHS, std=1.0),
        Tables(SIZES, 4, lengths=LENGTHS, std=1.0, sparse=True),
        sharded(),
        MixedTables(SIZES, 4, lengths=LENGTHS, std=1.0, head_rows=2, tail_dim=2),
    ],
    ids=["plain", "sparse", "sharded", "mixed"],
)
def test_a_list_has_the_mean_of_the_vectors_of_its_known_values(
    tables: Tables | ShardedTables | MixedTables,
) -> None:
    found = tables(IDS)
    assert found.shape == (3, 3, 4)
    alone = torch.tensor([[0, value, -1, -1, 0] for value in range(-1, 6)])
    of_list = tables(alone)[:, 1]
    unknown, vectors = of_list[0], of_list[1:]
    assert torch.allclose(found[0, 1], (vectors[4] + vectors[1]) / 2)
    assert torch.allclose(found[1, 1], unknown)
    assert torch.allclose(found[2, 1], (2 * vectors[5] + vectors[0]) / 3)
    single = tables(torch.tensor([[0, -1, -1, -1, 1], [2, 1, -1, -1, -1]]))
    assert torch.equal(found[0, [0, 2]], single[0, [0, 2]])
    assert torch.equal(found[2, [0, 2]], single[1, [0, 2]])


def test_the_gradient_of_a_list_is_that_of_an_embedding_bag() -> None:
    tables = Tables([6], 4, lengths=[3], std=1.0)
    ids = torch.tensor([[4, 1, 1], [0, 5, 2]])
    target = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    (tables(ids)[:, 0] * target).sum().backward()
    other = tables.weight.detach().clone().requires_grad_()
    (functional.embedding_bag(ids + 1, other, mode="mean") * target).sum().backward()
    assert tables.weight.grad is not None
    assert other.grad is not None
    assert torch.allclose(tables.weight.grad, other.grad)


def test_a_list_is_one_input_of_a_model(clicks: Dataset) -> None:
    fields = fields_of(clicks, None, model="dlrm")
    assert [field.name for field in fields.categorical] == [
        "user",
        *("mood.1", "mood.2"),
        "item",
        *("tags.1", "tags.2", "tags.3", "tags.4"),
    ]
    assert fields.lengths == (1, 2, 1, 4)
    assert fields.sizes[2:] == (clicks.n_items, 7)
    assert fields_of(clicks, ["tags"], model="dlrm").lengths == (4,)
    with pytest.raises(ConfigError, match=r"no input 'tags.1'; did you mean 'tags'"):
        fields_of(clicks, ["tags.1"], model="dlrm")


@pytest.mark.parametrize("model", ["wide_deep", "dlrm"])
def test_models_learn_what_a_list_tells_wherever_it_stands(
    clicks: Dataset, tmp_path: Path, model: str
) -> None:
    config: Any = tiny.tiny_config(model)
    training = config.training.model_copy(update={"epochs": 15, "learning_rate": 0.02})
    crosses = {"crosses": (("user", "tags.1"),)} if model == "wide_deep" else {}
    changes = {"fields": ("user", "tags"), "training": training, **crosses}
    config = config.model_copy(update=changes)
    with runs.start(tmp_path, model=model, backend="torch", config={}) as run:
        scorer = registry.resolve(model, "torch").train(config, clicks, run)
    scores = scorer.score_pairs(clicks.pairs("test"))
    assert auc(clicks.labels("test"), scores.astype(np.float64)) > 0.99
    (tmp_path / "model").mkdir()
    scorer.save(tmp_path / "model")
    again = registry.resolve(model, "torch").load(tmp_path / "model", config, clicks)
    assert np.array_equal(again.score_pairs(clicks.pairs("test")), scores)
