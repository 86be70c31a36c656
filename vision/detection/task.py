"""SSD as a task of the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from falconer.pipelines.training.devices import device_of
from falconer.pipelines.training.task import Task
from falconer.vision.detection.annotations import Annotated, Picture
from falconer.vision.detection.batches import DetectionBatch, DetectionBatches, pixels_of
from falconer.vision.detection.config import SsdConfig
from falconer.vision.detection.detector import Detector
from falconer.vision.detection.judging.average_precision import AveragePrecision, Truth
from falconer.vision.detection.loss import ssd_loss
from falconer.vision.detection.matching import match
from falconer.vision.detection.network import Ssd


class SsdTask(Task[DetectionBatch]):
    """Trains a network on annotated pictures and validates it on others by average precision.

    `plain` leaves the pictures as they are, without augmentation.
    """

    def __init__(
        self,
        network: Ssd,
        config: SsdConfig,
        train: Annotated,
        valid: Annotated | None,
        *,
        plain: bool = False,
    ) -> None:
        device = device_of(config.training)
        self.model = network.to(device)
        self._network, self._config, self._valid = network, config, valid
        self._batches = DetectionBatches(
            train.pictures, config, augment=None if plain else config.augment, device=device
        )

    @property
    def batches(self) -> DetectionBatches:
        """Augmented pictures with their boxes."""
        return self._batches

    def loss(self, batch: DetectionBatch) -> Tensor:
        """Placing and naming of the default boxes that answer for the true ones."""
        offsets, logits = self._network(batch.pictures)
        defaults = self._network.defaults
        matched = [
            match(boxes, labels, defaults)
            for boxes, labels in zip(batch.boxes, batch.labels, strict=True)
        ]
        return ssd_loss(
            offsets,
            logits,
            torch.stack([one.boxes for one in matched]),
            torch.stack([one.labels for one in matched]),
            defaults,
        )

    def size(self, batch: DetectionBatch) -> int:
        """Pictures in the batch."""
        return len(batch)

    def validate(self) -> Mapping[str, float]:
        """`map`, `map@.5` and the other metrics on the validation pictures; none without them."""
        if self._valid is None:
            return {}
        judged = judge(self._network, self._config, self._valid).metrics()
        return {name: value for name, value in judged.items() if value == value}

    def parameter_groups(self) -> Sequence[dict[str, Any]]:
        """Weights of convolutions decay; biases and normalisation do not."""
        decaying: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                (decaying if parameter.ndim > 1 else others).append(parameter)
        return [{"params": decaying}, {"params": others, "weight_decay": 0.0}]


def judge(network: Ssd, config: SsdConfig, data: Annotated) -> AveragePrecision:
    """The average precision of a network's detections in annotated pictures."""
    founds = list(Detector(network, config).detect(pixels_of(one.path) for one in data.pictures))
    return AveragePrecision([truth_of(one) for one in data.pictures], founds, data.classes)


def truth_of(picture: Picture) -> Truth:
    """What is judged against."""
    return Truth(picture.boxes, picture.labels, picture.areas, picture.crowd)
