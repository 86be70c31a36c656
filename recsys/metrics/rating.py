"""Metrics of the task `labels` where the label is a number: rows of a rating and a prediction.

Pure functions over arrays float[n]. Each raises `ValueError` where the arrays differ in length or
hold NaN, and gives NaN where there is no row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.recsys.metrics.definition import Definition

Float64 = NDArray[np.float64]


def rmse(label: NDArray[Any], score: NDArray[Any]) -> float:
    """Square root of the mean squared error.

    >>> rmse(np.array([4.0, 2.0]), np.array([3.0, 2.0]))
    0.7071067811865476
    """
    error = errors(label, score)
    return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")


def mae(label: NDArray[Any], score: NDArray[Any]) -> float:
    """Mean absolute error.

    >>> mae(np.array([4.0, 2.0]), np.array([3.0, 2.0]))
    0.5
    """
    error = errors(label, score)
    return float(np.abs(error).mean()) if len(error) else float("nan")


def errors(label: NDArray[Any], score: NDArray[Any]) -> Float64:
    """float64[n]: prediction - rating."""
    if len(label) != len(score):
        raise ValueError(f"{len(score)} predictions beside {len(label)} ratings")
    found = np.asarray(score, np.float64) - np.asarray(label, np.float64)
    if np.isnan(found).any():
        raise ValueError(
            f"row {int(np.flatnonzero(np.isnan(found))[0])}: the rating or the prediction is NaN"
        )
    return found


RULES = "Over all rows; no cut-off, no query."

RATING_METRICS: Mapping[str, Definition[Callable[..., float]]] = {
    "rmse": Definition(
        rmse,
        "Square root of the mean squared difference of prediction and rating, in units of the "
        "rating.",
        formula="sqrt(mean((s - y)^2))",
        denominator="number of rows",
        source="the measure of the Netflix Prize (Bennett and Lanning 2007)",
        rules=RULES,
        ties="Order plays no part.",
        without_relevant="Counts as any other.",
        bounds=(0, None),
        better="lower",
    ),
    "mae": Definition(
        mae,
        "Mean absolute difference of prediction and rating, in units of the rating.",
        formula="mean(|s - y|)",
        denominator="number of rows",
        source="Herlocker et al. 2004",
        rules=RULES,
        ties="Order plays no part.",
        without_relevant="Counts as any other.",
        bounds=(0, None),
        better="lower",
    ),
}
"""Metrics of ratings by name."""
