"""What the configurations of the models of features share: which fields they read, and how they are trained."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from pipelines.training.config import TrainingConfig
from recsys.models.config import ModelConfig
from recsys.models.tables import TablesConfig

Width = Annotated[int, Field(ge=1, le=4096)]


class FieldsTraining(TrainingConfig):
    """The training loop's knobs, with defaults for models of features."""

    epochs: int = Field(default=10, ge=1)
    monitor: str | None = "auto"
    """auto is "ndcg@10" for lists, "roc_auc" for binary labels and "rmse" (the lowest) for ratings."""
    patience: int | None = Field(default=2, ge=1)


class FieldsConfig(ModelConfig):
    """Knobs of a model of fields: the ids of users and items, their features, and those of the event.

    With lists as the task, a user outside the train events is answered with the items' popularity. With labels as the
    task, unknown users, items and categories have a vector of their own, which starts as zeros.
    """

    folds_in: ClassVar[bool] = False
    needs_features: ClassVar[bool] = True
    """Refuses a dataset that has no feature at all, unless `fields` asks for the ids alone."""

    fields: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the inputs: "user", "item" (the ids) and features of the dataset. None = all that there are."""
    dim: int = Field(default=16, ge=1, le=4096)
    """Length of the vector of an id or a category."""
    tables: TablesConfig = TablesConfig()
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of each hidden layer's outputs that is dropped in training."""
    n_negatives: int = Field(default=4, ge=1, le=1000)
    """Items drawn beside each train event, as pairs with label 0; unused where the dataset has labels."""
    negative_alpha: float = Field(default=0.0, ge=0, le=4)
    """Negatives are drawn in proportion to (train events of the item) ^ alpha; 0 is uniform."""
    reject_seen: bool = True
    """Negatives are items that the user does not have in train."""
    batch_size: int = Field(default=1024, ge=1)
    """Train events in a step; with lists as the task each comes with its negatives."""
    shuffle_rows: int = Field(default=2**24, ge=1)
    """Train events that are held and shuffled together; a dataset of more is streamed from its files."""
    valid_queries: int = Field(default=2000, ge=1)
    """Validate on a sample of so many queries, where there are more; labelled rows are all used."""
    training: FieldsTraining = FieldsTraining()
