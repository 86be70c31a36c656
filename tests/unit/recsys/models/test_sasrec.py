"""SASRec and what it shares with BERT4Rec, against the formulas written out in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from falconer.pipelines.config import parse
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.recsys.backends.torch.sequences.scorer import (
    SequenceModel,
    SequenceScorer,
    newest_known,
)
from falconer.recsys.backends.torch.sequences.transformer import Dropout
from falconer.recsys.models.sasrec.config import SasRecConfig
from falconer.recsys.models.sasrec.on_torch import load
from tests.support import tiny
from tests.support.datasets import checkerboard, cycle
from tests.support.networks import encoded, weights_of, with_large_weights

N_ITEMS = 9
CONFIG = SasRecConfig(dim=6, n_heads=2, n_blocks=2, feed_forward=5, max_length=4, dropout=0.3)


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    """A network with weights large enough that every part of the formulas counts."""
    return with_large_weights(SequenceModel(N_ITEMS, CONFIG, mask=None))


def queries_of(rows: list[list[int]]) -> Queries:
    return Queries(np.full(len(rows), -1, np.int32), Ragged.of(rows))


def hidden(model: SequenceModel, items: list[int]) -> NDArray[np.float64]:
    """[L, d] of one row, in numpy."""
    return encoded(weights_of(model.encoder), items, n_heads=2, causal=True)


def test_the_encoder_is_the_formula_at_every_place(model: SequenceModel) -> None:
    items = torch.tensor([[3, 1, 4, 1], [5, 8, 0, 0]])
    lengths, places = torch.tensor([4, 2]), torch.tensor([0, 1, 2, 3, 4, 5])
    found = model(items, lengths, places).detach()
    expected = np.concatenate([hidden(model, [3, 1, 4, 1]), hidden(model, [5, 8])])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_relu_and_one_head_are_knobs() -> None:
    config = CONFIG.model_copy(update={"activation": "relu", "n_heads": 1})
    network = with_large_weights(SequenceModel(N_ITEMS, config, mask=None))
    expected = encoded(
        weights_of(network.encoder), [3, 1, 4], n_heads=1, causal=True, activation="relu"
    )
    found = network(torch.tensor([[3, 1, 4]]), torch.tensor([3]), torch.arange(3)).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_a_block_may_normalise_the_query_alone() -> None:
    config = CONFIG.model_copy(update={"block": "query_norm"})
    network = with_large_weights(SequenceModel(N_ITEMS, config, mask=None))
    items, lengths = torch.tensor([[3, 1, 4, 1], [5, 8, 0, 0]]), torch.tensor([4, 2])
    found = network(items, lengths, torch.tensor([0, 1, 2, 3, 4, 5])).detach()
    weights = weights_of(network.encoder)
    expected = [
        encoded(weights, row, n_heads=2, causal=True, query_norm=True)
        for row in ([3, 1, 4, 1], [5, 8])
    ]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-3, atol=1e-4)


def test_items_vectors_may_go_in_scaled_and_come_out_as_they_are() -> None:
    network = with_large_weights(
        SequenceModel(N_ITEMS, CONFIG.model_copy(update={"scale_embeddings": True}), mask=None)
    )
    weights = weights_of(network.encoder)
    scaled = {**weights, "items.weight": weights["items.weight"] * np.sqrt(6)}
    expected = encoded(scaled, [3, 1, 4], n_heads=2, causal=True)
    found = network(torch.tensor([[3, 1, 4]]), torch.tensor([3]), torch.arange(3)).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(network.item_vectors().detach(), weights["items.weight"])


def test_scores_are_those_of_the_newest_items(model: SequenceModel) -> None:
    popularity = np.arange(N_ITEMS, dtype=np.float32)
    scorer = SequenceScorer(model, popularity, N_ITEMS + 2)
    rows = [[7], [], [1, 2, 3, 4, 5, 6], [N_ITEMS + 1], [8, N_ITEMS, 2]]
    expected = np.stack(
        [
            popularity
            if not kept
            else weights_of(model.encoder)["items.weight"] @ hidden(model, kept)[-1]
            for kept in ([7], [], [3, 4, 5, 6], [], [8, 2])
        ]
    )
    scores = scorer.score(queries_of(rows))
    np.testing.assert_allclose(scores[:, :N_ITEMS], expected, rtol=1e-3, atol=1e-3)
    assert (scores[:, N_ITEMS:] == -np.inf).all()
    assert scorer.items_known.tolist() == [True] * N_ITEMS + [False] * 2
    query, item, bias = scorer.factors(queries_of(rows))
    np.testing.assert_allclose(query @ item.T + bias, scores, rtol=1e-5, atol=1e-5)


def test_the_newest_known_items_are_kept_in_order() -> None:
    history = Ragged.of([[1, 9, 2, 3], [], [9, 9], [4], [5, 6, 7, 8]])
    kept = newest_known(history, 9, 2)
    assert [list(kept[row]) for row in range(len(kept))] == [[2, 3], [], [], [4], [7, 8]]


def test_a_query_has_the_same_bits_whatever_is_asked_beside_it() -> None:
    config = SasRecConfig(dim=16, feed_forward=24, max_length=50)
    network = with_large_weights(SequenceModel(40, config, mask=None))
    scorer = SequenceScorer(network, np.ones(40, np.float32), 40)
    rng = np.random.default_rng(0)
    queries = queries_of(
        [rng.integers(0, 40, length).tolist() for length in rng.integers(0, 80, 45)]
    )
    whole = scorer.score(queries)
    order = rng.permutation(len(queries))
    assert scorer.score(queries.take(order)).tobytes() == whole[order].tobytes()
    for row in (0, 7, 44):
        assert scorer.score(queries.slice(row, row + 1)).tobytes() == whole[row].tobytes()


def test_dropout_is_of_training_only_and_keeps_the_mean() -> None:
    dropout, x = Dropout(0.2), torch.ones(50_001)
    assert dropout.eval()(x) is x
    dropped = dropout.train()(x)
    share = (dropped == 0).float().mean().item()
    assert share == pytest.approx(51 / 256, abs=0.01)
    assert dropped[dropped != 0].unique().tolist() == [pytest.approx(256 / 205)]
    torch.manual_seed(1)
    first = dropout(x)
    torch.manual_seed(1)
    assert dropout(x).equal(first)
    assert not dropout(x).equal(first)
    assert Dropout(0.0).train()(x) is x
    assert (Dropout(0.001).train()(x) == 0).any()


@pytest.mark.parametrize("loss", ["sampled_softmax", "gbce", "bce"])
def test_every_loss_learns_the_order(loss: str, tmp_path: Path) -> None:
    wheel = cycle(tmp_path / "wheel")
    knobs: dict[str, Any] = {**tiny.TINY["sasrec"], "loss": loss, "n_negatives": 6}
    scorer = tiny.model("sasrec", wheel, tmp_path / "runs", **knobs)
    scores = tiny.novel_scores(scorer, wheel.queries("test"))
    assert (
        scores.argmax(axis=1) == wheel.truth("test").items.values
    ).mean() >= 0.9  # chance is 1 / 12


def test_the_newest_part_of_the_histories_is_enough_to_learn_the_order(tmp_path: Path) -> None:
    wheel = cycle(tmp_path / "wheel")
    knobs: dict[str, Any] = {**tiny.TINY["sasrec"], "history": "newest", "max_length": 4}
    scorer = tiny.model("sasrec", wheel, tmp_path / "runs", **knobs)
    scores = tiny.novel_scores(scorer, wheel.queries("test"))
    assert (scores.argmax(axis=1) == wheel.truth("test").items.values).mean() == 1.0


def test_the_order_of_a_source_without_times_is_taken_when_told(tmp_path: Path) -> None:
    timeless = checkerboard(tmp_path / "timeless", has_time=False)
    knobs: dict[str, Any] = {**tiny.TINY["sasrec"], "order": "source"}
    scores = tiny.model("sasrec", timeless, tmp_path / "runs", **knobs).score(
        timeless.queries("test")
    )
    assert np.isfinite(scores).all()


def test_heads_must_divide_the_vectors() -> None:
    with pytest.raises(ConfigError, match="dim must be a multiple of n_heads"):
        parse(SasRecConfig, {"dim": 10, "n_heads": 4}, "recipe")


def test_a_model_of_another_size_is_refused(model: SequenceModel, tmp_path: Path) -> None:
    SequenceScorer(model, np.zeros(N_ITEMS, np.float32), N_ITEMS).save(tmp_path)
    data = tiny.random_dataset(tmp_path / "data", n_items=N_ITEMS)
    assert load(tmp_path, CONFIG, data).items_known.all()
    with pytest.raises(ArtifactError, match="train the model anew"):
        load(tmp_path, CONFIG.model_copy(update={"n_blocks": 1}), data)
