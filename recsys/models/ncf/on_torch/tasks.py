"""What NCF minimises: cross-entropy against drawn negatives, or the softmax over a batch's
items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from falconer.pipelines.training.task import Task
from falconer.recsys.backends.torch.in_batch import (
    InBatch,
    SharedItems,
    in_batch_softmax,
    log_chances,
    smoothed,
)
from falconer.recsys.backends.torch.negatives import LabelledItems, WithNegatives
from falconer.recsys.judging.lists.validation import Validation
from falconer.recsys.models.ncf.on_torch.network import Ncf
from falconer.recsys.models.ncf.on_torch.scorer import NcfScorer


class NcfTask(Task[LabelledItems]):
    """What the training loop needs."""

    model: Ncf

    def __init__(
        self,
        model: Ncf,
        batches: WithNegatives,
        validation: Validation,
        popularity: NDArray[np.float32],
        *,
        l2: float = 0.0,
        smoothing: float = 0.0,
    ) -> None:
        self.model, self._batches, self._l2, self._smoothing = model, batches, l2, smoothing
        self._validation, self._popularity = validation, popularity

    @property
    def batches(self) -> WithNegatives:
        """Train events, each with its negatives."""
        return self._batches

    def loss(self, batch: LabelledItems) -> Tensor:
        """Equation 7, the mean over all pairs, and the penalty."""
        labels = smoothed(batch.labels, self._smoothing)
        entropy = functional.binary_cross_entropy_with_logits(
            self.model(batch.users, batch.items), labels
        )
        return (
            entropy + self._l2 * self.model.squared_length(batch.users, batch.items)
            if self._l2
            else entropy
        )

    def size(self, batch: LabelledItems) -> int:
        """Pairs of a user and an item."""
        return batch.items.numel()

    def validate(self) -> Mapping[str, float]:
        """Hit rate and NDCG on the validation fold."""
        return self._validation(NcfScorer(self.model, self._popularity, self.model.n_items))


class SoftmaxTask(Task[SharedItems]):
    """GMF with the softmax over the items of the batch."""

    model: Ncf

    def __init__(
        self,
        model: Ncf,
        batches: InBatch,
        validation: Validation,
        popularity: NDArray[np.float32],
        *,
        l2: float = 0.0,
    ) -> None:
        self.model, self._batches, self._l2 = model, batches, l2
        self._validation, self.popularity = validation, popularity
        self._log_chance = log_chances(popularity).to(model.bias.device)

    @property
    def batches(self) -> InBatch:
        """Train events that share their items."""
        return self._batches

    def loss(self, batch: SharedItems) -> Tensor:
        """The softmax, its mean over the events, and the penalty on each event's vectors."""
        scores = self.model.among(batch.users, batch.items)  # [b, B]
        own = batch.items[batch.place, None]
        penalty = self._l2 * self.model.squared_length(batch.users, own) if self._l2 else 0.0
        return in_batch_softmax(scores, batch, self._log_chance) + penalty

    def size(self, batch: SharedItems) -> int:
        """Events."""
        return len(batch.users)

    def validate(self) -> Mapping[str, float]:
        """As of `NcfTask`."""
        return self._validation(NcfScorer(self.model, self.popularity, self.model.n_items))
