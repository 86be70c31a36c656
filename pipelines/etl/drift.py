"""How far new train events are from those that the statistics of features were fitted on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from falconer.pipelines.data.schema import column_of
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.features import Encoding
from falconer.pipelines.etl.grouped_operators import GroupOperator
from falconer.pipelines.etl.operators import encoded_names

ERRORS = 2.0
"""Standard errors that are taken off, so that a small day is no drift by chance."""


class DriftedError(DataError):
    """Some features' statistics no longer fit the new events."""


def refuse_drift(
    train: pl.DataFrame, encodings: Mapping[str, Encoding], most: float, dataset_id: str
) -> None:
    """Raise `DriftedError` where a feature of events, which the new rows of `train` have encoded by
    these encodings, has drifted by more than `most`."""
    found = {name: drift_of(_column(train, name, one), one) for name, one in encodings.items()}
    beyond = {name: drift for name, drift in found.items() if drift is not None and drift > most}
    if beyond:
        told = ", ".join(f"{name} by {drift:.2f}" for name, drift in beyond.items())
        raise DriftedError(
            f"features drifted from those of dataset {dataset_id} by more than refit_above = "
            f"{most:g}: {told}"
        )


def _column(train: pl.DataFrame, name: str, encoding: Encoding) -> pl.Series:
    """Of a list the latest of its values' ids."""
    first, *others = (train[column_of(one)] for one in encoded_names(name, encoding.config))
    for other in others:
        first = first.zip_with(first >= other, other)
    return first


def drift_of(column: pl.Series, encoding: Encoding) -> float | None:
    """What is surely so, less `ERRORS` standard errors: of categories the share of rows with one
    that came later, of scaled numbers the distance of the mean from that of train, in train's
    standard deviations. None of what has no statistics, or no row."""
    if column.is_empty():
        return None
    values = column.to_numpy()
    if encoding.values is not None:
        return _surely((values >= len(encoding.values)).astype(np.float64))
    config = encoding.config
    scaled = encoding.moments is not None and encoding.moments.std > 0
    if scaled or (isinstance(config, GroupOperator) and config.normalize):
        return _surely(values.astype(np.float64))
    return None


def _surely(values: NDArray[np.float64]) -> float:
    error = float(values.std()) / float(np.sqrt(len(values)))
    return max(float(abs(values.mean())) - ERRORS * error, 0.0)
