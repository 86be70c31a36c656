"""What the configurations of models that learn from pairs of a user and an item share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from falconer.pipelines.training.config import TrainingConfig
from falconer.recsys.configs.model import ModelConfig

Width = Annotated[int, Field(ge=1, le=4096)]


class PairsTraining(TrainingConfig):
    """The training loop's knobs, with defaults for models of pairs."""

    monitor: str | None = "auto"
    """auto is "ndcg@10" for lists ("sampled_ndcg@10" among given candidates), "roc_auc" for binary
    labels and "rmse", of which the lowest is best, for ratings."""
    patience: int | None = Field(default=3, ge=1)
    threads: int | None = Field(default=1, ge=1)
    """Steps are small: a second thread gains little, and loses much beside other jobs. None = all
    there are."""


class PairsConfig(ModelConfig):
    """Knobs of a model that learns from train events and drawn pairs, or from the rows of a
    dataset of labels."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of each hidden layer's outputs that is dropped in training."""
    n_negatives: int = Field(default=4, ge=1, le=1000)
    """Items drawn beside each train event, as pairs with label 0; unused where the dataset has
    labels."""
    negative_alpha: float = Field(default=0.0, ge=0, le=4)
    """Negatives are drawn in proportion to (train events of the item) ^ alpha; 0 is uniform."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Labels 0 and 1 are moved so far towards 1/2; ratings are not."""
    reject_seen: bool = True
    """Negatives are items that the user does not have in train."""
    batch_size: int = Field(default=1024, ge=1)
    """Train events in a step; each comes with its negatives, where these are drawn."""
    shuffle_rows: int = Field(default=2**24, ge=1)
    """Train events that are held and shuffled together; a dataset of more is streamed from its
    files."""
    valid_queries: int = Field(default=2000, ge=1)
    """Validate on a sample of so many queries, where there are more; labelled rows are all used."""
    training: PairsTraining = PairsTraining()
