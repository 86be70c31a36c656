"""A detector in its graph form: pixels to boxes and scores, before suppression."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from falconer.pipelines.errors import DataError
from falconer.vision.detection.batches import pixels_of
from falconer.vision.detection.data import DetectionData
from falconer.vision.detection.detector import Detector, decoded
from falconer.vision.detection.saved import DetectorCard
from falconer.vision.exporting.picture_graph import (
    Answers,
    PictureGraph,
    Pixels,
    Scaled,
    some_rows,
    with_edge_cases,
)

OUTPUTS = ("boxes", "scores")
SPLITS = ("test", "val", "train")


class DetectorGraph(nn.Module):
    """uint8[N, size, size, 3] -> boxes float32[N, D, 4], corners as shares of the sides, and scores
    float32[N, D, n_classes]."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.scaled = Scaled(detector.config.mean, detector.config.std)
        self.network = detector.network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """As the class says."""
        return decoded(self.network, self.scaled(pixels))


def detector_graph(
    detector: Detector, card: DetectorCard, data: DetectionData, *, n: int, seed: int
) -> PictureGraph:
    """The graph, with `n` of the data's pictures to compare it on."""
    config = detector.config
    facts = {
        "task": "boxes",
        "classes": card.classes,
        "threshold": card.threshold,
        "size": config.size,
        "channels": 3,
        "lowest_score": config.lowest_score,
        "overlap": config.overlap,
        "most_a_class": config.most_a_class,
        "most": config.most,
        "outputs": list(OUTPUTS),
    }
    return PictureGraph(
        DetectorGraph(detector),
        OUTPUTS,
        lambda pixels: _answers(detector, pixels),
        with_edge_cases(_squares(detector, data, n, seed)),
        facts,
    )


def _answers(detector: Detector, squares: Pixels) -> Answers:
    """Before suppression, as `detect` has them."""
    return tuple(one.cpu().numpy().astype(np.float32) for one in detector.candidates(squares))


def _squares(detector: Detector, data: DetectionData, n: int, seed: int) -> list[Pixels]:
    for split in SPLITS:
        pictures = data.parts[split].pictures if split in data.parts else ()
        if pictures:
            rows = some_rows(len(pictures), wanted=n, seed=seed)
            return [detector.square(pixels_of(pictures[row].path)) for row in rows]
    raise DataError(f"{data.root}: has no pictures to compare the graph on; say --data")
