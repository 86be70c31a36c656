"""Configuration of EASE."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from falconer.recsys.configs.model import ModelConfig


class EaseConfig(ModelConfig):
    """Ridge regression of every item on all others."""

    order_aware: ClassVar[bool] = True

    l2: float = Field(default=500.0, gt=0)
    """Ridge penalty, in users: grows with the number of users and with noise."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Weight of a history item is decay^position, the newest distinct item at 0; 1 = all alike, in
    any order."""
    max_items: int = Field(default=20_000, ge=1)
    """Refuse a larger catalogue: memory grows with its square, and 20,000 items take 4.8 GB."""
