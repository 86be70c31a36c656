"""Wide & Deep against the formula of its paper, written out in numpy."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ConfigError
from falconer.recsys.backends.torch.pairs.inputs import FieldEncoder, Fields, fields_of
from falconer.recsys.configs.pairs import PairsTraining
from falconer.recsys.models.wide_deep.config import WideDeepConfig
from falconer.recsys.models.wide_deep.on_torch import Cross, WideDeep
from tests.support import tiny
from tests.support.datasets import checkerboard, write_labels_dataset

CPU = torch.device("cpu")
CROSSES = (("segment", "category"), ("user", "segment", "item"))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return checkerboard(tmp_path_factory.mktemp("wide_deep") / "board", n=8, repeats=1)


def network(data: Dataset, **knobs: Any) -> WideDeep:
    """A network with weights large enough that every part of the formula counts."""
    config = WideDeepConfig(**{"dim": 3, "hidden": (5, 4), "crosses": CROSSES, **knobs})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = WideDeep(fields_of(data, None, model="wide_deep"), config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
    return model.eval()


def expected_score(model: WideDeep, values: dict[str, int], numbers: dict[str, float]) -> float:
    """Equation 3, from the values of the fields by name."""
    w = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
    sides = {"query": model.query_fields, "item": model.item_fields}
    wide, deep = 0.0, []
    for side, fields in sides.items():
        first = np.cumsum([1, *(size + 1 for size in fields.sizes)])
        rows = [first[place] + values[field.name] for place, field in enumerate(fields.categorical)]
        own = np.array([numbers[field.name] for field in fields.numeric])
        wide += w[f"wide.{side}.values.weight"][rows].sum() + w[f"wide.{side}.numbers"] @ own
        deep += [*w[f"deep.{side}.weight"][rows].ravel(), *own]
    sizes = dict(zip(model.fields.names, model.fields.sizes, strict=False))
    for place, names in enumerate(CROSSES):
        number, stride = 0, 1
        for name in names:
            number, stride = number + (values[name] + 1) * stride, stride * (sizes[name] + 1)
        wide += w[f"wide._crosses.{place}.weight"][number, 0]
    x = np.array(deep)
    for layer in ("first", "hidden.0"):
        x = np.maximum(w[f"deep.mlp.{layer}.weight"] @ x + w[f"deep.mlp.{layer}.bias"], 0)
    return float(wide + w["deep.mlp.out.weight"][0] @ x + w["deep.mlp.out.bias"][0])


def expected_scores(model: WideDeep, data: Dataset) -> NDArray[np.float64]:
    """[n_users, n_items]."""
    of_users, of_items = (
        {name: table.column(name).to_numpy() for name in names}
        for table, names in ((data.users, ("segment", "age")), (data.items, ("category", "price")))
    )
    return np.array(
        [
            [
                expected_score(
                    model,
                    {"user": user, "item": item, **row(of_users, user), **row(of_items, item)},
                    {**row(of_users, user), **row(of_items, item)},
                )
                for item in range(data.n_items)
            ]
            for user in range(data.n_users)
        ]
    )


@pytest.mark.parametrize(
    "n_items", [3, 8, 20]
)  # fewer than the table has, and more: the other order of the first layer
def test_forward_is_the_papers(board: Dataset, n_items: int) -> None:
    model, encoder = (
        network(board),
        FieldEncoder(fields_of(board, None, model="wide_deep"), board, CPU),
    )
    users = torch.arange(board.n_users)
    items = torch.arange(n_items).repeat(board.n_users, 1) % board.n_items
    scores = model(encoder.query(users), encoder.items, encoder.item_rows(items)).detach()
    expected = np.take_along_axis(expected_scores(model, board), items.numpy(), axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


def row(columns: dict[str, NDArray[Any]], place: int) -> dict[str, Any]:
    return {name: column[place] for name, column in columns.items()}


SIZES = {"a": 2, "b": 3, "c": 4}


def cross_fields() -> Fields:
    fields = [
        {"name": name, "side": "item" if name == "b" else "user", "cardinality": n}
        for name, n in SIZES.items()
    ]
    return Fields.model_validate(
        {"categorical": fields, "numeric": (), "target": None, "n_users": 0, "n_items": 0}
    )


def numbers_of(cross: Cross) -> torch.Tensor:
    """Of all 60 combinations of values, unknown ones too, from both sides."""
    fields = cross_fields()
    values = torch.tensor(list(product(*(range(-1, size) for size in SIZES.values()))))
    of_user = cross.side(fields.of("user"), values[:, [0, 2]])
    return of_user + cross.side(fields.of("item"), values[:, [1]])


def test_every_combination_has_a_weight_of_its_own() -> None:
    cross = Cross(cross_fields(), ("b", "c", "a"), 60)
    assert sorted(numbers_of(cross).tolist()) == list(range(60))
    torch.nn.init.normal_(cross.weight)
    assert len(set(cross(numbers_of(cross)).tolist())) == 60


def test_more_combinations_than_buckets_are_hashed_evenly() -> None:
    cross = Cross(cross_fields(), ("b", "c", "a"), 16)
    cross.weight.data[:, 0] = torch.arange(16.0)
    counts = np.bincount(cross(numbers_of(cross)).int().tolist(), minlength=16)
    assert counts.sum() == 60
    assert counts.max() <= 12, "60 in 16 buckets: 12 in one has a chance of about one in a thousand"


def test_a_cross_of_vast_fields_does_not_overflow_into_an_error() -> None:
    fields = cross_fields()
    vast = tuple(
        field.model_copy(update={"cardinality": 2**31 - 2}) for field in fields.categorical
    )
    cross = Cross(fields.model_copy(update={"categorical": vast}), ("a", "b", "c"), 100)
    number = cross.side(fields.of("user"), torch.tensor([[2**31 - 3, 2**31 - 3], [0, 1]]))
    assert cross(number).shape == (2,)


@pytest.mark.parametrize("name", ["price", "zip"])  # a number, and nothing
def test_a_cross_of_what_is_no_category_is_refused(board: Dataset, name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"model.crosses: '{name}' is no id or categorical feature"
    ):
        network(board, crosses=(("segment", name),))


@pytest.mark.parametrize("optimizer", ["same", "adagrad", "ftrl"])
def test_every_weight_is_in_one_group(board: Dataset, optimizer: str) -> None:
    model = network(board, wide_optimizer=optimizer, wide_learning_rate=0.5)
    groups = model.parameter_groups()
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    wide = {id(parameter) for parameter in model.wide.parameters()}
    apart = [group for group in groups if group.get("optimizer") == optimizer]
    assert len(apart) == (optimizer != "same")
    for group in apart:
        assert {id(parameter) for parameter in group["params"]} == wide
        assert group["lr"] == 0.5


def test_a_cross_is_learnt_that_no_sum_of_its_parts_can_tell(tmp_path: Path) -> None:
    """In the small ranking dataset the label follows from segment and category together. Layers of
    one unit cannot."""
    data = write_labels_dataset(tmp_path / "clicks")
    knobs: dict[str, Any] = {
        "fields": ("segment", "category"),
        "dim": 1,
        "hidden": (1,),
        "batch_size": 128,
        "wide_optimizer": "adagrad",
        "wide_learning_rate": 0.3,
        "training": PairsTraining(epochs=4, threads=1, monitor=None, patience=None),
    }
    aucs = [
        tiny.auc_of(tiny.train("wide_deep", "torch", data, tmp_path / "runs", config), data)
        for config in (
            WideDeepConfig(**knobs),
            WideDeepConfig(**knobs, crosses=(("segment", "category"),)),
        )
    ]
    assert aucs[1] > aucs[0] + 0.05
