"""What a trained NCF answers: lists and pairs of users that it knows, popularity for the others."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from falconer.pipelines.data.queries import Queries
from falconer.recsys.backends.numpy.arrays import known_items
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.graphs import Form, Graph
from falconer.recsys.backends.torch.scoring import catalogue_scores
from falconer.recsys.contracts import Pairs
from falconer.recsys.models.ncf.on_torch.network import Ncf

PAIRS_AT_ONCE = 2**16


class NcfScorer:
    """Scores known users by the model; everybody else by the items' popularity in train."""

    def __init__(self, model: Ncf, popularity: NDArray[np.float32], n_items: int) -> None:
        self._model, self._popularity = model, popularity
        self._device = model.bias.device
        self.items_known = known_items(model.n_items, n_items)

    def knows(self, queries: Queries) -> NDArray[np.bool_]:
        """bool[Q]: whether the user was in train; others get the items by popularity."""
        return (queries.user >= 0) & (queries.user < self._model.n_users)

    @torch.inference_mode()
    def score(self, queries: Queries) -> NDArray[np.float32]:
        """float32[Q, n_items]: before the sigmoid; the items' train events for a user that is not
        known."""
        sides = [half.item_side() for half in self._model.halves]
        popularity = torch.tensor(self._popularity, device=self._device)
        users = torch.tensor(queries.user, device=self._device).long()
        known = self.knows(queries)

        def score_one(query: int, items: slice) -> Tensor:
            if not known[query]:
                return popularity[items]
            user = users[query : query + 1]
            parts = zip(self._model.halves, sides, strict=True)
            return sum(
                (half.of_catalogue(user, side[items]) for half, side in parts), self._model.bias
            )

        return catalogue_scores(
            score_one,
            n_queries=len(queries),
            n_known=self._model.n_items,
            n_items=len(self.items_known),
            device=self._device,
        )

    @torch.inference_mode()
    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        """float32[P]: as `score`, for the given pairs only; -inf for an item that came after
        training."""
        user, item = (
            pairs.queries.user[pairs.query],
            np.minimum(pairs.item, self._model.n_items - 1),
        )
        known = self.knows(pairs.queries)[pairs.query]
        scores: NDArray[np.float32] = self._popularity[item]
        scores[known] = self._of_pairs(user[known], item[known])
        scores[pairs.item >= self._model.n_items] = -np.inf
        return scores

    def _of_pairs(self, user: NDArray[np.int32], item: NDArray[np.int32]) -> NDArray[np.float32]:
        users, items = (torch.tensor(ids, device=self._device) for ids in (user, item))
        blocks = [
            slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(users), PAIRS_AT_ONCE)
        ]
        parts = [self._model(users[block], items[block, None])[:, 0] for block in blocks]
        scores: NDArray[np.float32] = (
            torch.cat([torch.empty(0, device=self._device), *parts]).cpu().numpy()
        )
        return scores

    def graphs(self) -> dict[Form, Graph]:
        """Scores of the catalogue by user, and of pairs of user and item."""
        module = NcfGraph(self._model, self._popularity)
        return {"catalogue": Graph(module, ("user",)), "pairs": Graph(module, ("user", "item"))}

    def save(self, directory: Path) -> None:
        """Write `model.safetensors`: the weights and the items' popularity."""
        weights.save(directory, self._model, popularity=torch.tensor(self._popularity))


class NcfGraph(nn.Module):
    """What `NcfScorer` answers, as a module of arrays."""

    popularity: Tensor

    def __init__(self, model: Ncf, popularity: NDArray[np.float32]) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()
        self.register_buffer("popularity", torch.tensor(popularity))

    def forward(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Users [N] and items [N] -> [N]; without items -> [N, n_items]."""
        catalogue = torch.arange(self.model.n_items)[None]
        asked = catalogue if items is None else items[:, None]  # [N or 1, K]
        known = (users >= 0) & (users < self.model.n_users)
        scores = self.model(torch.where(known, users, 0), asked)
        answers = torch.where(known[:, None], scores, self.popularity[asked])
        return answers if items is None else answers[:, 0]
