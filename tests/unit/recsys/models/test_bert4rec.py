"""BERT4Rec: what it has beyond SASRec, against the formulas written out in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from falconer.pipelines.config import parse
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.errors import ConfigError
from falconer.recsys.backends.torch.sequences.scorer import SequenceScorer
from falconer.recsys.models.bert4rec.config import Bert4RecConfig
from falconer.recsys.models.bert4rec.on_torch import Bert4Rec
from tests.support import tiny
from tests.support.datasets import cycle
from tests.support.networks import encoded, gelu, linear, normalised, weights_of, with_large_weights

N_ITEMS = 9
MASK = N_ITEMS
CONFIG = Bert4RecConfig(dim=6, n_heads=2, n_blocks=2, feed_forward=5, max_length=4)


@pytest.fixture(scope="module")
def model() -> Bert4Rec:
    return with_large_weights(Bert4Rec(N_ITEMS, CONFIG))


def output(model: Bert4Rec, items: list[int]) -> NDArray[np.float64]:
    """[L, d]: the encoder without a causal mask, and the layer above it (equation 7)."""
    w = weights_of(model)
    inner = encoded(weights_of(model.encoder), items, n_heads=2, causal=False)
    return normalised(w, "out_norm", gelu(linear(w, "out", inner)))


def test_forward_sees_both_sides_and_nothing_behind_the_end(model: Bert4Rec) -> None:
    items = torch.tensor([[3, MASK, 4, 1], [MASK, 8, 0, 0]])
    found = model(items, torch.tensor([4, 2]), torch.tensor([1, 4])).detach()
    expected = np.stack([output(model, [3, MASK, 4, 1])[1], output(model, [MASK, 8])[0]])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_item_vectors_may_go_in_scaled_and_come_out_as_they_are() -> None:
    config = CONFIG.model_copy(update={"scale_embeddings": True})
    network = with_large_weights(Bert4Rec(N_ITEMS, config))
    w, inner = weights_of(network), weights_of(network.encoder)
    scaled = {**inner, "items.weight": inner["items.weight"] * np.sqrt(6)}
    places = encoded(scaled, [3, MASK, 4], n_heads=2, causal=False)
    expected = normalised(w, "out_norm", gelu(linear(w, "out", places)))
    found = network(torch.tensor([[3, MASK, 4]]), torch.tensor([3]), torch.arange(3)).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(network.item_vectors().detach(), inner["items.weight"][:N_ITEMS])


def test_the_next_item_is_a_mask_behind_the_newest_items(model: Bert4Rec) -> None:
    popularity = np.arange(N_ITEMS, dtype=np.float32)
    scorer = SequenceScorer(model, popularity, N_ITEMS + 1)
    rows = [[7], [], [1, 2, 3, 4, 5], [N_ITEMS, 8]]
    w = weights_of(model)
    expected = np.stack(
        [
            popularity
            if not kept
            else w["encoder.items.weight"][:N_ITEMS] @ output(model, [*kept, MASK])[-1] + w["bias"]
            for kept in ([7], [], [3, 4, 5], [8])
        ]
    )
    queries = Queries(np.full(4, -1, np.int32), Ragged.of(rows))
    scores = scorer.score(queries)
    np.testing.assert_allclose(scores[:, :N_ITEMS], expected, rtol=1e-3, atol=1e-3)
    assert (scores[:, N_ITEMS] == -np.inf).all()
    query, item, bias = scorer.factors(queries)
    np.testing.assert_allclose(query @ item.T + bias, scores, rtol=1e-5, atol=1e-5)


def test_the_last_item_alone_is_enough_to_learn_the_order(tmp_path: Path) -> None:
    """With `last_share` 1 a row is one question, as when the model is used: rows of 3 items make
    more of them."""
    wheel = cycle(tmp_path / "wheel", length=9)
    knobs: dict[str, Any] = {**tiny.TINY["bert4rec"], "last_share": 1.0, "max_length": 3}
    scorer = tiny.model("bert4rec", wheel, tmp_path / "runs", **knobs)
    scores = tiny.novel_scores(scorer, wheel.queries("test"))
    assert (scores.argmax(axis=1) == wheel.truth("test").items.values).mean() == 1.0


@pytest.mark.parametrize("knobs", [{"mask_share": 0.0}, {"mask_share": 1.0}, {"last_share": 1.5}])
def test_shares_that_teach_nothing_are_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(knobs))):
        parse(Bert4RecConfig, knobs, "recipe")
