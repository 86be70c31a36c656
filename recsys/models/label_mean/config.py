"""Configuration of the label mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from falconer.pipelines.data.schema import TaskName
from falconer.recsys.configs.model import ModelConfig


class LabelMeanConfig(ModelConfig):
    """The mean label in train of the rows of one kind, such as an item's click-through rate: the
    plain baseline.

    (sum of the kind's labels + shrinkage * mean of all) / (its rows + shrinkage); the mean of all
    for unknown kinds.
    """

    renamed: ClassVar[Mapping[str, str]] = {"smoothing": "shrinkage"}
    tasks: ClassVar[tuple[TaskName, ...]] = ("labels",)
    personalised: ClassVar[bool] = False
    discovers: ClassVar[bool] = False
    folds_in: ClassVar[bool] = False

    by: str = "item"
    """What a kind is: "item", "user", the name of a categorical feature, or "none": one mean for
    all rows."""
    shrinkage: float = Field(default=10.0, ge=0)
    """Rows' worth of the mean of all that each kind's mean is drawn towards."""
