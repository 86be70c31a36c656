"""Configuration of Wide & Deep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from falconer.recsys.configs.features import FieldsConfig
from falconer.recsys.configs.pairs import Width

Cross = Annotated[tuple[str, ...], Field(min_length=2, max_length=4)]


class WideDeepConfig(FieldsConfig):
    """Cheng et al. 2016: a linear model of fields and of crosses of fields, beside layers over the
    fields' vectors."""

    renamed: ClassVar[Mapping[str, str]] = {"layers": "hidden"}
    hidden: tuple[Width, ...] = Field(default=(128, 64), min_length=1)
    """Widths of the deep part's hidden layers."""
    crosses: tuple[Cross, ...] = ()
    """Fields by name, such as ["gender", "genre"]: each combination of their values has a weight of
    its own."""
    cross_buckets: int = Field(default=2**18, ge=2, le=2**26)
    """Weights of a cross; one with more combinations is hashed into so many."""
    wide_optimizer: Literal["ftrl", "adagrad", "same"] = "same"
    """Of the linear part: the paper's FTRL, or AdaGrad, or the same as of the deep part (whose
    paper's is adagrad)."""
    wide_learning_rate: float = Field(default=0.05, gt=0, le=10)
    """Of the linear part, where it has an optimizer of its own."""
    wide_l1: float = Field(default=0.0, ge=0, le=1)
    """Of ftrl: weights whose gradients do not exceed it are exactly zero."""
