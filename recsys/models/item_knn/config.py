"""Configuration of item-based nearest neighbours."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from falconer.recsys.configs.model import ModelConfig


class ItemKnnConfig(ModelConfig):
    """Cosine over who has which item, and with what weight, shrunk where few users support it."""

    order_aware: ClassVar[bool] = True
    reads_weights: ClassVar[bool] = True

    neighbours: int = Field(default=200, ge=1)
    """Most similar items kept for each item."""
    neighbours_of: Literal["scored", "history"] = "scored"
    """Whose neighbours are kept: those of the item to score, or those of each item of the history,
    as the paper has it. The first gives every item the same number of items to be recommended by;
    with the second, popular items are near many and are recommended more."""
    shrinkage: float = Field(default=10.0, ge=0)
    """Added to the cosine's denominator: pulls similarities that few users support to 0."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Weight of a history item is decay^position, the newest distinct item at 0; 1 = all alike, in
    any order."""
    include_self: bool = False
    """An item is a neighbour of itself: for data where people buy again."""
