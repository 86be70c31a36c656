"""Configuration of popularity."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from falconer.recsys.configs.model import ModelConfig


class PopularityConfig(ModelConfig):
    """Items by their number of train events, all time or in a recent window."""

    personalised: ClassVar[bool] = False
    discovers: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = True

    window_days: float | None = Field(default=None, gt=0)
    """Count only events of the last so many days of train; None = all time."""
