"""Fitting NCF for lists: the whole network, or its halves first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

import numpy as np
from torch import Tensor

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.runs import Run
from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.task import Fit, Task
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.events import TrainEvents, event_batches, item_counts
from falconer.recsys.backends.torch.in_batch import (
    InBatch,
)
from falconer.recsys.backends.torch.negatives import WithNegatives, negative_batches
from falconer.recsys.judging.lists.validation import Validation, selected
from falconer.recsys.models.ncf.config import NcfConfig, NcfTraining
from falconer.recsys.models.ncf.on_torch.network import Ncf
from falconer.recsys.models.ncf.on_torch.scorer import NcfScorer
from falconer.recsys.models.ncf.on_torch.tasks import NcfTask, SoftmaxTask

BY_ID = ("gmf.user.weight", "gmf.item.weight", "mlp.user.weight", "mlp.item.weight")
"""The tensors with a row for each user or item."""


def train_lists(config: NcfConfig, data: Dataset, run: Run, *, fit: Fit) -> NcfScorer:
    """As `train` of `falconer.recsys.models.ncf.on_torch.training`, with lists as the task."""
    work = _Training(config, data, run, fit)
    start = None
    if config.pretraining is not None:
        gmf, mlp = (work.half(variant, config.pretraining) for variant in ("gmf", "mlp"))
        start = fused(gmf, mlp, config.pretraining_share)
    return NcfScorer(
        work.fitted(config, config.training, start=start), work.popularity, data.n_items
    )


class _Training:
    """What the fits of one run share."""

    def __init__(self, config: NcfConfig, data: Dataset, run: Run, fit: Fit) -> None:
        self._config, self._run, self._fit = config, run, fit
        self._device = device_of(config.training)
        self._shape = (data.n_users, data.n_items)
        self._events = TrainEvents(data)
        self._counts = item_counts(self._events, data.n_items)
        self.popularity = self._counts.astype(np.float32)
        self._validation = Validation(
            data,
            n_queries=config.valid_queries,
            seed=config.seed,
            n_candidates=config.valid_candidates,
        )

    def half(self, variant: str, training: NcfTraining) -> Ncf:
        """GMF or MLP alone."""
        return self.fitted(
            self._config.model_copy(update={"variant": variant}), training, name=variant
        )

    def fitted(
        self,
        config: NcfConfig,
        training: NcfTraining,
        *,
        name: str = "",
        start: Mapping[str, Tensor] | None = None,
    ) -> Ncf:
        """A model with its best weights. Without queries to validate on, these are the last
        ones."""
        model = weights.seeded(lambda: Ncf(*self._shape, config), config.seed)
        weights.start(model, self._run, BY_ID)
        if start is not None:
            model.load_state_dict(start)
        task = self._task(config, model.to(self._device))
        knobs = {"seed": config.seed, **selected(training.monitor, self._validation)}
        self._fit(cast(Task[Any], task), training.model_copy(update=knobs), self._run, name=name)
        return model

    def _task(self, config: NcfConfig, model: Ncf) -> NcfTask | SoftmaxTask:
        if config.loss == "in_batch":
            shared = InBatch(event_batches(config, self._events, device=self._device))
            return SoftmaxTask(model, shared, self._validation, self.popularity, l2=config.l2)
        return NcfTask(
            model,
            self._with_negatives,
            self._validation,
            self.popularity,
            l2=config.l2,
            smoothing=config.label_smoothing,
        )

    @cached_property
    def _with_negatives(self) -> WithNegatives:
        return negative_batches(
            self._config, self._events, self._counts, n_users=self._shape[0], device=self._device
        )


def fused(gmf: Ncf, mlp: Ncf, share: float) -> dict[str, Tensor]:
    """The weights of a NeuMF from its trained halves: h = [share h_GMF; (1 - share) h_MLP]
    (equation 13)."""
    scale = {"gmf.out": share, "mlp.out": 1 - share}
    both = {**gmf.state_dict(), **mlp.state_dict()}
    weights = {name: scale.get(name, 1.0) * value for name, value in both.items()}
    return weights | {"bias": share * gmf.bias.detach() + (1 - share) * mlp.bias.detach()}
