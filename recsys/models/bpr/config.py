"""Configuration of BPR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from falconer.recsys.configs.model import ModelConfig


class BprConfig(ModelConfig):
    """Rendle et al. 2009: a user vector and an item vector, trained so that seen items are above
    unseen ones.

    Users are known by their ids only: a user outside the train events is answered with the items'
    popularity.
    """

    folds_in: ClassVar[bool] = False
    renamed: ClassVar[Mapping[str, str]] = {
        "factors": "dim",
        "regularization": "l2",
        "iterations": "epochs",
    }

    dim: int = Field(default=64, ge=1, le=4096)
    """Length of the user and item vectors; items have a bias beside it."""
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    l2: float = Field(default=0.01, ge=0, le=1)
    """Ridge penalty on the vectors and biases of each drawn triple."""
    epochs: int = Field(default=100, ge=1)
    """Epochs: each draws as many triples as there are pairs of user and item in train."""
    threads: int = Field(default=1, ge=1, le=1024)
    """With more than one, training is faster and does not repeat itself: they write to the same
    vectors unlocked."""

    @property
    def repeatable(self) -> bool:
        """With one thread only."""
        return self.threads == 1
