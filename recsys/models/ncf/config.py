"""Configuration of NCF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from falconer.pipelines.data.schema import TaskName
from falconer.recsys.configs.pairs import PairsConfig, PairsTraining, Width


class NcfTraining(PairsTraining):
    """The training loop's knobs, with defaults for NCF."""

    epochs: int = Field(default=20, ge=1)


class NcfConfig(PairsConfig):
    """He et al. 2017: a user vector and an item vector, multiplied (GMF), through layers (MLP), or
    both (NeuMF).

    Users are known by their ids only: a user outside the train events is answered with the items'
    popularity. With labels as the task, unknown users and items have a vector of their own, which
    starts as zeros.
    """

    tasks: ClassVar[tuple[TaskName, ...]] = ("top_n", "labels")
    folds_in: ClassVar[bool] = False
    warm_starts: ClassVar[tuple[str, ...]] = ("torch",)
    renamed: ClassVar[Mapping[str, str]] = {
        "factors": "dim",
        "mlp_factors": "mlp_dim",
        "layers": "hidden",
        "embedding_l2": "l2",
    }

    variant: Literal["gmf", "mlp", "neumf"] = "neumf"
    dim: int = Field(default=32, ge=1, le=4096)
    """Length of the vectors that GMF multiplies."""
    mlp_dim: int = Field(default=32, ge=1, le=4096)
    """Length of the user's and of the item's vector that together are the input of the MLP."""
    hidden: tuple[Width, ...] = Field(default=(32, 16, 8), min_length=1)
    """Widths of the MLP's hidden layers."""
    l2: float = Field(default=0.0, ge=0, le=1)
    """Penalty on the squared length of a pair's vectors, in GMF and in the MLP, beside the pair's
    loss; not with labels as the task, where `training.weight_decay` serves."""
    loss: Literal["binary", "in_batch"] = "binary"
    """binary: cross-entropy of train events against drawn negatives, as in the paper. in_batch: the
    softmax over the items of the batch, corrected for their popularity; for gmf and lists only. It
    draws no negatives."""
    valid_candidates: int | None = Field(default=None, ge=1)
    """Validate by ranking each relevant item among so many drawn ones, as the paper does: `monitor`
    is then "sampled_ndcg@10" or "sampled_hit_rate@10". None = rank the whole catalogue."""
    training: NcfTraining = NcfTraining()
    pretraining: NcfTraining | None = None
    """Train GMF and MLP apart first, each so, and start NeuMF from both; not with labels as the
    task. None = start at random."""
    pretraining_share: float = Field(default=0.5, ge=0, le=1)
    """Weight of the trained GMF where both outputs are joined (alpha in equation 13); the MLP has
    the rest."""

    @model_validator(mode="after")
    def _halves(self) -> NcfConfig:
        if self.loss == "in_batch" and self.variant != "gmf":
            raise ValueError(
                "loss in_batch wants one product a pair, as in gmf, and the variant is "
                f"{self.variant}"
            )
        if self.pretraining is not None and self.variant != "neumf":
            raise ValueError(
                f"pretraining is of the halves of neumf, and the variant is {self.variant}"
            )
        return self
