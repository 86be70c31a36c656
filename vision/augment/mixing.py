"""Pictures of a batch mixed with each other, and their targets with them."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from falconer.vision.config import AugmentConfig


def mixed(
    pictures: Tensor, targets: Tensor, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Each picture with the one before it in the batch: mixup (Zhang et al. 2018), CutMix (Yun et
    al. 2019), or either with the same chance where both are on.

    pictures float32[B, C, h, w]; targets float32[B, n_classes], shares of each class.
    """
    ways = [
        (way, alpha)
        for way, alpha in ((_mixup, config.mixup), (_cutmix, config.cutmix))
        if alpha > 0
    ]
    if not ways:
        return pictures, targets
    way, alpha = ways[int(rng.integers(len(ways)))]
    share = float(rng.beta(alpha, alpha))
    others = pictures.roll(1, 0)
    found, share = way(pictures, others, share, rng)
    return found, targets.lerp(targets.roll(1, 0), 1 - share)


def _mixup(
    pictures: Tensor, others: Tensor, share: float, rng: np.random.Generator
) -> tuple[Tensor, float]:
    return others.lerp(pictures, share), share


def _cutmix(
    pictures: Tensor, others: Tensor, share: float, rng: np.random.Generator
) -> tuple[Tensor, float]:
    """A rectangle of the other picture, cut at the rim; the share follows from what is left."""
    height, width = pictures.shape[2:]
    side = math.sqrt(1 - share)
    middle = rng.uniform(0, height), rng.uniform(0, width)
    top, bottom = (round(np.clip(middle[0] + s * side * height / 2, 0, height)) for s in (-1, 1))
    left, right = (round(np.clip(middle[1] + s * side * width / 2, 0, width)) for s in (-1, 1))
    found = pictures.clone()
    found[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return found, 1 - (bottom - top) * (right - left) / (height * width)
