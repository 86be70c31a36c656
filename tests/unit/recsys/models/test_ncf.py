"""NCF against the formulas of its paper, written out in numpy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.errors import ConfigError
from falconer.recsys import stages
from falconer.recsys.backends.torch.negatives import LabelledItems
from falconer.recsys.contracts import Pairs, PairScorer
from falconer.recsys.judging.lists.validation import Validation
from falconer.recsys.models.ncf.config import NcfConfig, NcfTraining
from falconer.recsys.models.ncf.on_torch.lists import fused
from falconer.recsys.models.ncf.on_torch.network import Ncf
from falconer.recsys.models.ncf.on_torch.scorer import NcfScorer
from falconer.recsys.models.ncf.on_torch.tasks import NcfTask
from falconer.recsys.recommending.top_k import top_k
from tests.support import tiny
from tests.support.datasets import write_dataset

N_USERS, N_ITEMS = 5, 9
Weights = dict[str, NDArray[np.float64]]


def network(variant: str, **knobs: Any) -> Ncf:
    """A network with weights large enough that every part of the formula counts."""
    config = NcfConfig(variant=variant, dim=3, mlp_dim=4, hidden=(6, 5, 2), **knobs)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Ncf(N_USERS, N_ITEMS, config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
    return model.eval()


def weights_of(model: Ncf) -> Weights:
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def gmf_layer(w: Weights, user: int, item: int) -> NDArray[np.float64]:
    """Equation 8: the element-wise product."""
    return w["gmf.user.weight"][user] * w["gmf.item.weight"][item]


def mlp_layers(w: Weights, user: int, item: int) -> NDArray[np.float64]:
    """Equation 10: the concatenation, then layer after layer."""
    z = np.concatenate([w["mlp.user.weight"][user], w["mlp.item.weight"][item]])
    first = np.concatenate([w["mlp.from_user.weight"], w["mlp.from_item.weight"]], axis=1)
    z = np.maximum(first @ z + w["mlp.from_user.bias"], 0)
    for number in range(2):
        z = np.maximum(w[f"mlp.hidden.{number}.weight"] @ z + w[f"mlp.hidden.{number}.bias"], 0)
    return z


def score_of(w: Weights, variant: str, user: int, item: int) -> float:
    """Equations 9, 11 and 12 before the sigmoid: h . [phi_GMF; phi_MLP] + b."""
    parts, h = [], []
    if variant != "mlp":
        parts, h = [*parts, gmf_layer(w, user, item)], [*h, w["gmf.out"]]
    if variant != "gmf":
        parts, h = [*parts, mlp_layers(w, user, item)], [*h, w["mlp.out"]]
    return float(np.concatenate(h) @ np.concatenate(parts) + w["bias"][0])


every_variant = pytest.mark.parametrize("variant", ["gmf", "mlp", "neumf"])


def expected_scores(model: Ncf, variant: str) -> NDArray[np.float64]:
    w = weights_of(model)
    return np.array(
        [[score_of(w, variant, user, item) for item in range(N_ITEMS)] for user in range(N_USERS)]
    )


def queries_of(users: list[int]) -> Queries:
    return Queries(np.array(users, np.int32), Ragged.of([[] for _ in users]))


@every_variant
def test_forward_is_the_papers(variant: str) -> None:
    model = network(variant)
    users, items = (
        torch.arange(N_USERS, dtype=torch.int32),
        torch.arange(N_ITEMS).repeat(N_USERS, 1),
    )
    np.testing.assert_allclose(
        model(users, items).detach(), expected_scores(model, variant), rtol=1e-4, atol=1e-5
    )
    few = model(
        users[:2], items[:2, 3:5]
    )  # fewer rows than the tables have: the other order of the first layer
    np.testing.assert_allclose(
        few.detach(), expected_scores(model, variant)[:2, 3:5], rtol=1e-4, atol=1e-5
    )


@every_variant
def test_catalogue_and_pairs_score_as_the_formula(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("falconer.recsys.backends.torch.scoring.ITEMS_AT_ONCE", 4)
    model = network(variant)
    popularity = np.arange(N_ITEMS, dtype=np.float32)
    scorer = NcfScorer(model, popularity, N_ITEMS + 2)
    queries = queries_of([3, -1, 0, N_USERS])
    expected = np.concatenate(
        [expected_scores(model, variant)[[3, 0]], popularity[None], popularity[None]]
    )[[0, 2, 1, 3]]
    scores = scorer.score(queries)
    np.testing.assert_allclose(scores[:, :N_ITEMS], expected, rtol=1e-4, atol=1e-5)
    assert (scores[:, N_ITEMS:] == -np.inf).all()
    assert scorer.knows(queries).tolist() == [True, False, True, False]
    query, item = np.divmod(np.arange(4 * (N_ITEMS + 2)), N_ITEMS + 2)
    pairs = scorer.score_pairs(Pairs(queries, query, item.astype(np.int32)))
    np.testing.assert_allclose(pairs.reshape(scores.shape), scores, rtol=1e-4, atol=1e-5)
    assert scorer.score_pairs(Pairs(queries, query[:0], item[:0].astype(np.int32))).shape == (0,)


def task_of(model: Ncf, **knobs: float) -> NcfTask:
    no_batches: Any = None
    no_validation: Any = None
    return NcfTask(model, no_batches, no_validation, np.zeros(N_ITEMS, np.float32), **knobs)


def test_the_loss_is_equation_7() -> None:
    """- sum over positives of log y - sum over negatives of log (1 - y), over the number of
    pairs."""
    model = network("neumf")
    items = torch.tensor([[0, 4, 5], [8, 1, 1]])
    batch = LabelledItems(torch.tensor([2, 4]), items, torch.tensor([[1.0, 0.0, 0.0]] * 2))
    y = 1 / (
        1
        + np.exp(
            -np.take_along_axis(expected_scores(model, "neumf")[[2, 4]], items.numpy(), axis=1)
        )
    )
    expected = -(np.log(y[:, 0]).sum() + np.log(1 - y[:, 1:]).sum()) / 6
    assert task_of(model).loss(batch).item() == pytest.approx(expected, rel=1e-5)
    assert task_of(model).size(batch) == 6


@pytest.mark.parametrize("repeats", [1, 9])  # fewer rows than the tables have, and more
def test_the_penalty_is_the_squared_length_of_each_pairs_vectors(repeats: int) -> None:
    model = network("neumf")
    users, items = (
        torch.tensor([2, 4, 2]).repeat(repeats),
        torch.tensor([[0, 4], [8, 1], [1, 1]]).repeat(repeats, 1),
    )
    batch = LabelledItems(users, items, torch.zeros(items.shape))
    w = weights_of(model)
    pairs = [
        (user, item)
        for user, row in zip(users.tolist(), items.tolist(), strict=True)
        for item in row
    ]
    lengths = [
        (w[f"{half}.user.weight"][user] ** 2).sum() + (w[f"{half}.item.weight"][item] ** 2).sum()
        for user, item in pairs
        for half in ("gmf", "mlp")
    ]
    penalty = task_of(model, l2=0.1).loss(batch) - task_of(model).loss(batch)
    assert penalty.item() == pytest.approx(0.1 * sum(lengths) / len(pairs), rel=1e-4)


def test_dropout_is_of_training_only_and_keeps_the_mean() -> None:
    model = network("mlp", dropout=0.5)
    users, items = torch.tensor([1]), torch.tensor([[2]])
    torch.manual_seed(0)
    model.train()
    assert len({model(users, items).item() for _ in range(8)}) > 1
    model.eval()
    assert len({model(users, items).item() for _ in range(8)}) == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_fusing_is_equation_13(share: float) -> None:
    """The fused network scores as share x GMF + (1 - share) x MLP."""
    gmf, mlp, both = network("gmf"), network("mlp"), network("neumf")
    both.load_state_dict(fused(gmf, mlp, share))
    expected = share * expected_scores(gmf, "gmf") + (1 - share) * expected_scores(mlp, "mlp")
    np.testing.assert_allclose(expected_scores(both, "neumf"), expected, rtol=1e-5, atol=1e-6)


def small(**knobs: Any) -> NcfConfig:
    return NcfConfig(**{**tiny.TINY["ncf"], **knobs})


def training(epochs: int) -> NcfTraining:
    return NcfTraining(epochs=epochs, learning_rate=0.02, threads=1, monitor=None, patience=None)


def test_pretraining_trains_the_halves_first(board: Dataset, tmp_path: Path) -> None:
    run = tiny.train(
        "ncf", "torch", board, tmp_path, small(pretraining=training(2), training=training(1))
    )
    lines = run.read_lines("metrics.jsonl")
    names = [{key.partition("/")[0] for key in line if "/" in key} for line in lines]
    assert names == [{"gmf"}, {"gmf"}, {"mlp"}, {"mlp"}, set()]
    from_random = tiny.train(
        "ncf", "torch", board, tmp_path / "random", small(training=training(1))
    )
    assert lines[-1]["loss"] < from_random.read_lines("metrics.jsonl")[-1]["loss"]


@every_variant
@pytest.mark.parametrize(
    "knobs", [{}, {"negative_alpha": 0.5}, {"reject_seen": False, "shuffle_rows": 1}]
)
def test_every_form_learns(
    variant: str, knobs: dict[str, Any], board: Dataset, tmp_path: Path
) -> None:
    """One guess in 13 is right by chance."""
    run = tiny.train(
        "ncf", "torch", board, tmp_path, small(variant=variant, training=training(12), **knobs)
    )
    scores = tiny.novel_scores(tiny.scorer_of(run, board), board.queries("test"))
    assert np.mean(scores.argmax(axis=1) == board.truth("test").items.values) > 0.5


def test_the_softmax_over_the_batch_learns(board: Dataset, tmp_path: Path) -> None:
    knobs = {"variant": "gmf", "loss": "in_batch", "l2": 1e-4}
    run = tiny.train("ncf", "torch", board, tmp_path, small(training=training(12), **knobs))
    scores = tiny.novel_scores(tiny.scorer_of(run, board), board.queries("test"))
    assert np.mean(scores.argmax(axis=1) == board.truth("test").items.values) > 0.5


def test_scores_among_a_batch_are_the_pairs() -> None:
    model = network("gmf")
    users, items = torch.tensor([2, 4]), torch.tensor([0, 4, 5])
    torch.testing.assert_close(model.among(users, items), model(users, items.expand(2, -1)))


def test_smoothed_labels_are_learnt() -> None:
    model = network("neumf")
    batch = LabelledItems(torch.tensor([2]), torch.tensor([[0, 4]]), torch.tensor([[1.0, 0.0]]))
    y = torch.sigmoid(model(batch.users, batch.items))[0]
    expected = (
        -(0.95 * y[0].log() + 0.05 * (1 - y[0]).log() + 0.05 * y[1].log() + 0.95 * (1 - y[1]).log())
        / 2
    )
    torch.testing.assert_close(task_of(model, smoothing=0.1).loss(batch), expected)


def test_without_a_validation_fold_the_last_weights_count(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data",
        train=[(u, i, 0) for u in range(6) for i in range(6) if u != i],
        n_users=6,
        n_items=6,
        folds={},
    )
    run = tiny.train("ncf", "torch", data, tmp_path, small(training=training(2)))
    assert [set(line) for line in run.read_lines("metrics.jsonl")] == [
        {"step", "epoch", "loss", "learning_rate"}
    ] * 2


def test_candidates_are_scored_as_pairs(tmp_path: Path) -> None:
    train = [(user, item, 0) for user in range(6) for item in range(8) if (user + item) % 2]
    rows = [(user, [], [0]) for user in range(6)]
    candidates = {"test": [[0, 5, 3]] * 6}
    data = write_dataset(
        tmp_path / "data",
        train=train,
        n_users=6,
        n_items=8,
        folds={"test": rows},
        candidates=candidates,
    )
    run = tiny.train("ncf", "torch", data, tmp_path, small(training=training(1)))
    scorer, queries = tiny.scorer_of(run, data), data.queries("test")
    assert isinstance(scorer, PairScorer)
    lists = top_k(scorer, queries, n_items=8, k=8)
    whole = scorer.score(queries)
    for row, items in enumerate(lists.items):
        assert items.tolist() == [*sorted([0, 5, 3], key=lambda item: -whole[row, item]), *[-1] * 5]


def test_a_wrong_variant_and_empty_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match=re.compile("variant.*hidden", re.DOTALL)):
        parse(NcfConfig, {"variant": "neumff", "hidden": []}, "recipe")
    with pytest.raises(ConfigError, match="halves of neumf"):
        parse(NcfConfig, {"variant": "gmf", "pretraining": {}}, "recipe")
    with pytest.raises(ConfigError, match="one product a pair"):
        parse(NcfConfig, {"variant": "mlp", "loss": "in_batch"}, "recipe")
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        parse(NcfConfig, {"training": {"epoch": 3}}, "recipe")


def test_validation_is_of_the_same_sample(board: Dataset) -> None:
    sample = Validation(board, n_queries=10, seed=3)
    again = Validation(board, n_queries=10, seed=3)
    assert sample.n_queries == again.n_queries == 10
    model = Ncf(board.n_users, board.n_items, small())
    scorer = NcfScorer(model, np.zeros(board.n_items, np.float32), board.n_items)
    assert sample(scorer) == again(scorer)
    assert set(sample(scorer)) == {"hit_rate@10", "ndcg@10"}


def test_sampled_validation_ranks_among_drawn_items_only(board: Dataset) -> None:
    """With one drawn item, a random scorer hits at 1 in half of the queries; its lists hold two
    items."""
    sampled = Validation(board, n_queries=1000, seed=3, n_candidates=1, k=1)
    model = Ncf(board.n_users, board.n_items, small())
    found = sampled(NcfScorer(model, np.zeros(board.n_items, np.float32), board.n_items))
    assert set(found) == {"sampled_hit_rate@1", "sampled_ndcg@1"}
    assert 0.2 < found["sampled_hit_rate@1"] < 0.8
    everything = Validation(board, n_queries=1000, seed=3, n_candidates=10_000)
    scorer = NcfScorer(model, np.zeros(board.n_items, np.float32), board.n_items)
    assert list(everything(scorer).values()) == list(
        Validation(board, n_queries=1000, seed=3)(scorer).values()
    )


def test_queries_of_unknown_users_are_counted(tmp_path: Path) -> None:
    rows = [(0, [1], [0]), (-1, [1], [0]), (-1, [2], [0])]
    train = [(user, item, 0) for user in range(4) for item in range(6) if (user + item) % 2]
    data = write_dataset(tmp_path / "data", train=train, n_users=4, n_items=6, folds={"test": rows})
    run = stages.train("ncf", data.path, tmp_path / "runs", overrides=["model.training.epochs=1"])
    stages.recommend(run)
    assert (
        "2 of 3 queries are of users whom the model does not know" in (run / "log.txt").read_text()
    )
