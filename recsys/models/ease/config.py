"""Configuration of EASE."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from falconer.recsys.configs.model import ModelConfig


class EaseConfig(ModelConfig):
    """Ridge regression of every item on all others."""

    order_aware: ClassVar[bool] = True
    reads_weights: ClassVar[bool] = True

    l2: float = Field(default=500.0, gt=0)
    """Ridge penalty, in users: grows with the number of users and with noise."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Weight of a history item is decay^position, the newest distinct item at 0; 1 = all alike, in
    any order."""
    precision: Literal["float64", "float32"] = "float64"
    """Of the inverse. float32 works in one square matrix in place, a third of the memory: 41,000
    items take 6.7 GB. The smaller `l2`, the more digits that costs."""
    max_items: int = Field(default=20_000, ge=1)
    """Refuse a larger catalogue: memory grows with its square, and 20,000 items take 4.8 GB."""
