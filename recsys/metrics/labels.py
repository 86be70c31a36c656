"""Metrics of the task `labels`: rows of a label (0 or 1) and a score, with the user whom a row
belongs to.

Pure functions over arrays. Each raises `ValueError` where the arrays differ in length, a label is
neither 0 nor 1 or a score is NaN, and gives NaN where the value is not defined: no row, or labels
of one kind only where two are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.recsys.metrics.definition import Definition

Float64 = NDArray[np.float64]
Labels = NDArray[Any]

PROBABILITY_FLOOR = 1e-15
N_BINS = 10


def auc(label: Labels, score: Float64) -> float:
    """Share of (positive, negative) pairs in the right order, ties one half: Hanley and McNeil
    1982.

    label int or bool[n], score float[n].

    >>> auc(np.array([0, 1, 1]), np.array([0.2, 0.1, 0.9]))
    0.5
    """
    label, score = _checked(label, score)
    positives = int(label.sum())
    negatives = len(label) - positives
    if not positives or not negatives:
        return float("nan")
    rank = mean_ranks(score)
    return float((rank[label].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def gauc(label: Labels, score: Float64, user: NDArray[Any]) -> float:
    """Mean over users of their own `auc`, weighted by their rows: Zhou et al. 2018.

    Users with labels of one kind only are left out, with their weight. user int[n].

    >>> gauc(np.array([0, 1, 1, 0]), np.array([0.2, 0.1, 0.9, 0.3]), np.array([7, 7, 8, 8]))
    0.5
    """
    label, score = _checked(label, score)
    if len(user) != len(label):
        raise ValueError(f"{len(user)} users beside {len(label)} labels")
    if not len(label):
        return float("nan")
    _, code = np.unique(user, return_inverse=True)
    rows = np.bincount(code)
    positives = np.bincount(code, weights=label)
    negatives = rows - positives
    rank = mean_ranks(score, code)
    right = np.bincount(code, weights=rank * label) - positives * (positives + 1) / 2
    pairs = positives * negatives
    judged = pairs > 0
    if not judged.any():
        return float("nan")
    return float(np.average(right[judged] / pairs[judged], weights=rows[judged]))


def log_loss(label: Labels, score: Float64) -> float:
    """Mean of -ln(probability given to the label), in nats.

    Scores are the probability of label 1, clipped to [1e-15, 1 - 1e-15].
    Raises `ValueError` for a score outside [0, 1].

    >>> round(log_loss(np.array([1, 0]), np.array([0.8, 0.5])), 4)
    0.4581
    """
    label, score = _checked_probabilities(label, score)
    if not len(label):
        return float("nan")
    clipped = np.clip(score, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return float(-np.log(np.where(label, clipped, 1 - clipped)).mean())


def average_precision(label: Labels, score: Float64) -> float:
    """Sum over distinct scores, falling, of (rise of recall) x (precision at that score); no
    interpolation.

    Rows of one score enter together, so that ties have one value (as in scikit-learn's
    average_precision_score).

    >>> average_precision(np.array([0, 1, 1]), np.array([0.9, 0.8, 0.1]))
    0.5833333333333333
    """
    label, score = _checked(label, score)
    if not label.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # last row of each distinct score
    hits = np.cumsum(label[order])[last]
    rows = np.flatnonzero(last) + 1
    return float((np.diff(hits, prepend=0) * hits / rows).sum() / hits[-1])


def expected_calibration_error(label: Labels, score: Float64, *, bins: int = N_BINS) -> float:
    """Mean over rows of |share of ones - mean score| of the row's bin: Naeini et al. 2015, Guo et
    al. 2017.

    `bins` bins of equal width over [0, 1], each with its upper edge (the first with 0 too). Raises
    `ValueError` for a score outside [0, 1].

    >>> round(expected_calibration_error(np.array([1, 0]), np.array([0.8, 0.4])), 4)
    0.3
    """
    label, score = _checked_probabilities(label, score)
    if not len(label):
        return float("nan")
    place = bins_of(score, bins=bins)
    ones = np.bincount(place, weights=label, minlength=bins)
    scores = np.bincount(place, weights=score, minlength=bins)
    return float(np.abs(ones - scores).sum() / len(label))


def bins_of(score: Float64, *, bins: int = N_BINS) -> NDArray[np.int64]:
    """int64[n]: the bin of each probability, of `bins` of equal width, each with its upper edge."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], score, side="left")


