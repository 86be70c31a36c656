"""Configuration of VAE-CF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from falconer.pipelines.training.config import TrainingConfig
from falconer.recsys.configs.model import ModelConfig

Width = Annotated[int, Field(ge=1, le=16_384)]


class VaeCfTraining(TrainingConfig):
    """The training loop's knobs, with defaults for VAE-CF."""

    epochs: int = Field(default=200, ge=1)
    monitor: str | None = "ndcg@10"
    patience: int | None = Field(default=20, ge=1)


class VaeCfConfig(ModelConfig):
    """Liang et al. 2018: an autoencoder of a user's distinct items; a user is folded in from the
    history alone."""

    renamed: ClassVar[Mapping[str, str]] = {"layers": "hidden", "latent": "dim"}
    order_aware: ClassVar[bool] = True
    warm_starts: ClassVar[tuple[str, ...]] = ("torch",)

    variant: Literal["vae", "dae"] = "vae"
    """Mult-VAE, or Mult-DAE: the same without a distribution over the latent vector."""
    hidden: tuple[Width, ...] = (600,)
    """Widths of the encoder's hidden layers; the decoder has the same in reverse. The paper's
    Mult-DAE has none."""
    dim: int = Field(default=200, ge=1, le=16_384)
    """Length of the latent vector."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of a user's items that is dropped from the input in training."""
    anneal_cap: float = Field(default=0.2, ge=0, le=10)
    """Of vae: the highest weight of the Kullback-Leibler term."""
    anneal_steps: int = Field(default=20_000, ge=0)
    """Of vae: batches over which that weight would rise from 0 to 1 in a straight line, were it not
    for the cap; with 0 it is the cap from the start."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """When scoring, a history item's weight is decay^position, the newest distinct item at 0; 1 =
    all alike, in any order, as in the paper."""
    batch_size: int = Field(default=500, ge=1)
    """Users in a step."""
    valid_queries: int = Field(default=2000, ge=1)
    """Validate on a sample of so many queries, where there are more."""
    valid_k: int = Field(default=10, ge=1, le=1000)
    """Length of the lists that validation judges: `monitor` is "ndcg@<valid_k>" or
    "hit_rate@<valid_k>"."""
    training: VaeCfTraining = VaeCfTraining()

    def beta(self, batch: int) -> float:
        """Weight of the divergence in a batch, which is counted from 0 over all epochs."""
        steps = self.anneal_steps
        return min(self.anneal_cap, batch / steps) if steps else self.anneal_cap
