"""What metrics beyond accuracy read from a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.pipelines.data.schema import Feature
from falconer.pipelines.errors import DataError
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.lists.stored import Lists
from falconer.recsys.metrics.context import context_of, item_counts
from tests.support.datasets import write_dataset
from tests.support.judging import judge_lists as judge

LISTS = Lists(np.array([[0, 2], [3, -1], [1, 0]], np.int32), np.ones(3, np.bool_))


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Four items of two colours, one of them without, and of two sizes; a continuous price beside
    them."""
    train = [(0, 0, 0), (0, 1, 1), (1, 0, 2), (2, 3, 3), (2, 3, 4)]
    test = [(0, [0, 1], [2]), (1, [0], [1]), (2, [3, 3], [])]
    data = write_dataset(tmp_path / "shop", train=train, n_users=3, n_items=4, folds={"test": test})
    columns = {"price": np.ones(4, np.float32), "colour": np.array([0, 1, -1, 0], np.int32)}
    columns["size"] = np.array([1, 1, 0, 0], np.int32)
    table = data.items
    for name, values in columns.items():
        table = table.append_column(name, [values])
    write_table(data.path, "items.parquet", table)
    features = [Feature(name="price", table="item", kind="continuous")]
    features += [
        Feature(name=name, table="item", kind="categorical", cardinality=2)
        for name in ("colour", "size")
    ]
    write_card(
        data.path,
        data.card.model_copy(update={"features": tuple(features), "content": checksums(data.path)}),
    )
    return Dataset.open(data.path)


def test_a_context_holds_train_counts_histories_and_categories(data: Dataset) -> None:
    context = context_of(data, data.queries("test").history)
    assert context.item_counts.tolist() == [2, 1, 0, 2]
    assert context.popularity_rank.tolist() == [0, 2, 3, 1]
    assert context.history_popularity.tolist() == [1.5, 2, 2]
    assert {name: codes.tolist() for name, codes in context.categories.items()} == {
        "colour": [0, 1, -1, 0],
        "size": [1, 1, 0, 0],
    }
    assert (context.category, context.cardinality) == ("colour", 2)
    assert context_of(data, data.queries("test").history, category="size").category == "size"


def test_counts_are_those_of_all_train_files(data: Dataset) -> None:
    table = data.train
    write_table(data.path, "train/part-00000.parquet", table.slice(0, 2))
    write_table(data.path, "train/part-00001.parquet", table.slice(2))
    write_card(data.path, data.card.model_copy(update={"content": checksums(data.path)}))
    assert item_counts(Dataset.open(data.path)).tolist() == [2, 1, 0, 2]


def test_reports_have_what_the_features_give_and_name_the_one_compared(data: Dataset) -> None:
    config = EvaluationConfig(k=(2,), resamples=100)
    metrics = judge(LISTS, data, fold="test", view="all", label="x", config=config).report.metrics
    assert (
        metrics["diversity@2"].mean == 1
    )  # of the first user: the second has one item, the third nothing relevant
    assert metrics["miscalibration@2"].definition.endswith(
        "Source: Steck 2018. Item feature: colour."
    )
    assert metrics["novelty@2"].mean == pytest.approx(
        np.mean([(np.log2(2.5) + np.log2(5)) / 2, np.log2(2.5)])
    )


def test_an_unknown_item_feature_is_named_beside_those_there_are(data: Dataset) -> None:
    config = EvaluationConfig(k=(2,), resamples=100, category="price")
    with pytest.raises(DataError, match="no categorical item feature 'price', only colour, size"):
        judge(LISTS, data, fold="test", view="all", label="x", config=config)
