"""Scorers of two-sided networks, for lists and for labels, and what is saved of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Pairs, Queries
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import read_json, write_json
from falconer.pipelines.training.devices import device_of
from falconer.recsys.backends.numpy.arrays import known_items
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.graphs import Form, Graph
from falconer.recsys.backends.torch.pairs.graphs import graphs_of
from falconer.recsys.backends.torch.pairs.inputs import FieldEncoder, Fields, Inputs
from falconer.recsys.backends.torch.pairs.network import Parts, TwoSided
from falconer.recsys.backends.torch.scoring import catalogue_scores
from falconer.recsys.configs.pairs import PairsConfig

FIELDS_FILE = "fields.json"
PAIRS_AT_ONCE = 2**12
"""Pairs in one pass. Fewer are filled up to it: BLAS may round otherwise for another shape."""

Build = Callable[[Fields], TwoSided]


class PairRanker:
    """Scores rows of the task `labels`: the probability of label 1, or the rating."""

    def __init__(self, model: TwoSided, encoder: FieldEncoder) -> None:
        self._model, self._encoder = model, encoder

    @torch.inference_mode()
    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        """float32[P]; what is unknown of a pair (its user, its item, a category) has its own
        vector."""
        answer = torch.sigmoid if self._model.fields.target == "binary" else None
        scores: NDArray[np.float32] = (
            pair_scores(self._model, self._encoder, pairs, answer).cpu().numpy()
        )
        return scores

    def graphs(self) -> dict[Form, Graph]:
        """Scores of rows."""
        return graphs_of(self._model, self._encoder, None)

    def save(self, directory: Path) -> None:
        """Write `model.safetensors` and `fields.json`."""
        save_network(directory, self._model)


class ListScorer:
    """Scores known users by the network; everybody else by the items' popularity in train."""

    def __init__(
        self, model: TwoSided, encoder: FieldEncoder, popularity: NDArray[np.float32]
    ) -> None:
        self._model, self._encoder, self._popularity = model, encoder, popularity
        self._device = encoder.device
        self.items_known = known_items(model.fields.n_items, len(encoder.items) - 1)

    def knows(self, queries: Queries) -> NDArray[np.bool_]:
        """bool[Q]: whether the user was in train; others get the items by popularity."""
        return (queries.user >= 0) & (queries.user < self._model.fields.n_users)

    @torch.inference_mode()
    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]: before the sigmoid; the items' train events for a user that is not
        known."""
        n_known, inputs = self._model.fields.n_items, self._encoder.query_of(queries)
        catalogue = self._model.item_side(
            self._encoder.items.rows(torch.arange(1, n_known + 1, device=self._device))
        )
        popularity = torch.tensor(self._popularity, device=self._device)
        known = self.knows(queries)

        def score_one(query: int, items: slice) -> Tensor:
            if not known[query]:
                return popularity[items]
            own = Inputs(inputs.ids[query : query + 1], inputs.numbers[query : query + 1])
            return self._model.of_pairs(self._model.query_side(own), _one_row(catalogue, items))[0]

        return catalogue_scores(
            score_one,
            n_queries=len(queries),
            n_known=n_known,
            n_items=len(self.items_known),
            device=self._device,
        )

    @torch.inference_mode()
    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        """float32[P]: as `score`, for the given pairs only; -inf for an item that came after
        training."""
        known = self.knows(pairs.queries)[pairs.query]
        scores: NDArray[np.float32] = self._popularity[
            np.minimum(pairs.item, len(self._popularity) - 1)
        ]
        scores[known] = (
            pair_scores(self._model, self._encoder, pairs.take(np.flatnonzero(known))).cpu().numpy()
        )
        scores[pairs.item >= len(self._popularity)] = -np.inf
        return scores

    def graphs(self) -> dict[Form, Graph]:
        """Scores of the catalogue by user, and of pairs of user and item."""
        return graphs_of(self._model, self._encoder, torch.tensor(self._popularity))

    def save(self, directory: Path) -> None:
        """Write `model.safetensors` (the weights, and the items' popularity) and `fields.json`."""
        save_network(directory, self._model, popularity=torch.tensor(self._popularity))


def _one_row(parts: Parts, items: slice) -> Parts:
    """Parts [I, ...] of the catalogue -> [1, I', ...]."""
    return tuple(part[None, items] for part in parts)


def pair_scores(
    model: TwoSided,
    encoder: FieldEncoder,
    pairs: Pairs,
    answer: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """float32[P] in passes of one size, so that a pair's score is the same to the bit however many
    are asked for.

    `answer` turns scores into what is asked for: even a sigmoid may round differently at the end of
    an array.
    """
    padding = (0, -len(pairs) % PAIRS_AT_ONCE)
    query = torch.tensor(np.pad(pairs.query, padding), device=encoder.device)
    queries, (items, rows) = encoder.query_of(pairs.queries), encoder.items_of(pairs)
    rows = torch.nn.functional.pad(rows, padding)
    parts = [queries.numbers.new_empty(0)]
    # The table's own length hangs on what is asked: each pass has one of its own pairs.
    each = torch.arange(PAIRS_AT_ONCE, device=encoder.device)[:, None]
    for start in range(0, len(query), PAIRS_AT_ONCE):
        own = slice(start, start + PAIRS_AT_ONCE)
        scores = model(queries.rows(query[own]), items.rows(rows[own]), each)[:, 0]
        parts.append(scores if answer is None else answer(scores))
    return torch.cat(parts)[: len(pairs)]


def save_network(directory: Path, model: TwoSided, **more: Tensor) -> None:
    """Write the weights and the inputs that they are for."""
    weights.save(directory, model, **more)
    write_json(directory / FIELDS_FILE, model.fields.model_dump(mode="json"))


def load_scorer(
    directory: Path, build: Build, config: PairsConfig, data: Dataset
) -> ListScorer | PairRanker:
    """Read what a scorer wrote, for a dataset of its lineage. Raises `ArtifactError` where files
    are damaged or the dataset lacks an input."""
    try:
        fields = Fields.model_validate(read_json(directory / FIELDS_FILE))
    except (OSError, ValidationError) as error:
        raise ArtifactError(
            f"{directory / FIELDS_FILE}: missing or damaged ({error}); train the model anew"
        ) from error
    model, popularity = weights.load(directory, lambda *_: build(fields))
    device = device_of(config.training)
    return scorer_of(model.to(device).eval(), FieldEncoder(fields, data, device), popularity)


def scorer_of(
    model: TwoSided, encoder: FieldEncoder, popularity: Tensor | None
) -> ListScorer | PairRanker:
    """For lists where there is the items' `popularity` [n_items], else for labels."""
    return (
        PairRanker(model, encoder)
        if popularity is None
        else ListScorer(model, encoder, popularity.numpy())
    )
