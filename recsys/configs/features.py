"""What the configurations of the models of features share: which fields they read, and how they are
trained."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from falconer.pipelines.data.schema import TaskName
from falconer.recsys.configs.pairs import PairsConfig
from falconer.recsys.configs.tables import TablesConfig


class FieldsConfig(PairsConfig):
    """Knobs of a model of fields: the ids of users and items, their features, and those of the
    event.

    With lists as the task, a user outside the train events is answered with the items' popularity.
    With labels as the task, unknown users, items and categories have a vector of their own, which
    starts as zeros.
    """

    tasks: ClassVar[tuple[TaskName, ...]] = ("top_n", "labels")
    folds_in: ClassVar[bool] = False
    needs_features: ClassVar[bool] = True
    """Refuses a dataset that has no feature at all, unless `fields` asks for the ids alone."""

    fields: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the inputs: "user", "item" (the ids) and features of the dataset. None = all that
    there are."""
    dim: int = Field(default=16, ge=1, le=4096)
    """Length of the vector of an id or a category."""
    embedding_std: float = Field(default=0.01, gt=0, le=1)
    """Standard deviation of the vectors' first values; products of two of them need larger ones
    than a sum does."""
    tables: TablesConfig = TablesConfig()