def _checked(label: Labels, score: Float64) -> tuple[NDArray[np.bool_], Float64]:
    if len(label) != len(score):
        raise ValueError(f"{len(score)} scores beside {len(label)} labels")
    if not np.isin(label, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if np.isnan(score).any():
        raise ValueError(f"the score of row {int(np.flatnonzero(np.isnan(score))[0])} is NaN")
    return np.asarray(label, np.bool_), np.asarray(score, np.float64)


def _checked_probabilities(label: Labels, score: Float64) -> tuple[NDArray[np.bool_], Float64]:
    label, score = _checked(label, score)
    outside = np.flatnonzero((score < 0) | (score > 1))
    if len(outside):
        raise ValueError(
            f"the score of row {outside[0]} is {score[outside[0]]}: probabilities are within 0 and "
            "1"
        )
    return label, score


def mean_ranks(score: Float64, group: NDArray[np.int64] | None = None) -> Float64:
    """float64[n]: rank of each score (1 = lowest) within its group; equal scores share the mean of
    their ranks."""
    group = np.zeros(len(score), np.int64) if group is None else group
    order = np.lexsort((score, group))
    sorted_group, sorted_score = group[order], score[order]
    new_group = np.append(True, np.diff(sorted_group) != 0)
    new_value = new_group | np.append(True, np.diff(sorted_score) != 0)
    starts = np.flatnonzero(new_value)
    ends = np.append(starts[1:], len(score))
    group_start = np.flatnonzero(new_group)[np.cumsum(new_group) - 1][starts]
    shared = (starts + ends + 1) / 2 - group_start
    rank = np.empty(len(score))
    rank[order] = np.repeat(shared, ends - starts)
    return rank


BinaryMetric = Callable[..., float]
ROWS = "Over all rows; no cut-off, no query."

BINARY_METRICS: Mapping[str, Definition[BinaryMetric]] = {
    "roc_auc": Definition(
        auc,
        "Share of pairs of a row of label 1 and a row of label 0 whose scores are in the right "
        "order.",
        formula=(
            "sum(s[p] > s[n], or 1/2 where equal, for positives p, negatives n) / "
            "(positives * negatives)"
        ),
        denominator="positives * negatives; no value where either is 0",
        source="Hanley and McNeil 1982",
        rules=ROWS,
        ties="A pair of equal scores counts one half.",
        without_relevant="No value without a row of label 1.",
    ),
    "gauc": Definition(
        gauc,
        "Mean over users of the roc_auc of their own rows, weighted by their number of rows.",
        formula="sum(rows[u] * roc_auc[u]) / sum(rows[u]), over users with both labels",
        denominator="rows of the users with both labels",
        source="Zhou et al. 2018 (Deep Interest Network); RecBole weights by the user's positives",
        rules=ROWS,
        ties="A pair of equal scores counts one half.",
        without_relevant="A user with labels of one kind only is left out, with the weight.",
    ),
    "log_loss": Definition(
        log_loss,
        "Mean of -ln(p) of the probability p that was given to the row's label, in nats; p is kept "
        "1e-15 from 0 and 1.",
        formula="mean(-(y * ln(s) + (1 - y) * ln(1 - s)))",
        denominator="number of rows",
        source="Good 1952 (logarithmic score)",
        rules=ROWS,
        ties="Order plays no part.",
        without_relevant="Counts as any other.",
        bounds=(0, None),
        better="lower",
    ),
    "average_precision": Definition(
        average_precision,
        "Sum over distinct scores, falling, of the rise of recall times the precision there; not "
        "interpolated.",
        formula="sum((recall[i] - recall[i - 1]) * precision[i]) over thresholds i",
        denominator="positives, within recall; no value without one",
        source="Buckley and Voorhees 2000; scikit-learn computes the same",
        rules=ROWS,
        ties="Rows of one score enter together.",
        without_relevant="No value without a row of label 1.",
    ),
    "expected_calibration_error": Definition(
        expected_calibration_error,
        "Mean over rows of |share of ones - mean score| of the row's bin, in 10 bins of equal "
        "width.",
        formula="sum(|ones[b] - sum of scores[b]| for bins b) / rows",
        denominator="number of rows",
        source="Naeini et al. 2015; Guo et al. 2017; here on the probability of label 1",
        rules=ROWS,
        ties="Order plays no part; a score on an edge belongs to the lower bin.",
        without_relevant="Counts as any other.",
        better="lower",
    ),
}
"""Metrics of the task `labels` by name."""
