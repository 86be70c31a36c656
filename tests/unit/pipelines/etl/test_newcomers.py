"""Users who are not in train, and whom the source's table of users knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from falconer.pipelines import parquet
from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.needs import Buckets
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.recsys.configs.pairs import PairsTraining
from falconer.recsys.exporting.onnx_file import answering, graph_bytes
from falconer.recsys.exporting.parity import Questions
from falconer.recsys.models.dlrm.config import DlrmConfig
from falconer.recsys.models.label_mean.config import LabelMeanConfig
from tests.support import tiny
from tests.support.features import ENGINES
from tests.unit.pipelines.etl.test_buckets import assert_equal

HOUR = 3600
FEATURES = {
    "engine": "polars",
    "user": {"gender": {"kind": "categorical"}, "age": {"kind": "continuous"}},
}


def written(folder: Path) -> dict[str, Any]:
    """Users 50 to 99 come in the last quarter only; the label is the gender, for all of them."""
    random, n = np.random.default_rng(0), 2000
    users = np.concatenate([random.integers(0, 50, 1500), random.integers(50, 100, 500)])
    events = pl.DataFrame(
        {"u": users, "i": random.integers(0, 30, n), "t": 1_700_000_000 + np.arange(n) * HOUR}
    ).with_columns(y=pl.col("u") % 2)
    events.write_parquet(folder / "e.parquet")
    listed = pl.DataFrame({"u": range(99)}).with_columns(
        gender=pl.Series(["f", "m"] * 50)[:99], age=pl.col("u").cast(pl.Float64)
    )
    listed.write_parquet(folder / "u.parquet")
    return {
        "name": "t",
        "source": {
            "kind": "files",
            "events": str(folder / "e.parquet"),
            "columns": {"user": "u", "item": "i", "time": "t", "label": "y"},
            "users": {"path": str(folder / "u.parquet"), "key": "u"},
        },
        "split": {"protocol": "temporal", "test_days": 20, "valid_days": 20},
        "features": FEATURES,
    }


def dataset(folder: Path, task: str, engine: str = "polars") -> Dataset:
    values = written(folder)
    values["features"] = {**FEATURES, "engine": engine}
    values |= {"task": task} | ({"target": {"kind": "binary"}} if task == "labels" else {})
    return Dataset.open(build(parse(EtlRecipe, values, "a test's recipe"), folder / "data"))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return dataset(tmp_path_factory.mktemp("newcomers"), "labels")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", ["top_n", "labels"])
def test_features_of_new_users_are_those_of_the_users_table(
    task: str, engine: str, tmp_path: Path
) -> None:
    data = dataset(tmp_path, task, engine)
    if task == "labels":
        queries, keys = data.pairs("test").queries, data.pair_users("test")
    else:
        queries, keys = data.queries("test"), data.query_keys("test")
    assert keys is not None
    key, genders = keys.to_numpy(), data.table("encoder/vocab-gender.parquet")["value"].to_pylist()
    new = queries.user < 0
    assert (new == (key >= 50)).all()
    told = [genders[one] if one >= 0 else None for one in queries.features["gender"]]
    assert told == [None if one == 99 else "fm"[one % 2] for one in key]
    age, known = queries.features["age"], data.users["age"].to_numpy()
    of = dict(zip(data.users["key"].to_pylist(), known, strict=True))
    assert age[~new].tolist() == [of[one] for one in key[~new]]
    listed = key != 99
    slope = (of[1] - of[0]) / 1
    np.testing.assert_allclose(age[listed], of[0] + slope * key[listed], rtol=1e-5, atol=1e-6)
    assert np.isnan(age[~listed]).all() == bool((~listed).any())


def test_models_of_pairs_use_them(labels: Dataset, tmp_path: Path) -> None:
    """The label is the gender: who reads it is right about users that train never saw."""
    training = PairsTraining(epochs=4, learning_rate=0.02, threads=1, patience=None)
    config = DlrmConfig(training=training, batch_size=128, dim=4)
    run = tiny.train("dlrm", "torch", labels, tmp_path, config)
    scorer, pairs = tiny.ranker_of(run, labels), labels.pairs("test")
    new = np.flatnonzero((pairs.queries.user < 0) & ~np.isnan(pairs.queries.features["age"]))
    right = (scorer.score_pairs(pairs)[new] > 0.5) == (labels.labels("test")[new] > 0.5)
    assert right.mean() > 0.95
    graph = scorer.graphs()["pairs"]  # type: ignore[attr-defined]
    questions = Questions(scorer, "pairs", graph, labels, n=50, seed=0)
    answer = answering(graph_bytes(graph, questions.example(), {}))
    assert questions.compare(answer).largest_difference < 1e-4
    mean = tiny.train("label_mean", "numpy", labels, tmp_path, LabelMeanConfig(by="gender"))
    by_gender = tiny.ranker_of(mean, labels).score_pairs(
        Pairs(pairs.queries, pairs.query, pairs.item)
    )
    assert ((by_gender[new] > 0.5) == (labels.labels("test")[new] > 0.5)).all()


def test_where_the_ids_say_everything_nothing_is_written_twice(tmp_path: Path) -> None:
    values = written(tmp_path) | {"split": {"protocol": "leave_last"}}
    data = Dataset.open(build(parse(EtlRecipe, values, "a test's recipe"), tmp_path / "data"))
    assert "gender" not in data.table("queries/test.parquet").column_names
    assert set(data.queries("test").features) == {"gender", "age"}


def with_new_items(folder: Path) -> dict[str, Any]:
    """Items 30 to 34 come in the last days only; the table of items has three of them. The label is
    whether the item's colour is red."""
    values = written(folder) | {"task": "labels", "target": {"kind": "binary"}}
    events = pl.DataFrame(parquet.read(folder / "e.parquet"))
    new = pl.int_range(pl.len()) >= len(events) - 50
    late = pl.when(new).then(30 + pl.int_range(pl.len()) % 5).otherwise("i")
    events.with_columns(i=late).with_columns(y=pl.col("i") % 2).write_parquet(folder / "e.parquet")
    listed = pl.DataFrame({"i": range(33)}).with_columns(
        size=pl.col("i").cast(pl.Float64),
        colour=pl.when(pl.col("i") % 2 == 1).then(pl.lit("red")).otherwise(pl.lit("blue")),
    )
    listed.write_parquet(folder / "i.parquet")
    values["source"]["items"] = {"path": str(folder / "i.parquet"), "key": "i"}
    features = {"size": {"kind": "continuous"}, "colour": {"kind": "categorical"}}
    values["features"] = {**FEATURES, "item": features}
    return values


