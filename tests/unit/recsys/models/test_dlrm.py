"""DLRM against the formulas of its paper, written out in numpy."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.recsys.backends.torch.pairs.inputs import FieldEncoder, Inputs, fields_of
from falconer.recsys.models.dlrm.config import DlrmConfig
from falconer.recsys.models.dlrm.on_torch import Dlrm
from tests.support.datasets import checkerboard, write_labels_dataset

CPU = torch.device("cpu")
Weights = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return checkerboard(tmp_path_factory.mktemp("dlrm") / "board", n=8, repeats=1)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_labels_dataset(tmp_path_factory.mktemp("dlrm") / "log", n_rows=200, entities=False)


def network(data: Dataset, **knobs: Any) -> Dlrm:
    """A network with weights large enough that every part of the formula counts."""
    config = DlrmConfig(**{"dim": 3, "bottom_hidden": (4,), "hidden": (5, 4), **knobs})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Dlrm(fields_of(data, config.fields, model="dlrm"), config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
    return model.eval()


def weights_of(model: Dlrm) -> Weights:
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def layers(w: Weights, names: list[str], x: NDArray[np.float64]) -> NDArray[np.float64]:
    for name in names:
        x = np.maximum(w[f"{name}.weight"] @ x + w[f"{name}.bias"], 0)
    return x


def vectors_of(
    w: Weights, side: str, sizes: tuple[int, ...], ids: list[int], numbers: list[float]
) -> list[Any]:
    """z, where there are numbers, and the vector of each field."""
    first = np.cumsum([1, *(size + 1 for size in sizes)])
    found = [w[f"{side}.tables.weight"][first[place] + value] for place, value in enumerate(ids)]
    if numbers:
        found = [
            layers(w, [f"{side}.bottom.layers.0", f"{side}.bottom.layers.1"], np.array(numbers)),
            *found,
        ]
    return found


def top(w: Weights, x: list[Any]) -> float:
    last = layers(w, ["top.first", "top.hidden.0"], np.array(x))
    return float(w["top.out.weight"][0] @ last + w["top.out.bias"][0])


def products(vectors: list[Any]) -> list[float]:
    return [float(a @ b) for a, b in combinations(vectors, 2)]


def test_of_a_click_log_it_is_the_papers_network(log: Dataset) -> None:
    """One z of all continuous features, the dot products of every two vectors, and the top layers
    above both."""
    model = network(log)
    w, fields = weights_of(model), model.query_fields
    pairs = log.pairs("test")
    encoder = FieldEncoder(model.fields, log, CPU)
    query = encoder.query_of(pairs.queries)
    scores = model(query, encoder.items, torch.zeros(len(pairs), 1, dtype=torch.int64)).detach()[
        :, 0
    ]
    expected = []
    for ids, numbers in zip(query.ids.tolist(), query.numbers.tolist(), strict=True):
        z, *others = vectors_of(w, "query", fields.sizes, ids, numbers)
        expected.append(top(w, [*z, *products([z, *others])]))
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert model.top.first.in_features == 3 + 4 * 3 // 2


@pytest.mark.parametrize("n_items", [3, 8, 20])  # fewer than the table has, and more
def test_with_two_sides_each_has_its_own_continuous_vector(board: Dataset, n_items: int) -> None:
    model = network(board)
    w, encoder = weights_of(model), FieldEncoder(model.fields, board, CPU)
    users = torch.arange(board.n_users)
    items = torch.arange(n_items).repeat(board.n_users, 1) % board.n_items
    rows = encoder.item_rows(items)
    query, table = encoder.query(users), encoder.items
    scores = model(query, table, rows).detach()
    for (user, place), score in np.ndenumerate(scores.numpy()):
        row = int(rows[user, place])
        mine = vectors_of(
            w,
            "query",
            model.query_fields.sizes,
            query.ids[user].tolist(),
            query.numbers[user].tolist(),
        )
        other = vectors_of(
            w, "item", model.item_fields.sizes, table.ids[row].tolist(), table.numbers[row].tolist()
        )
        between = [float(b @ a) for b in other for a in mine]
        expected = top(w, [*mine[0], *products(mine), *other[0], *products(other), *between])
        assert score == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_without_continuous_features_there_is_no_bottom_part(board: Dataset) -> None:
    model = network(board, fields=("user", "segment", "item", "category"))
    assert not [name for name in model.state_dict() if "bottom" in name]
    assert model.top.first.in_features == 4 * 3 // 2
    encoder = FieldEncoder(model.fields, board, CPU)
    w = weights_of(model)
    query = encoder.query(torch.tensor([5]))
    score = model(query, encoder.items, torch.tensor([[7]])).item()
    mine = vectors_of(w, "query", model.query_fields.sizes, query.ids[0].tolist(), [])
    other = vectors_of(w, "item", model.item_fields.sizes, encoder.items.ids[7].tolist(), [])
    between = [float(b @ a) for b in other for a in mine]
    assert score == pytest.approx(
        top(w, [*products(mine), *products(other), *between]), rel=1e-4, abs=1e-4
    )


def test_one_input_alone_has_nothing_to_be_multiplied_with(board: Dataset) -> None:
    with pytest.raises(
        ConfigError, match=r"model\.fields: dlrm multiplies .* segment give only one"
    ):
        network(board, fields=("segment",))


def test_a_side_of_numbers_only(board: Dataset) -> None:
    model = network(board, fields=("age", "price"))
    no_ids = torch.zeros(1, 0, dtype=torch.int32)
    score = model(
        Inputs(no_ids, torch.tensor([[0.3]])),
        Inputs(no_ids, torch.tensor([[-0.2]])),
        torch.tensor([[0]]),
    )
    w = weights_of(model)
    z, other = (vectors_of(w, side, (), [], [x])[0] for side, x in (("query", 0.3), ("item", -0.2)))
    assert score.item() == pytest.approx(top(w, [*z, *other, float(other @ z)]), rel=1e-4)


@pytest.mark.parametrize("gradients", ["dense", "sparse"])
def test_every_weight_is_in_one_group(board: Dataset, gradients: str) -> None:
    model = network(board, tables={"gradients": gradients})
    grouped = [id(parameter) for group in model.parameter_groups() for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
