"""What a training must refuse of a dataset's events, and what it must say that it does not use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from falconer.pipelines import parquet
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.recsys.configs.model import ModelConfig


def refuse_or_note(name: str, config: ModelConfig, data: Dataset) -> list[str]:
    """What the model `name` will not use of the dataset or of its own knobs, in words.

    Raises `DataError` for negative weights, and for a model of order where no user has two events
    at different times.
    """
    columns = set(pq.read_schema(data.train_files()[0]).names)
    if data.card.task == "top_n" and "weight" in columns:
        _refuse_negative_weights(data)
    if config.needs_times and getattr(config, "order", "time") == "time" and "time" in columns:
        _refuse_times_without_order(name, data)
    return [*_unread(name, config, data, columns), *_unused(config, data)]


def _refuse_negative_weights(data: Dataset) -> None:
    negative = sum(int((weight < 0).sum()) for (weight,) in _columns(data, "weight"))
    if negative:
        raise DataError(
            f"{data.path}: {negative:,} train events have a weight below 0, and an event of less "
            "than nothing is no event: leave returns out with [clean] min_weight = 0 in the ETL "
            "recipe, or give the source another weight"
        )


def _refuse_times_without_order(name: str, data: Dataset) -> None:
    first = np.full(data.n_users, np.iinfo(np.int64).max)
    last = np.full(data.n_users, np.iinfo(np.int64).min)
    for user, time in _columns(data, "user", "time"):
        np.minimum.at(first, user, time)
        np.maximum.at(last, user, time)
    if not (last > first).any():
        raise DataError(
            f"{data.path}: no user has two events at different times, so there is no order for "
            f"{name} to learn; if the source is written in order, build the dataset without the "
            "time column "
            'and set model.order = "source", else train a model that needs none (`falconer models`)'
        )


def _columns(data: Dataset, *names: str) -> Iterator[list[NDArray[Any]]]:
    """The named columns of the train events, a file at a time."""
    for path in data.train_files():
        table = parquet.read(path, names)
        yield [table.column(name).to_numpy() for name in names]


def _unread(name: str, config: ModelConfig, data: Dataset, columns: set[str]) -> Iterator[str]:
    if data.card.task != "top_n":
        return
    if "weight" in columns and not config.reads_weights:
        yield (
            f"{name} does not read the events' weights: each event counts once (popularity, "
            "item_knn, ease and als read them)"
        )
    if "rating" in columns:
        yield (
            "no model of lists reads ratings: each event counts, whatever its rating; [clean] "
            "min_rating in the ETL recipe keeps the good ones"
        )


def _unused(config: ModelConfig, data: Dataset) -> Iterator[str]:
    training = getattr(config, "training", None)
    monitor = getattr(training, "monitor", None)
    if monitor is not None and not data.has_fold("valid"):
        yield (
            f"the dataset has no fold valid, so model.training.monitor = {monitor!r} and patience "
            f"choose nothing: the weights are those after all {getattr(training, 'epochs', '')} "
            "epochs"
        )
