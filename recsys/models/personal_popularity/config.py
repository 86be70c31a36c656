"""Configuration of personal popularity."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from falconer.recsys.configs.model import ModelConfig


class PersonalPopularityConfig(ModelConfig):
    """The query's own items by frequency, recent events counting more; below them all others by
    popularity."""

    discovers: ClassVar[bool] = False

    half_life_days: float | None = Field(default=None, gt=0)
    """An event so many days before the query counts half as much; None = plain frequency, which
    needs no times."""
