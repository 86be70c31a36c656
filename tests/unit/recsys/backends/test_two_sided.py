"""What wide_deep, dlrm and ncf share: training with labels, scorers of rows and of lists."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs
from falconer.pipelines.errors import ConfigError, DataError
from falconer.pipelines.runs import Run
from falconer.recsys import stages
from falconer.recsys.backends.torch.pairs.training import FieldTask
from falconer.recsys.configs.pairs import PairsTraining
from falconer.recsys.contracts import PairScorer
from falconer.recsys.exporting.onnx_file import answering, graph_bytes
from falconer.recsys.exporting.parity import Questions
from falconer.recsys.judging.lists.validation import LabelValidation, Validation, selected
from falconer.recsys.metrics.labels import auc, log_loss
from falconer.recsys.models import registry, saved
from falconer.recsys.models.ncf.config import NcfTraining
from tests.support import tiny
from tests.support.datasets import (
    ENTITY_FEATURES,
    checkerboard,
    label_signal,
    write_dataset,
    write_labels_dataset,
)
from tests.support.small_training import FORKS, die, new_run
from tests.training.test_distributed import free_port

MODELS = ("wide_deep", "dlrm", "ncf")
KNOBS = {
    "training": PairsTraining(epochs=6, learning_rate=0.01, threads=1, patience=None),
    "batch_size": 128,
}
every_model = pytest.mark.parametrize("name", MODELS)


def train(name: str, data: Dataset, root: Path, **knobs: Any) -> Run:
    training = NcfTraining(epochs=6, learning_rate=0.01, threads=1, patience=None)
    own = {"training": training, "batch_size": 128} if name == "ncf" else {**KNOBS, "dim": 8}
    config = registry.MODELS[name].config(**{**own, **knobs})
    return tiny.train(name, "torch", data, root, config)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two_sided")


@pytest.fixture(scope="module")
def clicks(root: Path) -> Dataset:
    return write_labels_dataset(root / "clicks", n_rows=4000)


@pytest.fixture(scope="module")
def trained(root: Path, clicks: Dataset) -> Callable[[str], Run]:
    known: dict[str, Run] = {}

    def get(name: str) -> Run:
        if name not in known:
            known[name] = train(name, clicks, root / "runs")
        return known[name]

    return get


def columns(table: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: table.column(name).to_numpy() for name in names}


def best_auc(data: Dataset) -> float:
    """Of the signal that the labels were drawn from: no model can be better but by chance."""
    pairs = data.pairs("test")
    users, items = (
        columns(data.users, ("segment", "age")),
        columns(data.items, ("category", "price")),
    )
    rows = {
        "user": pairs.queries.user,
        "item": pairs.item,
        "device": pairs.queries.features["device"],
    }
    return auc(data.labels("test"), label_signal(users, items, rows))


@every_model
def test_it_learns_the_planted_signal_and_gives_probabilities(
    name: str, clicks: Dataset, trained: Callable[[str], Run]
) -> None:
    labels = clicks.labels("test")
    scores = (
        tiny.ranker_of(trained(name), clicks).score_pairs(clicks.pairs("test")).astype(np.float64)
    )
    assert ((scores > 0) & (scores < 1)).all()
    assert auc(labels, scores) > best_auc(clicks) - (
        0.15 if name == "ncf" else 0.03
    )  # ncf sees no features
    assert log_loss(labels, scores) < 0.55 < log_loss(labels, np.full(len(labels), labels.mean()))


@every_model
def test_it_learns_ratings(name: str, tmp_path: Path) -> None:
    ratings = write_labels_dataset(tmp_path / "ratings", target="rating")
    scorer = tiny.ranker_of(train(name, ratings, tmp_path / "runs"), ratings)
    labels = ratings.labels("test")
    error = np.sqrt(np.mean((scorer.score_pairs(ratings.pairs("test")) - labels) ** 2))
    assert error < (0.6 if name == "ncf" else 0.3) * labels.std()


@pytest.mark.parametrize("name", ["wide_deep", "dlrm"])
def test_a_log_without_users_and_items_is_learnt(name: str, tmp_path: Path) -> None:
    log = write_labels_dataset(tmp_path / "log", entities=False)
    assert tiny.auc_of(train(name, log, tmp_path / "runs"), log) > 0.85


def test_ncf_refuses_a_log_without_users_and_items(tmp_path: Path) -> None:
    log = write_labels_dataset(tmp_path / "log", entities=False, n_rows=200)
    with pytest.raises(DataError, match="train wide_deep or dlrm"):
        train("ncf", log, tmp_path / "runs")


@pytest.mark.parametrize("knobs", [{"l2": 0.1}, {"pretraining": NcfTraining(epochs=1)}])
def test_ncf_refuses_knobs_that_are_for_lists(
    knobs: dict[str, Any], clicks: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"model.{next(iter(knobs))} is for lists"):
        train("ncf", clicks, tmp_path, **knobs)


@every_model
def test_a_saved_ranker_scores_as_before_and_training_repeats(
    name: str, clicks: Dataset, trained: Callable[[str], Run], tmp_path: Path
) -> None:
    again = train(name, clicks, tmp_path)
    first, second = (
        {path.name: path.read_bytes() for path in run.model_directory.iterdir()}
        for run in (trained(name), again)
    )
    assert first == second
    assert {Path(file).suffix for file in first} == {".json", ".safetensors"}


@every_model
@settings(max_examples=12, deadline=None)
@given(rows=st.lists(st.integers(0, 350), min_size=1, max_size=60))
def test_a_rows_score_is_the_same_to_the_bit_whatever_is_asked_beside_it(
    name: str, rows: list[int], clicks: Dataset, trained: Callable[[str], Run]
) -> None:
    scorer, pairs = tiny.ranker_of(trained(name), clicks), clicks.pairs("test")
    whole = scorer.score_pairs(pairs)
    chosen = np.argsort(pairs.item >= 0, kind="stable")[rows]  # 0, ...: new items
    assert scorer.score_pairs(pairs.take(chosen)).tobytes() == whole[chosen].tobytes()


@every_model
def test_more_rows_than_one_pass_takes(
    name: str, clicks: Dataset, trained: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, pairs = tiny.ranker_of(trained(name), clicks), clicks.pairs("test")
    whole = scorer.score_pairs(pairs)
    monkeypatch.setattr("falconer.recsys.backends.torch.pairs.scorers.PAIRS_AT_ONCE", 64)
    np.testing.assert_allclose(scorer.score_pairs(pairs), whole, rtol=1e-5)


def with_ids(pairs: Pairs, user: int, item: int) -> Pairs:
    queries = pairs.queries.take(np.array([0]))
    object.__setattr__(queries, "user", np.array([user], np.int32))
    return Pairs(queries, np.array([0]), np.array([item], np.int32))


@every_model
def test_unknown_users_and_items_are_answered(
    name: str, clicks: Dataset, trained: Callable[[str], Run]
) -> None:
    scorer, pairs = tiny.ranker_of(trained(name), clicks), clicks.pairs("test")
    known = [
        scorer.score_pairs(with_ids(pairs, user, item))[0]
        for user, item in ((0, 0), (-1, 0), (0, -1), (-1, -1))
    ]
    assert np.isfinite(known).all()
    assert len(set(known)) == 4
    no_rows = scorer.score_pairs(pairs.take(np.empty(0, np.int64)))
    assert (no_rows.shape, no_rows.dtype) == ((0,), np.float32)


@every_model
def test_items_that_came_later_are_judged_by_their_features(
    name: str, clicks: Dataset, trained: Callable[[str], Run], tmp_path: Path
) -> None:
    """A new id is unknown, and so is all that NCF knows; the others read the new item's category
    and price."""
    later = write_labels_dataset(
        tmp_path / "later", n_users=45, n_items=35, generations=("first", "second")
    )
    scorer, pairs = tiny.ranker_of(trained(name), later), later.pairs("test")
    new = [
        scorer.score_pairs(with_ids(pairs, 0, item))[0]
        for item in range(clicks.n_items, later.n_items)
    ]
    unknown = scorer.score_pairs(with_ids(pairs, 0, -1))[0]
    assert np.isfinite(new).all()
    assert (set(new) == {unknown}) == (name == "ncf")


RECIPE = """
name = "wide_deep"
[model]
dropout = 0.1
batch_size = 128
crosses = [["segment", "category"]]
wide_optimizer = "ftrl"
training = { epochs = 3, threads = 1, checkpoint_every = 2 }
"""


def start(recipe: Path, data: Path, root: Path, stops: int) -> None:
    """Train until the batch of that number; 0 = to the end."""
    os.environ["FALCONER_TRACKING"] = "off"
    whole, calls = FieldTask.loss, 0

    def counted(self: Any, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == stops:
            die()
        return whole(self, batch)

    FieldTask.loss = counted  # type: ignore[method-assign]
    stages.train(str(recipe), data, root)


def go_on(run: Path) -> None:
    os.environ["FALCONER_TRACKING"] = "off"
    stages.resume(run)


def in_process(target: Callable[..., None], *arguments: Any) -> int | None:
    process = FORKS.Process(target=target, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def test_a_killed_training_with_labels_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clicks", n_rows=600)
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    assert in_process(start, recipe, data.path, tmp_path / "whole", 0) == 0
    assert in_process(start, recipe, data.path, tmp_path / "killed", 8) == -9
    (whole,), (killed,) = ((tmp_path / kind).iterdir() for kind in ("whole", "killed"))
    assert in_process(go_on, killed) == 0
    for file in ("metrics.jsonl", "model/model.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes()


def train_share(rank: int, port: int, name: str, data: Path, root: Path) -> None:
    """What one of two processes does, as `torchrun` starts them."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    fitted_in(name, data, root)


