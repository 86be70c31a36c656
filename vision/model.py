"""A trained classifier as a directory: with its classes and how pictures become its input, so that
predicting needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from falconer.pipelines.config import parse
from falconer.pipelines.models import saved
from falconer.pipelines.models.saved import Card
from falconer.pipelines.training.weights import copy_into, tensors_of
from falconer.vision.config import VisionConfig
from falconer.vision.data.source import Task
from falconer.vision.judging.metrics import log_softmax, sigmoid
from falconer.vision.networks.classifier import Classifier
from falconer.vision.networks.registry import build
from falconer.vision.networks.weights import read_weights, save_weights

BACKEND = "torch"
WEIGHTS = "weights.safetensors"


class ClassifierCard(Card):
    """The content of `model.json`."""

    task: Task
    classes: tuple[str, ...]
    dataset_id: str
    temperature: float = 1.0
    """Logits are divided by it before they become probabilities; fitted on the validation fold."""
    thresholds: tuple[float, ...] = ()
    """Of each tag: the probability from which on it is given; chosen on the validation fold."""


class ImageClassifier:
    """A network with its card; see `ClassifierCard`."""

    def __init__(self, network: Classifier, card: ClassifierCard, config: VisionConfig) -> None:
        self.network, self.card, self.config = network.eval(), card, config

    def save(self, directory: Path) -> None:
        """Write the weights into an existing directory."""
        network = self.config.network
        about = {"architecture": f"{network.name}-{network.version or 'v1.5'}"}
        if network.batch_norm_eps:
            about["bn_eps"] = repr(network.batch_norm_eps)
        save_weights(self.network, directory / WEIGHTS, about)

    @torch.no_grad()
    def answers(self, pictures: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits float32[B, n_classes], before the temperature, and features float32[B, F] of
        pictures that are ready for the network."""
        features = self.network.features(pictures)
        logits = self.network.head(features)
        return logits.float().cpu().numpy(), features.float().cpu().numpy()

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64[B, n_classes] of logits before the temperature: of classes they sum to one, of
        tags each stands on its own."""
        if self.card.task == "tags":
            return sigmoid(logits)
        found: NDArray[np.float64] = np.exp(log_softmax(logits / self.card.temperature))
        return found


def save_classifier(target: Path, classifier: ImageClassifier) -> None:
    """Write a model directory; atomic."""
    saved.save(target, classifier, classifier.card)


def card_of(
    config: VisionConfig, *, task: Task, classes: tuple[str, ...], dataset_id: str, **more: Any
) -> ClassifierCard:
    """The card of a network that was trained with `config`."""
    return ClassifierCard(
        name=config.network.name,
        backend=BACKEND,
        config=config.model_dump(mode="json"),
        task=task,
        classes=classes,
        dataset_id=dataset_id,
        **more,
    )


def load_classifier(directory: Path) -> ImageClassifier:
    """Load what `save_classifier` wrote; `ArtifactError` where it is absent or damaged."""
    card = saved.read_card(directory, ClassifierCard)
    saved.verify(directory, card)
    config = parse(VisionConfig, card.config, str(directory / saved.CARD))
    network = build(config.network, n_classes=len(card.classes), channels=config.pictures.channels)
    path = directory / WEIGHTS
    copy_into(tensors_of(network), read_weights(path).tensors, str(path))
    return ImageClassifier(network, card, config)
