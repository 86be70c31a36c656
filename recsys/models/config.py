"""What every model's configuration shares."""

from __future__ import annotations

from typing import ClassVar

from pipelines.config import Config


class ModelConfig(Config):
    """Base of every model's configuration; the class variables declare what the model can and cannot do."""

    needs_times: ClassVar[bool] = False
    """Refuses a dataset without times."""
    personalised: ClassVar[bool] = True
    """Two queries with different histories may get different lists."""
    folds_in: ClassVar[bool] = True
    """Answers for a user outside the vocabulary from the query's history; otherwise the caller falls back openly."""
    order_aware: ClassVar[bool] = False
    """The order of a history matters to the scores."""
    deterministic: ClassVar[bool] = True
    """Same machine, versions, threads and inputs give the same bytes."""

    seed: int = 0