def built(values: dict[str, Any], out: Path, buckets: Buckets | None = None) -> Dataset:
    return Dataset.open(build(parse(EtlRecipe, values, "a test's recipe"), out, buckets=buckets))


@pytest.fixture(scope="module")
def new_items(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("new items")
    return built(with_new_items(folder), folder / "data")


@pytest.mark.parametrize("engine", ENGINES)
def test_features_of_new_items_are_those_of_the_items_table(engine: str, tmp_path: Path) -> None:
    values = with_new_items(tmp_path)
    values["features"]["engine"] = engine
    data = built(values, tmp_path / "data")
    pairs = data.pairs("test")
    source = pl.read_parquet(tmp_path / "e.parquet")["i"].to_numpy()
    item = source[data.pair_ordinals("test")]
    colours = data.table("encoder/vocab-colour.parquet")["value"].to_pylist()
    told = [colours[code] if code >= 0 else None for code in pairs.item_features["colour"]]
    assert told == [None if one > 32 else "red" if one % 2 else "blue" for one in item]
    assert ((pairs.item < 0) == (item > 29)).all()
    size, listed = pairs.item_features["size"], item <= 32
    slope, first = np.polyfit(item[listed], size[listed], 1)
    np.testing.assert_allclose(size[listed], first + slope * item[listed], rtol=1e-4, atol=1e-5)
    assert np.isnan(size[~listed]).all()
    assert data.card.counts["test_rows_of_unknown_items"] == 50
    assert data.card.counts["test_rows_of_unknown_items_with_features"] == 30
    assert any("30 of the test rows are of items that" in note for note in data.card.notes)


def test_buckets_tell_the_same_of_new_items(new_items: Dataset, tmp_path: Path) -> None:
    data = built(with_new_items(tmp_path), tmp_path / "data", Buckets(n=3, rows=300, size=4000))
    assert_equal(data.path, new_items.path)
    assert "colour" not in data.table("pairs/valid.parquet").column_names, "the ids tell it"


def test_models_of_pairs_use_features_of_new_items(new_items: Dataset, tmp_path: Path) -> None:
    training = PairsTraining(epochs=4, learning_rate=0.02, threads=1, patience=None)
    config = DlrmConfig(training=training, batch_size=128, dim=4, fields=("gender", "colour"))
    scorer = tiny.ranker_of(tiny.train("dlrm", "torch", new_items, tmp_path, config), new_items)
    pairs, labels = new_items.pairs("test"), new_items.labels("test")
    new = np.flatnonzero((pairs.item < 0) & (pairs.item_features["colour"] >= 0))
    assert len(new) == 30
    scores = scorer.score_pairs(pairs)
    assert ((scores[new] > 0.5) == (labels[new] > 0.5)).all()
    assert scorer.score_pairs(pairs.take(new)).tobytes() == scores[new].tobytes()
    by_id = scorer.score_pairs(Pairs(pairs.queries, pairs.query, pairs.item))
    assert len(np.unique(by_id[new])) == 1, "without features all new items are one"
    old = pairs.item >= 0
    assert by_id[old].tobytes() == scores[old].tobytes()
    mean = tiny.train("label_mean", "numpy", new_items, tmp_path, LabelMeanConfig(by="colour"))
    by_colour = tiny.ranker_of(mean, new_items).score_pairs(pairs)
    assert ((by_colour[new] > 0.5) == (labels[new] > 0.5)).all()
