"""The knobs of embedding tables, which the models that have many of them share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from falconer.pipelines.config import Config


class TablesConfig(Config):
    """How the vectors of ids and categories are kept and trained."""

    gradients: Literal["dense", "sparse"] = "dense"
    """sparse: a step changes only the rows that are in its batch, by row-wise Adagrad, which keeps
    one number a row. The choice for large tables: a dense step goes through every row and Adam's
    two numbers a weight."""
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Of the row-wise Adagrad; None = `training.learning_rate`."""
    sharded: bool = False
    """Under `torchrun` each process keeps its share of the rows, for tables larger than one device;
    with sparse gradients and one length only. The trained model is the same as a single
    process's."""
    head_rows: int | None = Field(default=None, ge=1)
    """So many of the most frequent values of a field have vectors of full length, the others
    shorter ones, which a layer of the field's own lengthens. None = all have full length."""
    tail_dim: int = Field(default=4, ge=1, le=4096)
    """Length of those shorter vectors."""

    @model_validator(mode="after")
    def _sharded_are_sparse(self) -> Self:
        if self.sharded and (self.gradients == "dense" or self.head_rows is not None):
            raise ValueError('sharded tables want gradients = "sparse", and no head_rows')
        return self
