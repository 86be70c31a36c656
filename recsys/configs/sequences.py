"""What the configurations of the sequence models share."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from falconer.pipelines.training.config import TrainingConfig
from falconer.recsys.configs.model import ModelConfig


class SequenceTraining(TrainingConfig):
    """The training loop's knobs, with defaults for sequence models."""

    epochs: int = Field(default=30, ge=1)
    monitor: str | None = "ndcg@10"
    patience: int | None = Field(default=5, ge=1)


class SequenceConfig(ModelConfig):
    """A Transformer over the items of a history in their order; the user's id is not used.

    Only the newest items of a history count, as many as `max_length` lets in. An empty history is
    answered with the items' popularity, and items that came after training are left out of a
    history.
    """

    needs_times: ClassVar[bool] = True
    order_aware: ClassVar[bool] = True
    warm_starts: ClassVar[tuple[str, ...]] = ("torch",)

    order: Literal["time", "source"] = "time"
    """What puts a user's events in order: their times, which the dataset must then have, or, where
    it has none and its source is written in order, their place there."""
    dim: int = Field(default=64, ge=1, le=4096)
    """Length of the vectors."""
    scale_embeddings: bool = False
    """Items' vectors go into the encoder times sqrt(dim), as in Vaswani et al. 2017 (section 3.4):
    beside the positions' vectors they then count from the first step on. What the output is
    compared with stays unscaled."""
    n_blocks: int = Field(default=2, ge=1, le=64)
    n_heads: int = Field(default=2, ge=1, le=64)
    """Heads of attention, which divide `dim` among them."""
    feed_forward: int = Field(default=256, ge=1, le=16384)
    """Width of the layer within each block."""
    block: Literal["pre_norm", "query_norm"] = "pre_norm"
    """What a block normalises. pre_norm: what goes into attention and into the feed-forward part;
    the sum of parts runs through the network as it is. query_norm, as SASRec's authors published
    it: the query alone goes in normalised, attention is added to that, and the feed-forward part to
    the normalised sum."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Within the feed-forward part."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share that is dropped of the sum of item and position vectors and of each part's output, in
    training."""
    max_length: int = Field(default=100, ge=2, le=4096)
    """Places that the model sees at a time."""
    history: Literal["whole", "newest"] = "whole"
    """Train on a user's whole history in parts of `max_length`, or on the newest part only, as the
    papers do."""
    loss: Literal["softmax", "sampled_softmax", "gbce", "bce"] = "softmax"
    """softmax over all items; over `n_negatives` drawn ones, corrected for the chance of each;
    generalised binary cross-entropy against drawn ones; or binary cross-entropy against one item
    that the user does not have."""
    n_negatives: int = Field(default=256, ge=1, le=2**20)
    """Items drawn for each batch, for all of its places together: sampled_softmax and gbce."""
    negative_alpha: float = Field(default=0.0, ge=0, le=4)
    """Negatives are drawn in proportion to (train events of the item) ^ alpha; 0 is uniform."""
    calibration: float = Field(default=0.75, ge=0, le=1)
    """gbce's t: 0 is overconfident as binary cross-entropy on few negatives is, 1 calibrated as on
    all items."""
    batch_size: int = Field(default=128, ge=1)
    """Rows of up to `max_length` items in a step."""
    sort_by_length: bool = True
    """Rows of like length come into a batch together, so that little of it is padding; without,
    every batch is a fair draw of all rows."""
    valid_queries: int = Field(default=2000, ge=1)
    """Validate on a sample of so many queries, where there are more."""
    training: SequenceTraining = SequenceTraining()

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.dim % self.n_heads:
            raise ValueError(
                f"dim must be a multiple of n_heads, and {self.dim} is none of {self.n_heads}"
            )
        return self
