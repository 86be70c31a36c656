"""Training of two-sided networks: on train events with drawn negatives, or with the labels of a
dataset of labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.task import Batches, Fit, Task
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.events import EventBatches, TrainEvents, item_counts
from falconer.recsys.backends.torch.negatives import negative_batches
from falconer.recsys.backends.torch.pairs.batches import (
    FieldBatch,
    LabelledBatches,
    LabelledEvents,
    NegativeBatches,
)
from falconer.recsys.backends.torch.pairs.inputs import FieldEncoder, Fields
from falconer.recsys.backends.torch.pairs.network import TwoSided, loss_of
from falconer.recsys.backends.torch.pairs.scorers import Build, ListScorer, PairRanker, scorer_of
from falconer.recsys.configs.pairs import PairsConfig
from falconer.recsys.judging.lists.validation import LabelValidation, Validation, selected

BYTES_HELD = 2**30
"""Labelled events are held and shuffled together up to so many bytes."""

Scorer = ListScorer | PairRanker


class FieldTask(Task[FieldBatch]):
    """What the training loop needs."""

    model: TwoSided

    def __init__(
        self,
        model: TwoSided,
        batches: Batches[FieldBatch],
        encoder: FieldEncoder,
        validate: Callable[[], Mapping[str, float]],
        *,
        smoothing: float = 0.0,
    ) -> None:
        self.model, self._batches, self.encoder, self._validate = model, batches, encoder, validate
        self._smoothing = smoothing

    @property
    def batches(self) -> Batches[FieldBatch]:
        """Train events, with their negatives or their labels."""
        return self._batches

    def loss(self, batch: FieldBatch) -> Tensor:
        """The mean of `loss_of` over all pairs."""
        scores = self.model(batch.query, self.encoder.items, batch.items)
        return loss_of(scores, batch.labels, self.model.fields.target, smoothing=self._smoothing)

    def size(self, batch: FieldBatch) -> int:
        """Pairs of a query and an item."""
        return batch.labels.numel()

    def validate(self) -> Mapping[str, float]:
        """Metrics on the validation fold."""
        return self._validate()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network's own."""
        return self.model.parameter_groups()


def fitted(
    build: Build,
    fields: Fields,
    config: PairsConfig,
    data: Dataset,
    run: Run,
    *,
    fit: Fit = fit,
) -> Scorer:
    """The scorer of a network with its best weights; without a validation fold, these are the last
    ones.

    `build` makes the network from its inputs. Raises `DataError` where there are too few events,
    and what `fit` raises.
    """
    device = device_of(config.training)
    encoder = FieldEncoder(fields, data, device)
    material = material_of(config, data, encoder)
    network = initial(build, fields, config.seed)
    network.start_at(material.start)
    scorer = scorer_of(network.to(device), encoder, material.popularity)
    validation, validate = _validation(scorer, config, data)
    knobs = {"seed": config.seed, **selected(config.training.monitor, validation)}
    task = FieldTask(network, material.batches, encoder, validate, smoothing=config.label_smoothing)
    fit(task, config.training.model_copy(update=knobs), run)
    return scorer


def _validation(
    scorer: Scorer, config: PairsConfig, data: Dataset
) -> tuple[Validation | LabelValidation, Callable[[], Mapping[str, float]]]:
    if isinstance(scorer, PairRanker):
        labels = LabelValidation(data)
        return labels, lambda: labels(scorer)
    lists = Validation(data, n_queries=config.valid_queries, seed=config.seed)
    return lists, lambda: lists(scorer)


def initial(build: Build, fields: Fields, seed: int) -> TwoSided:
    """A network with random weights that follow from `seed`; empty ones, of a side without inputs,
    are not trained."""
    network = weights.seeded(lambda: build(fields), seed)
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.numel() > 0)
    return network


@dataclass(frozen=True)
class Material:
    """What a network is fitted on; `start` is the score of the labels' mean, `popularity` [n_items]
    is for lists."""

    batches: Batches[FieldBatch]
    start: float
    popularity: Tensor | None


def material_of(config: PairsConfig, data: Dataset, encoder: FieldEncoder) -> Material:
    """The train events of a dataset, with drawn negatives or their labels, on the encoder's
    device."""
    return (
        _lists(config, data, encoder)
        if data.card.task == "top_n"
        else _labels(config, data, encoder)
    )


def _lists(config: PairsConfig, data: Dataset, encoder: FieldEncoder) -> Material:
    events = TrainEvents(data)
    counts = item_counts(events, data.n_items)
    negatives = negative_batches(
        config, events, counts, n_users=data.n_users, device=encoder.device
    )
    popularity = torch.tensor(counts.astype(np.float32))
    return Material(
        NegativeBatches(negatives, encoder), _logit(1 / (1 + config.n_negatives)), popularity
    )


def _labels(config: PairsConfig, data: Dataset, encoder: FieldEncoder) -> Material:
    events = LabelledEvents(data, encoder)
    held = min(
        config.shuffle_rows, BYTES_HELD // (4 * (len(encoder.fields.of("context").names) + 3))
    )
    batches = EventBatches(
        events,
        batch_size=config.batch_size,
        seed=config.seed,
        device=encoder.device,
        shuffle_rows=held,
    )
    mean = label_mean(data)
    start = mean if encoder.fields.target == "rating" else _logit(mean)
    return Material(LabelledBatches(batches, encoder), start, None)


def label_mean(data: Dataset) -> float:
    """Of the train events."""
    events = TrainEvents(data, ("label",))
    return float(
        sum(label.sum(dtype=np.float64) for (label,) in events.blocks()) / max(1, events.n_rows)
    )


def _logit(share: float) -> float:
    """The score whose sigmoid is `share`, kept away from infinity where all labels are alike."""
    inside = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(inside / (1 - inside))
