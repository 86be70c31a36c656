"""Batches of augmented pictures: a pure function of seed, epoch and place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from falconer.pipelines.errors import DataError
from falconer.pipelines.training.shard import Shard, current_shard
from falconer.vision.data.ahead import made_ahead
from falconer.vision.data.decode import Pixels, UnusableError, read_picture
from falconer.vision.detection.annotations import Picture
from falconer.vision.detection.augment import (
    Sample,
    augmented,
    normalised,
    resized,
)
from falconer.vision.detection.config import AugmentConfig, SsdConfig

KEPT_BYTES = 2**29
"""Of decoded pictures that stay in memory, so that an epoch decodes no small set anew."""


@dataclass(frozen=True)
class DetectionBatch:
    """B pictures, and the boxes of each as corners in shares of the side.

    pictures  float32[B, 3, size, size]
    boxes     float32[n, 4] and labels int64[n] (1, 2, ...) of each picture
    """

    pictures: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.pictures)


class KeptPictures:
    """Decoded pictures by path, up to so many bytes; those that came first stay."""

    def __init__(self, most_bytes: int) -> None:
        self._kept: dict[Path, Pixels] = {}
        self._left, self._lock = most_bytes, Lock()

    def __call__(self, path: Path) -> Pixels:
        """uint8[height, width, 3], turned as its EXIF orientation says; `DataError` for what is no
        picture."""
        kept = self._kept.get(path)
        if kept is not None:
            return kept
        try:
            pixels = read_picture(path)
        except UnusableError as error:
            raise DataError(
                f"{path}: {error}; take it out of the annotations, or mend it"
            ) from error
        with self._lock:
            if path not in self._kept and pixels.nbytes <= self._left:
                self._kept[path], self._left = pixels, self._left - pixels.nbytes
        return pixels


pixels_of = KeptPictures(KEPT_BYTES)


def sample_of(picture: Picture) -> Sample:
    """The picture's pixels with its boxes; crowds are left out, which no single box stands for."""
    single = ~picture.crowd
    return Sample(pixels_of(picture.path), picture.boxes[single], picture.labels[single])


class DetectionBatches:
    """Every epoch's batches in an order of its own; a smaller last batch is left out.

    Where there are fewer pictures than a batch holds, all of them are one batch.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        config: SsdConfig,
        *,
        augment: AugmentConfig | None,
        device: torch.device,
        shard: Shard | None = None,
    ) -> None:
        self._pictures, self._config, self._augment = pictures, config, augment
        self._device, self._shard = device, shard or current_shard()
        self._size = min(config.training.batch_size, len(pictures))

    def __len__(self) -> int:
        return len(self._pictures) // self._size if self._size else 0

    def epoch(self, number: int, *, start: int = 0) -> Iterator[DetectionBatch]:
        """Batches `start`, `start` + 1, ... of an epoch, made ahead by threads."""
        order = np.random.default_rng([self._config.seed, number]).permutation(len(self._pictures))
        made = made_ahead(lambda place: self._batch(order, number, place), start, len(self))
        for samples in made:
            yield self._on_device(samples)

    def _batch(self, order: NDArray[np.int64], epoch: int, place: int) -> list[Sample]:
        rows = order[place * self._size : (place + 1) * self._size][self._shard.rows(self._size)]
        return [self._sample(int(row), epoch) for row in rows]

    def _sample(self, row: int, epoch: int) -> Sample:
        sample = sample_of(self._pictures[row])
        if self._augment is not None:
            rng = np.random.default_rng([self._config.seed, epoch, row])
            sample = augmented(sample, self._augment, rng)
        return resized(sample, self._config.size)

    def _on_device(self, samples: Sequence[Sample]) -> DetectionBatch:
        config = self._config
        pixels = np.stack([normalised(one.pixels, config.mean, config.std) for one in samples])
        return DetectionBatch(
            torch.from_numpy(pixels).to(self._device),
            tuple(
                torch.from_numpy(one.boxes / config.size).float().to(self._device)
                for one in samples
            ),
            tuple(torch.from_numpy(one.labels + 1).to(self._device) for one in samples),
        )
