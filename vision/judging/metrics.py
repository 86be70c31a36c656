"""Values of single pictures, and of tags, from logits. No framework is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Labels = NDArray[np.int64] | NDArray[np.bool_]
K = 5


def log_softmax(logits: NDArray[np.float32] | Float64) -> Float64:
    """float64[n, C]: logarithms of the probabilities of classes that exclude each other."""
    wide = logits.astype(np.float64)
    wide = wide - wide.max(axis=1, keepdims=True)
    found: Float64 = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return found


def sigmoid(logits: NDArray[np.float32] | Float64) -> Float64:
    """float64[n, T]: probabilities of tags."""
    found: Float64 = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))
    return found


def per_picture(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Float64]:
    """float64[n] of each metric.

    top1, top5   whether the true class has a higher logit than all (than all but 4) others; a class
                 that is tied with the true one counts as higher
    log_loss     -log of the true class's probability
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    above = (logits >= own).sum(axis=1) - 1
    values = {"top1": (above < 1).astype(np.float64)}
    if logits.shape[1] > K:
        values[f"top{K}"] = (above < K).astype(np.float64)
    values["log_loss"] = -log_softmax(logits)[np.arange(len(labels)), labels]
    return values


def per_unit_of_tags(
    logits: NDArray[np.float32], tags: NDArray[np.bool_], limits: Sequence[float]
) -> dict[str, Float64]:
    """float64[n] of each metric.

    right_tags   share of the tags that are rightly given, or rightly left out, at their `limits`
    log_loss     -log of the probability of what is true of each tag, summed over the tags
    """
    wide = logits.astype(np.float64)
    right = (sigmoid(logits) >= np.array(limits)) == tags
    losses = np.logaddexp(0, wide) - wide * tags
    return {"right_tags": right.mean(axis=1), "log_loss": losses.sum(axis=1)}


def average_precision(scores: NDArray[np.float32] | Float64, truth: NDArray[np.bool_]) -> float:
    """The mean, over the true pictures, of the precision down to each of them; NaN where none is
    true. Pictures with equal scores share one precision."""
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, [True]))
    precision, new = hits[ends] / (ends + 1), np.diff(hits[ends], prepend=0)
    return float((precision * new).sum() / hits[-1])


def average_precisions(logits: NDArray[np.float32], tags: NDArray[np.bool_]) -> Float64:
    """float64[T]: of each tag; NaN for a tag that no picture has."""
    return np.array([average_precision(logits[:, t], tags[:, t]) for t in range(tags.shape[1])])


def quick_metrics(logits: NDArray[np.float32], labels: Labels) -> Mapping[str, float]:
    """The means that a training is watched by."""
    if labels.ndim == 1:
        found = per_picture(logits, labels.astype(np.int64))
        return {name: float(values.mean()) for name, values in found.items()}
    tags = labels.astype(np.bool_)
    precisions = average_precisions(logits, tags)
    losses = per_unit_of_tags(logits, tags, (0.5,) * tags.shape[1])["log_loss"]
    return {"map": float(np.nanmean(precisions)), "log_loss": float(losses.mean())}