def fitted_in(name: str, data: Path, root: Path) -> None:
    config = registry.MODELS[name].config(
        batch_size=64, training=PairsTraining(epochs=2, threads=1, monitor=None, patience=None)
    )
    run = Run.open(root)
    scorer = registry.resolve(name).train(config, Dataset.open(data), run)
    if run.leads:
        scorer.save(root)


def test_two_processes_train_the_model_of_one(tmp_path: Path) -> None:
    """Where a side has no inputs, nothing of it waits for a gradient."""
    name, data = "wide_deep", write_labels_dataset(tmp_path / "log", n_rows=300, entities=False)
    alone, shared = new_run(tmp_path), new_run(tmp_path)
    fitted_in(name, data.path, alone.path)
    port = free_port()
    members = [
        FORKS.Process(target=train_share, args=(rank, port, name, data.path, shared.path))
        for rank in range(2)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join(120)
    assert [member.exitcode for member in members] == [0, 0]
    ours, theirs = (load_file(run.path / "model.safetensors") for run in (shared, alone))
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, atol=1e-4, rtol=1e-3)


def no_valid(root: Path) -> Dataset:
    train_events = [(user, item, 0) for user in range(8) for item in range(6) if (user + item) % 2]
    queries = [(user, [], [0]) for user in range(8)]
    return write_dataset(
        root,
        train=train_events,
        n_users=8,
        n_items=6,
        folds={"test": queries},
        features=ENTITY_FEATURES,
    )


