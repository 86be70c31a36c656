"""Configuration of NCF."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipelines.training.config import TrainingConfig
from recsys.models.config import ModelConfig

Width = Annotated[int, Field(ge=1, le=4096)]


class NcfTraining(TrainingConfig):
    """The training loop's knobs, with defaults for NCF."""

    epochs: int = Field(default=20, ge=1)
    monitor: str | None = "ndcg@10"
    patience: int | None = Field(default=3, ge=1)
    threads: int | None = Field(default=1, ge=1)
    """Steps are small: a second thread gains little, and loses much beside other jobs. None = all there are."""


class NcfConfig(ModelConfig):
    """He et al. 2017: a user vector and an item vector, multiplied (GMF), through layers (MLP), or both (NeuMF).

    Users are known by their ids only: a user outside the train events is answered with the items' popularity.
    """

    folds_in: ClassVar[bool] = False

    variant: Literal["gmf", "mlp", "neumf"] = "neumf"
    factors: int = Field(default=32, ge=1, le=4096)
    """Length of the vectors that GMF multiplies."""
    mlp_factors: int = Field(default=32, ge=1, le=4096)
    """Length of the user's and of the item's vector that together are the input of the MLP."""
    layers: tuple[Width, ...] = Field(default=(32, 16, 8), min_length=1)
    """Widths of the MLP's hidden layers."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of each hidden layer's outputs that is dropped in training."""
    embedding_l2: float = Field(default=0.0, ge=0, le=1)
    """Penalty on the squared length of a pair's vectors, in GMF and in the MLP, beside the pair's loss."""
    n_negatives: int = Field(default=4, ge=1, le=1000)
    """Items drawn beside each train event, as pairs with label 0."""
    negative_alpha: float = Field(default=0.0, ge=0, le=4)
    """Negatives are drawn in proportion to (train events of the item) ^ alpha; 0 is uniform."""
    reject_seen: bool = True
    """Negatives are items that the user does not have in train."""
    batch_size: int = Field(default=1024, ge=1)
    """Train events in a step; each comes with its negatives."""
    shuffle_rows: int = Field(default=2**24, ge=1)
    """Train events that are held and shuffled together; a dataset of more is streamed from its files."""
    valid_queries: int = Field(default=2000, ge=1)
    """Validate on a sample of so many queries, where there are more."""
    valid_candidates: int | None = Field(default=None, ge=1)
    """Validate by ranking each relevant item among so many drawn ones, as the paper does: `monitor` is then
    "sampled_ndcg@10" or "sampled_hit_rate@10". None = rank the whole catalogue."""
    training: NcfTraining = NcfTraining()
    pretraining: NcfTraining | None = None
    """Train GMF and MLP apart first, each so, and start NeuMF from both. None = start at random."""
    pretraining_share: float = Field(default=0.5, ge=0, le=1)
    """Weight of the trained GMF where both outputs are joined (alpha in equation 13); the MLP has the rest."""

    @model_validator(mode="after")
    def _halves(self) -> NcfConfig:
        if self.pretraining is not None and self.variant != "neumf":
            raise ValueError(f"pretraining is of the halves of neumf, and the variant is {self.variant}")
        return self
