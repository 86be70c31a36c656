"""A model of another package: its configuration, and how Falconer finds it."""

from __future__ import annotations

from pydantic import Field

from falconer.pipelines.models.registry import Model
from falconer.recsys.configs.model import ModelConfig


class CoCountsConfig(ModelConfig):
    """How often items are had by the same users."""

    shrinkage: float = Field(default=1.0, ge=0)


MODEL = Model(CoCountsConfig, {"numpy": "toyrecs.on_numpy"})
