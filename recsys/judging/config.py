"""Settings of judging and of comparing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from falconer.pipelines.config import Config
from falconer.pipelines.errors import ConfigError
from falconer.recsys.metrics import known_metrics
from falconer.recsys.metrics.tables import refuse_unknown

Outside = Literal["left_out", "misses"]


class EvaluationConfig(Config):
    """Where the lists are cut, which metrics are computed, and how intervals are made.

    `metrics` holds names without a cut-off; none given: the usual ones. `category` is the item
    feature that miscalibration looks at; None: the dataset's first.
    """

    k: tuple[int, ...] = (1, 5, 10, 20, 50, 100)
    metrics: tuple[str, ...] = ()
    category: str | None = None
    outside: Outside = "left_out"
    """Relevant items outside the catalogue, of lists: left out of every denominator, or counted as
    items that no list found (in the views `all` and `novel`: none of them can be a repeat)."""
    resamples: int = Field(default=1000, ge=100)
    level: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("k")
    @classmethod
    def _cut_offs(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if not k or min(k) < 1:
            raise ValueError("needs at least one cut-off, each 1 or more")
        return tuple(sorted(set(k)))

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            refuse_unknown(names)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        known = known_metrics()
        others = dict.fromkeys(name for name in names if name not in known)
        return (*(name for name in known if name in names), *others)


UserNames = Literal["own", "pseudonyms"]


class ComparisonConfig(Config):
    """What decides the order; intervals of differences are made as the reports' own intervals
    were."""

    metric: str | None = None
    """None: ndcg@10 of lists; roc_auc of labels, rmse of ratings."""
    users: int = Field(default=200, ge=0, le=1000)
    """Users whose history and lists the page of lists carries; 0: none."""
    user_names: UserNames = "own"
    """What these are called: their own labels, or numbers. Histories stay as they are."""
