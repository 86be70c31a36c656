"""Image classification, or tags, as a task of the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.task import Task
from falconer.vision.config import VisionConfig
from falconer.vision.data.batches import PictureBatch, PictureBatches, judged_pictures
from falconer.vision.data.prepared import Prepared
from falconer.vision.judging.metrics import quick_metrics
from falconer.vision.networks.classifier import Classifier


def loss_of(logits: Tensor, targets: Tensor, *, tags: bool, smoothing: float = 0.0) -> Tensor:
    """The mean loss of logits float[B, n_classes] against shares of classes, or against tags
    (binary cross entropy, summed over the tags of a picture)."""
    if tags:
        each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return each.sum(1).mean()
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


class ClassifierTask(Task[PictureBatch]):
    """Trains a network on pictures of the fold `train`, and validates it on those of `valid`.

    Parts of the network that stand before `first_part` keep their weights, and their normalisation
    keeps its statistics; all normalisation does with `keep_statistics`.
    """

    def __init__(
        self,
        network: Classifier,
        config: VisionConfig,
        prepared: Prepared,
        *,
        train: NDArray[np.int64],
        valid: NDArray[np.int64],
        first_part: str | None = None,
    ) -> None:
        device = device_of(config.training)
        self.model = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network, self._config, self._prepared = network, config, prepared
        self._valid, self._device = valid, device
        self._batches = PictureBatches(prepared, train, config, device=device)
        self._in_evaluation = freeze_before(network, first_part)
        if config.training.keep_statistics:
            norms = (one for one in network.modules() if isinstance(one, nn.BatchNorm2d))
            self._in_evaluation.extend(norms)

    @property
    def batches(self) -> PictureBatches:
        """Changed and mixed pictures."""
        return self._batches

    def loss(self, batch: PictureBatch) -> Tensor:
        """Cross entropy, or binary cross entropy of tags."""
        for part in self._in_evaluation:
            part.eval()
        return loss_of(
            self._network(batch.pictures),
            batch.targets,
            tags=self._prepared.card.task == "tags",
            smoothing=self._config.training.label_smoothing,
        )

    def size(self, batch: PictureBatch) -> int:
        """Pictures in the batch."""
        return len(batch)

    def validate(self) -> Mapping[str, float]:
        """`top1`, `top5` and `log_loss` of classes, `map` and `log_loss` of tags."""
        if not len(self._valid):
            return {}
        logits = logits_of(self._network, self._prepared, self._valid, self._config)
        return quick_metrics(logits, self._prepared.labels[self._valid])

    def parameter_groups(self) -> Sequence[dict[str, Any]]:
        """Groups by part of the network and by whether their weights decay."""
        return grouped_parameters(self._network, self._config)


def freeze_before(network: Classifier, first_part: str | None) -> list[nn.Module]:
    """Let the parts from `first_part` on be trained, and no others; returns the frozen ones."""
    names = list(network.parts())
    first = names.index(first_part) if first_part is not None else 0
    frozen = []
    for place, part in enumerate(network.parts().values()):
        part.requires_grad_(requires_grad=place >= first)
        if place < first:
            frozen.append(part)
    return frozen


def grouped_parameters(network: Classifier, config: VisionConfig) -> list[dict[str, Any]]:
    """Torch's parameter groups. The head has the full learning rate, each part before it
    `rate_decay` times that of the part after it (Howard and Ruder 2018, section 3.2); biases and
    normalisation have no weight decay, unless `decay_all`."""
    training = config.training
    groups = []
    parts = list(network.parts().values())
    for place, part in enumerate(parts):
        rate = training.learning_rate * training.rate_decay ** (len(parts) - 1 - place)
        own = [p for p in part.parameters() if p.requires_grad]
        decays = [p for p in own if p.ndim > 1 or training.decay_all]
        others = [p for p in own if not (p.ndim > 1 or training.decay_all)]
        if decays:
            groups.append({"params": decays, "lr": rate})
        if others:
            groups.append({"params": others, "lr": rate, "weight_decay": 0.0})
    return groups


@torch.no_grad()
def logits_of(
    network: Classifier, prepared: Prepared, rows: NDArray[np.int64], config: VisionConfig
) -> NDArray[np.float32]:
    """float32[n, n_classes]: the network's logits of the pictures `rows`, in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    blocks = judged_pictures(prepared, rows, config.pictures, device=device)
    found = [network(pictures).float().cpu().numpy() for pictures in blocks]
    return np.concatenate(found) if found else np.zeros((0, len(prepared.card.classes)), np.float32)
