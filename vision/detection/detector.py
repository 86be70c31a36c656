"""A trained SSD: pictures in, named boxes in pixels of the picture out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from falconer.vision.detection.augment import Sample, normalised, resized
from falconer.vision.detection.boxes import decode
from falconer.vision.detection.config import SsdConfig
from falconer.vision.detection.judging.average_precision import Found
from falconer.vision.detection.network import Ssd
from falconer.vision.detection.suppression import detections_of

PICTURES_AT_ONCE = 8
NO_BOXES = np.zeros((0, 4))
NO_LABELS = np.zeros(0, np.int64)


class Detector:
    """Finds the boxes of a network's classes in pictures of any size."""

    def __init__(self, network: Ssd, config: SsdConfig) -> None:
        self._network, self._config = network, config

    def detect(self, pictures: Iterable[NDArray[np.uint8]]) -> Iterator[Found]:
        """Of each uint8[height, width, 3]: corners in its own pixels, labels 0, 1, ... and scores,
        the surest first."""
        block: list[NDArray[np.uint8]] = []
        for pixels in pictures:
            block.append(pixels)
            if len(block) == PICTURES_AT_ONCE:
                yield from self._block(block)
                block = []
        yield from self._block(block)

    @torch.inference_mode()
    def _block(self, block: Sequence[NDArray[np.uint8]]) -> Iterator[Found]:
        if not block:
            return
        network, config = self._network, self._config
        training = network.training
        network.eval()
        inputs = np.stack([self._input(pixels) for pixels in block])
        offsets, logits = network(torch.from_numpy(inputs).to(network.defaults.device))
        network.train(training)
        scores = logits.float().softmax(-1)[..., 1:]
        boxes = decode(offsets.float(), network.defaults).clamp(0, 1)
        for pixels, own, sure in zip(block, boxes, scores, strict=True):
            found = detections_of(
                own,
                sure,
                lowest=config.lowest_score,
                overlap=config.overlap,
                most_a_class=config.most_a_class,
                most=config.most,
            )
            scale = np.array([pixels.shape[1], pixels.shape[0]] * 2, np.float64)
            yield Found(
                found.boxes.double().cpu().numpy() * scale,
                found.labels.cpu().numpy(),
                found.scores.double().cpu().numpy(),
            )

    def _input(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        config = self._config
        square = resized(Sample(pixels, NO_BOXES, NO_LABELS), config.size)
        return normalised(square.pixels, config.mean, config.std)
