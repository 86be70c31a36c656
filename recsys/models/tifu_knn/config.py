"""Configuration of TIFU-KNN."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from falconer.recsys.configs.model import ModelConfig


class TifuKnnConfig(ModelConfig):
    """How often the query's own baskets hold an item, mixed with how often those of the most
    similar users do."""

    personalised: ClassVar[bool] = True

    half_life_days: float | None = Field(default=None, gt=0)
    """A basket so many days before the newest one counts half as much; None = all alike, which
    needs no times."""
    neighbours: int = Field(default=200, ge=1)
    """Most similar users of train that are asked."""
    own_weight: float = Field(default=0.7, ge=0, le=1)
    """Share of the query's own frequencies; the neighbours' mean has the rest."""
