"""A classifier in its graph form: pixels to probabilities."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from falconer.pipelines.errors import ArtifactError
from falconer.vision.data.batches import input_of
from falconer.vision.data.prepared import Prepared, middle
from falconer.vision.data.source import Fold
from falconer.vision.exporting.picture_graph import (
    Answers,
    PictureGraph,
    Pixels,
    Scaled,
    some_rows,
    with_edge_cases,
)
from falconer.vision.model import ImageClassifier

OUTPUT = "probabilities"
FOLDS: tuple[Fold, ...] = ("test", "valid", "train")


class ClassifierGraph(nn.Module):
    """uint8[N, size, size, channels] -> probabilities float32[N, n_classes], after the temperature;
    of tags, each on its own."""

    def __init__(self, classifier: ImageClassifier) -> None:
        super().__init__()
        pictures, card = classifier.config.pictures, classifier.card
        self.scaled = Scaled(pictures.mean, pictures.std)
        self.network = classifier.network
        self.tags, self.temperature = card.task == "tags", card.temperature

    def forward(self, pixels: Tensor) -> Tensor:
        """As the class says."""
        logits: Tensor = self.network(self.scaled(pixels))
        return logits.sigmoid() if self.tags else (logits / self.temperature).softmax(1)


def classifier_graph(
    classifier: ImageClassifier, prepared: Prepared, *, n: int, seed: int
) -> PictureGraph:
    """The graph, with `n` of the prepared pictures to compare it on."""
    pictures, card = classifier.config.pictures, classifier.card
    rows = _rows(prepared)
    chosen = rows[some_rows(len(rows), wanted=n, seed=seed)]
    facts = {
        "task": card.task,
        "classes": card.classes,
        "thresholds": card.thresholds,
        "size": pictures.test_size or pictures.size,
        "share": pictures.share,
        "channels": pictures.channels,
        "outputs": [OUTPUT],
    }
    return PictureGraph(
        ClassifierGraph(classifier),
        (OUTPUT,),
        lambda pixels: _answers(classifier, pixels),
        with_edge_cases([middle(prepared.pixels(int(row)), pictures) for row in chosen]),
        facts,
    )


def _answers(classifier: ImageClassifier, pixels: Pixels) -> Answers:
    """As `predict` answers."""
    pictures = input_of(list(pixels), classifier.config.pictures, torch.device("cpu"))
    return (classifier.probabilities(classifier.answers(pictures)[0]),)


def _rows(prepared: Prepared) -> NDArray[np.int64]:
    for fold in FOLDS:
        rows = prepared.rows(fold)
        if len(rows):
            return rows
    raise ArtifactError(f"{prepared.path}: has no pictures to compare the graph on; say --data")