@every_model
def test_without_a_validation_fold_the_last_weights_count(name: str, tmp_path: Path) -> None:
    data = no_valid(tmp_path / "data")
    run = train(name, data, tmp_path / "runs")
    assert {"loss", "epoch"} <= set(run.read_lines("metrics.jsonl")[-1])
    assert np.isfinite(tiny.scorer_of(run, data).score(data.queries("test"))).all()


@pytest.mark.parametrize("name", ["wide_deep", "dlrm"])
@pytest.mark.parametrize(
    "fields", [None, ("device", "segment"), ("age", "price", "hour", "device")]
)
def test_graphs_of_a_log_without_users_and_items(
    name: str, fields: tuple[str, ...] | None, tmp_path: Path
) -> None:
    log = write_labels_dataset(tmp_path / "log", n_rows=200, entities=False)
    crosses = {"crosses": (("device", "segment"),), "cross_buckets": 7}
    knobs = crosses if name == "wide_deep" and fields != ("age", "price", "hour", "device") else {}
    training = PairsTraining(epochs=1, threads=1)
    scorer = tiny.ranker_of(
        train(name, log, tmp_path / "runs", fields=fields, training=training, **knobs), log
    )
    graph = scorer.graphs()["pairs"]  # type: ignore[attr-defined]
    questions = Questions(scorer, "pairs", graph, log, n=40, seed=0)
    assert (
        questions.compare(answering(graph_bytes(graph, questions.example(), {}))).largest_difference
        < 1e-5
    )


