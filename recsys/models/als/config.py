"""Configuration of ALS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from falconer.recsys.configs.model import ModelConfig


class AlsConfig(ModelConfig):
    """Confidence-weighted factorisation; users are folded in from their histories."""

    reads_weights: ClassVar[bool] = True
    renamed: ClassVar[Mapping[str, str]] = {
        "factors": "dim",
        "regularization": "l2",
        "iterations": "epochs",
    }

    dim: int = Field(default=64, ge=1, le=4096)
    """Length of the user and item vectors."""
    alpha: float = Field(default=1.0, ge=0)
    """Confidence in a pair that was seen n times: c = 1 + alpha log2(1 + n)."""
    l2: float = Field(default=10.0, gt=0)
    """Ridge penalty on both sides."""
    epochs: int = Field(default=15, ge=1)
    """Passes over users and items."""
