"""Training and loading of the sequence models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.task import Fit, Task
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.events import TrainEvents, item_counts
from falconer.recsys.backends.torch.losses import full_softmax, gbce, sampled_softmax
from falconer.recsys.backends.torch.negatives import NegativeSampler, SeenItems
from falconer.recsys.backends.torch.sequences.batches import (
    Ask,
    Negatives,
    RowBatches,
    SequenceBatch,
    SequenceBatches,
    cut,
    user_sequences,
)
from falconer.recsys.backends.torch.sequences.scorer import SequenceModel, SequenceScorer
from falconer.recsys.configs.sequences import SequenceConfig
from falconer.recsys.judging.lists.validation import Validation

ITEMS = "encoder.items.weight"
BY_ITEM = (ITEMS, "bias")
"""The tensors with a row for each item."""
Loss = Callable[[Tensor, Tensor, SequenceBatch, Tensor | None], Tensor]
"""hidden [T, d], items' vectors [n, d], the batch, items' bias [n] -> the mean over the T
places."""


def loss_of(config: SequenceConfig, counts: NDArray[np.int64], device: torch.device) -> Loss:
    """The loss that the configuration names; `counts` int64[n_items] are the items' train
    events."""
    if config.loss == "softmax":
        return lambda hidden, items, batch, bias: full_softmax(hidden, items, batch.answers, bias)
    if config.loss == "sampled_softmax":
        weights = counts.astype(np.float64) ** config.negative_alpha
        with np.errstate(divide="ignore"):
            log_chance = torch.tensor(
                np.log(weights / weights.sum()), dtype=torch.float32, device=device
            )
        return lambda hidden, items, batch, bias: sampled_softmax(
            hidden, items, batch.answers, _drawn(batch), log_chance, bias
        )
    calibration = config.calibration if config.loss == "gbce" else 0.0
    return lambda hidden, items, batch, bias: gbce(
        hidden, items, batch.answers, _drawn(batch), calibration=calibration, bias=bias
    )


def _drawn(batch: SequenceBatch) -> Tensor:
    assert batch.negatives is not None
    return batch.negatives


class SequenceTask(Task[SequenceBatch]):
    """What the training loop needs."""

    model: SequenceModel

    def __init__(
        self,
        model: SequenceModel,
        batches: SequenceBatches,
        loss: Loss,
        validation: Validation,
        popularity: NDArray[np.float32],
    ) -> None:
        self.model, self._batches, self._loss = model, batches, loss
        self._validation, self.popularity = validation, popularity

    @property
    def batches(self) -> SequenceBatches:
        """Rows of users' sequences, with the places where the model is asked."""
        return self._batches

    def loss(self, batch: SequenceBatch) -> Tensor:
        """The mean over the places; nothing is computed for others that no place needs."""
        hidden = self.model(batch.items, batch.lengths, batch.places)
        return self._loss(hidden, self.model.item_vectors(), batch, self.model.item_bias)

    def size(self, batch: SequenceBatch) -> int:
        """Places where the model is asked."""
        return len(batch.places)

    def validate(self) -> Mapping[str, float]:
        """Hit rate and NDCG on the validation fold."""
        return self._validation(SequenceScorer(self.model, self.popularity, self.model.n_items))


def train_sequences(
    make: Callable[[int], SequenceModel],
    ask: Ask,
    *,
    config: SequenceConfig,
    data: Dataset,
    run: Run,
    fit: Fit = fit,
) -> SequenceScorer:
    """Fit `make(n_items)` to answer what `ask` asks; the epoch is chosen on the validation fold.

    Without queries to validate on, the last weights count. Raises `DataError` where the dataset has
    no times though the order is to be theirs, or where there is too little to train on, and what
    `fit` raises.
    """
    if config.order == "time" and not data.card.has_time:
        raise DataError(
            f"{data.path}: the dataset has no times, and this model needs the order of events; "
            "where the source is "
            'written in order, set model.order = "source", otherwise name the column of times in '
            "the ETL recipe"
        )
    model = weights.seeded(lambda: make(data.n_items), config.seed)
    weights.start(model, run, BY_ITEM, token=ITEMS if model.mask is not None else "")
    model.to(device_of(config.training))
    counts = item_counts(TrainEvents(data), data.n_items)
    validation = Validation(data, n_queries=config.valid_queries, seed=config.seed)
    task = task_of(model, ask, counts, config=config, data=data, validation=validation)
    knobs = {"seed": config.seed} | (
        {} if validation.n_queries else {"monitor": None, "patience": None}
    )
    fit(task, config.training.model_copy(update=knobs), run)
    return SequenceScorer(model, counts.astype(np.float32), data.n_items)


def task_of(
    model: SequenceModel,
    ask: Ask,
    counts: NDArray[np.int64],
    *,
    config: SequenceConfig,
    data: Dataset,
    validation: Validation,
) -> SequenceTask:
    """The model with its batches, its loss and its validation; `counts` int64[n_items] are the
    items' train events."""
    device = device_of(config.training)
    overlap = int(
        model.mask is None
    )  # without a mask the first item of a row is only asked from, never for
    sequences = user_sequences(TrainEvents(data), data.n_users)
    rows = cut(
        sequences,
        size=config.max_length + overlap,
        overlap=overlap,
        whole=config.history == "whole",
    )
    batches = SequenceBatches(
        RowBatches(
            rows,
            batch_size=config.batch_size,
            seed=config.seed,
            device=device,
            sort_by_length=config.sort_by_length,
        ),
        ask,
        seed=config.seed,
        negatives=_negatives(config, counts, data, device),
    )
    return SequenceTask(
        model, batches, loss_of(config, counts, device), validation, counts.astype(np.float32)
    )


def _negatives(
    config: SequenceConfig, counts: NDArray[np.int64], data: Dataset, device: torch.device
) -> Negatives | None:
    if config.loss == "softmax":
        return None
    alpha = config.negative_alpha
    if config.loss != "bce":
        return Negatives(
            NegativeSampler(counts, alpha=alpha, seen=None, device=device), config.n_negatives
        )
    seen = SeenItems(TrainEvents(data), n_users=data.n_users, n_items=data.n_items, device=device)
    return Negatives(NegativeSampler(counts, alpha=alpha, seen=seen, device=device), None)


def load_sequences(
    make: Callable[[int], SequenceModel], *, directory: Path, config: SequenceConfig, data: Dataset
) -> SequenceScorer:
    """Read `model.safetensors` into `make(n_items)`; `ArtifactError` where it is missing or
    damaged."""
    model, popularity = weights.load_for_lists(directory, lambda _, n_items: make(n_items))
    model = model.to(device_of(config.training)).eval()
    return SequenceScorer(model, popularity.numpy(), data.n_items)
