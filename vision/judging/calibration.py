"""Whether probabilities mean what they say: reliability, its error, and the temperature that mends
it (Guo et al. 2017)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.config import Config
from falconer.vision.judging.metrics import log_softmax

Float64 = NDArray[np.float64]
BINS = 15
LOWEST, HIGHEST = 0.05, 20.0
STEPS = 60


class Bin(Config):
    """Pictures whose highest probability is in one part of 0 to 1: how sure, and how often
    right."""

    n: int
    confidence: float
    accuracy: float


class Calibration(Config):
    """ECE, the mean distance of the bins' accuracy from their confidence, weighted by pictures."""

    ece: float
    bins: tuple[Bin, ...]


def calibration(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Calibration:
    """Over 15 bins of equal width; empty bins are left out. n > 0."""
    probabilities = np.exp(log_softmax(logits))
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    places = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    bins = []
    for place in np.unique(places):
        inside = places == place
        bins.append(
            Bin(
                n=int(inside.sum()),
                confidence=float(sure[inside].mean()),
                accuracy=float(right[inside].mean()),
            )
        )
    gaps = sum(one.n * abs(one.confidence - one.accuracy) for one in bins)
    return Calibration(ece=gaps / len(labels), bins=tuple(bins))


def best_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The T in 0.05 to 20 with the least mean log loss of logits / T, by golden section over log T
    (the loss is convex in 1 / T, so there is one). 1 where no answer is wrong: the least loss would
    then be that of answers without any doubt."""
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    wide = logits.astype(np.float64)

    def loss(log_t: float) -> float:
        return -float(log_softmax(wide / math.exp(log_t))[np.arange(len(labels)), labels].mean())

    ratio = (math.sqrt(5) - 1) / 2
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)
