"""A trained SSD: pictures in, named boxes in pixels of the picture out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from falconer.vision.data.decode import Pixels
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
        self.network, self.config = network, config

    def detect(self, pictures: Iterable[Pixels]) -> Iterator[Found]:
        """Of each uint8[height, width, 3]: corners in its own pixels, labels 0, 1, ... and scores,
        the surest first."""
        block: list[Pixels] = []
        for pixels in pictures:
            block.append(pixels)
            if len(block) == PICTURES_AT_ONCE:
                yield from self._block(block)
                block = []
        yield from self._block(block)

    def _block(self, block: Sequence[Pixels]) -> Iterator[Found]:
        if not block:
            return
        config = self.config
        boxes, scores = self.candidates(np.stack([self.square(pixels) for pixels in block]))
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

    @torch.inference_mode()
    def candidates(self, squares: Pixels) -> tuple[Tensor, Tensor]:
        """Of uint8[B, size, size, 3]: what `decoded` gives, on the network's device."""
        network, config = self.network, self.config
        training = network.training
        network.eval()
        inputs = np.stack([normalised(one, config.mean, config.std) for one in squares])
        found = decoded(network, torch.from_numpy(inputs).to(network.defaults.device))
        network.train(training)
        return found

    def square(self, pixels: Pixels) -> Pixels:
        """uint8[size, size, 3]: the picture as the network sees it."""
        return resized(Sample(pixels, NO_BOXES, NO_LABELS), self.config.size).pixels


def decoded(network: Ssd, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Of pictures as the network takes them: boxes float32[B, D, 4], corners as shares of the
    sides, and the scores of the classes float32[B, D, n_classes], without the background's."""
    offsets, logits = network(pictures)
    scores = logits.float().softmax(-1)[..., 1:]
    return decode(offsets.float(), network.defaults).clamp(0, 1), scores
