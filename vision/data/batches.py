"""Batches of pictures: a pure function of seed, epoch and place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from falconer.pipelines.training.shard import Shard, current_shard
from falconer.vision.augment.mixing import mixed
from falconer.vision.augment.single import training_picture
from falconer.vision.config import PicturesConfig, VisionConfig
from falconer.vision.data.ahead import made_ahead
from falconer.vision.data.decode import Pixels
from falconer.vision.data.prepared import Prepared, middle


@dataclass(frozen=True)
class PictureBatch:
    """pictures float32[B, channels, size, size] and targets float32[B, n_classes]: shares of the
    classes, or whether each tag is there."""

    pictures: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


def input_of(pixels: Sequence[Pixels], config: PicturesConfig, device: torch.device) -> Tensor:
    """Pictures of one size as the network takes them: float32[B, channels, height, width], with the
    channels of a pixel beside each other in memory, as they are read (convolutions are faster
    so)."""
    stacked = torch.from_numpy(np.stack(pixels)).to(device).permute(0, 3, 1, 2)
    mean = torch.tensor(config.mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(config.std, device=device).view(1, -1, 1, 1)
    found: Tensor = stacked.float().div_(255).sub_(mean).div_(std)
    return found


def targets_of(prepared: Prepared, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32[n, n_classes]: 1 for each label of a picture."""
    labels = prepared.labels[rows]
    if labels.ndim == 2:
        return labels.astype(np.float32)
    shares: NDArray[np.float32] = np.eye(len(prepared.card.classes), dtype=np.float32)[labels]
    return shares


class PictureBatches:
    """Every epoch's batches in an order of its own; a smaller last batch is left out.

    Where there are fewer pictures than a batch holds, all of them are one batch.
    """

    def __init__(
        self,
        prepared: Prepared,
        rows: NDArray[np.int64],
        config: VisionConfig,
        *,
        device: torch.device,
        shard: Shard | None = None,
    ) -> None:
        self._prepared, self._rows, self._config = prepared, rows, config
        self._device, self._shard = device, shard or current_shard()
        self._size = min(config.training.batch_size, len(rows))

    def __len__(self) -> int:
        return len(self._rows) // self._size if self._size else 0

    def epoch(self, number: int, *, start: int = 0) -> Iterator[PictureBatch]:
        """Batches `start`, `start` + 1, ... of an epoch, made ahead by threads."""
        order = self._order(number)
        return made_ahead(lambda place: self._batch(order, number, place), start, len(self))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._config.seed, epoch])
        return self._rows[rng.permutation(len(self._rows))]

    def _batch(self, order: NDArray[np.int64], epoch: int, place: int) -> PictureBatch:
        config = self._config
        rows = order[place * self._size : (place + 1) * self._size]
        rows = rows[self._shard.rows(len(rows))]
        pixels = [self._picture(int(row), epoch) for row in rows]
        pictures = input_of(pixels, config.pictures, self._device)
        targets = torch.from_numpy(targets_of(self._prepared, rows)).to(self._device)
        rng = np.random.default_rng([config.seed, epoch, place, self._shard.rank, 1])
        return PictureBatch(*mixed(pictures, targets, config.augment, rng))

    def _picture(self, row: int, epoch: int) -> Pixels:
        rng = np.random.default_rng([self._config.seed, epoch, row, 2])
        pixels = self._prepared.pixels(row)
        return training_picture(pixels, self._config.pictures, self._config.augment, rng)


def judged_pictures(
    prepared: Prepared,
    rows: NDArray[np.int64],
    config: PicturesConfig,
    *,
    device: torch.device,
    size: int = 64,
) -> Iterator[Tensor]:
    """The middles of the pictures `rows`, in blocks of `size`: float32[size, channels, h, w]."""
    for start in range(0, len(rows), size):
        block = [middle(prepared.pixels(int(row)), config) for row in rows[start : start + size]]
        yield input_of(block, config, device)
