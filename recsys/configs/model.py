"""What every model's configuration shares."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field

from falconer.pipelines.config import Config
from falconer.pipelines.data.schema import TaskName


class ModelConfig(Config):
    """Base of every model's configuration; the class variables declare what the model can and
    cannot do.

    Every model answers every query: for an empty history it gives the most popular items, or the
    same score for all items (which ranking then lists by id, and so by popularity in train).
    """

    model_config = ConfigDict(allow_inf_nan=False)

    tasks: ClassVar[tuple[TaskName, ...]] = ("top_n",)
    """The tasks whose datasets it trains on."""
    needs_times: ClassVar[bool] = False
    """Refuses a dataset without times."""
    needs_features: ClassVar[bool] = False
    """Refuses a dataset without features."""
    personalised: ClassVar[bool] = True
    """Two queries with different histories may get different lists."""
    discovers: ClassVar[bool] = True
    """The history tells something about items outside it, so that novel items are ranked personally
    as well."""
    folds_in: ClassVar[bool] = True
    """Answers for a user outside the vocabulary from the query's history; otherwise by popularity,
    and says for whom (`falconer.recsys.contracts.UserScorer`)."""
    reads_weights: ClassVar[bool] = False
    """Train events count as much as their weight says, where the dataset has weights; a query's
    history has none."""
    warm_starts: ClassVar[tuple[str, ...]] = ()
    """Backends on which a training for lists can start from a trained run's weights on a dataset
    that this one continues (`falconer train --from`)."""
    order_aware: ClassVar[bool] = False
    """The order of a history matters to the scores."""
    deterministic: ClassVar[bool] = True
    """Same machine, versions, threads and inputs give the same bytes, at least with the default
    knobs: `repeatable`."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of every random choice; models without one ignore it."""

    @property
    def repeatable(self) -> bool:
        """Whether training again with these knobs gives the same bytes."""
        return self.deterministic
