"""A value for each row whose mean is the metric: what resampling and paired tests of the task
`labels` work on.

A metric such as the AUC is no mean over rows. To first order it moves with the weight of a row as a
mean does: the value here is metric + influence, where the influence of a row is n times the
derivative by its weight (Efron and Tibshirani 1993, chapter 22). Influences sum to zero, so the
mean of the values is the metric. For the AUC these are the structural components of DeLong et al.
1988; for a metric that is a mean they are the rows' own values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines.errors import DataError
from falconer.recsys.metrics import labels as binary
from falconer.recsys.metrics import rating
from falconer.recsys.metrics.tables import metric_of_rows

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


def row_values(
    name: str, label: NDArray[Any], score: Float64, user: Int64 | None
) -> Float64 | None:
    """float64[n]: values whose mean is the metric; None where the metric has no value.

    label and score float[n] as the metric takes them; user int64[n], None where there are none.
    Raises `ValueError` where the metric does, `KeyError` for an unknown one, and `DataError` where
    that of another package gives anything but a finite number a row, or a mean beyond the bounds
    that it names.
    """
    if name not in INFLUENCES:
        return _of_package(name, label, score)
    value = metric_value(name, label, score, user)
    if np.isnan(value):
        return None
    return np.asarray(
        value + INFLUENCES[name](np.asarray(label, np.float64), score, user, value), np.float64
    )


def _of_package(name: str, label: NDArray[Any], score: Float64) -> Float64 | None:
    """The values that another package's metric gives to the rows."""
    metric = metric_of_rows(name)
    if metric is None:
        raise KeyError(name)
    if not len(label):
        return None
    values = np.asarray(metric.function(label, score), np.float64)
    if values.shape != (len(label),) or not np.isfinite(values).all():
        raise DataError(
            f"{name}: gave an array of shape {values.shape} for {len(label)} rows, or a number "
            "that is not finite; a metric of rows gives each row one finite number"
        )
    metric.within_bounds(name, values.mean())
    return values


def metric_value(name: str, label: NDArray[Any], score: Float64, user: Int64 | None) -> float:
    """A metric of the task `labels` by its name; NaN where it has no value. Arguments as of
    `row_values`."""
    if name in rating.RATING_METRICS:
        return rating.RATING_METRICS[name].function(label, score)
    arguments = (label, score, user) if name == "gauc" else (label, score)
    return binary.BINARY_METRICS[name].function(*arguments)


def _auc(label: Float64, score: Float64, user: Int64 | None, value: float) -> Float64:
    """For a positive the share of negatives below it, for a negative the share of positives above
    it."""
    right = _rightly_ordered(label, score, np.zeros(len(label), np.int64))
    kind = label.astype(np.int64)
    mine, others = np.bincount(kind, minlength=2)[kind], np.bincount(kind, minlength=2)[1 - kind]
    return np.asarray((right / others - value) * len(label) / mine)


def _rightly_ordered(label: Float64, score: Float64, group: Int64) -> Float64:
    """float64[n]: for each row, the rows of the other label in its group that are rightly ordered
    to it, ties half."""
    below = binary.mean_ranks(score, group) - binary.mean_ranks(
        score, group * 2 + label.astype(np.int64)
    )
    _, code = np.unique(group, return_inverse=True)
    positives = np.bincount(code, weights=label)[code]
    return np.asarray(np.where(label == 1, below, positives - below))


def _gauc(label: Float64, score: Float64, user: Int64 | None, value: float) -> Float64:
    """Of a judged user each row counts with the user's own AUC; a ratio of two means over rows."""
    assert user is not None
    _, code = np.unique(user, return_inverse=True)
    n, positives = np.bincount(code), np.bincount(code, weights=label)
    pairs = positives * (n - positives)
    right = np.bincount(
        code, weights=np.where(label == 1, _rightly_ordered(label, score, code), 0.0)
    )
    own = np.divide(right, pairs, out=np.zeros(len(n)), where=pairs > 0)
    judged = (pairs > 0)[code]
    return np.asarray(np.where(judged, own[code] - value, 0.0) * len(label) / judged.sum())


def _log_loss(label: Float64, score: Float64, user: Int64 | None, value: float) -> Float64:
    p = np.clip(score, binary.PROBABILITY_FLOOR, 1 - binary.PROBABILITY_FLOOR)
    return np.asarray(-np.log(np.where(label == 1, p, 1 - p)) - value)


def _average_precision(label: Float64, score: Float64, user: Int64 | None, value: float) -> Float64:
    """With a(s), b(s) = positives and rows at or above s: AP = mean of a / b over positives, each
    weight moves both."""
    order = np.argsort(-score, kind="stable")
    down, y = -score[order], label[order]
    at_or_above = np.searchsorted(down, down, side="right")
    first_of_ties = np.searchsorted(down, down, side="left")
    positives = np.cumsum(y)
    precision = positives[at_or_above - 1] / at_or_above

    def from_here_down(values: Float64) -> Float64:
        sums = np.append(0.0, np.cumsum(values))
        return np.asarray(sums[-1] - sums[first_of_ties], np.float64)

    moved = y * from_here_down(y / at_or_above) - from_here_down(y * precision / at_or_above)
    influence = np.empty(len(label))
    influence[order] = (y * (precision - value) + moved) * len(label) / positives[-1]
    return influence


def _calibration_error(label: Float64, score: Float64, user: Int64 | None, value: float) -> Float64:
    place = binary.bins_of(score)
    surplus = np.bincount(place, weights=label - score, minlength=binary.N_BINS)
    return np.asarray(np.sign(surplus)[place] * (label - score) - value)


def _rmse(label: Float64, score: Float64, user: Int64 | None, value: float) -> Float64:
    squared = (score - label) ** 2
    return np.asarray((squared - value**2) / (2 * value)) if value > 0 else np.zeros(len(label))


def _mae(label: Float64, score: Float64, user: Int64 | None, value: float) -> Float64:
    return np.asarray(np.abs(score - label) - value)


INFLUENCES: Mapping[str, Callable[[Float64, Float64, Int64 | None, float], Float64]] = {
    "roc_auc": _auc,
    "gauc": _gauc,
    "log_loss": _log_loss,
    "average_precision": _average_precision,
    "expected_calibration_error": _calibration_error,
    "rmse": _rmse,
    "mae": _mae,
}