def test_what_chooses_the_weights_where_it_is_left_open(
    root: Path, clicks: Dataset, tmp_path: Path
) -> None:
    ratings = write_labels_dataset(tmp_path / "ratings", target="rating", n_rows=100)
    board = checkerboard(tmp_path / "board", n=6)
    lists = Validation(board, n_queries=5, seed=0)
    assert selected("auto", lists) == {"monitor": "ndcg@10", "mode": "max"}
    assert (
        selected("auto", Validation(board, n_queries=5, seed=0, n_candidates=2))["monitor"]
        == "sampled_ndcg@10"
    )
    assert selected("auto", LabelValidation(clicks)) == {"monitor": "roc_auc", "mode": "max"}
    assert selected("auto", LabelValidation(ratings)) == {"monitor": "rmse", "mode": "min"}
    assert selected("log_loss", LabelValidation(clicks)) == {}
    empty = Validation(no_valid(tmp_path / "data"), n_queries=5, seed=0)
    assert selected("auto", empty) == {"monitor": None, "patience": None}


def test_validation_of_labels_is_that_of_the_metrics(
    clicks: Dataset, trained: Callable[[str], Run]
) -> None:
    scorer: PairScorer = tiny.ranker_of(trained("dlrm"), clicks)
    scores = scorer.score_pairs(clicks.pairs("valid")).astype(np.float64)
    labels = clicks.labels("valid")
    assert LabelValidation(clicks)(scorer) == {
        "roc_auc": auc(labels, scores),
        "log_loss": log_loss(labels, scores),
    }


@pytest.mark.parametrize("name", ["wide_deep", "dlrm"])
def test_pairs_score_as_the_catalogue_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = checkerboard(tmp_path / "board", n=12)
    run = tiny.train(name, "torch", board, tmp_path / "runs")
    later = checkerboard(tmp_path / "later", n=14, generations=("first", "second"))
    scorer = saved.load_model(run.model_directory, later)
    monkeypatch.setattr("falconer.recsys.backends.torch.scoring.ITEMS_AT_ONCE", 5)
    queries = later.queries("test")
    object.__setattr__(
        queries,
        "user",
        np.array([3, -1, 0, later.n_users - 1, 7], np.int32).repeat(9)[: len(queries)],
    )
    query, item = np.divmod(np.arange(len(queries) * later.n_items), later.n_items)
    scores = scorer.score(queries)
    pairs = scorer.score_pairs(Pairs(queries, query, item.astype(np.int32)))
    np.testing.assert_allclose(pairs.reshape(scores.shape), scores, rtol=1e-4, atol=1e-5)
    assert np.isneginf(scores[:, board.n_items :]).all()
    counts = np.bincount(board.train_column("item"), minlength=board.n_items)
    np.testing.assert_array_equal(scores[~scorer.knows(queries), : board.n_items][0], counts)
