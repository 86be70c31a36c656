"""The sequence models' network, and the scorer that it becomes."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from falconer.pipelines.data.queries import Queries, Ragged
from falconer.recsys.backends.numpy.arrays import known_items
from falconer.recsys.backends.numpy.factors import (
    all_items,
    or_popularity,
    scores_of,
    with_popularity,
)
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.graphs import Form, Graph
from falconer.recsys.backends.torch.sequences.transformer import Encoder
from falconer.recsys.configs.sequences import SequenceConfig

QUERIES_AT_ONCE = 16
SHORTEST = 16
"""Histories are filled up to so many places, or twice, four times ... as many, whatever is asked
beside them."""


class SequenceModel(nn.Module):
    """An encoder and the items' vectors, which are both its input and what its output is compared
    with.

    With `mask`, a token of its own, the next item is asked for by a mask behind the history;
    without, by the last item.
    """

    def __init__(self, n_items: int, config: SequenceConfig, *, mask: int | None) -> None:
        super().__init__()
        self.n_items, self.max_length, self.mask = n_items, config.max_length, mask
        self.encoder = Encoder(
            n_items if mask is None else mask + 1,
            dim=config.dim,
            max_length=config.max_length,
            n_blocks=config.n_blocks,
            n_heads=config.n_heads,
            block=config.block,
            feed_forward=config.feed_forward,
            activation=config.activation,
            dropout=config.dropout,
            causal=mask is None,
            scale_embeddings=config.scale_embeddings,
        )

    def forward(self, items: Tensor, lengths: Tensor, places: Tensor) -> Tensor:
        """Items int64[B, L] (0 behind a row's end), lengths int64[B], places int64[T] of the B * L
        -> [T, d]."""
        hidden: Tensor = self.encoder(items, lengths, places)
        return hidden

    @property
    def room(self) -> int:
        """Items of a history that fit, beside the mask where there is one."""
        return self.max_length - (self.mask is not None)

    @property
    def item_bias(self) -> Tensor | None:
        """[n_items], where the model has one."""
        return None

    def item_vectors(self) -> Tensor:
        """[n_items, d]."""
        return self.encoder.items.weight[: self.n_items]


class SequenceScorer:
    """Scores a query by its history: a product, with what the encoder says as the query's factors.
    A query without an item that the model knows gets the items' train events, `popularity`."""

    def __init__(self, model: SequenceModel, popularity: NDArray[np.float32], n_items: int) -> None:
        self._model, self._popularity = model, popularity
        self._device = model.encoder.items.weight.device
        self.items_known = known_items(model.n_items, n_items)
        bias = np.zeros_like(popularity) if model.item_bias is None else _array(model.item_bias)
        self._items = with_popularity(
            np.column_stack([_array(model.item_vectors()), bias]), popularity
        )

    def factors(
        self, queries: Queries
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Query factors float32[Q, d + 2], item factors float32[n_items, d + 2], item bias
        float32[n_items].

        The bias is 0 for known items and -inf for all others; the model's own is one of the
        factors. The query factors are the same to the bit in any batch.
        """
        bias = np.where(self.items_known, np.float32(0), np.float32(-np.inf))
        return self._query_factors(queries), all_items(self._items, len(bias)), bias

    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]: before the softmax."""
        return scores_of(self._query_factors(queries), self._items, len(self.items_known))

    def graphs(self) -> dict[Form, Graph]:
        """Scores of the catalogue by history."""
        return {"catalogue": Graph(SequenceGraph(self._model, self._popularity), ("history",))}

    def save(self, directory: Path) -> None:
        """Write `model.safetensors`: the weights and the items' popularity."""
        weights.save(directory, self._model, popularity=torch.tensor(self._popularity))

    def _query_factors(self, queries: Queries) -> NDArray[np.float32]:
        histories = newest_known(queries.history, self._model.n_items, self._model.room)
        vectors = np.zeros((len(queries), self._items.shape[1] - 1), dtype=np.float32)
        vectors[:, -1] = 1  # of the bias
        sizes = self._sizes(histories.lengths)
        for size in np.unique(sizes[sizes > 0]):
            same = np.flatnonzero(sizes == size)
            for start in range(0, len(same), QUERIES_AT_ONCE):
                rows = same[start : start + QUERIES_AT_ONCE]
                vectors[rows, :-1] = self._encoded(histories.take(rows), int(size))
        return or_popularity(vectors, sizes > 0)

    def _sizes(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places that each history is filled up to, with the mask; 0 for none."""
        places = np.maximum(lengths + self._model.max_length - self._model.room, SHORTEST)
        filled = np.minimum(2 ** np.ceil(np.log2(places)).astype(np.int64), self._model.max_length)
        return np.where(lengths > 0, filled, 0)

    @torch.inference_mode()
    def _encoded(self, histories: Ragged, size: int) -> NDArray[np.float32]:
        """float32[Q, d] of Q histories, in a computation whose shape depends on `size` alone."""
        items = np.zeros((QUERIES_AT_ONCE, size), np.int64)
        items[
            histories.rows, np.arange(len(histories.values)) - histories.offsets[histories.rows]
        ] = histories.values
        lengths = np.ones(QUERIES_AT_ONCE, np.int64)
        lengths[: len(histories)] = histories.lengths
        if self._model.mask is not None:
            items[np.arange(QUERIES_AT_ONCE), lengths] = self._model.mask
            lengths += 1
        places = np.arange(QUERIES_AT_ONCE) * size + lengths - 1
        hidden = self._model(
            *(torch.tensor(part, device=self._device) for part in (items, lengths, places))
        )
        return _array(hidden[: len(histories)])


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return array


class SequenceGraph(nn.Module):
    """What `SequenceScorer` answers, as a module of arrays."""

    popularity: Tensor

    def __init__(self, model: SequenceModel, popularity: NDArray[np.float32]) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()
        self.register_buffer("popularity", torch.tensor(popularity))

    def forward(self, history: Tensor) -> Tensor:
        """history int64[N, L], oldest first, then -1 -> [N, n_items]."""
        size = self.model.max_length
        length = (history >= 0).sum(1, keepdim=True)
        kept = length.clamp(max=self.model.room)
        place = torch.arange(size)[None]
        source = torch.minimum(length - kept + place, length - 1).clamp(min=0)
        items = torch.where(place < kept, history.gather(1, source), 0)
        asked = kept
        if self.model.mask is not None:
            items, asked = torch.where(place == kept, self.model.mask, items), kept + 1
        rows = torch.arange(history.shape[0])
        hidden = self.model(items, asked[:, 0], rows * size + (asked[:, 0] - 1).clamp(min=0))
        scores = torch.matmul(hidden, self.model.item_vectors().T)
        scores = scores if self.model.item_bias is None else scores + self.model.item_bias
        return torch.where(length > 0, scores, self.popularity)


def newest_known(history: Ragged, n_known: int, n: int) -> Ragged:
    """The newest `n` items below `n_known` of each row, or as many as there are."""
    known = history.keep(history.values.astype(np.int64) < n_known)
    return known.keep(np.arange(len(known.values)) >= (known.offsets[1:] - n)[known.rows])
